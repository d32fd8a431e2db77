"""Test `POST /v1/certificates` and the commit as Lambda functions over moto."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.aws import clients
from firstboot.aws.dynamodb.rows import device_key
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.domain.clock import from_epoch
from firstboot.domain.names import DeviceId
from firstboot.domain.plans import Budget
from firstboot.exchange.enroll import Enroll
from firstboot.pki import chain
from firstboot.runtime.problem import RETRY_SECONDS
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.aws.product import Product
from tests.fleets import group


def test_a_bootstrap_certificate_becomes_an_operational_one(product: Product) -> None:
    """An enrollment returns every member, and stores a chain with the device's key under our CA."""
    key = factories.ec_key()
    answer = product.enroll(product.bootstrap("gw-1"), key)
    assert answer.status == 201
    leaf = product.certificate(answer)
    assert leaf.public_key() == key.public_key()
    assert chain.common_name(leaf) == answer.body["deviceId"] == "gw-1"
    assert chain.fingerprint(leaf) == answer.body["certificateId"]
    leaf.verify_directly_issued_by(product.ca)
    assert set(answer.body) == {
        "deviceId", "certificateId", "serial", "certificateUrl", "urlExpiresAt", "urlExpiresIn",
        "notAfter", "renewAfter", "renewIn", "mqtt", "time",
    }  # fmt: skip
    assert set(answer.body["mqtt"]) == {"host", "port", "clientId", "ready", "retryAfter"}
    assert answer.headers["cache-control"] == "no-store"


def test_the_url_is_sigv4_and_short_lived(product: Product) -> None:
    """The URL is a SigV4 URL of the certificate's object for five minutes, with fewer than 2,048 bytes."""
    answer = product.enroll(product.bootstrap("gw-1"))
    url = urlsplit(answer.body["certificateUrl"])
    query = parse_qs(url.query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["300"]
    assert url.path.endswith(f"/certificates/gw-1/{answer.body['serial']}.pem")
    assert len(answer.body["certificateUrl"]) < 2048


def test_the_url_names_the_regions_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL has the region's host, because the global host redirects, and devices follow no redirects."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    for secret in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(secret, "testing")
    clients.s3.cache_clear()
    try:
        url = S3CertificateStore(clients.s3(ACCOUNT), "bucket").url(DeviceId("gw-1"), "ab", 300)
    finally:
        clients.s3.cache_clear()
    assert urlsplit(url).netloc == "bucket.s3.eu-central-1.amazonaws.com"


def test_subject_and_extensions_of_a_csr_are_ignored(product: Product) -> None:
    """A CSR that asks for a CA certificate with another name gets a certificate for the device only."""
    key = factories.ec_key()
    wish = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(factories.name("admin"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("admin.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    answer = product.enroll(product.bootstrap("gw-1"), csr=factories.pem(wish))
    leaf = product.certificate(answer)
    assert leaf.subject == factories.name("gw-1")
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_inline_delivery_needs_no_url(product: Product) -> None:
    """With `inline`, the certificate and its chain are delivered in base64 DER, without a URL."""
    answer = product.enroll(product.bootstrap("gw-1"), deliver="inline")
    leaf = x509.load_der_x509_certificate(base64.b64decode(answer.body["certificate"]))
    above = [x509.load_der_x509_certificate(base64.b64decode(der)) for der in answer.body["chain"]]
    assert above == [product.ca]
    assert leaf == product.certificate(answer)
    assert "certificateUrl" not in answer.body


def _pkcs10(shape: str) -> tuple[str, bool]:
    """Return a body of application/pkcs10 as API Gateway hands it over, and whether that is base64."""
    request = factories.csr(factories.ec_key())
    der, text = request.public_bytes(Encoding.DER), factories.pem(request)
    match shape:
        case "base64":
            return base64.encodebytes(der).decode(), False
        case "der":
            return factories.base64_text(der), True
        case "rsa-der":
            return factories.base64_text(
                factories.csr(factories.rsa_key(4096)).public_bytes(Encoding.DER)
            ), True
        case "text-before-pem":
            return factories.base64_text("0: Ger\u00e4t 7, PKCS#10\n".encode("latin-1") + text.encode()), True
        case "gateway-encoded":
            return factories.base64_text(text.encode()), True
        case _:
            return text, False


@pytest.mark.parametrize("shape", ["pem", "base64", "der", "rsa-der", "text-before-pem", "gateway-encoded"])
def test_pkcs10_bodies_are_accepted(product: Product, shape: str) -> None:
    """A body of RFC 5967's media type is DER, base64 of it or PEM, and API Gateway may encode any of them."""
    body, is_encoded = _pkcs10(shape)
    answer = product.call(
        "POST",
        "/v1/certificates",
        product.bootstrap("gw-1"),
        body,
        {"content-type": "application/pkcs10"},
        {"deviceId": "gw-1"},
        isBase64Encoded=is_encoded,
    )
    assert answer.status == 201, answer.body


@pytest.mark.parametrize("body", [b"", b"\x30\x82", b"\x30\x81\x80" + bytes(128), b"\xff\xfe", b"0"])
def test_other_pkcs10_bodies_are_refused(product: Product, body: bytes) -> None:
    """A body of RFC 5967's media type that holds no CSR is answered with a refusal."""
    answer = product.call(
        "POST",
        "/v1/certificates",
        product.bootstrap("gw-1"),
        factories.base64_text(body),
        {"content-type": "application/pkcs10"},
        isBase64Encoded=True,
    )
    assert (answer.status, answer.body["code"]) == (400, "malformed-csr")
    assert answer.body["reason"] == "csr-encoding"


def test_a_repeat_gives_the_same_certificate(product: Product) -> None:
    """A repeated request with the same key gets the certificate that was issued before."""
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    answers = [product.enroll(leaf, key) for _ in range(3)]
    assert {a.status for a in answers} == {201}
    assert len({a.body["certificateId"] for a in answers}) == 1
    assert len(product.objects()) == 1


def test_a_repeat_after_the_commit_gives_the_active_certificate(product: Product) -> None:
    """A device that lost its certificate after the commit gets it again with its bootstrap certificate."""
    leaf, key = product.bootstrap("gw-1"), factories.ec_key()
    first = product.enroll(leaf, key)
    product.call("POST", "/v1/certificates/commit", product.certificate(first))
    again = product.enroll(leaf, key)
    assert again.status == 201
    assert again.body["certificateId"] == first.body["certificateId"]


def test_a_second_key_waits_while_the_first_is_held(product: Product) -> None:
    """A request with a second key is refused while the first certificate is held, with the time to wait."""
    leaf = product.bootstrap("gw-1")
    product.enroll(leaf)
    answer = product.enroll(leaf)
    assert (answer.status, answer.body["code"]) == (409, "enrollment-in-progress")
    assert answer.body["action"] == "wait"
    assert int(answer.headers["retry-after"]) == answer.body["retryAfter"] > 0
    assert len(product.objects()) == 1


def test_a_committed_device_may_be_replaced(product: Product) -> None:
    """With `replace`, a second key gets a certificate whose first login supersedes the first certificate."""
    leaf = product.bootstrap("gw-1")
    old = product.certificate(product.enroll(leaf))
    assert product.call("POST", "/v1/certificates/commit", old).status == 200
    new = product.certificate(product.enroll(leaf))
    assert product.call("POST", "/v1/certificates/commit", old).status == 200
    assert product.call("POST", "/v1/certificates/commit", new).status == 200
    answer = product.call("POST", "/v1/certificates/commit", old)
    assert (answer.status, answer.body["code"], answer.body["action"]) == (
        403,
        "certificate-not-current",
        "reenroll",
    )


def test_a_commit_names_the_device_and_may_be_repeated(product: Product) -> None:
    """The first login with the new certificate makes it active, and a repeated commit changes nothing."""
    answer = product.enroll(product.bootstrap("gw-1"))
    leaf = product.certificate(answer)
    for _ in range(2):
        commit = product.call("POST", "/v1/certificates/commit", leaf)
        assert commit.status == 200
        assert commit.body["deviceId"] == "gw-1"
        assert commit.body["certificateId"] == answer.body["certificateId"]
        assert commit.body["status"] == "active"
    (row,) = [row for row in product.rows() if row["pk"]["S"] == "DEV#gw-1"]
    assert row["generation"]["N"] == "1"
    assert "pending" not in row


def test_every_body_carries_the_time(product: Product) -> None:
    """Every answer has the time, also a refusal, so that a device without a clock can set it."""
    for answer in (
        product.call("GET", "/healthz"),
        product.call("GET", "/nowhere"),
        product.enroll(product.bootstrap("gw-1")),
    ):
        answered = datetime.strptime(answer.body["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        assert abs((datetime.now(UTC) - answered).total_seconds()) < 60


def test_a_refusal_writes_nothing_and_a_fault_says_nothing(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error writes nothing and is answered with a 500 without detail."""
    monkeypatch.setattr(Enroll, "__call__", lambda *_: 1 / 0)
    answer = product.enroll(product.bootstrap("gw-1"))
    assert (answer.status, answer.body["code"]) == (500, "internal-error")
    assert "ZeroDivision" not in json.dumps(answer.body)
    assert answer.body["requestId"] == "request-1"
    assert product.rows() == []


def test_the_bucket_serves_what_the_url_names(product: Product) -> None:
    """The object behind the URL is PEM with the certificate first and the issuing CA second."""
    answer = product.enroll(product.bootstrap("gw-1"))
    key = f"certificates/gw-1/{answer.body['serial']}.pem"
    stored = boto3.client("s3").get_object(Bucket=product.bucket, Key=key)["Body"].read()
    leaf, issuer = x509.load_pem_x509_certificates(stored)
    assert issuer == product.ca
    assert chain.fingerprint(leaf) == answer.body["certificateId"]


@pytest.mark.parametrize(
    ("budget", "status", "code"),
    [
        (Budget(total=1, per_minute=9, until=from_epoch(4_000_000_000)), 403, "enrollment-budget-spent"),
        (Budget(total=9, per_minute=1, until=from_epoch(4_000_000_000)), 429, "enrollment-rate-exceeded"),
    ],
)
def test_a_groups_budget_is_kept(
    product: Product, monkeypatch: pytest.MonkeyPatch, budget: Budget, status: int, code: str
) -> None:
    """A device beyond its group's budget is refused with the limit's own code, and nothing is issued."""
    moment = product.lambdas.now()
    product.lambdas.clock = lambda: moment  # both in the same minute
    product.publish(groups={"gateways": group("gateways", product.factory, budget=budget)})
    assert product.enroll(product.bootstrap("gw-1")).status == 201
    answer = product.enroll(product.bootstrap("gw-2"))
    assert (answer.status, answer.body["code"]) == (status, code)
    assert len(product.objects()) == 1


def test_a_group_admits_no_device_after_its_end(product: Product) -> None:
    """A group admits no device after its budget's end."""
    over = Budget(total=9, per_minute=9, until=from_epoch(1_700_000_000))
    product.publish(groups={"gateways": group("gateways", product.factory, budget=over)})
    answer = product.enroll(product.bootstrap("gw-1"))
    assert (answer.status, answer.body["code"]) == (403, "enrollment-closed")


def test_a_group_that_refuses_keeps_its_devices(product: Product) -> None:
    """With `refuse`, a second enrollment of a device is refused, and its first identity stays valid."""
    product.publish(groups={"gateways": group("gateways", product.factory, reenroll="refuse", budget=None)})
    leaf = product.identity("gw-1")
    assert product.call("POST", "/v1/certificates/commit", leaf).status == 200
    answer = product.enroll(product.bootstrap("gw-1"))
    assert (answer.status, answer.body["code"], answer.body["action"]) == (409, "already-enrolled", "stop")
    assert product.call("POST", "/v1/certificates/commit", leaf).status == 200


@pytest.mark.parametrize("deliver", ["url", "inline"])
def test_the_configuration_comes_when_asked_for(product: Product, deliver: str) -> None:
    """A request for the configuration gets the group's, or an empty one; other requests get none."""
    assert product.enroll(product.bootstrap("gw-0"), configuration=True).body["configuration"] == {}
    start = {"interval": 60, "log": {"level": "info"}}
    gateways = replace(product.fleet.groups["gateways"], configuration=start)
    product.publish(groups={"gateways": gateways})
    bootstrap, key = product.bootstrap("gw-1"), factories.ec_key()
    answer = product.enroll(bootstrap, key, configuration=True, deliver=deliver)
    assert answer.body["configuration"] == start
    assert "configuration" not in product.enroll(bootstrap, key, deliver=deliver).body
    assert "configuration" not in product.enroll(bootstrap, key, configuration=False).body
    again = product.enroll(product.certificate(answer), configuration=True, deliver=deliver)
    assert again.body["configuration"] == start


def test_the_answer_says_when_aws_iot_knows_the_certificate(product: Product) -> None:
    """The answer is `ready` for MQTT only when this very certificate is registered in AWS IoT."""
    bootstrap, key = product.bootstrap("gw-1"), factories.ec_key()
    first = product.enroll(bootstrap, key)
    assert first.body["mqtt"]["ready"] is False
    assert first.body["mqtt"]["retryAfter"] >= RETRY_SECONDS
    _registered(product, "gw-1", "0" * 64)
    assert product.enroll(bootstrap, key).body["mqtt"]["ready"] is False
    _registered(product, "gw-1", first.body["certificateId"])
    for asked in ({}, {"deliver": "inline"}):
        state = product.enroll(bootstrap, key, **asked).body["mqtt"]
        assert (state["ready"], state["retryAfter"]) == (True, 0)
    renewed = product.enroll(product.certificate(first), factories.ec_key())
    assert renewed.body["mqtt"]["ready"] is False


def test_the_record_says_when_aws_iot_knows_the_certificate(product: Product) -> None:
    """The device's record shows when its certificate is ready for MQTT, too."""
    leaf = product.identity("gw-1")
    state = product.call("GET", "/v1/device", leaf).body["mqtt"]
    assert state["ready"] is False
    assert state["retryAfter"] >= RETRY_SECONDS
    _registered(product, "gw-1", chain.fingerprint(leaf))
    assert product.call("GET", "/v1/device", leaf).body["mqtt"] == {"ready": True, "retryAfter": 0}


def test_a_device_with_tokens_is_ready_at_once(product: Product) -> None:
    """A device that connects with tokens is ready at once, because its certificate is never registered."""
    product.publish(groups={"gateways": replace(product.fleet.groups["gateways"], mqtt="token")})
    answer = product.enroll(product.bootstrap("gw-1"))
    assert (answer.body["mqtt"]["ready"], answer.body["mqtt"]["retryAfter"]) == (True, 0)
    leaf = product.certificate(answer)
    assert product.call("GET", "/v1/device", leaf).body["mqtt"]["ready"] is True


def _registered(product: Product, device_id: str, certificate_id: str) -> None:
    """Record a certificate as registered, as `register` does."""
    boto3.client("dynamodb").update_item(
        TableName=product.table,
        Key=device_key(device_id),
        UpdateExpression="SET registered = :ids",
        ExpressionAttributeValues={":ids": {"SS": [certificate_id]}},
    )
