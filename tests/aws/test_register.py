"""`register` brings AWS IoT to a device record: the order of its calls, and recovery when one fails."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.pki import chain
from tests.aws.product import Product
from tests.aws.registering import CONFIGURATION, GRANT, SERVICE, Calls, Identity, Registering, arn

FIRST = [
    "GetItem",
    "ListThingPrincipals",
    "GetObject",
    *("DescribeThing", "CreateThing", "ListThingGroupsForThing", "AddThingToThingGroup"),
    *("GetThingShadow", "UpdateThingShadow"),
    *("RegisterCertificateWithoutCA", "AttachThingPrincipal", "ListAttachedPolicies"),
    *("AttachPolicy", "AttachPolicy"),
    "UpdateItem",
    "UpdateCertificate",
    "UpdateItem",
]
"""The calls of a first reconciliation, in a group that already has devices in AWS IoT."""


def test_a_first_reconciliation_in_order(registering: Registering) -> None:
    """A first reconciliation makes thing, shadow, certificate and policies, and only then activates."""
    device = registering.enroll("gw-1")
    registering.work("gw-1")
    assert registering.calls.names == FIRST
    certificate = dict(registering.calls.made)["RegisterCertificateWithoutCA"]
    assert certificate["status"] == "INACTIVE"
    assert registering.world("gw-1", device.leaf) == _registered("gw-1", device)


def test_the_shadow_has_the_configuration_before_the_device_connects(registering: Registering) -> None:
    """The group's configuration is a new thing's desired state, and never overwrites an existing one."""
    registering.enroll("gw-1")
    registering.work("gw-1")
    assert registering.desired("gw-1") == CONFIGURATION
    registering.publish(configuration={"interval": 5})
    registering.enroll("gw-2")
    boto3.client("iot").create_thing(thingName="gw-2", thingTypeName="Firstboot")
    state = json.dumps({"state": {"desired": {"interval": 1}}})
    boto3.client("iot-data").update_thing_shadow(thingName="gw-2", payload=state.encode())
    registering.work("gw-1")
    registering.work("gw-2")
    assert (registering.desired("gw-1"), registering.desired("gw-2")) == (CONFIGURATION, {"interval": 1})


def test_without_a_configuration_there_is_no_shadow(registering: Registering) -> None:
    """A group without a configuration makes no shadow, which would be a needless message to each device."""
    registering.publish()
    registering.enroll("gw-1")
    registering.work("gw-1")
    assert not {"GetThingShadow", "UpdateThingShadow"} & set(registering.calls.names)


def test_a_repeat_changes_nothing(registering: Registering) -> None:
    """A repetition writes nothing but the note in the record, whose condition proves that it is current."""
    device = registering.enroll("gw-1")
    registering.work("gw-1")
    before = registering.world("gw-1", device.leaf)
    registering.work("gw-1")
    writes = [name for name in registering.calls.names if not name.startswith(("Get", "List", "Describe"))]
    assert writes == ["UpdateItem"]
    assert registering.world("gw-1", device.leaf) == before


@pytest.mark.parametrize("lost", [False, True], ids=["fails", "reply-lost"])
def test_a_first_reconciliation_heals_after_any_failure(registering: Registering, *, lost: bool) -> None:
    """After a failure of any call, the order is sent again, and completes a first reconciliation.

    The call may fail or its answer be lost. Until then the certificate is ACTIVE only if everything else is
    done.
    """
    for step, operation in enumerate(FIRST):
        name = f"gw-{step + 1}"
        device = registering.enroll(name)
        registering.calls.fail, registering.calls.lost = step, lost
        registering.calls.sent = []
        registering.work(name)
        (again,) = registering.calls.sent
        if registering.status(device.leaf) == "ACTIVE":
            assert registering.policies(device.leaf) == {SERVICE, GRANT}
            assert registering.desired(name) == CONFIGURATION
        registering.calls.fail = None
        registering.until_quiet(again)
        assert registering.world(name, device.leaf) == _registered(name, device), operation
        assert registering.desired(name) == CONFIGURATION


def _registered(name: str, device: Identity) -> dict[str, Any]:
    group = "Firstboot-gateways"
    group_arn = f"arn:aws:iot:us-east-1:123456789012:thinggroup/{group}"
    return {
        "things": [("Firstboot", {})],
        "certificates": [("ACTIVE", {SERVICE, GRANT})],
        "principals": [{arn(device.leaf)}],
        "groups": [[{"groupName": group, "groupArn": group_arn}]],
        "registered": {chain.fingerprint(device.leaf)},
        "attached": {"mqtt"},
    }


def test_the_first_device_of_all_makes_what_is_missing(product: Product, calls: Calls) -> None:
    """A missing thing type or thing group is made when it is first needed, and no policy is."""
    made = Registering(product, calls)
    made.publish()
    device = made.enroll("gw-1")
    assert made.work("gw-1") == {"batchItemFailures": []}
    names = made.calls.names
    assert names.index("CreateThingType") < names.index("CreateThingGroup") < names.index("AttachPolicy")
    assert "CreatePolicy" not in names
    assert made.policies(device.leaf) == {SERVICE, GRANT}
    document = json.loads(boto3.client("iot").get_policy(policyName=GRANT)["policyDocument"])
    assert "${iot:Connection.Thing.ThingName}" in document["Statement"][0]["Resource"]


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_a_certificate_under_another_id_gets_nothing(
    registering: Registering,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    known: bool,
) -> None:
    """A certificate that AWS IoT has under another id than its SHA-256 gets no rights, and rings.

    The id is that of AWS IoT's answer, or of its refusal of a certificate that it knows already.
    """
    device, other = registering.enroll("gw-1"), "0" * 64

    def renamed(make: Any, client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        answer = make(client, operation, parameters)
        if operation != "RegisterCertificateWithoutCA":
            return answer
        if known:
            error = {"Code": "ResourceAlreadyExistsException", "Message": ""}
            raise client.exceptions.ResourceAlreadyExistsException(
                {"Error": error, "resourceId": other}, operation
            )
        return answer | {"certificateId": other}

    monkeypatch.setattr(registering.calls, "_make", renamed)
    (failed,) = registering.work("gw-1")["batchItemFailures"]
    assert failed
    assert registering.calls.names[-1] == "RegisterCertificateWithoutCA"
    assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("INACTIVE", set())
    assert registering.noted("gw-1", "registered") == set()
    assert '"InternalError":[1.0]' in capsys.readouterr().out


def test_a_registered_certificate_is_taken_over(registering: Registering) -> None:
    """A certificate that AWS IoT has already is attached and activated, by the id of AWS IoT's refusal."""
    device = registering.enroll("gw-1")
    pem = device.leaf.public_bytes(Encoding.PEM).decode()
    boto3.client("iot").register_certificate_without_ca(certificatePem=pem, status="INACTIVE")
    registering.work("gw-1")
    assert registering.world("gw-1", device.leaf) == _registered("gw-1", device)


def test_a_certificate_waits_for_a_missing_policy(product: Product, calls: Calls) -> None:
    """While a grant's policy is missing, a certificate stays INACTIVE, and its order comes again in seconds.

    It is ACTIVE when the sweep has made the policy. `register` makes no policy.
    """
    made = Registering(product, calls)
    made.publish()
    boto3.client("iot").delete_policy(policyName=GRANT)
    device = made.enroll("gw-1")
    made.calls.sent = []
    assert made.work("gw-1") == {"batchItemFailures": []}
    (again,) = made.calls.sent
    assert made.status(device.leaf) == "INACTIVE"
    made.publish()
    made.until_quiet(again)
    assert made.status(device.leaf) == "ACTIVE"
    assert made.policies(device.leaf) == {SERVICE, GRANT}


def test_a_certificate_that_is_not_issued_yet_waits(registering: Registering) -> None:
    """A certificate is not registered before its object is in S3, because the claim alone is no issuance."""
    device = registering.enroll("gw-1")
    key = registering.product.objects()[-1]
    assert "gw-1" in key
    boto3.client("s3").delete_object(Bucket=registering.product.bucket, Key=key)
    assert registering.work("gw-1") == {"batchItemFailures": []}
    assert registering.status(device.leaf) is None


@pytest.mark.parametrize("device_id", ["gw-unknown", "gw-expected"])
def test_a_device_that_is_not_enrolled_has_no_thing(registering: Registering, device_id: str) -> None:
    """A device that is unknown or only expected, and has no certificate, makes no call to AWS IoT."""
    expecting = registering.product.operate("groups.expect", group="gateways", devices={"gw-expected": {}})
    assert expecting["result"]["expected"] == 1
    registering.work(device_id)
    assert registering.calls.names == ["GetItem", "ListObjectsV2"]
