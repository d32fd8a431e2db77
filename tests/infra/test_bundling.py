"""A Lambda asset is complete, the same for the same input, and never made in part."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from firstboot.domain.fleet import Fleet
from infra.asset import bytecode
from infra.bundling import FUNCTIONS, SBOM, Asset, bundle
from infra.configuration import Target
from tests.infra.conftest import alone, run_app


def contents(folder: Path) -> dict[str, str]:
    """Return the hash and mode of each file by its path."""
    return {
        str(
            path.relative_to(folder)
        ): f"{path.stat().st_mode:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_package_missing_from_the_lock_is_missed(fleet: Fleet, tmp_path: Path) -> None:
    """A package that functions/requirements.txt does not name is missing, though it is installed here."""
    functions = tmp_path / "functions"
    shutil.copytree(FUNCTIONS, functions)
    lock = functions / "requirements.txt"
    before, found, rest = lock.read_text().partition("cryptography==")
    assert found
    after = rest[rest.index("\njmespath==") :]
    lock.write_text(before + after)
    built = bundle(tmp_path / "out", Target.LOCAL, fleet, functions)
    (folder,) = (each.folder for each in built if "exchange" in each.lambdas)
    done = alone(folder, "import exchange")
    assert "No module named 'cryptography'" in done.stderr


def test_the_same_input_makes_the_same_assets(asset: Path, fleet: Fleet, tmp_path: Path) -> None:
    """Two bundles of the same input have the same files, their bytecode included."""
    bundle(tmp_path, Target.LOCAL, fleet, python=bytecode.python(Target.LOCAL))
    assert contents(tmp_path) == contents(asset.parent)


def test_each_asset_holds_the_fleet(assets: dict[str, Asset], fleet: Fleet) -> None:
    """The compiled fleet is beside the Lambdas."""
    for asset in assets.values():
        assert Fleet.from_json((asset.folder / "fleet.json").read_text()) == fleet


def test_an_asset_holds_nothing_else(assets: dict[str, Asset]) -> None:
    """An asset has no tests, lock files, scripts and lists of files, and no boto3, which nothing uses."""
    for asset in assets.values():
        paths = [path.relative_to(asset.folder) for path in asset.folder.rglob("*")]
        assert not {path.parts[0] for path in paths} & {"tests", "bin", "boto3", "s3transfer", "pycparser"}
        unread = {"requirements.txt", ".lock", ".mypy_cache", "RECORD", "py.typed"}
        assert not unread & {path.name for path in paths}


@pytest.fixture(scope="module")
def shipped(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> list[Asset]:
    """Return the assets for Lambda."""
    return bundle(tmp_path_factory.mktemp("lambda"), Target.LAMBDA, fleet)


def test_each_asset_has_a_bill_of_materials(shipped: list[Asset]) -> None:
    """An asset has a CycloneDX list of packages with locked versions and hashes, without dates and paths.

    Together the lists have all locked packages but the one that only cffi's unused part imports.
    """
    locked = set(re.findall(r"^([\w.-]+)==(\S+)", (FUNCTIONS / "requirements.txt").read_text(), re.MULTILINE))
    listed = set()
    for asset in shipped:
        text = (asset.folder / SBOM).read_text()
        bill = json.loads(text)
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        listed |= {(each["name"], each["version"]) for each in bill["components"]}
        assert all(each["externalReferences"][0]["hashes"] for each in bill["components"])
        assert not {"timestamp", "serialNumber"} & {*bill, *bill.get("metadata", {})}
        assert str(FUNCTIONS.parent) not in text
    assert {name for name, _ in locked - listed} == {"pycparser"}
    assert listed <= locked


def test_the_assets_for_lambda_are_for_arm64(shipped: list[Asset]) -> None:
    """The compiled modules are for Lambda's processor and Python, on all machines that make the assets."""
    for asset in shipped:
        compiled = [path.read_bytes()[:20] for path in asset.folder.rglob("*.so")]
        assert compiled
        assert {header[18:20] for header in compiled} == {b"\xb7\x00"}  # ELF e_machine: EM_AARCH64
        assert list(asset.folder.glob("_cffi_backend.cpython-313-*"))


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
