"""An attacker that could use a device's key for an hour signs proofs for later times.

The key itself is in a secure element and can't be taken along. A proof with a time may be made for any minute
to come. A proof with the server's nonce can't, because the nonce of a later minute does not exist yet. So a
group with `proof = "nonce"` refuses a proof without one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from firstboot.domain.clock import epoch
from tests import factories, proofs
from tests.aws.product import HOST, Answer, Product

PATH = "/v1/certificates"
CALLS = {
    "renew": ("POST", PATH),
    "commit": ("POST", f"{PATH}/commit"),
    "record": ("GET", "/v1/device"),
    "credentials": ("GET", "/role-aliases/telemetry/credentials"),
}
LATER = timedelta(hours=20)


@dataclass(frozen=True)
class Signed:
    """A request with a proof that was signed for a later time."""

    method: str
    path: str
    body: str
    token: str

    def send(self, product: Product) -> Answer:
        """Send the request to the public host."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.token}"}
        return product.call(self.method, self.path, None, self.body or None, headers)


@dataclass(frozen=True)
class Stolen:
    """A device's key and certificate, as long as the attacker can use them."""

    key: factories.PrivateKey
    leaf: x509.Certificate

    def sign(self, method: str, path: str, *, by_thumbprint: bool = False, **claims: Any) -> Signed:
        """Sign a request with a proof that has these claims. A request for a certificate has a new key."""
        body = _request() if path == PATH else ""
        url = f"https://{HOST}{path}"
        token = proofs.sign(
            self.key, self.leaf, method, url, body, by_thumbprint=by_thumbprint, claims=claims
        )
        return Signed(method, path, body, token)


def _request() -> str:
    return json.dumps({"csr": factories.pem(factories.csr(factories.ec_key()))})


def _demand(product: Product, proof: str) -> None:
    gateways = replace(product.fleet.groups["gateways"], proof=proof)  # type: ignore[arg-type]
    product.publish(groups={"gateways": gateways})


def _wait(product: Product, duration: timedelta) -> None:
    product.lambdas.clock = lambda: datetime.now(UTC) + duration


def _state(product: Product) -> tuple[list[dict[str, Any]], list[str]]:
    rows = sorted(product.rows(), key=lambda row: str(row["pk"]["S"]))
    return rows, product.objects()


@pytest.fixture
def device(product: Product) -> Stolen:
    """Return an enrolled device that has logged in, in a group that demands the nonce."""
    _demand(product, "nonce")
    key = factories.ec_key()
    leaf = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    assert product.call("POST", f"{PATH}/commit", leaf).status == 200
    return Stolen(key, leaf)


@pytest.mark.parametrize("by_thumbprint", [False, True], ids=["x5c", "x5t"])
@pytest.mark.parametrize("call", CALLS)
def test_a_proof_that_was_signed_ahead_is_refused(
    product: Product, device: Stolen, call: str, *, by_thumbprint: bool
) -> None:
    """A proof for a later time is refused at that time and writes nothing; a proof with the nonce works."""
    method, path = CALLS[call]
    ahead = device.sign(method, path, by_thumbprint=by_thumbprint, iat=epoch(datetime.now(UTC) + LATER))
    _wait(product, LATER)
    before = _state(product)
    refused = ahead.send(product)
    assert (refused.status, refused.body["code"], refused.body["action"]) == (401, "proof-stale", "retry")
    assert _state(product) == before
    assert refused.headers["dpop-nonce"] == refused.body["nonce"]
    again = device.sign(method, path, by_thumbprint=by_thumbprint, iat=None, nonce=refused.body["nonce"])
    assert again.send(product).status in (200, 201)


def test_an_enrollment_that_was_signed_ahead_is_refused(product: Product) -> None:
    """A proof of a bootstrap certificate for a later time enrolls no device, and one with a nonce does."""
    _demand(product, "nonce")
    key = factories.ec_key()
    bootstrap = Stolen(key, product.factory.issue("gw-1", key))
    ahead = bootstrap.sign("POST", PATH, iat=epoch(datetime.now(UTC) + LATER))
    _wait(product, LATER)
    refused = ahead.send(product)
    assert (refused.status, refused.body["code"]) == (401, "proof-stale")
    assert _state(product) == ([], [])
    assert bootstrap.sign("POST", PATH, iat=None, nonce=refused.body["nonce"]).send(product).status == 201


def test_an_expired_certificate_needs_the_nonce_too(product: Product, device: Stolen) -> None:
    """A late renewal of an expired certificate by a proof that was signed ahead is refused."""
    late = device.leaf.not_valid_after_utc + timedelta(days=1)
    # After the certificate's end the renewal must be for the device's own key.
    body = json.dumps({"csr": factories.pem(factories.csr(device.key))})
    token = proofs.sign(
        device.key, device.leaf, "POST", f"https://{HOST}{PATH}", body, claims={"iat": epoch(late)}
    )
    product.lambdas.clock = lambda: late
    refused = Signed("POST", PATH, body, token).send(product)
    assert (refused.status, refused.body["code"]) == (401, "proof-stale")


def test_a_nonce_bounds_what_was_signed_with_it(product: Product, device: Stolen) -> None:
    """A proof with a nonce works for five minutes after the attacker got the nonce, and no longer."""
    nonce = product.call("GET", "/v1/nonce").body["nonce"]
    first, last = (device.sign("GET", "/v1/device", iat=None, nonce=nonce) for _ in range(2))
    _wait(product, timedelta(minutes=4))
    assert first.send(product).status == 200
    _wait(product, timedelta(minutes=6))
    assert last.send(product).body["code"] == "proof-stale"


def test_a_group_that_is_gone_demands_the_nonce(product: Product, device: Stolen) -> None:
    """Removing its group from the fleet does not free a device from the demand."""
    product.publish(groups={})
    assert device.sign("GET", "/v1/device").send(product).body["code"] == "proof-stale"


def test_a_group_may_accept_times(product: Product, device: Stolen) -> None:
    """By default a group accepts times, and so what was signed ahead: docs/security-model.md says so."""
    ahead = device.sign("GET", "/v1/device", iat=epoch(datetime.now(UTC) + LATER))
    _demand(product, "time")
    _wait(product, LATER)
    assert ahead.send(product).status == 200
