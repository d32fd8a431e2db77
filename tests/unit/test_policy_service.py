"""Test Firstboot's own AWS IoT policies, which let a certificate make Firstboot's calls over MQTT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstboot.policy import limits
from firstboot.policy.render import Place, compact
from firstboot.policy.service import (
    ServicePolicy,
    bootstrap_client_id,
    bootstrap_policy,
    grant_policy_name,
)
from tests.unit.fleet_folders import fleet

PLACE = Place("aws", "us-east-1", "123456789012")
_WIDEST = Place("aws-us-gov", "ap-southeast-99", "0" * 12)


@pytest.mark.parametrize("policy", ServicePolicy)
def test_fits(policy: ServicePolicy) -> None:
    """Each service policy is within AWS IoT's size limit, even in the region with the longest name."""
    assert len(compact(policy.document(_WIDEST))) <= limits.IOT_POLICY


def resources(policy: ServicePolicy) -> set[str]:
    """Return the resources of a policy, without the first five fields of each ARN."""
    return {
        resource.split(":", 5)[5]
        for statement in policy.document(PLACE)["Statement"]
        for resource in statement["Resource"]
    }


BY_FIELD = {
    ServicePolicy.BOOTSTRAP: "${iot:Certificate.Subject.CommonName}",
    ServicePolicy.BOOTSTRAP_SERIAL_NUMBER: "${iot:Certificate.Subject.SerialNumber}",
    ServicePolicy.BOOTSTRAP_URI: "${iot:Certificate.Subject.AlternativeName.UniformResourceIdentifier}",
}
"""The policies of bootstrap certificates, with AWS IoT's variable for the field that names the device."""


@pytest.mark.parametrize("policy", BY_FIELD)
def test_a_bootstrap_certificate_asks_for_its_own_and_nothing_else(policy: ServicePolicy) -> None:
    """A bootstrap certificate can only connect as its field says and use its three certificate topics."""
    variable = BY_FIELD[policy]
    topic = f"firstboot/{variable}/certificates"
    assert resources(policy) == {
        f"client/{variable}",
        f"topic/{topic}/request",
        *(
            f"{kind}/{topic}/{answer}"
            for kind in ("topic", "topicfilter")
            for answer in ("accepted", "rejected")
        ),
    }


SOURCES = [
    ({}, ServicePolicy.BOOTSTRAP, "gw-1"),
    ({"device_id": "subject.serialNumber"}, ServicePolicy.BOOTSTRAP_SERIAL_NUMBER, "gw-1"),
    ({"device_id": "san.uri"}, ServicePolicy.BOOTSTRAP_URI, "gw-1"),
    ({"device_id": "san.dns"}, ServicePolicy.CLAIM, "boot-gw-1"),
    ({"device_id": "key.sha256"}, ServicePolicy.CLAIM, "boot-gw-1"),
    ({"device_id": "request.deviceId"}, ServicePolicy.CLAIM, "boot-gw-1"),
    ({"strip_prefix": "sn"}, ServicePolicy.CLAIM, "boot-gw-1"),
    ({"strip_suffix": "sn", "device_id": "san.uri"}, ServicePolicy.CLAIM, "boot-gw-1"),
    ({"pattern": "(.+)", "device_id": "subject.serialNumber"}, ServicePolicy.CLAIM, "boot-gw-1"),
]


@pytest.mark.parametrize(("changes", "policy", "client_id"), SOURCES)
def test_the_source_of_ids_decides_the_policy(
    changes: dict[str, Any], policy: ServicePolicy, client_id: str
) -> None:
    """A group whose ids AWS IoT has a variable for has that policy, and any other one the claims' policy."""
    group = replace(fleet().groups["gateways"], **changes)
    assert (bootstrap_policy(group), bootstrap_client_id(group, "gw-1")) == (policy, client_id)


def test_a_superseded_certificate_asks_for_its_successor_and_nothing_else() -> None:
    """A superseded certificate can only connect as its thing and use the thing's three certificate topics."""
    thing = "${iot:Connection.Thing.ThingName}"
    assert resources(ServicePolicy.SUPERSEDED) == {
        f"client/{thing}",
        f"topic/firstboot/{thing}/certificates/request",
        *(
            f"{kind}/firstboot/{thing}/certificates/{answer}"
            for kind in ("topic", "topicfilter")
            for answer in ("accepted", "rejected")
        ),
    }


@pytest.mark.parametrize("policy", ServicePolicy)
def test_an_operational_certificate_connects_only_as_its_thing(policy: ServicePolicy) -> None:
    """The policies of operational certificates demand for iot:Connect that the certificate has its thing.

    Bootstrap and claim certificates have no thing, so their policies demand none.
    """
    statements = policy.document(PLACE)["Statement"]
    conditions = {each["Action"]: each["Condition"] for each in statements if "Condition" in each}
    attached = {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}
    has_thing = policy in (ServicePolicy.DEVICE, ServicePolicy.SUPERSEDED)
    assert conditions == ({"iot:Connect": attached} if has_thing else {})


def test_a_shared_certificate_connects_under_a_prefix_no_thing_has() -> None:
    """A claim certificate connects as `boot-…`, which no thing has as its name, and uses its own topics."""
    found = resources(ServicePolicy.CLAIM)
    assert "client/boot-*" in found
    assert all("${iot:ClientId}" in resource for resource in found if not resource.startswith("client/"))
    assert all("/certificates/" in resource for resource in found if not resource.startswith("client/"))


def test_a_device_has_all_three_calls_under_its_things_name() -> None:
    """An operational certificate may make all three calls, on topics under its thing's name only."""
    found = resources(ServicePolicy.DEVICE)
    assert all("${iot:Connection.Thing.ThingName}" in resource for resource in found)
    assert {resource.rsplit("/", 1)[1] for resource in found if resource.startswith("topic/")} == {
        "request",
        "commit",
        "accepted",
        "rejected",
    }


def test_a_service_policy_allows_four_actions() -> None:
    """A service policy is a document of four statements, each with its action and whole ARNs."""
    arn = "arn:aws:iot:us-east-1:123456789012"
    asked, answer = "firstboot/${iot:ClientId}/certificates/request", "firstboot/${iot:ClientId}/certificates"
    answers = [f"{answer}/accepted", f"{answer}/rejected"]
    assert ServicePolicy.CLAIM.document(PLACE) == {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "iot:Connect", "Resource": [f"{arn}:client/boot-*"]},
            {"Effect": "Allow", "Action": "iot:Publish", "Resource": [f"{arn}:topic/{asked}"]},
            {
                "Effect": "Allow",
                "Action": "iot:Receive",
                "Resource": [f"{arn}:topic/{each}" for each in answers],
            },
            {
                "Effect": "Allow",
                "Action": "iot:Subscribe",
                "Resource": [f"{arn}:topicfilter/{each}" for each in answers],
            },
        ],
    }


def test_names_of_policies_begin_with_the_stack() -> None:
    """The names of policies have the stack's name before their own."""
    assert ServicePolicy.DEVICE.policy_name("Stack") == "Stack-device"
    assert grant_policy_name("Stack", "telemetry") == "Stack-grant-telemetry"
