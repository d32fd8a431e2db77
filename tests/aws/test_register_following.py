"""`register` follows changes of attributes, certificates and groups, and leaves everything else alone."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firstboot.pki import chain
from tests.aws.registering import GRANT, SERVICE, SITE, SUPERSEDED, Identity, Registering, arn
from tests.aws.test_deletion import warned
from tests.aws.test_register import FIRST


def test_a_grant_follows_the_attributes(registering: Registering) -> None:
    """A change of attributes attaches and detaches policies and is shown in the thing.

    Policies that are not Firstboot's stay attached.
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


def attach_others(device: Identity, count: int) -> None:
    """Attach policies of another team to the device's certificate."""
    iot = boto3.client("iot")
    for number in range(count):
        with suppress(iot.exceptions.ResourceAlreadyExistsException):
            iot.create_policy(policyName=f"Other{number}", policyDocument="{}")
        iot.attach_policy(policyName=f"Other{number}", target=arn(device.leaf))


def test_more_policies_than_aws_iot_takes_fail_loudly(
    registering: Registering, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """A device with more policies than AWS IoT allows on a certificate gets none of its grants, and rings.

    Its order does not come again at once, but with the daily sweep. It is carried out when the policies fit.
    """
    device = registering.enroll("gw-1")
    registering.work("gw-1")
    attach_others(device, 9)
    boto3.client("iot").detach_policy(policyName=GRANT, target=arn(device.leaf))
    registering.product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin"})
    order = json.dumps({"deviceId": "gw-1"})
    assert registering.until_quiet(order) == [order]
    assert '"PoliciesTooLarge":[1.0]' in capsys.readouterr().out
    (reason,) = warned(logs, "AWS IoT's limits deny a certificate its policies")["excess"]
    assert reason.startswith(f"{chain.fingerprint(device.leaf)}: 12 documents")
    assert not {GRANT, SITE} & registering.policies(device.leaf)
    assert registering.noted("gw-1", "attached") == {"mqtt"}  # not what is due, so the sweep finds it
    for number in range(2):
        boto3.client("iot").detach_policy(policyName=f"Other{number}", target=arn(device.leaf))
    registering.work("gw-1")
    assert {GRANT, SITE} <= registering.policies(device.leaf)
    assert registering.noted("gw-1", "attached") == {"mqtt", "site"}


def test_an_excess_keeps_no_other_certificate_from_its_place(registering: Registering) -> None:
    """Each of a device's certificates loses what it may not have, also if another is denied its policies.

    A new certificate that is denied its policies does not become ACTIVE.
    """
    old = registering.enroll("gw-1")
    registering.work("gw-1")
    old.commit()
    new = old.renew()
    registering.work("gw-1")
    attach_others(old, 10)
    attach_others(new, 10)
    registering.product.operate("devices.set", deviceId="gw-1", attributes={"quarantined": True})
    registering.work("gw-1")
    assert not {GRANT} & (registering.policies(old.leaf) | registering.policies(new.leaf))
    other = registering.enroll("gw-2")
    registering.calls.meanwhile["RegisterCertificateWithoutCA"] = lambda: attach_others(other, 9)
    registering.work("gw-2")
    assert (registering.status(other.leaf), registering.noted("gw-2", "registered")) == ("INACTIVE", set())


def test_a_refusal_of_aws_iot_is_the_same(
    registering: Registering, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An order is not repeated when AWS IoT says by itself that a certificate has too many policies."""
    device = registering.enroll("gw-1")

    def full(make: Any, client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if operation == "AttachPolicy":
            raise ClientError({"Error": {"Code": "LimitExceededException", "Message": ""}}, operation)
        return make(client, operation, parameters)

    monkeypatch.setattr(registering.calls, "_make", full)
    assert registering.work("gw-1") == {"batchItemFailures": []}
    assert registering.status(device.leaf) == "INACTIVE"
    assert '"PoliciesTooLarge":[1.0]' in capsys.readouterr().out


def test_renewal_has_both_until_the_commit(registering: Registering) -> None:
    """Both certificates have their rights until the commit; then the old one may only renew.

    The new certificate needs its rights before its first login, or there could be none. After the grace the
    old one is inactive.
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
    assert (registering.status(old.leaf), registering.policies(old.leaf)) == ("ACTIVE", {SUPERSEDED})
    assert registering.policies(new.leaf) == {SERVICE, GRANT}
    assert registering.noted("gw-1", "registered") == both
    assert registering.noted("gw-1", "attached") == {"mqtt", f"superseded:{chain.fingerprint(old.leaf)}"}
    _let_pass(registering, "gw-1", days=91)
    registering.work("gw-1")
    assert (registering.status(old.leaf), registering.policies(old.leaf)) == ("INACTIVE", set())
    assert (registering.status(new.leaf), registering.policies(new.leaf)) == ("ACTIVE", {SERVICE, GRANT})
    assert registering.noted("gw-1", "registered") == {chain.fingerprint(new.leaf)}
    assert registering.world("gw-1")["principals"] == [{arn(new.leaf)}]


def test_a_superseded_certificate_from_before_an_upgrade_loses_the_device_s_policy(
    registering: Registering,
) -> None:
    """A superseded certificate that an older version left with the device's policy gets its own policy."""
    old = registering.enroll("gw-1")
    registering.work("gw-1")
    old.commit()
    new = old.renew()
    registering.work("gw-1")
    new.commit()
    # An older version took the grants' policies only, and noted the grants. The sweep finds such a device.
    boto3.client("iot").detach_policy(policyName=GRANT, target=arn(old.leaf))
    assert registering.noted("gw-1", "attached") == {"mqtt"}
    registering.work("gw-1")
    assert registering.policies(old.leaf) == {SUPERSEDED}
    assert registering.noted("gw-1", "attached") == {"mqtt", f"superseded:{chain.fingerprint(old.leaf)}"}


def _let_pass(registering: Registering, device_id: str, *, days: int) -> None:
    """Set the time at which a certificate was superseded to this many days ago."""
    past = int((datetime.now(UTC) - timedelta(days=days)).timestamp())
    boto3.client("dynamodb").update_item(
        TableName=registering.product.table,
        Key={"pk": {"S": f"DEV#{device_id}"}},
        UpdateExpression="SET superseded.supersededAt = :past",
        ExpressionAttributeValues={":past": {"N": str(past)}},
    )


def test_an_unnoted_certificate_that_was_replaced_is_deleted(registering: Registering) -> None:
    """A certificate that was activated but not noted, and then replaced by another, is deleted."""
    lost = registering.enroll("gw-1")
    registering.calls.fail = FIRST.index("UpdateCertificate") + 1
    registering.work("gw-1")
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
    assert registering.status(lost.leaf) is None
    assert registering.status(second.leaf) == "ACTIVE"


def test_a_certificate_from_elsewhere_is_left_alone(registering: Registering) -> None:
    """A certificate that was attached to the thing by another party stays until the device is deleted."""
    registering.enroll("gw-1")
    registering.work("gw-1")
    foreign = boto3.client("iot").create_keys_and_certificate(setAsActive=True)
    boto3.client("iot").attach_thing_principal(thingName="gw-1", principal=foreign["certificateArn"])
    registering.work("gw-1")
    found = boto3.client("iot").describe_certificate(certificateId=foreign["certificateId"])
    assert found["certificateDescription"]["status"] == "ACTIVE"
    assert foreign["certificateArn"] in registering.world("gw-1")["principals"][0]


@pytest.mark.parametrize("change", ["token", "gone"])
def test_a_group_that_left_the_registry_has_no_active_certificates(
    registering: Registering, change: str
) -> None:
    """The certificates of a group that now has tokens, or is gone, are deactivated, and come back with it."""
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


def test_a_thing_is_in_the_thing_group_of_its_group(registering: Registering) -> None:
    """A thing is in the thing group of its group and in no other of Firstboot's; foreign ones stay."""
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
    """A device whose id is no valid thing name causes no call to AWS IoT, and is counted."""
    device = registering.enroll("gw.1")
    assert registering.work("gw.1") == {"batchItemFailures": []}
    assert registering.calls.names == ["GetItem"]
    assert registering.status(device.leaf) is None
    assert '"ThingNameRefused":[1.0]' in capsys.readouterr().out


def test_a_change_during_a_reconciliation_is_applied(registering: Registering) -> None:
    """A change during a reconciliation fails the note's condition, and the newer record is applied."""
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
