"""EST (RFC 7030) over moto: the functions enroll, renew, let wait and refuse as the standard says."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstboot.aws import clients
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.domain.clock import from_epoch, utc_now
from firstboot.domain.names import PASSWORD_KEY, DeviceId
from firstboot.domain.plans import Budget
from firstboot.pki import certificate as certificates
from firstboot.pki import password as passwords
from firstboot.runtime import routes
from tests import factories
from tests.aws.est import ENROLL, REENROLL, basic, csr, password, send
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.aws.test_storm import Wire
from tests.factories import Authority
from tests.fleets import fleet, group

CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"
CALLS = (ENROLL, REENROLL)
ONLY_EST: Any = ("est",)


@pytest.fixture
def other() -> Authority:
    """Return the factory CA of the group `sensors`, whose devices share a certificate."""
    return factories.authority("Other factory")


@pytest.fixture
def product(product: Product, other: Authority, tmp_path: Path) -> Product:
    """Return the product with two groups that are open to EST, and one that is not."""
    gateways = replace(product.fleet.groups["gateways"], ways=("mtls", "est"))
    sensors = group("sensors", other, device_id="request.deviceId", ways=ONLY_EST)
    closed = group("closed", factories.authority("Closed factory"))
    product.fleet = fleet(gateways, sensors, closed)
    (tmp_path / "fleet.json").write_text(product.fleet.to_json())
    product.lambdas.restart()
    return product


def spki(key: Any) -> bytes:
    """Return a public key's DER."""
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


@pytest.mark.parametrize("path", CALLS)
def test_a_bootstrap_certificate_enrolls(product: Product, path: str) -> None:
    """Either call enrolls a device that presents its bootstrap certificate, and its record has the way."""
    key = factories.ec_key()
    answer = send(product, path, csr(key), leaf=product.bootstrap("gw-1"))
    leaf = answer.certificate
    leaf.verify_directly_issued_by(product.ca)
    assert leaf.subject.rfc4514_string().startswith("CN=gw-1")
    assert spki(leaf.public_key()) == spki(key.public_key())
    assert answer.headers["content-type"] == CERTS_ONLY
    assert answer.headers["content-transfer-encoding"] == "base64"
    assert "\n" not in answer.body
    device = product.records.device(DeviceId("gw-1"))
    assert device is not None
    assert device.way == "est"


@pytest.mark.parametrize("path", CALLS)
def test_an_operational_certificate_renews(product: Product, path: str) -> None:
    """Either call renews with an operational certificate and a new key, which logs the device in."""
    first = send(product, ENROLL, csr(), leaf=product.bootstrap("gw-1")).certificate
    second = send(product, path, csr(), leaf=first).certificate
    device = product.records.device(DeviceId("gw-1"))
    assert device is not None
    assert device.active is not None
    assert device.pending is not None
    assert int(device.active.serial, 16) == first.serial_number
    assert int(device.pending.serial, 16) == second.serial_number


def test_a_repeat_has_the_same_answer(product: Product) -> None:
    """A repeated enrollment, after a lost answer, returns the same certificate."""
    body, leaf = csr(), product.bootstrap("gw-1")
    first = send(product, ENROLL, body, leaf=leaf).certificate
    assert send(product, ENROLL, body, leaf=leaf).certificate == first


def test_a_device_of_a_shared_certificate_is_named_by_its_csr(product: Product, other: Authority) -> None:
    """A device with a shared certificate has the CSR's common name as its id, if the operator expects it."""
    leaf = other.issue("batch 7", factories.ec_key())
    product.operate("groups.expect", group="sensors", devices={"sn-1": {}})
    made = send(product, ENROLL, csr(common_name="sn-1"), leaf=leaf).certificate
    assert made.subject.rfc4514_string().startswith("CN=sn-1")
    later = send(product, ENROLL, csr(common_name="sn-2"), leaf=leaf)
    assert (later.status, later.code) == (202, "device-not-expected")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    nameless = builder.sign(factories.ec_key(), SHA256())
    body = base64.b64encode(nameless.public_bytes(Encoding.DER)).decode()
    refused = send(product, ENROLL, body, leaf=leaf)
    assert (refused.status, refused.code) == (400, "device-id-required")


def test_devices_of_a_shared_certificate_have_their_own_slots(product: Product, other: Authority) -> None:
    """Beyond the group's limit of a minute, two devices with one certificate wait for different times."""
    moment = utc_now()
    product.lambdas.clock = lambda: moment
    budget = Budget(total=1000, per_minute=1, until=from_epoch(4_102_444_800))
    sensors = replace(product.fleet.groups["sensors"], budget=budget)
    product.publish(groups=product.fleet.groups | {"sensors": sensors})
    leaf = other.issue("batch 7", factories.ec_key())
    names = [f"sn-{number}" for number in range(4)]
    product.operate("groups.expect", group="sensors", devices={name: {} for name in names})
    first, *later = [send(product, ENROLL, csr(common_name=name), leaf=leaf) for name in names]
    assert (first.status, {each.status for each in later}) == (200, {202})
    assert len({each.headers["retry-after"] for each in later}) == len(later)


def test_a_password_enrolls_the_device_that_it_names(product: Product) -> None:
    """On the public host a one-time password enrolls the device without a certificate."""
    key, given = factories.ec_key(), password(product, "gw-1")
    leaf = send(product, ENROLL, csr(key), authorization=basic("gw-1", given)).certificate
    leaf.verify_directly_issued_by(product.ca)
    assert leaf.subject.rfc4514_string().startswith("CN=gw-1")
    device = product.records.device(DeviceId("gw-1"))
    assert device is not None
    assert (device.way, device.group, device.bootstrap_ids) == ("est", "gateways", frozenset())
    assert device.anchor is not None
    assert device.anchor.subject == "one-time password"
    # A device without client TLS shows its certificate by the thumbprint.
    known = product.records.certificate(leaf.fingerprint(SHA256()).hex())
    assert known is not None


def test_a_password_is_used_for_one_key(product: Product) -> None:
    """A password enrolls one key. A repeat with this key has the same answer, and another key is refused."""
    body, sent = csr(), basic("gw-1", password(product, "gw-1"))
    first = send(product, ENROLL, body, authorization=sent).certificate
    assert send(product, ENROLL, body, authorization=sent).certificate == first
    before = product.rows()
    again = send(product, ENROLL, csr(), authorization=sent)
    assert (again.status, again.code) == (401, "password-used")
    assert product.rows() == before


def test_a_password_is_used_up_after_the_csr_is_verified(product: Product) -> None:
    """A request with a CSR that is refused writes no row, and the password can still be used."""
    sent = basic("gw-1", password(product, "gw-1"))
    before = product.rows()
    good = bytearray(base64.b64decode(csr()))
    good[-1] ^= 1
    for body in ("", "!", base64.b64encode(bytes(good)).decode(), base64.b64encode(b"0").decode()):
        assert send(product, ENROLL, body, authorization=sent).status == 400
    assert product.rows() == before
    assert send(product, ENROLL, csr(), authorization=sent).status == 200


WRONG: dict[str, Callable[[str], str]] = {
    "another device": lambda given: basic("gw-2", given),
    "no user": lambda given: basic("", given),
    "no password": lambda _: basic("gw-1", ""),
    "a changed MAC": lambda given: basic(
        "gw-1", given[:40] + ("A" if given[40] != "A" else "B") + given[41:]
    ),
    "another group": lambda given: basic("gw-1", given[:-4] + "AAAA"),
    "too long": lambda given: basic("gw-1", given + "A" * 200),
    "a long header": lambda given: basic("gw-1", given) + "=" * 600,
    "not base64": lambda _: "Basic !",
    "not ASCII": lambda _: "Basic " + base64.b64encode("gw-1:ü".encode()).decode(),
    "a nonce's length": lambda _: basic("gw-1", "A" * 32),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_password_is_refused(product: Product, wrong: Callable[[str], str]) -> None:
    """Credentials that no operator made for this device are refused with a challenge, and write no row."""
    given, before = password(product, "gw-1"), product.rows()
    answer = send(product, ENROLL, csr(), authorization=wrong(given))
    assert (answer.status, answer.code) == (401, "password-refused")
    assert answer.headers["www-authenticate"] == 'Basic realm="Firstboot"'
    assert product.rows() == before


@pytest.mark.parametrize("sent", [None, "Bearer x", "Digest x"])
def test_a_request_without_credentials_is_challenged(product: Product, sent: str | None) -> None:
    """On the public host a request without a password is refused with a challenge."""
    answer = send(product, ENROLL, csr(), authorization=sent)
    assert (answer.status, answer.code) == (401, "password-required")
    assert answer.headers["www-authenticate"] == 'Basic realm="Firstboot"'


def test_a_password_lasts_an_hour(product: Product) -> None:
    """A password is accepted until an hour after it was made, and not from then on."""
    made = utc_now()
    product.lambdas.clock = lambda: made
    sent = basic("gw-1", password(product, "gw-1"))
    product.lambdas.clock = lambda: made + timedelta(minutes=61)
    late = send(product, ENROLL, csr(), authorization=sent)
    assert (late.status, late.code) == (401, "password-refused")
    product.lambdas.clock = lambda: made + timedelta(minutes=59)
    assert send(product, ENROLL, csr(), authorization=sent).status == 200


def test_a_password_made_with_another_key_is_refused(product: Product) -> None:
    """A password that another key has made is refused, and so is one of the key of nonces."""
    for key in (b"x" * passwords.KEY_BYTES, product.records.nonce_key()):
        made, _ = passwords.make(key, "gw-1", "gateways", utc_now())
        answer = send(product, ENROLL, csr(), authorization=basic("gw-1", made))
        assert (answer.status, answer.code) == (401, "password-refused")


def test_without_the_key_of_passwords_a_device_waits(product: Product, logs: io.StringIO) -> None:
    """Without the key's row a device is told to come again, and the log says which row is missing."""
    sent = basic("gw-1", password(product, "gw-1"))
    product.lambdas.restart()
    boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": PASSWORD_KEY}})
    answer = send(product, ENROLL, csr(), authorization=sent)
    assert (answer.status, answer.code) == (202, "unavailable")
    assert PASSWORD_KEY in logs.getvalue()


def test_what_ended_since_a_password_was_made_counts(product: Product) -> None:
    """A password admits no device to a group that has closed, or that has lost the way or the id since."""
    sent = basic("gw-1", password(product, "gw-1"))
    gateways = product.fleet.groups["gateways"]
    ended = Budget(total=1000, per_minute=1000, until=from_epoch(1_700_000_000))
    for changes, code in (
        ({"budget": ended}, "enrollment-closed"),
        ({"ids": "other-*"}, "enrollment-closed"),
        ({"ways": ("mtls",)}, "way-not-allowed"),
    ):
        product.publish(groups=product.fleet.groups | {"gateways": replace(gateways, **changes)})
        before = product.rows()
        answer = send(product, ENROLL, csr(), authorization=sent)
        assert (answer.status, answer.code) == (403, code)
        assert product.rows() == before
    product.publish(groups={name: each for name, each in product.fleet.groups.items() if name != "gateways"})
    assert send(product, ENROLL, csr(), authorization=sent).code == "enrollment-closed"
    product.publish(groups=product.fleet.groups)
    assert send(product, ENROLL, csr(), authorization=sent).status == 200


def test_a_password_of_a_revoked_device_is_of_no_use(product: Product) -> None:
    """A device that was revoked after its password was made does not enroll with it."""
    product.identity("gw-1")
    sent = basic("gw-1", password(product, "gw-1", None))
    product.operate("devices.revoke", deviceId="gw-1")
    answer = send(product, ENROLL, csr(), authorization=sent)
    assert (answer.status, answer.code) == (403, "device-revoked")


def test_a_group_without_the_way_is_refused(product: Product) -> None:
    """A bootstrap certificate of a group that does not name EST is refused, and writes no row."""
    leaf = product.bootstrap("gw-1")
    product.publish(
        groups=product.fleet.groups | {"gateways": replace(product.fleet.groups["gateways"], ways=("mtls",))}
    )
    before = product.rows()
    for path in CALLS:
        answer = send(product, path, csr(), leaf=leaf)
        assert (answer.status, answer.code) == (403, "way-not-allowed")
    assert product.rows() == before


def test_a_group_with_est_alone_has_no_other_way(product: Product, other: Authority) -> None:
    """A device of a group with the way EST alone can't use Firstboot's own calls."""
    product.operate("groups.expect", group="sensors", devices={"sn-1": {}})
    answer = product.enroll(other.issue("batch 7", factories.ec_key()), deviceId="sn-1")
    assert (answer.status, answer.body["code"]) == (403, "way-not-allowed")


def fail(monkeypatch: pytest.MonkeyPatch, client: Any, method: str, code: str = "InternalError") -> None:
    """Let each call of this method of AWS fail."""

    def failing(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": ""}}, method)

    monkeypatch.setattr(client, method, failing)


def test_a_certificate_that_is_issued_later_is_202(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """If AWS does not sign, the answer is 202 with Retry-After, and the same request succeeds later."""
    body, sent = csr(), basic("gw-1", password(product, "gw-1"))
    with monkeypatch.context() as broken:
        fail(broken, clients.kms(), "sign")
        answer = send(product, ENROLL, body, authorization=sent)
        assert answer.status == 202
        assert int(answer.headers["retry-after"]) >= 5
    assert send(product, ENROLL, body, authorization=sent).status == 200


def test_a_limited_device_is_202(product: Product) -> None:
    """A device above its group's limit of a minute gets 202 with its slot, and then enrolls."""
    moment = utc_now()
    product.lambdas.clock = lambda: moment
    budget = Budget(total=1000, per_minute=1, until=from_epoch(4_102_444_800))
    gateways = replace(product.fleet.groups["gateways"], budget=budget)
    product.publish(groups=product.fleet.groups | {"gateways": gateways})
    sent = {name: basic(name, password(product, name)) for name in ("gw-1", "gw-2")}
    assert send(product, ENROLL, csr(), authorization=sent["gw-1"]).status == 200
    body = csr()
    answer = send(product, ENROLL, body, authorization=sent["gw-2"])
    assert (answer.status, answer.code) == (202, "enrollment-rate-exceeded")
    wait = timedelta(seconds=int(answer.headers["retry-after"]))
    product.lambdas.clock = lambda: moment + wait
    assert send(product, ENROLL, body, authorization=sent["gw-2"]).status == 200


def test_a_full_minute_lets_one_password_a_second_pass(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password shows no issuer. With a known limit, one request a second reaches the table all the same."""
    moment = utc_now().replace(second=10)
    product.lambdas.clock = lambda: moment
    budget = Budget(total=1000, per_minute=1, until=from_epoch(4_102_444_800))
    gateways = replace(product.fleet.groups["gateways"], budget=budget)
    product.publish(groups=product.fleet.groups | {"gateways": gateways})
    sent = [basic(name, password(product, name)) for name in (f"gw-{number}" for number in range(8))]
    assert [send(product, ENROLL, csr(), authorization=each).status for each in sent[:2]] == [200, 202]
    wire = Wire(monkeypatch)
    for some in (sent[2:5], sent[5:]):
        reached = []
        for each in some:
            answer = send(product, ENROLL, csr(), authorization=each)
            assert (answer.status, answer.code) == (202, "enrollment-rate-exceeded")
            # An UpdateItem takes slots.
            reached.append(bool(set(wire.take()) - {"UpdateItem"}))
        assert reached == [True, False, False]
        moment += timedelta(seconds=1)


def test_a_known_limit_is_answered_by_the_certificate_alone(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has met a group's limit tells a device its slot, and reads nothing of the request."""
    moment = utc_now()
    product.lambdas.clock = lambda: moment
    budget = Budget(total=1000, per_minute=1, until=from_epoch(4_102_444_800))
    gateways = replace(product.fleet.groups["gateways"], budget=budget)
    product.publish(groups=product.fleet.groups | {"gateways": gateways})
    sent = [send(product, ENROLL, csr(), leaf=product.bootstrap(f"gw-{n}")).status for n in range(3)]
    assert sent == [200, 202, 202]
    monkeypatch.setattr(certificates, "parse", None)
    answer = send(product, REENROLL, "no CSR", leaf=product.bootstrap("gw-3"))
    assert (answer.status, answer.code) == (202, "enrollment-rate-exceeded")
    assert int(answer.headers["retry-after"]) > 60


def test_a_frozen_group_is_202_and_a_spent_budget_is_403(product: Product) -> None:
    """A frozen group's devices get 202, since a person may thaw it. A spent budget is a refusal for good."""
    product.operate("groups.freeze", group="gateways")
    frozen = send(product, ENROLL, csr(), leaf=product.bootstrap("gw-1"))
    assert (frozen.status, frozen.code) == (202, "enrollment-frozen")
    assert int(frozen.headers["retry-after"]) >= 3600
    product.operate("groups.thaw", group="gateways")
    budget = Budget(total=1, per_minute=10, until=from_epoch(4_102_444_800))
    gateways = replace(product.fleet.groups["gateways"], budget=budget)
    product.publish(groups=product.fleet.groups | {"gateways": gateways})
    assert send(product, ENROLL, csr(), leaf=product.bootstrap("gw-1")).status == 200
    spent = send(product, ENROLL, csr(), leaf=product.bootstrap("gw-2"))
    assert (spent.status, spent.code) == (403, "enrollment-budget-spent")


BODIES: dict[str, Callable[[factories.PrivateKey], dict[str, Any]]] = {
    "lines": lambda key: {"body": "\r\n".join(re.findall(".{1,64}", csr(key))) + "\r\n"},
    "PEM": lambda key: {"body": factories.pem(factories.csr(key))},
    "DER": lambda key: {"body": csr(key), "isBase64Encoded": True},
    "base64 in base64": lambda key: {
        "body": base64.b64encode(csr(key).encode()).decode(),
        "isBase64Encoded": True,
    },
    "no content type": lambda key: {"body": csr(key), "kind": ""},
    "parameters": lambda key: {"body": csr(key), "kind": "Application/PKCS10; name=x"},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_csr_in_each_form_is_read(product: Product, body: Callable[[Any], dict[str, Any]]) -> None:
    """A body is base64 with or without line ends, PEM, or DER."""
    key = factories.ec_key()
    leaf = send(product, ENROLL, leaf=product.bootstrap("gw-1"), **body(key)).certificate
    assert spki(leaf.public_key()) == spki(key.public_key())


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty": ({"body": ""}, 400, "malformed-csr"),
    "no base64": ({"body": "é"}, 400, "malformed-csr"),
    "JSON": ({"body": "{}", "kind": "application/json"}, 415, "unsupported-media-type"),
    "a form": ({"body": "x", "kind": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
    "long": ({"body": "A" * 16_385}, 413, "body-too-large"),
    "longer than a CSR": ({"body": "A" * 16_000}, 400, "malformed-csr"),
}


@pytest.mark.parametrize(("sent", "status", "code"), BAD.values(), ids=BAD.keys())
def test_bad_input_has_a_text_for_a_person(
    product: Product, sent: dict[str, Any], status: int, code: str
) -> None:
    """Bad input is refused with a 4xx and a text in ASCII that has the code and the request's id."""
    given, before = basic("gw-1", password(product, "gw-1")), product.rows()
    for proof in ({"leaf": product.bootstrap("gw-1")}, {"authorization": given}):
        answer = send(product, ENROLL, **sent, **proof)
        assert (answer.status, answer.code) == (status, code)
        assert answer.headers["content-type"] == "text/plain; charset=us-ascii"
        assert answer.body.isascii()
        assert "request: request-1" in answer.body
    assert product.rows() == before


def test_a_refused_certificate_is_403(product: Product) -> None:
    """A certificate of no trusted issuer gets 403 without a challenge, because no password repairs it."""
    stranger = factories.authority("Stranger").issue("gw-1", factories.ec_key())
    sent = basic("gw-1", password(product, "gw-1"))
    answer = send(product, ENROLL, csr(), leaf=stranger, authorization=sent)
    assert (answer.status, answer.code) == (403, "certificate-untrusted")
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("operation", ["serverkeygen", "fullcmc"])
def test_optional_operations_are_refused_with_their_reason(product: Product, operation: str) -> None:
    """`serverkeygen` and `fullcmc` are refused with a text that names what to call."""
    answer = send(product, f"/.well-known/est/{operation}", csr(), leaf=product.bootstrap("gw-1"))
    assert (answer.status, answer.code) == (404, "est-not-offered")
    assert "simpleenroll" in answer.body
    assert ("No private key" in answer.body) == (operation == "serverkeygen")


@pytest.mark.parametrize("path", ["/.well-known/est/label/simpleenroll", "/.well-known/est/label/cacerts"])
def test_a_label_has_no_route(product: Product, path: str) -> None:
    """A path with a label is not found, because the evidence decides the group."""
    assert product.call("POST", path, product.bootstrap("gw-1"), csr()).body["code"] == "route-not-found"


def test_a_deployment_without_est_has_no_route(product: Product) -> None:
    """The calls of EST are not found if no deployed group has it."""
    Path(aws_fleet._DEPLOYED).write_text(
        fleet(replace(product.fleet.groups["gateways"], ways=("mtls",))).to_json()
    )
    product.lambdas.restart()
    for route in routes.EST:
        answer = product.call(route.method, route.path, product.bootstrap("gw-1"), csr())
        assert (answer.status, answer.body["code"]) == (404, "route-not-found")


def test_the_ca_certificate(product: Product) -> None:
    """`cacerts` needs no proof and returns the issuing CA's certificate in one line of base64."""
    answer = send(product, "/.well-known/est/cacerts", method="GET")
    assert answer.certificate == product.ca
    assert answer.headers["content-type"] == CERTS_ONLY
    assert "\n" not in answer.body


def test_the_csr_s_attributes(product: Product) -> None:
    """`csrattrs` asks for a key on P-256 and a signature with SHA-256, in DER that another parser reads."""
    answer = send(product, "/.well-known/est/csrattrs", method="GET")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/csrattrs")
    read = subprocess.run(
        ["openssl", "asn1parse", "-inform", "DER"],
        input=base64.b64decode(answer.body, validate=True),
        capture_output=True,
        check=True,
    )
    objects = [line.rpartition(":")[2] for line in read.stdout.decode().splitlines() if "OBJECT" in line]
    assert objects == ["id-ecPublicKey", "prime256v1", "ecdsa-with-SHA256"]


def test_no_password_is_logged(product: Product, logs: io.StringIO) -> None:
    """The logs of the operator's call and of requests, and the table, have no password."""
    given = password(product, "gw-1")
    assert send(product, ENROLL, csr(), authorization=basic("gw-2", given)).status == 401
    assert send(product, ENROLL, csr(), authorization=basic("gw-1", given)).status == 200
    assert send(product, ENROLL, csr(), authorization=basic("gw-1", given)).status == 401
    text = logs.getvalue()
    assert "DevicePasswordMade" in text
    assert given not in text
    assert basic("gw-1", given)[6:] not in text
    assert given not in str(product.rows())


MADE = {"deviceId", "group", "password", "expiresAt", "expiresIn"}


def test_an_operator_makes_another_password_each_time(product: Product, run: Run) -> None:
    """`devices token` prints a password of an hour, another one each time, and writes no row."""
    before = product.rows()
    first = json.loads(run("devices", "token", "gw-1", "--group", "gateways", "--json").stdout)
    assert first.keys() == MADE
    assert (first["deviceId"], first["group"], first["expiresIn"]) == ("gw-1", "gateways", 3600)
    shown = run("devices", "token", "gw-1", "--group", "gateways")
    assert shown.exit_code == 0
    assert first["password"] not in shown.stdout
    text = next(line.split()[1] for line in shown.stdout.splitlines() if line.startswith("password "))
    assert product.rows() == before
    assert send(product, ENROLL, csr(), authorization=basic("gw-1", text)).status == 200


def test_a_record_decides_the_group(product: Product) -> None:
    """Without `--group` the password is for the group of the device's record, and no other group is taken."""
    product.identity("gw-1")
    made = product.operate("devices.token", deviceId="gw-1")["result"]
    assert made["group"] == "gateways"
    refused = product.operate("devices.token", deviceId="gw-1", group="sensors")["problem"]
    assert "belongs to group gateways" in refused["detail"]


USELESS: dict[str, tuple[dict[str, str], str]] = {
    "no group": ({"deviceId": "gw-1"}, "malformed-request"),
    "an unknown group": ({"deviceId": "gw-1", "group": "absent"}, "group-not-found"),
    "a group without EST": ({"deviceId": "gw-1", "group": "closed"}, "malformed-request"),
    "no device id": ({"deviceId": "gw/1", "group": "gateways"}, "device-id-invalid"),
    "an unexpected device": ({"deviceId": "sn-1", "group": "sensors"}, "malformed-request"),
}


@pytest.mark.parametrize(("parameters", "code"), USELESS.values(), ids=USELESS.keys())
def test_a_password_that_would_be_of_no_use_is_not_made(
    product: Product, parameters: dict[str, str], code: str
) -> None:
    """An operator gets no password that no group would accept."""
    assert product.operate("devices.token", **parameters)["problem"]["code"] == code


def test_no_password_for_a_closed_group_another_space_or_a_revoked_device(product: Product) -> None:
    """An operator gets no password for a group that has ended, a device outside its ids, or a revoked one."""
    gateways = product.fleet.groups["gateways"]
    product.identity("gw-1")
    product.operate("devices.revoke", deviceId="gw-1")
    asked = {"deviceId": "gw-2", "group": "gateways"}
    assert product.operate("devices.token", deviceId="gw-1")["problem"]["code"] == "device-revoked"
    ended = Budget(total=1000, per_minute=1000, until=from_epoch(1_700_000_000))
    product.publish(groups=product.fleet.groups | {"gateways": replace(gateways, budget=ended)})
    assert product.operate("devices.token", **asked)["problem"]["code"] == "enrollment-closed"
    product.publish(groups=product.fleet.groups | {"gateways": replace(gateways, ids="other-*")})
    assert product.operate("devices.token", **asked)["problem"]["code"] == "malformed-request"


def test_an_expected_device_gets_a_password_of_its_shared_group(product: Product) -> None:
    """A password enrolls an expected device of a shared group without the claim certificate."""
    product.operate("groups.expect", group="sensors", devices={"sn-1": {}})
    sent = basic("sn-1", password(product, "sn-1", None))
    assert send(product, ENROLL, csr(), authorization=sent).status == 200


def test_a_renamed_group_takes_its_passwords(product: Product) -> None:
    """A password of a group's earlier name is accepted after the group was renamed."""
    sent = basic("gw-1", password(product, "gw-1"))
    groups = dict(product.fleet.groups)
    gateways = groups.pop("gateways")
    product.publish(groups=groups | {"edge": replace(gateways, name="edge", formerly=("gateways",))})
    assert send(product, ENROLL, csr(), authorization=sent).status == 200


def test_a_device_id_may_have_a_colon(product: Product) -> None:
    """The user name of a device whose id has a colon is read as a whole."""
    product.publish(colon_ids=True)
    made = password(product, "urn:dev:1")
    assert send(product, ENROLL, csr(), authorization=basic("urn:dev:1", made)).status == 200
