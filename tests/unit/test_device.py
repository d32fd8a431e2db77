"""Test the decisions that are made from a device record."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from firstboot.domain.claim import DELETION, Enrollment, Renewal, answer_to
from firstboot.domain.clock import EPOCH, from_epoch
from firstboot.domain.device import (
    Anchor,
    CertificateRecord,
    Device,
    KeyAdmission,
    Status,
    check_admissible,
    check_not_revoked,
    claims_in_force,
    committed,
    is_within_grace,
    login,
)
from firstboot.domain.enrollments import KEPT, Enrolled
from firstboot.domain.errors import (
    AlreadyEnrolled,
    BootstrapKeyChanged,
    CertificateNotCurrent,
    ConflictError,
    DeviceRevoked,
    EnrollmentInProgress,
    FirstbootError,
    GroupMismatch,
    Reason,
)
from firstboot.domain.names import DeviceId

NOW = from_epoch(1_000)
SECOND = timedelta(seconds=1)
OURS = CertificateRecord(
    "s1",
    "k1",
    not_before=EPOCH,
    not_after=from_epoch(9_000),
    renew_after=from_epoch(5_000),
    held_until=NOW + SECOND,
)
OTHERS = replace(OURS, serial="s2", spki="k2")
ASKED = Enrollment(
    DeviceId("gw-1"),
    "gateways",
    replaces=True,
    certificate=OURS,
    enrolled_by="b",
    bootstrap_ids=frozenset({"b1", "b2"}),
    anchor=Anchor("a", "CN=Factory CA"),
    now=NOW,
    grace=timedelta(seconds=100),
    way="mtls",
)
BARE = Device(DeviceId("gw-1"), "gateways", Status.ENROLLED, 0, from_epoch(1), from_epoch(1), "b")


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
    """An enrollment is answered with the certificate for this key, or with a new claim if there is none."""
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
    """Each refusal has its own error, and a revoked device never gets an old certificate back."""
    with pytest.raises(error) as caught:
        answer_to(device, replace(ASKED, **changes))  # type: ignore[arg-type]
    if error is EnrollmentInProgress:
        assert caught.value.retry_after == 1
    assert issubclass(error, ConflictError | DeviceRevoked)


@pytest.mark.parametrize("device", [replace(BARE, active=OURS), replace(BARE, active=OTHERS, pending=OURS)])
def test_a_repeat_is_answered_where_reenrollment_is_refused(device: Device) -> None:
    """A repetition with the same key is answered, also in a group with `reenroll = "refuse"`."""
    assert answer_to(device, replace(ASKED, replaces=False)) == OURS


ADMITTED = KeyAdmission("p2", NOW + SECOND)
BOUND = replace(BARE, pin="p1")


@pytest.mark.parametrize(
    ("device", "key", "is_refused"),
    [
        (None, "p2", False),
        (BARE, "p2", False),
        (BOUND, "p1", False),
        (BOUND, "p2", True),
        (BOUND, None, False),
        (replace(BOUND, pending=OURS), "p2", True),
        (replace(BOUND, active=OURS), "p2", True),
        (replace(BOUND, admission=ADMITTED), "p2", False),
        (replace(BOUND, admission=ADMITTED), "p3", True),
        (replace(BOUND, admission=replace(ADMITTED, until=NOW)), "p2", True),
        (replace(BOUND, status=Status.EXPECTED), "p2", True),
    ],
)
def test_another_bootstrap_key_is_refused(
    device: Device | None, key: str | None, *, is_refused: bool
) -> None:
    """A device with a pin enrolls with the pinned key and an admitted one alone, also for a repeat."""
    asked = replace(ASKED, pin=key)
    if is_refused:
        with pytest.raises(BootstrapKeyChanged) as caught:
            answer_to(device, asked)
        assert caught.value.log == f"gw-1 is bound to key p1, and key {key} asked"
    else:
        answer_to(device, asked)


def test_an_admitted_key_enrolls_where_reenrollment_is_refused() -> None:
    """In a group that refuses re-enrollment an admitted key alone replaces the certificate."""
    device = replace(BOUND, active=OTHERS, admission=ADMITTED)
    assert answer_to(device, replace(ASKED, replaces=False, pin="p2")) is None
    with pytest.raises(AlreadyEnrolled):
        answer_to(device, replace(ASKED, replaces=False, pin="p1"))


def test_a_certificate_may_end_with_the_year_9999() -> None:
    """A certificate without an end is handled, although no calendar holds its end plus a grace.

    RFC 5280 (4.1.2.5) writes "no end" as 99991231235959Z.
    """
    endless = replace(OTHERS, not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    with pytest.raises(AlreadyEnrolled):
        answer_to(replace(BARE, active=endless), replace(ASKED, replaces=False))


def test_a_login_commits_the_pending_certificate() -> None:
    """A login with the pending certificate is a commit, and one with the active certificate is not."""
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
    """A login is refused if the certificate is unknown or superseded, or its device is revoked or deleted."""
    with pytest.raises(error):
        login(device, "s1")


@pytest.mark.parametrize("device", [replace(BARE, pending=OURS), replace(BARE, active=OURS), BARE])
def test_a_deleted_device_waits(device: Device) -> None:
    """A deleted device can enroll, also in another group, only after its record is gone."""
    with pytest.raises(EnrollmentInProgress) as caught:
        answer_to(replace(device, status=Status.DELETED), replace(ASKED, group="sensors"))
    assert caught.value.retry_after == DELETION.total_seconds() == 60
    assert caught.value.detail == "The device is being deleted"


def test_a_deleted_device_never_renews() -> None:
    """A deleted device cannot renew its certificate."""
    asked = Renewal(DeviceId("gw-1"), "s1", OURS, NOW, timedelta(seconds=100))
    with pytest.raises(CertificateNotCurrent):
        answer_to(replace(BARE, active=OURS, status=Status.DELETED), asked)


def test_which_devices_may_connect_to_enroll() -> None:
    """A device may connect to enroll unless it is revoked or of another group; a deleted one always may."""
    check_admissible(BARE, ("gateways",))
    check_admissible(BARE, ("hubs", "gateways"))
    check_admissible(replace(BARE, status=Status.DELETED), ("sensors",))
    for refused in (replace(BARE, status=Status.REVOKED), replace(BARE, group="sensors")):
        with pytest.raises((DeviceRevoked, GroupMismatch)):
            check_admissible(refused, ("gateways",))


def test_the_log_names_both_groups() -> None:
    """The log of a device in another group has its group and those that asked."""
    with pytest.raises(GroupMismatch) as caught:
        check_admissible(replace(BARE, group="sensors"), ("gateways", "hubs"))
    assert caught.value.log == "is in sensors, asked in gateways, hubs"
    with pytest.raises(CertificateNotCurrent) as ended:
        check_not_revoked(replace(BARE, status=Status.DELETED))
    assert ended.value.log == "the device has been deleted"


def test_the_log_of_a_refused_login_says_why() -> None:
    """The log of a refused login says that there is no device, or which serial number came."""
    with pytest.raises(CertificateNotCurrent) as none:
        login(None, "s1")
    with pytest.raises(CertificateNotCurrent) as other:
        login(replace(BARE, active=OURS, pending=OTHERS), "s3")
    assert (none.value.log, other.value.log) == (
        "no such device",
        "serial s3 is neither active nor pending",
    )
    assert login(replace(BARE, active=OURS), "s1").device == replace(BARE, active=OURS)


LATER = NOW + timedelta(seconds=5, milliseconds=700)


def test_a_commit_changes_these_members() -> None:
    """A commit makes the pending certificate active and the active one superseded, at that whole second."""
    pending = replace(OTHERS, claims={"model": "x"})
    device = replace(BARE, active=OURS, pending=pending, claims={"model": "y"}, generation=3)
    assert committed(device, "id", LATER) == replace(
        device,
        pending=None,
        active=replace(OTHERS, held_until=None, certificate_id="id"),
        superseded=replace(OURS, superseded_at=NOW + 5 * SECOND),
        claims={"model": "x"},
        generation=4,
        updated_at=NOW + 5 * SECOND,
    )
    assert committed(BARE, "id", LATER) is BARE
    older = replace(BARE, pending=OTHERS, superseded=OURS, claims={"model": "y"})
    assert committed(older, "id", LATER).superseded == OURS
    assert committed(older, "id", LATER).claims == {"model": "y"}


@pytest.mark.parametrize(("late", "has_replaced"), [(0, True), (1, False)])
def test_a_commit_notes_an_enrollment(late: int, *, has_replaced: bool) -> None:
    """A commit of an enrollment notes it, and whether it replaced a certificate that was still valid."""
    pending = replace(OTHERS, spki="k" * 64, bootstrap_key="b" * 64)
    valid_until = NOW + 5 * SECOND - late * SECOND
    kept = tuple(Enrolled(EPOCH, number, "k", "b", has_replaced=False) for number in range(KEPT))
    device = replace(
        BARE, active=replace(OURS, not_after=valid_until), pending=pending, generation=3, enrolled=kept
    )
    added = Enrolled(NOW + 5 * SECOND, 4, "k" * 16, "b" * 16, has_replaced=has_replaced)
    assert committed(device, "id", LATER).enrolled == (*kept[1:], added)
    assert not committed(replace(device, active=None), "id", LATER).enrolled[-1].has_replaced
    renewal = replace(device, pending=replace(pending, bootstrap_key=None))
    assert committed(renewal, "id", LATER).enrolled == kept


@pytest.mark.parametrize(("age", "within"), [(0, True), (99, True), (100, False)])
def test_a_grace_ends(age: int, *, within: bool) -> None:
    """A superseded certificate is within its grace until the grace is over."""
    grace = timedelta(seconds=100)
    superseded = replace(OURS, superseded_at=NOW - age * SECOND)
    assert is_within_grace(superseded, grace, NOW) is within
    assert not is_within_grace(OURS, grace, NOW)


def test_pending_claims_count_without_an_active_certificate() -> None:
    """The claims of a pending certificate count at once only if there is no active certificate."""
    asked = replace(OTHERS, claims={"model": "new"})
    assert claims_in_force({"model": "old"}, None, asked) == {"model": "new"}
    assert claims_in_force({"model": "old"}, OURS, asked) == {"model": "old"}
    assert claims_in_force({"model": "old"}, None, OTHERS) == {"model": "old"}
    assert claims_in_force({"model": "old"}, None, None) == {"model": "old"}


def test_an_error_has_its_texts() -> None:
    """An error without texts has its title as detail, an empty log, and its class's name as metric."""
    bare = DeviceRevoked()
    assert (str(bare), bare.detail, bare.log) == (DeviceRevoked.title, DeviceRevoked.title, "")
    assert (bare.metric, bare.retry_after, bare.reason) == ("DeviceRevoked", None, DeviceRevoked.reason)
    said = DeviceRevoked("detail", log="log", reason=Reason.CSR_KEY, retry_after=7, metric="Other")
    assert (str(said), said.detail, said.log) == ("log", "detail", "log")
    assert (said.metric, said.retry_after, said.reason) == ("Other", 7, Reason.CSR_KEY)
    assert (str(DeviceRevoked("detail")), DeviceRevoked("detail").log) == ("detail", "detail")
