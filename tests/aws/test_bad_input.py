"""Bad input to `exchange` is answered with its own code, and nothing is written and no secret logged."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from firstboot.aws import clients
from firstboot.aws.kms import KmsKey, public_key
from firstboot.domain.clock import EPOCH
from firstboot.domain.names import DeviceId
from firstboot.runtime.http import MAX_BODY
from tests import factories
from tests.aws.product import Product
from tests.factories import Authority

PATH = "/v1/certificates"


def _good() -> dict[str, Any]:
    return {"csr": factories.pem(factories.csr(factories.ec_key()))}


@dataclass
class Case:
    """A request with one fault."""

    status: int
    code: str
    body: str | Callable[[], dict[str, Any]] = _good
    leaf: Callable[[Product], x509.Certificate | str | None] = lambda product: product.bootstrap("gw-1")
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    changes: dict[str, Any] = field(default_factory=dict)


def _issue(**options: Any) -> Callable[[Product], x509.Certificate]:
    return lambda product: product.factory.issue(
        "gw-1", options.pop("key", None) or factories.ec_key(), **options
    )


def _forged() -> dict[str, Any]:
    """Return a request whose CSR has the signature of another CSR."""
    first, second = (factories.csr(factories.ec_key()) for _ in range(2))
    der = first.public_bytes(Encoding.DER)
    swapped = der[: -len(first.signature)] + second.signature[: len(first.signature)].ljust(
        len(first.signature), b"\0"
    )
    return {"csr": factories.base64_text(swapped)}


LONG_AGO = datetime.now(UTC) - timedelta(days=9)
CASES = {
    "no-certificate": Case(401, "proof-required", leaf=lambda _: None),
    "garbled-certificate": Case(
        401, "certificate-malformed", leaf=lambda _: "-----BEGIN CERTIFICATE-----\nx"
    ),
    "rogue-chain": Case(
        401, "certificate-untrusted", leaf=lambda _: factories.authority().issue("gw-1", factories.ec_key())
    ),
    "expired": Case(401, "bootstrap-expired", leaf=_issue(not_before=LONG_AGO, days=1)),
    "not-yet-valid": Case(
        401, "certificate-not-yet-valid", leaf=_issue(not_before=datetime.now(UTC) + timedelta(days=1))
    ),
    "wrong-eku": Case(401, "certificate-usage-wrong", leaf=_issue(eku=ExtendedKeyUsageOID.SERVER_AUTH)),
    "no-eku": Case(401, "certificate-usage-wrong", leaf=_issue(eku=None)),
    "ca-as-leaf": Case(401, "certificate-usage-wrong", leaf=_issue(ca=True)),
    "weak-certificate-key": Case(401, "certificate-key-weak", leaf=_issue(key=factories.rsa_key(1024))),
    "odd-certificate-curve": Case(
        401, "certificate-key-weak", leaf=_issue(key=factories.ec_key(ec.SECP256K1()))
    ),
    "bad-name-in-certificate": Case(
        400, "device-id-invalid", leaf=lambda product: product.factory.issue("gw/1", factories.ec_key())
    ),
    "wildcard-in-certificate": Case(
        400, "device-id-invalid", leaf=lambda product: product.factory.issue("gw*", factories.ec_key())
    ),
    "reserved-name": Case(
        400, "device-id-invalid", leaf=lambda product: product.factory.issue("boot-1", factories.ec_key())
    ),
    "foreign-device-id": Case(403, "device-id-mismatch", body=lambda: _good() | {"deviceId": "gw-2"}),
    "forged-signature": Case(400, "csr-signature-invalid", body=_forged),
    "weak-csr-key": Case(
        400, "csr-key-refused", body=lambda: {"csr": factories.pem(factories.csr(factories.rsa_key(1024)))}
    ),
    "odd-csr-curve": Case(
        400,
        "csr-key-refused",
        body=lambda: {"csr": factories.pem(factories.csr(factories.ec_key(ec.SECP256K1())))},
    ),
    "garbled-pem": Case(
        400, "malformed-csr", body=lambda: {"csr": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"}
    ),
    "garbled-base64": Case(400, "malformed-csr", body=lambda: {"csr": "%%%"}),
    "garbled-der": Case(400, "malformed-csr", body=lambda: {"csr": "MIIBAA=="}),
    "malformed-json": Case(400, "malformed-json", body="{"),
    "empty-body": Case(400, "malformed-json", body=""),
    "deep-nesting": Case(400, "malformed-json", body='{"csr":' + "[" * 8_000),
    "deep-claims": Case(400, "malformed-request", body=lambda: _good() | {"claims": {"a": {"b": {}}}}),
    "json-array": Case(400, "malformed-request", body="[]"),
    "csr-missing": Case(400, "malformed-request", body="{}"),
    "csr-not-text": Case(400, "malformed-request", body='{"csr": 7}'),
    "unknown-member": Case(400, "malformed-request", body=lambda: _good() | {"role": "admin"}),
    "unknown-delivery": Case(400, "malformed-request", body=lambda: _good() | {"deliver": "fax"}),
    "configuration-not-boolean": Case(400, "malformed-request", body=lambda: _good() | {"configuration": 1}),
    "device-id-not-text": Case(400, "malformed-request", body=lambda: _good() | {"deviceId": 7}),
    "claims-not-object": Case(400, "malformed-request", body=lambda: _good() | {"claims": []}),
    "too-many-claims": Case(
        400, "malformed-request", body=lambda: _good() | {"claims": {f"c{n}": n for n in range(17)}}
    ),
    "overlong-claim": Case(400, "malformed-request", body=lambda: _good() | {"claims": {"c": "x" * 300}}),
    "fractional-claim": Case(400, "malformed-request", body=lambda: _good() | {"claims": {"c": 0.5}}),
    "nameless-claim": Case(400, "malformed-request", body=lambda: _good() | {"claims": {"": "x"}}),
    "huge-claim": Case(400, "malformed-request", body=lambda: _good() | {"claims": {"c": 2**60}}),
    "oversized-body": Case(413, "body-too-large", body=" " * (MAX_BODY + 1)),
    "wrong-media-type": Case(
        415, "unsupported-media-type", headers={"content-type": "application/x-www-form-urlencoded"}
    ),
    "body-not-base64": Case(400, "malformed-request", body="%", changes={"isBase64Encoded": True}),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_flaw_has_its_answer(product: Product, case: Case, logs: io.StringIO) -> None:
    """Each fault has its status and code as problem+json, and nothing is written and no secret logged."""
    body = case.body if isinstance(case.body, str) else json.dumps(case.body())
    answer = product.call("POST", PATH, case.leaf(product), body, case.headers, **case.changes)
    assert (answer.status, answer.body["code"]) == (case.status, case.code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.body) >= {"type", "title", "status", "detail", "code", "requestId", "action", "time"}
    assert product.rows() == []
    assert product.objects() == []
    logged = logs.getvalue()
    assert case.code in logged
    assert "BEGIN" not in logged
    assert "X-Amz-Signature" not in logged


def test_a_certificate_in_a_header_proves_nothing(product: Product) -> None:
    """A client certificate in a header is ignored, because only the gateway's own context is trusted."""
    pem = factories.pem(product.bootstrap("gw-1"))
    headers = {"content-type": "application/json", "x-client-cert": pem, "x-amzn-mtls-clientcert": pem}
    answer = product.call("POST", PATH, None, json.dumps(_good()), headers)
    assert answer.body["code"] == "proof-required"


def test_a_factory_certificate_does_not_log_in(product: Product) -> None:
    """A bootstrap certificate cannot log in."""
    for method, path in (("POST", "/v1/certificates/commit"), ("GET", "/v1/device")):
        answer = product.call(method, path, product.bootstrap("gw-1"))
        assert (answer.status, answer.body["code"]) == (403, "operational-certificate-required")


def test_a_forged_twin_of_our_ca_is_refused(product: Product) -> None:
    """A certificate of a CA with our CA's name and another key is refused."""
    twin = factories.authority("Firstboot issuing CA")
    answer = product.call("POST", "/v1/certificates/commit", twin.issue("gw-1", factories.ec_key()))
    assert answer.status == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/certificates/commit"), ("GET", "/v1/device"), ("POST", PATH)],
)
@pytest.mark.parametrize("has_logged_in", [False, True])
def test_a_certificate_forged_with_the_cas_key_is_refused(
    product: Product, ca_key: str, method: str, path: str, *, has_logged_in: bool
) -> None:
    """A forged certificate with the CA's key and a device's serial is refused, and changes nothing."""
    genuine = product.identity("gw-1")
    if has_logged_in:
        assert product.call("POST", f"{PATH}/commit", genuine).status == 200
    key = KmsKey(clients.kms(), ca_key, public_key(clients.kms(), ca_key))
    forged = Authority(product.ca, key).issue("gw-1", factories.ec_key(), serial=genuine.serial_number)
    before = boto3.client("dynamodb").scan(TableName=product.table)["Items"]
    answer = product.call(method, path, forged, json.dumps(_good()) if method == "POST" else None)
    assert (answer.status, answer.body["code"]) == (403, "certificate-forged")
    assert boto3.client("dynamodb").scan(TableName=product.table)["Items"] == before
    assert product.call("POST", f"{PATH}/commit", genuine).status == 200


def test_a_certificate_without_a_record_is_refused(product: Product) -> None:
    """A certificate of our CA that is in no device record is refused."""
    product.identity("gw-1")
    other = product.identity("gw-2")
    boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": "DEV#gw-2"}})
    answer = product.call("POST", "/v1/certificates/commit", other)
    assert (answer.status, answer.body["code"]) == (403, "certificate-not-current")


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/", 404, "route-not-found", None),
        ("GET", "/v2/certificates", 404, "route-not-found", None),
        ("GET", "/v1/certificates", 405, "method-not-allowed", "POST"),
        ("DELETE", "/v1/certificates/commit", 405, "method-not-allowed", "POST"),
        ("PUT", "/healthz", 405, "method-not-allowed", "GET"),
        ("OPTIONS", "/v1/certificates", 405, "method-not-allowed", "POST"),
    ],
)
def test_unknown_routes_and_methods(
    product: Product, method: str, path: str, status: int, code: str, allow: str | None
) -> None:
    """An unknown path is answered with 404, and an unknown method on a known path with 405 and Allow."""
    answer = product.call(method, path)
    assert (answer.status, answer.body["code"], answer.headers.get("allow")) == (status, code, allow)


def test_a_revoked_device_is_refused_on_every_path(product: Product) -> None:
    """A revoked device is refused enrollment, commit and its record from the next call on."""
    bootstrap, leaf = product.bootstrap("gw-1"), product.identity("gw-1")
    product.call("POST", "/v1/certificates/commit", leaf)
    product.records.revoke(DeviceId("gw-1"), EPOCH)
    for answer in (
        product.enroll(bootstrap),
        product.call("POST", "/v1/certificates/commit", leaf),
        product.call("GET", "/v1/device", leaf),
    ):
        assert (answer.status, answer.body["code"], answer.body["action"]) == (403, "device-revoked", "stop")


def test_a_key_of_another_device_is_refused(product: Product) -> None:
    """A key that another device has is refused."""
    key = factories.ec_key()
    assert product.enroll(product.bootstrap("gw-1"), key).status == 201
    answer = product.enroll(product.bootstrap("gw-2"), key)
    assert (answer.status, answer.body["code"]) == (409, "key-in-use")
