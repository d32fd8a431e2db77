"""An emulated AWS account on loopback: ministack with IAM enforced, behind TLS."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import shlex
import socket
import ssl
import sys
import time
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.processes import child, failure
from local.state import OURS, State

STACK = "Firstboot"
ACCOUNT = "123456789012"
REGION = "us-east-1"

_START_SECONDS = 30
_PROGRAMS = Path(sys.executable).parent
# Settings of the person at the shell that would override the keys.
_PERSONAL = ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"]


@dataclass(frozen=True, repr=False)
class Cloud:
    """The emulated account, the keys of an operator with every right, and the ports of the two hosts.

    It has no repr, so that no log shows the keys.
    """

    state: State
    mtls_port: int
    public_port: int
    mqtt_port: int
    aws_port: int
    access_key_id: str = field(default_factory=lambda: f"AKIA{secrets.token_hex(8).upper()}", kw_only=True)
    secret_access_key: str = field(default_factory=lambda: secrets.token_urlsafe(30), kw_only=True)

    def endpoints(self, role_alias: str, anchors: list[str]) -> dict[str, Any]:
        """Return the content of endpoints.json. Its paths are absolute."""
        paths = {name: str(self.state.path(name)) for name in OURS}
        return {
            "mtls": f"https://localhost:{self.mtls_port}",
            "public": f"https://localhost:{self.public_port}",
            "api_ca": paths["api-ca.pem"],
            "mqtt": {"host": "localhost", "port": self.mqtt_port, "ca": paths["mqtt-ca.pem"]},
            "aws": {
                "endpoint": f"https://localhost:{self.aws_port}",
                # An address and not a name, so that clients put the bucket's name into the path.
                "s3_endpoint": f"https://127.0.0.1:{self.aws_port}",
                "region": REGION,
                "account": ACCOUNT,
                "accessKeyId": self.access_key_id,
                "secretAccessKey": self.secret_access_key,
            },
            "stack": STACK,
            "operational_ca": paths["operational-ca.pem"],
            "factory": {"certificate": paths["factory-ca.pem"], "key": paths["factory-ca.key"]},
            "factories": {
                anchor: {
                    "certificate": str(self.state.path(f"fleet/{anchor}")),
                    "key": str(self.state.path(f"factories/{anchor}.key")),
                }
                for anchor in anchors
            },
            "bootstrap": {"certificate": paths["bootstrap.pem"], "key": paths["bootstrap.key"]},
            "role_alias": role_alias,
            "pid": os.getpid(),
        }

    def get(self, url: str) -> bytes:
        """Return the body that one of the HTTPS servers answers with.

        Raises OSError if there is no answer or it is not a success.
        """
        context = ssl.create_default_context(cafile=self.state.path("api-ca.pem"))
        with urllib.request.urlopen(url, context=context, timeout=30) as answer:  # noqa: S310 - https
            return bytes(answer.read())


_TRIES = 100
_PORTS = range(20_000, 32_768)
"""Ports that stay free until their servers start, which takes a minute.

Linux gives outgoing connections ports from 32768 on (ip(7), ip_local_port_range), and port 0 is one of these.
"""


def free_ports(*wanted: int | None) -> list[int]:
    """Return the wanted loopback ports, with a free port in the place of each None.

    Raises OSError when a wanted port is taken.
    """
    with ExitStack() as together:
        probes = [together.enter_context(_probe(port)) for port in wanted]
        return [int(probe.getsockname()[1]) for probe in probes]


def _probe(wanted: int | None) -> socket.socket:
    if wanted is not None:
        return socket.create_server(("127.0.0.1", wanted))
    for port in random.sample(_PORTS, _TRIES):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
    raise OSError(f"{_TRIES} ports of 127.0.0.1 are taken")


def operator(endpoints: dict[str, Any]) -> dict[str, str]:
    """Return the environment of the operator's programs: the CDK CLI, boto3 and the console.

    It is this process's environment without its AWS settings, and with the programs of this virtual
    environment first on the PATH.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    return own | _aws(endpoints) | {"PATH": f"{_PROGRAMS}{os.pathsep}{own['PATH']}"}


def shell(endpoints: dict[str, Any]) -> str:
    """Return env.sh: commands that make a shell the operator's, and set what the README's examples use.

    The AWS CLI and the SDKs read their profiles from aws-config in the folder, where it exists.
    """
    examples = {
        "MTLS_URL": endpoints["mtls"],
        "PUBLIC_URL": endpoints["public"],
        "MQTT_BROKER": "{host}:{port}".format_map(endpoints["mqtt"]),
    }
    profiles = {"AWS_CONFIG_FILE": str(Path(endpoints["api_ca"]).with_name("aws-config"))}
    values = _aws(endpoints) | profiles | examples
    return "\n".join(
        [
            "# Written by `python -m local up`: settings and keys of its emulated account, and of no other.",
            f"unset {' '.join(_PERSONAL)}",
            *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
            f'export PATH={shlex.quote(str(_PROGRAMS))}:"$PATH"',
        ]
    )


def _aws(endpoints: dict[str, Any]) -> dict[str, str]:
    aws = endpoints["aws"]
    return {
        "AWS_ENDPOINT_URL": aws["endpoint"],
        "AWS_ENDPOINT_URL_S3": aws["s3_endpoint"],
        "AWS_ACCESS_KEY_ID": aws["accessKeyId"],
        "AWS_SECRET_ACCESS_KEY": aws["secretAccessKey"],
        "CDK_HOME": str(Path(endpoints["api_ca"]).parent / "run/cdk"),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_VALIDATION": "false",  # it takes half of a synth's time, and `make synth` has it on
        **dict.fromkeys(["AWS_REGION", "AWS_DEFAULT_REGION"], aws["region"]),
        **dict.fromkeys(["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"], os.devnull),
        **dict.fromkeys(["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"], endpoints["api_ca"]),
    }


@asynccontextmanager
async def running(cloud: Cloud) -> AsyncIterator[Process]:
    """Start the emulator and yield its process when it answers.

    Raises Failed if it ends or is not ready in time.
    """
    log, ministack = cloud.state.path("emulator.log"), f"https://localhost:{cloud.aws_port}/_ministack"
    python = _lambda_python(cloud.state.path("run/lambda"))
    command = [sys.executable, "-m", "local.emulator", str(python), f"https://localhost:{cloud.public_port}"]
    async with child(command, log, environment=_settings(cloud)) as process:
        deadline = time.monotonic() + _START_SECONDS
        while not await asyncio.to_thread(_listens, cloud, f"{ministack}/ready"):
            if process.returncode is not None or time.monotonic() > deadline:
                raise failure("ministack", log)
            await asyncio.sleep(0.1)
        ca = await asyncio.to_thread(cloud.get, f"{ministack}/iot/ca.pem")
        cloud.state.path("mqtt-ca.pem").write_bytes(ca)
        yield process


def _listens(cloud: Cloud, url: str) -> bool:
    with suppress(OSError):
        return bool(json.loads(cloud.get(url))["iot_mtls"] == "listening")
    return False


def _settings(cloud: Cloud) -> dict[str, str]:
    """Return the emulator's environment. Its Lambda functions inherit it and find AWS at GATEWAY_PORT."""
    ca = str(cloud.state.path("api-ca.pem"))
    own = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    return own | {
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(cloud.aws_port),
        "IOT_MTLS_PORT": str(cloud.mqtt_port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "AWS_ACCESS_KEY_ID": cloud.access_key_id,
        "AWS_SECRET_ACCESS_KEY": cloud.secret_access_key,
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(cloud.state.path("run/server.pem")),
        "MINISTACK_SSL_KEY": str(cloud.state.path("run/server.key")),
        # Without these, custom resources can't send their answer, and a deployment hangs.
        **dict.fromkeys(["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"], ca),
        "DOCKER_HOST": "unix:///nonexistent",  # it would remove containers that look like its own
        "TMPDIR": str(cloud.state.path("run")),
    }


def _lambda_python(folder: Path) -> Path:
    """Make an interpreter that finds the standard library only, and return its path.

    A package that functions/requirements.txt lacks is then missing here. On AWS the runtime's boto3 would be
    found too, but its version is AWS's choice, so the asset must not need it.
    """
    folder.mkdir(parents=True)
    launcher = folder / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONPATH= exec "{sys.executable}" -S "$@"\n')
    launcher.chmod(0o700)
    return launcher
