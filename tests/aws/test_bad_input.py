"""Bad input to `exchange` is answered with its own code, and nothing is written and no secret logged."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from firstboot.aws import clients
from firstboot.aws.kms import KmsKey, public_key
from firstboot.domain import topics
from firstboot.domain.clock import EPOCH
from firstboot.domain.names import DeviceId
from firstboot.runtime.http import MAX_BODY
from tests import factories, proofs
from tests.aws.mqtt import Client
from tests.aws.odd_names import latin_1, not_utf_8
from tests.aws.product import HOST, Product
from tests.factories import Authority
from tests.fleets import group

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


def _without_eku(product: Product) -> x509.Certificate:
    """Return a certificate without extendedKeyUsage, after the group has come to require it."""
    product.publish(groups={"gateways": group("gateways", product.factory, eku="required")})
    return product.factory.issue("gw-1", factories.ec_key(), eku=None)


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
    "no-eku": Case(401, "certificate-usage-wrong", leaf=_without_eku),
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


def _proof(product: Product, header: str = "", claims: str = "") -> str:
    """Return a signed proof of gw-1 whose header and claims are JSON with other members at their ends."""
    key = factories.ec_key()
    body = json.dumps(_good())
    made = proofs.sign(key, product.factory.issue("gw-1", key), "POST", f"https://{HOST}{PATH}", body)
    parts = []
    for part, more in zip(made.split(".")[:2], (header, claims), strict=True):
        text = base64.urlsafe_b64decode(part + "==").decode()
        parts.append(proofs.base64url((f"{text[:-1]},{more}}}" if more else text).encode()))
    signed = ".".join(parts)
    # A DER signature becomes the two numbers one after the other (RFC 7518 section 3.4).
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{proofs.base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@pytest.mark.parametrize(
    "members",
    [
        {"header": '"alg":[]'},
        {"header": '"alg":{}'},
        {"header": '"alg":"\\ud800"'},
        {"header": '"typ":"\\ud800"'},
        {"header": '"\\ud800":1'},
        {"header": '"x5c":["\\ud800"]'},
        {"header": '"b64":false'},
        {"claims": '"jti":"\\ud800"'},
        {"claims": '"htu":"\\ud800"'},
        {"claims": '"htm":"\\ud800"'},
        {"claims": '"bsh":"\\ud800"'},
        {"claims": '"nonce":"\\ud800","iat":null'},
        {"claims": '"iat":' + 4_300 * "9"},
        {"claims": '"iat":1e400'},
        {"claims": '"iat":' + 64 * "9"},
    ],
    ids=str,
)
def test_no_member_of_a_proof_is_a_server_error(product: Product, members: dict[str, str]) -> None:
    """A proof whose header or claim has another type, or no text that can be encoded, is refused with 401."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {_proof(product, **members)}"}
    answer = product.call("POST", PATH, None, json.dumps(_good()), headers)
    assert answer.status == 401, answer.body
    assert product.rows() == []


def test_a_certificate_that_cannot_be_decoded_is_refused(product: Product) -> None:
    """A certificate whose subject is not UTF-8 is malformed, in a proof, over TLS and over MQTT."""
    leaf = not_utf_8(product.factory)
    for answer in (
        product.call("POST", PATH, leaf, json.dumps(_good())),
        product.prove("POST", PATH, factories.ec_key(), leaf, json.dumps(_good())),
    ):
        assert (answer.status, answer.body["code"]) == (401, "certificate-malformed")
        assert answer.body["reason"] == "certificate-encoding"
    request = _good() | {"bootstrap": factories.pem(leaf)}
    ((_, problem),) = Client(product, "gw-1", leaf).send(topics.CERTIFICATES, request)
    assert (problem["code"], problem["reason"]) == ("certificate-malformed", "certificate-encoding")


def test_a_teletex_name_is_accepted(product: Product) -> None:
    """A device whose certificate has a Latin-1 TeletexString in its subject enrolls over TLS."""
    assert product.enroll(latin_1(product.factory)).status == 201


def test_a_teletex_name_is_accepted_over_mqtt(product: Product) -> None:
    """A device whose certificate has a Latin-1 TeletexString in its subject enrolls over MQTT."""
    client = Client(product, "gw-1", latin_1(product.factory))
    answer = client.ask(topics.CERTIFICATES, **_good(), bootstrap=factories.pem(client.leaf))
    assert answer["deviceId"] == "gw-1"


def test_a_refusal_with_long_names_is_a_short_answer(product: Product) -> None:
    """A problem keeps to the bound of answers, also if it quotes names of characters with long escapes."""
    kind = x509.ObjectIdentifier("2.5.4.13")  # a description has no limit of 64 characters
    first, second, third = (
        x509.Name([x509.NameAttribute(kind, "\U0001f510" * 120 + str(number))]) for number in range(3)
    )
    stranger, key = factories.authority().intermediate("", subject=first), factories.ec_key()
    leaf = stranger.issue("", key, subject=second)
    above = tuple(stranger.issue("", key, subject=third, days=days) for days in (1, 2))  # they are no CAs
    answer = product.prove("POST", PATH, key, leaf, json.dumps(_good()), above=above)
    assert answer.body["code"] == "certificate-untrusted"


def _titled(product: Product, leaf: x509.Certificate) -> tuple[str, str]:
    """Return the code and the reason of a refusal whose detail is its title."""
    answer = product.call("POST", PATH, leaf, json.dumps(_good()))
    assert answer.status == 401
    assert answer.body["detail"] == answer.body["title"]
    return answer.body["code"], answer.body["reason"]


def test_a_shared_group_tells_the_title_alone(product: Product, logs: io.StringIO) -> None:
    """A refused certificate with a shared group's issuer is answered without detail, which the log has."""
    claims = group("claims", product.factory, device_id="request.deviceId", reenroll="refuse", eku="required")
    product.publish(groups={"claims": claims})
    key = factories.ec_key()
    twin = factories.authority("Factory CA")
    for leaf, code, reason in (
        (product.factory.issue("batch", key, not_before=LONG_AGO, days=1), "bootstrap-expired", "dates"),
        (product.factory.issue("batch", key, eku=None), "certificate-usage-wrong", "usage"),
        (product.factory.issue("batch", factories.rsa_key(1024)), "certificate-key-weak", "key"),
        (twin.issue("batch", key), "certificate-untrusted", "path"),
    ):
        assert _titled(product, leaf) == (code, f"certificate-{reason}")
    assert "is not signed by the key of any CN=Factory CA known here" in logs.getvalue()


def test_a_group_of_devices_tells_what_is_wrong(product: Product) -> None:
    """The answer to a per-device group's certificate names the date, extension or issuer that is wrong."""
    key, ended = factories.ec_key(), LONG_AGO + timedelta(days=1)
    for leaf, told in (
        (product.factory.issue("gw-1", key, not_before=LONG_AGO, days=1), f"{ended:%Y-%m-%d}"),
        (product.factory.issue("gw-1", key, eku=ExtendedKeyUsageOID.SERVER_AUTH), "extendedKeyUsage"),
        (factories.authority("Factory CA").issue("gw-1", key), "signed by the key of any CN=Factory CA"),
        (factories.authority("Stranger").issue("gw-1", key), "has the issuer CN=Stranger"),
    ):
        answer = product.call("POST", PATH, leaf, json.dumps(_good()))
        assert told in answer.body["detail"]


def test_a_stranger_learns_nothing_about_an_anchor(product: Product) -> None:
    """The dates of an anchor are in the answer only if the anchor's key signed the certificate."""
    old = factories.authority("Old CA", days=0.5)
    product.publish(groups={"gateways": group("gateways", old)})
    until = f"{old.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    key = factories.ec_key()
    own = product.call("POST", PATH, old.issue("gw-1", key), json.dumps(_good()))
    assert until in own.body["detail"]
    assert own.body["reason"] == "certificate-dates"
    twin = factories.authority("Old CA").issue("gw-1", key)
    told = product.call("POST", PATH, twin, json.dumps(_good())).body
    assert until not in told["detail"]
    assert told["reason"] in ("certificate-path", "certificate-signature")


SURROGATES = {
    "claim-value": '"claims":{"model":"\\ud800"}',
    "claim-name": '"claims":{"\\ud800":"x"}',
    "device-id": '"deviceId":"\\ud800"',
    "csr": '"csr":"\\ud800"',
    "bootstrap": '"bootstrap":"\\ud800"',
    "client-token": '"clientToken":"\\ud800"',
    "member": '"\\ud800":1',
}


@pytest.mark.parametrize("member", SURROGATES.values(), ids=SURROGATES)
def test_a_lone_surrogate_is_refused(product: Product, member: str) -> None:
    """A request with half a surrogate pair, which JSON can escape and no encoding has, is refused."""
    bootstrap = product.bootstrap("gw-1")
    body = json.dumps(_good())
    answer = product.call("POST", PATH, bootstrap, f"{body[:-1]},{member}}}")
    assert 400 <= answer.status < 500, answer.body
    body = json.dumps(_good() | {"bootstrap": factories.pem(bootstrap)})
    ((topic, problem),) = Client(product, "gw-1", bootstrap).send(
        topics.CERTIFICATES, f"{body[:-1]},{member}}}".encode()
    )
    assert topic == topics.CERTIFICATES.rejected_topic("gw-1")
    assert 400 <= problem["status"] < 500, problem
    assert product.rows() == []


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


@pytest.mark.parametrize("by_proof", [False, True], ids=["mtls", "proof"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", f"{PATH}/commit"), ("GET", "/v1/device"), ("POST", PATH)],
)
def test_an_unreadable_certificate_of_the_cas_key_is_refused(
    product: Product, ca_key: str, method: str, path: str, *, by_proof: bool
) -> None:
    """A certificate that the CA's key signed and cryptography can't read is malformed and changes nothing."""
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x02\x82\xff")
    ca, key = KmsKey(clients.kms(), ca_key, public_key(clients.kms(), ca_key)), factories.ec_key()
    leaf = Authority(product.ca, ca).issue("gw-1", key, extra=[(names, False)])
    body = json.dumps(_good()) if method == "POST" else None
    call = partial(product.prove, method, path, key) if by_proof else partial(product.call, method, path)
    answer = call(leaf, body)
    assert (answer.status, answer.body["code"]) == (401, "certificate-malformed")
    assert product.rows() == []


@pytest.mark.parametrize("by_proof", [False, True], ids=["mtls", "proof"])
@pytest.mark.parametrize(
    ("method", "path", "service"),
    [
        ("POST", f"{PATH}/commit", "exchange"),
        ("POST", PATH, "exchange"),
        ("GET", "/v1/device", "vend"),
        ("GET", "/role-aliases/telemetry/credentials", "vend"),
    ],
)
@pytest.mark.parametrize("state", ["pending", "active", "revoked", "deleted", "unknown"])
def test_a_certificate_that_was_never_issued_rings(
    product: Product,
    ca_key: str,
    capsys: pytest.CaptureFixture[str],
    state: str,
    method: str,
    path: str,
    service: str,
    *,
    by_proof: bool,
) -> None:
    """A certificate of our CA with a serial that was never issued counts as forged, as a wrong key does.

    It does so in each state of the device and without a record. The record does not change.
    """
    _device_in(product, state)
    ca, key = KmsKey(clients.kms(), ca_key, public_key(clients.kms(), ca_key)), factories.ec_key()
    forged = Authority(product.ca, ca).issue("gw-1", key)
    records, body = _device_rows(product), json.dumps(_good()) if method == "POST" else None
    capsys.readouterr()
    if by_proof:
        answer = product.prove(method, path, key, forged, body)
    else:
        answer = product.call(method, path, forged, body)
    assert answer.status == 403
    assert answer.body.get("code", "certificate-forged") == "certificate-forged"
    assert _counted(capsys.readouterr().out, "CertificateForged") == [service]
    assert _device_rows(product) == records


def _device_in(product: Product, state: str) -> None:
    if state == "unknown":
        return
    leaf = product.identity("gw-1")
    if state != "pending":
        assert product.call("POST", f"{PATH}/commit", leaf).status == 200
    if state in ("revoked", "deleted"):
        product.operate(f"devices.{state.removesuffix('d')}", deviceId="gw-1")


def _device_rows(product: Product) -> list[dict[str, Any]]:
    return [row for row in product.rows() if not row["pk"]["S"].startswith("PROOF#")]


def _counted(output: str, metric: str) -> list[str]:
    """Return the services that counted a metric, from the lines that they wrote."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [line["service"] for line in lines if metric in line]


@pytest.mark.parametrize("is_deleted", [False, True], ids=["superseded", "deleted"])
def test_a_certificate_that_was_issued_does_not_ring(
    product: Product, capsys: pytest.CaptureFixture[str], *, is_deleted: bool
) -> None:
    """An old certificate that the record no longer has is not current, and no alarm rings for it."""
    old = leaf = product.identity("gw-1")
    for _ in range(3):
        assert product.call("POST", f"{PATH}/commit", leaf).status == 200
        leaf = product.certificate(product.enroll(leaf, factories.ec_key()))
    if is_deleted:
        product.operate("devices.delete", deviceId="gw-1")
        boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": "DEV#gw-1"}})
    for method, path in (("POST", f"{PATH}/commit"), ("POST", PATH), ("GET", "/v1/device")):
        answer = product.call(method, path, old, json.dumps(_good()) if method == "POST" else None)
        assert (answer.status, answer.body["code"]) == (403, "certificate-not-current")
    assert _counted(capsys.readouterr().out, "CertificateForged") == []


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
