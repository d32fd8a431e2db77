"""Revoked and deleted devices lose everything in AWS IoT, whatever fails or happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3
import pytest

from firstboot.pki import chain
from tests import factories
from tests.aws.registering import CONFIGURATION, GRANT, SERVICE, Identity, Registering

REVOCATION = [
    "GetItem",
    *("ListObjectsV2", "GetObject"),
    *("UpdateCertificate", "UpdateCertificate"),  # the bootstrap certificate's and ours
    "DeleteConnection",
    *("ListAttachedPolicies", "DetachPolicy", "DetachPolicy", "ListAttachedPolicies"),
    "UpdateItem",
]
DELETION = [
    *REVOCATION[: REVOCATION.index("DeleteConnection") + 1],
    "ListThingPrincipals",
    *("DetachThingPrincipal", "DetachThingPrincipal"),
    *("ListAttachedPolicies", "DeleteCertificate"),
    *("ListAttachedPolicies", "DetachPolicy", "DetachPolicy", "DeleteCertificate"),
    *("DeleteThingShadow", "DeleteThing"),
    "DeleteItem",
]


def registered(registering: Registering, name: str) -> Identity:
    """A device that has its place in AWS IoT."""
    device = registering.enroll(name)
    assert registering.work(name) == {"batchItemFailures": []}
    return device


def revoke(registering: Registering, name: str) -> None:
    """The operator revokes a device."""
    assert "result" in registering.product.operate("devices.revoke", deviceId=name)


def delete(registering: Registering, name: str) -> None:
    """The record of a device is marked as deleted."""
    boto3.client("dynamodb").update_item(
        TableName=registering.product.table,
        Key={"pk": {"S": f"DEV#{name}"}},
        UpdateExpression="SET #status = :deleted",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":deleted": {"S": "deleted"}},
    )


def test_a_revoked_device_is_out_in_order(registering: Registering) -> None:
    """Certificates first, or the device would be back as soon as its connection ends; then the rest."""
    device = registered(registering, "gw-1")
    revoke(registering, "gw-1")
    registering.work("gw-1", slot=0)
    assert sorted(registering.calls.names) == sorted(REVOCATION)
    names = registering.calls.names
    last_status = len(names) - 1 - names[::-1].index("UpdateCertificate")
    assert last_status < names.index("DeleteConnection") < names.index("DetachPolicy")
    assert registering.calls.disconnected == ["gw-1"]
    assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("REVOKED", set())
    assert registering.noted("gw-1", "registered") == registering.noted("gw-1", "attached") == set()


@pytest.mark.parametrize("lost", [False, True], ids=["fails", "reply-lost"])
@pytest.mark.parametrize(("end", "calls_made"), [(revoke, REVOCATION), (delete, DELETION)])
def test_a_failure_anywhere_heals(
    registering: Registering,
    end: Callable[[Registering, str], None],
    calls_made: list[str],
    *,
    lost: bool,
) -> None:
    """Whichever call fails, or succeeds unheard: the same message again ends in the same state."""
    for step in range(len(calls_made)):
        name = f"gw-{step + 1}"
        device = registered(registering, name)
        end(registering, name)
        registering.calls.fail, registering.calls.lost = step, lost
        assert registering.work(name, slot=0)["batchItemFailures"], step
        registering.calls.fail = None
        assert registering.work(name, slot=0) == {"batchItemFailures": []}
        if end is revoke:
            assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("REVOKED", set())
            assert registering.noted(name, "registered") == set()
        else:
            _assert_nothing_left(registering, name, device)


def test_of_a_deleted_device_nothing_is_left(registering: Registering) -> None:
    """Certificates of every age, also those from elsewhere that were its thing's; shadow, thing, row."""
    old = registered(registering, "gw-1")
    old.commit()
    new = old.renew()
    registering.work("gw-1")
    foreign = boto3.client("iot").create_keys_and_certificate(setAsActive=True)
    boto3.client("iot").attach_thing_principal(thingName="gw-1", principal=foreign["certificateArn"])
    assert registering.desired("gw-1") == CONFIGURATION
    delete(registering, "gw-1")
    assert registering.work("gw-1", slot=0) == {"batchItemFailures": []}
    _assert_nothing_left(registering, "gw-1", old)
    _assert_nothing_left(registering, "gw-1", new)
    assert registering.calls.names[-1] == "DeleteItem"
    assert registering.calls.disconnected == ["gw-1"]


def test_a_deleted_device_may_come_again(registering: Registering) -> None:
    """Its record is gone, so it is a stranger that enrolls."""
    first = registered(registering, "gw-1")
    delete(registering, "gw-1")
    registering.work("gw-1")
    second = registered(registering, "gw-1")
    assert registering.status(first.leaf) is None
    assert (registering.status(second.leaf), registering.policies(second.leaf)) == (
        "ACTIVE",
        {SERVICE, GRANT},
    )
    assert registering.desired("gw-1") == CONFIGURATION


def _assert_nothing_left(registering: Registering, name: str, device: Identity) -> None:
    assert registering.status(device.leaf) is None
    assert registering.world(name)["things"] == []
    assert registering.row(name) == {}


RACES = ["RegisterCertificateWithoutCA", "AttachPolicy", "UpdateCertificate"]


@pytest.mark.parametrize("operation", RACES)
@pytest.mark.parametrize("end", [revoke, delete])
def test_an_end_while_it_is_registered_wins(
    registering: Registering, operation: str, end: Callable[[Registering, str], None]
) -> None:
    """Whenever the device is revoked or deleted meanwhile, its certificate is not ACTIVE in the end."""
    device = registering.enroll("gw-1")
    registering.calls.meanwhile[operation] = lambda: end(registering, "gw-1")
    assert registering.work("gw-1") == {"batchItemFailures": []}
    if end is revoke:
        assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("REVOKED", set())
    else:
        _assert_nothing_left(registering, "gw-1", device)
    activated = [
        parameters["newStatus"] for name, parameters in registering.calls.made if name == "UpdateCertificate"
    ]
    assert ("ACTIVE" in activated) == (operation == "UpdateCertificate")


def test_a_record_that_vanished_meanwhile_leaves_nothing(registering: Registering) -> None:
    """Another process may have cleared AWS IoT and the row while this one gave the device its place."""
    device = registering.enroll("gw-1")

    def vanish() -> None:
        delete(registering, "gw-1")
        registering.work("gw-1", slot=0)

    registering.calls.meanwhile["UpdateCertificate"] = vanish
    registering.work("gw-1")
    _assert_nothing_left(registering, "gw-1", device)


def test_a_grant_lost_while_it_is_given_is_lost(registering: Registering) -> None:
    """A change between the decision and the note is a new decision, by the same message."""
    device = registering.enroll("gw-1")
    quarantine: Any = {"quarantined": True}
    registering.calls.meanwhile["AttachPolicy"] = lambda: registering.product.operate(
        "devices.set", deviceId="gw-1", attributes=quarantine
    )
    registering.work("gw-1")
    assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("ACTIVE", {SERVICE})
    assert registering.noted("gw-1", "attached") == set()


def test_a_record_that_never_rests_comes_again_later(registering: Registering) -> None:
    """After three changes under its hands, the message waits for a slot again."""
    registering.enroll("gw-1")
    sites = iter(range(9))

    def move() -> None:
        site: Any = {"site": str(next(sites))}
        assert "result" in registering.product.operate("devices.set", deviceId="gw-1", attributes=site)
        registering.calls.meanwhile["DescribeThing"] = move

    registering.calls.meanwhile["DescribeThing"] = move
    assert registering.work("gw-1")["batchItemFailures"]


def test_a_shared_bootstrap_certificate_is_not_one_devices_own(registering: Registering) -> None:
    """Revoking one device must not take the way in of all that hold the same claim certificate."""
    claim = factories.ec_key()
    leaf = registering.product.factory.issue("claim", claim)
    registering.publish(device_id="request.deviceId", reenroll="refuse")
    registering.product.operate("groups.expect", group="gateways", devices={"gw-1": {}})
    assert registering.product.enroll(leaf, deviceId="gw-1").status == 201
    iot = boto3.client("iot")
    iot.register_certificate_without_ca(certificatePem=factories.pem(leaf), status="ACTIVE")
    registering.work("gw-1")
    revoke(registering, "gw-1")
    registering.work("gw-1")
    assert registering.status(leaf) == "ACTIVE"


def test_a_bootstrap_certificate_of_its_own_goes_too(registering: Registering) -> None:
    """A revoked device has no way back by the certificate that it came with."""
    leaf = registering.product.bootstrap("gw-1")
    boto3.client("iot").register_certificate_without_ca(certificatePem=factories.pem(leaf), status="ACTIVE")
    assert registering.product.enroll(leaf).status == 201
    registering.work("gw-1")
    revoke(registering, "gw-1")
    registering.work("gw-1")
    assert registering.status(leaf) == "REVOKED"
    assert chain.fingerprint(leaf) not in registering.noted("gw-1", "registered")
