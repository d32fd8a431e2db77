"""The commands that a new user follows after a first deployment of the example fleet."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from local.cloud import ACCOUNT, REGION
from local.processes import ROOT
from tests.deploy.conftest import Account


@pytest.fixture(scope="module", autouse=True)
def _trust(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put the fleet folder's trust anchors back after these tests."""
    kept = tmp_path_factory.mktemp("kept") / "trust"
    shutil.copytree(account.fleet / "trust", kept)
    yield
    shutil.rmtree(account.fleet / "trust")
    shutil.copytree(kept, account.fleet / "trust")


def paste(account: Account, command: str) -> str:
    """Run a command as it is printed, beside the fleet folder, and return its output."""
    endpoints = account.cloud.endpoints
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=account.fleet.parent,
        env=account.cloud.operator | {"SSL_CERT_FILE": endpoints["api_ca"]},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def steps(account: Account) -> list[str]:
    """Return the commands in the deployed stack's outputs, in order."""
    (stack,) = account.client("cloudformation").describe_stacks(StackName=account.cloud.endpoints["stack"])[
        "Stacks"
    ]
    found = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    return [found[name] for name in sorted(found) if name.startswith("Next")]


def test_the_example_says_what_it_lacks(account: Account) -> None:
    """With the example's placeholder as trust anchor, the first command makes a factory CA."""
    account.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", folder=account.here.state.path("run"))
    shutil.copytree(ROOT / "fleet/trust", account.fleet / "trust", dirs_exist_ok=True)
    account.deploy()
    factory, *others = steps(account)
    assert len(others) == 3
    paste(account, factory)
    account.deploy()
    assert steps(account) == others


@pytest.mark.usefixtures("hosts")
def test_the_next_three_commands_boot_a_device(account: Account) -> None:
    """The commands, run in order, issue a bootstrap certificate, boot the device and show its record."""
    issue, boot, show = steps(account)
    paste(account, issue)
    assert json.loads(paste(account, boot))["status"] == "active"
    assert "active" in paste(account, show)
