"""A deletion ends, also if AWS IoT refuses parts of it, and leaves what is not ours."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
import pytest
from cryptography import x509

from firstboot.pki import chain
from tests import factories
from tests.aws.aws_iot import AwsIot
from tests.aws.registering import Identity, Registering, arn
from tests.aws.test_import import in_aws_iot
from tests.aws.test_withdrawal import delete, registered, revoke


def order(name: str) -> str:
    """Return the order that a deletion or revocation makes."""
    return json.dumps({"deviceId": name, "priority": "revocation"})


def policy(name: str, leaf: x509.Certificate) -> None:
    """Attach a policy of another team to a certificate."""
    iot = boto3.client("iot")
    iot.create_policy(policyName=name, policyDocument="{}")
    iot.attach_policy(policyName=name, target=arn(leaf))


def imported(registering: Registering, name: str) -> x509.Certificate:
    """Import a device whose certificate has its maker's policy, and return the certificate."""
    (leaf,) = in_aws_iot(name, "ACTIVE", key=factories.ec_key())
    policy(f"Maker-{name}", leaf)
    answer = registering.product.operate("devices.import", group="gateways", devices={name: {}})
    assert answer["result"]["imported"] == [name]
    registering.until_quiet(json.dumps({"deviceId": name}))
    return leaf


def things(name: str) -> list[str]:
    """Return the thing's name if there is one."""
    return [name for each in boto3.client("iot").list_things()["things"] if each["thingName"] == name]


def principals(name: str) -> list[str]:
    """Return what is attached to a thing."""
    return list(boto3.client("iot").list_thing_principals(thingName=name)["principals"])


def warned(logs: io.StringIO, message: str) -> dict[str, Any]:
    """Return the last warning with this message."""
    lines = (json.loads(line) for line in logs.getvalue().splitlines())
    found = [line for line in lines if line.get("level") == "WARNING" and line["message"] == message]
    return dict(found[-1]) if found else {}


@pytest.mark.parametrize("lag", [0, 9, 40])
def test_a_detachment_that_takes_effect_later(registering: Registering, lag: int) -> None:
    """An order whose certificate is still attached is sent again, and no receive of it fails."""
    device = registered(registering, "gw-1")
    delete(registering, "gw-1")
    registering.calls.rules = AwsIot(lag)
    registering.calls.sent = []
    done = registering.until_quiet(order("gw-1"))
    assert len(done) == {0: 1, 9: 2, 40: len(done)}[lag]
    assert registering.status(device.leaf) is None
    assert (things("gw-1"), registering.row("gw-1")) == ([], {})


def test_an_order_for_a_detachment_comes_again_in_seconds(registering: Registering) -> None:
    """A conflict costs five seconds and no failed receive."""
    registered(registering, "gw-1")
    delete(registering, "gw-1")
    registering.calls.rules = AwsIot(lag=9)
    registering.work("gw-1")
    (sent,) = [parameters for name, parameters in registering.calls.made if name == "SendMessage"]
    assert sent["DelaySeconds"] == 5


def test_policies_of_others_do_not_keep_our_certificate(registering: Registering) -> None:
    """The deletion of a certificate of our CA detaches it from policies of others and from other things."""
    device = registered(registering, "gw-1")
    policy("Others", device.leaf)
    iot = boto3.client("iot")
    iot.create_thing(thingName="another")
    iot.attach_thing_principal(thingName="another", principal=arn(device.leaf))
    delete(registering, "gw-1")
    registering.until_quiet(order("gw-1"))
    assert registering.status(device.leaf) is None
    assert (things("gw-1"), things("another"), registering.row("gw-1")) == ([], ["another"], {})


def test_an_imported_certificate_loses_its_rights_and_stays(
    registering: Registering, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """The deletion of an imported device ends, and leaves its certificate REVOKED with its maker's policy."""
    leaf = imported(registering, "gw1")
    registering.calls.rules = AwsIot(lag=9)
    delete(registering, "gw1")
    registering.until_quiet(order("gw1"))
    assert (registering.status(leaf), registering.policies(leaf)) == ("REVOKED", {"Maker-gw1"})
    assert (things("gw1"), registering.row("gw1")) == ([], {})
    assert warned(logs, "left in AWS IoT")["left"] == [chain.fingerprint(leaf)]
    assert '"CertificateLeft":[1.0]' in capsys.readouterr().out


def test_what_others_attached_keeps_the_thing(
    registering: Registering, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thing with another team's certificate stays with it, leaves our group, and the record is removed."""
    device = registered(registering, "gw-1")
    foreign = boto3.client("iot").create_keys_and_certificate(setAsActive=True)
    boto3.client("iot").attach_thing_principal(thingName="gw-1", principal=foreign["certificateArn"])
    delete(registering, "gw-1")
    registering.until_quiet(order("gw-1"))
    assert (registering.status(device.leaf), registering.row("gw-1")) == (None, {})
    assert principals("gw-1") == [foreign["certificateArn"]]
    assert registering.world("gw-1")["groups"] == [[]]
    found = boto3.client("iot").describe_certificate(certificateId=foreign["certificateId"])
    assert found["certificateDescription"]["status"] == "ACTIVE"
    assert warned(logs, "left in AWS IoT")["thing"] is True
    assert '"ThingLeft":[1.0]' in capsys.readouterr().out


@pytest.mark.parametrize("others", [False, True])
def test_a_bootstrap_certificate_is_deleted_unless_others_use_it(
    registering: Registering, *, others: bool
) -> None:
    """The device's own bootstrap certificate is deleted unless it has a policy of others."""
    leaf = registering.product.bootstrap("gw-1")
    boto3.client("iot").register_certificate_without_ca(certificatePem=factories.pem(leaf), status="ACTIVE")
    if others:
        policy("Maker", leaf)
    assert registering.product.enroll(leaf).status == 201
    registering.work("gw-1")
    delete(registering, "gw-1")
    registering.until_quiet(order("gw-1"))
    assert registering.row("gw-1") == {}
    assert registering.status(leaf) == ("REVOKED" if others else None)


@pytest.mark.parametrize("end", [revoke, delete])
def test_a_device_whose_id_is_no_thing_name_ends(registering: Registering, end: Any) -> None:
    """A device id with a dot can be revoked and deleted; its bootstrap certificate loses its rights."""
    bootstrap = registering.product.bootstrap("gw.1")
    pem = factories.pem(bootstrap)
    boto3.client("iot").register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
    assert registering.product.enroll(bootstrap).status == 201
    end(registering, "gw.1")
    registering.until_quiet(order("gw.1"))
    assert registering.status(bootstrap) == ("REVOKED" if end is revoke else None)
    assert bool(registering.row("gw.1")) == (end is revoke)
    assert not {"ListThingPrincipals", "DescribeThing"} & set(registering.calls.names)


def test_a_lost_object_does_not_keep_a_certificate(registering: Registering) -> None:
    """A deletion removes the certificate in use also if S3 has lost it."""
    device = registered(registering, "gw-1")
    device.commit()
    lose(registering, device)
    delete(registering, "gw-1")
    registering.until_quiet(order("gw-1"))
    assert (registering.status(device.leaf), registering.row("gw-1")) == (None, {})


def test_a_registration_that_crashed_after_the_deletion_is_cleared(registering: Registering) -> None:
    """An order for a device without a record removes its certificates and its thing, and no other thing."""
    device = registered(registering, "gw-1")
    boto3.client("dynamodb").delete_item(TableName=registering.product.table, Key={"pk": {"S": "DEV#gw-1"}})
    registering.until_quiet(order("gw-1"))
    assert (registering.status(device.leaf), things("gw-1")) == (None, [])
    boto3.client("iot").create_thing(thingName="gw-2")
    registering.until_quiet(order("gw-2"))
    assert things("gw-2") == ["gw-2"]


@pytest.mark.parametrize("end", [revoke, delete])
def test_a_history_is_worked_off_in_slices(
    registering: Registering, monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    """Each slice continues after the last one, with the priority of a change, until all are REVOKED."""
    monkeypatch.setattr("firstboot.aws.s3.certificates.PAGE", 2)
    monkeypatch.setattr("firstboot.register.slots._TakeSlot.in_time", lambda _: False)
    device = registered(registering, "gw-1")
    former = [device]
    for _ in range(4):
        former[-1].commit()
        former.append(former[-1].renew())
        registering.work("gw-1")
    end(registering, "gw-1")
    done = [json.loads(body) for body in registering.until_quiet(order("gw-1"))]
    assert [each.get("priority", "change") for each in done] == ["revocation", *["change"] * 4]
    serials = sorted(f"{each.leaf.serial_number:x}" for each in former)
    assert [each["after"].partition("/")[2] for each in done[1:]] == serials[:-1]
    expected = "REVOKED" if end is revoke else None
    assert {registering.status(each.leaf) for each in former} == {expected}
    assert bool(registering.row("gw-1")) == (end is revoke)


def test_a_slice_of_another_life_starts_from_the_beginning(registering: Registering) -> None:
    """An order that continues a revocation does not skip certificates of a device deleted since."""
    device = registered(registering, "gw-1")
    delete(registering, "gw-1")
    body = {"deviceId": "gw-1", "after": f"revoked-1/{device.leaf.serial_number:x}"}
    registering.until_quiet(json.dumps(body))
    assert (registering.status(device.leaf), registering.row("gw-1")) == (None, {})


def lose(registering: Registering, device: Identity) -> None:
    """Remove the certificate's object from S3."""
    name = registering.product.objects()
    (key,) = [each for each in name if f"{device.leaf.serial_number:x}" in each]
    boto3.client("s3").delete_object(Bucket=registering.product.bucket, Key=key)


def test_a_working_device_is_not_switched_off_by_a_lost_object(
    registering: Registering, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """The certificate in use stays ACTIVE and follows the rules if S3 has lost it, and that rings."""
    device = registered(registering, "gw-1")
    device.commit()
    lose(registering, device)
    registering.product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin"})
    registering.work("gw-1")
    assert registering.status(device.leaf) == "ACTIVE"
    assert "Firstboot-grant-site" in registering.policies(device.leaf)
    assert registering.noted("gw-1", "registered") == {chain.fingerprint(device.leaf)}
    warning = warned(logs, "the certificate in use is not in the bucket")
    assert (warning["deviceId"], warning["lost"]) == ("gw-1", [chain.fingerprint(device.leaf)])
    assert '"CertificateLost":[1.0]' in capsys.readouterr().out
    revoke(registering, "gw-1")
    registering.until_quiet(order("gw-1"))
    assert registering.status(device.leaf) == "REVOKED"
