"""Each statement of the CA key's policy and of the fleet roles' trust policies is needed by a flow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.infra.conftest import spell
from tests.infra.test_functions import listed
from tests.privilege import devices, operating
from tests.privilege.scene import BrokenError, Scene
from tests.privilege.table import Flow

SIGNERS = {
    "AuthorityFunctionRole": operating.authority_made,
    "ExchangeRole": devices.first_boot,
    "ExchangeMqttRole": devices.first_boot_by_mqtt,
}
TRUSTED = {
    ("telemetry", "VendRole"): devices.credentials,
    ("telemetry", "VendMqttRole"): devices.credentials_by_mqtt,
    ("updates", "VendRole"): devices.credentials_for_updates,
    ("updates", "VendMqttRole"): devices.credentials_for_updates_by_mqtt,
}
# The emulator does not ask for sts:SetSourceIdentity. AWS does (STS API reference, AssumeRole).
ACTIONS = {"sts:AssumeRole": devices.credentials, "sts:TagSession": devices.credentials}

Document = dict[str, Any]


@contextmanager
def changed(put: Callable[[str], object], whole: Document, statements: list[Document]) -> Iterator[None]:
    """Replace the statements of a policy within the context."""
    assert statements != whole["Statement"]
    put(json.dumps(whole | {"Statement": statements}))
    try:
        yield
    finally:
        put(json.dumps(whole))


def breaks(scene: Scene, flow: Flow, change: Any) -> None:
    """Check that the flow breaks under the change and works without it."""
    with change, pytest.raises(BrokenError):
        flow(scene)
    flow(scene)


@pytest.mark.parametrize(("role", "flow"), SIGNERS.items(), ids=SIGNERS)
def test_the_key_names_its_signers(scene: Scene, role: str, flow: Flow) -> None:
    """A role whose statement is missing from the key's policy can't sign."""
    kms, key = scene.aws("kms"), {"KeyId": scene.names["AuthorityKey"], "PolicyName": "default"}
    whole = json.loads(kms.get_key_policy(**key)["Policy"])
    others = [each for each in whole["Statement"] if scene.names[role] not in str(each["Principal"])]
    breaks(scene, flow, changed(lambda text: kms.put_key_policy(**key, Policy=text), whole, others))


def test_the_key_lets_its_account_read_it(scene: Scene) -> None:
    """Without the administrators' statement the CA can't read the key's public half."""
    kms, key = scene.aws("kms"), {"KeyId": scene.names["AuthorityKey"], "PolicyName": "default"}
    whole = json.loads(kms.get_key_policy(**key)["Policy"])
    others = [each for each in whole["Statement"] if each.get("Sid") != "Administration"]
    put = changed(lambda text: kms.put_key_policy(**key, Policy=text), whole, others)
    breaks(scene, operating.authority_found, put)


def trust(scene: Scene, alias: str) -> tuple[Callable[[str], object], Document]:
    """Return a function that sets the trust policy of a fleet role, and the current policy."""
    iam, name = scene.aws("iam"), scene.names[f"VendSessions{alias}"]
    whole: Document = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    return lambda text: iam.update_assume_role_policy(RoleName=name, PolicyDocument=text), whole


@pytest.mark.parametrize(("alias", "role"), TRUSTED)
def test_a_fleet_role_names_who_may_assume_it(scene: Scene, alias: str, role: str) -> None:
    """Each of the two roles that a fleet role trusts needs to be named in it."""
    put, whole = trust(scene, alias)
    (statement,) = whole["Statement"]
    others = [arn for arn in statement["Principal"]["AWS"] if not arn.endswith(f"/{scene.names[role]}")]
    left = [statement | {"Principal": {"AWS": others}}]
    breaks(scene, TRUSTED[alias, role], changed(put, whole, left))


@pytest.mark.parametrize(("action", "flow"), ACTIONS.items(), ids=ACTIONS)
def test_a_fleet_role_allows_both_actions(scene: Scene, action: str, flow: Flow) -> None:
    """A fleet role's trust policy needs the action that makes a session and the one that tags it."""
    put, whole = trust(scene, "telemetry")
    (statement,) = whole["Statement"]
    left = [statement | {"Action": [each for each in statement["Action"] if each != action]}]
    breaks(scene, flow, changed(put, whole, left))


def test_the_tables_are_whole(scene: Scene) -> None:
    """The tables in this module have all roles that the template's key and fleet roles name."""
    key = scene.template["AuthorityKey"]["Properties"]["KeyPolicy"]["Statement"]
    signers = {spell(each["Principal"]["AWS"]) for each in key if each["Action"] == "kms:Sign"}
    assert signers == {f"${{{role}.Arn}}" for role in SIGNERS}
    trusted = {
        (name.removeprefix("VendSessions"), spell(arn).removeprefix("${").removesuffix(".Arn}"))
        for name, role in scene.template.items()
        if name.startswith("VendSessions")
        for each in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        for arn in listed(each["Principal"]["AWS"])
    }
    assert trusted == set(TRUSTED)
