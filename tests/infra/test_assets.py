"""Each Lambda has what it needs in its own asset, and the asset has little else."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from firstboot.domain.fleet import Fleet
from infra import bundling
from infra.asset import bytecode
from infra.asset.compiled import loaded
from infra.asset.imports import reached
from infra.asset.needs import Needs, shared
from infra.bundling import FUNCTIONS, MOST_ZIPPED, SBOM, Asset, bundle, check_zipped
from infra.configuration import Target
from tests.infra.conftest import ROOT, Synthesised, alone, run_app
from tests.infra.test_functions import HANDLERS, ours

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

LAMBDAS = sorted(path.stem for path in FUNCTIONS.glob("*.py"))
EVERY_HANDLER = HANDLERS | {"Assign": "assign.authorize"}
ASSIGN = ("table", "bucket", "partition", "region", "account", "audience", "fleet_refresh")
ROUTES = {"exchange.http": "GET /healthz", "vend.http": "GET /role-aliases/{alias}/credentials"}

# Calls a handler in a process that has no package but the asset's. Nothing answers at the address of AWS.
CALL = """
import importlib, json, pathlib, sys, traceback
asset, handler, route = pathlib.Path(sys.path[0]), {handler!r}, {route!r}

class Context:
    function_name = memory_limit_in_mb = aws_request_id = "x"
    invoked_function_arn = "arn:aws:lambda:us-east-1:111122223333:function:x"
    function_version = "1"
    def get_remaining_time_in_millis(self):
        return 9000

module, name = handler.split(".")
event = {{}}
if route:
    method, path = route.split()
    request = {{"http": {{"method": method, "path": path, "sourceIp": "127.0.0.1"}}, "domainName": "x",
               "requestId": "x", "routeKey": route, "timeEpoch": 0}}
    event = {{"version": "2.0", "routeKey": route, "rawPath": path, "rawQueryString": "", "headers": {{}},
             "requestContext": request, "isBase64Encoded": False}}
try:
    print("answer", json.dumps(getattr(importlib.import_module(module), name)(event, Context())))
except Exception:
    traceback.print_exc()
for file in sorted(asset.glob("firstboot/**/*.py")):
    importlib.import_module(".".join(file.relative_to(asset).with_suffix("").parts).removesuffix(".__init__"))
for lazy in ("re2", "badkeys.checks"):
    if (asset / lazy.split(".")[0]).exists():
        importlib.import_module(lazy)
print("modules", json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""


def environment(stack: Synthesised, function: str) -> dict[str, str]:
    """Return a Lambda's environment with values in the place of what only a deployment knows."""
    if function == "Assign":
        values: dict[str, Any] = {f"FIRSTBOOT_{name.upper()}": "60" for name in ASSIGN}
    else:
        values = ours(stack)[function]["Environment"]["Variables"]
    found = {name: value if isinstance(value, str) else "x" for name, value in values.items()}
    if "FIRSTBOOT_CA_CERTIFICATE" in found:
        found["FIRSTBOOT_CA_CERTIFICATE"] = next((ROOT / "fleet/trust").glob("*.pem")).read_text()
    return found | {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }


@pytest.mark.parametrize("function", EVERY_HANDLER)
def test_a_lambda_runs_with_its_own_asset_alone(
    assets: dict[str, Asset], stack: Synthesised, function: str
) -> None:
    """Each handler is imported, built and called, and each module of ours imported, from its own asset."""
    handler = EVERY_HANDLER[function]
    program = CALL.format(handler=handler, route=ROUTES.get(handler, ""))
    folder = assets[handler.partition(".")[0]].folder
    done = alone(folder, f"exec({program!r})", **environment(stack, function))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    missing = (
        "ImportError",
        "ModuleNotFound",
        "UnknownService",
        "DataNotFound",
        "FileNotFound",
        "FIRSTBOOT_",
    )
    assert not [each for each in missing if each in said], said
    if handler == "exchange.http":
        assert '"statusCode": 200' in done.stdout


def test_every_handler_is_called(stack: Synthesised) -> None:
    """The table of this module has every Lambda, and its handler."""
    handlers = {name: function["Handler"] for name, function in ours(stack).items()}
    assert handlers | {"Assign": "assign.authorize"} == EVERY_HANDLER


def test_a_lambda_has_only_what_it_imports(assets: dict[str, Asset]) -> None:
    """No asset has the code of a Lambda that it does not serve, and Cedar is only where rules are decided."""
    for asset in set(assets.values()):
        packages = {path.name for path in (asset.folder / "firstboot").iterdir() if path.is_dir()}
        assert not packages & (set(LAMBDAS) - set(asset.lambdas))
    with_cedar = {name for name, asset in assets.items() if (asset.folder / "cedarpy").exists()}
    assert with_cedar == {"assign", "operate", "register", "vend"}


def test_lambdas_of_one_asset_need_the_same() -> None:
    """A file joins the smallest asset that has all of its packages, and every other file gets its own."""

    def needs(size: int, *packages: str) -> Needs:
        return Needs(frozenset(packages), frozenset(), size)

    found = shared(
        {
            "a": needs(1, "x"),
            "b": needs(9, "x", "y"),
            "c": needs(5, "x", "z"),
            "d": needs(5, "x", "z"),
        }
    )
    assert found == {"a": ("a", "c", "d"), "b": ("b",), "c": ("a", "c", "d"), "d": ("a", "c", "d")}


def test_imports_in_functions_count(tmp_path: Path) -> None:
    """A module that a function imports is needed, and one that only a type checker reads is not."""
    (tmp_path / "pkg").mkdir()
    (tmp_path / "main.py").write_text(
        "from typing import TYPE_CHECKING\nfrom pkg import near\nif TYPE_CHECKING:\n    import typed\n"
        "def f():\n    import lazy\n"
    )
    (tmp_path / "pkg/__init__.py").touch()
    (tmp_path / "pkg/near.py").write_text("from . import far\n")
    for name in ("pkg/far", "typed", "lazy"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "pkg/native.cpython-313-aarch64-linux-gnu.so").touch()
    assert set(reached(tmp_path, ["main"])) == {"main", "pkg", "pkg.near", "pkg.far", "lazy"}
    assert "lazy" not in reached(tmp_path, ["main"], later=False)
    assert set(reached(tmp_path, ["pkg.native"])) == {"pkg", "pkg.native"}


@pytest.fixture(scope="module")
def compiled(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> list[Asset]:
    """Return the assets for Lambda with the bytecode of this Python, which exists on all machines."""
    out = tmp_path_factory.mktemp("compiled")
    return bundle(out, Target.LAMBDA, fleet, python=Path(sys.executable))


@pytest.fixture(scope="module")
def sources(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> list[Asset]:
    """Return the assets for Lambda without bytecode."""
    return bundle(tmp_path_factory.mktemp("sources"), Target.LAMBDA, fleet)


def test_bytecode_does_not_change_the_hash(compiled: list[Asset], sources: list[Asset]) -> None:
    """With and without bytecode an asset has the same hash, so that CDK finds no difference."""
    assert [each.digest for each in compiled] == [each.digest for each in sources]
    assert len({each.digest for each in sources}) == len(sources)
    assert all(list(each.folder.rglob("*.pyc")) for each in compiled)
    assert not any(list(each.folder.rglob("*.pyc")) for each in sources)


def test_a_changed_module_changes_the_hash(assets: dict[str, Asset], tmp_path: Path) -> None:
    """Other content, or another name, gives an asset another hash."""
    shutil.copytree(assets["exchange"].folder, tmp_path / "copy")
    copy = Asset(("exchange",), tmp_path / "copy")
    assert copy.digest == assets["exchange"].digest
    (copy.folder / "exchange.py").write_text("")
    changed = copy.digest
    assert changed != assets["exchange"].digest
    (copy.folder / "exchange.py").rename(copy.folder / "other.py")
    assert copy.digest not in {changed, assets["exchange"].digest}


def test_an_asset_has_at_most_12_mb_zipped(compiled: list[Asset], tmp_path: Path) -> None:
    """A zip of each asset for Lambda, its bytecode included, has at most 12 MB."""
    for asset in compiled:
        file = Path(shutil.make_archive(str(tmp_path / asset.name), "zip", asset.folder))
        assert file.stat().st_size <= MOST_ZIPPED
        with zipfile.ZipFile(file) as packed:
            assert f"{asset.lambdas[0]}.py" in packed.namelist()


def test_a_larger_asset_fails_with_its_size(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An asset whose sources have more than the limit is refused with its number."""
    with pytest.raises(
        ValueError, match="the asset of exchange has 12,000,001 bytes zipped; at most 12,000,000"
    ):
        check_zipped(12_000_001, ("exchange",))
    monkeypatch.setattr(bundling, "MOST_ZIPPED", 1_000_000)
    with pytest.raises(ValueError, match=r"the asset of [a-z, ]+ has [\d,]+ bytes zipped; at most 1,000,000"):
        bundle(tmp_path, Target.LAMBDA, fleet)


# Bytecode takes what the sources leave of 12 MB, so small modules may have none: with Cedar 3 % of the source
# of what an import runs, and with Cedar and RE2, which `operate` needs, 36 %. Python 3.13 has 1 and 35 %.
BARE = {"assign-vend": 0.05, "operate-register": 0.4}
"""The most of that source that may have no bytecode, by the asset's name."""


def test_bytecode_goes_first_to_what_an_import_runs(compiled: list[Asset]) -> None:
    """The asset of `exchange` has all bytecode, and the others that of the modules that an import runs."""
    for asset in compiled:
        whole = "exchange" in asset.lambdas
        modules = reached(asset.folder, asset.lambdas, later=whole).values()
        sizes = {file: file.stat().st_size for file in modules if file.suffix == ".py"}
        without = {file: size for file, size in sizes.items() if not bytecode.of(file)}
        if whole:
            assert not without
        else:
            assert sum(without.values()) <= sum(sizes.values()) * BARE[asset.name], asset.name
            assert max(sizes, key=lambda file: sizes[file]) not in without
            if without:
                assert not bytecode.of(asset.folder / "botocore/credentials.py")


def test_bytecode_is_valid_without_a_look_at_the_source(assets: dict[str, Asset]) -> None:
    """Bytecode has an unchecked hash (PEP 552), no path of this machine, and stands beside its source."""
    made = list(assets["exchange"].folder.rglob("*.pyc"))
    assert made
    for file in made:
        content = file.read_bytes()
        assert struct.unpack_from("<I", content, 4) == (0b01,)
        assert (file.parents[1] / f"{file.name.partition('.')[0]}.py").exists()
    entry = bytecode.of(assets["exchange"].folder / "exchange.py")
    assert entry is not None
    assert b"/var/task/exchange.py" in entry.read_bytes()


def test_bytecode_is_used(assets: dict[str, Asset], tmp_path: Path) -> None:
    """Python runs the bytecode of an asset: a source that was changed afterwards has no effect."""
    copy = tmp_path / "copy"
    shutil.copytree(assets["authority"].folder, copy)
    (copy / "authority.py").write_text("raise SystemExit('compiled')")
    assert alone(copy, "import authority").returncode == 0


def python(folder: Path, said: str) -> Path:
    """Make a program that prints what a Python prints of itself."""
    folder.mkdir(exist_ok=True)
    made = folder / "python3.13"
    made.write_text(f"#!/bin/sh\necho '{said}'\n")
    made.chmod(made.stat().st_mode | stat.S_IXUSR)
    return made


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        ("cpython 3.13 final 3571 flags=", True),
        ("cpython 3.13 beta 3568 flags=", False),
        ("cpython 3.13 candidate 3571 flags=", False),
        ("cpython 3.13 final 3571 flags=t", False),
        ("cpython 3.14 final 3627 flags=", False),
        ("pypy 3.13 final 3571 flags=", False),
    ],
)
def test_only_lambda_s_python_makes_bytecode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, *, taken: bool
) -> None:
    """A beta, another version and a build of another kind are passed over."""
    made = python(tmp_path / "bin", said)
    (tmp_path / "uv").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    bytecode._lambda_python.cache_clear()
    try:
        assert bytecode.python(Target.LAMBDA) == (made if taken else None)
    finally:
        bytecode._lambda_python.cache_clear()


def test_the_emulator_has_bytecode_of_its_own_python() -> None:
    """An asset for this machine is compiled by the Python that runs it."""
    assert bytecode.python(Target.LOCAL) == Path(sys.executable)


def test_what_the_loader_reads_of_a_module_is_unchanged(assets: dict[str, Asset]) -> None:
    """A compiled module in an asset has all segments of the package's, at their places, and no sections."""
    compared = 0
    for package in ("cedarpy", "cryptography", "gmpy2", "google-re2", "msgspec"):
        for file in distribution(package).files or ():
            if ".so" not in file.name:
                continue
            whole = Path(str(file.locate())).read_bytes()
            found = {asset.folder / str(file) for asset in assets.values()}
            (kept,) = {each.read_bytes() for each in found if each.exists()}
            assert kept == loaded(whole)
            table, size, count = *struct.unpack_from("<Q", whole, 32), *struct.unpack_from("<HH", whole, 54)
            for at in range(table, table + size * count, size):
                (start,), (length,) = (struct.unpack_from("<Q", whole, at + each) for each in (8, 32))
                first = max(start, 64)  # the header, in which the table of sections is gone
                assert kept[first : start + length] == whole[first : start + length]
            assert struct.unpack_from("<Q", kept, 40) == (0,)
            compared += 1
    assert compared >= 5


def test_a_bill_lists_the_packages_of_its_asset(compiled: list[Asset]) -> None:
    """The bill of materials in an asset has the packages of that asset, and no others."""
    for asset in compiled:
        bill = json.loads((asset.folder / SBOM).read_text())
        listed = {each["name"] for each in bill["components"]}
        assert ("cedarpy" in listed) == (asset.folder / "cedarpy").exists()
        assert ("google-re2" in listed) == (asset.folder / "re2").exists()
        assert len(bill["dependencies"]) == len(listed)


def test_a_synth_without_that_python_says_so(tmp_path: Path) -> None:
    """Without a Python of Lambda's version the assets are built, and the deployer is told of cold starts."""
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    places = {"PATH": str(nowhere), "PYENV_ROOT": str(nowhere), "UV_PYTHON_INSTALL_DIR": str(nowhere)}
    # The packages may have to be downloaded, for which the machine's own settings are needed.
    machine = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    done = run_app(tmp_path / "out", {}, **(machine | places))
    assert done.returncode == 0, done.stderr
    said = "".join(each.read_text() for each in (tmp_path / "out").glob("*.json"))
    assert "the Lambda assets have no bytecode" in said
    template = json.loads((tmp_path / "out/Firstboot.template.json").read_text())
    functions = [each for each in template["Resources"].values() if each["Type"] == "AWS::Lambda::Function"]
    keys = {
        each["Properties"]["Handler"].partition(".")[0]: each["Properties"]["Code"]["S3Key"]
        for each in functions
        if each["Properties"]["Handler"].partition(".")[0] in LAMBDAS
    }
    assert keys["authority"] == keys["exchange"]
    assert keys["operate"] == keys["register"]
    assert len(set(keys.values())) == 3
    assert not list((tmp_path / "out").glob("asset.*/**/__pycache__/exchange.*"))
