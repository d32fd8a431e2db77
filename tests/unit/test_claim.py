"""Test which renewals are claimed or repeated, and which of several refusals counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from firstboot.domain.claim import (
    RENEWALS_PER_DAY,
    ClaimRefused,
    Enrollment,
    RefusedBy,
    Renewal,
    answer_to,
    decisive,
    is_claimable,
)
from firstboot.domain.clock import from_epoch
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.errors import (
    CertificateExpired,
    CertificateNotCurrent,
    DeviceNotExpected,
    EnrollmentInProgress,
    RenewalRateExceeded,
)
from tests.unit.test_device import ASKED, BARE, NOW, OTHERS, OURS, SECOND

GRACE = timedelta(seconds=100)
ACTIVE = replace(OTHERS, held_until=None)
RENEWAL = Renewal(BARE.device_id, "s2", OURS, NOW, GRACE)
ENROLLED = replace(BARE, active=ACTIVE)
DAY = date(1970, 1, 1)


def test_a_renewal_is_claimed_or_repeated() -> None:
    """The active certificate may claim one for a new key, and gets the pending one for its key."""
    assert answer_to(ENROLLED, RENEWAL) is None
    assert answer_to(replace(ENROLLED, pending=OURS), RENEWAL) == OURS
    assert is_claimable(ENROLLED, RENEWAL)
    assert not is_claimable(replace(ENROLLED, pending=OURS), RENEWAL)
    assert not is_claimable(None, RENEWAL)


@pytest.mark.parametrize(
    ("device", "log"),
    [
        (None, "no such device"),
        (BARE, "serial s2 is not active"),
        (replace(BARE, active=OURS), "serial s2 is not active"),
        (replace(ENROLLED, status=Status.DELETED), "the device has been deleted"),
    ],
)
def test_only_the_active_certificate_renews(device: Device | None, log: str) -> None:
    """A renewal by a certificate that is not active is refused, and the log has the reason."""
    with pytest.raises(CertificateNotCurrent) as caught:
        answer_to(device, RENEWAL)
    assert caught.value.log == log


@pytest.mark.parametrize(("renew_after", "answer"), [(NOW + SECOND, ACTIVE), (NOW, None)])
def test_a_key_may_be_certified_again_when_a_renewal_is_due(
    renew_after: object, answer: CertificateRecord | None
) -> None:
    """The active certificate answers a request for its key until the renewal is due, and not from then on."""
    active = replace(ACTIVE, renew_after=renew_after)  # type: ignore[arg-type]
    found = answer_to(replace(BARE, active=active), replace(RENEWAL, certificate=OTHERS))
    assert found == (answer and active)


@pytest.mark.parametrize(("held_until", "wait"), [(NOW + SECOND, 1), (NOW + 90 * SECOND, 90)])
def test_another_key_is_held(held_until: object, wait: int) -> None:
    """A request for another key than the held one waits until the hold is over."""
    held = replace(ENROLLED, pending=replace(OURS, spki="k9", held_until=held_until))  # type: ignore[arg-type]
    with pytest.raises(EnrollmentInProgress) as caught:
        answer_to(held, RENEWAL)
    assert caught.value.retry_after == wait


@pytest.mark.parametrize("held_until", [NOW, None])
def test_a_hold_ends(held_until: object) -> None:
    """A pending certificate whose hold is over, or that has none, is replaced."""
    held = replace(ENROLLED, pending=replace(OURS, spki="k9", held_until=held_until))  # type: ignore[arg-type]
    assert answer_to(held, RENEWAL) is None


@pytest.mark.parametrize(
    ("late", "key", "log"),
    [
        (0, "k1", None),
        (1, "k2", None),
        (99, "k2", None),
        (1, "k1", "An expired certificate can be renewed for its own key only"),
        (100, "k2", "the certificate and its grace are over"),
    ],
)
def test_an_expired_certificate_renews_its_own_key(late: int, key: str, log: str | None) -> None:
    """Within the grace after its end a certificate may be renewed for its own key, and then not at all."""
    ended = NOW - late * SECOND
    device = replace(BARE, active=replace(ACTIVE, not_after=ended, renew_after=ended))
    asked = replace(RENEWAL, certificate=replace(OURS, spki=key))
    if log is None:
        assert answer_to(device, asked) is None
        return
    with pytest.raises(CertificateExpired) as caught:
        answer_to(device, asked)
    assert caught.value.log == log


@pytest.mark.parametrize(
    ("day", "renewals", "refused"),
    [
        (None, RENEWALS_PER_DAY, False),
        (DAY - timedelta(days=1), RENEWALS_PER_DAY, False),
        (DAY, RENEWALS_PER_DAY - 1, False),
        (DAY, RENEWALS_PER_DAY, True),
        (DAY + timedelta(days=1), RENEWALS_PER_DAY, True),
    ],
)
def test_a_device_renews_20_times_a_day(day: date | None, renewals: int, *, refused: bool) -> None:
    """A device that renewed 20 times on a day is refused until the next day, but its repeats are answered."""
    assert RENEWALS_PER_DAY == 20
    device = replace(ENROLLED, renewal_day=day, renewals=renewals)
    assert answer_to(replace(device, pending=OURS), RENEWAL) == OURS
    if not refused:
        assert answer_to(device, RENEWAL) is None
        return
    with pytest.raises(RenewalRateExceeded) as caught:
        answer_to(device, RENEWAL)
    assert caught.value.retry_after == 86_400 - 1_000
    assert caught.value.log == f"gw-1 has renewed 20 times on {day}"


def _superseded(age: int) -> Device:
    return replace(BARE, active=OURS, superseded=replace(ACTIVE, superseded_at=NOW - age * SECOND))


@pytest.mark.parametrize("age", [0, 99])
def test_a_superseded_certificate_gets_its_successor(age: int) -> None:
    """Within the grace a superseded certificate gets its successor again."""
    assert answer_to(_superseded(age), RENEWAL) == OURS


@pytest.mark.parametrize(
    ("device", "key"),
    [
        (_superseded(100), "k1"),
        (_superseded(0), "k2"),
        (replace(_superseded(0), active=None), "k1"),
    ],
    ids=["late", "another-key", "no-successor"],
)
def test_a_superseded_certificate_gets_nothing_else(device: Device, key: str) -> None:
    """A superseded certificate gets no certificate after the grace, and none for another key."""
    with pytest.raises(CertificateNotCurrent) as caught:
        answer_to(device, replace(RENEWAL, certificate=replace(OURS, spki=key)))
    assert caught.value.log == "superseded; no request for its successor within the grace"


def test_an_expected_device_is_known_before() -> None:
    """A device that must be expected and has no record is refused."""
    assert answer_to(None, ASKED) is None
    with pytest.raises(DeviceNotExpected):
        answer_to(None, replace(ASKED, expected=True))


SHARED = replace(ASKED, expected=True)


@pytest.mark.parametrize("asked", [ASKED, RENEWAL])
def test_the_first_condition_counts(asked: Enrollment | Renewal) -> None:
    """Of several conditions that failed, the first one counts, and the record comes with its own."""
    every = frozenset(RefusedBy)
    assert decisive(every, ENROLLED, asked) == ClaimRefused(RefusedBy.BOOTSTRAP)
    later = every - {RefusedBy.BOOTSTRAP}
    assert decisive(later, ENROLLED, asked) == ClaimRefused(RefusedBy.DEVICE, ENROLLED)
    assert decisive(frozenset({RefusedBy.DAY}), ENROLLED, asked) == ClaimRefused(RefusedBy.DAY)


@pytest.mark.parametrize(
    ("device", "failed", "by"),
    [
        (None, {RefusedBy.DEVICE, RefusedBy.TOTAL, RefusedBy.RATE}, RefusedBy.TOTAL),
        (None, {RefusedBy.DEVICE, RefusedBy.DAY}, RefusedBy.DEVICE),
        (None, {RefusedBy.DEVICE, RefusedBy.DAY, RefusedBy.GUESSES}, RefusedBy.GUESSES),
        (replace(BARE, pending=OURS), {RefusedBy.DEVICE, RefusedBy.TOTAL}, RefusedBy.DEVICE),
        (BARE, {RefusedBy.DEVICE, RefusedBy.TOTAL}, RefusedBy.TOTAL),
    ],
    ids=["name", "only-names", "guesses", "repeat", "claimable"],
)
def test_a_shared_certificate_learns_nothing_about_names(
    device: Device | None, failed: set[RefusedBy], by: RefusedBy
) -> None:
    """In a shared group a condition that is the same for all names counts first, except for a repeat."""
    refused = decisive(failed, device, SHARED)
    assert refused.by is by
    assert refused.device == (device if by is RefusedBy.DEVICE else None)


def test_a_groups_enrollments_keep_their_first_name() -> None:
    """A renamed group's enrollments are counted under its first name."""
    assert ASKED.counted_as == "gateways"
    assert replace(ASKED, formerly=("hubs", "pumps")).counted_as == "hubs"


def test_the_hold_of_an_expired_answer_is_over() -> None:
    """A pending certificate that became due for renewal does not answer a request for its key."""
    due = replace(OURS, renew_after=NOW, held_until=None, not_after=from_epoch(9_000))
    assert answer_to(replace(BARE, pending=due), ASKED) is None
