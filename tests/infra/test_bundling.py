"""The Lambda asset is complete, the same for the same input, and never made in part."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from firstboot.domain.fleet import Fleet
from infra.bundling import FUNCTIONS, SBOM, bundle
from infra.configuration import Target
from tests.infra.conftest import alone, run_app

LAMBDAS = sorted(path.stem for path in FUNCTIONS.glob("*.py"))


def contents(folder: Path) -> dict[str, str]:
    """Return the hash and mode of each file by its path."""
    return {
        str(
            path.relative_to(folder)
        ): f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", [*LAMBDAS, "re2"])
def test_the_asset_is_complete(asset: Path, name: str) -> None:
    """Each Lambda, and RE2, imports with the modules in the asset alone."""
    done = alone(asset, f"import {name}")
    assert done.returncode == 0, done.stderr


def test_a_package_missing_from_the_lock_is_missed(fleet: Fleet, tmp_path: Path) -> None:
    """A package that functions/requirements.txt does not name is missing, though it is installed here."""
    functions = tmp_path / "functions"
    shutil.copytree(FUNCTIONS, functions)
    lock = functions / "requirements.txt"
    before, found, rest = lock.read_text().partition("cryptography==")
    assert found
    after = rest[rest.index("\njmespath==") :]
    lock.write_text(before + after)
    bundle(tmp_path / "out", Target.LOCAL, fleet, functions)
    done = alone(tmp_path / "out", "import exchange")
    assert "No module named 'cryptography'" in done.stderr


def test_the_same_input_makes_the_same_asset(asset: Path, fleet: Fleet, tmp_path: Path) -> None:
    """Two bundles of the same input have the same files."""
    bundle(tmp_path, Target.LOCAL, fleet)
    assert contents(tmp_path) == contents(asset)


def test_the_asset_holds_the_fleet(asset: Path, fleet: Fleet) -> None:
    """The compiled fleet is beside the Lambdas."""
    assert Fleet.from_json((asset / "fleet.json").read_text()) == fleet


def test_the_asset_holds_nothing_else(asset: Path) -> None:
    """The asset has no tests, caches, lock files or scripts, and no boto3, which the product does not use."""
    names = {path.relative_to(asset).parts[0] for path in asset.rglob("*")}
    assert not names & {"tests", "requirements.txt", ".lock", "bin", "boto3", "s3transfer"}
    assert not [path for path in asset.rglob("*") if path.name in {"__pycache__", ".mypy_cache"}]


@pytest.fixture(scope="module")
def shipped(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the asset for Lambda."""
    folder = tmp_path_factory.mktemp("lambda")
    bundle(folder, Target.LAMBDA, fleet)
    return folder


def test_the_asset_has_a_bill_of_materials(shipped: Path) -> None:
    """The asset has a CycloneDX list of the locked packages with versions and hashes, without dates and
    paths.
    """
    text = (shipped / SBOM).read_text()
    bill = json.loads(text)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    locked = re.findall(r"^([\w.-]+)==(\S+)", (FUNCTIONS / "requirements.txt").read_text(), re.MULTILINE)
    assert [(each["name"], each["version"]) for each in bill["components"]] == sorted(locked)
    assert all(each["externalReferences"][0]["hashes"] for each in bill["components"])
    assert not {"timestamp", "serialNumber"} & {*bill, *bill.get("metadata", {})}
    assert str(FUNCTIONS.parent) not in text


def test_the_asset_for_lambda_is_for_arm64(shipped: Path) -> None:
    """The compiled modules are for Lambda's processor and Python, on all machines that make the asset."""
    compiled = [path.read_bytes()[:20] for path in shipped.rglob("*.so")]
    assert compiled
    assert {header[18:20] for header in compiled} == {b"\xb7\x00"}  # ELF e_machine: EM_AARCH64
    assert list(shipped.glob("_cffi_backend.cpython-313-*"))


def test_a_changed_hash_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    """A package whose hash is not the locked one fails the bundle."""
    functions = tmp_path / "functions"
    shutil.copytree(FUNCTIONS, functions)
    lock = functions / "requirements.txt"
    lock.write_text(lock.read_text().replace("--hash=sha256:", "--hash=sha256:00000000"))
    with pytest.raises(subprocess.CalledProcessError):
        bundle(tmp_path / "out", Target.LOCAL, fleet, functions)


def test_a_bundle_that_fails_fails_the_synth(tmp_path: Path) -> None:
    """Without its packages the synth fails, writes no template and looks for no Docker."""
    done = run_app(tmp_path / "out", {}, UV_OFFLINE="1", UV_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode != 0
    assert "uv" in done.stderr
    assert "non-zero exit status" in done.stderr
    assert not (tmp_path / "out" / "Firstboot.template.json").exists()
