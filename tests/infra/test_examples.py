"""The examples: the app is synthesised, the fleet folders compile and their rules decide as described."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from firstboot.compiler import fleet as compiler
from firstboot.compiler.trust import is_placeholder
from firstboot.domain.device import Attribute
from firstboot.domain.fleet import Fleet
from firstboot.pki import certificate
from firstboot.policy.rules import RequestContext, Rules
from tests.infra.conftest import ROOT, Synthesised, synthesise
from tests.unit.fleet_folders import device

EXAMPLES = ROOT / "examples"
PRODUCTION, TEST = EXAMPLES / "three-factories/production", EXAMPLES / "three-factories/test"
FOLDERS = [EXAMPLES / "one-product", PRODUCTION, TEST]


def held(fleet: Fleet, group: str, alias: str | None, **attributes: Attribute) -> set[str]:
    """Return the grants of a device of a group under a role alias, or with None at the broker."""
    return set(Rules(fleet).decide(device(group, attributes), RequestContext(alias)).rules)


def relative(path: Path) -> str:
    """Return an example's path for a test's name."""
    return str(path.relative_to(EXAMPLES))


def test_the_three_factories_are_a_stack(tmp_path: Path) -> None:
    """The product's own app is synthesised with the fleet folder of the largest example."""
    synthesise(tmp_path, fleet=str(PRODUCTION.relative_to(ROOT)))


@pytest.mark.parametrize("folder", FOLDERS, ids=relative)
def test_every_anchor_is_a_placeholder(folder: Path) -> None:
    """Each trust anchor says that it must be replaced, and no example holds a private key."""
    groups = compiler.load(folder).groups.values()
    assert all(is_placeholder(certificate.anchor(each)) for group in groups for each in group.trust)
    assert not [path for path in folder.rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()]


def test_every_fleet_folder_is_tested() -> None:
    """The tests know each fleet folder among the examples."""
    assert {path.parent for path in EXAMPLES.rglob("fleet.toml")} == set(FOLDERS)


def test_one_product_gives_each_device_its_own_things() -> None:
    """A new thermostat has telemetry and its topics; a quarantined one has nothing."""
    fleet = compiler.load(EXAMPLES / "one-product")
    assert (len(fleet.groups), len(fleet.grants)) == (1, 2)
    assert held(fleet, "thermostats", "telemetry") == {"telemetry"}
    assert held(fleet, "thermostats", None) == {"mqtt"}
    assert held(fleet, "thermostats", None, quarantined=True) == set()


@pytest.mark.parametrize(
    ("group", "alias", "attributes", "grants"),
    [
        ("gateways", "telemetry", {}, {"telemetry"}),
        ("sensors", "telemetry", {}, set()),
        ("sensors", "telemetry", {"customer": "acme"}, {"telemetry"}),
        ("gateways", "updates", {}, {"settings"}),
        ("gateways", "updates", {"channel": "stable"}, {"settings", "firmware"}),
        ("sensors", "updates", {"channel": "stable"}, {"firmware"}),
        ("trackers", "updates", {"channel": "stable"}, set()),
        ("trackers", "support", {}, set()),
        ("trackers", "support", {"diagnostics": True}, {"diagnostics"}),
        ("trackers", None, {}, {"mqtt"}),
        ("gateways", "telemetry", {"quarantined": True}, set()),
    ],
)
def test_the_three_factories_rules_decide_as_described(
    group: str, alias: str | None, attributes: dict[str, Attribute], grants: set[str]
) -> None:
    """In both environments a device holds the grants that its group, attributes and role alias give."""
    for folder in (PRODUCTION, TEST):
        assert held(compiler.load(folder), group, alias, **attributes) == grants


def test_the_two_environments_differ_in_trust_and_numbers_only() -> None:
    """Both environments have the same groups, grants and rules, and no CA in common."""
    production, test = compiler.load(PRODUCTION), compiler.load(TEST)
    assert (len(production.groups), len(production.grants)) == (3, 5)
    assert production.groups.keys() == test.groups.keys()
    assert (production.grants, production.rules, production.role_aliases) == (
        test.grants,
        test.rules,
        test.role_aliases,
    )
    anchors = [
        {each for group in fleet.groups.values() for each in group.trust} for fleet in (production, test)
    ]
    assert not anchors[0] & anchors[1]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The app, started in its folder by the command in its cdk.json."""
    out = tmp_path_factory.mktemp("app")
    folder = EXAMPLES / "app"
    assignment, *command = shlex.split(json.loads((folder / "cdk.json").read_text())["app"])
    name, _, value = assignment.partition("=")
    context = json.dumps({"aws:cdk:bundling-stacks": []})
    environment = {name: value, "CDK_OUTDIR": str(out), "CDK_CONTEXT_JSON": context}
    path = os.pathsep.join([str(ROOT / ".venv/bin"), "/usr/bin", "/bin"])
    done = subprocess.run(
        command, cwd=folder, env=environment | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Synthesised(out, json.loads((out / "Acme.template.json").read_text()))


def test_the_app_has_firstboot_beside_its_own_resources(app: Synthesised) -> None:
    """The app's stack has the functions of Firstboot, a bucket of its own, an operator and a subscription."""
    assert {"OperateFunction", "Table"} <= app.template["Outputs"].keys()
    assert [name for name in app.resources("AWS::S3::Bucket") if name == "Telemetry"]
    assert app.resources("AWS::SNS::Subscription")
    policies = app.resources("AWS::IAM::Policy")
    (operators,) = (policy for name, policy in policies.items() if name.startswith("Operators"))
    assert "lambda:InvokeFunction" in json.dumps(operators)


def test_the_app_s_bucket_is_the_one_that_its_fleet_names(app: Synthesised) -> None:
    """The telemetry grant names the bucket that the app makes."""
    (statement,) = compiler.load(EXAMPLES / "one-product").grants["telemetry"]["Statement"]
    bucket = app.resources("AWS::S3::Bucket")["Telemetry"]["Properties"]["BucketName"]
    named = "".join(part if isinstance(part, str) else f"{{{part['Ref']}}}" for part in bucket["Fn::Join"][1])
    named = named.replace("AWS::AccountId", "account").replace("AWS::Region", "region")
    assert statement["Resource"] == f"arn:{{partition}}:s3:::{named}/{{deviceId}}/*"
