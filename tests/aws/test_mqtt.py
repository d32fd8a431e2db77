"""Test requests over MQTT (first boot, commit, credentials) as Lambda functions over moto."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any

import boto3
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from firstboot.aws import clients
from firstboot.aws.dynamodb import rows
from firstboot.aws.kms import KmsKey, public_key
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.domain import topics
from firstboot.domain.claim import RENEWALS_PER_DAY
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.errors import InternalError, Unavailable
from firstboot.domain.names import DeviceId
from firstboot.identity.connection import Connected
from firstboot.pki import chain, signature
from firstboot.runtime.mqtt import REQUEST_LOGGED
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.aws.mqtt import Client, event, published
from tests.aws.product import CONTEXT, Product
from tests.fleets import group

CERTIFICATES, COMMIT, CREDENTIALS = topics.CALLS


@pytest.fixture
def unenrolled(product: Product) -> Client:
    """Return a device that is connected with its bootstrap certificate."""
    return Client(product, "gw-1", product.bootstrap("gw-1"))


def boot(client: Client, **members: Any) -> dict[str, Any]:
    """Request a certificate with the bootstrap certificate."""
    request = {"csr": client.csr(), "bootstrap": factories.pem(client.leaf)} | members
    return client.ask(CERTIFICATES, **request)


def own(product: Product, client: Client) -> Client:
    """Return the device connected with the certificate that it requested."""
    answer = boot(client)
    key = f"certificates/{answer['deviceId']}/{answer['serial']}.pem"
    stored = boto3.client("s3").get_object(Bucket=product.bucket, Key=key)["Body"].read()
    return Client(product, answer["deviceId"], x509.load_pem_x509_certificates(stored)[0], client.key)


def test_first_boot(product: Product, unenrolled: Client) -> None:
    """A first boot gets the same members as over HTTPS, with its `clientToken`, on its own topic only."""
    answer = boot(unenrolled, clientToken="t-1")
    assert set(answer) == {
        "deviceId", "certificateId", "serial", "certificateUrl", "urlExpiresAt", "urlExpiresIn",
        "notAfter", "renewAfter", "renewIn", "mqtt", "time", "clientToken",
    }  # fmt: skip
    assert (answer["deviceId"], answer["clientToken"]) == ("gw-1", "t-1")
    assert len(published()) == 1
    assert len(product.objects()) == 1


def test_base64_der_is_accepted(unenrolled: Client) -> None:
    """The bootstrap certificate may be base64 of its DER, because PEM's line breaks are awkward in JSON."""
    answer = boot(
        unenrolled,
        bootstrap=factories.base64_text(unenrolled.leaf.public_bytes(Encoding.DER)),
        deliver="inline",
    )
    assert "certificate" in answer


def test_a_message_that_is_delivered_twice(product: Product, unenrolled: Client) -> None:
    """A message that is delivered twice gives one certificate and the same answer."""
    first, again = boot(unenrolled), boot(unenrolled)
    assert first["certificateId"] == again["certificateId"]
    assert len(product.objects()) == 1


def test_both_hosts_are_one_service(product: Product, unenrolled: Client) -> None:
    """A request over MQTT that is repeated over HTTPS gets the same certificate."""
    answer = boot(unenrolled)
    assert product.enroll(unenrolled.leaf, unenrolled.key).body["certificateId"] == answer["certificateId"]


def test_committing(product: Product, unenrolled: Client) -> None:
    """A commit over MQTT is accepted, and accepted again when it is repeated."""
    device = own(product, unenrolled)
    for _ in range(2):
        answer = device.ask(COMMIT, clientToken="c")
        assert answer["status"] == "active"
        assert (answer["certificateId"], answer["clientToken"]) == (device.principal, "c")
    assert product.operate("devices.show", deviceId="gw-1")["result"]["generation"] == 1


def test_renewing(product: Product, unenrolled: Client) -> None:
    """A request without `bootstrap` is a renewal with the operational certificate of the record."""
    device = own(product, unenrolled)
    fresh = replace(device, key=factories.ec_key())
    answer = fresh.ask(CERTIFICATES, csr=fresh.csr())
    assert answer["certificateId"] != device.principal
    assert product.operate("devices.show", deviceId="gw-1")["result"]["pending"]["serial"] == answer["serial"]


def test_credentials(product: Product, unenrolled: Client) -> None:
    """The credentials have AWS IoT's members, and the request is a login that commits."""
    device = own(product, unenrolled)
    answer = device.ask(CREDENTIALS, roleAlias="telemetry")
    assert set(answer) == {"credentials", "time"}
    assert set(answer["credentials"]) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}
    assert product.operate("devices.show", deviceId="gw-1")["result"]["active"] is not None


def test_answers_are_published_by_their_calls(
    product: Product, unenrolled: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials are published with QoS 0 and other answers with QoS 1, and all end after two minutes."""
    device = own(product, unenrolled)
    device.ask(COMMIT)
    told: dict[str, tuple[int, bool, int]] = {}

    def publish(*, topic: str, qos: int, retain: bool, messageExpiry: int, payload: bytes) -> None:  # noqa: N803
        told[topic.removeprefix("firstboot/gw-1/")] = (qos, retain, messageExpiry)

    monkeypatch.setattr(clients.iot_data(), "publish", publish)
    for call in topics.CALLS:
        device.send(call, {"csr": device.csr()} if call is CERTIFICATES else {})
    device.send(CREDENTIALS, {"roleAlias": "telemetry"})
    assert told == {
        "certificates/accepted": (1, False, 120),
        "certificates/commit/accepted": (1, False, 120),
        "credentials/rejected": (0, False, 120),
        "credentials/accepted": (0, False, 120),
    }


def test_each_request_has_one_line_with_its_client(
    product: Product, unenrolled: Client, logs: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request has one log line that names its client, also if it is refused, malformed or fails."""
    boot(unenrolled)
    unenrolled.send(COMMIT, {})
    for payload in (b"", b"[]", b"x" * 200_000):
        unenrolled.send(CREDENTIALS, payload)
    monkeypatch.setattr(Connected, "__call__", lambda *_: 1 / 0)
    with pytest.raises(InternalError):
        boot(unenrolled)
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    found = [(line["clientId"], line["call"]) for line in lines if line["message"] == REQUEST_LOGGED]
    asked = [CERTIFICATES, COMMIT, CREDENTIALS, CREDENTIALS, CREDENTIALS, CERTIFICATES]
    assert found == [("gw-1", call.request) for call in asked]


def test_connecting_commits(product: Product, unenrolled: Client) -> None:
    """A connection with the pending certificate commits it, once."""
    device = own(product, unenrolled)
    product.lambdas.presence({"clientId": "gw-1", "principalIdentifier": unenrolled.principal}, CONTEXT)
    assert product.operate("devices.show", deviceId="gw-1")["result"]["active"] is None
    for _ in range(2):
        product.lambdas.presence({"clientId": "gw-1", "principalIdentifier": device.principal}, CONTEXT)
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    assert (shown["active"]["certificateId"], shown["generation"]) == (device.principal, 1)
    assert len(published()) == 1


def test_connecting_reads_no_fleet(product: Product, unenrolled: Client) -> None:
    """A connection commits without a read of the published fleet, for which its function has no right."""
    device, read = own(product, unenrolled), list[str]()
    clients.s3(ACCOUNT).meta.events.register(
        "before-parameter-build.s3.GetObject", lambda params, **_: read.append(params["Key"])
    )
    product.lambdas.presence({"clientId": "gw-1", "principalIdentifier": device.principal}, CONTEXT)
    assert product.operate("devices.show", deviceId="gw-1")["result"]["active"] is not None
    assert read
    assert all(key.startswith("certificates/gw-1/") for key in read)


def test_a_false_presence_event_commits_nothing(product: Product, unenrolled: Client) -> None:
    """A presence event of a token's client or an unknown device, or a malformed one, commits nothing."""
    own(product, unenrolled)
    events: list[Any] = [
        {"clientId": "gw-1", "principalIdentifier": "TGJXA"},
        {"clientId": "gw-2", "principalIdentifier": "a" * 64},
        {"clientId": "gw/1", "principalIdentifier": "a" * 64},
        {"clientId": "gw-1"},
        {"clientId": "gw-1", "principalIdentifier": "a" * 64, "version": "2.0"},
        [],
    ]
    for forged in events:
        product.lambdas.presence(forged, CONTEXT)
    assert product.operate("devices.show", deviceId="gw-1")["result"]["active"] is None


def test_a_presence_that_can_not_be_written_is_kept(
    product: Product, unenrolled: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A presence event that cannot be written fails, so that Lambda repeats it and then keeps it."""
    device = own(product, unenrolled)
    clients.dynamodb.cache_clear()
    monkeypatch.setenv("FIRSTBOOT_TABLE", "gone")
    product.lambdas.restart()
    with pytest.raises(Unavailable):
        product.lambdas.presence({"clientId": "gw-1", "principalIdentifier": device.principal}, CONTEXT)


@pytest.fixture
def batch(product: Product) -> x509.Certificate:
    """Return a claim certificate, for which one device is expected."""
    factory = factories.authority()
    budget = group("x", factory).budget
    shared = group(
        "batch",
        factory,
        device_id="request.deviceId",
        reenroll="refuse",
        budget=replace(budget, freeze_per_hour=100),  # type: ignore[type-var]
    )
    product.publish(groups=product.fleet.groups | {"batch": shared})
    product.operate("groups.expect", group="batch", devices={"gw-7": {}})
    return factory.issue("batch 7", factories.ec_key())


def test_a_shared_certificate_connects_under_the_prefix(product: Product, batch: x509.Certificate) -> None:
    """A claim certificate must connect under `boot-` and the device id that it asks for."""
    answer = boot(Client(product, "boot-gw-7", batch), deviceId="gw-7")
    assert answer["deviceId"] == "gw-7"
    for client_id in ("gw-7", "boot-gw-8"):
        client = Client(product, client_id, batch)
        request = {"csr": client.csr(), "bootstrap": factories.pem(batch), "deviceId": "gw-7"}
        assert client.refused(CERTIFICATES, request) == "device-id-mismatch"


def test_a_bootstrap_certificate_of_its_own_has_no_prefix(product: Product, unenrolled: Client) -> None:
    """A per-device bootstrap certificate must connect under the device's own id, without the prefix."""
    for client_id in ("boot-gw-1", "gw-2"):
        client = replace(unenrolled, client_id=client_id)
        request = {"csr": client.csr(), "bootstrap": factories.pem(client.leaf)}
        assert client.refused(CERTIFICATES, request) == "device-id-mismatch"
    assert not product.objects()


@pytest.mark.parametrize(
    ("changes", "client_id"),
    [
        ({"device_id": "subject.serialNumber"}, "gw-90"),
        ({"device_id": "subject.serialNumber", "pattern": "gw-(..)"}, "boot-90"),
        ({"strip_suffix": " LUMEN"}, "boot-gw-8"),
        ({"device_id": "san.dns"}, "boot-gw-7"),
    ],
)
def test_the_source_of_the_id_decides_the_client_id(
    product: Product, changes: dict[str, Any], client_id: str
) -> None:
    """A device enrolls over MQTT as its id if AWS IoT has a variable for it, and otherwise with `boot-`."""
    maker = factories.authority("Element CA")
    product.publish(groups=product.fleet.groups | {"elements": group("elements", maker, **changes)})
    parts = [(NameOID.COMMON_NAME, "gw-8 LUMEN"), (NameOID.SERIAL_NUMBER, "gw-90")]
    leaf = maker.issue(
        "",
        factories.ec_key(),
        subject=x509.Name([x509.NameAttribute(oid, value) for oid, value in parts]),
        extra=[(x509.SubjectAlternativeName([x509.DNSName("GW-7")]), False)],
    )
    name = client_id.removeprefix("boot-")
    for other in (name if client_id != name else f"boot-{name}", "gw-8 LUMEN"):
        client = Client(product, other, leaf)
        request = {"csr": client.csr(), "bootstrap": factories.pem(leaf)}
        assert client.refused(CERTIFICATES, request) == "device-id-mismatch"
    assert boot(Client(product, client_id, leaf))["deviceId"] == name


def test_another_bootstrap_certificate_is_refused(product: Product, unenrolled: Client) -> None:
    """A device cannot enroll with another bootstrap certificate than that of its connection."""
    stolen = factories.pem(product.bootstrap("gw-1"))
    assert (
        unenrolled.refused(CERTIFICATES, {"csr": unenrolled.csr(), "bootstrap": stolen})
        == "principal-mismatch"
    )
    assert not product.objects()


def test_an_operational_certificate_under_another_client_id(product: Product, unenrolled: Client) -> None:
    """An operational certificate under another client id is refused every call."""
    device = own(product, unenrolled)
    own(product, Client(product, "gw-2", product.bootstrap("gw-2")))
    for call, request in ((COMMIT, {}), (CREDENTIALS, {"roleAlias": "telemetry"})):
        foreign = replace(device, client_id="gw-2")
        assert foreign.refused(call, request) == "certificate-not-current"
    shown = {"csr": device.csr(), "bootstrap": factories.pem(device.leaf)}
    assert replace(device, client_id="gw-2").refused(CERTIFICATES, shown) == "device-id-mismatch"


def test_a_certificate_that_was_never_issued_rings(
    product: Product, ca_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A renewal with a certificate of our CA that was never issued counts as forged over MQTT too."""
    ca = KmsKey(clients.kms(), ca_key, public_key(clients.kms(), ca_key))
    forged = Client(product, "gw-1", factories.Authority(product.ca, ca).issue("gw-1", factories.ec_key()))
    request = {"csr": forged.csr(), "bootstrap": factories.pem(forged.leaf)}
    assert forged.refused(CERTIFICATES, request) == "certificate-forged"
    assert '"CertificateForged":[1' in capsys.readouterr().out.replace(" ", "")
    assert not product.objects()


def test_renewals_beyond_the_limit_wait(product: Product, unenrolled: Client, logs: io.StringIO) -> None:
    """A renewal over MQTT beyond the day's limit waits until the next day, and the log has its device."""
    device = own(product, unenrolled)
    device.ask(COMMIT)
    noon = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), time(12), UTC)
    product.lambdas.clock = lambda: noon
    boto3.client("dynamodb").update_item(
        TableName=product.table,
        Key=rows.device_key("gw-1"),
        UpdateExpression="SET renewalDay = :day, renewals = :limit",
        ExpressionAttributeValues=rows.values(
            {":day": rows.day_number(noon.date()), ":limit": RENEWALS_PER_DAY}
        ),
    )
    again = replace(device, key=factories.ec_key())
    ((topic, problem),) = again.send(CERTIFICATES, {"csr": again.csr()})
    assert topic == CERTIFICATES.rejected_topic("gw-1")
    assert (problem["code"], problem["action"]) == ("renewal-rate-exceeded", "wait")
    assert 12 * 3_600 <= problem["retryAfter"] <= 12 * 3_600 + 60
    assert f"gw-1 has renewed {RENEWALS_PER_DAY} times on" in logs.getvalue()


def test_a_bootstrap_certificate_may_only_enroll(unenrolled: Client) -> None:
    """A bootstrap certificate can neither commit nor get credentials, before or after its enrollment."""
    for _ in range(2):
        assert unenrolled.refused(COMMIT, {}) == "certificate-not-current"
        assert unenrolled.refused(CREDENTIALS, {"roleAlias": "telemetry"}) == "certificate-not-current"
        boot(unenrolled)


def test_a_connection_without_a_certificate(unenrolled: Client) -> None:
    """A client that connected without a certificate, by a token or a signature, is refused."""
    principal = "TGJXA"
    topic = CERTIFICATES.request_topic("gw-1")
    body = json.dumps({"csr": unenrolled.csr(), "bootstrap": factories.pem(unenrolled.leaf)}).encode()
    unenrolled.product.lambdas.exchange_mqtt(event("gw-1", principal, topic, body), CONTEXT)
    assert published()[-1][1]["code"] == "proof-required"


def test_a_revoked_device_is_refused(product: Product, unenrolled: Client) -> None:
    """A revoked device is refused every call, with its operational and its bootstrap certificate."""
    device = own(product, unenrolled)
    device.ask(COMMIT)
    product.operate("devices.revoke", deviceId="gw-1")
    assert device.refused(COMMIT, {}) == "device-revoked"
    assert device.refused(CREDENTIALS, {"roleAlias": "telemetry"}) == "device-revoked"
    assert device.refused(CERTIFICATES, {"csr": device.csr()}) == "device-revoked"
    bootstrap = {"csr": unenrolled.csr(), "bootstrap": factories.pem(unenrolled.leaf)}
    assert unenrolled.refused(CERTIFICATES, bootstrap) == "device-revoked"


def test_a_superseded_certificate_has_no_rights(product: Product, unenrolled: Client) -> None:
    """A superseded certificate can only fetch its successor."""
    old = own(product, unenrolled)
    old.ask(COMMIT)
    fresh = replace(old, key=factories.ec_key())
    answer = fresh.ask(CERTIFICATES, csr=fresh.csr())
    key = f"certificates/gw-1/{answer['serial']}.pem"
    stored = boto3.client("s3").get_object(Bucket=product.bucket, Key=key)["Body"].read()
    new = Client(product, "gw-1", x509.load_pem_x509_certificates(stored)[0], fresh.key)
    new.ask(COMMIT)
    assert old.refused(CREDENTIALS, {"roleAlias": "telemetry"}) == "certificate-not-current"
    assert fresh.ask(CERTIFICATES, csr=fresh.csr())["certificateId"] == new.principal


def test_no_grant(product: Product, unenrolled: Client) -> None:
    """The rules decide over MQTT as over HTTPS."""
    device = own(product, unenrolled)
    product.operate("devices.set", deviceId="gw-1", attributes={"quarantined": True})
    assert device.refused(CREDENTIALS, {"roleAlias": "telemetry"}) == "no-grant"
    assert device.refused(CREDENTIALS, {"roleAlias": "nothing"}) == "role-alias-not-found"


@pytest.mark.parametrize(
    ("call", "payload", "code"),
    [
        (CERTIFICATES, b"\xff\x00", "malformed-json"),
        (CERTIFICATES, b"", "malformed-json"),
        (CERTIFICATES, b"[" * 10_000, "malformed-json"),
        (CERTIFICATES, b"[]", "malformed-request"),
        (CERTIFICATES, {"csr": "x" * 20_000}, "body-too-large"),
        (CERTIFICATES, {"csr": 1, "bootstrap": "x"}, "malformed-request"),
        (CERTIFICATES, {"csr": "x", "bootstrap": "x"}, "certificate-malformed"),
        (CERTIFICATES, {"csr": "", "bootstrap": 1}, "malformed-request"),
        (CERTIFICATES, {"csr": "", "bootstrap": "-----BEGIN CERTIFICATE-----"}, "certificate-malformed"),
        (CERTIFICATES, {"csr": "", "bootstrap": "A" * 16_000}, "certificate-malformed"),
        (CERTIFICATES, {"csr": "", "clientToken": "t" * 65}, "malformed-request"),
        (CERTIFICATES, {"csr": "", "clientToken": 7}, "malformed-request"),
        (COMMIT, {"status": "active"}, "malformed-request"),
        (CREDENTIALS, {}, "malformed-request"),
        (CREDENTIALS, {"roleAlias": ["telemetry"]}, "malformed-request"),
        (CREDENTIALS, {"roleAlias": "telemetry", "deviceId": "gw-2"}, "malformed-request"),
    ],
)
def test_bad_requests(unenrolled: Client, call: topics.Call, payload: Any, code: str) -> None:
    """Each bad request is refused with its code on the client's own topic."""
    assert unenrolled.refused(call, payload) == code


def test_an_unknown_member_is_refused(unenrolled: Client) -> None:
    """An unknown member is refused as over HTTPS, so that a misspelled one is not ignored."""
    request = {"csr": unenrolled.csr(), "bootstrap": factories.pem(unenrolled.leaf), "delivr": "inline"}
    assert unenrolled.refused(CERTIFICATES, request) == "malformed-request"


def _events(leaf: x509.Certificate) -> dict[str, Any]:
    principal = chain.fingerprint(leaf)
    body = json.dumps({"csr": factories.pem(factories.csr(factories.ec_key()))}).encode()
    own_topic = CERTIFICATES.request_topic("gw-1")
    good = event("gw-1", principal, own_topic, body)
    return {
        "another's topic": good | {"topic": CERTIFICATES.request_topic("gw-2")},
        "another's id": good | {"clientId": "gw-2"},
        "an answer's topic": good | {"topic": CERTIFICATES.accepted_topic("gw-1")},
        "a wildcard": event("+", principal, CERTIFICATES.request_topic("+"), body),
        "two levels": event("gw-1/x", principal, CERTIFICATES.request_topic("gw-1/x"), body),
        "no principal": {name: value for name, value in good.items() if name != "principal"},
        "no text": good | {"principal": 7},
        "an API event": good | {"requestContext": {"http": {"method": "POST"}}, "version": "2.0"},
        "an operator's call": {"operation": "devices.revoke", "parameters": {"deviceId": "gw-1"}},
        "nothing": None,
    }


@pytest.mark.parametrize("forged", _events(factories.authority().certificate))
def test_an_event_of_no_rule_of_ours_is_not_answered(
    product: Product, unenrolled: Client, forged: str, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """An event that no topic rule of ours would pass is logged and counted, and not answered."""
    for handler in (product.lambdas.exchange_mqtt, product.lambdas.vend_mqtt):
        handler(_events(unenrolled.leaf)[forged], CONTEXT)
    assert not published()
    assert not product.objects()
    assert logs.getvalue().count('"code":"malformed-request"') == 2
    assert capsys.readouterr().out.count('"MalformedRequest"') >= 2


def test_http_handlers_refuse_the_event_of_a_rule(product: Product, unenrolled: Client) -> None:
    """An HTTP handler refuses a topic rule's event, and a payload that imitates an API event is only text."""
    body = json.dumps({"csr": unenrolled.csr()})
    imitation = {
        "version": "2.0",
        "requestContext": {
            "http": {"method": "POST", "path": "/v1/certificates"},
            "authentication": {"clientCert": {"clientCertPem": factories.pem(product.bootstrap("gw-2"))}},
        },
        "body": body,
    }
    assert unenrolled.refused(CERTIFICATES, imitation) == "malformed-request"
    topic = CERTIFICATES.request_topic("gw-1")
    answer = product.lambdas.exchange_http(
        event("gw-1", unenrolled.principal, topic, json.dumps(imitation).encode()), CONTEXT
    )
    assert answer["statusCode"] in (404, 500)
    assert not product.objects()


def test_an_answer_that_can_not_be_published_is_kept(
    product: Product, unenrolled: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an answer cannot be published the handler fails, and its repetition finds the certificate."""

    def lost(**_: object) -> None:
        raise Unavailable(log="Publish: Throttled")

    with monkeypatch.context() as patched:
        patched.setattr(clients.iot_data(), "publish", lost)
        with pytest.raises(Unavailable):
            boot(unenrolled)
    answer = boot(unenrolled)
    assert [f"certificates/gw-1/{answer['serial']}.pem"] == product.objects()


def test_an_unforeseen_error_is_answered_and_kept(
    unenrolled: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error is answered with a retry, and fails the handler so that the request is kept."""
    monkeypatch.setattr(Connected, "__call__", lambda *_: 1 / 0)
    with pytest.raises(InternalError):
        boot(unenrolled, clientToken="t")
    topic, problem = published()[-1]
    assert topic == CERTIFICATES.rejected_topic("gw-1")
    assert (problem["code"], problem["action"], problem["clientToken"]) == ("internal-error", "retry", "t")


def test_a_delayed_certificate_has_no_url(unenrolled: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delayed certificate is an accepted answer without a URL, and the device repeats its request later."""

    def lost(*_: object) -> None:
        raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(S3CertificateStore, "put", lost)
        assert set(boot(unenrolled)) == {"deviceId", "retryAfter", "time"}
    assert "certificateUrl" in boot(unenrolled)


def test_no_secret_in_a_log(product: Product, unenrolled: Client, logs: io.StringIO) -> None:
    """No presigned URL and no credentials are logged."""
    answer = boot(unenrolled)
    device = own(product, unenrolled)
    credentials = device.ask(CREDENTIALS, roleAlias="telemetry")["credentials"]
    text = logs.getvalue()
    assert "gw-1" in text
    for secret in (answer["certificateUrl"], "X-Amz-Signature", *credentials.values()):
        assert secret == credentials["expiration"] or secret not in text


@pytest.fixture
def imported(product: Product) -> Client:
    """Return an imported device, whose certificate is of a CA that Firstboot does not know."""
    return recorded(product, factories.authority("AWS IoT"))


def recorded(product: Product, issuer: factories.Authority) -> Client:
    """Return a device that was imported with a certificate of `issuer`."""
    key, now = factories.ec_key(), whole_seconds(datetime.now(UTC))
    leaf = issuer.issue("AWS IoT Certificate", key)
    record = CertificateRecord(
        f"{leaf.serial_number:x}", signature.spki_fingerprint(key.public_key()),
        now, now + timedelta(minutes=15), now,
        certificate_id=chain.fingerprint(leaf),
    )  # fmt: skip
    device = Device(DeviceId("gw-9"), "gateways", Status.ENROLLED, 0, now, now, active=record)
    row = {
        "deviceId": device.device_id, "group": device.group, "status": device.status.value,
        "generation": 0, "createdAt": now, "updatedAt": now, "active": rows.certificate_row(record),
        "attributes": {}, "claims": {},
    }  # fmt: skip
    item = rows.device_key("gw-9") | rows.values(row)
    boto3.client("dynamodb").put_item(TableName=product.table, Item=item)
    boto3.client("s3").put_object(
        Bucket=product.bucket, Key=f"certificates/gw-9/{record.serial}.pem", Body=factories.pem(leaf)
    )
    return Client(product, "gw-9", leaf, key)


def test_an_imported_device_renews(product: Product, imported: Client) -> None:
    """An imported device can renew with the certificate that its record names."""
    answer = imported.ask(CERTIFICATES, csr=imported.csr())
    stored = (
        boto3.client("s3")
        .get_object(Bucket=product.bucket, Key=f"certificates/gw-9/{answer['serial']}.pem")["Body"]
        .read()
    )
    new = Client(product, "gw-9", x509.load_pem_x509_certificates(stored)[0], imported.key)
    new.leaf.verify_directly_issued_by(product.ca)
    new.ask(COMMIT)
    shown = product.operate("devices.show", deviceId="gw-9")["result"]
    assert shown["active"]["certificateId"] == new.principal
    assert shown["superseded"]["certificateId"] == imported.principal


def test_an_imported_certificate_may_only_renew(product: Product, imported: Client) -> None:
    """An imported certificate can only renew, and only under its own device id."""
    assert imported.refused(CREDENTIALS, {"roleAlias": "telemetry"}) == "operational-certificate-required"
    assert imported.refused(COMMIT, {}) == "operational-certificate-required"
    own(product, Client(product, "gw-1", product.bootstrap("gw-1")))
    foreign = replace(imported, client_id="gw-1")
    assert foreign.refused(CERTIFICATES, {"csr": foreign.csr()}) == "certificate-not-current"
    shown = {"csr": imported.csr(), "bootstrap": factories.pem(imported.leaf)}
    assert imported.refused(CERTIFICATES, shown) == "certificate-untrusted"
    assert product.enroll(imported.leaf, imported.key).body["code"] == "certificate-untrusted"
