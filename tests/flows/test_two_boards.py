"""Two boards with one name, and a board that an operator admits, with the reference device over real TLS."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from firstboot.domain.clock import utc_now
from firstboot.pki.certificate import parse_text
from tests.flows.conftest import Cloud
from tests.flows.devices import Device, fresh_name, issued, operate

STOP, REENROLL = 12, 13


def test_an_operator_gives_the_name_to_the_second_board(cloud: Cloud, tmp_path: Path) -> None:
    """The second board stops and the first one goes on, until an operator admits the second board's key."""
    name = fresh_name()
    first, second = (Device(cloud, name, tmp_path / board) for board in ("first", "second"))
    first.boot()
    refused = second.run(*second.boot_arguments())
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (STOP, "bootstrap-key-changed")
    assert len(issued(cloud, name)) == 1
    assert first.status()["deviceId"] == name
    one, other = _key(first), _key(second)
    shown = operate(cloud, "devices.show", deviceId=name)
    assert (shown["pin"], shown["refusedKey"]["key"]) == (one, other)

    until = (utc_now() + timedelta(days=1)).date().isoformat()
    operate(cloud, "devices.rebind", deviceId=name, key=other, until=until)
    second.boot()
    shown = operate(cloud, "devices.show", deviceId=name)
    assert (shown["pin"], shown["admission"]) == (other, None)
    assert first.run("status", "--state", str(first.state)).returncode == REENROLL
    assert first.run(*first.boot_arguments()).returncode == STOP
    assert second.status()["deviceId"] == name


def _key(board: Device) -> str:
    """Return the SHA-256 (hex) of a board's bootstrap key."""
    return parse_text((board.folder / "bootstrap.pem").read_text()).spki_fingerprint()
