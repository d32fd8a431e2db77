"""AWS IoT follows the record: order, differences, races, and what is left when each call fails."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import boto3
import pytest

import register
from firstboot.aws import clients
from firstboot.pki import chain
from tests import factories
from tests.aws.product import Product
from tests.aws.registering import GRANT, SERVICE, SITE, Calls, Registering, arn

FIRST = [
    *("UpdateItem", "UpdateItem"),  # the pace
    "GetItem",
    "ListThingPrincipals",
    "GetObject",
    *("DescribeThing", "CreateThing", "ListThingGroupsForThing", "AddThingToThingGroup"),
    *("GetThingShadow", "UpdateThingShadow"),
    *("RegisterCertificateWithoutCA", "AttachThingPrincipal", "ListAttachedPolicies"),
    *("AttachPolicy", "AttachPolicy"),
    "GetItem",
    "UpdateCertificate",
    "UpdateItem",
]
"""A first registration, in a group that others were registered in before."""

CONFIGURATION = {"interval": 60}
REVOKE = "devices.revoke"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every call of register."""
    return Calls().patch(monkeypatch)


@pytest.fixture
def registering(product: Product, calls: Calls) -> Registering:
    """The product with register, its fleet read, and one device registered before."""
    made = Registering(product, calls)
    made.publish(configuration=CONFIGURATION)
    made.enroll("gw-0")
    assert made.work("gw-0") == {"batchItemFailures": []}
    return made


def test_a_first_registration_in_order(registering: Registering) -> None:
    """Thing, shadow, certificate INACTIVE, policies, the record again, ACTIVE, noted: in that order."""
    device = registering.enroll("gw-1")
    registering.work("gw-1")
    assert registering.calls.names == FIRST
    certificate = dict(registering.calls.made)["RegisterCertificateWithoutCA"]
    assert certificate["status"] == "INACTIVE"
    assert registering.world("gw-1", device.leaf) == {
        "things": [("Firstboot", {})],
        "certificates": [("ACTIVE", {SERVICE, GRANT})],
        "principals": [{arn(device.leaf)}],
        "groups": [
            [
                {
                    "groupName": "Firstboot-gateways",
                    "groupArn": "arn:aws:iot:us-east-1:123456789012:thinggroup/Firstboot-gateways",
                }
            ]
        ],
        "registered": {chain.fingerprint(device.leaf)},
        "attached": {"mqtt"},
    }
