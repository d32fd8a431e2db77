"""Functions read the secrets of their own kind, in a stack whose fleet needs them, and nothing else."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from firstboot.runtime.routes import SAS
from tests.infra.conftest import ROOT, Synthesised, spelled, synthesise
from tests.infra.test_functions import PERMISSIONS, pairs, statements

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

ARN = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:Firstboot"
READ = "secretsmanager:GetSecretValue"
RULE = """
@id("hub") permit (principal in Group::"gateways", action == Action::"hold", resource == Grant::"hub");
"""


@pytest.fixture(scope="module")
def secret_stack(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the stack of a fleet with a grant for a hub and a group with Azure's protocol."""
    folder = tmp_path_factory.mktemp("secrets")
    shutil.copytree(ROOT / "fleet", folder / "fleet")
    hub = {"kind": "azure-sas", "hub": "myhub.azure-devices.net", "seconds": 3600}
    (folder / "fleet/grants/hub.json").write_text(json.dumps(hub))
    rules = folder / "fleet/rules.cedar"
    rules.write_text(rules.read_text() + RULE)
    definition = folder / "fleet/fleet.toml"
    ways = '[groups.gateways]\nways = ["mtls", "proof", "mqtt", "dps"]'
    text = re.sub(r"^\[groups\.gateways\]", ways, definition.read_text(), flags=re.MULTILINE)
    definition.write_text(f'id_scope = "0ne00000A0B"\n{text}')
    return synthesise(folder / "out", fleet=str(folder / "fleet"))


def test_each_function_reads_secrets_of_its_kind(secret_stack: Synthesised, stack: Synthesised) -> None:
    """Over HTTPS `vend` reads hubs' keys and `exchange` groups' keys. No other role reads a secret."""
    found = {
        name: {pair for pair in pairs(statements(secret_stack, name)) if pair[0].startswith("secretsmanager")}
        for name in PERMISSIONS
    }
    own = {"Vend": {(READ, f"{ARN}/sas/*")}, "Exchange": {(READ, f"{ARN}/groups/*")}}
    assert found == {name: set() for name in PERMISSIONS} | own
    assert "GetSecretValue" not in json.dumps(stack.template)


def test_secrets_are_no_resources(secret_stack: Synthesised) -> None:
    """The stack has no secret and no key for one, so destroying it leaves the keys that the console made."""
    assert not secret_stack.resources("AWS::SecretsManager::Secret")
    assert len(secret_stack.resources("AWS::KMS::Key")) == 1


def test_no_device_s_session_reads_a_secret_of_the_stack(stack: Synthesised) -> None:
    """The sessions of devices are denied the stack's secrets, over any grant."""
    (policy,) = stack.resources("AWS::IAM::ManagedPolicy").values()
    denied, _ = spelled(policy["Properties"]["PolicyDocument"]["Statement"])
    assert (denied["Effect"], denied["Action"]) == ("Deny", "*")
    secrets = "arn:${AWS::Partition}:secretsmanager:*:${AWS::AccountId}:secret:Firstboot/*"
    assert secrets in denied["Resource"]


def test_the_route_follows_from_the_grant(secret_stack: Synthesised, stack: Synthesised) -> None:
    """The gateway has the route of signatures only for a fleet with a grant for a hub."""
    routes = {
        name: {
            each["Properties"]["RouteKey"] for each in found.resources("AWS::ApiGatewayV2::Route").values()
        }
        for name, found in (("with", secret_stack), ("without", stack))
    }
    assert SAS.key in routes["with"]
    assert SAS.key not in routes["without"]
