"""Devices that stop between two steps, after the service has answered and before they go on.

The client of each device carries on from there when it runs again.
"""

from __future__ import annotations

from pathlib import Path

from device import certificates
from device.hosts import MutualTls
from device.service import Service
from device.store import FileIdentity, Identity, Store
from device.transport import Transport
from tests.flows.devices import Device


def enroll(device: Device) -> None:
    """Enroll and stop before the log-in: the device has a pending certificate and no active one."""
    bootstrap = FileIdentity(*device.cloud.bootstrap(device.name, device.folder))
    _service(device).enroll(bootstrap, certificates.csr(_next_key(device)), None)


def renew(device: Device) -> None:
    """Renew and stop before the log-in: the device has an active and a pending certificate."""
    _service(device).renew(_live(device), certificates.csr(_next_key(device)))


def lose_the_new_certificate(device: Device) -> None:
    """Renew, log in, and lose the new certificate. The device has the superseded one and the new key."""
    key = _next_key(device)
    issued = _service(device).renew(_live(device), certificates.csr(key))
    lost = FileIdentity(device.folder / "lost.pem", device.folder / "lost.key")
    lost.certificate.write_bytes(issued.chain)
    lost.key.write_bytes(key)
    _service(device).commit(lost)


def _service(device: Device) -> Service:
    endpoints = device.cloud.endpoints
    transport = Transport(Path(endpoints["api_ca"]).read_text())
    return Service(MutualTls(endpoints["mtls"], transport), transport)


def _next_key(device: Device) -> bytes:
    """Return a new key, which is kept in the device's state directory as its client keeps it."""
    store, key = Store(device.state), certificates.new_key()
    with store.locked():
        store.keep_next_key(key)
    return key


def _live(device: Device) -> Identity:
    live = Store(device.state).live()
    assert live
    return live
