"""The folders that the measured Lambdas run from: the shipped assets, and the reference beside its boto3."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from unittest.mock import patch

from firstboot.domain.fleet import Fleet
from infra import bundling
from infra.asset import bytecode
from infra.configuration import Target

ROOT = Path(__file__).parents[1]


def interpreter() -> str:
    """Return a Python of Lambda's minor version, or this process's Python on a machine without one."""
    return str(bytecode.python(Target.LAMBDA) or sys.executable)


def product(out: Path, python: str, fleet: Fleet) -> dict[str, Path]:
    """Build the assets for `python` on this machine, and return the folder of each Lambda file's."""
    with patch.dict(bundling._PLATFORM, {Target.LOCAL: ["--python", python]}):  # noqa: SLF001
        built = bundling.bundle(out, Target.LOCAL, fleet, python=Path(python))
    return {name: asset.folder for asset in built for name in asset.lambdas}


def sizes(out: Path, fleet: Fleet) -> dict[str, float]:
    """Build the assets for Lambda, and return the MB of each one's archive."""
    built = bundling.bundle(out, Target.LAMBDA, fleet, python=bytecode.python(Target.LAMBDA))
    return {asset.name: zipped(asset.folder) / 1e6 for asset in built}


def reference(out: Path, python: str) -> Path:
    """Build the asset of the reference, and return its folder."""
    _install(out, python, "aws-lambda-powertools", "cryptography")
    shutil.copytree(ROOT / "bench/plain", out / "bench/plain", ignore=shutil.ignore_patterns("__pycache__"))
    return out


def runtime(out: Path, python: str) -> Path:
    """Build the folder of Lambda's runtime with boto3 and its bytecode, and return it."""
    _install(out, python, "boto3")
    compiled(out, python)
    return out


def compiled(folder: Path, python: str) -> Path:
    """Compile the modules in a folder, and return it."""
    command = [python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder)]
    subprocess.run(command, check=True)
    return folder


def _install(out: Path, python: str, *names: str) -> None:
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--no-config",
        "--no-compile-bytecode",
    ]
    command += ["--link-mode", "copy"]
    locked = ["--constraint", str(ROOT / "requirements.txt"), "--only-binary", ":all:"]
    subprocess.run([*command, *locked, "--python", python, "--target", str(out), *names], check=True)


def trust(folder: Path, certificate: bytes) -> None:
    """Add a certificate to every list of CAs in a folder, as if the CA were among the public ones.

    A setting that names another list would be read in the place of the list that the Lambda ships.
    """
    for file in folder.rglob("*.pem"):
        # The file may be a hard link to one in a cache, which must not change.
        changed = file.read_bytes() + b"\n" + certificate
        file.unlink()
        file.write_bytes(changed)


def zipped(folder: Path) -> int:
    """Return the bytes of a folder's ZIP archive."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, file.relative_to(folder))
    size = archive.stat().st_size
    archive.unlink()
    return size
