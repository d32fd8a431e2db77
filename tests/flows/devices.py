"""Devices for flows, and the operator's calls about them."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from cryptography import x509

from device.__main__ import main
from device.patience import Patience
from device.refusal import Refused
from tests.flows.conftest import Cloud

_SECONDS = 300
"""How long a device may be told to wait in all."""

_patient = Patience.__call__


def fresh_name() -> str:
    """Return a device id that no other test has."""
    return f"gw-{secrets.token_hex(6)}"


def client(cloud: Cloud, service: Any) -> Any:
    """Return the operator's boto3 client of a service, made once because that is slow."""
    if service not in cloud.clients:
        aws = cloud.endpoints["aws"]
        cloud.clients[service] = boto3.client(
            service,
            endpoint_url=aws["s3_endpoint" if service == "s3" else "endpoint"],
            region_name=aws["region"],
            aws_access_key_id=aws["accessKeyId"],
            aws_secret_access_key=aws["secretAccessKey"],
            verify=cloud.endpoints["api_ca"],
        )
    return cloud.clients[service]


def output(cloud: Cloud, name: str) -> str:
    """Return an output of the deployed stack."""
    formation = client(cloud, "cloudformation")
    (stack,) = formation.describe_stacks(StackName=cloud.endpoints["stack"])["Stacks"]
    return str(next(o["OutputValue"] for o in stack["Outputs"] if o["OutputKey"] == name))


def operate(cloud: Cloud, operation: str, **parameters: Any) -> Any:
    """Call an operation of `operate` and return its result."""
    event = {"operation": operation, "parameters": parameters}
    function = output(cloud, "OperateFunction")
    answer = client(cloud, "lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    return json.load(answer["Payload"])["result"]


def revoke(cloud: Cloud, device_id: str) -> None:
    """Revoke a device as the operator."""
    operate(cloud, "devices.revoke", deviceId=device_id)


def issued(cloud: Cloud, device_id: str) -> list[str]:
    """Return the S3 keys of all certificates ever issued to a device."""
    prefix = f"certificates/{device_id}/"
    found = client(cloud, "s3").list_objects_v2(Bucket=output(cloud, "CertificatesBucket"), Prefix=prefix)
    return [entry["Key"] for entry in found.get("Contents", [])]


def recorded(cloud: Cloud, device_id: str) -> bool:
    """Return whether a device has a record."""
    key = {"pk": {"S": f"DEV#{device_id}"}}
    return "Item" in client(cloud, "dynamodb").get_item(TableName=output(cloud, "Table"), Key=key)


def _eager(patience: Patience, call: Callable[[], Any]) -> Any:
    """Repeat a call every fifth of a second while the service says how long to wait, and else by `patience`.

    The service names 5 to 10 seconds for what takes the emulator a fraction of a second.
    """

    def often() -> Any:
        end = time.monotonic() + _SECONDS
        while True:
            try:
                return call()
            except Refused as refusal:
                after = refusal.retry_after
                if after is None or after > patience.longest or time.monotonic() > end:
                    raise
            time.sleep(0.2)

    return _patient(patience, often)


def _restless(patience: Patience, call: Callable[[], Any]) -> Any:
    """Repeat a call as often as `patience` says, without its pauses."""
    return _patient(replace(patience, sleep=lambda _: None), call)


@dataclass(frozen=True)
class Device:
    """A device of the factory: its name, its folder and the host that it calls (mtls, public or mqtt).

    A `restless` device makes no pauses between the tries of a call.
    """

    cloud: Cloud
    name: str
    folder: Path
    host: str = "mtls"
    restless: bool = False

    @property
    def state(self) -> Path:
        """Return the client's state directory."""
        return self.folder / "state"

    @property
    def identity(self) -> tuple[Path, Path]:
        """Return the files of the live identity: certificate and key."""
        return self.state / "certificate.pem", self.state / "device.key"

    @property
    def leaf(self) -> x509.Certificate:
        """Return the live certificate."""
        return x509.load_pem_x509_certificates(self.identity[0].read_bytes())[0]

    def boot_arguments(self, state: Path | None = None) -> list[str]:
        """Return the command line of a first boot."""
        certificate, key = self.folder / "bootstrap.pem", self.folder / "bootstrap.key"
        if not key.exists():
            self.cloud.bootstrap(self.name, self.folder)
        where = [f"--{self.host}", *self._where()]
        files = ["--bootstrap-cert", str(certificate), "--bootstrap-key", str(key)]
        return ["boot", *where, *files, "--state", str(state or self.state)]

    def _where(self) -> list[str]:
        endpoints = self.cloud.endpoints
        if self.host != "mqtt":
            return [endpoints[self.host], "--ca", endpoints["api_ca"]]
        # The CA of the broker, and the CA of the host from which the certificate is downloaded.
        both = self.folder / "cas.crt"
        both.write_text(
            "".join(Path(ca).read_text() for ca in (endpoints["mqtt"]["ca"], endpoints["api_ca"]))
        )
        return [f"{endpoints['mqtt']['host']}:{endpoints['mqtt']['port']}", "--ca", str(both)]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the client in this process, on real sockets, with shorter pauses than a device makes.

        tests/flows/test_readme.py and tests/clients run it as `python -m device`.
        """
        out, err = io.StringIO(), io.StringIO()
        # Loading the system's roots takes longer than everything else here.
        roots = mock.patch.dict(os.environ, SSL_CERT_FILE=os.devnull)
        pauses = mock.patch.object(Patience, "__call__", _restless if self.restless else _eager)
        with roots, pauses, redirect_stdout(out), redirect_stderr(err):
            code = main(list(arguments))
        return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())

    def boot(self, *more: str) -> dict[str, Any]:
        """Boot the device, which must succeed, and return what it printed."""
        return printed(self.run(*self.boot_arguments(), *more))

    def status(self) -> dict[str, Any]:
        """Return the record as the device sees it."""
        return printed(self.run("status", "--state", str(self.state)))

    def credentials_arguments(self, role_alias: str) -> list[str]:
        """Return the command line that prints credentials."""
        return ["credentials", "--role-alias", role_alias, "--state", str(self.state)]


def printed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return what a command printed, which must have succeeded."""
    assert done.returncode == 0, done.stderr
    members: dict[str, Any] = json.loads(done.stdout)
    return members
