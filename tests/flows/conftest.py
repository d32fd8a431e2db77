"""The emulated cloud that all flows share, as `python -m local up` starts it, and helpers for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from local import cloud as local_cloud
from local.deployment import FLEET
from local.processes import ROOT
from tests import factories

_SECONDS = 300
"""How long a cloud may take to start, to reach a condition, and to end."""

HUB = "myhub.azure-devices.net"
_HUB = {"kind": "azure-sas", "hub": HUB, "seconds": 3600}
_HUB_RULE = """
@id("azure-devices")
permit (principal, action == Action::"hold", resource == Grant::"hub")
when { principal has site && principal.site == "azure" };
"""
_GROUPS = """
[groups.elements]
trust     = ["trust/elements.pem"]
device_id = "subject.serialNumber"

[groups.labels]
trust     = ["trust/labels.pem"]
device_id = "subject.serialNumber"
pattern   = '.* SN:(\\w+)'

[groups.fridges]
trust        = ["trust/fridges.pem"]
device_id    = "san.uri"
strip_prefix = "urn:dev:ops:32473-"

[groups.things]
trust     = ["trust/things.pem"]
device_id = "san.uri"

[groups.hosts]
trust     = ["trust/hosts.pem"]
device_id = "san.dns"
strip_suffix = ".example"

[groups.keys]
trust     = ["trust/keys.pem"]
device_id = "key.sha256"

[groups.est]
trust     = ["trust/est.pem"]
device_id = "subject.CN"
ways      = ["mtls", "mqtt", "est"]
budget    = { total = 1_000, per_minute = 1_000, until = 2036-12-31 }

[groups.batch]
trust     = ["trust/batch.pem"]
device_id = "request.deviceId"
budget    = { total = 1_000, per_minute = 1_000, freeze_per_hour = 1_000, until = 2036-12-31 }

[groups.claims]
trust     = ["trust/claims.pem"]
device_id = "request.deviceId"
ways      = ["mqtt", "fleet-provisioning"]
budget    = { total = 1_000, per_minute = 1_000, freeze_per_hour = 1_000, until = 2036-12-31 }
"""
"""A group for each place where a maker puts a device's id, and one with AWS IoT fleet provisioning."""

ID_SCOPE = "0ne00000A0B"
DPS_GROUP = "derived"
_DPS = f"""
[groups.{DPS_GROUP}]
trust         = []
ways          = ["mtls", "proof", "mqtt", "dps"]
symmetric_key = true
budget        = {{ total = 1_000, per_minute = 1_000, until = 2036-12-31 }}
"""
"""A group whose devices have symmetric keys and speak Azure DPS's protocol."""

_FIRST = 'device_id   = "subject.CN"'
_OPEN = f'{_FIRST}\nways = ["mtls", "proof", "mqtt", "dps", "roles-anywhere"]'
"""The line of the product's first group to which its ways are added."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all flows to one worker (`--dist loadgroup`), because they share a cloud."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("cloud"))


@dataclass(frozen=True)
class Cloud:
    """A running cloud: its endpoints.json, its factory, and the operator's boto3 clients made so far."""

    endpoints: dict[str, Any]
    factory: factories.Authority
    clients: dict[str, Any] = field(default_factory=dict)

    @property
    def operator(self) -> dict[str, str]:
        """Return the environment of the operator's programs."""
        return local_cloud.operator(self.endpoints)

    def bootstrap(self, device_id: str, folder: Path) -> tuple[Path, Path]:
        """Make a bootstrap certificate by the factory, and return the files of it and its key in `folder`."""
        key = factories.ec_key()
        return save(folder, self.factory.issue(device_id, key), key)


def save(folder: Path, certificate: x509.Certificate, key: factories.PrivateKey) -> tuple[Path, Path]:
    """Write a certificate and its key as PEM files in `folder`, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "bootstrap.pem", folder / "bootstrap.key"
    files[0].write_text(factories.pem(certificate))
    files[1].write_text(factories.key_pem(key))
    return files


def start(state: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start `python -m local up` with the folder `state` and more options."""
    command = [sys.executable, "-m", "local", "up", "--state", str(state), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def until(condition: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until `condition` holds. Fail if `process` ends before."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert process is None or process.poll() is None, "local up has ended"
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.1)


def processes_of(state: Path) -> set[str]:
    """Return the command lines of all processes whose command line or environment names `state`."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:  # the process has ended or belongs to another user
            continue
        if str(state) in environment + command and process.name != str(os.getpid()):
            found.add(command)
    return found


@contextmanager
def running(state: Path, *options: str) -> Iterator[Cloud]:
    """Run a cloud whose files are in `state`, with more options of `local up`.

    Fails if a process of the cloud is left at the end.
    """
    process = start(state, *options)
    try:
        until((state / "endpoints.json").exists, process)
        endpoints = json.loads((state / "endpoints.json").read_text())
        yield Cloud(endpoints, factory(endpoints["factory"]))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_SECONDS)
    assert processes_of(state) == set()


def fleet_folder(folder: Path) -> Path:
    """Make the fleet folder of the flows, and return it: the product's, with more groups and grants."""
    shutil.copytree(FLEET, folder)
    definition = folder / "fleet.toml"
    product = definition.read_text().replace(_FIRST, _OPEN, 1)
    heads = f'colon_ids = true\nid_scope = "{ID_SCOPE}"'
    definition.write_text(f"{heads}\n{product}\n{_GROUPS}\n{_DPS}")
    (folder / "grants/hub.json").write_text(json.dumps(_HUB))
    (folder / "rules.cedar").write_text((folder / "rules.cedar").read_text() + _HUB_RULE)
    return folder


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The cloud that all flows share. Its fleet has more groups and grants than the product's."""
    fleet = fleet_folder(tmp_path_factory.mktemp("source") / "fleet")
    with running(tmp_path_factory.mktemp("cloud"), "--fleet", str(fleet)) as cloud:
        yield cloud


def factory(files: dict[str, str]) -> factories.Authority:
    """Return the factory CA of the files that endpoints.json names."""
    key: Any = load_pem_private_key(Path(files["key"]).read_bytes(), password=None)
    return factories.Authority(x509.load_pem_x509_certificate(Path(files["certificate"]).read_bytes()), key)
