"""Microsoft's own client of Azure's Device Provisioning Service, unmodified, with other keys than the first.

tests/clients/ways.py has its devices with the primary key and with a certificate.
"""

from __future__ import annotations

import base64
from pathlib import Path

from tests.clients import dps
from tests.flows.conftest import Cloud
from tests.flows.devices import fresh_name


def test_the_secondary_key_gets_an_identity(cloud: Cloud, tmp_path: Path) -> None:
    """Microsoft's client registers by the secondary key, and the device logs in with its certificate."""
    assert dps.by_key(cloud, tmp_path, "secondary")


def test_another_key_is_refused_as_by_azure(cloud: Cloud, tmp_path: Path) -> None:
    """Microsoft's client reads a refusal, and does not repeat it."""
    device = dps.Azure(cloud, tmp_path, "public")
    key = base64.b64encode(dps.group_keys(cloud).primary).decode()
    done = device.register(fresh_name(), key=key)
    assert done.returncode == 1
    assert "Unauthorized" in done.stderr
    assert '"errorCode":401002' in done.stderr
