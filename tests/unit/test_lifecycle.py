"""Decisions over a device's record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firstboot.domain.device import (
    DELETION_SECONDS,
    CertificateRecord,
    Device,
    Enrollment,
    Renewal,
    Status,
    answer_to,
    check_admissible,
    login,
)
from firstboot.domain.errors import (
    AlreadyEnrolled,
    CertificateNotCurrent,
    ConflictError,
    DeviceRevoked,
    EnrollmentInProgress,
    FirstbootError,
    GroupMismatch,
)
from firstboot.domain.names import DeviceId

NOW = 1_000
OURS = CertificateRecord("s1", "k1", not_before=0, not_after=9_000, renew_after=5_000, held_until=NOW + 1)
OTHERS = replace(OURS, serial="s2", spki="k2")
ASKED = Enrollment(
    DeviceId("gw-1"),
    "gateways",
    replaces=True,
    certificate=OURS,
    enrolled_by="b",
    claims={},
    now=NOW,
    grace=100,
)
BARE = Device(DeviceId("gw-1"), "gateways", Status.ENROLLED, 0, 1, 1, "b")


@pytest.mark.parametrize(
    ("device", "answer"),
    [
        (None, None),
        (BARE, None),
        (replace(BARE, pending=OURS), OURS),
        (replace(BARE, active=OURS), OURS),
        (replace(BARE, active=OTHERS, pending=OURS), OURS),
        (replace(BARE, active=OTHERS), None),
        (replace(BARE, pending=replace(OTHERS, held_until=NOW)), None),
        (replace(BARE, active=replace(OURS, renew_after=NOW)), None),
    ],
    ids=["new", "empty", "pending", "active", "both", "replaced", "let-go", "due"],
)
def test_enrolling(device: Device | None, answer: CertificateRecord | None) -> None:
    """A claim, or the certificate that answers already."""
    assert answer_to(device, ASKED) == answer


@pytest.mark.parametrize(
    ("device", "changes", "error"),
    [
        (replace(BARE, status=Status.REVOKED, active=OURS), {}, DeviceRevoked),
        (replace(BARE, group="sensors", pending=OURS), {}, GroupMismatch),
        (replace(BARE, pending=OTHERS), {}, EnrollmentInProgress),
        (replace(BARE, active=OTHERS), {"replaces": False}, AlreadyEnrolled),
        (replace(BARE, active=replace(OURS, renew_after=NOW)), {"replaces": False}, AlreadyEnrolled),
    ],
    ids=["revoked", "foreign-group", "held", "refuse", "refuse-due"],
)
def test_enrolling_is_refused(device: Device, changes: dict[str, bool], error: type[FirstbootError]) -> None:
    """Each reason has its error; a revoked device never gets an old certificate back."""
    with pytest.raises(error) as caught:
        answer_to(device, replace(ASKED, **changes))  # type: ignore[arg-type]
    if error is EnrollmentInProgress:
        assert caught.value.retry_after == 1
    assert issubclass(error, ConflictError | DeviceRevoked)


def test_login() -> None:
    """The active certificate is in; the pending one is to be committed."""
    device = replace(BARE, active=OURS, pending=OTHERS)
    assert login(device, "s1").pending is None
    assert login(device, "s2").pending == OTHERS


@pytest.mark.parametrize(
    ("device", "error"),
    [
        (None, CertificateNotCurrent),
        (replace(BARE, active=OTHERS), CertificateNotCurrent),
        (replace(BARE, active=OURS, status=Status.REVOKED), DeviceRevoked),
        (replace(BARE, active=OURS, status=Status.DELETED), CertificateNotCurrent),
    ],
)
def test_login_is_refused(device: Device | None, error: type[FirstbootError]) -> None:
    """Unknown, replaced, revoked and deleted devices' certificates are nobody's."""
    with pytest.raises(error):
        login(device, "s1")


@pytest.mark.parametrize("device", [replace(BARE, pending=OURS), replace(BARE, active=OURS), BARE])
def test_a_deleted_device_waits(device: Device) -> None:
    """Its name is free when its record is gone, and not before; no old certificate comes back."""
    with pytest.raises(EnrollmentInProgress) as caught:
        answer_to(replace(device, status=Status.DELETED), replace(ASKED, group="sensors"))
    assert caught.value.retry_after == DELETION_SECONDS


def test_a_deleted_device_renews_never() -> None:
    """It starts over."""
    asked = Renewal(DeviceId("gw-1"), "s1", OURS, None, NOW, 100)
    with pytest.raises(CertificateNotCurrent):
        answer_to(replace(BARE, active=OURS, status=Status.DELETED), asked)


def test_whom_the_broker_may_let_in() -> None:
    """Whoever could enroll some time: a deleted device is nobody's soon, whatever its group was."""
    check_admissible(BARE, "gateways")
    check_admissible(replace(BARE, status=Status.DELETED), "sensors")
    for refused in (replace(BARE, status=Status.REVOKED), replace(BARE, group="sensors")):
        with pytest.raises((DeviceRevoked, GroupMismatch)):
            check_admissible(refused, "gateways")
