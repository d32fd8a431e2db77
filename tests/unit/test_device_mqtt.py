"""The device over MQTT, with mosquitto for a broker."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.__main__ import main
from tests.unit.device_broker import Broker, brokered
from tests.unit.device_service import identifier


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker and a service that do nothing wrong unless told."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)  # the system's roots cost more than all the rest
    with brokered(tmp_path) as broker:
        yield broker


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory's path."""
    return tmp_path / "state"


def boot(broker: Broker, state: Path, *more: str, address: str | None = None, name: str = "dev1") -> int:
    """`python -m device boot`."""
    bootstrap = broker.service.bootstrap(name)
    where = ["--mqtt", address or broker.address, "--ca", str(broker.service.ca), "--state", str(state)]
    files = ["--bootstrap-cert", str(bootstrap.certificate), "--bootstrap-key", str(bootstrap.key)]
    return main(["boot", *where, *files, *more])


def test_boot_status_renew_credentials(
    broker: Broker, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After boot, the state directory is all the others need."""
    assert boot(broker, state) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "active"
    assert main(["renew", "--state", str(state), "--inline"]) == 0
    assert json.loads(capsys.readouterr().out)["certificateId"] == identifier(broker.service.issued[1])
