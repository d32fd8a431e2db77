"""Test what signed proofs on the public host allow, and every reason to refuse one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain.clock import EPOCH
from firstboot.domain.names import NONCE_KEY
from firstboot.pki import nonce
from tests import factories, proofs
from tests.aws.product import HOST, Answer, Product

PATH = "/v1/certificates"


def _csr(key: factories.PrivateKey | None = None, **members: Any) -> str:
    return json.dumps({"csr": factories.pem(factories.csr(key or factories.ec_key()))} | members)


def _identity(product: Product) -> tuple[factories.PrivateKey, x509.Certificate]:
    """Return the key and certificate of a device that enrolled by proof and has not logged in."""
    factory_key, key = factories.ec_key(), factories.ec_key()
    answer = product.prove("POST", PATH, factory_key, product.factory.issue("gw-1", factory_key), _csr(key))
    assert answer.status == 201, answer.body
    return key, product.certificate(answer)


@pytest.mark.parametrize("kind", [factories.ec_key, factories.rsa_key], ids=["ES256", "RS256"])
def test_a_device_needs_no_client_tls(product: Product, kind: Callable[[], factories.PrivateKey]) -> None:
    """A device can enroll, commit, read its record and get credentials with signed proofs alone."""
    factory_key, key = kind(), kind()
    answer = product.prove("POST", PATH, factory_key, product.factory.issue("gw-1", factory_key), _csr(key))
    assert answer.status == 201
    leaf = product.certificate(answer)
    commit = product.prove("POST", f"{PATH}/commit", key, leaf)
    assert (commit.status, commit.body["status"]) == (200, "active")
    record = product.prove("GET", "/v1/device", key, leaf)
    assert record.body["certificateId"] == answer.body["certificateId"]
    assert product.prove("GET", "/role-aliases/telemetry/credentials", key, leaf).status == 200


def test_ps256_is_accepted(product: Product) -> None:
    """An RSA key may sign a proof with PS256."""
    key = factories.rsa_key()
    leaf = product.factory.issue("gw-1", key)
    assert product.prove("POST", PATH, key, leaf, _csr(), header={"alg": "PS256"}).status == 201


def test_a_thumbprint_is_enough_for_a_certificate_of_ours(product: Product) -> None:
    """A certificate that was issued by proof is known by its thumbprint, even before its first login."""
    key, leaf = _identity(product)
    assert product.prove("POST", f"{PATH}/commit", key, leaf, by_thumbprint=True).status == 200
    assert product.prove("GET", "/v1/device", key, leaf, by_thumbprint=True).status == 200


def test_after_mtls_the_first_login_makes_the_thumbprint_known(product: Product) -> None:
    """A certificate that was issued over mTLS is known by its thumbprint only after its first login."""
    key = factories.ec_key()
    leaf = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    before = product.prove("GET", "/v1/device", key, leaf, by_thumbprint=True)
    assert (before.status, before.body["code"], before.body["action"]) == (
        401,
        "certificate-unknown",
        "retry",
    )
    assert product.call("GET", "/v1/device", leaf).status == 200
    assert product.prove("GET", "/v1/device", key, leaf, by_thumbprint=True).status == 200


def test_a_nonce_needs_no_clock(product: Product) -> None:
    """A proof may have the server's nonce instead of a time, and a nonce may be in several proofs."""
    given = product.call("GET", "/v1/nonce")
    assert given.status == 200
    assert given.headers["dpop-nonce"] == given.body["nonce"]
    key, leaf = _identity(product)
    for _ in range(2):
        claims = {"iat": None, "nonce": given.body["nonce"]}
        assert product.prove("GET", "/v1/device", key, leaf, claims=claims).status == 200


def test_only_our_nonces_are_accepted(product: Product) -> None:
    """A nonce is refused if another key made it or its time is not now."""
    key, leaf = _identity(product)
    now = datetime.now(UTC)
    ours = product.records.nonce_key()
    ahead, behind = now + timedelta(seconds=200), now - timedelta(days=10)
    for forged in (nonce.make(b"x" * 32, now), nonce.make(ours, ahead), nonce.make(ours, behind)):
        answer = product.prove("GET", "/v1/device", key, leaf, claims={"iat": None, "nonce": forged})
        assert (answer.status, answer.body["code"]) == (401, "proof-stale")


def test_without_the_key_of_nonces_proofs_wait(product: Product, logs: io.StringIO) -> None:
    """Without the key's row, a nonce is refused as unavailable and the log says which row is missing."""
    key, leaf = _identity(product)
    boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": NONCE_KEY}})
    for answer in (
        product.call("GET", "/v1/nonce"),
        product.prove("GET", "/v1/device", key, leaf, claims={"iat": None, "nonce": "x" * 32}),
        product.prove("GET", "/v1/device", key, leaf, claims={"iat": 400}),
    ):
        assert (answer.status, answer.body["code"]) == (503, "unavailable")
    assert NONCE_KEY in logs.getvalue()
    assert product.prove("GET", "/v1/device", key, leaf).status == 200
    product.records.make_nonce_key()
    assert product.call("GET", "/v1/nonce").status == 200


def test_a_proof_is_used_once_for_every_call(product: Product) -> None:
    """A proof is accepted once, also for enrollments and renewals, whose repetition would change nothing."""
    factory_key, key = factories.ec_key(), factories.ec_key()
    bootstrap, body, claims = product.factory.issue("gw-1", factory_key), _csr(key), {"jti": "once"}
    answers = [product.prove("POST", PATH, factory_key, bootstrap, body, claims=claims) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 401]
    leaf = product.certificate(answers[0])
    renewals = [product.prove("POST", PATH, key, leaf, body, claims=claims) for _ in range(2)]
    assert [answer.status for answer in renewals] == [201, 401]
    assert {answers[1].body["code"], renewals[1].body["code"]} == {"proof-replayed"}


def test_a_proof_is_valid_for_its_query_only(product: Product) -> None:
    """A proof is valid only for the request's exact query."""
    key = factories.ec_key()
    leaf, url = product.factory.issue("gw-1", key), f"https://{HOST}{PATH}"
    text = factories.pem(factories.csr(factories.ec_key()))
    for proved, status in ((url, 401), (f"{url}?deviceId=gw-2", 401), (f"{url}?deviceId=gw-1", 201)):
        token = proofs.sign(key, leaf, "POST", proved, text)
        headers = {"content-type": "application/pkcs10", "authorization": f"Bearer {token}"}
        query = {"deviceId": "gw-1"}
        answer = product.call("POST", PATH, None, text, headers, query, rawQueryString="deviceId=gw-1")
        assert answer.status == status


@pytest.mark.parametrize("path", ["/v1/device", "/role-aliases/telemetry/credentials"])
def test_a_stale_proof_brings_a_nonce(product: Product, path: str) -> None:
    """The refusal of a stale proof has a nonce for the next one, also in AWS IoT's form."""
    key, leaf = _identity(product)
    late = product.prove("GET", path, key, leaf, claims={"iat": 400})
    assert (late.status, late.body["code"], late.body["action"]) == (401, "proof-stale", "retry")
    assert late.headers["dpop-nonce"] == late.body["nonce"]
    again = product.prove("GET", path, key, leaf, claims={"iat": None, "nonce": late.body["nonce"]})
    assert again.status == 200


def test_a_clock_may_be_five_minutes_off(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a proof may differ from the server's by five minutes, and no more."""
    key, leaf = _identity(product)
    now = datetime.now(UTC)
    _at(product, now)
    for off, status in ((-301, 401), (-300, 200), (300, 200), (301, 401)):
        claims = {"iat": int(now.timestamp()) + off}
        assert product.prove("GET", "/v1/device", key, leaf, claims=claims).status == status


def test_a_nonce_ends(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nonce is valid for five minutes, also across midnight."""
    key, leaf = _identity(product)
    made = datetime.now(UTC).replace(hour=23, minute=58, second=0) + timedelta(days=1)
    _at(product, made)
    claims = {"iat": None, "nonce": product.call("GET", "/v1/nonce").body["nonce"]}
    _at(product, made + timedelta(seconds=300))
    assert product.prove("GET", "/v1/device", key, leaf, claims=claims).status == 200
    _at(product, made + timedelta(seconds=301))
    assert product.prove("GET", "/v1/device", key, leaf, claims=claims).body["code"] == "proof-stale"


def test_a_nonce_of_a_process_whose_clock_is_ahead(product: Product) -> None:
    """A process accepts the nonce of another one whose clock is up to five seconds ahead."""
    key, leaf = _identity(product)
    made = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    _at(product, made)
    claims = {"iat": None, "nonce": product.call("GET", "/v1/nonce").body["nonce"]}
    for behind, status in ((2, 200), (5, 200), (6, 401)):
        _at(product, made - timedelta(seconds=behind))
        assert product.prove("GET", "/v1/device", key, leaf, claims=claims).status == status


@pytest.mark.parametrize("kind", ["nonce", "iat"])
def test_a_used_proof_is_known_while_a_process_accepts_it(product: Product, kind: str) -> None:
    """When the row of a used proof ends, the proof is stale also by a clock that is five seconds behind."""
    key, leaf = _identity(product)
    made = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    _at(product, made)
    given = product.call("GET", "/v1/nonce").body["nonce"]
    claims = {"nonce": {"iat": None, "nonce": given}, "iat": {"iat": int(made.timestamp())}}[kind]
    assert product.prove("GET", "/v1/device", key, leaf, claims=claims).status == 200
    rows: Any = boto3.client("dynamodb").scan(TableName=product.table)["Items"]
    ends = max(int(row["expiresAt"]["N"]) for row in rows if row["pk"]["S"].startswith("PROOF#"))
    _at(product, datetime.fromtimestamp(ends, UTC) - timedelta(seconds=5))
    refused = product.prove("GET", "/v1/device", key, leaf, claims=claims | {"jti": "another"})
    assert refused.body["code"] == "proof-stale"


def _at(product: Product, moment: datetime) -> None:
    product.lambdas.clock = lambda: moment


def test_a_proof_is_used_once(product: Product) -> None:
    """A replayed proof is refused with its own code, and another proof of the device is accepted."""
    key, leaf = _identity(product)
    claims = {"jti": "once"}
    assert product.prove("GET", "/v1/device", key, leaf, claims=claims).status == 200
    answer = product.prove("GET", "/v1/device", key, leaf, claims=claims)
    assert (answer.status, answer.body["code"], answer.body["action"]) == (401, "proof-replayed", "retry")
    assert product.prove("GET", "/v1/device", key, leaf).status == 200


def test_another_devices_jti_is_no_replay(product: Product) -> None:
    """A device cannot use up the proofs of another with the same `jti`."""
    for name in ("gw-1", "gw-2"):
        key = factories.ec_key()
        answer = product.prove(
            "POST", PATH, key, product.factory.issue(name, key), _csr(), claims={"jti": "same"}
        )
        assert answer.status == 201


def test_an_untrusted_proof_writes_nothing(product: Product) -> None:
    """A `jti` is recorded only after the certificate was verified, so that others cannot fill the table."""
    key = factories.ec_key()
    answer = product.prove("POST", PATH, key, factories.authority().issue("gw-1", key), _csr())
    assert (answer.status, answer.body["code"]) == (401, "certificate-untrusted")
    assert product.rows() == []


def test_issuers_that_the_trust_lacks_come_with_the_proof(product: Product) -> None:
    """An intermediate CA may be in the proof's x5c, and without it the chain is untrusted."""
    key, between = factories.ec_key(), product.factory.intermediate("line 1")
    leaf = between.issue("gw-1", key)
    alone = product.prove("POST", PATH, key, leaf, _csr())
    assert (alone.status, alone.body["code"]) == (401, "certificate-untrusted")
    assert product.prove("POST", PATH, key, leaf, _csr(), above=(between.certificate,)).status == 201


def _with(**changes: Any) -> dict[str, Any]:
    return changes


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "another typ": ("proof-malformed", _with(header={"typ": "JWT"})),
    "no typ": ("proof-malformed", _with(header={"typ": None})),
    "dpop's typ": ("proof-malformed", _with(header={"typ": "dpop+jwt"})),
    "a jwk": ("proof-malformed", _with(header={"jwk": {"kty": "EC"}})),
    "a jku": ("proof-malformed", _with(header={"jku": "https://evil.example"})),
    "an x5u": ("proof-malformed", _with(header={"x5u": "https://evil.example"})),
    "a kid": ("proof-malformed", _with(header={"kid": "1"})),
    "a crit": ("proof-malformed", _with(header={"crit": ["exp"]})),
    "x5c and a thumbprint": ("proof-malformed", _with(header={"x5t#S256": "A" * 43})),
    "no certificate": ("proof-malformed", _with(header={"x5c": None})),
    "an empty x5c": ("proof-malformed", _with(header={"x5c": []})),
    "x5c too long": ("proof-malformed", _with(header={"x5c": ["AA=="] * 4})),
    "x5c no list": ("proof-malformed", _with(header={"x5c": "AA=="})),
    "x5c no certificate": ("certificate-malformed", _with(header={"x5c": ["AA=="]})),
    "x5c no base64": ("certificate-malformed", _with(header={"x5c": ["?"]})),
    "x5c no string": ("certificate-malformed", _with(header={"x5c": [1]})),
    "a short thumbprint": ("proof-malformed", _with(header={"x5c": None, "x5t#S256": "AAAA"})),
    "a thumbprint that is no base64url": (
        "proof-malformed",
        _with(header={"x5c": None, "x5t#S256": "?" + "A" * 43}),
    ),
    "an unknown thumbprint": ("certificate-unknown", _with(header={"x5c": None, "x5t#S256": "A" * 43})),
    "another method": ("proof-mismatch", _with(claims={"htm": "GET"})),
    "another host": ("proof-mismatch", _with(claims={"htu": f"https://evil.example{PATH}"})),
    "another scheme": ("proof-mismatch", _with(claims={"htu": f"http://{HOST}{PATH}"})),
    "another path": ("proof-mismatch", _with(claims={"htu": f"https://{HOST}{PATH}/commit"})),
    "a query": ("proof-mismatch", _with(claims={"htu": f"https://{HOST}{PATH}?deviceId=gw-2"})),
    "no url": ("proof-mismatch", _with(claims={"htu": "https://[::"})),
    "another body": ("proof-mismatch", _with(claims={"bsh": proofs.base64url(b"\0" * 32)})),
    "no method": ("proof-malformed", _with(claims={"htm": None})),
    "no jti": ("proof-malformed", _with(claims={"jti": None})),
    "an empty jti": ("proof-malformed", _with(claims={"jti": ""})),
    "a long jti": ("proof-malformed", _with(claims={"jti": "x" * 129})),
    "no freshness": ("proof-malformed", _with(claims={"iat": None})),
    "both freshnesses": ("proof-malformed", _with(claims={"nonce": "x"})),
    "an iat that is no integer": ("proof-malformed", _with(claims={"iat": "now"})),
    "an iat that is a Boolean": ("proof-malformed", _with(claims={"iat": True})),
    "an old iat": ("proof-stale", _with(claims={"iat": 400})),
    "an iat in no calendar": ("proof-stale", _with(claims={"iat": 10**30})),
    "an iat to come": ("proof-stale", _with(claims={"iat": 9_999_999_999})),
    "a nonce that is none": ("proof-stale", _with(claims={"iat": None, "nonce": "x"})),
    "a forged nonce": ("proof-stale", _with(claims={"iat": None, "nonce": nonce.make(b"x" * 32, EPOCH)})),
    "a nonce of no time": ("proof-stale", _with(claims={"iat": None, "nonce": "_" * 32})),
}


@pytest.mark.parametrize(("code", "changes"), REFUSED.values(), ids=REFUSED.keys())
def test_a_proof_is_refused_for(
    product: Product, logs: io.StringIO, code: str, changes: dict[str, Any]
) -> None:
    """Each fault of a proof is refused with 401 and its own code; nothing is issued and no proof logged."""
    key = factories.ec_key()
    answer = product.prove("POST", PATH, key, product.factory.issue("gw-1", key), _csr(), **changes)
    assert (answer.status, answer.body["code"]) == (401, code)
    assert ("nonce" in answer.body) == (code == "proof-stale")
    assert product.objects() == []
    assert not [row for row in product.rows() if row["pk"]["S"].startswith(("DEV#", "PROOF#"))]
    assert "eyJ" not in logs.getvalue()


def _ask(product: Product, token: str, scheme: str = "Bearer") -> Answer:
    return product.call("GET", "/v1/device", headers={"authorization": f"{scheme} {token}"})


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "." * 9_000, "[" * 3_000, "\udcff.e30.e30"])
def test_text_that_is_no_proof_is_refused(product: Product, token: str) -> None:
    """Text that is no proof at all is refused with 401."""
    assert _ask(product, token).body["code"] == "proof-malformed"


@pytest.mark.parametrize("scheme", ["Basic", "DPoP", ""])
def test_only_bearer_carries_a_proof(product: Product, scheme: str) -> None:
    """An authorization scheme other than Bearer is no proof."""
    assert _ask(product, "x", scheme).body["code"] == "proof-required"


def test_another_keys_signature_is_refused(product: Product) -> None:
    """A proof that another key signed is refused, because certificates are public."""
    _, leaf = _identity(product)
    answer = product.prove("GET", "/v1/device", factories.ec_key(), leaf)
    assert (answer.status, answer.body["code"]) == (401, "proof-signature-invalid")
    assert product.prove("GET", "/v1/device", factories.ec_key(), leaf, by_thumbprint=True).status == 401


def test_an_algorithm_must_match_the_key(product: Product) -> None:
    """A proof's algorithm must match its key: no HMAC, no unsigned token, and only P-256 for ES256."""
    key = factories.ec_key()
    leaf = product.factory.issue("gw-1", key)
    url, head = f"https://{HOST}/v1/device", {"typ": "firstboot-proof+jwt"}
    good = jwt.decode(proofs.sign(key, leaf, "GET", url), options={"verify_signature": False})
    x5c = {"x5c": [factories.base64_text(leaf.public_bytes(Encoding.DER))]}
    for algorithm, secret in (("HS256", "s" * 64), ("none", "")):
        token = jwt.encode(good, secret, algorithm=algorithm, headers=head | x5c)
        assert _ask(product, token).body["code"] == "proof-malformed"
    rsa = product.factory.issue("gw-1", factories.rsa_key())
    assert _ask(product, proofs.sign(key, rsa, "GET", url)).body["code"] == "proof-signature-invalid"
    large = factories.ec_key(ec.SECP384R1())
    odd = product.factory.issue("gw-1", large)
    with pytest.raises(jwt.InvalidKeyError):
        proofs.sign(large, odd, "GET", url)  # PyJWT does not sign this, so the next proof is forged
    forged = proofs.sign(key, odd, "GET", url)
    assert _ask(product, forged).body["code"] == "proof-signature-invalid"
    token = jwt.encode(good, large, algorithm="ES384", headers=head | x5c)
    assert _ask(product, token).body["code"] == "proof-malformed"


def test_a_client_certificate_counts_before_a_proof(product: Product) -> None:
    """On the mTLS host the certificate of the connection counts, and a proof is ignored."""
    key, leaf = _identity(product)
    other = product.identity("gw-2")
    token = proofs.sign(key, leaf, "GET", f"https://{HOST}/v1/device")
    answer = product.call("GET", "/v1/device", other, headers={"authorization": f"Bearer {token}"})
    assert answer.body["deviceId"] == "gw-2"


def test_a_bootstrap_certificate_cannot_log_in_by_proof(product: Product) -> None:
    """A proof by a bootstrap certificate allows an enrollment, and no login."""
    key = factories.ec_key()
    answer = product.prove("GET", "/v1/device", key, product.factory.issue("gw-1", key))
    assert (answer.status, answer.body["code"]) == (403, "operational-certificate-required")
