"""A process remembers a bounded number of refused claims, for a short time."""

from __future__ import annotations

from datetime import timedelta

from firstboot.aws.dynamodb import refusals
from firstboot.aws.dynamodb.budget import Counter
from firstboot.aws.dynamodb.refusals import Refusals
from firstboot.domain.claim import RefusedBy
from firstboot.domain.clock import from_epoch

NOW = from_epoch(1_800_000_000)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def counter(number: int, limit: int = 5) -> Counter:
    """Return the total of a group."""
    return Counter(f"BUDGET#{number}", limit, RefusedBy.TOTAL)


def test_a_certificate_is_remembered_for_a_minute() -> None:
    """A refused certificate is remembered for a minute after its last refusal."""
    known = Refusals()
    assert not known.has_certificate("f0", NOW)
    known.note_certificate("f0", NOW)
    known.note_certificate("f0", NOW + 30 * SECOND)
    assert known.has_certificate("f0", NOW + MINUTE + 29 * SECOND)
    assert not known.has_certificate("f0", NOW + MINUTE + 30 * SECOND)
    assert not known.has_certificate("f1", NOW)


def test_a_counter_is_remembered_with_its_limit() -> None:
    """A counter that refused is remembered until it is forgotten, and not for another limit."""
    known = Refusals()
    known.note_counter(counter(1), RefusedBy.FROZEN)
    assert known.by_counter(counter(1)) is RefusedBy.FROZEN
    assert known.by_counter(counter(1, limit=6)) is None
    known.forget_counter(counter(1))
    assert known.by_counter(counter(1)) is None


def test_the_memory_is_bounded() -> None:
    """When a process has remembered as many refusals as it may, it forgets the oldest one."""
    known = Refusals()
    for number in range(refusals._ENTRIES + 1):
        known.note_certificate(f"f{number}", NOW)
        known.note_counter(counter(number), RefusedBy.TOTAL)
    assert [known.has_certificate(f"f{number}", NOW) for number in (0, 1)] == [False, True]
    assert [known.by_counter(counter(number)) for number in (0, 1)] == [None, RefusedBy.TOTAL]
