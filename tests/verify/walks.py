"""Runs the walk against a running cloud, as `make verify-aws` does."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from local.processes import ROOT
from tests.flows.conftest import Cloud
from tests.flows.devices import operate
from tests.processes import interruptible

FIRST = "first boot over mTLS"
"""The first step that makes a device."""

_SECONDS = 1_800
_ROW = re.compile(r"^\| (?P<step>[^|]+) \| (?P<outcome>passed|failed|skipped) \|", re.MULTILINE)
_REASON = re.compile(r"^- (?P<step>[^:]+): it needs (?P<reason>.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Walks:
    """Three walks, one after the other.

    `left` are the ids that a killed walk left. `cut` was interrupted, and left the ids `kept`. `done` went to
    its end. The last two have their pages.
    """

    left: list[str]
    cut: subprocess.CompletedProcess[str]
    kept: list[str]
    cut_page: str
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


def options(cloud: Cloud, page: Path) -> list[str]:
    """Return the options of a walk with the key of each factory of the cloud."""
    endpoints = cloud.endpoints
    signed = [
        option
        for files in endpoints["factories"].values()
        for option in ("--ca-cert", files["certificate"], "--ca-key", files["key"])
    ]
    hosts = ["--mtls", endpoints["mtls"], "--ca", endpoints["mqtt"]["ca"]]
    stack = ["--stack", endpoints["stack"], "--page", str(page), "--publish"]
    return [*stack, *hosts, *signed]


def walk(cloud: Cloud, page: Path) -> subprocess.CompletedProcess[str]:
    """Run a walk to its end, without a terminal."""
    return subprocess.run(
        [sys.executable, "-m", "verify", *options(cloud, page)],
        cwd=ROOT,
        env=cloud.operator,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )


def three(cloud: Cloud, folder: Path) -> Walks:
    """Kill a walk after its first device, interrupt the next one there, then walk to the end."""
    _until_first(cloud, folder / "killed.md", signal.SIGKILL)
    left = ids(cloud)
    cut = _until_first(cloud, folder / "cut.md", signal.SIGINT)
    kept = ids(cloud)
    done = walk(cloud, folder / "page.md")
    pages = [file.read_text() if file.exists() else "" for file in (folder / "cut.md", folder / "page.md")]
    return Walks(left, cut, kept, pages[0], done, pages[1])


def _until_first(cloud: Cloud, page: Path, number: signal.Signals) -> subprocess.CompletedProcess[str]:
    """Run a walk until its first device has booted, and send the signal."""
    begun = subprocess.Popen(
        interruptible("verify", *options(cloud, page)),
        cwd=ROOT,
        env=cloud.operator,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with begun:
        assert begun.stdout
        assert any(FIRST in line for line in begun.stdout), "the walk has made no device"
        begun.send_signal(number)
        out, err = begun.communicate(timeout=_SECONDS)
    return subprocess.CompletedProcess(begun.args, begun.returncode, out, err)


def ids(cloud: Cloud) -> list[str]:
    """Return the ids of all devices of the cloud."""
    return [str(device["deviceId"]) for device in operate(cloud, "devices.list", limit=200)["devices"]]
