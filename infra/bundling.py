"""Builds the Lambda assets without Docker: the functions, the packages that they need and the compiled fleet.

An asset has what its Lambda files import (`infra/asset/needs.py`) of the packages that
functions/requirements.txt locks, and no others. botocore is one of them. Lambda's Python runtime has a
botocore too, in a version that AWS chooses. A library in the asset takes precedence
(https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firstboot.domain.aws_apis import AwsApi
from firstboot.domain.fleet import Fleet
from infra.asset import bytecode, compiled, imports, size
from infra.asset.needs import Installed, Needs, remove_unread, shared
from infra.aws_client import trim
from infra.configuration import Target

FUNCTIONS = Path(__file__).parents[1] / "functions"
# Lambda developer guide, "Lambda quotas": 250 MB unzipped. The 50 MB of a zipped archive do not apply to one
# that is uploaded through S3, as CDK does.
_MOST_BYTES = 250 * 1024 * 1024
# Our own limit. A cold start loads and unpacks the archive first, so it takes the longer the larger it is.
MOST_ZIPPED = 12_000_000
# Bytecode leaves this much room, because another zlib compresses a little less.
_ROOM = 100_000
SBOM = "sbom.cdx.json"
_CACHE = "__pycache__"
_PLATFORM = {
    # Lambda's python3.13 runtime on arm64 is Amazon Linux 2023, which has glibc 2.34.
    Target.LAMBDA: [
        *("--python-platform", "aarch64-manylinux_2_28", "--python-version", bytecode.LAMBDA_PYTHON)
    ],
    Target.LOCAL: ["--python", sys.executable],
}


@dataclass(frozen=True)
class Asset:
    """The built asset of the Lambda files `lambdas`."""

    lambdas: tuple[str, ...]
    folder: Path

    @property
    def name(self) -> str:
        """The names of the Lambda files in one word."""
        return "-".join(self.lambdas)

    @property
    def digest(self) -> str:
        """The SHA-256 of the files without their bytecode.

        So an asset is the same whether or not this machine has a Python to make bytecode with, and with
        which.
        """
        found = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and path.parent.name != _CACHE:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                found.update(f"{path.relative_to(self.folder).as_posix()}\n{content}\n".encode())
        return found.hexdigest()


def bundle(
    out: Path, target: Target, fleet: Fleet, functions: Path = FUNCTIONS, *, python: Path | None = None
) -> list[Asset]:
    """Fill the folder `out` with a folder for each asset. The same input gives the same files.

    `python` makes the bytecode; without one there is none. Raises subprocess.CalledProcessError when a
    package can't be installed for `target`, and ValueError when an asset is too large.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder)
        _install(whole, target, functions)
        if python:
            bytecode.compile_modules(whole, python)
        installed = Installed(whole)
        needs = {file.stem: installed.needs([file.stem]) for file in sorted(functions.glob("*.py"))}
        # The list is in the asset, so that it always matches the code that runs.
        bill = _bill(functions / "requirements.txt") if target is Target.LAMBDA else None
        return [
            _Building(installed, lambdas, target).fill(out, fleet, bill)
            for lambdas in sorted(set(shared(needs).values()))
        ]


@dataclass(frozen=True)
class _Building:
    """An asset that is made of what is installed."""

    installed: Installed
    lambdas: tuple[str, ...]
    target: Target

    def fill(self, out: Path, fleet: Fleet, bill: dict[str, Any] | None) -> Asset:
        """Fill a folder in `out`."""
        asset = Asset(self.lambdas, out / "-".join(self.lambdas))
        needs = self.installed.needs(self.lambdas)
        self._copy(sorted(needs.files), asset.folder)
        (asset.folder / "fleet.json").write_text(fleet.to_json())
        if bill:
            (asset.folder / SBOM).write_text(json.dumps(_only(bill, needs), indent=1))
        own = sum(_zipped(asset.folder, file) for file in (asset.folder / "fleet.json", asset.folder / SBOM))
        self._copy(self._bytecode(needs, own), asset.folder)
        _check_size(sum(file.stat().st_size for file in asset.folder.rglob("*") if file.is_file()))
        return asset

    def _copy(self, paths: Iterable[str], folder: Path) -> None:
        for path in paths:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.installed.folder / path, folder / path)
            # Lambda needs files that all users can read, also under another umask of this machine.
            (folder / path).chmod(0o644)

    def _bytecode(self, needs: Needs, taken: int) -> Iterator[str]:
        """Yield the paths of the bytecode that fits: first of what the import of a Lambda runs.

        `taken` is the size of the files that are not in `needs`. Raises ValueError if there is no room for
        the sources.
        """
        whole = self.installed.folder
        if self.target is Target.LAMBDA:
            taken += sum(size.zipped(path, whole / path) for path in needs.files)
            check_zipped(taken, self.lambdas)
        at_once = set(imports.reached(whole, self.lambdas, later=False).values())
        modules = sorted(whole / path for path in needs.files if path.endswith(".py"))
        # A large module takes the longest to compile.
        for module in sorted(modules, key=lambda file: (file not in at_once, -file.stat().st_size)):
            made = bytecode.of(module)
            if made is None:
                continue
            path = made.relative_to(whole).as_posix()
            if self.target is Target.LAMBDA:
                more = size.zipped(path, made)
                if taken + more > MOST_ZIPPED - _ROOM:
                    continue
                taken += more
            yield path


def _zipped(folder: Path, file: Path) -> int:
    return size.zipped(file.relative_to(folder).as_posix(), file) if file.is_file() else 0


def check_zipped(zipped: int, lambdas: tuple[str, ...]) -> None:
    """Check that an asset has no more than MOST_ZIPPED bytes. Raises ValueError."""
    if zipped > MOST_ZIPPED:
        names = ", ".join(lambdas)
        raise ValueError(f"the asset of {names} has {zipped:,} bytes zipped; at most {MOST_ZIPPED:,}")


def _check_size(unzipped: int) -> None:
    if unzipped > _MOST_BYTES:
        raise ValueError(
            f"the asset has {unzipped:,} bytes unzipped, and Lambda takes at most {_MOST_BYTES:,}"
        )


def _install(whole: Path, target: Target, functions: Path) -> None:
    """Put the functions and all packages for `target` into a folder, without what no Lambda reads."""
    ignored = shutil.ignore_patterns(_CACHE, "*.txt", ".*")
    shutil.copytree(functions, whole, ignore=ignored, dirs_exist_ok=True)
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-config", "--link-mode", "copy"]
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile-bytecode"]
    requirements = str(functions / "requirements.txt")
    subprocess.run(  # noqa: S603 - no argument comes from outside
        [*command, *options, *_PLATFORM[target], "--target", str(whole), "-r", requirements], check=True
    )
    trim(whole / "botocore", set(AwsApi))
    remove_unread(whole)
    for file in whole.rglob("*.so*"):
        content = file.read_bytes()
        if compiled.is_elf64(content):
            file.write_bytes(compiled.loaded(content))


def _bill(requirements: Path) -> dict[str, Any]:
    """Return a CycloneDX bill of materials of the locked packages, with their hashes."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(requirements)]
    options = ["--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON"]
    done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE)  # noqa: S603 - own arguments
    bill: dict[str, Any] = json.loads(done.stdout)
    return bill


def _only(bill: dict[str, Any], needs: Needs) -> dict[str, Any]:
    """Return the bill of materials of the packages in `needs`."""
    components = [each for each in bill["components"] if each["name"] in needs.packages]
    found = {each["bom-ref"] for each in components}
    dependencies = [each for each in bill["dependencies"] if each["ref"] in found]
    return bill | {"components": components, "dependencies": dependencies}
