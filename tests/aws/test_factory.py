"""The product accepts the certificates that `console factory issue` makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests import factories
from tests.aws.product import Product
from tests.production import Factory, base64_key


@pytest.fixture
def factory(product: Product, tmp_path: Path) -> Factory:
    """Return a factory whose CA the product trusts."""
    return Factory.build(tmp_path / "factory", product.factory)


def test_a_device_enrolls_with_what_the_factory_gave_it(product: Product, factory: Factory) -> None:
    """Each device of a run enrolls with its bootstrap certificate and a new key."""
    assert factory.issue("--count", "2", "--days", "3000").exit_code == 0
    for row in factory.manifest():
        answer = product.enroll(factory.chain(row["deviceId"])[0])
        assert (answer.status, answer.body["deviceId"]) == (201, row["deviceId"])
        assert product.operate("devices.show", deviceId=row["deviceId"])["result"]["group"] == "gateways"


@pytest.mark.parametrize("keys", ["made here", "in secure elements"])
def test_the_factorys_key_may_become_the_operational_one(
    product: Product, factory: Factory, keys: str
) -> None:
    """A device with a single key, as in a secure element, enrolls and commits with the bootstrap key."""
    if keys == "made here":
        factory.issue("--count", "1", "--prefix", "gw-", "--days", "3000")
        key = load_pem_private_key((factory.out / "gw-000001.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
    else:
        key = factories.ec_key()
        manifest = factory.keys([("gw-000001", base64_key(key.public_key()))])
        factory.issue("--manifest", str(manifest), "--days", "3000")
    answer = product.enroll(factory.chain("gw-000001")[0], key)
    assert answer.status == 201
    leaf = product.certificate(answer)
    assert leaf.public_key() == key.public_key()
    assert product.call("POST", "/v1/certificates/commit", leaf).status == 200
