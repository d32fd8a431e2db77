"""Which grants' policies AWS IoT is to have on a device's certificates."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.clock import EPOCH, from_epoch
from firstboot.domain.device import CertificateRecord, Device, Status, committed
from firstboot.domain.names import DeviceId
from firstboot.policy.attachment import grants_to_attach, needs_reconciling
from firstboot.policy.rules import Rules
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


def test_only_what_is_about_aws_iot_and_held() -> None:
    """A grant about S3 alone is no business of AWS IoT's."""
    assert grants_to_attach(RULES, device()) == {"mqtt", "both"}
    assert grants_to_attach(RULES, device(attributes={"quarantined": True})) == frozenset()


def test_only_for_enrolled_devices_of_groups_in_the_registry() -> None:
    """A revoked device holds nothing, whatever the rules say; nor does one that comes with tokens."""
    for status in set(Status) - {Status.ENROLLED}:
        assert grants_to_attach(RULES, replace(device(), status=status)) == frozenset()
    assert grants_to_attach(RULES, device(group="gone")) == frozenset()
    group = RULES.fleet.groups["gateways"]
    tokens = replace(RULES.fleet, groups={"gateways": replace(group, mqtt="token")})
    assert grants_to_attach(Rules(tokens), device()) == frozenset()


NOW = from_epoch(1_000_000_000)
GRACE = RULES.fleet.groups["gateways"].certificate.grace


def certificate(name: str | None, superseded_at: datetime | None = None) -> CertificateRecord:
    """A certificate whose id is `name`."""
    return CertificateRecord(
        "1", "2", EPOCH, from_epoch(2), from_epoch(1), certificate_id=name, superseded_at=superseded_at
    )


def registered(**changes: Any) -> Device:
    """A device that AWS IoT has as it should."""
    values: dict[str, Any] = {
        "active": certificate("new"),
        "registered": frozenset({"new"}),
        "attached": frozenset({"mqtt", "both"}),
    }
    return replace(device(), **values | changes)


def test_a_device_as_it_should_be_needs_nothing() -> None:
    """Neither does one that has not logged in yet, nor one that nobody has seen."""
    assert not needs_reconciling(RULES, registered(), NOW)
    waiting = registered(active=None, pending=certificate(None), registered=frozenset(), attached=frozenset())
    assert not needs_reconciling(RULES, waiting, NOW)
    assert not needs_reconciling(RULES, registered(status=Status.EXPECTED), NOW)


def test_a_certificate_in_use_that_aws_iot_does_not_know() -> None:
    """Its event was lost, or it is older than this part of the product; unless AWS IoT can't know it."""
    missing = registered(registered=frozenset(), attached=frozenset())
    assert needs_reconciling(RULES, missing, NOW)
    assert needs_reconciling(RULES, registered(registered=frozenset({"other"})), NOW)
    assert not needs_reconciling(RULES, replace(missing, device_id=DeviceId("gw.1")), NOW)


def test_what_a_lost_device_still_has() -> None:
    """A revoked device must have nothing, and a deleted one not even a row."""
    revoked = registered(status=Status.REVOKED)
    assert needs_reconciling(RULES, revoked, NOW)
    assert not needs_reconciling(RULES, replace(revoked, registered=frozenset()), NOW)
    assert needs_reconciling(RULES, registered(status=Status.DELETED, registered=frozenset()), NOW)


@given(attached=st.frozensets(st.sampled_from(["mqtt", "both", "telemetry", "gone"])))
def test_other_policies_than_the_rules_say_are_told(attached: frozenset[str]) -> None:
    """A policy too many and one too few alike; a group that is gone or has tokens has none."""
    found = registered(attached=attached)
    assert needs_reconciling(RULES, found, NOW) == (attached != {"mqtt", "both"})
    assert needs_reconciling(RULES, replace(found, group="gone"), NOW)
    tokens = {"gateways": replace(RULES.fleet.groups["gateways"], mqtt="token")}
    assert needs_reconciling(Rules(replace(RULES.fleet, groups=tokens)), found, NOW)


@given(since=st.integers(-10, 10).map(lambda seconds: GRACE + timedelta(seconds=seconds)))
def test_a_superseded_certificate_has_its_grace(since: timedelta) -> None:
    """To the second; and who has it not in AWS IoT needs nothing."""
    old = certificate("old", superseded_at=NOW - since)
    found = registered(superseded=old, registered=frozenset({"old", "new"}))
    assert needs_reconciling(RULES, found, NOW) == (since >= GRACE)
    assert not needs_reconciling(RULES, replace(found, registered=frozenset({"new"})), NOW)


def test_a_pending_certificate_may_be_there_unknown() -> None:
    """Its id is written down with its first login; until then one unknown id is its."""
    found = registered(registered=frozenset({"new", "unknown"}))
    assert needs_reconciling(RULES, found, NOW)
    waiting = replace(found, pending=certificate(None))
    assert not needs_reconciling(RULES, waiting, NOW)
    assert needs_reconciling(RULES, replace(waiting, registered=frozenset({"new", "x", "y"})), NOW)


def test_a_superseded_certificate_is_no_pending_one() -> None:
    """While a next one is pending, one whose grace is over is told all the same."""
    old = certificate("old", superseded_at=NOW - GRACE)
    both = frozenset({"old", "new"})
    found = registered(pending=certificate(None), superseded=old, registered=both)
    assert needs_reconciling(RULES, found, NOW)


def test_a_commit_by_itself_needs_nothing_until_the_grace_is_over() -> None:
    """The certificate that was pending was registered already; the old one has its grace."""
    both = frozenset({"new", "newer"})
    waiting = registered(pending=certificate(None), registered=both)
    after = committed(waiting, "newer", NOW)
    assert not needs_reconciling(RULES, waiting, NOW)
    assert not needs_reconciling(RULES, after, NOW)
    assert needs_reconciling(RULES, after, NOW + GRACE)
