"""`python -m local demo`: show what the product does, with commands that a reader can repeat."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from rich.console import Console

from firstboot.domain.clock import utc_now
from local import cloud
from local.deployment import DEVICE
from local.processes import ROOT, Failed
from local.state import State

_WAIT, _STOP = 11, 12  # the device's exit codes for "refused now" and "refused for good"

_NEW_RULE = """
// Devices in Berlin send no telemetry today.
@id("maintenance-in-berlin")
forbid (principal, action == Action::"hold", resource == Grant::"telemetry")
when   { principal has site && principal.site == "berlin" };
"""

_console = Console(highlight=False, soft_wrap=True)


def tell(folder: Path) -> None:
    """Run all steps, with the emulated cloud in `folder`.

    Raises Failed at the first step that does not hold.
    """
    begun = time.monotonic()
    with _cloud(folder) as endpoints:
        _identity(endpoints, folder)
        _broker(endpoints, folder)
        _boards(endpoints, folder)
        _credentials(endpoints, folder)
        _rules(endpoints, folder)
        _revocation(endpoints, folder)
    _console.print(f"\n[bold green]All of it held[/], in {time.monotonic() - begun:.0f} s.")
    _console.print(
        "What this does not prove: that AWS itself behaves the same. The emulator enforces IAM, but it has "
        "no quotas, no limit on packed session policies, and its own TLS in the place of API Gateway's. "
        "Revoking a device does not end the credentials that it already has."
    )


@contextmanager
def _cloud(folder: Path) -> Iterator[dict[str, Any]]:
    with _step("An emulated AWS account starts, and the real CDK CLI deploys the stack into it"):
        state = State(folder)
        state.stop()
        state.remove("endpoints.json")
        up = subprocess.Popen([sys.executable, "-m", "local", "up", "--state", str(folder)], cwd=ROOT)
        while not state.path("endpoints.json").exists():
            if up.poll() is not None:
                raise Failed("the emulated account did not start")
            time.sleep(0.1)
    try:
        endpoints = json.loads(state.path("endpoints.json").read_text())
        os.environ.update(cloud.operator(endpoints))
        yield endpoints
    finally:
        up.terminate()
        up.wait()


def _identity(endpoints: dict[str, Any], folder: Path) -> None:
    with _step("First boot: with its bootstrap certificate, a device gets an operational certificate"):
        _boot(endpoints, folder / "devices/new")
        certificate = str(folder / "devices/new/certificate.pem")
        _run("openssl", "x509", "-noout", "-subject", "-issuer", "-enddate", "-in", certificate)
    with _step("The device logs in with its operational certificate"):
        _device("status", folder)


def _broker(endpoints: dict[str, Any], folder: Path) -> None:
    run = folder / "devices/run"
    with _step(
        "The factory makes a second device, for MQTT. AWS IoT does not know its bootstrap certificate"
    ):
        name = _made(endpoints, folder, run)
    with _step("First boot over MQTT: the device gets its certificate, and a thing and policies in AWS IoT"):
        where = ["--mqtt", "{host}:{port}".format_map(endpoints["mqtt"]), "--ca", endpoints["mqtt"]["ca"]]
        files = ["--bootstrap-cert", f"{name}.pem", "--bootstrap-key", f"{name}.key"]
        boot = ["boot", "--inline", *where, *files, "--state", str(folder / "devices/mqtt")]
        identity = json.loads(_run("python", "-m", "device", *boot))
        _show(f"policies: {', '.join(_policies(identity['certificateId']))}")


def _boards(endpoints: dict[str, Any], folder: Path) -> None:
    with _step("By mistake the factory gives the second device's name to another board, which is refused"):
        board = _made(endpoints, folder, folder / "devices/board")
        _boot(endpoints, folder / "devices/other", board, status=_STOP)
    with _step("The operator admits the board once, and it takes the place of the device"):
        key, until = f"{board}.pem", (utc_now() + timedelta(days=1)).date().isoformat()
        _operator("admission", "devices", "rebind", board.name, "--key", key, "--until", until)
        _boot(endpoints, folder / "devices/other", board)
    with _step("A third unit gets a copy of this board's disk. It notices, and enrolls under its own name"):
        unit = _made(endpoints, folder, folder / "devices/unit", number=2)
        shutil.copytree(folder / "devices/other", folder / "devices/copy")
        _boot(endpoints, folder / "devices/copy", unit)


def _made(endpoints: dict[str, Any], folder: Path, run: Path, number: int = 1) -> Path:
    """Let the factory make a device with this number in its id.

    Returns the path of its key and certificate without the suffix.
    """
    signed = ["--ca-cert", endpoints["factory"]["certificate"], "--ca-key", endpoints["factory"]["key"]]
    made = ["--group", "gateways", "--start", str(number), "--count", "1", "--days", "90"]
    where = ["--out", str(run), "--fleet", str(folder / "fleet")]
    _run("python", "-m", "console", "factory", "issue", *made, *where, *signed)
    return next(run.glob("*.key")).with_suffix("")


def _policies(certificate_id: str) -> list[str]:
    """Return the names of the policies of a certificate.

    Raises Failed if it is not ACTIVE in AWS IoT.
    """
    iot = boto3.client("iot")
    known = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    if known["status"] != "ACTIVE":
        raise Failed("the certificate is not ACTIVE in AWS IoT")
    return [
        each["policyName"] for each in iot.list_attached_policies(target=known["certificateArn"])["policies"]
    ]


def _credentials(endpoints: dict[str, Any], folder: Path) -> None:
    bucket = "acme-telemetry-{account}-{region}".format_map(endpoints["aws"])
    boto3.client("s3").create_bucket(Bucket=bucket)  # it belongs to the device maker, not to the stack
    with _step(
        "The first device gets AWS credentials for an hour. AWS SDKs run this as `credential_process`"
    ):
        alias = endpoints["role_alias"]
        answer = json.loads(_device("credentials", folder, "--role-alias", alias, show=False))
    with _step("The credentials write below the device's own prefix, and not below another device's"):
        session = boto3.Session(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])
        session.client("s3").put_object(Bucket=bucket, Key=f"{DEVICE}/temperature", Body=b"21.5")
        _show(f"{DEVICE}/temperature: written")
        try:
            session.client("s3").put_object(Bucket=bucket, Key=f"{DEVICE}0/temperature", Body=b"21.5")
        except ClientError as refusal:
            _show(f"{DEVICE}0/temperature: {refusal}")
        else:
            raise Failed("the credentials wrote below another device's prefix")


def _rules(endpoints: dict[str, Any], folder: Path) -> None:
    alias, fleet = endpoints["role_alias"], str(folder / "fleet")
    with _step("The operator asks why, and sees the rule and the policy of the device's sessions"):
        _operator("by gateway-telemetry", "devices", "explain", DEVICE, "--context", f"roleAlias={alias}")
    with _step("The operator sets the device's site, and publishes a new rule"):
        _operator("berlin", "devices", "set", DEVICE, "site=berlin")
        with Path(fleet, "rules.cedar").open("a") as rules:
            rules.write(_NEW_RULE)
        _operator("maintenance-in-berlin", "fleet", "diff", fleet)
        _operator("published", "fleet", "apply", fleet)
        time.sleep(1.5)  # Lambda functions see a published fleet within a second here, within a minute on AWS
    with _step("The device gets no credentials any more"):
        _device("credentials", folder, "--role-alias", alias, status=_WAIT)
    with _step("The operator asks why, and sees the new rule"):
        _operator("withheld by maintenance", "devices", "explain", DEVICE, "--context", f"roleAlias={alias}")


def _revocation(endpoints: dict[str, Any], folder: Path) -> None:
    with _step("The operator revokes the device: it can't log in, get credentials or enroll again"):
        _operator("revoked", "devices", "revoke", DEVICE, "--yes")
        _device("status", folder, status=_STOP)
        _device("credentials", folder, "--role-alias", endpoints["role_alias"], status=_STOP)
        _boot(endpoints, folder / "devices/new", status=_STOP)
        _boot(endpoints, folder / "devices/reset", status=_STOP)


def _boot(endpoints: dict[str, Any], home: Path, board: Path | None = None, status: int = 0) -> None:
    files = {"certificate": f"{board}.pem", "key": f"{board}.key"} if board else endpoints["bootstrap"]
    bootstrap = ["--bootstrap-cert", files["certificate"], "--bootstrap-key", files["key"]]
    where = ["--mtls", endpoints["mtls"], "--ca", endpoints["api_ca"], "--state", str(home)]
    _run("python", "-m", "device", "boot", *where, *bootstrap, status=status)


def _device(command: str, folder: Path, *arguments: str, status: int = 0, show: bool = True) -> str:
    home = ["--state", str(folder / "devices/new")]
    return _run("python", "-m", "device", command, *arguments, *home, status=status, show=show)


def _operator(expected: str, *arguments: str) -> None:
    """Run the console.

    Raises Failed if its output lacks the text `expected`.
    """
    if expected not in _run("python", "-m", "console", *arguments):
        raise Failed(f"the console did not say {expected!r}")


def _run(*command: str, status: int = 0, show: bool = True) -> str:
    _console.print(f"  $ {' '.join(command)}".replace(f"{ROOT}/", ""), style="cyan", markup=False)
    # A device has none of the operator's AWS settings.
    environment = {k: v for k, v in os.environ.items() if "console" in command or not k.startswith("AWS_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    _show(done.stdout + done.stderr if show else "(not shown: secret)")
    if done.returncode != status:
        raise Failed(f"exit code {done.returncode} instead of {status}")
    return done.stdout


def _show(text: str) -> None:
    for line in text.splitlines():
        _console.print(f"    {line}", style="dim", markup=False)


@contextmanager
def _step(title: str) -> Iterator[None]:
    _console.print(f"\n{title}", style="bold")
    begun = time.monotonic()
    yield
    _console.print(f"  {time.monotonic() - begun:.1f} s", style="green")
