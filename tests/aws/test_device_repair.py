"""`devices.repair` brings the lost object of an active certificate back; so does the console's command."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from cryptography import x509

from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.aws.test_import import import_, in_aws_iot

NAME = "gw1"


def active(product: Product) -> x509.Certificate:
    """Return the certificate of a device that has logged in."""
    leaf = product.identity(NAME)
    assert product.call("POST", "/v1/certificates/commit", leaf).status == 200
    return leaf


def repaired(product: Product) -> dict[str, Any]:
    """Call devices.repair, and return its whole answer."""
    return product.operate("devices.repair", deviceId=NAME)


def lose(product: Product, leaf: x509.Certificate, *, versions: bool = False) -> bytes:
    """Delete the object of a certificate, and its older versions if `versions`, and return what it was."""
    s3: Any = boto3.client("s3")
    place = {"Bucket": product.bucket, "Key": key(leaf)}
    chain: bytes = s3.get_object(**place)["Body"].read()
    s3.delete_object(**place)
    listed = s3.list_object_versions(Bucket=product.bucket, Prefix=key(leaf))
    if versions:
        for each in listed["Versions"] + listed["DeleteMarkers"]:
            s3.delete_object(**place, VersionId=each["VersionId"])
    assert product.objects() == []
    return chain


def key(leaf: x509.Certificate) -> str:
    """Return the key of a certificate's object."""
    return f"certificates/{NAME}/{leaf.serial_number:x}.pem"


def stored(product: Product, leaf: x509.Certificate) -> bytes:
    """Return the stored chain of a certificate."""
    return boto3.client("s3").get_object(Bucket=product.bucket, Key=key(leaf))["Body"].read()


def result(leaf: x509.Certificate, source: str) -> dict[str, Any]:
    """Return the answer of a repair that found the certificate's chain at `source`."""
    return {"result": {"deviceId": NAME, "serial": f"{leaf.serial_number:x}", "source": source}}


def test_an_older_version_comes_back(product: Product) -> None:
    """A deleted object comes back from its newest older version, and a repeat finds it stored."""
    leaf = active(product)
    chain = lose(product, leaf)
    assert repaired(product) == result(leaf, "version")
    assert stored(product, leaf) == chain
    assert repaired(product) == result(leaf, "stored")


def test_a_version_that_is_another_certificate_is_left(product: Product) -> None:
    """A version with other content is passed over."""
    leaf = active(product)
    chain = lose(product, leaf)
    boto3.client("s3").put_object(Bucket=product.bucket, Key=key(leaf), Body=factories.pem(product.ca))
    lose(product, leaf)
    assert repaired(product) == result(leaf, "version")
    assert stored(product, leaf) == chain


def test_aws_iot_s_copy_comes_back(product: Product) -> None:
    """Without an older version the certificate comes from AWS IoT, with the issuing CA's behind it."""
    leaf = active(product)
    pem = factories.pem(leaf)
    boto3.client("iot").register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
    chain = lose(product, leaf, versions=True)
    assert repaired(product) == result(leaf, "aws-iot")
    assert stored(product, leaf) == chain
    again = product.enroll(leaf, factories.ec_key())
    assert again.status == 201


def test_an_imported_certificate_comes_back_alone(product: Product) -> None:
    """The chain of an imported certificate is the certificate alone, as it was stored at the import."""
    (leaf,) = in_aws_iot(NAME, "ACTIVE")
    import_(product, gw1={})
    chain = lose(product, leaf, versions=True)
    assert repaired(product) == result(leaf, "aws-iot")
    assert x509.load_pem_x509_certificates(stored(product, leaf)) == x509.load_pem_x509_certificates(chain)


def test_without_a_copy_it_is_refused(product: Product) -> None:
    """Without a version and without AWS IoT's copy nothing is stored."""
    leaf = active(product)
    lose(product, leaf, versions=True)
    assert repaired(product)["problem"]["code"] == "certificate-lost"
    assert product.objects() == []


@pytest.mark.parametrize("body", [b"", b"\xff", b"other"])
def test_another_object_is_not_replaced(product: Product, body: bytes) -> None:
    """An object with other content under the certificate's key stays, and is named."""
    leaf = active(product)
    lose(product, leaf)
    content = factories.pem(product.ca).encode() if body == b"other" else body
    boto3.client("s3").put_object(Bucket=product.bucket, Key=key(leaf), Body=content)
    found = repaired(product)["problem"]
    assert (found["code"], "Another" in found["detail"]) == ("certificate-lost", True)
    assert stored(product, leaf) == content


def test_a_device_without_an_active_certificate(product: Product) -> None:
    """A device that never logged in has nothing to repair, and an unknown device is refused."""
    assert repaired(product)["problem"]["code"] == "device-not-found"
    product.identity(NAME)
    assert repaired(product) == {"result": {"deviceId": NAME, "serial": None, "source": None}}


def test_a_lost_chain_is_not_signed_again(product: Product) -> None:
    """A repeated request for an active certificate waits for the repair, and then gets the old certificate.

    Another signature would give the certificate another id in AWS IoT.
    """
    own = factories.ec_key()
    leaf = product.certificate(product.enroll(product.bootstrap(NAME), own))
    assert product.call("POST", "/v1/certificates/commit", leaf).status == 200
    lose(product, leaf)
    assert product.enroll(leaf, own).status == 202
    assert repaired(product) == result(leaf, "version")
    assert product.certificate(product.enroll(leaf, own)) == leaf


def test_the_console_repairs(product: Product, run: Run) -> None:
    """The command says where the certificate was found, and fails when there is no copy."""
    leaf = active(product)
    lose(product, leaf)
    assert "brought back from an older version" in run("devices", "repair", NAME).stdout
    assert "is stored as it should be" in run("devices", "repair", NAME).stdout
    assert json.loads(run("devices", "repair", NAME, "--json").stdout) == result(leaf, "stored")["result"]
    lose(product, leaf, versions=True)
    failed = run("devices", "repair", NAME)
    assert (failed.exit_code, "certificate-lost" in failed.stderr) == (1, True)


@pytest.mark.parametrize("way", ["delete-marker", "copy"])
def test_an_operator_s_own_restoration_counts(product: Product, way: str) -> None:
    """A certificate is stored again after its delete marker is deleted, or a copy from another bucket."""
    leaf, s3 = active(product), boto3.client("s3")
    place: Any = {"Bucket": product.bucket, "Key": key(leaf)}
    s3.create_bucket(Bucket="copy-of-the-bucket")
    s3.copy_object(Bucket="copy-of-the-bucket", Key=key(leaf), CopySource=place)
    chain = lose(product, leaf, versions=way == "copy")
    if way == "copy":
        source = f"copy-of-the-bucket/{key(leaf)}"
        s3.copy_object(**place, CopySource=source, IfNoneMatch="*")
    else:
        (marker,) = s3.list_object_versions(Bucket=product.bucket, Prefix=key(leaf))["DeleteMarkers"]
        s3.delete_object(**place, VersionId=marker["VersionId"])
    assert stored(product, leaf) == chain
    assert repaired(product) == result(leaf, "stored")
