"""Synthesises each variant of the stack once, as the CDK CLI does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from firstboot.compiler.fleet import load
from firstboot.domain.fleet import Fleet
from infra.asset import bytecode
from infra.bundling import Asset, bundle
from infra.configuration import Target

ROOT = Path(__file__).parents[2]
DOMAIN = {"name": "devices.example.com", "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/c"}

Resource = dict[str, Any]


@dataclass(frozen=True)
class Synthesised:
    """A cloud assembly: its folder and the stack's template."""

    folder: Path
    template: dict[str, Any]

    def resources(self, kind: str) -> dict[str, Resource]:
        """Return the resources of a type by logical id without CDK's hash."""
        found = self.template["Resources"].items()
        return {spell(name): resource for name, resource in found if resource["Type"] == kind}


def spell(value: Any) -> str:
    """Return a template's value as text (`${Store.Arn}/fleet`), without the hashes in logical ids."""
    if isinstance(value, str):
        return re.sub(r"[0-9A-F]{8}$", "", value)
    ((function, argument),) = value.items()
    if function == "Ref":
        return f"${{{spell(argument)}}}"
    if function == "Fn::GetAtt":
        return f"${{{spell(argument[0])}.{argument[1]}}}"
    if function == "Fn::Select":
        return f"${{{spell(argument[1])}[{argument[0]}]}}"
    if function == "Fn::Split":
        return f"{spell(argument[1])}/{argument[0]}"
    assert function == "Fn::Join", value
    return "".join(spell(part) for part in argument[1])


def spelled(document: Any) -> Any:
    """Return a part of a template with each `Ref`, `Fn::GetAtt` and `Fn::Join` as text."""
    if isinstance(document, list):
        return [spelled(part) for part in document]
    if not isinstance(document, dict):
        return document
    if document.keys() & {"Ref", "Fn::GetAtt", "Fn::Join"}:
        return spell(document)
    return {key: spelled(value) for key, value in document.items()}


def run_app(
    folder: Path, context: dict[str, object], *program: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run app.py, or another `program`, as the CDK CLI does.

    `context` changes the context of cdk.json. The assembly goes to `folder`. The environment has no Node and
    no AWS credentials.
    """
    settings = json.loads((ROOT / "cdk.json").read_text())["context"] | context
    return subprocess.run(
        [sys.executable, *(program or ("app.py",))],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT / "functions"),
            "CDK_CONTEXT_JSON": json.dumps(settings),
            "CDK_OUTDIR": str(folder),
            # Validation takes half of a synth's time. One test has it on.
            "CDK_VALIDATION": "false",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def synthesise(folder: Path, **context: object) -> Synthesised:
    """Return the app's assembly, without bundling the asset."""
    done = run_app(folder, {"aws:cdk:bundling-stacks": [], **context})
    assert done.returncode == 0, done.stdout + done.stderr
    return Synthesised(folder, json.loads((folder / "Firstboot.template.json").read_text()))


def without_public_host(folder: Path, **trust: str) -> Synthesised:
    """Return the stack with the mTLS host only. Its fleet lets no expired certificate renew.

    `trust` has anchors in PEM that replace files of the example's, by name.
    """
    shutil.copytree(ROOT / "fleet", folder / "fleet")
    for name, pem in trust.items():
        (folder / f"fleet/trust/{name.replace('_', '-')}.pem").write_text(pem)
    definition = folder / "fleet/fleet.toml"
    definition.write_text(re.sub(r"grace_days = \d+", "grace_days = 0", definition.read_text()))
    return synthesise(folder / "out", domain=DOMAIN, public=False, fleet=str(folder / "fleet"))


@pytest.fixture(scope="session")
def fleet() -> Fleet:
    """Return the example fleet, which the stack has."""
    return load(ROOT / "fleet")


@pytest.fixture(scope="session")
def assets(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asset]:
    """Return the assets for this machine by the names of their Lambda files."""
    out = tmp_path_factory.mktemp("assets")
    built = bundle(out, Target.LOCAL, fleet, python=bytecode.python(Target.LOCAL))
    return {name: asset for asset in built for name in asset.lambdas}


@pytest.fixture(scope="session")
def asset(assets: dict[str, Asset]) -> Path:
    """Return the folder of the asset of `exchange`. All assets have the same AWS client."""
    return assets["exchange"].folder


def alone(asset: Path, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the standard library and the asset, without site-packages."""
    # As in Lambda, the asset is first on the path.
    command = [
        sys.executable,
        "-I",
        "-S",
        "-B",
        "-c",
        f"import sys; sys.path.insert(0, {str(asset)!r}); {program}",
    ]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the stack of the unchanged cdk.json, which has no domain."""
    return synthesise(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def mtls_stack(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the stack with a domain, and so with an mTLS host."""
    return synthesise(tmp_path_factory.mktemp("domain"), domain=DOMAIN)


@pytest.fixture(scope="session")
def mtls_only_stack(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the stack with a domain and without a public host."""
    return without_public_host(tmp_path_factory.mktemp("mtls-only"))


@pytest.fixture(scope="session")
def retained_stack(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the stack with which `cdk import` adopts what a deleted stack left."""
    return synthesise(tmp_path_factory.mktemp("retained"), adopt=True)
