"""Test how a device's enrollments are limited and judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from firstboot.domain.clock import EPOCH, from_epoch
from firstboot.domain.device import CertificateRecord, Device, Status, committed
from firstboot.domain.enrollments import KEPT, Enrolled, Suspicion, pause_between, suspicions
from firstboot.domain.names import DeviceId

NOW = from_epoch(100_000_000)
DAY = timedelta(days=1)
OFTEN, ALTERNATES = Suspicion.OFTEN, Suspicion.ALTERNATES


@pytest.mark.parametrize(
    ("per_day", "seconds"),
    [(1, 21_600), (2, 21_600), (4, 21_600), (5, 17_280), (10, 8_640), (12_343, 6), (86_400, 1), (10**9, 1)],
)
def test_a_pause_is_the_day_s_share_and_six_hours_at_most(per_day: int, seconds: int) -> None:
    """A device above its limit waits for its share of the day, and for six hours at most."""
    assert pause_between(per_day) == timedelta(seconds=seconds)


def enrolled(keys: str, *, days: float = 1, has_replaced: bool = True, by: str = "") -> list[Enrolled]:
    """Return enrollments of these keys with these bootstrap keys, so many days apart up to NOW."""
    bootstrap = by or "b" * len(keys)
    return [
        Enrolled(NOW - (len(keys) - number) * days * DAY, number, key, bootstrap[number], has_replaced)
        for number, key in enumerate(keys)
    ]


@pytest.mark.parametrize(
    ("history", "found"),
    [
        ([], []),
        (enrolled("a"), []),
        (enrolled("ab"), []),
        (enrolled("aaa", has_replaced=False), []),
        (enrolled("abc", has_replaced=False), []),
        (enrolled("abc"), [OFTEN]),
        (enrolled("aaa"), [OFTEN]),
        (enrolled("abc", days=9), [OFTEN]),
        (enrolled("abc", days=10), []),
        (enrolled("aba", has_replaced=False), [ALTERNATES]),
        (enrolled("abbba", days=100), [ALTERNATES]),
        (enrolled("abcd", days=100, by="xyyx"), [ALTERNATES]),
        (enrolled("abcd", days=100, by="xxyy"), []),
        (enrolled("abab"), [OFTEN, ALTERNATES]),
    ],
)
def test_repeated_replacements_and_returning_keys_are_suspect(
    history: list[Enrolled], found: list[Suspicion]
) -> None:
    """A device is suspect if it replaced three certificates in a month, or if a key came after another one
    again.
    """
    assert suspicions(history, NOW) == found


def test_a_commit_notes_the_enrollment_and_keeps_the_last_ones() -> None:
    """The commit of an enrollment is noted with day, generation and keys; that of a renewal is not.

    A record keeps the last ones alone, however often a device enrolls.
    """
    pending = CertificateRecord("s1", "k" * 64, EPOCH, NOW + DAY, NOW, bootstrap_key="b" * 64)
    device = Device(DeviceId("gw-1"), "gateways", Status.ENROLLED, 0, NOW, NOW, pending=pending)
    first = committed(device, "c1", NOW)
    assert first.enrolled == (Enrolled(NOW, 1, "k" * 16, "b" * 16, has_replaced=False),)
    assert first.active
    assert first.active.bootstrap_key is None
    renewed = committed(replace(first, pending=replace(pending, bootstrap_key=None)), "c2", NOW)
    assert renewed.enrolled == first.enrolled
    again = committed(replace(renewed, pending=pending), "c3", NOW + DAY)
    assert again.enrolled[-1] == Enrolled(NOW + DAY, 3, "k" * 16, "b" * 16, has_replaced=True)
    late = committed(replace(renewed, pending=pending), "c3", NOW + 2 * DAY)
    assert not late.enrolled[-1].has_replaced
    for _ in range(2 * KEPT):
        again = committed(replace(again, pending=pending), "c4", NOW)
    assert len(again.enrolled) == KEPT
    assert again.enrolled[-1].generation == again.generation == 3 + 2 * KEPT
