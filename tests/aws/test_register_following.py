"""AWS IoT follows what changes: attributes, renewals, groups; by difference, and ours alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import boto3
import pytest

from firstboot.pki import chain
from tests.aws.registering import GRANT, SERVICE, SITE, Registering, arn
from tests.aws.test_register import FIRST


def test_a_grant_follows_the_attributes(registering: Registering) -> None:
    """What a rule gives for an attribute is attached with it, and detached without it, and the thing
    shows the attribute; policies that are not ours stay.
    """
    device = registering.enroll("gw-1")
    registering.work("gw-1")
    iot = boto3.client("iot")
    iot.create_policy(policyName="Other", policyDocument="{}")
    iot.attach_policy(policyName="Other", target=arn(device.leaf))
    registering.product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin"})
    registering.work("gw-1")
    assert registering.policies(device.leaf) == {SERVICE, GRANT, SITE, "Other"}
    assert registering.noted("gw-1", "attached") == {"mqtt", "site"}
    assert iot.describe_thing(thingName="gw-1")["attributes"] == {"site": "berlin"}
    quarantined = {"site": None, "quarantined": True}
    registering.product.operate("devices.set", deviceId="gw-1", attributes=quarantined)
    registering.work("gw-1")
    assert registering.policies(device.leaf) == {SERVICE, "Other"}
    assert registering.noted("gw-1", "attached") == set()
    assert registering.status(device.leaf) == "ACTIVE"
    assert iot.describe_thing(thingName="gw-1")["attributes"] == {"quarantined": "true"}


def test_more_policies_than_aws_iot_takes_fail_loudly(
    registering: Registering, logs: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device that would get ten grants and our own policy gets none of them, and no place."""
    iot = boto3.client("iot")
    device = registering.enroll("gw-1")
    registering.work("gw-1")
    for number in range(9):
        iot.create_policy(policyName=f"Other{number}", policyDocument="{}")
        iot.attach_policy(policyName=f"Other{number}", target=arn(device.leaf))
    iot.detach_policy(policyName=GRANT, target=arn(device.leaf))
    assert registering.work("gw-1")["batchItemFailures"]
    assert '"PoliciesTooLarge":[1.0]' in capsys.readouterr().out
    assert GRANT not in registering.policies(device.leaf)


def test_renewal_has_both_until_the_commit(registering: Registering) -> None:
    """The new certificate works before its first login, or there could be none; after it, the old one
    may only ask for its successor, and after the grace it is nobody's.
    """
    old = registering.enroll("gw-1")
    registering.work("gw-1")
    old.commit()
    new = old.renew()
    registering.work("gw-1")
    both = {chain.fingerprint(old.leaf), chain.fingerprint(new.leaf)}
    assert registering.noted("gw-1", "registered") == both
    assert registering.policies(old.leaf) == registering.policies(new.leaf) == {SERVICE, GRANT}
    new.commit()
    registering.work("gw-1")
    assert (registering.status(old.leaf), registering.policies(old.leaf)) == ("ACTIVE", {SERVICE})
    assert registering.policies(new.leaf) == {SERVICE, GRANT}
    assert registering.noted("gw-1", "registered") == both
    _let_pass(registering, "gw-1", days=91)
    registering.work("gw-1")
    assert (registering.status(old.leaf), registering.policies(old.leaf)) == ("INACTIVE", set())
    assert (registering.status(new.leaf), registering.policies(new.leaf)) == ("ACTIVE", {SERVICE, GRANT})
    assert registering.noted("gw-1", "registered") == {chain.fingerprint(new.leaf)}
    assert registering.world("gw-1")["principals"] == [{arn(new.leaf)}]


def _let_pass(registering: Registering, device_id: str, *, days: int) -> None:
    """Move the moment at which a certificate was superseded into the past."""
    past = int((datetime.now(UTC) - timedelta(days=days)).timestamp())
    boto3.client("dynamodb").update_item(
        TableName=registering.product.table,
        Key={"pk": {"S": f"DEV#{device_id}"}},
        UpdateExpression="SET superseded.supersededAt = :past",
        ExpressionAttributeValues={":past": {"N": str(past)}},
    )


def test_a_half_registered_certificate_that_is_over_is_found(registering: Registering) -> None:
    """ACTIVE, and the note lost; then the device came with another key: the first one is still the
    thing's, ours, and nobody's, so it goes.
    """
    lost = registering.enroll("gw-1")
    registering.calls.fail = FIRST.index("UpdateCertificate") + 1
    registering.work("gw-1", slot=0)
    registering.calls.fail = None
    assert registering.status(lost.leaf) == "ACTIVE"
    assert registering.noted("gw-1", "registered") == set()
    boto3.client("dynamodb").update_item(
        TableName=registering.product.table,
        Key={"pk": {"S": "DEV#gw-1"}},
        UpdateExpression="SET pending.heldUntil = :past",
        ExpressionAttributeValues={":past": {"N": "1"}},
    )
    second = registering.enroll("gw-1")
    registering.work("gw-1")
    assert (registering.status(lost.leaf), registering.policies(lost.leaf)) == ("INACTIVE", set())
    assert registering.status(second.leaf) == "ACTIVE"


def test_a_certificate_from_elsewhere_is_left_alone(registering: Registering) -> None:
    """What someone else attached to the thing is not ours to take, until the device is deleted."""
    registering.enroll("gw-1")
    registering.work("gw-1")
    foreign = boto3.client("iot").create_keys_and_certificate(setAsActive=True)
    boto3.client("iot").attach_thing_principal(thingName="gw-1", principal=foreign["certificateArn"])
    registering.work("gw-1")
    found = boto3.client("iot").describe_certificate(certificateId=foreign["certificateId"])
    assert found["certificateDescription"]["status"] == "ACTIVE"
    assert foreign["certificateArn"] in registering.world("gw-1")["principals"][0]


@pytest.mark.parametrize("change", ["token", "gone"])
def test_a_group_that_left_the_registry_takes_its_certificates_along(
    registering: Registering, change: str
) -> None:
    """Devices with tokens have no place in AWS IoT's registry, nor have those of a group that is gone."""
    device = registering.enroll("gw-1")
    registering.work("gw-1")
    if change == "token":
        registering.publish(mqtt="token")
    else:
        registering.product.publish(groups={})
    registering.work("gw-1")
    assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("INACTIVE", set())
    assert registering.noted("gw-1", "registered") == registering.noted("gw-1", "attached") == set()
    registering.publish()
    registering.work("gw-1")
    assert (registering.status(device.leaf), registering.policies(device.leaf)) == (
        "ACTIVE",
        {SERVICE, GRANT},
    )


def test_another_group_is_another_thing_group(registering: Registering) -> None:
    """The thing is in its group, and in no other of ours; other groups are not our business."""
    iot = boto3.client("iot")
    registering.enroll("gw-1")
    registering.work("gw-1")
    iot.create_thing_group(thingGroupName="theirs")
    iot.add_thing_to_thing_group(thingGroupName="theirs", thingName="gw-1")
    iot.add_thing_to_thing_group(thingGroupName="Firstboot-gateways", thingName="gw-1")
    iot.create_thing_group(thingGroupName="Firstboot-sensors")
    iot.add_thing_to_thing_group(thingGroupName="Firstboot-sensors", thingName="gw-1")
    registering.work("gw-1")
    groups = {each["groupName"] for each in registering.world("gw-1")["groups"][0]}
    assert groups == {"theirs", "Firstboot-gateways"}


def test_a_dotted_device_id_can_have_no_thing(
    registering: Registering, capsys: pytest.CaptureFixture[str]
) -> None:
    """AWS IoT takes no such name: nothing is tried, and it is counted."""
    device = registering.enroll("gw.1")
    assert registering.work("gw.1", slot=0) == {"batchItemFailures": []}
    assert registering.calls.made == []
    assert registering.status(device.leaf) is None
    assert '"ThingNameRefused":[1.0]' in capsys.readouterr().out


def test_of_two_changes_the_later_one_counts(registering: Registering) -> None:
    """A registered device's record is not read twice: the note's condition finds out, and all starts
    again by the newer one.
    """
    device = registering.enroll("gw-1")
    registering.work("gw-1")
    product = registering.product
    product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin"})
    registering.calls.meanwhile["AttachPolicy"] = lambda: product.operate(
        "devices.set", deviceId="gw-1", attributes={"site": None}
    )
    registering.work("gw-1")
    assert registering.policies(device.leaf) == {SERVICE, GRANT}
    assert registering.noted("gw-1", "attached") == {"mqtt"}
