"""A revoked or deleted device loses everything in AWS IoT, also when calls fail or its record changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from firstboot.pki import chain
from tests import factories
from tests.aws.registering import CONFIGURATION, GRANT, SERVICE, Identity, Registering

CUT_OFF = [
    "GetItem",
    "GetObject",  # the pending certificate's id
    *("UpdateCertificate", "UpdateCertificate"),  # the bootstrap certificate's two forms
    "UpdateCertificate",  # the operational certificate
    "DeleteConnection",
    *("ListAttachedPolicies", "DetachPolicy", "DetachPolicy"),
]
HISTORY = ["ListObjectsV2", "GetItem", "GetObject"]
REVOCATION = [*CUT_OFF, "UpdateItem", *HISTORY]
DELETION = [
    *CUT_OFF,
    "DetachThingPrincipal",
    *HISTORY,
    *("UpdateCertificate", "ListAttachedPolicies", "DeleteCertificate"),
    *("UpdateCertificate", "UpdateCertificate"),  # the bootstrap certificate's two forms
    *("DescribeThing", "ListThingPrincipals", "GetItem", "DeleteThing", "DeleteThingShadow"),
    "TransactWriteItems",
]


def registered(registering: Registering, name: str) -> Identity:
    """Return a device that is registered in AWS IoT."""
    device = registering.enroll(name)
    assert registering.work(name) == {"batchItemFailures": []}
    return device


def revoke(registering: Registering, name: str) -> None:
    """Revoke a device as the operator does."""
    assert "result" in registering.product.operate("devices.revoke", deviceId=name)


def delete(registering: Registering, name: str) -> None:
    """Mark the record of a device as deleted."""
    boto3.client("dynamodb").update_item(
        TableName=registering.product.table,
        Key={"pk": {"S": f"DEV#{name}"}},
        UpdateExpression="SET #status = :deleted",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":deleted": {"S": "deleted"}},
    )


def test_a_revoked_device_is_withdrawn_in_order(registering: Registering) -> None:
    """A revocation ends the certificates before the connection, because the device reconnects at once."""
    device = registered(registering, "gw-1")
    revoke(registering, "gw-1")
    registering.work("gw-1")
    assert registering.calls.names == REVOCATION
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
    """After a failure of any call, or of its answer, the order is sent again and completes the withdrawal."""
    for step in range(len(calls_made)):
        name = f"gw-{step + 1}"
        device = registered(registering, name)
        end(registering, name)
        registering.calls.fail, registering.calls.lost = step, lost
        registering.calls.sent = []
        assert registering.work(name) == {"batchItemFailures": []}
        registering.calls.fail = None
        (again,) = registering.calls.sent
        registering.until_quiet(again)
        if end is revoke:
            assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("REVOKED", set())
            assert registering.noted(name, "registered") == set()
        else:
            _assert_nothing_left(registering, name, device)


def test_of_a_deleted_device_nothing_is_left(registering: Registering) -> None:
    """A deleted device leaves no certificate, shadow, thing or row."""
    old = registered(registering, "gw-1")
    old.commit()
    new = old.renew()
    registering.work("gw-1")
    assert registering.desired("gw-1") == CONFIGURATION
    delete(registering, "gw-1")
    assert registering.work("gw-1") == {"batchItemFailures": []}
    _assert_nothing_left(registering, "gw-1", old)
    _assert_nothing_left(registering, "gw-1", new)
    assert registering.calls.names[-1] == "TransactWriteItems"
    assert registering.calls.disconnected == ["gw-1"]


def test_a_deleted_device_may_come_again(registering: Registering) -> None:
    """A deleted device can enroll again as an unknown one."""
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
def test_an_end_during_the_registration_wins(
    registering: Registering, operation: str, end: Callable[[Registering, str], None]
) -> None:
    """A device that is revoked or deleted during its registration has no ACTIVE certificate afterwards."""
    device = registering.enroll("gw-1")
    registering.calls.meanwhile[operation] = lambda: end(registering, "gw-1")
    registering.until_quiet(json.dumps({"deviceId": "gw-1"}))
    if end is revoke and operation == "UpdateCertificate":
        # The record noted that a process was about to make it ACTIVE.
        assert registering.status(device.leaf) is None
    elif end is revoke:
        assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("REVOKED", set())
    else:
        _assert_nothing_left(registering, "gw-1", device)


def test_a_record_that_vanished_meanwhile_leaves_nothing(registering: Registering) -> None:
    """A registration leaves nothing behind if another process deletes the device meanwhile."""
    device = registering.enroll("gw-1")

    def vanish() -> None:
        delete(registering, "gw-1")
        registering.work("gw-1")

    registering.calls.meanwhile["UpdateCertificate"] = vanish
    registering.until_quiet(json.dumps({"deviceId": "gw-1"}))
    _assert_nothing_left(registering, "gw-1", device)


def test_a_grant_lost_during_a_reconciliation_is_not_attached(registering: Registering) -> None:
    """A grant that is lost during a reconciliation is not attached after it."""
    device = registering.enroll("gw-1")
    quarantine: Any = {"quarantined": True}
    registering.calls.meanwhile["AttachPolicy"] = lambda: registering.product.operate(
        "devices.set", deviceId="gw-1", attributes=quarantine
    )
    registering.work("gw-1")
    assert (registering.status(device.leaf), registering.policies(device.leaf)) == ("ACTIVE", {SERVICE})
    assert registering.noted("gw-1", "attached") == set()


def test_a_record_that_keeps_changing_is_tried_again_later(registering: Registering) -> None:
    """The order for a record that changes during three attempts is sent again."""
    registering.enroll("gw-1")
    sites = iter(range(9))

    def move() -> None:
        site: Any = {"site": str(next(sites))}
        assert "result" in registering.product.operate("devices.set", deviceId="gw-1", attributes=site)
        registering.calls.meanwhile["DescribeThing"] = move

    registering.calls.meanwhile["DescribeThing"] = move
    registering.calls.sent = []
    registering.work("gw-1")
    (again,) = registering.calls.sent
    assert json.loads(again)["tries"] == 1


def test_a_claim_certificate_is_not_revoked_with_one_device(registering: Registering) -> None:
    """The revocation of one device does not revoke the claim certificate that other devices share."""
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


@pytest.mark.parametrize("older", [False, True], ids=["row", "older-version's-row"])
def test_a_bootstrap_certificate_of_its_own_goes_too(registering: Registering, *, older: bool) -> None:
    """A revoked device has no way back by the certificate that it came with, nor by that one's twin."""
    leaf = registering.product.bootstrap("gw-1")
    for form in [leaf] if older else [leaf, factories.twin(leaf)]:
        pem = factories.pem(form)
        boto3.client("iot").register_certificate_without_ca(certificatePem=pem, status="ACTIVE")
    assert registering.product.enroll(leaf).status == 201
    if older:
        boto3.client("dynamodb").update_item(
            TableName=registering.product.table,
            Key={"pk": {"S": "DEV#gw-1"}},
            UpdateExpression="SET enrolledBy = :id REMOVE bootstrapIds, anchor, anchorSubject, way",
            ExpressionAttributeValues={":id": {"S": chain.fingerprint(leaf)}},
        )
    registering.work("gw-1")
    revoke(registering, "gw-1")
    registering.work("gw-1")
    assert registering.status(leaf) == "REVOKED"
    assert registering.status(factories.twin(leaf)) == (None if older else "REVOKED")
    assert chain.fingerprint(leaf) not in registering.noted("gw-1", "registered")
