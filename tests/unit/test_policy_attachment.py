"""Test which policies must be attached to a device's certificates, and when to reconcile."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.clock import EPOCH, from_epoch
from firstboot.domain.device import CertificateRecord, Device, Status, committed
from firstboot.domain.names import DeviceId
from firstboot.policy.attachment import (
    asking,
    grants_to_attach,
    needs_reconciling,
    note_of,
    policies_of_superseded,
    policies_to_attach,
)
from firstboot.policy.render import Place, compact
from firstboot.policy.rules import Rules
from firstboot.policy.service import ServicePolicy
from tests.unit.fleet_folders import device, fleet, grant, statement

_CONNECT = statement(
    Action="iot:Connect", Resource="arn:{partition}:iot:{region}:{account}:client/{deviceId}"
)
RULES = Rules(
    fleet(
        grants={"telemetry": grant(), "mqtt": grant(_CONNECT), "both": grant(_CONNECT, statement())},
        rules='@id("all") permit (principal, action, resource) unless { principal.quarantined };',
    )
)


def test_held_grants_about_aws_iot_are_attached() -> None:
    """A grant's policy is attached if the device holds the grant and the grant is about AWS IoT."""
    assert grants_to_attach(RULES, device()) == {"mqtt", "both"}
    assert grants_to_attach(RULES, device(attributes={"quarantined": True})) == frozenset()


def test_only_enrolled_devices_of_registry_groups_have_policies() -> None:
    """Only an enrolled device of a group that connects through the AWS IoT registry has policies."""
    for status in set(Status) - {Status.ENROLLED}:
        assert grants_to_attach(RULES, replace(device(), status=status)) == frozenset()
    assert grants_to_attach(RULES, device(group="gone")) == frozenset()
    group = RULES.fleet.groups["gateways"]
    tokens = replace(RULES.fleet, groups={"gateways": replace(group, mqtt="token")})
    assert grants_to_attach(Rules(tokens), device()) == frozenset()


NOW = from_epoch(1_000_000_000)
GRACE = RULES.fleet.groups["gateways"].certificate.grace


def certificate(name: str | None, superseded_at: datetime | None = None) -> CertificateRecord:
    """Return a certificate with the id `name`."""
    return CertificateRecord(
        "1", "2", EPOCH, from_epoch(2), from_epoch(1), certificate_id=name, superseded_at=superseded_at
    )


def registered(**changes: Any) -> Device:
    """Return a device for which AWS IoT has what it should, with `changes`."""
    values: dict[str, Any] = {
        "active": certificate("new"),
        "registered": frozenset({"new"}),
        "attached": frozenset({"mqtt", "both"}),
    }
    return replace(device(), **values | changes)


def test_a_device_as_it_should_be_needs_nothing() -> None:
    """An up-to-date device needs no reconciliation, and neither does one before its first login."""
    assert not needs_reconciling(RULES, registered(), NOW)
    waiting = registered(active=None, pending=certificate(None), registered=frozenset(), attached=frozenset())
    assert not needs_reconciling(RULES, waiting, NOW)
    assert not needs_reconciling(RULES, registered(status=Status.EXPECTED), NOW)


def test_an_active_certificate_must_be_registered() -> None:
    """A device whose id is a valid thing name is reconciled if its active certificate is not registered."""
    missing = registered(registered=frozenset(), attached=frozenset())
    assert needs_reconciling(RULES, missing, NOW)
    assert needs_reconciling(RULES, registered(registered=frozenset({"other"})), NOW)
    assert not needs_reconciling(RULES, replace(missing, device_id=DeviceId("gw.1")), NOW)


def test_an_ended_device_is_reconciled_while_something_is_left() -> None:
    """An ended device is reconciled while it has a registered certificate or, if deleted, a row."""
    for attached in (frozenset({"mqtt", "both"}), frozenset[str]()):
        assert needs_reconciling(RULES, registered(status=Status.DELETED, attached=attached), NOW)
    revoked = registered(status=Status.REVOKED)
    assert needs_reconciling(RULES, revoked, NOW)
    assert not needs_reconciling(RULES, replace(revoked, registered=frozenset()), NOW)
    assert needs_reconciling(RULES, registered(status=Status.DELETED, registered=frozenset()), NOW)


@given(attached=st.frozensets(st.sampled_from(["mqtt", "both", "telemetry", "gone"])))
def test_other_policies_than_the_rules_say_are_reconciled(attached: frozenset[str]) -> None:
    """A device is reconciled if a policy is missing or superfluous, or its group is gone or has tokens."""
    found = registered(attached=attached)
    assert needs_reconciling(RULES, found, NOW) == (attached != {"mqtt", "both"})
    assert needs_reconciling(RULES, replace(found, group="gone"), NOW)
    tokens = {"gateways": replace(RULES.fleet.groups["gateways"], mqtt="token")}
    assert needs_reconciling(Rules(replace(RULES.fleet, groups=tokens)), found, NOW)


@given(since=st.integers(-10, 10).map(lambda seconds: GRACE + timedelta(seconds=seconds)))
def test_a_superseded_certificate_has_its_grace(since: timedelta) -> None:
    """A registered superseded certificate is reconciled from the second at which its grace ends."""
    old = certificate("old", superseded_at=NOW - since)
    noted = note_of({"mqtt", "both"}, {"old"})
    found = registered(superseded=old, registered=frozenset({"old", "new"}), attached=noted)
    assert needs_reconciling(RULES, found, NOW) == (since >= GRACE)
    alone = replace(found, registered=frozenset({"new"}), attached=frozenset({"mqtt", "both"}))
    assert not needs_reconciling(RULES, alone, NOW)


def test_a_superseded_certificate_with_the_device_s_policy_is_reconciled() -> None:
    """A device is reconciled if a superseded certificate is not noted as restricted, as before an upgrade."""
    old = certificate("old", superseded_at=NOW)
    found = registered(superseded=old, registered=frozenset({"old", "new"}))
    assert needs_reconciling(RULES, found, NOW)
    assert needs_reconciling(RULES, replace(found, attached=note_of({"mqtt", "both"}, {"other"})), NOW)
    assert not needs_reconciling(RULES, replace(found, attached=note_of({"mqtt", "both"}, {"old"})), NOW)


def test_a_pending_certificate_may_be_there_unknown() -> None:
    """While a certificate is pending, one registered id may be unknown: the first login records it."""
    found = registered(registered=frozenset({"new", "unknown"}))
    assert needs_reconciling(RULES, found, NOW)
    waiting = replace(found, pending=certificate(None))
    assert not needs_reconciling(RULES, waiting, NOW)
    assert needs_reconciling(RULES, replace(waiting, registered=frozenset({"new", "x", "y"})), NOW)


def test_a_superseded_certificate_does_not_count_as_pending() -> None:
    """A superseded certificate past its grace is reconciled, even while another certificate is pending."""
    old = certificate("old", superseded_at=NOW - GRACE)
    both = frozenset({"old", "new"})
    found = registered(pending=certificate(None), superseded=old, registered=both)
    assert needs_reconciling(RULES, found, NOW)


def test_a_commit_needs_reconciling_at_once_and_when_the_grace_is_over() -> None:
    """A commit needs a reconciliation, and another one when the superseded certificate's grace is over."""
    both = frozenset({"new", "newer"})
    waiting = registered(pending=certificate(None), registered=both)
    after = committed(waiting, "newer", NOW)
    assert not needs_reconciling(RULES, waiting, NOW)
    assert needs_reconciling(RULES, after, NOW)
    reconciled = replace(after, attached=note_of({"mqtt", "both"}, {"new"}))
    assert not needs_reconciling(RULES, reconciled, NOW)
    assert needs_reconciling(RULES, reconciled, NOW + GRACE)


PLACE = Place("aws", "us-east-1", "123456789012")


def test_a_certificate_has_the_policies_of_its_grants_about_aws_iot() -> None:
    """A current certificate has the service policy and one policy for each grant about AWS IoT."""
    found = policies_to_attach(RULES.fleet, ["both", "telemetry", "mqtt"], "Stack", PLACE)
    assert list(found) == ["Stack-device", "Stack-grant-both", "Stack-grant-mqtt"]
    assert json.loads(found["Stack-device"]) == ServicePolicy.DEVICE.document(PLACE)
    (statement_of_mqtt,) = json.loads(found["Stack-grant-mqtt"])["Statement"]
    assert statement_of_mqtt["Action"] == "iot:Connect"
    assert found["Stack-grant-mqtt"] == compact(json.loads(found["Stack-grant-mqtt"]))
    assert policies_of_superseded("Stack", PLACE) == {
        "Stack-superseded": compact(ServicePolicy.SUPERSEDED.document(PLACE))
    }


def test_a_superseded_certificate_asks_only_while_aws_iot_has_it() -> None:
    """A superseded certificate may ask if it has an id, is within its grace, and is registered."""
    group = RULES.fleet.groups["gateways"]
    old = certificate("old", NOW)
    both = frozenset({"new", "old"})
    assert asking(registered(superseded=old, registered=both), group, NOW) == {"old"}
    assert asking(registered(superseded=old), group, NOW) == frozenset()
    assert asking(registered(superseded=old, registered=both), group, NOW + GRACE) == frozenset()
    assert asking(registered(superseded=certificate(None, NOW), registered=both), group, NOW) == frozenset()
    assert asking(registered(registered=both), group, NOW) == frozenset()
    assert note_of(["mqtt"], ["old"]) == {"mqtt", "superseded:old"}


def test_a_renamed_groups_devices_are_reconciled() -> None:
    """A device whose record has a former name of its group is reconciled."""
    group = replace(RULES.fleet.groups["gateways"], name="hubs", formerly=("gateways",))
    renamed = Rules(replace(RULES.fleet, groups={"hubs": group}))
    assert needs_reconciling(renamed, registered(), NOW)
    held = note_of(grants_to_attach(renamed, registered(group="hubs")), [])
    assert not needs_reconciling(renamed, registered(group="hubs", attached=held), NOW)
