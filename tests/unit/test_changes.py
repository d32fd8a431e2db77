"""What a changed record means for AWS IoT."""

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
def test_what_a_registered_device_holds_by_is_followed(change: dict[str, Any]) -> None:
    """Rules read these; a group may have no place in AWS IoT; a deleted device has none."""
    assert reaction(REGISTERED, replace(REGISTERED, **change)) is Reaction.RATE_LIMITED


def test_a_revocation_does_not_wait() -> None:
    """Of any device: also of one that nobody noted yet as registered."""
    for before in (REGISTERED, device(), replace(device(), status=Status.EXPECTED)):
        assert reaction(before, replace(before, status=Status.REVOKED)) is Reaction.URGENT


def test_once_is_enough() -> None:
    """What is revoked or deleted already is not ordered again by whatever else changes."""
    for status in (Status.REVOKED, Status.DELETED):
        ended = replace(REGISTERED, status=status)
        assert reaction(ended, replace(ended, registered=frozenset(), updated_at=from_epoch(9))) is None


def test_a_commit_takes_the_old_certificates_grants() -> None:
    """The one that is superseded keeps none."""
    renewed = replace(REGISTERED, pending=NEXT)
    assert reaction(REGISTERED, renewed) is None
    assert reaction(renewed, committed(renewed, "c2", from_epoch(9))) is Reaction.RATE_LIMITED


def test_a_first_boot_orders_nothing() -> None:
    """Its certificate's arrival in S3 does: twice the messages would halve the rate in a storm."""
    expected = replace(device(), status=Status.EXPECTED)
    claimed = replace(device(), pending=NEXT, claims={"model": "x"})
    assert reaction(expected, claimed) is None
    noted = replace(claimed, registered=frozenset({"c2"}), attached=frozenset({"mqtt"}))
    assert reaction(claimed, noted) is None
    assert reaction(noted, committed(noted, "c2", from_epoch(9))) is None


def test_what_register_writes_orders_nothing() -> None:
    """Or it would be ordered for ever."""
    assert reaction(REGISTERED, replace(REGISTERED, registered=frozenset(), attached=frozenset())) is None
    assert reaction(REGISTERED, replace(REGISTERED, updated_at=from_epoch(9))) is None


def test_who_is_not_registered_yet_is_not_followed() -> None:
    """The order that its certificate makes is still to come, and reads the newest record."""
    waiting = replace(device(), pending=NEXT)
    assert reaction(waiting, replace(waiting, attributes={"site": "berlin"})) is None


def test_another_group_may_want_what_this_one_did_not() -> None:
    """From tokens to certificates: nothing is registered, and all of it must be."""
    token = replace(device(), active=CERTIFICATE)
    assert reaction(token, replace(token, group="other")) is Reaction.RATE_LIMITED
    assert reaction(device(), replace(device(), group="other")) is None


def test_an_imported_device_is_followed() -> None:
    """Its record is new, and AWS IoT has its certificate with none of our policies; no other new record
    asks for anything.
    """
    assert reaction(None, REGISTERED) is Reaction.RATE_LIMITED
    assert reaction(None, replace(device(), pending=NEXT)) is None
