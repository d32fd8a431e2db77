"""The sweep makes, and JITR attaches, the policy that a claim certificate needs for fleet provisioning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.domain.ways import DEFAULT, Way
from firstboot.policy.render import Place, compact
from firstboot.policy.service import provisioning_document
from tests.aws.product import Product, make_policies
from tests.aws.sweeping import Sweeper
from tests.aws.test_jitr import admit, arrive
from tests.fleets import fleet, group

WAYS: tuple[Way, ...] = (*DEFAULT, "fleet-provisioning")
NAME = "Firstboot-provisioning"


def deploy(product: Product, monkeypatch: pytest.MonkeyPatch, folder: Path, ways: tuple[Way, ...]) -> None:
    """Deploy a fleet whose group has these ways."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    product.fleet = fleet(group("gateways", product.factory, ways=ways))
    (folder / "ways.json").write_text(product.fleet.to_json())
    monkeypatch.setattr(aws_fleet, "_DEPLOYED", folder / "ways.json")
    product.lambdas.restart()


def policies() -> dict[str, str]:
    """Return the documents of the account's policies by name."""
    iot = boto3.client("iot")
    names = [each["policyName"] for each in iot.list_policies()["policies"]]
    return {name: iot.get_policy(policyName=name)["policyDocument"] for name in names}


def types() -> list[str]:
    """Return the names of the account's thing types."""
    return [each["thingTypeName"] for each in boto3.client("iot").list_thing_types()["thingTypes"]]


def test_the_sweep_makes_the_policy_and_the_type(
    product: Product, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a deployment with the way, the sweep makes the policy and the thing type, also when they exist."""
    deploy(product, monkeypatch, tmp_path, WAYS)
    for _ in range(2):
        product.lambdas.restart()
        Sweeper(product).run()
        assert types() == ["Firstboot"]
    document = provisioning_document("Firstboot", Place("aws", "us-east-1", "123456789012"))
    assert json.loads(policies()[NAME]) == document
    boto3.client("iot").delete_policy(policyName=NAME)
    Sweeper(product).run()
    assert NAME in policies()


def test_without_the_way_there_is_neither(
    product: Product, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a deployment without the way, the sweep makes neither the policy nor the thing type."""
    deploy(product, monkeypatch, tmp_path, DEFAULT)
    Sweeper(product).run()
    assert NAME not in policies()
    assert types() == []


@pytest.mark.parametrize(
    ("ways", "names"), [(WAYS, {"Firstboot-bootstrap", NAME}), (DEFAULT, {"Firstboot-bootstrap"})]
)
def test_jitr_attaches_the_policy_in_a_group_with_the_way(
    product: Product, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ways: Any, names: set[str]
) -> None:
    """JITR lets a bootstrap certificate use fleet provisioning if its group has the way, and no other."""
    deploy(product, monkeypatch, tmp_path, ways)
    make_policies(product.fleet)
    certificate_id = arrive(product.bootstrap("gw-1"))
    admit(product, certificate_id)
    arn = f"arn:aws:iot:us-east-1:123456789012:cert/{certificate_id}"
    attached = boto3.client("iot").list_attached_policies(target=arn)["policies"]
    assert {each["policyName"] for each in attached} == names


def test_the_policy_allows_provisioning_alone() -> None:
    """The policy fits, has no Connect and no topic outside AWS's for provisioning, and names one template."""
    document = provisioning_document("F" * 36, Place("aws-us-gov", "us-gov-west-1", "123456789012"))
    assert len(compact(document)) <= 2_048
    allowed = {each["Action"]: each["Resource"] for each in document["Statement"]}
    assert allowed.keys() == {"iot:Publish", "iot:Receive", "iot:Subscribe"}
    topics = {resource.split("/", 1)[1] for resources in allowed.values() for resource in resources}
    assert {topic.rpartition("/")[0] for topic in topics} == {
        "$aws/certificates/create",
        "$aws/certificates/create-from-csr",
        f"$aws/provisioning-templates/{'F' * 36}/provision",
    }
    assert {each.rpartition("/")[2] for each in allowed["iot:Publish"]} == {"json", "cbor"}
