"""`devices.import` gives device records to devices that AWS IoT has, and so does the console's command."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from firstboot.aws import clients
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.names import DeviceId
from firstboot.pki import chain
from firstboot.pki.signature import spki_fingerprint
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.fleets import group


def in_aws_iot(name: str, *statuses: Any, key: factories.PrivateKey | None = None) -> list[x509.Certificate]:
    """Make a thing with a certificate of another CA in each of the statuses, and return the certificates."""
    iot, ca = boto3.client("iot"), factories.authority("Amazon IoT")
    iot.create_thing(thingName=name)
    leaves = []
    for status in statuses:
        leaf = ca.issue("AWS IoT Certificate", key or factories.rsa_key())
        made = iot.register_certificate_without_ca(certificatePem=factories.pem(leaf), status=status)
        iot.attach_thing_principal(thingName=name, principal=made["certificateArn"])
        leaves.append(leaf)
    return leaves


def import_(product: Product, **devices: dict[str, Any]) -> Any:
    """Return the result of importing the devices into the group of gateways."""
    return product.operate("devices.import", group="gateways", devices=devices)["result"]


def record(product: Product, name: str) -> Device | None:
    """Return the device's record, or None."""
    return product.records.device(DeviceId(name))


def test_a_device_gets_its_record(product: Product) -> None:
    """An imported device is enrolled in the group with its certificate, which is due for renewal at once."""
    (leaf,) = in_aws_iot("gw1", "ACTIVE")
    done: dict[str, Any] = {"imported": ["gw1"], "known": [], "refused": {}, "warnings": []}
    assert import_(product, gw1={"site": "berlin"}) == done
    device = record(product, "gw1")
    assert device
    assert (device.group, device.status, device.generation) == ("gateways", Status.ENROLLED, 0)
    assert (device.attributes, device.enrolled_by, device.pending) == ({"site": "berlin"}, None, None)
    assert device.active
    assert device.registered == {device.active.certificate_id}
    key: Any = leaf.public_key()
    assert device.active == CertificateRecord(
        serial=f"{leaf.serial_number:x}",
        spki=spki_fingerprint(key),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        renew_after=device.created_at,
        certificate_id=device.active.certificate_id,
        imported=True,
    )
    stored = boto3.client("s3").get_object(
        Bucket=product.bucket, Key=f"certificates/gw1/{leaf.serial_number:x}.pem"
    )
    assert x509.load_pem_x509_certificate(stored["Body"].read()) == leaf


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ([], "no ACTIVE"),
        (["INACTIVE", "REVOKED"], "no ACTIVE"),
        (["ACTIVE", "INACTIVE"], None),
        (["ACTIVE", "ACTIVE"], "2 ACTIVE"),
    ],
)
def test_exactly_one_active_certificate(product: Product, statuses: list[str], reason: str | None) -> None:
    """A thing with no ACTIVE certificate, or with several, is refused with the number."""
    in_aws_iot("gw1", *statuses)
    answer = import_(product, gw1={})
    assert bool(answer["imported"]) == (reason is None) == bool(record(product, "gw1"))
    if reason:
        assert reason in answer["refused"]["gw1"]
        assert product.objects() == []


def test_what_is_no_thing_is_refused(product: Product) -> None:
    """A device without a thing is refused, and the others are imported."""
    in_aws_iot("gw1", "ACTIVE")
    answer = import_(product, gw1={}, gw2={})
    assert (answer["imported"], list(answer["refused"])) == (["gw1"], ["gw2"])


def test_a_weak_key_is_refused(product: Product) -> None:
    """A device whose key Firstboot would not certify is refused."""
    in_aws_iot("gw1", "ACTIVE", key=factories.rsa_key(1024))
    assert "key must be" in import_(product, gw1={})["refused"]["gw1"]
    assert (product.rows(), product.objects()) == ([], [])


@pytest.mark.parametrize(("others", "ours"), [(10, 0), (9, 0), (9, 1)])
def test_a_thing_has_room_for_its_group(product: Product, others: int, ours: int) -> None:
    """A device whose thing is in ten groups of others is refused with the number, and nothing is written.

    A thing that is in its group already, from an earlier import, needs no more room.
    """
    in_aws_iot("gw1", "ACTIVE")
    iot = boto3.client("iot")
    for name in [f"Theirs{number}" for number in range(others)] + ["Firstboot-gateways"] * ours:
        iot.create_thing_group(thingGroupName=name)
        iot.add_thing_to_thing_group(thingGroupName=name, thingName="gw1")
    answer = import_(product, gw1={})
    if others < 10:
        assert answer["imported"] == ["gw1"]
    else:
        reason = "The device's thing is in 10 thing groups, and may be in 10"
        assert answer["refused"] == {"gw1": reason}
        assert (product.rows(), product.objects()) == ([], [])


@pytest.mark.parametrize(("others", "ours"), [(9, 0), (8, 0), (8, 2)])
def test_a_certificate_has_room_for_its_policies(product: Product, others: int, ours: int) -> None:
    """A device whose certificate has no room for its policies is refused with the numbers.

    Policies of ours, from an earlier import, need no more room.
    """
    start = "arn:{partition}:iot:{region}:{account}:"
    connect = {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{start}client/{{deviceId}}"}
    mqtt = {"Version": "2012-10-17", "Statement": [connect]}
    rules = product.fleet.rules + '@id("m") permit (principal, action, resource == Grant::"mqtt");'
    product.publish(grants=product.fleet.grants | {"mqtt": mqtt}, rules=rules)
    (leaf,) = in_aws_iot("gw1", "ACTIVE")
    iot = boto3.client("iot")
    target = f"arn:aws:iot:us-east-1:{ACCOUNT}:cert/{chain.fingerprint(leaf)}"
    for name in [f"Theirs{n}" for n in range(others)] + ["Firstboot-device", "Firstboot-grant-mqtt"][:ours]:
        with suppress(iot.exceptions.ResourceAlreadyExistsException):
            iot.create_policy(policyName=name, policyDocument="{}")
        iot.attach_policy(policyName=name, target=target)
    answer = import_(product, gw1={})
    if others == 8:
        assert answer["imported"] == ["gw1"]
    else:
        reason = "The certificate has 9 policies in AWS IoT and would get 2 more; it may have 10"
        assert answer["refused"] == {"gw1": reason}
        assert (product.rows(), product.objects()) == ([], [])


def test_a_key_belongs_to_one_device(product: Product) -> None:
    """The second of two things with the same key is refused."""
    key = factories.ec_key()
    in_aws_iot("gw1", "ACTIVE", key=key)
    in_aws_iot("gw2", "ACTIVE", key=key)
    answer = import_(product, gw1={}, gw2={})
    assert (answer["imported"], answer["refused"]) == (
        ["gw1"],
        {"gw2": "The key belongs to another device's certificate"},
    )
    assert record(product, "gw2") is None


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"group": "gatways", "devices": {"gw1": {}}}, "group-not-found"),
        ({"group": "gateways", "devices": {"gw1": {"colour": "red"}}}, "attributes-invalid"),
        ({"group": "gateways", "devices": {"gw 1": {}}}, "device-id-invalid"),
        ({"group": "gateways", "devices": {}}, "malformed-request"),
        ({"group": "gateways", "devices": {f"gw{n}": {} for n in range(21)}}, "malformed-request"),
        ({"group": "gateways"}, "malformed-request"),
    ],
)
def test_what_does_not_fit_is_refused_whole(product: Product, parameters: dict[str, Any], code: str) -> None:
    """A call with an invalid part writes nothing, also for its valid devices."""
    in_aws_iot("gw1", "ACTIVE")
    assert product.operate("devices.import", **parameters)["problem"]["code"] == code
    assert product.rows() == []


def test_an_id_of_another_group_is_refused_whole(
    product: Product, run: Run, tmp_path: Path, waits: list[float]
) -> None:
    """An import with an id that the group's devices can't have writes nothing, by a call and by a file."""
    product.publish(groups={"gateways": replace(product.fleet.groups["gateways"], ids="gw*")})
    in_aws_iot("gw1", "ACTIVE")
    in_aws_iot("dev1", "ACTIVE")
    problem = product.operate("devices.import", group="gateways", devices={"gw1": {}, "dev1": {}})["problem"]
    assert problem["code"] == "device-id-invalid"
    assert problem["detail"] == "Group gateways has the ids gw*, and not dev1"
    file = tmp_path / "devices.csv"
    file.write_text("deviceId\ngw1\ndev1\n")
    done = run("devices", "import", "gateways", str(file), "--json")
    assert done.exit_code == 1
    assert "line 3: group gateways has the ids gw*, and dev1 is another" in done.stderr
    assert product.rows() == []


def test_a_group_of_tokens_has_no_certificates(product: Product) -> None:
    """An import into a group that connects by token is refused, because its devices have no certificates."""
    in_aws_iot("gw1", "ACTIVE")
    product.publish(groups={"gateways": group("gateways", product.factory, mqtt="token")})
    answer = product.operate("devices.import", group="gateways", devices={"gw1": {}})
    assert answer["problem"]["code"] == "malformed-request"
    assert product.rows() == []


class Calls:
    """A record of every AWS call in order. One of them can fail, before or after it is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.failing: tuple[str, bool] | None = None
        make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            ours = (clients.iot(), clients.dynamodb(), clients.s3(ACCOUNT))
            if client not in ours or "fleet/" in parameters.get("Key", ""):
                return make(client, operation, parameters)
            self.made.append(operation)
            fails, lost = self.failing or ("", False)
            answer = make(client, operation, parameters) if lost or operation != fails else None
            if operation == fails:
                raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, operation)
            return answer

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


STEPS = [
    *("GetItem", "ListThingPrincipals", "DescribeCertificate"),
    *("ListThingGroupsForThing", "ListAttachedPolicies", "PutObject", "TransactWriteItems"),
]


def test_the_certificate_is_there_before_the_record(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate is stored before the record is written, and a known device costs no call of AWS IoT."""
    in_aws_iot("gw1", "ACTIVE")
    calls = Calls(monkeypatch)
    import_(product, gw1={})
    assert calls.made == STEPS
    calls.made.clear()
    assert import_(product, gw1={"site": "paris"})["known"] == ["gw1"]
    assert calls.made == ["GetItem"]
    device = record(product, "gw1")
    assert device
    assert device.attributes == {}


@pytest.mark.parametrize("lost", [False, True], ids=["fails", "reply-lost"])
@pytest.mark.parametrize("operation", STEPS)
def test_a_failure_anywhere_is_mended_by_a_repeat(
    product: Product, monkeypatch: pytest.MonkeyPatch, operation: str, *, lost: bool
) -> None:
    """After any call failed or lost its reply, the same import ends with one record."""
    (leaf,) = in_aws_iot("gw1", "ACTIVE")
    calls = Calls(monkeypatch)
    calls.failing = (operation, lost)
    answer = product.operate("devices.import", group="gateways", devices={"gw1": {}})
    assert answer["problem"]["code"] == "unavailable"
    calls.failing = None
    again = import_(product, gw1={})
    assert again["imported"] + again["known"] == ["gw1"]
    device = record(product, "gw1")
    assert device
    assert device.active
    assert product.objects() == [f"certificates/gw1/{leaf.serial_number:x}.pem"]


class RacedPut:
    """A put of a certificate that S3 refuses, because another put of the object has not ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, other: bytes | None) -> None:
        self.other = other
        make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
            if client is not clients.s3(ACCOUNT) or operation != "PutObject":
                return make(client, operation, parameters)
            if self.other is not None:
                make(client, operation, parameters | {"Body": self.other})
            raise ClientError({"Error": {"Code": "ConditionalRequestConflict", "Message": ""}}, operation)

        monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)


def test_no_record_without_its_object(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """After S3's 409 the object is read, and without an object no record is written."""
    (leaf,) = in_aws_iot("gw1", "ACTIVE")
    raced = RacedPut(monkeypatch, other=None)
    answer = product.operate("devices.import", group="gateways", devices={"gw1": {}})
    assert answer["problem"]["code"] == "unavailable"
    assert (product.rows(), product.objects()) == ([], [])
    raced.other = factories.pem(leaf).encode()
    assert import_(product, gw1={})["imported"] == ["gw1"]
    assert product.objects() == [f"certificates/gw1/{leaf.serial_number:x}.pem"]


def test_another_certificate_under_the_serial_is_refused(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device is refused if another certificate is stored under its certificate's serial."""
    in_aws_iot("gw1", "ACTIVE")
    RacedPut(monkeypatch, other=factories.pem(product.ca).encode())
    assert "Another certificate is stored" in import_(product, gw1={})["refused"]["gw1"]
    assert product.rows() == []


def test_an_imported_certificate_is_no_way_into_the_api(product: Product) -> None:
    """The HTTPS API refuses an imported certificate, which another CA issued."""
    (leaf,) = in_aws_iot("gw1", "ACTIVE", key=factories.ec_key())
    import_(product, gw1={})
    assert product.call("GET", "/v1/device", leaf).status in (401, 403)
    assert product.enroll(leaf).status in (401, 403)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stop the console's clock, and return how long the console would have waited each time."""
    slept: list[float] = []
    monkeypatch.setattr("console.commands.importing.time.sleep", slept.append)
    monkeypatch.setattr("console.commands.importing.time.monotonic", lambda: 0.0)
    return slept


def test_the_console_imports_a_file_at_a_rate(
    product: Product, run: Run, tmp_path: Path, waits: list[float]
) -> None:
    """The console imports `--rate` devices a second, and does not wait for devices that have a record."""
    names = [f"gw{number}" for number in range(5)]
    for name in names[:4]:
        in_aws_iot(name, "ACTIVE", key=factories.ec_key())
    file = tmp_path / "fleet.csv"
    file.write_text("deviceId,site,quarantined\n" + "".join(f"{name},berlin,true\n" for name in names))
    done = run("devices", "import", "gateways", str(file), "--rate", "2", "--json")
    summary = json.loads(done.stdout)
    assert (summary["group"], summary["imported"], summary["known"]) == ("gateways", 4, 0)
    assert [each["deviceId"] for each in summary["refused"]] == ["gw4"]
    assert waits == [1.0, 1.0, 0.5]
    device = record(product, "gw0")
    assert device
    assert device.attributes == {"site": "berlin", "quarantined": True}
    waits.clear()
    again = run("devices", "import", "gateways", str(file), "--rate", "2")
    assert "0 devices imported into gateways\n4 devices have a record already" in again.stdout
    assert "refused: gw4: The device's thing has no ACTIVE certificates" in again.stdout
    assert waits == [0.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("devices", "code"),
    [
        (["gw0", "gw1"], 0),  # both are imported
        (["gw0", "gw2"], 0),  # one is imported, one is refused
        (["gw2"], 1),  # all are refused
        (["gw3"], 0),  # all have a record
        (["gw2", "gw3"], 1),  # none is imported, and one is refused
    ],
)
def test_an_import_of_no_device_is_exit_code_1(
    product: Product, run: Run, tmp_path: Path, waits: list[float], devices: list[str], code: int
) -> None:
    """The exit code is 1 if no device was imported and one was refused, with and without `--json`."""
    for name in ("gw0", "gw1", "gw3"):
        in_aws_iot(name, "ACTIVE", key=factories.ec_key())
    import_(product, gw3={})
    file = tmp_path / "fleet.csv"
    file.write_text("deviceId\n" + "".join(f"{name}\n" for name in devices))
    done = run("devices", "import", "gateways", str(file), "--json")
    assert done.exit_code == code
    assert {each["deviceId"] for each in json.loads(done.stdout)["refused"]} == {"gw2"} & set(devices)
    if code == 1:
        assert run("devices", "import", "gateways", str(file)).exit_code == 1


def test_the_console_reads_the_file_whole_first(run: Run, tmp_path: Path, waits: list[float]) -> None:
    """A file with a mistake in its last line imports no device."""
    file = tmp_path / "fleet.csv"
    file.write_text("deviceId\ngw1\ngw 2\n")
    done = run("devices", "import", "gateways", str(file))
    assert done.exit_code == 1
    assert "line 3" in done.stderr
    assert waits == []


@pytest.mark.parametrize("rate", ["0", "21", "x"])
def test_a_rate_is_below_the_quota_of_a_call(run: Run, tmp_path: Path, rate: str) -> None:
    """`--rate` accepts 1 to 20, which is the largest number of devices in one call."""
    (tmp_path / "fleet.csv").write_text("deviceId\ngw1\n")
    assert run("devices", "import", "gateways", str(tmp_path / "fleet.csv"), "--rate", rate).exit_code == 2
