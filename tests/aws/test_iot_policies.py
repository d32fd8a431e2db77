"""Test the adapter for policies in AWS IoT."""

from __future__ import annotations

import json

import boto3

from firstboot.aws import clients
from firstboot.aws.iot.policies import IotPolicies
from tests.aws.product import Product


def _document(number: int) -> str:
    statement = {"Effect": "Allow", "Action": "iot:Connect", "Resource": f"arn:aws:iot:::client/{number}"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _in_force(name: str) -> str:
    return str(boto3.client("iot").get_policy(policyName=name)["policyDocument"])


def test_a_policy_can_change_any_number_of_times(product: Product) -> None:
    """Any number of changes to a policy take effect, although AWS IoT keeps five versions of it."""
    policies = IotPolicies(clients.iot())
    for number in range(7):
        policies.ensure("p", _document(number))
        assert json.loads(_in_force("p")) == json.loads(_document(number))


def test_an_unchanged_policy_is_left_alone(product: Product) -> None:
    """A policy that is already as it should be gets no new version."""
    policies = IotPolicies(clients.iot())
    for _ in range(3):
        policies.ensure("p", _document(1))
    versions = boto3.client("iot").list_policy_versions(policyName="p")["policyVersions"]
    assert len(versions) == 1
