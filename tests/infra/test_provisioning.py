"""Fleet provisioning: the template, its role and its hook, in stacks whose fleet has the way only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from firstboot.exchange.settings import ProvisioningSettings
from tests.infra.conftest import ROOT, Synthesised, run_app, spelled, synthesise
from tests.infra.test_functions import CERTIFICATES, FLEET, IOT_CERTIFICATES, pairs, statements
from tests.infra.test_rows import COUNTERS, WEIGHED, on_table

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

IOT = IOT_CERTIFICATES.removesuffix("cert/*")
TEMPLATE = f"{IOT}provisioningtemplate/Firstboot"


def with_the_way(folder: Path) -> Path:
    """Return a fleet folder whose gateways have fleet provisioning."""
    shutil.copytree(ROOT / "fleet", folder / "fleet")
    definition = folder / "fleet/fleet.toml"
    ways = 'ways = ["mtls", "proof", "mqtt", "fleet-provisioning"]'
    definition.write_text(
        definition.read_text().replace("[groups.gateways] ", f"[groups.gateways]\n{ways}\n")
    )
    return folder / "fleet"


@pytest.fixture(scope="session")
def provisioning(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the stack with fleet provisioning."""
    folder = tmp_path_factory.mktemp("provisioning")
    return synthesise(folder / "out", fleet=str(with_the_way(folder)))


def template(stack: Synthesised) -> Any:
    """Return the provisioning template's properties."""
    (made,) = stack.resources("AWS::IoT::ProvisioningTemplate").values()
    return spelled(made["Properties"])


def test_a_stack_without_the_way_has_nothing_of_it(stack: Synthesised) -> None:
    """Without a group with the way there is no template, no function, no role and no output."""
    assert stack.resources("AWS::IoT::ProvisioningTemplate") == {}
    names = [*stack.template["Resources"], *stack.template["Outputs"]]
    assert not [name for name in names if name.startswith("Provisioning")]
    assert "CreateThingType" not in json.dumps(sorted(rights(stack, "Sweep")))


def test_the_hook_decides_on_every_device(provisioning: Synthesised) -> None:
    """The template is enabled, has the stack's name, and calls the hook for each device."""
    made = template(provisioning)
    assert (made["Enabled"], made["TemplateName"]) == (True, "Firstboot")
    assert made["PreProvisioningHook"] == {
        "PayloadVersion": "2020-04-01", "TargetArn": "${Provisioning.Arn}",
    }  # fmt: skip
    assert provisioning.template["Outputs"]["ProvisioningTemplate"]["Value"]


def test_the_template_takes_the_hook_s_name(provisioning: Synthesised) -> None:
    """The thing has the hook's name and our type. The certificate has the device's policy alone."""
    resources = json.loads(template(provisioning)["TemplateBody"])["Resources"]
    assert resources["thing"]["Properties"] == {
        "ThingName": {"Ref": "DeviceId"}, "ThingTypeName": "Firstboot",
    }  # fmt: skip
    assert resources["policy"]["Properties"] == {"PolicyName": "Firstboot-device"}
    assert resources["certificate"]["Properties"]["Status"] == "Active"
    assert {each["Type"].rpartition(":")[2] for each in resources.values()} == {
        "Thing",
        "Certificate",
        "Policy",
    }


def test_only_the_template_may_call_the_hook(provisioning: Synthesised) -> None:
    """AWS IoT may invoke the hook for this account's template, and may do so before the template is made."""
    found = provisioning.resources("AWS::Lambda::Permission")["ProvisioningHook"]["Properties"]
    assert spelled(found) == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": "${Provisioning.Arn}",
        "Principal": "iot.amazonaws.com",
        "SourceAccount": "${AWS::AccountId}",
        "SourceArn": TEMPLATE,
    }
    (made,) = provisioning.resources("AWS::IoT::ProvisioningTemplate").values()
    assert any(name.startswith("ProvisioningHook") for name in made["DependsOn"])


def test_the_hook_ends_in_time(provisioning: Synthesised) -> None:
    """The hook's function ends within the five seconds that AWS IoT waits, and has its settings only."""
    made = provisioning.resources("AWS::Lambda::Function")["Provisioning"]["Properties"]
    assert (made["Timeout"], made["Handler"]) == (5, "exchange.provisioning")
    settings = ProvisioningSettings.__dataclass_fields__
    assert made["Environment"]["Variables"].keys() == {f"FIRSTBOOT_{name.upper()}" for name in settings}


def test_the_hook_may_do_exactly_this(provisioning: Synthesised) -> None:
    """The hook reads two things of AWS IoT, claims in the table and stores certificates. It can't sign."""
    assert rights(provisioning, "Provisioning") == {
        ("dynamodb:ConditionCheckItem", "${Registry.Arn}"),
        ("dynamodb:GetItem", "${Registry.Arn}"),
        ("dynamodb:UpdateItem", "${Registry.Arn}"),
        ("iot:DescribeCertificate", IOT_CERTIFICATES),
        ("iot:DescribeThing", f"{IOT}thing/*"),
        ("s3:GetObject", CERTIFICATES),
        ("s3:GetObject", FLEET),
        ("s3:ListBucket", "${Store.Arn}"),
        ("s3:PutObject", CERTIFICATES),
    }


def test_the_hook_may_touch_exactly_these_rows(provisioning: Synthesised) -> None:
    """The hook's claims touch the rows that a claim needs."""
    found = {
        action: sorted(condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])
        for action, condition in on_table(provisioning, "Provisioning").items()
    }
    assert found == {
        "GetItem": sorted(WEIGHED),
        "UpdateItem": sorted([*COUNTERS, "DEV#*", "KEYCLAIM#*"]),
        "ConditionCheckItem": ["BOOTSTRAP#*", "GUESS#*", "KEY#*"],
    }


def test_aws_iot_may_do_exactly_this(provisioning: Synthesised) -> None:
    """AWS IoT's role, of this account, changes things and certificates, and no policy."""
    role = provisioning.resources("AWS::IAM::Role")["ProvisioningTemplateRole"]["Properties"]
    (trust,) = spelled(role["AssumeRolePolicyDocument"])["Statement"]
    assert trust["Principal"] == {"Service": "iot.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}}
    assert "ManagedPolicyArns" not in role
    assert rights(provisioning, "ProvisioningTemplate") == {
        *(
            (f"iot:{each}", f"{IOT}thing/*")
            for each in ("CreateThing", "DescribeThing", "ListThingPrincipals")
        ),
        *(("iot:AttachThingPrincipal", f"{IOT}{each}") for each in ("thing/*", "cert/*")),
        *(
            (f"iot:{each}", f"{IOT}cert/*")
            for each in ("AttachPolicy", "DescribeCertificate", "UpdateCertificate")
        ),
        ("iot:DescribeThingType", f"{IOT}thingtype/Firstboot"),
        ("iot:GetPolicy", f"{IOT}policy/Firstboot-device"),
    }


def rights(stack: Synthesised, name: str) -> set[tuple[str, str]]:
    """Return the rights of a role, without those to write its log and its traces."""
    found = pairs(statements(stack, name))
    return {(action, resource) for action, resource in found if not action.startswith(("logs:", "xray:"))}


def test_the_sweep_makes_the_thing_type(provisioning: Synthesised) -> None:
    """The sweep may make the type of the template's things."""
    assert ("iot:CreateThingType", f"{IOT}thingtype/Firstboot") in rights(provisioning, "Sweep")


def test_the_hook_s_failures_ring(provisioning: Synthesised) -> None:
    """The hook has the alarms of every function."""
    alarms = provisioning.resources("AWS::CloudWatch::Alarm")
    assert {"AlarmsProvisioningErrors", "AlarmsProvisioningThrottles"} <= alarms.keys()


def test_a_name_too_long_for_a_template_fails_the_synth(tmp_path: Path) -> None:
    """A stack whose name has more than 36 characters can't have fleet provisioning."""
    context: dict[str, object] = {
        "aws:cdk:bundling-stacks": [],
        "fleet": str(with_the_way(tmp_path)),
        "stack": "F" * 37,
    }
    done = run_app(tmp_path / "out", context)
    assert done.returncode != 0
    assert "at most 36 characters" in done.stderr
