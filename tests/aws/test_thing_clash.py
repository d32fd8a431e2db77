"""A device whose name is another team's thing gets nothing of it, and changes nothing of it."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
import pytest

from firstboot.aws import clients
from firstboot.pki import chain
from tests.aws.aws_iot import AwsIot
from tests.aws.registering import GRANT, SERVICE, Identity, Registering, arn
from tests.aws.test_deletion import imported, order, principals, things, warned
from tests.aws.test_withdrawal import delete, registered

WRITES = ("Create", "Update", "Attach", "Add", "Register", "Delete", "Detach", "Remove")


def clash(registering: Registering, name: str) -> tuple[Identity, Any]:
    """Return a device with the name of a thing that another team has made, and the thing."""
    iot = boto3.client("iot")
    iot.create_thing(thingName=name, attributePayload={"attributes": {"paint": "blue"}})
    device = registering.enroll(name)
    registering.work(name)
    return device, iot.describe_thing(thingName=name)


def test_a_device_does_not_join_another_teams_thing(
    registering: Registering, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is changed in AWS IoT, the certificate is not registered, and that rings."""
    device, thing = clash(registering, "gw-1")
    # The only write is the note in the record, whose key is the table's.
    writes = [name for name in registering.calls.names if name.startswith(WRITES)]
    assert writes == ["UpdateItem"]
    assert registering.status(device.leaf) is None
    assert (thing["attributes"], principals("gw-1")) == ({"paint": "blue"}, [])
    assert warned(logs, "the thing is another's, or in too many groups")["deviceId"] == "gw-1"
    assert '"ThingClash":[1.0]' in capsys.readouterr().out


def test_the_deletion_of_the_device_leaves_the_thing(registering: Registering) -> None:
    """The deletion of a device that clashes removes its record, and nothing of the other team's."""
    device, _ = clash(registering, "gw-1")
    theirs = boto3.client("iot").create_keys_and_certificate(setAsActive=True)
    boto3.client("iot").attach_thing_principal(thingName="gw-1", principal=theirs["certificateArn"])
    delete(registering, "gw-1")
    registering.until_quiet(order("gw-1"))
    assert (registering.row("gw-1"), registering.status(device.leaf)) == ({}, None)
    assert (things("gw-1"), principals("gw-1")) == (["gw-1"], [theirs["certificateArn"]])


def test_a_clash_ends_when_the_thing_is_gone(registering: Registering) -> None:
    """The device is registered once the other team's thing is gone, or has our type."""
    first, _ = clash(registering, "gw-1")
    second, _ = clash(registering, "gw-2")
    iot = boto3.client("iot")
    iot.delete_thing(thingName="gw-1")
    iot.update_thing(thingName="gw-2", thingTypeName="Firstboot")
    for name in ("gw-1", "gw-2"):
        registering.work(name)
    assert registering.status(first.leaf) == registering.status(second.leaf) == "ACTIVE"


def test_a_registered_device_keeps_its_certificate_and_follows_the_rules(registering: Registering) -> None:
    """A device whose thing was replaced by another team's keeps its certificate, without lost grants."""
    device = registered(registering, "gw-1")
    iot = boto3.client("iot")
    iot.detach_thing_principal(thingName="gw-1", principal=arn(device.leaf))
    iot.delete_thing(thingName="gw-1")
    iot.create_thing(thingName="gw-1")
    registering.work("gw-1")
    assert (registering.status(device.leaf), registering.policies(device.leaf)) == (
        "ACTIVE",
        {SERVICE, GRANT},
    )
    registering.product.operate("devices.set", deviceId="gw-1", attributes={"quarantined": True})
    registering.work("gw-1")
    assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("ACTIVE", {SERVICE})
    assert registering.noted("gw-1", "registered") == {chain.fingerprint(device.leaf)}


def test_a_thing_in_ten_groups_of_others_rings(
    registering: Registering, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thing that may join no further group is a clash, and the order does not come again for ever."""
    iot = boto3.client("iot")
    iot.create_thing(thingName="gw-1", thingTypeName="Firstboot")
    for number in range(10):
        iot.create_thing_group(thingGroupName=f"theirs{number}")
        iot.add_thing_to_thing_group(thingGroupName=f"theirs{number}", thingName="gw-1")
    registering.calls.rules = AwsIot()
    device = registering.enroll("gw-1")
    assert registering.until_quiet(json.dumps({"deviceId": "gw-1"}))[1:] == []
    assert registering.status(device.leaf) is None
    assert '"ThingClash":[1.0]' in capsys.readouterr().out


def test_an_imported_device_keeps_its_thing_after_every_renewal(registering: Registering) -> None:
    """The thing of an imported device is the device's also when its record names no imported certificate."""
    imported(registering, "gw1")
    key = {"pk": {"S": "DEV#gw1"}}
    boto3.client("dynamodb").update_item(
        TableName=registering.product.table, Key=key, UpdateExpression="REMOVE active.imported"
    )
    registering.calls.sent = []
    registering.work("gw1")
    groups = clients.iot().list_thing_groups_for_thing(thingName="gw1")["thingGroups"]
    assert [each["groupName"] for each in groups] == ["Firstboot-gateways"]
    assert "AddThingToThingGroup" not in registering.calls.names
    assert registering.row("gw1")["imported"] == {"BOOL": True}


def test_an_older_versions_imported_device_is_known_by_its_certificate(registering: Registering) -> None:
    """A row of an older version has no mark of its own; its certificate's counts."""
    imported(registering, "gw1")
    boto3.client("dynamodb").update_item(
        TableName=registering.product.table,
        Key={"pk": {"S": "DEV#gw1"}},
        UpdateExpression="REMOVE imported",
    )
    assert registering.work("gw1") == {"batchItemFailures": []}
    delete(registering, "gw1")
    registering.until_quiet(order("gw1"))
    assert (things("gw1"), registering.row("gw1")) == ([], {})


def test_a_thing_made_by_another_at_the_same_time_is_a_clash(registering: Registering) -> None:
    """A thing that another team makes between the look and the creation is another's too."""
    registering.calls.rules = AwsIot()
    device = registering.enroll("gw-1")
    theirs: Any = {"attributes": {"paint": "blue"}}

    def make() -> None:
        boto3.client("iot").create_thing(thingName="gw-1", attributePayload=theirs)

    registering.calls.meanwhile["DescribeThing"] = make
    registering.work("gw-1")
    assert registering.status(device.leaf) is None
    assert boto3.client("iot").describe_thing(thingName="gw-1")["attributes"] == theirs["attributes"]
