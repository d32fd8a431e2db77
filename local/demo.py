"""`python -m local demo`: the product's story, told by doing it. Its commands are yours to use."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError
from rich.console import Console

from local import cloud
from local.deployment import DEVICE
from local.processes import ROOT, Failed
from local.state import State

_WAIT, _STOP = 11, 12  # the device's exit codes: refused for now, and for good

_NEW_RULE = """
// Today nobody in Berlin sends telemetry.
@id("maintenance-in-berlin")
forbid (principal, action == Action::"hold", resource == Grant::"telemetry")
when   { principal has site && principal.site == "berlin" };
"""

_console = Console(highlight=False, soft_wrap=True)


def tell(folder: Path) -> None:
    """Tell the whole story, in `folder`.

    Raises Failed at the first thing that does not hold.
    """
    begun = time.monotonic()
    shutil.rmtree(folder / "devices", ignore_errors=True)
    with _cloud(folder) as endpoints:
        _identity(endpoints, folder)
        _broker(endpoints, folder)
        _credentials(endpoints, folder)
        _rules(endpoints, folder)
        _revocation(endpoints, folder)
    _console.print(f"\n[bold green]All of it held[/], in {time.monotonic() - begun:.0f} s.")
    _console.print(
        "What this does not prove: that AWS itself agrees. ministack enforced IAM here; it has no quotas, no "
        "packed policy size, none of API Gateway's TLS. Nor does revoking end credentials already given."
    )


@contextmanager
def _cloud(folder: Path) -> Iterator[dict[str, Any]]:
    with _step("An emulated AWS account comes up, and the real CDK CLI deploys the stack into it"):
        state = State(folder)
        state.stop()
        state.remove("endpoints.json")
        up = subprocess.Popen([sys.executable, "-m", "local", "up", "--state", str(folder)], cwd=ROOT)
        while not state.path("endpoints.json").exists():
            if up.poll() is not None:
                raise Failed("the cloud did not come up")
            time.sleep(0.1)
    try:
        endpoints = json.loads(state.path("endpoints.json").read_text())
        os.environ.update(cloud.operator(endpoints))
        yield endpoints
    finally:
        up.terminate()
        up.wait()


def _identity(endpoints: dict[str, Any], folder: Path) -> None:
    with _step("First boot: with its factory's certificate, a device gets one of its own"):
        _boot(endpoints, folder / "devices/new")
        certificate = str(folder / "devices/new/certificate.pem")
        _run("openssl", "x509", "-noout", "-subject", "-issuer", "-enddate", "-in", certificate)
    with _step("It logs in with that"):
        _device("status", folder)


def _broker(endpoints: dict[str, Any], folder: Path) -> None:
    run = folder / "devices/run"
    with _step("The factory makes another, which speaks MQTT alone; AWS IoT never saw its certificate"):
        signed = ["--ca-cert", endpoints["factory"]["certificate"], "--ca-key", endpoints["factory"]["key"]]
        made = ["--group", "gateways", "--count", "1", "--days", "90", "--out", str(run)]
        _run("python", "-m", "console", "factory", "issue", *made, "--fleet", str(folder / "fleet"), *signed)
    with _step("First boot over MQTT: let in to ask, it gets its own, and is a thing with policies"):
        name = next(run.glob("*.key")).with_suffix("")
        where = ["--mqtt", "{host}:{port}".format_map(endpoints["mqtt"]), "--ca", endpoints["mqtt"]["ca"]]
        files = ["--bootstrap-cert", f"{name}.pem", "--bootstrap-key", f"{name}.key"]
        boot = ["boot", "--inline", *where, *files, "--state", str(folder / "devices/mqtt")]
        identity = json.loads(_run("python", "-m", "device", *boot))
        _show(f"policies: {', '.join(_policies(identity['certificateId']))}")


def _policies(certificate_id: str) -> list[str]:
    """What AWS IoT has attached to a certificate that is ACTIVE there."""
    iot = boto3.client("iot")
    known = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    if known["status"] != "ACTIVE":
        raise Failed("AWS IoT does not take the certificate")
    return [
        each["policyName"] for each in iot.list_attached_policies(target=known["certificateArn"])["policies"]
    ]


def _credentials(endpoints: dict[str, Any], folder: Path) -> None:
    bucket = "acme-telemetry-{account}-{region}".format_map(endpoints["aws"])
    boto3.client("s3").create_bucket(Bucket=bucket)  # the device maker's, not the stack's
    with _step("It gets AWS credentials for an hour (any AWS SDK asks for them: `credential_process`)"):
        alias = endpoints["role_alias"]
        answer = json.loads(_device("credentials", folder, "--role-alias", alias, show=False))
    with _step("They write under its own prefix, and not under another's"):
        session = boto3.Session(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])
        session.client("s3").put_object(Bucket=bucket, Key=f"{DEVICE}/temperature", Body=b"21.5")
        _show(f"{DEVICE}/temperature: written")
        try:
            session.client("s3").put_object(Bucket=bucket, Key=f"{DEVICE}0/temperature", Body=b"21.5")
        except ClientError as refusal:
            _show(f"{DEVICE}0/temperature: {refusal}")
        else:
            raise Failed("they wrote under another device's prefix")


def _rules(endpoints: dict[str, Any], folder: Path) -> None:
    alias, fleet = endpoints["role_alias"], str(folder / "fleet")
    with _step("Why may it? The operator sees the rule, and the policy of the device's sessions"):
        _operator("by gateway-telemetry", "devices", "explain", DEVICE, "--context", f"roleAlias={alias}")
    with _step("The operator says where the device stands, and adds a rule"):
        _operator("berlin", "devices", "set", DEVICE, "site=berlin")
        with Path(fleet, "rules.cedar").open("a") as rules:
            rules.write(_NEW_RULE)
        _operator("maintenance-in-berlin", "fleet", "diff", fleet)
        _operator("published", "fleet", "apply", fleet)
        time.sleep(1.5)  # here a published fleet is seen within a second, on AWS within a minute
    with _step("The device feels it"):
        _device("credentials", folder, "--role-alias", alias, status=_WAIT)
    with _step("Why may it not?"):
        _operator("withheld by maintenance", "devices", "explain", DEVICE, "--context", f"roleAlias={alias}")


def _revocation(endpoints: dict[str, Any], folder: Path) -> None:
    with _step("The device is revoked: no log-in, no credentials, and no way back by a new enrollment"):
        _operator("revoked", "devices", "revoke", DEVICE, "--yes")
        _device("status", folder, status=_STOP)
        _device("credentials", folder, "--role-alias", endpoints["role_alias"], status=_STOP)
        _boot(endpoints, folder / "devices/new", status=_STOP)
        _boot(endpoints, folder / "devices/reset", status=_STOP)


def _boot(endpoints: dict[str, Any], home: Path, status: int = 0) -> None:
    bootstrap = ["--bootstrap-cert", endpoints["bootstrap"]["certificate"]]
    bootstrap += ["--bootstrap-key", endpoints["bootstrap"]["key"]]
    where = ["--mtls", endpoints["mtls"], "--ca", endpoints["api_ca"], "--state", str(home)]
    _run("python", "-m", "device", "boot", *where, *bootstrap, status=status)


def _device(command: str, folder: Path, *arguments: str, status: int = 0, show: bool = True) -> str:
    home = ["--state", str(folder / "devices/new")]
    return _run("python", "-m", "device", command, *arguments, *home, status=status, show=show)


def _operator(expected: str, *arguments: str) -> None:
    """Run the console, which must say what is `expected`."""
    if expected not in _run("python", "-m", "console", *arguments):
        raise Failed(f"the console did not say {expected!r}")


def _run(*command: str, status: int = 0, show: bool = True) -> str:
    _console.print(f"  $ {' '.join(command)}".replace(f"{ROOT}/", ""), style="cyan", markup=False)
    # A device is not the operator: it has none of their AWS settings.
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
