"""Test which changes of a device record order a reconciliation, and how soon."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstboot.domain.clock import EPOCH, from_epoch
from firstboot.domain.device import CertificateRecord, Status, committed
from firstboot.register.changes import Reaction, reaction
from tests.unit.fleet_folders import device

CERTIFICATE = CertificateRecord("1", "aa", EPOCH, from_epoch(1_000), from_epoch(500), certificate_id="c1")
NEXT = CertificateRecord("2", "bb", EPOCH, from_epoch(1_000), from_epoch(500))
REGISTERED = replace(device(), active=CERTIFICATE, registered=frozenset({"c1"}), attached=frozenset({"mqtt"}))


@pytest.mark.parametrize(
    "change",
    [
        {"attributes": {"site": "berlin"}},
        {"claims": {"model": "x"}},
        {"group": "other"},
        {"status": Status.DELETED},
    ],
    ids=str,
)
def test_what_decides_the_grants_of_a_registered_device_is_followed(change: dict[str, Any]) -> None:
    """A change of attributes, claims, group or status of a registered device orders a reconciliation."""
    assert reaction(REGISTERED, replace(REGISTERED, **change)) is Reaction.RATE_LIMITED


def test_a_revocation_does_not_wait() -> None:
    """A revocation is urgent, even for a device that is not recorded as registered."""
    for before in (REGISTERED, device(), replace(device(), status=Status.EXPECTED)):
        assert reaction(before, replace(before, status=Status.REVOKED)) is Reaction.URGENT


def test_an_ended_device_is_not_ordered_again() -> None:
    """A further change to a revoked or deleted device orders nothing."""
    for status in (Status.REVOKED, Status.DELETED):
        ended = replace(REGISTERED, status=status)
        assert reaction(ended, replace(ended, registered=frozenset(), updated_at=from_epoch(9))) is None


def test_a_commit_takes_the_old_certificates_grants() -> None:
    """A commit orders a reconciliation if the superseded certificate is registered, as it keeps no grants."""
    renewed = replace(REGISTERED, pending=NEXT)
    assert reaction(REGISTERED, renewed) is None
    assert reaction(renewed, committed(renewed, "c2", from_epoch(9))) is Reaction.RATE_LIMITED


def test_a_first_boot_orders_nothing() -> None:
    """A first boot orders nothing, because the new object in S3 does: two orders would halve the rate."""
    expected = replace(device(), status=Status.EXPECTED)
    claimed = replace(device(), pending=NEXT, claims={"model": "x"})
    assert reaction(expected, claimed) is None
    noted = replace(claimed, registered=frozenset({"c2"}), attached=frozenset({"mqtt"}))
    assert reaction(claimed, noted) is None
    assert reaction(noted, committed(noted, "c2", from_epoch(9))) is None


def test_what_register_writes_orders_nothing() -> None:
    """The changes that `register` itself writes order nothing, which prevents an endless loop."""
    assert reaction(REGISTERED, replace(REGISTERED, registered=frozenset(), attached=frozenset())) is None
    assert reaction(REGISTERED, replace(REGISTERED, updated_at=from_epoch(9))) is None


def test_a_device_that_is_not_registered_yet_is_not_followed() -> None:
    """A device that is not registered is not followed: the order to come reads the newest record."""
    waiting = replace(device(), pending=NEXT)
    assert reaction(waiting, replace(waiting, attributes={"site": "berlin"})) is None


def test_a_change_of_group_is_followed() -> None:
    """A change of group is followed, even if nothing is registered, as soon as there is a certificate."""
    token = replace(device(), active=CERTIFICATE)
    assert reaction(token, replace(token, group="other")) is Reaction.RATE_LIMITED
    assert reaction(device(), replace(device(), group="other")) is None


def test_an_imported_device_is_followed() -> None:
    """The new record of an imported device orders a reconciliation; any other new record orders nothing."""
    assert reaction(None, REGISTERED) is Reaction.RATE_LIMITED
    assert reaction(None, replace(device(), pending=NEXT)) is None
