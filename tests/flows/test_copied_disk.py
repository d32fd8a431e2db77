"""A disk is copied from one unit to another, with its bootstrap certificate or without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import Cloud
from tests.flows.devices import Device, fresh_name, operate, recorded, revoke

STOP, WAIT = 12, 11
PER_DAY = 10
"""The enrollments that the local stack's fleet allows a device in one day."""


@pytest.fixture
def original(cloud: Cloud, tmp_path: Path) -> Device:
    """Return a device that has booted."""
    device = Device(cloud, fresh_name(), tmp_path / "original")
    device.boot()
    return device


def suspects(cloud: Cloud) -> dict[str, Any]:
    """Return the suspect devices by their ids."""
    page = operate(cloud, "devices.list", suspect=True)
    found = page["devices"]
    while page["next"]:
        page = operate(cloud, "devices.list", suspect=True, after=page["next"])
        found += page["devices"]
    return {device["deviceId"]: device for device in found}


@pytest.mark.parametrize("host", ["mtls", "public", "mqtt"])
def test_a_golden_image_becomes_its_own_unit(
    cloud: Cloud, original: Device, tmp_path: Path, host: str
) -> None:
    """A unit with another unit's state and its own bootstrap certificate enrolls under its own name."""
    unit = Device(cloud, fresh_name(), tmp_path / "unit", host)
    shutil.copytree(original.state, unit.state)
    assert unit.boot()["deviceId"] == unit.name
    assert recorded(cloud, unit.name)
    assert unit.identity[1].read_bytes() != original.identity[1].read_bytes()
    # The other unit did not notice it.
    assert original.boot()["deviceId"] == original.name
    shown = operate(cloud, "devices.show", deviceId=original.name)
    assert shown["generation"] == 1


def test_a_copy_of_the_whole_disk_is_found_and_locks_no_board_out(original: Device, tmp_path: Path) -> None:
    """Two boards with one disk take each other's place until the limit of the day.

    Then the holder of the active certificate goes on, and the other board waits for hours and not for a day.
    The device is on the list of suspects, and after its revocation neither board is let in.
    """
    copy = Device(original.cloud, original.name, tmp_path / "copy")
    shutil.copytree(original.folder, copy.folder)
    assert copy.boot()["certificateId"] == original.boot()["certificateId"]
    assert original.run("renew", "--state", str(original.state)).returncode == 0
    boards = [copy, original]
    for _ in range(PER_DAY - 1):
        boards[0].boot()
        boards.reverse()
    out, holder = boards
    refused = out.run(*out.boot_arguments())
    assert refused.returncode == WAIT
    why = json.loads(refused.stderr.splitlines()[-1])
    assert why["code"] == "reenrollment-rate-exceeded"
    # The pause is a tenth of a day, and the service adds up to as much again, to spread the devices.
    assert why["retryAfter"] <= 2 * 86_400 / PER_DAY
    assert holder.boot()["status"] == "active"
    found = suspects(original.cloud)[original.name]
    assert found["suspicions"] == ["often"]
    assert sum(found["enrollmentsPerDay"].values()) == len(found["enrollments"]) == PER_DAY
    revoke(original.cloud, original.name)
    for board in boards:
        assert board.run(*board.boot_arguments()).returncode == STOP
