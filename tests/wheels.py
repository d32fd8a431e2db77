"""The reference client, built as the wheel firstboot-device and installed into an environment of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
_SITE_PACKAGES = Path(sysconfig.get_path("platlib"))


def built(folder: Path) -> Path:
    """Build the wheel with pip from a copy of device/, so that the checkout stays clean; return its path."""
    folder.mkdir(exist_ok=True)
    source = folder / "source"
    shutil.copytree(ROOT / "device", source, ignore=shutil.ignore_patterns("__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def installed(folder: Path, *distributions: str) -> Path:
    """Install the wheel into a new environment and return the environment's folder of commands.

    The environment has the standard library and, of this one's packages, only those of the named
    `distributions`. So a test needs no package index, and fails if the client needs another package.
    """
    wheel = built(folder)
    environment = folder / "environment"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    python = environment / "bin/python"
    (packages,) = environment.glob("lib/python*/site-packages")
    for name in distributions:
        for found in _SITE_PACKAGES.glob(name):
            if found.suffix == ".dist-info":  # uv does not see one that is a link
                shutil.copytree(found, packages / found.name)
            else:
                (packages / found.name).symlink_to(found)
    offline = ["--quiet", "--offline", "--no-index", "--python", str(python)]
    subprocess.run([*uv, "pip", "install", *offline, str(wheel)], check=True)
    return environment / "bin"
