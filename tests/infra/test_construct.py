"""The construct in another CDK app, as docs/construct.md shows it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import aws_cdk
import pytest

from infra.configuration import Configuration, Target
from tests.infra.conftest import ROOT, Synthesised
from tests.infra.test_replacement import stateful

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

DOCUMENT = (ROOT / "docs/construct.md").read_text()
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
STACK, SYNTH = 'Stack(app, "Acme")\n', "app.synth()\n"
FIRSTBOOT = next(line for line in EXAMPLE.splitlines(keepends=True) if line.startswith("Firstboot("))


def run(folder: Path, program: str, **context: object) -> subprocess.CompletedProcess[str]:
    """Run an app in its own folder, with the example fleet, as the CDK CLI does."""
    shutil.copytree(ROOT / "fleet", folder / "fleet")
    (folder / "app.py").write_text(program)
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=folder,
        env={
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"]),  # Node is here
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "functions"))),
            "CDK_CONTEXT_JSON": json.dumps({"aws:cdk:bundling-stacks": []} | context),
            "CDK_OUTDIR": str(folder / "cdk.out"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def synthesise(folder: Path, program: str, **context: object) -> Synthesised:
    """Return the stack Acme of an app, whose synth must succeed."""
    done = run(folder, program, **context)
    assert done.returncode == 0, done.stdout + done.stderr
    return Synthesised(folder / "cdk.out", json.loads((folder / "cdk.out/Acme.template.json").read_text()))


def kinds(template: dict[str, Any]) -> list[str]:
    """Return the type of each resource of a template, sorted."""
    return sorted(resource["Type"] for resource in template["Resources"].values())


def lint(template: Path) -> str:
    """Return what cfn-lint prints about a template."""
    command = [Path(sys.executable).with_name("cfn-lint"), template]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the document's app, synthesised without a change."""
    return synthesise(tmp_path_factory.mktemp("example"), EXAMPLE)


def test_the_example_is_all_of_firstboot(example: Synthesised, stack: Synthesised) -> None:
    """Five lines deploy the same resources and outputs as the project's own app."""
    assert kinds(example.template) == kinds(stack.template)
    assert example.template["Outputs"].keys() == stack.template["Outputs"].keys()
    assert len([line for line in EXAMPLE.splitlines() if "firstboot" in line.lower()]) <= 5


def test_cfn_lint_finds_nothing_in_the_example(example: Synthesised) -> None:
    """cfn-lint accepts the example's template, which silences no rule for the rest of the stack."""
    assert lint(example.folder / "Acme.template.json") == ""
    assert "Metadata" not in example.template


def flags() -> dict[str, Any]:
    """Return the feature flags that `cdk init` writes into a new app's cdk.json."""
    (library,) = (Path(aws_cdk.__file__).parent / "_jsii").glob("aws-cdk-lib@*.tgz")
    with tarfile.open(library) as archive:
        found = archive.extractfile("package/recommended-feature-flags.json")
        assert found
        return dict(json.load(found))


def test_an_app_like_a_new_one_has_no_findings(tmp_path: Path) -> None:
    """With all feature flags, an account, a region and a stage, cdk-nag finds nothing in the app."""
    stage = (
        "from aws_cdk import Stage, Validations\n"
        "from cdk_nag import AwsSolutionsChecks, ServerlessChecks\n"
        "Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))\n"
        'place = {"account": "123456789012", "region": "eu-west-1"}\n'
        'stack = Stack(Stage(app, "Prod"), "Acme", env=place)\n'
    )
    done = run(tmp_path, EXAMPLE.replace(f"stack = {STACK}", stage), **flags())
    assert done.returncode == 0, done.stdout + done.stderr
    (template,) = (tmp_path / "cdk.out").rglob("*Acme*.template.json")
    assert "policy/Prod-Acme-" in template.read_text()
    assert lint(template) == ""


def test_a_second_one_in_a_stack_is_refused(tmp_path: Path) -> None:
    """A stack refuses a second Firstboot, whose names in AWS IoT would be the same."""
    second = FIRSTBOOT.replace('"Firstboot"', '"Second"')
    done = run(tmp_path, EXAMPLE.replace(FIRSTBOOT, FIRSTBOOT + second))
    assert done.returncode != 0
    assert "Acme has a Firstboot already (Acme/Firstboot); give each its own stack" in done.stderr


def test_two_stacks_have_one_each(tmp_path: Path) -> None:
    """Two stacks in one app each have a Firstboot with their own name."""
    second = 'Firstboot(Stack(app, "Other"), "Firstboot", Configuration(fleet=Path("fleet")))\n'
    one = synthesise(tmp_path, EXAMPLE.replace(SYNTH, second + SYNTH))
    other = Synthesised(one.folder, json.loads((one.folder / "Other.template.json").read_text()))
    names = {
        function["Properties"]["Environment"]["Variables"]["FIRSTBOOT_STACK"]
        for made in (one, other)
        for name, function in made.resources("AWS::Lambda::Function").items()
        if name.endswith("Newcomers")
    }
    assert names == {"Acme", "Other"}


def test_a_nested_stack_is_refused(tmp_path: Path) -> None:
    """A nested stack is refused, because it has no name before it is deployed."""
    nested = 'from aws_cdk import NestedStack\nstack = NestedStack(Stack(app, "Acme"), "Inner")\n'
    done = run(tmp_path, EXAMPLE.replace(f"stack = {STACK}", nested))
    assert done.returncode != 0
    assert "a Firstboot needs a stack with a name of its own" in done.stderr


def test_retained_resources_are_adopted_under_the_same_ids(tmp_path: Path, example: Synthesised) -> None:
    """In another app too, Retained has table, bucket and key under the ids that Firstboot gives them."""
    program = EXAMPLE.replace(FIRSTBOOT, FIRSTBOOT.replace("Firstboot(", "Retained(")).replace(
        "from infra.firstboot import Firstboot", "from infra.retained import Retained"
    )
    alone = synthesise(tmp_path, program)
    assert len(stateful(alone.template)) == 3
    assert stateful(alone.template).items() <= stateful(example.template).items()


def test_an_app_gets_what_the_document_says(tmp_path: Path) -> None:
    """The documented attributes serve to make an operator's role, a subscription and a DNS record."""
    use = (
        "from aws_cdk import CfnOutput, aws_iam as iam, aws_sns_subscriptions as subscriptions\n"
        "from infra.configuration import Domain\n"
        'domain = Domain("d.example.com", "arn:aws:acm:us-east-1:123456789012:certificate/c")\n'
        'firstboot = Firstboot(stack, "Firstboot", Configuration(fleet=Path("fleet"), domain=domain))\n'
        'role = iam.Role(stack, "Support", assumed_by=iam.AccountRootPrincipal())\n'
        "firstboot.operate.grant_invoke(role)\n"
        'firstboot.alarms.topic.add_subscription(subscriptions.EmailSubscription("ops@example.com"))\n'
        "for number, value in enumerate([firstboot.api.api_endpoint, firstboot.mtls.regional_domain_name,\n"
        "        firstboot.mtls.regional_hosted_zone_id, firstboot.device_records.table_arn,\n"
        "        firstboot.store.bucket_arn, firstboot.authority.certificate,\n"
        "        firstboot.authority.key.key_arn]):\n"
        '    CfnOutput(stack, f"Mine{number}", value=value)\n'
    )
    made = synthesise(tmp_path, EXAMPLE.replace(FIRSTBOOT, use))
    assert len([name for name in made.template["Outputs"] if name.startswith("Mine")]) == 7
    (policy,) = (p for name, p in made.resources("AWS::IAM::Policy").items() if "Support" in name)
    assert "lambda:InvokeFunction" in json.dumps(policy)
    assert "OperateRead" in json.dumps(policy)  # the console needs this function too
    assert made.resources("AWS::SNS::Subscription")


def test_the_document_has_every_property() -> None:
    """The document lists each property of the configuration with its default."""
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)` )?\|", DOCUMENT.partition("## What your")[0], re.MULTILINE)
    defaults = {field.name: field.default for field in fields(Configuration)}
    spelled = {MISSING: "", Target.LAMBDA: "Target.LAMBDA", "Firstboot Issuing CA": '"Firstboot Issuing CA"'}
    assert dict(rows) == {name: spelled.get(value, str(value)) for name, value in defaults.items()}


def test_our_own_app_has_the_defaults() -> None:
    """cdk.json names all settings, with their defaults as values."""
    context = json.loads((ROOT / "cdk.json").read_text())["context"]

    class Node:
        def try_get_context(self, name: str) -> Any:
            return context.get(name)

    assert Configuration.read(Node(), ROOT) == Configuration(fleet=ROOT / "fleet")  # type: ignore[arg-type]
    names = set(re.findall(r"\| `(\w+)` \|$", DOCUMENT, re.MULTILINE))
    ours = {name for name in context if not name.startswith("@aws-cdk/")}
    assert names | {"stack", "adopt"} == ours | {"mqttHost"}
