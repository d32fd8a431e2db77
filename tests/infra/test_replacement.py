"""No version replaces or drops a stateful resource when it updates a deployed stack.

stateful.json lists the stateful resources of the versions until now. A new resource is added to it. Removing
one takes a major version and a way to carry its contents over. An access log had another name once; the group
of that name left the stack, which retained it until its last entry ends after 90 days.
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

# The schema of AWS::KMS::Key does not list these, because CloudFormation does not replace a key: the update
# fails (template reference, "AWS::KMS::Key", "You can't change … after the KMS key is created").
_UNCHANGEABLE = {"AWS::KMS::Key": {"KeySpec", "KeyUsage", "MultiRegion", "Origin"}}

Kept = dict[str, dict[str, Any]]


def fixed(kind: str) -> set[str]:
    """Return the properties that can't change without a replacement, by CloudFormation's schema."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    paths = schema.get("createOnlyProperties", []) + schema.get("conditionalCreateOnlyProperties", [])
    return {path.split("/")[2] for path in paths} | _UNCHANGEABLE.get(kind, set())


def stateful(template: dict[str, Any]) -> Kept:
    """Return a template's stateful resources by logical id, each with its type and those fixed properties
    that it sets.
    """
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
    """Return the logical ids that an update from `before` to `after` would replace, drop or fail on."""
    return {name for name, resource in before.items() if after.get(name) != resource}


def test_nothing_stateful_is_replaced(
    stack: Synthesised, mtls_stack: Synthesised, mtls_only_stack: Synthesised
) -> None:
    """With any hosts, each deployed resource keeps its logical id and its fixed properties.

    The access log of a public host that is removed is retained, as all logs are.
    """
    log = "ApiVendedLog"
    for variant in (stack, mtls_stack, mtls_only_stack):
        without = variant is mtls_only_stack
        before = {name: made for name, made in DEPLOYED.items() if not (without and name.startswith(log))}
        assert endangered(before, stateful(variant.template)) == set()


def test_the_hosts_keep_their_names(mtls_stack: Synthesised) -> None:
    """An update from the version with one API replaces neither host, and moves the domain's mapping in place.

    The mapping then names another API and stage, which CloudFormation changes without a replacement.
    """
    deployed = {
        "ApiF70053CD": "AWS::ApiGatewayV2::Api",
        "ApiStageB35FBB6B": "AWS::ApiGatewayV2::Stage",
        "MtlsHost97917701": "AWS::ApiGatewayV2::DomainName",
        "MtlsHostMapping": "AWS::ApiGatewayV2::ApiMapping",
    }
    found = mtls_stack.template["Resources"]
    assert {name: found[name]["Type"] for name in deployed} == deployed
    assert found["ApiStageB35FBB6B"]["Properties"]["ApiId"] == {"Ref": "ApiF70053CD"}
    mapping = found["MtlsHostMapping"]["Properties"]
    assert mapping["DomainName"] == {"Ref": "MtlsHost97917701"}
    assert not fixed("AWS::ApiGatewayV2::ApiMapping") & {"ApiId", "Stage"}


def test_the_record_is_complete(stack: Synthesised) -> None:
    """stateful.json has all stateful resources of the stack."""
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
    """The check finds a fixed property that is set or changed."""
    template = deepcopy(stack.template)
    name = next(name for name, resource in template["Resources"].items() if resource["Type"] == kind)
    template["Resources"][name].setdefault("Properties", {}).update(change)
    assert endangered(DEPLOYED, stateful(template)) == {name}


@pytest.mark.parametrize("kind", sorted(STATEFUL))
def test_another_logical_id_is_seen(stack: Synthesised, kind: str) -> None:
    """The check finds a resource with another logical id, which CloudFormation takes for another resource."""
    template = deepcopy(stack.template)
    name = next(name for name, resource in template["Resources"].items() if resource["Type"] == kind)
    template["Resources"][f"Moved{name}"] = template["Resources"].pop(name)
    assert endangered(DEPLOYED, stateful(template)) == {name}


def test_a_change_in_place_is_no_danger(stack: Synthesised) -> None:
    """The check ignores a property that CloudFormation changes in place."""
    template = deepcopy(stack.template)
    for resource in template["Resources"].values():
        if resource["Type"] in STATEFUL:
            resource.setdefault("Properties", {})["Tags"] = [{"Key": "owner", "Value": "fleet"}]
    assert endangered(DEPLOYED, stateful(template)) == set()


def test_adoption_is_of_the_same_resources(stack: Synthesised, retained_stack: Synthesised) -> None:
    """The stack for `cdk import` has the retained resources under their logical ids, without references."""
    alone = stateful(retained_stack.template)
    assert {each["Type"] for each in alone.values()} == STATEFUL - {"AWS::Logs::LogGroup"}
    assert alone.items() <= stateful(stack.template).items()
    for name in alone:
        resource = retained_stack.template["Resources"][name]
        assert resource["DeletionPolicy"] == "Retain"
        assert "DependsOn" not in resource
        assert not {each for each in retained_stack.template["Resources"] if each in json.dumps(resource)}
