"""A service for the device's client, and the client's state directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.device.server import running
from tests.device.service import Service


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Run a service that does nothing wrong unless a test says so."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)  # loading the system's roots would take most of the time
    with running(tmp_path) as service:
        yield service


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the path of the state directory."""
    return tmp_path / "state"
