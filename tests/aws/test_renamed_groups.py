"""Test that a renamed group keeps its devices, in the records and in AWS IoT."""

from __future__ import annotations

import boto3
import pytest

from firstboot.domain.fleet import Group
from tests.aws.registering import GRANT, MQTT, SERVICE, Registering
from tests.aws.sweeping import Sweeper
from tests.fleets import group

RULE = '@id("hubs") permit (principal in Group::"hubs", action, resource == Grant::"mqtt");'


def hubs(registering: Registering) -> Group:
    """Return the gateways under another name."""
    return group("hubs", registering.product.factory, formerly=("gateways",))


@pytest.fixture
def renamed(registering: Registering) -> Registering:
    """Return a product whose group was renamed after gw-1 had logged in."""
    registering.enroll("gw-1").commit()
    registering.work("gw-1")
    registering.product.publish(
        groups={"hubs": hubs(registering)},
        grants=registering.product.fleet.grants | {"mqtt": MQTT},
        rules=RULE,
    )
    return registering


def thing_groups(name: str) -> set[str]:
    """Return the thing groups of a device's thing."""
    listed = boto3.client("iot").list_thing_groups_for_thing(thingName=name)["thingGroups"]
    return {each["groupName"] for each in listed}


def test_the_thing_and_the_record_get_the_new_name(renamed: Registering) -> None:
    """`register` moves the thing, keeps the rights of the device, and notes the new name in the record."""
    assert thing_groups("gw-1") == {"Firstboot-gateways"}
    assert renamed.work("gw-1") == {"batchItemFailures": []}
    assert thing_groups("gw-1") == {"Firstboot-hubs"}
    row = renamed.row("gw-1")
    assert row["group"] == {"S": "hubs"}
    assert renamed.noted("gw-1", "attached") == {"mqtt"}
    certificate = row["active"]["M"]["certificateId"]["S"]
    arn = f"arn:aws:iot:us-east-1:123456789012:cert/{certificate}"
    policies = boto3.client("iot").list_attached_policies(target=arn)["policies"]
    assert {each["policyName"] for each in policies} == {SERVICE, GRANT}


def test_a_note_of_an_older_fleet_is_written_once(renamed: Registering) -> None:
    """A second order writes the same record, and the thing stays where it is."""
    renamed.work("gw-1")
    before = renamed.row("gw-1")
    renamed.work("gw-1")
    assert renamed.row("gw-1") == before
    assert thing_groups("gw-1") == {"Firstboot-hubs"}


def test_the_sweep_orders_devices_under_the_former_name_once(renamed: Registering) -> None:
    """A sweep orders each device whose record has the former name, and none after `register` is done."""
    sweeper = Sweeper(renamed.product)
    sweeper.run()
    assert _touched(renamed) == 2  # gw-0 of the fixture, and gw-1
    for name in ("gw-0", "gw-1"):
        renamed.work(name)
    boto3.client("dynamodb").delete_item(TableName=renamed.product.table, Key={"pk": {"S": "SWEEP"}})
    sweeper.run()
    assert _touched(renamed) == 0


def _touched(renamed: Registering) -> int:
    (sweep,) = [row for row in renamed.product.rows() if row["pk"]["S"] == "SWEEP"]
    return int(sweep["touched"]["N"])


def test_a_device_without_a_thing_gets_the_new_name(renamed: Registering) -> None:
    """A device whose id is no thing name has its record noted, and causes no call to AWS IoT."""
    renamed.product.publish(groups={"gateways": group("gateways", renamed.product.factory)})
    renamed.enroll("gw.1")
    renamed.product.publish(groups={"hubs": hubs(renamed)})
    renamed.work("gw.1")
    assert renamed.calls.names == ["GetObject", "GetItem", "UpdateItem"]  # the fleet is read first
    assert renamed.row("gw.1")["group"] == {"S": "hubs"}
    renamed.work("gw.1")
    assert renamed.calls.names == ["GetItem"]


def test_expected_devices_of_the_former_name_stay_expected(renamed: Registering) -> None:
    """Devices that were expected under the former name belong to the renamed group."""
    product = renamed.product
    product.publish(groups={"gateways": group("gateways", product.factory)})
    product.operate("groups.expect", group="gateways", devices={"gw-5": {}})
    product.publish(groups={"hubs": hubs(renamed)})
    for name in ("gateways", "hubs"):
        expected = product.operate("groups.expect", group=name, devices={"gw-5": {}, "gw-6": {}})
        assert (expected["result"]["expected"], expected["result"]["foreign"]) == (2, [])
    assert renamed.row("gw-5")["group"] == {"S": "gateways"}
    assert renamed.row("gw-6")["group"] == {"S": "hubs"}
    assert product.enroll(product.bootstrap("gw-5")).status == 201
    assert renamed.row("gw-5")["group"] == {"S": "hubs"}
