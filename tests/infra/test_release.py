"""`make release`: complete, with checksums that hold, the same each time, and refused without a changelog."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from infra.release import NotReady, moment, release, released_version
from tests.infra.conftest import ROOT

VERSION = released_version(ROOT)
SECONDS = "1700000000"
ASSETS = ("assign-vend", "authority-exchange", "operate-register")

# One worker, one release.
pytestmark = pytest.mark.xdist_group("release")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the release of this checkout."""
    out = tmp_path_factory.mktemp("release") / "dist"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", SECONDS)
        release(out)
    return out


def test_a_release_has_every_file_and_its_checksum(out: Path) -> None:
    """The checksums in SHA256SUMS hold for all other files of the release."""
    names = {
        *(f"firstboot-{VERSION}-{asset}-lambda-arm64.zip" for asset in ASSETS),
        *(f"firstboot-{VERSION}-{asset}-sbom.cdx.json" for asset in ASSETS),
        f"firstboot_device-{VERSION}-py3-none-any.whl",
        f"firstboot_device-{VERSION}.tar.gz",
    }
    assert {path.name for path in out.iterdir()} == names | {"SHA256SUMS"}
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {line.partition(":")[0] for line in done.stdout.splitlines()} == names


@pytest.mark.parametrize("asset", ASSETS)
def test_an_asset_is_what_a_deployment_makes(out: Path, asset: str) -> None:
    """A zip has its functions, the compiled fleet and the bill of materials, readable for all users.

    It has no bytecode, which depends on the Python of the machine.
    """
    functions = {f"{name}.py" for name in asset.split("-")}
    with zipfile.ZipFile(out / f"firstboot-{VERSION}-{asset}-lambda-arm64.zip") as archive:
        assert functions | {"fleet.json", "sbom.cdx.json"} <= set(archive.namelist())
        assert not [name for name in archive.namelist() if name.endswith(".pyc")]
        assert archive.namelist() == sorted(archive.namelist())
        assert {member.external_attr >> 16 & 0o444 for member in archive.infolist()} == {0o444}
        bill = archive.read("sbom.cdx.json")
    assert (out / f"firstboot-{VERSION}-{asset}-sbom.cdx.json").read_bytes() == bill


def test_the_same_commit_makes_the_same_release(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second release of one commit has the same checksums, also under another umask."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", SECONDS)
    before = os.umask(0o077)
    try:
        release(tmp_path / "dist")
    finally:
        os.umask(before)
    assert (tmp_path / "dist/SHA256SUMS").read_text() == (out / "SHA256SUMS").read_text()


def test_the_time_is_the_last_commit_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SOURCE_DATE_EPOCH every file has the time that git gives the last commit."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotReady, match="set SOURCE_DATE_EPOCH"):
        moment(tmp_path)
    git = tmp_path / "git"
    git.write_text(f"#!/bin/sh\n[ \"$*\" = '-C {tmp_path} log -1 --format=%ct' ] && echo 1600000000\n")
    git.chmod(0o755)
    assert moment(tmp_path) == 1600000000


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with those files of this checkout that name versions."""
    for name in ("pyproject.toml", "CHANGELOG.md", "device/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_version_without_a_section_is_refused(checkout: Path) -> None:
    """Without a section for the version in CHANGELOG.md nothing is built, and dist/ stays as it was."""
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    (checkout / "dist").mkdir()
    with pytest.raises(NotReady, match=r"no section for .*: add '## \[.*\] - YYYY-MM-DD'"):
        release(checkout / "dist", checkout)
    assert (checkout / "dist").exists()


def test_a_client_of_another_version_is_refused(checkout: Path) -> None:
    """The client in device/ must have the version of the product."""
    (checkout / "device/__init__.py").write_text('__version__ = "9.9.9"\n')
    with pytest.raises(NotReady, match=r"device/__init__\.py has another"):
        released_version(checkout)
