"""Test which rows and attributes of the table each role may touch, and for whom AWS services may act."""

from __future__ import annotations

from typing import Any

import pytest

from tests.infra.conftest import Synthesised, spell, spelled
from tests.infra.test_functions import PERMISSIONS, listed, statements

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

COMMITTED = ["CERT#*", "DEV#*", "KEY#*"]
LANES = ["RETRY#*"]
COUNTERS = ["BUDGET#*", "DAY#*", "GUESS#*", "HOUR#*", "MINUTE#*"]
CLAIMED = sorted([*COMMITTED, *COUNTERS, "KEYCLAIM#*"])
WEIGHED = ["BOOTSTRAP#*", *COUNTERS, "DEV#*", "KEY#*", "KEYCLAIM#*"]
"""What a claim that is likely to be refused reads."""
PROVED = ["PROOF#*"]
NONCES = "SECRET#nonces"
PASSWORDS = "SECRET#passwords"  # a row, and no password
READ = {"GetItem": ["BUDGET#*", "DEV#*", "PACE#iot", "SWEEP"]}
ROWS: dict[str, dict[str, list[str]]] = {
    "Exchange": {
        "GetItem": sorted([*WEIGHED, "CERT#*", "PACE#iot", NONCES, PASSWORDS]),
        "UpdateItem": sorted(CLAIMED + PROVED + LANES),
        "ConditionCheckItem": ["BOOTSTRAP#*", "GUESS#*", "KEY#*"],
    },
    "ExchangeMqtt": {
        "GetItem": sorted([*WEIGHED, "PACE#iot"]),
        "UpdateItem": sorted(CLAIMED + LANES),
        "ConditionCheckItem": ["BOOTSTRAP#*", "GUESS#*", "KEY#*"],
    },
    "Presence": {"GetItem": ["DEV#*"], "UpdateItem": COMMITTED},
    "AuthorityFunction": {"UpdateItem": [NONCES, PASSWORDS]},
    "Vend": {
        "GetItem": ["CERT#*", "DEV#*", "PACE#iot", NONCES],
        "UpdateItem": sorted(COMMITTED + PROVED + LANES),
    },
    "VendMqtt": {"GetItem": ["DEV#*"], "UpdateItem": sorted(COMMITTED + LANES)},
    "Operate": {
        "GetItem": sorted([*READ["GetItem"], PASSWORDS]),
        "UpdateItem": ["BOOTSTRAP#*", "BUDGET#*", "DEV#*", "KEY#*"],
        "ConditionCheckItem": ["KEYCLAIM#*"],
    },
    "OperateRead": READ,
    "Sweep": {"GetItem": ["SWEEP"], "PutItem": ["SWEEP"]},
    "RegisterWork": {
        "GetItem": ["DEV#*"],
        "UpdateItem": ["DEV#*", "GONE#*", "PACE#iot"],
        "DeleteItem": ["DEV#*"],
    },
    "Newcomers": {"GetItem": ["BOOTSTRAP#*", "DEV#*", "JITR#*"], "UpdateItem": ["JITR#*", "PACE#iot"]},
}
LOGIN = [
    *("active", "claims", "der", "deviceId", "enrolled", "generation", "pending", "pk", "status"),
    *("superseded", "updatedAt"),
]
ATTRIBUTES = {
    "Vend": sorted([*LOGIN, "expiresAt", "next"]),
    "VendMqtt": sorted([*LOGIN, "expiresAt", "next"]),
    "Presence": LOGIN,
}


def on_table(stack: Synthesised, name: str) -> dict[str, dict[str, Any]]:
    """Return the conditions of each action of a role on items of the table."""
    return {
        action.removeprefix("dynamodb:"): statement["Condition"]
        for statement in statements(stack, name)
        if spell(listed(statement["Resource"])[0]) == "${Registry.Arn}"
        for action in listed(statement["Action"])
        if action != "dynamodb:Scan"
    }


@pytest.mark.parametrize("name", PERMISSIONS)
def test_a_role_may_touch_exactly_these_rows(stack: Synthesised, name: str) -> None:
    """Each action of a role on items is limited to the kinds of rows that its work needs."""
    found = {
        action: sorted(condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])
        for action, condition in on_table(stack, name).items()
    }
    assert found == ROWS.get(name, {})


@pytest.mark.parametrize("name", PERMISSIONS)
def test_a_login_may_write_exactly_these_attributes(stack: Synthesised, name: str) -> None:
    """The updates of a function that commits a login name only the attributes of a login."""
    updates = on_table(stack, name).get("UpdateItem", {})
    found = updates.get("ForAllValues:StringEquals", {}).get("dynamodb:Attributes", [])
    assert sorted(found) == ATTRIBUTES.get(name, [])


def test_every_service_acts_for_this_account(stack: Synthesised) -> None:
    """Each statement for an AWS service names the account or the resource that the service must act for.

    Lambda's own roles are the exception: their functions are the only ones of the account that have them, and
    passing a role to a function needs iam:PassRole in this account.
    """
    allowing = [
        (name, statement)
        for name, resource in stack.template["Resources"].items()
        for document in ("PolicyDocument", "AssumeRolePolicyDocument", "KeyPolicy")
        for statement in spelled(resource.get("Properties", {})).get(document, {}).get("Statement", [])
        if "Service" in (statement.get("Principal") or {})
    ]
    services = {statement["Principal"]["Service"] for _, statement in allowing}
    assert {"iot.amazonaws.com", "s3.amazonaws.com", "cloudwatch.amazonaws.com"} <= services
    for name, statement in allowing:
        if statement["Principal"]["Service"] == "lambda.amazonaws.com":
            continue
        keys = {key for operator in statement["Condition"].values() for key in operator}
        assert keys & {"aws:SourceAccount", "aws:SourceArn"}, name
    for name, permission in stack.resources("AWS::Lambda::Permission").items():
        assert {"SourceArn", "SourceAccount"} & permission["Properties"].keys(), name


@pytest.mark.parametrize("name", ["MqttErrorRole", "NewcomersRuleRole", "NewcomersRuleErrorRole"])
def test_a_rule_s_role_is_for_rules_of_this_account(stack: Synthesised, name: str) -> None:
    """A rule of another account can't have AWS IoT use the roles of our rules."""
    role = stack.resources("AWS::IAM::Role")[name]["Properties"]["AssumeRolePolicyDocument"]
    (statement,) = spelled(role)["Statement"]
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}}
