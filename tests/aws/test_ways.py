"""A device is refused in a way that its group does not name, before anything of it is spent or claimed."""

from __future__ import annotations

import json

import pytest
from cryptography import x509

from firstboot.domain.names import DeviceId
from firstboot.domain.ways import Way
from tests import factories
from tests.aws.product import Product
from tests.fleets import group

OTHERS: dict[Way, tuple[Way, ...]] = {"mtls": ("proof", "mqtt"), "proof": ("mtls", "mqtt")}
REFUSED = (403, "way-not-allowed")


def close(product: Product, way: Way) -> None:
    """Publish a fleet whose group does not name `way`."""
    product.publish(groups={"gateways": group("gateways", product.factory, ways=OTHERS[way])})


def ask(
    product: Product, way: Way, key: factories.PrivateKey, leaf: x509.Certificate, path: str, body: str = "{}"
) -> tuple[int, str | None]:
    """Send a POST request in a way, and return the status and the code of the answer."""
    if way == "mtls":
        answer = product.call("POST", path, leaf, body)
    else:
        answer = product.prove("POST", path, key, leaf, body)
    return answer.status, answer.body.get("code")


def request() -> str:
    """Return the body of a request for a certificate with a new key."""
    return json.dumps({"csr": factories.pem(factories.csr(factories.ec_key()))})


@pytest.mark.parametrize("way", OTHERS)
def test_a_closed_way_enrolls_no_device(product: Product, way: Way) -> None:
    """An enrollment in a closed way is refused and writes no row. A record has the way of its enrollment."""
    leaf = product.bootstrap("gw-1")
    close(product, way)
    before = product.rows()
    assert ask(product, way, product.boards["gw-1"], leaf, "/v1/certificates", request()) == REFUSED
    assert product.rows() == before
    (other,) = set(OTHERS) - {way}
    asked = ask(product, other, product.boards["gw-1"], leaf, "/v1/certificates", request())
    assert asked == (201, None)
    device = product.records.device(DeviceId("gw-1"))
    assert device is not None
    assert device.way == other


@pytest.mark.parametrize("way", OTHERS)
@pytest.mark.parametrize("path", ["/v1/certificates", "/v1/certificates/commit"])
def test_a_closed_way_neither_renews_nor_commits(product: Product, way: Way, path: str) -> None:
    """A renewal and a log-in in a closed way are refused, and write no row."""
    key = factories.ec_key()
    leaf = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    close(product, way)
    before = product.rows()
    assert ask(product, way, key, leaf, path, request() if path == "/v1/certificates" else "{}") == REFUSED
    assert product.rows() == before
    (other,) = set(OTHERS) - {way}
    assert ask(product, other, key, leaf, "/v1/certificates/commit") == (200, None)
