"""Runs the walk against a running cloud, as `make verify-aws` does."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from local.processes import ROOT
from tests.flows.conftest import Cloud
from tests.flows.devices import operate

FIRST = "first boot over mTLS"
"""The first step that makes a device."""

_SECONDS = 600
_ROW = re.compile(r"^\| (?P<step>[^|]+) \| (?P<outcome>passed|failed|skipped) \|", re.MULTILINE)
_REASON = re.compile(r"^- (?P<step>[^:]+): it needs (?P<reason>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Walks:
    """The ids that a killed walk left, the whole walk after it, and that one's page."""

    left: list[str]
    done: subprocess.CompletedProcess[str]
    page: str

    @property
    def outcomes(self) -> dict[str, str]:
        """Return the outcome of each step, as the page has it."""
        return {row["step"]: row["outcome"] for row in _ROW.finditer(self.page)}

    @property
    def reasons(self) -> dict[str, str]:
        """Return what each skipped step lacked, as the page has it."""
        return {row["step"]: row["reason"] for row in _REASON.finditer(self.page)}


def command(cloud: Cloud, page: Path) -> list[str]:
    """Return the command line of a walk with the key of each factory of the cloud."""
    endpoints = cloud.endpoints
    signed = [
        option
        for files in endpoints["factories"].values()
        for option in ("--ca-cert", files["certificate"], "--ca-key", files["key"])
    ]
    hosts = ["--mtls", endpoints["mtls"], "--ca", endpoints["mqtt"]["ca"]]
    stack = ["--stack", endpoints["stack"], "--page", str(page), "--publish"]
    return [sys.executable, "-m", "verify", *stack, *hosts, *signed]


def walk(cloud: Cloud, page: Path) -> subprocess.CompletedProcess[str]:
    """Run a walk to its end, without a terminal."""
    return subprocess.run(
        command(cloud, page),
        cwd=ROOT,
        env=cloud.operator,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def both(cloud: Cloud, folder: Path) -> Walks:
    """Kill a walk after its first device, then walk to the end."""
    begun = subprocess.Popen(
        command(cloud, folder / "killed.md"),
        cwd=ROOT,
        env=cloud.operator,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    with begun:
        assert begun.stdout
        assert any(FIRST in line for line in begun.stdout), "the walk has made no device"
        begun.kill()
    left = ids(cloud)
    done = walk(cloud, folder / "page.md")
    return Walks(left, done, (folder / "page.md").read_text() if done.returncode < 2 else "")


def ids(cloud: Cloud) -> list[str]:
    """Return the ids of all devices of the cloud."""
    return [str(device["deviceId"]) for device in operate(cloud, "devices.list", limit=200)["devices"]]
