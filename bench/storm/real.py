"""Boot many real devices against the product on this machine, and measure what the simulation measures.

The devices are the reference client in threads of this process, on real sockets. Only the group's budget
limits them, because the local hosts have no throttle.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from bench.storm.simulation import Result
from device.boot import Device
from device.hosts import Host, MutualTls
from device.mqtt import Broker
from device.patience import HTTPS, MQTT, jitter
from device.refusal import Action, Refused
from device.service import Service
from device.store import Identity, Store
from device.transport import Answer, Transport
from local.deployment import FLEET
from local.processes import ROOT

_READY_SECONDS = 300


@contextmanager
def product(folder: Path, per_minute: int) -> Iterator[dict[str, Any]]:
    """Run the product with its files in `folder`, and yield its endpoints.

    The group gateways may enroll `per_minute` devices a minute.
    """
    fleet = folder / "source"
    shutil.copytree(FLEET, fleet, dirs_exist_ok=True)
    definition = (fleet / "fleet.toml").read_text()
    (fleet / "fleet.toml").write_text(re.sub(r"per_minute = \d+", f"per_minute = {per_minute}", definition))
    state = folder / "cloud"
    command = [sys.executable, "-m", "local", "up", "--state", str(state), "--fleet", str(fleet)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        until, ready = time.monotonic() + _READY_SECONDS, state / "endpoints.json"
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the product did not start")
            time.sleep(0.2)
        yield json.loads(ready.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@dataclass
class Observed:
    """The calls of all devices, by whole second and by device, and those without an answer."""

    start: float
    requests: Counter[int] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    done: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, device: int, ended: Refused | None) -> None:
        """Count a call, which `ended` without an answer if it is not None."""
        with self._lock:
            if ended is None:
                self.requests[device] += 1
                self.seconds[int(time.monotonic() - self.start)] += 1
            else:
                self.other["polls" if ended.action is Action.WAIT else ended.detail] += 1

    def end(self) -> None:
        """Note that a device is done."""
        with self._lock:
            self.done = max(self.done, time.monotonic() - self.start)


@dataclass(frozen=True)
class Counted:
    """A host whose calls are counted."""

    host: Host
    device: int
    observed: Observed

    def send(self, identity: Identity, method: str, path: str, body: bytes | None = None) -> Answer:
        """See Host."""
        try:
            answer = self.host.send(identity, method, path, body)
        except Refused as refusal:
            self.observed.count(self.device, refusal)
            raise
        self.observed.count(self.device, None)
        return answer


def boots(
    endpoints: dict[str, Any], devices: int, per_minute: int, within: float, *, mqtt: bool, folder: Path
) -> Result:
    """Boot new devices whose first waits are below `within` seconds, and return what was measured.

    Raises RuntimeError if a device did not get its identity.
    """
    os.environ["SSL_CERT_FILE"] = os.devnull  # each TLS context would load the system's roots
    factory = _Factory(endpoints["factory"])
    names = [f"storm-{os.urandom(3).hex()}-{number}" for number in range(devices)]
    identities = [factory.bootstrap(name, folder / name) for name in names]
    observed = Observed(time.monotonic())

    def boot(number: int) -> None:
        time.sleep(jitter() * within)
        place = folder / names[number]
        host = Counted(_host(endpoints, identities[number], mqtt=mqtt), number, observed)
        transport = Transport(_roots(endpoints))
        store = Store(place / "state")
        with store.locked():
            patience = MQTT if mqtt else HTTPS
            device = Device(store, Service(host, transport), replace(patience, tries=24))
            device.boot(identities[number])
        observed.end()

    with ThreadPoolExecutor(devices) as together:
        failed = [done.exception() for done in [together.submit(boot, n) for n in range(devices)]]
    if any(failed):
        raise RuntimeError(
            f"{sum(map(bool, failed))} devices failed, one with {next(filter(None, failed))!r}"
        )
    counts = [observed.requests[number] for number in range(devices)]
    busiest = max(observed.seconds.values())
    polls = observed.other.pop("polls", 0)
    for detail, count in observed.other.items():
        print(f"{count} calls had no answer: {detail}")
    closed = observed.other.total()
    return Result(devices, per_minute / 60, observed.done, counts, busiest, 0, polls, closed, 0)


def _host(endpoints: dict[str, Any], bootstrap: Identity, *, mqtt: bool) -> Host:
    transport = Transport(_roots(endpoints))
    if not mqtt:
        return MutualTls(endpoints["mtls"], transport)
    return Broker(f"{endpoints['mqtt']['host']}:{endpoints['mqtt']['port']}", transport, bootstrap)


def _roots(endpoints: dict[str, Any]) -> str:
    return "".join(Path(file).read_text() for file in (endpoints["api_ca"], endpoints["mqtt"]["ca"]))


class _Factory:
    """The factory CA of the product on this machine."""

    def __init__(self, files: dict[str, str]) -> None:
        self._ca = x509.load_pem_x509_certificate(Path(files["certificate"]).read_bytes())
        self._key: Any = load_pem_private_key(Path(files["key"]).read_bytes(), password=None)

    def bootstrap(self, name: str, folder: Path) -> Identity:
        """Make a bootstrap certificate and its key in `folder`."""
        folder.mkdir(parents=True)
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        builder = x509.CertificateBuilder(
            self._ca.subject,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
            key.public_key(),
            x509.random_serial_number(),
            now - timedelta(minutes=5),
            now + timedelta(days=1),
        ).add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        certificate = builder.sign(self._key, hashes.SHA256())
        identity = Identity(folder / "bootstrap.crt", folder / "bootstrap.private")
        identity.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        identity.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return identity
