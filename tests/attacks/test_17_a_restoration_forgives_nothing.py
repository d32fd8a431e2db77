"""A device that was revoked, deleted or limited waits until its operator restores lost rows from a backup.

The backup is older than the decision about the device. The restoration must not give the device back what the
decision took.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest
from typer.testing import Result

from console.commands.restore import Tables
from tests import factories
from tests.aws import test_console_restore as restoring
from tests.aws.product import Answer, Product
from tests.aws.registering import Identity, Registering
from tests.aws.test_console_restore import backed_up, counts, lasting
from tests.aws.test_deletion import order

Restore = Callable[..., Result]
restore = restoring.restore

HOW = pytest.mark.parametrize("how", [("--yes",), ("--yes", "--overwrite")], ids=" ".join)


def later(product: Product) -> None:
    """Let a minute pass, because a decision is made after the backup."""
    product.lambdas.paused += timedelta(minutes=1)


def lose(product: Product, *keys: str) -> None:
    """Delete rows from the table, as a script does that goes wrong."""
    for key in keys:
        boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": key}})


def operate(product: Product, operation: str, **parameters: Any) -> dict[str, Any]:
    """Carry out an operator's call after the backup, and return its result."""
    later(product)
    return dict(product.operate(operation, **parameters)["result"])


def come_back(product: Product, device: Identity) -> list[str]:
    """Return the codes of all that a device with an operational certificate can try."""
    tries: list[Answer] = [
        product.call("GET", "/v1/device", device.leaf),
        product.call("GET", "/role-aliases/telemetry/credentials", device.leaf),
        product.call("POST", "/v1/certificates/commit", device.leaf, "{}"),
        product.enroll(device.leaf, device.key),
        product.enroll(device.leaf),
    ]
    assert {answer.status for answer in tries} == {403}
    return [answer.body.get("code", "none") for answer in tries]


@pytest.fixture
def device(registering: Registering) -> Identity:
    """Return a device that is registered in AWS IoT and has logged in."""
    made = registering.enroll("gw-1")
    registering.work("gw-1")
    made.commit()
    return made


@HOW
@pytest.mark.parametrize("lost", [False, True])
def test_a_revocation_stays(
    registering: Registering, device: Identity, restore: Restore, how: tuple[str, ...], *, lost: bool
) -> None:
    """A revoked device stays revoked, also if its row was lost: AWS IoT has its certificate as revoked."""
    product = registering.product
    backed_up(product)
    operate(product, "devices.revoke", deviceId="gw-1")
    registering.until_quiet(order("gw-1"))
    if lost:
        lose(product, "DEV#gw-1")
    done = counts(restore(*how))
    expected = {"missing": 1, "restored": 1, "revoked": 1} if lost else {"kept": 1}
    assert done | {"same": 0} == expected | {"same": 0}
    assert set(come_back(product, device)) <= {"device-revoked", "none"}
    registering.until_quiet(json.dumps({"deviceId": "gw-1"}))
    assert registering.status(device.leaf) == "REVOKED"


def test_a_device_that_is_not_revoked_comes_back(
    registering: Registering, device: Identity, restore: Restore
) -> None:
    """The revoked certificate of another device takes nothing from a device whose row was lost."""
    product = registering.product
    backed_up(product)
    operate(product, "devices.revoke", deviceId="gw-0")
    registering.until_quiet(order("gw-0"))
    lose(product, "DEV#gw-1")
    assert counts(restore("--yes"))["restored"] == 1
    assert product.call("GET", "/v1/device", device.leaf).status == 200


@HOW
def test_a_deletion_stays(
    registering: Registering, device: Identity, restore: Restore, how: tuple[str, ...]
) -> None:
    """The record of a device that was deleted since is not put back, and its certificate is refused."""
    product = registering.product
    backed_up(product)
    operate(product, "devices.delete", deviceId="gw-1")
    registering.until_quiet(order("gw-1"))
    done = counts(restore(*how))
    assert (done["deleted"], done.get("restored", 0)) == (1, 0)
    assert "DEV#gw-1" not in lasting(product)
    assert set(come_back(product, device)) <= {"certificate-not-current", "none"}


def test_a_deletion_stays_after_the_next_life(
    registering: Registering, device: Identity, restore: Restore
) -> None:
    """If the device enrolled anew and that record was lost, the deleted one does not come back."""
    product = registering.product
    backed_up(product)
    operate(product, "devices.delete", deviceId="gw-1")
    registering.until_quiet(order("gw-1"))
    later(product)
    registering.enroll("gw-1")
    lose(product, "DEV#gw-1")
    assert counts(restore("--yes"))["deleted"] == 1
    assert set(come_back(product, device)) <= {"certificate-not-current", "none"}


def test_a_next_life_is_restored(registering: Registering, device: Identity, restore: Restore) -> None:
    """A device that had enrolled anew before the backup is put back, although its name was deleted once."""
    product = registering.product
    operate(product, "devices.delete", deviceId="gw-1")
    registering.until_quiet(order("gw-1"))
    later(product)
    anew = registering.enroll("gw-1")
    backed_up(product)
    lose(product, "DEV#gw-1")
    assert counts(restore("--yes"))["restored"] == 1
    assert product.call("GET", "/v1/device", anew.leaf).status == 200


def test_a_deletion_during_the_restoration_stays(
    registering: Registering, device: Identity, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that enrolls anew and is deleted after the comparison is not put back."""
    product = registering.product
    backed_up(product)
    lose(product, "DEV#gw-1")
    put = Tables._put

    def deleted(self: Tables, old: dict[str, Any], now: dict[str, Any] | None) -> bool:
        with contextlib.redirect_stdout(io.StringIO()):  # metrics
            later(product)
            registering.enroll("gw-1")
            operate(product, "devices.delete", deviceId="gw-1")
            registering.until_quiet(order("gw-1"))
        return put(self, old, now)

    monkeypatch.setattr(Tables, "_put", deleted)
    assert "restored" not in counts(restore("--yes"))
    assert "DEV#gw-1" not in lasting(product)


def test_a_changed_attribute_stays(registering: Registering, device: Identity, restore: Restore) -> None:
    """An attribute that gave a grant, and was removed since, does not come back with `--overwrite`."""
    product = registering.product
    product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin"})
    backed_up(product)
    operate(product, "devices.set", deviceId="gw-1", attributes={"site": None, "quarantined": True})
    assert counts(restore("--yes", "--overwrite"))["kept"] == 1
    shown = product.operate("devices.show", deviceId="gw-1")["result"]
    assert shown["attributes"] == {"quarantined": True}


def test_a_superseded_certificate_stays(registering: Registering, device: Identity, restore: Restore) -> None:
    """A certificate that was superseded since gives no credentials, and the day's renewals stay counted."""
    product = registering.product
    backed_up(product)
    for _ in range(2):
        later(product)
        newer = device.renew()
        newer.commit()
        old, device = device, newer
    assert counts(restore("--yes", "--overwrite"))["kept"] == 1
    answer = product.call("GET", "/role-aliases/telemetry/credentials", old.leaf)
    assert answer.status == 403
    assert product.operate("devices.show", deviceId="gw-1")["result"]["renewals"]["count"] == 2


@HOW
def test_a_frozen_group_stays_frozen(
    registering: Registering, restore: Restore, how: tuple[str, ...]
) -> None:
    """A group that was frozen since enrolls no device."""
    product = registering.product
    backed_up(product)
    operate(product, "groups.freeze", group="gateways")
    counts(restore(*how))
    assert product.enroll(product.bootstrap("gw-9")).body["code"] == "enrollment-frozen"


def test_a_thawed_group_stays_thawed(registering: Registering, restore: Restore) -> None:
    """A group that was frozen in the backup, and was thawed since, enrolls devices."""
    product = registering.product
    product.operate("groups.freeze", group="gateways")
    backed_up(product)
    operate(product, "groups.thaw", group="gateways")
    counts(restore("--yes", "--overwrite"))
    assert product.enroll(product.bootstrap("gw-9")).status == 201


def test_a_counter_that_began_again_gets_its_count_back(registering: Registering, restore: Restore) -> None:
    """Enrollments before and after the loss of a counter are counted together, once, and so is the freeze."""
    product = registering.product
    for number in range(3):
        assert product.enroll(product.bootstrap(f"gw-1{number}")).status == 201
    product.operate("groups.freeze", group="gateways")
    backed_up(product)
    key = next(key for key in lasting(product) if key.startswith("BUDGET#"))
    lose(product, key)
    assert product.enroll(product.bootstrap("gw-20")).status == 201
    for _ in range(2):
        counts(restore("--yes"))
        state = product.operate("groups.show", group="gateways")["result"]
        assert (state["budget"]["spent"], bool(state["frozenAt"])) == (5, True)


@HOW
@pytest.mark.parametrize("lost", [False, True])
def test_a_revoked_bootstrap_certificate_stays_revoked(
    registering: Registering, restore: Restore, how: tuple[str, ...], *, lost: bool
) -> None:
    """A bootstrap certificate that is revoked in the backup, or since, enrolls no device."""
    product, leaf = registering.product, registering.product.bootstrap("gw-9")
    if not lost:
        backed_up(product)
    operate(product, "factory.revoke", certificate=factories.pem(leaf))
    if lost:
        backed_up(product)
        lose(product, *[key for key in lasting(product) if key.startswith("BOOTSTRAP#")])
    counts(restore(*how))
    assert product.enroll(leaf).status == 403
