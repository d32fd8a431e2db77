"""A device in the test's process, whose state, connection and pauses a test can see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device.boot import Device
from device.hosts import MutualTls, SignedProofs
from device.patience import Patience
from device.refusal import Refused
from device.service import Service as Client
from device.store import Identity, Store
from device.transport import Transport
from tests.device.service import Service

HOSTS: dict[str, type[MutualTls | SignedProofs]] = {"mtls": MutualTls, "public": SignedProofs}


class Bench:
    """A device that calls one host of `service`. `pauses` are in seconds; no time passes."""

    def __init__(self, folder: Path, service: Service, host: str) -> None:
        self.service = service
        self.host = host
        self.store = Store(folder)
        self.pauses: list[float] = []
        self.client = self.connect()

    def connect(self, *, inline: bool = False) -> Client:
        """Return a new connection."""
        transport = Transport(self.service.ca.read_text())
        return Client(HOSTS[self.host](self.service.url, transport), transport, inline=inline)

    @property
    def device(self) -> Device:
        """Return the device."""
        return Device(self.store, self.client, Patience(sleep=self.pauses.append, jitter=lambda: 0))

    def boot(self, device_id: str | None = None) -> dict[str, Any]:
        """Run `boot` with a bootstrap certificate of the factory."""
        with self.store.locked():
            return self.device.boot(self.service.bootstrap(), device_id)

    def renew(self, *, same_key: bool = False) -> dict[str, Any]:
        """Run `renew`."""
        with self.store.locked():
            return self.device.renew(same_key=same_key)

    @property
    def live(self) -> Identity:
        """Return the live identity, which must exist."""
        live = self.store.live()
        assert live
        return live


def refused(call: Callable[..., Any], *arguments: Any, **options: Any) -> Refused:
    """Return the refusal that a call must end with."""
    with pytest.raises(Refused) as caught:
        call(*arguments, **options)
    return caught.value
