"""`reaction` decides which changes of a device record order the device, and how urgently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstboot.domain.clock import EPOCH, from_epoch
from firstboot.domain.device import CertificateRecord, Status, committed
from firstboot.domain.rate_limiter import Priority
from firstboot.register.changes import reaction
from tests.unit.fleet_folders import device

CERTIFICATE = CertificateRecord("1", "aa", EPOCH, from_epoch(1_000), from_epoch(500), certificate_id="c1")
NEXT = CertificateRecord("2", "bb", EPOCH, from_epoch(1_000), from_epoch(500))
REGISTERED = replace(device(), active=CERTIFICATE, registered=frozenset({"c1"}), attached=frozenset({"mqtt"}))


@pytest.mark.parametrize(
    "change",
    [
        {"attributes": {"site": "berlin"}},
        {"claims": {"model": "x"}},
        {"group": "other", "updated_at": from_epoch(9)},
    ],
    ids=str,
)
def test_a_change_of_what_the_grants_depend_on_orders_a_registered_device(change: dict[str, Any]) -> None:
    """A change of what the grants depend on orders a registered device."""
    assert reaction(REGISTERED, replace(REGISTERED, **change)) is Priority.CHANGE


@pytest.mark.parametrize("status", [Status.REVOKED, Status.DELETED])
def test_a_revocation_or_deletion_comes_first(status: Status) -> None:
    """Taking a device's rights has the highest priority, also of one that is not recorded as registered."""
    for before in (REGISTERED, device(), replace(device(), status=Status.EXPECTED)):
        assert reaction(before, replace(before, status=status)) is Priority.REVOCATION


def test_a_revoked_or_deleted_device_is_ordered_once() -> None:
    """A further change of a device that is revoked or deleted already orders nothing."""
    for status in (Status.REVOKED, Status.DELETED):
        ended = replace(REGISTERED, status=status)
        assert reaction(ended, replace(ended, registered=frozenset(), updated_at=from_epoch(9))) is None


def test_a_commit_takes_the_old_certificates_grants() -> None:
    """A commit orders the device, so that the superseded certificate loses its grants."""
    renewed = replace(REGISTERED, pending=NEXT)
    assert reaction(REGISTERED, renewed) is None
    assert reaction(renewed, committed(renewed, "c2", from_epoch(9))) is Priority.CHANGE


def test_a_first_boot_orders_nothing() -> None:
    """No change of a first boot orders the device, because the arrival of its certificate in S3 does.

    Two messages for each device would halve the rate when many devices boot at once.
    """
    expected = replace(device(), status=Status.EXPECTED)
    claimed = replace(device(), pending=replace(NEXT, claims={"model": "x"}), claims={"model": "x"})
    assert reaction(expected, claimed) is None
    noted = replace(claimed, registered=frozenset({"c2"}), attached=frozenset({"mqtt"}))
    assert reaction(claimed, noted) is None
    assert reaction(noted, committed(noted, "c2", from_epoch(9))) is None


def test_what_register_writes_orders_nothing() -> None:
    """A write of `register` itself orders nothing, or the device would be ordered for ever."""
    assert reaction(REGISTERED, replace(REGISTERED, registered=frozenset(), attached=frozenset())) is None
    assert reaction(REGISTERED, replace(REGISTERED, updated_at=from_epoch(9))) is None
    # The new name of a renamed group: `register` has moved the thing before.
    assert reaction(REGISTERED, replace(REGISTERED, group="renamed")) is None


def test_a_change_before_the_registration_orders_nothing() -> None:
    """A change of an unregistered device orders nothing, because the order of its certificate follows."""
    waiting = replace(device(), pending=NEXT)
    assert reaction(waiting, replace(waiting, attributes={"site": "berlin"})) is None


def test_a_change_of_group_orders_an_unregistered_device_with_a_certificate() -> None:
    """A device with a certificate is ordered when it changes its group, which may use AWS IoT."""
    token = replace(device(), active=CERTIFICATE)
    moved = {"group": "other", "updated_at": from_epoch(9)}
    assert reaction(token, replace(token, **moved)) is Priority.CHANGE  # type: ignore[arg-type]
    assert reaction(device(), replace(device(), **moved)) is None  # type: ignore[arg-type]


def test_an_import_orders_the_device() -> None:
    """The new record of an imported device orders it, and any other new record orders nothing."""
    assert reaction(None, REGISTERED) is Priority.CHANGE
    assert reaction(None, replace(device(), pending=NEXT)) is None
