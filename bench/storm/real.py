"""Boot many real devices against the product on this machine, and measure what the simulation measures.

The devices are the reference client in threads of a few processes, on real sockets. Only the group's budget
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
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
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
from device.store import FileIdentity, Identity, Store
from device.transport import Answer, Transport
from local.deployment import FLEET
from local.processes import ROOT

_READY_SECONDS = 300

_TOGETHER = 200
"""Devices of one process. paho-mqtt waits with select, which takes file descriptors below 1,024 only."""


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
    """The calls of a device: those with an answer by whole second, and the others by their reason.

    `done` are the seconds from the storm's start until the device had its identity.
    """

    start: float
    seconds: Counter[int] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)
    done: float = 0.0

    @property
    def since(self) -> float:
        """The seconds since the storm's start."""
        return time.monotonic() - self.start

    def count(self, ended: Refused | None) -> None:
        """Count a call, which `ended` without an answer if it is not None."""
        if ended is None:
            self.seconds[int(self.since)] += 1
        else:
            self.other["polls" if ended.action is Action.WAIT else ended.detail] += 1


@dataclass(frozen=True)
class Counted:
    """A host whose calls are counted."""

    host: Host
    observed: Observed

    def send(self, identity: Identity, method: str, path: str, body: bytes | None = None) -> Answer:
        """See Host."""
        try:
            answer = self.host.send(identity, method, path, body)
        except Refused as refusal:
            self.observed.count(refusal)
            raise
        self.observed.count(None)
        return answer


@dataclass(frozen=True)
class Crowd:
    """Devices that boot in one process, with the bootstrap identity and the state directory of each.

    `start` is the storm's start on the machine's monotonic clock. `within` is the longest first wait in
    seconds.
    """

    endpoints: dict[str, Any]
    devices: list[tuple[Identity, Path]]
    start: float
    within: float
    mqtt: bool

    def boot(self) -> list[Observed]:
        """Boot all devices, each in a thread.

        Raises RuntimeError if a device did not get its identity.
        """
        os.environ["SSL_CERT_FILE"] = os.devnull  # each TLS context would load the system's roots
        with ThreadPoolExecutor(len(self.devices)) as together:
            ended = [together.submit(self._boot, *device) for device in self.devices]
        failed = [error for error in (each.exception() for each in ended) if error]
        if failed:
            raise RuntimeError(f"{len(failed)} devices failed, one with {failed[0]!r}")
        return [each.result() for each in ended]

    def _boot(self, bootstrap: Identity, state: Path) -> Observed:
        time.sleep(jitter() * self.within)
        observed = Observed(self.start)
        host = Counted(_host(self.endpoints, bootstrap, mqtt=self.mqtt), observed)
        store = Store(state)
        with store.locked():
            patience = replace(MQTT if self.mqtt else HTTPS, tries=24)
            Device(store, Service(host, Transport(_roots(self.endpoints))), patience).boot(bootstrap)
        observed.done = observed.since
        return observed


def boots(
    endpoints: dict[str, Any], devices: int, per_minute: int, within: float, *, mqtt: bool, folder: Path
) -> Result:
    """Boot new devices whose first waits are below `within` seconds, and return what was measured.

    Raises RuntimeError if a device did not get its identity.
    """
    factory = _Factory(endpoints["factory"])
    names = [f"storm-{os.urandom(3).hex()}-{number}" for number in range(devices)]
    made = [(factory.bootstrap(name, folder / name), folder / name / "state") for name in names]
    parts = [made[first : first + _TOGETHER] for first in range(0, devices, _TOGETHER)]
    start = time.monotonic()
    with ProcessPoolExecutor(len(parts), get_context("spawn")) as processes:
        crowds = [Crowd(endpoints, part, start, within, mqtt) for part in parts]
        observed = [each for part in processes.map(Crowd.boot, crowds) for each in part]
    counts = [each.seconds.total() for each in observed]
    busiest = max(sum((each.seconds for each in observed), Counter[int]()).values())
    other = sum((each.other for each in observed), Counter[str]())
    polls = other.pop("polls", 0)
    for detail, count in other.items():
        print(f"{count} calls had no answer: {detail}")
    done = max(each.done for each in observed)
    return Result(devices, per_minute / 60, done, counts, busiest, 0, polls, other.total(), 0)


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
        identity = FileIdentity(folder / "bootstrap.crt", folder / "bootstrap.private")
        identity.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        identity.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return identity
