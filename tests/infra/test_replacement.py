"""No new version replaces or drops what is stateful: a stack that is out there is updated, not made anew.

stateful.json has what versions until now have deployed. A resource comes in when it is new. One may leave it
only with a major version and a way to carry its contents over.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.infra.conftest import Synthesised
from tests.infra.test_stack import STATEFUL

pytestmark = pytest.mark.xdist_group("infra")

DEPLOYED = json.loads((Path(__file__).parent / "stateful.json").read_text())

# AWS::KMS::Key says nothing of these in its schema: CloudFormation does not replace a key, its update fails
# (template reference, "AWS::KMS::Key", "You can't change … after the KMS key is created").
_UNCHANGEABLE = {"AWS::KMS::Key": {"KeySpec", "KeyUsage", "MultiRegion", "Origin"}}

Kept = dict[str, dict[str, Any]]


def fixed(kind: str) -> set[str]:
    """The properties of a type that can't change without a replacement, by CloudFormation's own schema."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    paths = schema.get("createOnlyProperties", []) + schema.get("conditionalCreateOnlyProperties", [])
    return {path.split("/")[2] for path in paths} | _UNCHANGEABLE.get(kind, set())


def stateful(template: dict[str, Any]) -> Kept:
    """A template's stateful resources by logical id: type, and those properties that it sets."""
    return {
        name: {
            "Type": resource["Type"],
            "Properties": {
                key: value
                for key, value in resource.get("Properties", {}).items()
                if key in fixed(resource["Type"])
            },
        }
        for name, resource in sorted(template["Resources"].items())
        if resource["Type"] in STATEFUL
    }


def endangered(before: Kept, after: Kept) -> set[str]:
    """The logical ids of what an update from `before` to `after` would replace, drop or fail on."""
    return {name for name, resource in before.items() if after.get(name) != resource}


def test_nothing_stateful_is_replaced(stack: Synthesised, mtls_stack: Synthesised) -> None:
    """With a domain and without, every resource is what it was under its logical id."""
    for variant in (stack, mtls_stack):
        assert endangered(DEPLOYED, stateful(variant.template)) == set()


def test_the_record_is_complete(stack: Synthesised) -> None:
    """A new stateful resource is in stateful.json from the version on that brings it."""
    assert stateful(stack.template).keys() == DEPLOYED.keys()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("AWS::DynamoDB::GlobalTable", {"TableName": "devices"}),
        ("AWS::DynamoDB::GlobalTable", {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}),
        ("AWS::KMS::Key", {"KeySpec": "ECC_NIST_P384"}),
        ("AWS::KMS::Key", {"MultiRegion": True}),
        ("AWS::S3::Bucket", {"BucketName": "certificates"}),
        ("AWS::Logs::LogGroup", {"LogGroupName": "log"}),
    ],
)
def test_a_replacement_is_seen(stack: Synthesised, kind: str, change: dict[str, Any]) -> None:
    """A property that can't change, set or changed."""
    template = deepcopy(stack.template)
    name = next(name for name, resource in template["Resources"].items() if resource["Type"] == kind)
    template["Resources"][name].setdefault("Properties", {}).update(change)
    assert endangered(DEPLOYED, stateful(template)) == {name}


@pytest.mark.parametrize("kind", sorted(STATEFUL))
def test_another_logical_id_is_seen(stack: Synthesised, kind: str) -> None:
    """A construct that moves in the tree is another resource to CloudFormation."""
    template = deepcopy(stack.template)
    name = next(name for name, resource in template["Resources"].items() if resource["Type"] == kind)
    template["Resources"][f"Moved{name}"] = template["Resources"].pop(name)
    assert endangered(DEPLOYED, stateful(template)) == {name}


def test_what_may_change_may_change(stack: Synthesised) -> None:
    """A key's policy, a table's stream: updates in place are nobody's danger."""
    template = deepcopy(stack.template)
    for resource in template["Resources"].values():
        if resource["Type"] in STATEFUL:
            resource.setdefault("Properties", {})["Tags"] = [{"Key": "owner", "Value": "fleet"}]
    assert endangered(DEPLOYED, stateful(template)) == set()


def test_adoption_is_of_the_same_resources(stack: Synthesised, retained_stack: Synthesised) -> None:
    """`cdk import` finds what the whole stack has, under its logical ids, and nothing that names another."""
    alone = stateful(retained_stack.template)
    assert {each["Type"] for each in alone.values()} == STATEFUL - {"AWS::Logs::LogGroup"}
    assert alone.items() <= stateful(stack.template).items()
    for name in alone:
        resource = retained_stack.template["Resources"][name]
        assert resource["DeletionPolicy"] == "Retain"
        assert "DependsOn" not in resource
        assert not {each for each in retained_stack.template["Resources"] if each in json.dumps(resource)}
