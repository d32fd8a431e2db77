"""An operational certificate's id is that of the stored certificate, also if the device presents a twin."""

from __future__ import annotations

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.pki import chain
from tests import factories
from tests.aws.product import Answer, Product
from tests.aws.registering import Identity, Registering


def login(device: Identity, leaf: x509.Certificate, *, by_proof: bool) -> Answer:
    """Log in with a form of the device's certificate."""
    path = "/v1/certificates/commit"
    if by_proof:
        return device.product.prove("POST", path, device.key, leaf, "{}")
    return device.product.call("POST", path, leaf, "{}")


@pytest.mark.parametrize("by_proof", [False, True], ids=["mtls", "proof"])
@pytest.mark.parametrize("twin_is_stored", [False, True], ids=["issued", "twin-stored"])
def test_a_twin_at_commit_becomes_ready(
    registering: Registering, *, by_proof: bool, twin_is_stored: bool
) -> None:
    """A commit by either form records the stored certificate's id, which AWS IoT then knows."""
    device = registering.enroll("gw-1")
    stored, other = device.leaf, factories.twin(device.leaf)
    if twin_is_stored:  # as if KMS had signed with the other form
        stored, other = other, stored
        _store(registering.product, stored)
    for _ in range(2):
        answer = login(device, other, by_proof=by_proof)
        assert (answer.status, answer.body["certificateId"]) == (200, chain.fingerprint(stored))
    registering.work("gw-1")
    assert registering.status(stored) == "ACTIVE"
    assert registering.status(other) is None
    for form in (stored, other):
        shown = registering.product.call("GET", "/v1/device", form).body
        assert (shown["certificateId"], shown["mqtt"]["ready"]) == (chain.fingerprint(stored), True)


def _store(product: Product, leaf: x509.Certificate) -> None:
    key = f"certificates/gw-1/{leaf.serial_number:x}.pem"
    chained = factories.pem(leaf) + factories.pem(product.ca)
    boto3.client("s3").put_object(Bucket=product.bucket, Key=key, Body=chained.encode())


def test_a_thumbprint_names_the_stored_certificate_only(registering: Registering) -> None:
    """A proof finds the stored certificate by its thumbprint, and no certificate by its twin's."""
    device = registering.enroll("gw-1")
    twin = factories.twin(device.leaf)
    assert login(device, twin, by_proof=True).status == 200
    product, path = registering.product, "/v1/certificates/commit"
    known = product.prove("POST", path, device.key, device.leaf, "{}", by_thumbprint=True)
    assert (known.status, known.body["certificateId"]) == (200, chain.fingerprint(device.leaf))
    unknown = product.prove("POST", path, device.key, twin, "{}", by_thumbprint=True)
    assert unknown.body["code"] == "certificate-unknown"


def test_a_renewal_by_a_twin_commits_the_stored_certificate(registering: Registering) -> None:
    """A renewal by the twin of a pending certificate commits the stored certificate."""
    device = registering.enroll("gw-1")
    assert registering.product.enroll(factories.twin(device.leaf)).status == 201
    shown = registering.product.operate("devices.show", deviceId="gw-1")["result"]
    assert shown["active"]["certificateId"] == chain.fingerprint(device.leaf)


def test_a_first_login_by_credentials_commits_the_stored_certificate(registering: Registering) -> None:
    """`vend` commits by the stored id too."""
    device = registering.enroll("gw-1")
    assert registering.product.call("GET", "/v1/device", factories.twin(device.leaf)).status == 200
    shown = registering.product.operate("devices.show", deviceId="gw-1")["result"]
    assert shown["active"]["certificateId"] == chain.fingerprint(device.leaf)


@pytest.mark.parametrize(
    ("stored", "code"), [(None, "certificate-not-current"), ("other", "certificate-forged")]
)
def test_a_certificate_that_is_not_the_stored_one_is_not_committed(
    registering: Registering, stored: str | None, code: str
) -> None:
    """A certificate that was signed and not stored, or is stored with other content, does not log in."""
    device = registering.enroll("gw-1")
    product, s3 = registering.product, boto3.client("s3")
    key = f"certificates/gw-1/{device.leaf.serial_number:x}.pem"
    s3.delete_object(Bucket=product.bucket, Key=key)
    if stored:
        other = registering.enroll("gw-2").leaf.public_bytes(Encoding.PEM)
        s3.put_object(Bucket=product.bucket, Key=key, Body=other)
    assert login(device, device.leaf, by_proof=False).body["code"] == code
    assert product.operate("devices.show", deviceId="gw-1")["result"]["active"] is None
