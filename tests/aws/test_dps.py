"""Devices that speak Azure DPS's protocol enroll, over moto."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws import clients
from firstboot.domain.clock import from_epoch, utc_now
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import DeviceId
from firstboot.domain.plans import Budget
from firstboot.domain.secret_keys import KeyPair
from firstboot.domain.ways import DEFAULT
from firstboot.pki import certificate as certificates
from tests import factories
from tests.aws.product import Answer, Product
from tests.fleets import fleet, group

SCOPE = "0ne00000A0B"
KEYS = KeyPair(b"p" * 64, b"s" * 64)
VERSION = {"api-version": "2019-03-31"}
WAYS = (*DEFAULT, "dps")
REFUSED = (401, "shared-access-signature-refused")
UNTIL = from_epoch(4_102_444_800)


def sas(
    key: bytes, resource: str, ends: timedelta = timedelta(hours=1), changes: dict[str, str] | None = None
) -> str:
    """Return a shared access signature as Microsoft's Node client makes it, which does not escape `sr`."""
    expiry = str(int((datetime.now(UTC) + ends).timestamp()))
    mac = hmac.new(key, f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    parts = {
        "sr": resource,
        "sig": quote(base64.b64encode(mac), safe=""),
        "skn": "registration",
        "se": expiry,
    }
    joined = "&".join(f"{name}={value}" for name, value in (parts | (changes or {})).items() if value)
    return f"SharedAccessSignature {joined}"


def derive(group_key: bytes, name: str) -> bytes:
    """Return the key of a device, as Microsoft documents its derivation."""
    return hmac.new(group_key, name.encode(), hashlib.sha256).digest()


@dataclass
class Device:
    """A device of DPS. Without a certificate it signs with `key`; `signs` is the id that it signs for."""

    product: Product
    name: str
    key: bytes = b""
    leaf: x509.Certificate | None = None
    signs: str = ""
    scope: str = SCOPE
    version: str | None = "2019-03-31"
    authorization: str = ""

    def __post_init__(self) -> None:
        """Give the device the key that derives from the primary key of the group, and make its own key."""
        self.key = self.key or derive(KEYS.primary, self.name.lower())
        self.board: factories.PrivateKey = factories.ec_key()

    def headers(self) -> dict[str, str]:
        """Return the headers of a request."""
        found = {"content-type": "application/json; charset=utf-8"}
        if self.leaf is None:
            made = sas(self.key, f"{self.scope}/registrations/{self.signs or self.name}")
            found["authorization"] = self.authorization or made
        return found

    def call(self, method: str, rest: str, body: Any) -> Answer:
        """Send a request, and return the answer, whose refusal must have DPS's form."""
        query = {"api-version": self.version} if self.version else {}
        path = f"/{self.scope}/registrations/{quote(self.name, safe='')}{rest}"
        text = body if isinstance(body, str) else json.dumps(body)
        answer = self.product.call(method, path, self.leaf, text, self.headers(), query)
        if answer.status >= 400:
            assert answer.body["errorCode"] // 1_000 == answer.status
            assert set(answer.body) == {"errorCode", "trackingId", "message", "info", "timestampUtc"}
        return answer

    def register(self, **members: Any) -> Answer:
        """Register the device with a CSR."""
        payload = {"csr": factories.pem(factories.csr(self.board))} | members
        return self.call("PUT", "/register", {"registrationId": self.name, "payload": payload})

    def poll(self, operation: str) -> Answer:
        """Ask for the result, with a body as Microsoft's Node client sends it."""
        return self.call("GET", f"/operations/{operation}", {})

    def state(self) -> Answer:
        """Look the registration up."""
        return self.call("POST", "", {"registrationId": self.name})

    def assigned(self) -> dict[str, Any]:
        """Register the device, and return the state with its certificate."""
        answer = self.register()
        assert answer.status == 202, answer.body
        found = self.poll(answer.body["operationId"])
        assert found.status == 200, found.body
        state: dict[str, Any] = found.body["registrationState"]
        return state


def code(answer: Answer) -> tuple[int, str]:
    """Return the status and Firstboot's code of a refusal."""
    return answer.status, answer.body["info"]["code"]


def certificate(state: dict[str, Any]) -> x509.Certificate:
    """Return the certificate in a registration's state."""
    return x509.load_der_x509_certificate(base64.b64decode(state["payload"]["certificate"]))


def sensors(**changes: Any) -> Group:
    """Return a group whose devices have symmetric keys, and which has no trust anchor."""
    return group("sensors", factories.authority(), trust=(), ways=WAYS, symmetric_key=True, **changes)


def put_keys(keys: KeyPair, name: str = "sensors") -> None:
    """Set the keys of a group."""
    client = boto3.client("secretsmanager")
    try:
        client.create_secret(Name=f"Firstboot/groups/{name}", SecretString=keys.to_json())
    except ClientError:
        client.put_secret_value(SecretId=f"Firstboot/groups/{name}", SecretString=keys.to_json())


@pytest.fixture
def dps(product_of: Callable[[factories.Authority, Fleet], Product]) -> Product:
    """Return the Lambda functions of a fleet with a group of symmetric keys and one of certificates."""
    factory = factories.authority()
    gateways = group("gateways", factory, ways=WAYS)
    made = product_of(factory, replace(fleet(gateways, sensors()), id_scope=SCOPE))
    put_keys(KEYS)
    return made


def regroup(product: Product, *groups: Group) -> None:
    """Publish a fleet with other groups."""
    product.publish(groups={each.name: each for each in groups})


def by_certificate(product: Product, name: str) -> Device:
    """Return a device that attests itself with its bootstrap certificate."""
    return Device(product, name, leaf=product.bootstrap(name))


@pytest.mark.parametrize("version", ["2019-03-31", "2021-06-01", "2021-10-01"])
@pytest.mark.parametrize("group_key", [KEYS.primary, KEYS.secondary])
def test_a_device_with_a_symmetric_key_gets_a_certificate(
    dps: Product, version: str, group_key: bytes
) -> None:
    """A device whose key derives from either key of its group gets a certificate and logs in with it."""
    device = Device(dps, "sn-1", key=derive(group_key, "sn-1"), version=version)
    asked = device.register(claims={"model": "m"})
    assert asked.status == 202
    assert asked.body["status"] == "assigning"
    assert asked.headers["retry-after"] == "1"
    polled = device.poll(asked.body["operationId"])
    state = polled.body["registrationState"]
    assert (polled.status, polled.body["status"], state["status"]) == (200, "assigned", "assigned")
    assert (state["assignedHub"], state["deviceId"]) == ("iot.example.com", "sn-1")
    assert state["substatus"] == "initialAssignment"
    leaf = certificate(state)
    assert leaf.public_key() == device.board.public_key()
    assert dps.call("POST", "/v1/certificates/commit", leaf, "{}").status == 200
    record = dps.records.device(DeviceId("sn-1"))
    assert record is not None
    assert record.way == "dps"
    assert record.enrolled_by == hashlib.sha256(device.key).hexdigest()
    assert record.claims == {"model": "m"}
    assert record.anchor is not None
    assert record.anchor.key == hashlib.sha256(group_key).hexdigest()


def test_a_device_with_a_certificate_gets_a_certificate(dps: Product) -> None:
    """A device with a bootstrap certificate gets a certificate, and keeps the id in its own spelling."""
    device = replace(by_certificate(dps, "GW-1"), name="gw-1")
    state = device.assigned()
    assert (state["registrationId"], state["deviceId"]) == ("gw-1", "GW-1")
    assert code(replace(device, name="gw-2").register()) == (403, "device-id-mismatch")


def test_a_repeat_gets_the_same_certificate(dps: Product) -> None:
    """A repeated registration gives the same operation, and a lookup of the state the same certificate."""
    device = Device(dps, "sn-1")
    first, again, looked_up = device.assigned(), device.assigned(), device.state()
    assert looked_up.status == 200
    for other in (again, looked_up.body):
        assert other | {"payload": {}} == first | {"payload": {}}
        assert certificate(other) == certificate(first)
    assert len(dps.objects()) == 1


def test_names_are_in_lower_case(dps: Product) -> None:
    """A registration id in upper case is the same device, whose key derives from the lower case."""
    assert Device(dps, "SN-1").assigned()["deviceId"] == "sn-1"
    assert Device(dps, "sn-1", signs="SN-1", key=derive(KEYS.primary, "SN-1")).register().status == 401


@pytest.mark.parametrize("name", ["a" * 65, "-x", "a b", "firstboot", "boot-1", "s%6E", "a/b"])
def test_a_name_that_is_no_device_id_is_refused(dps: Product, name: str) -> None:
    """A registration id that is no device id, or has over 64 characters, is refused with 400."""
    before = dps.rows()
    assert Device(dps, name, key=derive(KEYS.primary, name)).register().status in (400, 404)
    assert dps.rows() == before
    assert Device(dps, "a" * 64).register().status == 202


@pytest.mark.parametrize(
    "changes",
    [
        {"sr": f"{SCOPE}/registrations/sn-2"},
        {"sr": "other/registrations/sn-1"},
        {"sr": f"{SCOPE}/registrations/sn-1/x"},
        {"skn": "iothubowner"},
        {"sig": quote(base64.b64encode(b"x" * 32), safe="")},
        {"sig": "%%%"},
        {"se": "1"},
        {"se": "x"},
        {"se": "9" * 13},
    ],
    ids=str,
)
def test_another_signature_is_refused(dps: Product, changes: dict[str, str]) -> None:
    """A signature for another resource or policy, one that has ended, and a wrong one are refused."""
    before = dps.rows()
    device = Device(dps, "sn-1")
    device.authorization = sas(device.key, f"{SCOPE}/registrations/sn-1", changes=changes)
    assert code(device.register()) == REFUSED
    assert device.register().body["errorCode"] == 401_002
    assert dps.rows() == before


def test_a_signature_that_has_ended_is_refused(dps: Product) -> None:
    """A signature is refused from its end on, and is accepted however late it ends, as by DPS."""
    device = Device(dps, "sn-1")
    resource = f"{SCOPE}/registrations/sn-1"
    device.authorization = sas(device.key, resource, timedelta(seconds=-1))
    assert code(device.register()) == REFUSED
    device.authorization = sas(device.key, resource, timedelta(days=36_500))
    assert device.register().status == 202


def test_an_escaped_resource_is_the_same(dps: Product) -> None:
    """The signature is over the resource as it was sent, and the decoded resource is compared."""
    device = Device(dps, "sn-1")
    device.authorization = sas(device.key, quote(f"{SCOPE}/registrations/sn-1", safe=""))
    assert device.register().status == 202


@pytest.mark.parametrize("authorization", ["", "Bearer x", "SharedAccessSignature ", "x" * 3_000])
def test_a_request_without_a_signature_is_refused(dps: Product, authorization: str) -> None:
    """A request with neither a certificate nor a signature, and one with a long header, is refused."""
    device = Device(dps, "sn-1", authorization=authorization or "Basic x")
    for answer in (device.register(), device.poll("1"), device.state()):
        assert code(answer) == REFUSED


def test_another_devices_key_is_refused(dps: Product) -> None:
    """A device's key signs for no other device, and the group's own key for none."""
    assert code(Device(dps, "sn-1", key=derive(KEYS.primary, "sn-2")).register()) == REFUSED
    assert code(Device(dps, "sn-1", key=KEYS.primary).register()) == REFUSED


def test_another_services_scope_is_refused(dps: Product) -> None:
    """A request with another id scope is refused. The scope has no case, as in Azure."""
    assert code(Device(dps, "sn-1", scope="0ne00000A0C").register()) == REFUSED
    assert Device(dps, "sn-1", scope=SCOPE.lower()).register().status == 202


@pytest.mark.parametrize("version", [None, "2018-11-01", "2021-10-01-preview"])
def test_another_version_is_refused(dps: Product, version: str | None) -> None:
    """A request of another version is refused before anything of it is read."""
    device = Device(dps, "sn-1", version=version, authorization="Basic x")
    for answer in (device.register(), device.poll("1"), device.state()):
        assert code(answer) == (400, "api-version-unsupported")


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("{", (400, "malformed-json")),
        ("[]", (400, "malformed-request")),
        ({"registrationId": "sn-1"}, (400, "malformed-request")),
        ({"payload": {}}, (400, "malformed-request")),
        ({"payload": {"csr": "x"}}, (400, "malformed-csr")),
        ({"payload": {"csr": "x", "claims": {"a b": 1}}}, (400, "malformed-request")),
        ({"payload": {"csr": "x"}, "tpm": {}}, (400, "malformed-request")),
        ({"payload": {"csr": "x"}, "registrationId": "sn-2"}, (403, "device-id-mismatch")),
        ("x" * 20_000, (413, "body-too-large")),
    ],
    ids=lambda each: str(each)[:40],
)
def test_a_bad_body_is_refused(dps: Product, body: Any, refused: tuple[int, str]) -> None:
    """A bad body is refused in DPS's form and writes nothing."""
    before = dps.rows()
    assert code(Device(dps, "sn-1").call("PUT", "/register", body)) == refused
    assert dps.rows() == before


def test_a_body_of_another_type_is_refused(dps: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that is no JSON by its content type is refused."""
    device = Device(dps, "sn-1")
    headers = device.headers() | {"content-type": "text/plain"}
    monkeypatch.setattr(device, "headers", lambda: headers)
    assert code(device.register()) == (415, "unsupported-media-type")


def test_keys_are_rolled_without_a_flag_day(dps: Product) -> None:
    """While a group's keys are rolled, a device with the old key and one with the new one both register."""
    old = Device(dps, "sn-1")
    leaf = certificate(old.assigned())
    put_keys(KEYS.rolled(b"n" * 64))
    dps.lambdas.restart_readers()
    assert old.register().status == 202
    assert dps.call("POST", "/v1/certificates/commit", leaf, "{}").status == 200
    new = Device(dps, "sn-1", key=derive(b"n" * 64, "sn-1"))
    new.assigned()
    put_keys(KeyPair(b"m" * 64, b"n" * 64))
    dps.lambdas.restart_readers()
    assert code(old.register()) == REFUSED
    assert new.register().status == 202


def test_a_rolled_key_is_refused_after_five_minutes(dps: Product) -> None:
    """A process uses keys for five minutes. After this time a key that is in no secret admits no device."""
    device = Device(dps, "sn-1")
    device.assigned()
    put_keys(KeyPair(b"m" * 64, b"n" * 64))
    assert device.register().status == 202
    started = utc_now()
    dps.lambdas.clock = lambda: started + timedelta(minutes=5)
    assert code(device.register()) == REFUSED


def test_a_group_without_keys_admits_no_device(dps: Product) -> None:
    """A group whose secret is missing admits no device, and its devices' names stay free."""
    boto3.client("secretsmanager").delete_secret(
        SecretId="Firstboot/groups/sensors", ForceDeleteWithoutRecovery=True
    )
    assert code(Device(dps, "sn-1").register()) == REFUSED


def test_secrets_that_do_not_answer_are_no_refusal(dps: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device comes again if Secrets Manager does not answer."""

    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InternalServiceError", "Message": ""}}, "GetSecretValue")

    monkeypatch.setattr(clients.secrets_manager(), "get_secret_value", fail)
    answer = Device(dps, "sn-1").register()
    assert code(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 5


def test_a_closed_way_is_refused(dps: Product) -> None:
    """A group that does not name the way refuses its devices before it claims or shows anything."""
    device, other = Device(dps, "sn-1"), by_certificate(dps, "gw-1")
    operation = device.register().body["operationId"]
    regroup(dps, replace(sensors(), ways=DEFAULT), group("gateways", dps.factory))
    before = dps.rows()
    for answer in (device.register(), device.poll(operation), device.state(), other.register()):
        assert code(answer) == (403, "way-not-allowed")
    assert dps.rows() == before


def test_the_last_day_is_kept(dps: Product) -> None:
    """A group whose last day is over enrolls no device with a symmetric key."""
    over = Budget(total=10, per_minute=10, until=from_epoch(1_700_000_000))
    regroup(dps, sensors(budget=over))
    assert code(Device(dps, "sn-1").register()) == (403, "enrollment-closed")


def test_the_budget_is_kept(dps: Product) -> None:
    """A group's budget bounds its devices with symmetric keys."""
    regroup(dps, sensors(budget=Budget(total=1, per_minute=10, until=UNTIL)))
    assert Device(dps, "sn-1").register().status == 202
    assert code(Device(dps, "sn-2").register()) == (403, "enrollment-budget-spent")


def test_a_device_that_must_wait_gets_429(dps: Product) -> None:
    """A device above the group's rate, and one of a frozen group, gets 429 with the time to wait."""
    regroup(dps, sensors(budget=Budget(total=10, per_minute=1, until=UNTIL)))
    now = utc_now()
    dps.lambdas.clock = lambda: now
    assert Device(dps, "sn-1").register().status == 202
    answer = Device(dps, "sn-2").register()
    assert code(answer) == (429, "enrollment-rate-exceeded")
    assert int(answer.headers["retry-after"]) > 0
    regroup(dps, sensors(budget=Budget(total=10, per_minute=10, until=UNTIL, freeze_per_hour=1)))
    assert Device(dps, "sn-3").register().status in (202, 429)
    frozen = Device(dps, "sn-4").register()
    assert code(frozen) == (429, "enrollment-frozen")
    assert int(frozen.headers["retry-after"]) >= 3_600


def test_a_known_limit_is_answered_by_the_certificate_alone(
    dps: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has met a group's limit tells a device its slot, and reads nothing of the request."""
    gateways = group("gateways", dps.factory, ways=WAYS)
    regroup(dps, replace(gateways, budget=Budget(total=10, per_minute=1, until=UNTIL)))
    now = utc_now()
    dps.lambdas.clock = lambda: now
    sent = [by_certificate(dps, f"gw-{number}").register().status for number in range(3)]
    assert sent == [202, 429, 429]
    early = by_certificate(dps, "gw-3")
    monkeypatch.setattr(certificates, "parse", None)
    answer = early.call("PUT", "/register", "no JSON")
    assert code(answer) == (429, "enrollment-rate-exceeded")
    assert int(answer.headers["retry-after"]) > 60


def test_the_allow_list_is_kept(dps: Product) -> None:
    """In a group whose devices an operator names beforehand, no other device registers with its key."""
    regroup(dps, sensors(device_id="request.deviceId", reenroll="refuse"))
    answer = Device(dps, "sn-1").register()
    assert code(answer) == (429, "device-not-expected")
    assert "result" in dps.operate("groups.expect", group="sensors", devices={"sn-1": {}})
    assert Device(dps, "sn-1").assigned()["deviceId"] == "sn-1"


def test_a_name_is_bound_to_the_kind_of_its_key(dps: Product) -> None:
    """A certificate takes no name that a symmetric key has, and a key takes none that a certificate has."""
    both = group("gateways", dps.factory, ways=WAYS, symmetric_key=True)
    put_keys(KEYS, "gateways")
    regroup(dps, both)
    Device(dps, "sn-1").assigned()
    assert code(by_certificate(dps, "sn-1").register()) == (409, "bootstrap-key-changed")
    by_certificate(dps, "sn-2").assigned()
    assert code(Device(dps, "sn-2").register()) == (409, "bootstrap-key-changed")


def test_a_revoked_device_is_refused(dps: Product) -> None:
    """A revoked device registers no more, and gets no certificate of an earlier registration."""
    device = Device(dps, "sn-1")
    operation = device.register().body["operationId"]
    assert "result" in dps.operate("devices.revoke", deviceId="sn-1")
    for answer in (device.register(), device.poll(operation), device.state()):
        assert code(answer) == (403, "device-revoked")


def test_a_revoked_key_is_refused(dps: Product) -> None:
    """An operator who revokes a device's key by its fingerprint closes the service to it."""
    device = Device(dps, "sn-1")
    dps.records.revoke_bootstrap(hashlib.sha256(device.key).hexdigest(), utc_now())
    assert code(device.register()) == (403, "bootstrap-revoked")


def test_an_operation_is_its_devices_own(dps: Product) -> None:
    """The result of a registration is for the device that registered, with the key that it used."""
    device = Device(dps, "sn-1")
    operation = device.register().body["operationId"]
    Device(dps, "sn-2").assigned()
    not_found = (404, "operation-not-found")
    assert code(Device(dps, "sn-2").poll(operation)) == not_found
    assert code(device.poll("1")) == not_found
    assert code(Device(dps, "sn-1", key=derive(KEYS.secondary, "sn-1")).poll(operation)) == not_found
    assert code(Device(dps, "sn-3").state()) == not_found
    assert device.poll("1").body["errorCode"] == 404_201


def test_a_claim_certificate_finds_no_names(dps: Product) -> None:
    """The holder of a shared certificate registers an expected name, and looks up no name."""
    shared = group("gateways", dps.factory, ways=WAYS, device_id="request.deviceId", reenroll="refuse")
    regroup(dps, shared)
    assert "result" in dps.operate("groups.expect", group="gateways", devices={"gw-1": {}})
    claim = dps.factory.issue("claim", factories.ec_key())
    device = Device(dps, "gw-1", leaf=claim)
    assert device.assigned()["deviceId"] == "gw-1"
    assert (
        code(device.state()) == code(Device(dps, "gw-2", leaf=claim).state()) == (404, "operation-not-found")
    )


def test_a_certificate_that_is_delayed_is_asked_for_again(
    dps: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registration that AWS interrupts is repeated: the device gets 503 and sends the same request."""
    device = Device(dps, "sn-1")
    with monkeypatch.context() as patched:

        def fail(**_: Any) -> None:
            raise ClientError({"Error": {"Code": "InternalError", "Message": ""}}, "Sign")

        patched.setattr(clients.kms(), "sign", fail)
        answer = device.register()
        assert code(answer) == (503, "unavailable")
        assert "retry-after" in answer.headers
        state = device.state()
        assert (state.status, state.body["status"]) == (200, "assigning")
        assert device.poll(state.body["etag"]).status == 202
    assert device.assigned()["status"] == "assigned"


def test_a_second_registration_replaces_the_first(dps: Product) -> None:
    """A device that lost its key registers again, and the answer says so."""
    device = Device(dps, "sn-1")
    assert dps.call("POST", "/v1/certificates/commit", certificate(device.assigned()), "{}").status == 200
    assert Device(dps, "sn-1").assigned()["substatus"] == "reprovisionedToInitialAssignment"


def test_no_log_has_a_key_or_a_signature(dps: Product, logs: io.StringIO) -> None:
    """The log of registrations and refusals has no key, no signature and no certificate request."""
    device = Device(dps, "sn-1")
    device.assigned()
    device.authorization = sas(b"wrong", f"{SCOPE}/registrations/sn-1")
    device.register()
    text = logs.getvalue()
    assert "shared-access-signature-refused" in text
    for secret in (device.key, KEYS.primary, KEYS.secondary):
        assert base64.b64encode(secret).decode()[:20] not in text
        assert secret.hex()[:20] not in text
    assert "sig=" not in text
    assert "CERTIFICATE" not in text


def test_the_longest_answer_fits(dps: Product) -> None:
    """The answer with a certificate for the longest key and name has at most 4,096 bytes."""
    device = Device(dps, "a" * 64)
    device.board = factories.rsa_key(4096)
    state = device.assigned()
    assert len(json.dumps(state)) < 4_096


def test_other_fleets_have_no_such_routes(product: Product) -> None:
    """A fleet without the way has none of its routes."""
    for method, rest in (("PUT", "/register"), ("GET", "/operations/1"), ("POST", "")):
        answer = product.call(method, f"/{SCOPE}/registrations/sn-1{rest}", None, "{}", {}, VERSION)
        assert (answer.status, answer.body["code"]) == (404, "route-not-found")


def test_a_fleet_keeps_its_keys_and_scope(dps: Product) -> None:
    """The compiled fleet holds the scope and the groups' use of keys, and other fleets keep their text."""
    assert Fleet.from_json(dps.fleet.to_json()) == dps.fleet
    plain = fleet(group("gateways", dps.factory)).to_json()
    assert "symmetric_key" not in plain
    assert "id_scope" not in plain
