"""Get what all devices read, or what other devices have, by a device's name.

The fleet lets each device write below its id, and all devices read a path whose name is a word. An attacker
enrolls a device under that word, or has it imported or expected, and would write what all devices read.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.aws.product import Product
from tests.aws.test_import import in_aws_iot
from tests.aws.test_operate import problem, published, successor

_BUCKET, _TOPICS = "arn:aws:s3:::acme-data-{account}-{region}/", "arn:aws:iot:{region}:{account}:topic/"


def _grant(action: str, resource: str) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


def _applied(product: Product, write: str, read: str, **changes: Any) -> dict[str, Any]:
    """Publish a fleet whose devices write to one resource and read another."""
    service = "iot" if ":iot:" in write else "s3"
    actions = {"iot": ("iot:Publish", "iot:Receive"), "s3": ("s3:PutObject", "s3:GetObject")}[service]
    grants = {"write": _grant(actions[0], write), "read": _grant(actions[1], read)}
    fleet = successor(product, grants=product.fleet.grants | grants, **changes)
    return product.operate("fleet.apply", fleet=fleet)


@pytest.mark.parametrize(
    ("write", "read", "word"),
    [
        (f"{_BUCKET}{{deviceId}}/*", f"{_BUCKET}stable/*", "stable"),
        (f"{_TOPICS}{{deviceId}}/*", f"{_TOPICS}fleet/commands", "fleet"),
        # The same place, written in another way.
        (f"{_BUCKET}{{deviceId}}/*", f"{_BUCKET.replace('aws', '{partition}')}stable/*", "stable"),
        (f"{_BUCKET}{{deviceId}}/*", "arn:aws:s3:::acme-data-123456789012-us-east-1/stable/*", "stable"),
        (f"{_TOPICS}{{deviceId}}/*", "arn:aws:iot:us-east-1:123456789012:topic/fleet/commands", "fleet"),
        (f"{_TOPICS}{{deviceId}}/*", "arn:aws:iot:*:*:topic/fleet/commands", "fleet"),
    ],
)
def test_a_word_in_the_place_of_the_id_must_be_reserved(
    product: Product, write: str, read: str, word: str
) -> None:
    """A fleet in which a device could be named like a shared path is published once the word is reserved."""
    refusal = problem(_applied(product, write, read))
    assert refusal["code"] == "fleet-invalid"
    assert f"add '{word}' to `reserved`" in refusal["detail"]
    assert published(product) is None
    assert "result" in _applied(product, write, read, reserved=(word,))
    product.lambdas.restart_readers()
    assert product.enroll(product.bootstrap(word)).body["code"] == "device-id-invalid"


@pytest.mark.parametrize("read", ["*", "st*", "st?ble/x", "?*/x"])
def test_a_wildcard_in_the_place_of_the_id_is_refused(product: Product, read: str) -> None:
    """A shared path that has a wildcard in the place of the id is refused, with any words reserved."""
    reserved = ("stable", "st", "x")
    refusal = problem(_applied(product, f"{_BUCKET}{{deviceId}}/*", f"{_BUCKET}{read}", reserved=reserved))
    assert "gives each device a part of what" in refusal["detail"]


@pytest.fixture
def reserving(product: Product) -> Product:
    """Return a product whose fleet reserves a word."""
    product.publish(reserved=("stable",))
    return product


def test_no_device_enrolls_under_a_reserved_word(reserving: Product) -> None:
    """A bootstrap certificate that names a reserved word is refused, and the refusal says why."""
    answer = reserving.enroll(reserving.bootstrap("stable"), factories.ec_key())
    assert (answer.status, answer.body["code"]) == (400, "device-id-invalid")
    assert "reserves 'stable'" in answer.body["detail"]
    assert reserving.enroll(reserving.bootstrap("stable-1"), factories.ec_key()).status == 201


@pytest.mark.parametrize("operation", ["devices.import", "groups.expect"])
def test_no_operator_names_a_device_so(reserving: Product, operation: str) -> None:
    """An import and an expectation of a reserved word are refused as a whole."""
    in_aws_iot("stable", "ACTIVE")
    devices: dict[str, Any] = {"gw-1": {}, "stable": {}}
    answer = reserving.operate(operation, group="gateways", devices=devices)
    assert problem(answer)["code"] == "device-id-invalid"
    for name in devices:
        assert problem(reserving.operate("devices.show", deviceId=name))["code"] == "device-not-found"


def test_a_word_that_is_a_devices_id_can_not_be_reserved(product: Product) -> None:
    """A fleet that reserves the id of a device is not published, and names the device."""
    assert product.enroll(product.bootstrap("stable"), factories.ec_key()).status == 201
    answer = product.operate("fleet.apply", fleet=successor(product, reserved=["stable", "fleet", "-"]))
    assert "reserved has stable, which are ids of devices" in problem(answer)["detail"]
    assert "result" in product.operate("fleet.apply", fleet=successor(product, reserved=["fleet"]))
