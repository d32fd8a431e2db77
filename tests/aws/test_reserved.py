"""A word that the fleet reserves is no device's id, by any way in which a device gets one."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.aws.product import Product
from tests.aws.test_import import in_aws_iot
from tests.aws.test_operate import problem, successor


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
