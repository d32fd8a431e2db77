"""Test Firstboot's own AWS IoT policies, which let a certificate make Firstboot's calls over MQTT."""

from __future__ import annotations

import pytest

from firstboot.policy import limits
from firstboot.policy.render import Place, compact
from firstboot.policy.service import COMMON_NAME, ServicePolicy

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


def test_a_bootstrap_certificate_asks_for_its_own_and_nothing_else() -> None:
    """A bootstrap certificate can only connect as its common name and use its three certificate topics."""
    topic = f"firstboot/{COMMON_NAME}/certificates"
    assert resources(ServicePolicy.BOOTSTRAP) == {
        f"client/{COMMON_NAME}",
        f"topic/{topic}/request",
        *(
            f"{kind}/{topic}/{answer}"
            for kind in ("topic", "topicfilter")
            for answer in ("accepted", "rejected")
        ),
    }


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
