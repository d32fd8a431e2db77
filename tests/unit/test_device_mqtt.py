"""Test under which client id the device's client connects to the broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from device import mqtt
from device.store import Identity
from device.transport import Transport
from tests import factories


class _Conversation:
    def ask(self, *_: Any) -> tuple[bool, dict[str, Any]]:
        return True, {"certificateId": "0"}


@pytest.mark.parametrize(
    ("chosen", "device_id", "client_id"),
    [
        (None, None, "gw-1"),
        (None, "gw-1", "gw-1"),
        (None, "gw-2", "boot-gw-2"),
        ("boot-gw-1", None, "boot-gw-1"),
        ("SN0017", None, "SN0017"),
    ],
)
def test_a_chosen_client_id_is_the_bootstrap_certificates(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str | None,
    device_id: str | None,
    client_id: str,
) -> None:
    """`--client-id` decides how a bootstrap certificate connects. An operational one connects as its name."""
    used: list[str] = []

    @contextmanager
    def connected(_: mqtt.Broker, __: Identity, name: str) -> Iterator[_Conversation]:
        used.append(name)
        yield _Conversation()

    monkeypatch.setattr(mqtt.Broker, "_connected", connected)
    made = factories.authority()
    identities = []
    for name, common_name in (("bootstrap", "gw-1"), ("operational", "dev-1")):
        certificate = tmp_path / f"{name}.pem"
        certificate.write_text(factories.pem(made.issue(common_name, factories.ec_key())))
        identities.append(Identity(certificate, tmp_path / f"{name}.key"))
    bootstrap, operational = identities
    broker = mqtt.Broker("localhost:8883", Transport(None), bootstrap, client_id=chosen)
    body = f'{{"deviceId": "{device_id}"}}'.encode() if device_id else None
    broker.send(bootstrap, "POST", "/v1/certificates", body)
    broker.send(operational, "POST", "/v1/certificates")
    assert used == [client_id, "dev-1"]
