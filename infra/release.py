"""`make release`: build what a release consists of into dist/. It makes no tag and uploads nothing.

    firstboot-VERSION-LAMBDAS-lambda-arm64.zip   a Lambda asset with the example fleet, for each asset
    firstboot-VERSION-LAMBDAS-sbom.cdx.json      the bill of materials that is in it
    firstboot_device-VERSION…                    the reference client, as a wheel and as source
    SHA256SUMS                                   for `sha256sum --check`

The assets are those that a deployment makes, without bytecode. So a clean checkout of the same commit gives
the same bytes on each machine: every time in an archive is the time of the commit.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path

from firstboot.compiler.fleet import load
from infra.bundling import SBOM, bundle
from infra.configuration import Target

ROOT = Path(__file__).parents[1]


class NotReady(Exception):
    """The checkout can't be released; the text gives the reason."""


def main() -> int:
    """Build the release and return the exit code."""
    try:
        release(ROOT / "dist")
    except NotReady as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def release(out: Path, root: Path = ROOT) -> None:
    """Fill the folder `out` with the release of the checkout `root`; what was in it is deleted.

    Raises NotReady if the versions differ, the changelog has no section for the version, or the time is
    unknown. Raises subprocess.CalledProcessError if a package can't be built.
    """
    version = released_version(root)
    seconds = moment(root)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        for asset in bundle(Path(folder), Target.LAMBDA, load(root / "fleet"), root / "functions"):
            name = f"firstboot-{version}-{asset.name}"
            _zip(asset.folder, out / f"{name}-lambda-arm64.zip", seconds)
            shutil.copyfile(asset.folder / SBOM, out / f"{name}-{SBOM}")
    _build_client(root / "device", out, seconds)
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(out.iterdir())
    ]
    (out / "SHA256SUMS").write_text("".join(lines))


def released_version(root: Path) -> str:
    """Return the version in pyproject.toml.

    Raises NotReady if the client in device/ has another version, or CHANGELOG.md has no section for it.
    """
    version = str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])
    client = re.search(r'^__version__ = "(.+)"$', (root / "device/__init__.py").read_text(), re.MULTILINE)
    if not client or client[1] != version:
        raise NotReady(f"pyproject.toml has version {version}, and device/__init__.py has another")
    heading = re.compile(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", re.MULTILINE)
    if not heading.search((root / "CHANGELOG.md").read_text()):
        raise NotReady(f"CHANGELOG.md has no section for {version}: add '## [{version}] - YYYY-MM-DD'")
    return version


def moment(root: Path) -> int:
    """Return SOURCE_DATE_EPOCH (reproducible-builds.org), or the time of the last commit: seconds since 1970.

    Raises NotReady if there is neither.
    """
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    try:
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotReady("git names no last commit here: set SOURCE_DATE_EPOCH") from error


def _zip(folder: Path, file: Path, seconds: int) -> None:
    """Write a zip archive whose bytes depend only on the files' names, contents and modes, and `seconds`."""
    date_time = datetime.fromtimestamp(seconds, UTC).timetuple()[:6]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        for name in sorted(names):
            path = folder / name
            member = zipfile.ZipInfo(name, date_time)
            member.compress_type = zipfile.ZIP_DEFLATED
            # The rest of the mode depends on the umask. Lambda needs files that all users can read.
            member.external_attr = (0o100755 if path.stat().st_mode & 0o100 else 0o100644) << 16
            archive.writestr(member, path.read_bytes())


def _build_client(source: Path, out: Path, seconds: int) -> None:
    # The locked build backend of this environment builds it, so the index has no part in the bytes.
    uv = [sys.executable, "-m", "uv", "build", "--quiet", "--no-build-isolation", "--python", sys.executable]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(seconds)}
    subprocess.run([*uv, "--out-dir", str(out), str(source)], check=True, env=environment)  # noqa: S603
    (out / ".gitignore").unlink()  # uv's own


if __name__ == "__main__":
    sys.exit(main())
