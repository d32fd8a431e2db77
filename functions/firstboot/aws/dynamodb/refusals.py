"""The refused claims that a process remembers, so that it refuses the next ones without a transaction.

A refused transaction writes nothing, and still holds all of its rows for a moment. A flood of refused claims
would make the claims of other devices fail, which count on the same rows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from firstboot.aws.dynamodb.budget import Counter
from firstboot.domain.bounded import Bounded
from firstboot.domain.claim import RefusedBy

_ENTRIES = 1_000
"""How many certificates, and how many counters, a process remembers at most."""

_REMEMBERED = timedelta(minutes=1)
"""How long a certificate is remembered after its last refusal. An honest device pays for it with reads."""


class Refusals:
    """The certificates and the counters by which claims were refused.

    Each caller passes the time, and the object reads no clock. A counter needs none: its name has the number
    of its period.
    """

    def __init__(self) -> None:
        self._certificates: Bounded[str, datetime] = Bounded(_ENTRIES)
        self._counters: Bounded[tuple[str, int], RefusedBy] = Bounded(_ENTRIES)

    def note_certificate(self, identifier: str, now: datetime) -> None:
        """Remember that a claim with this bootstrap certificate was refused."""
        self._certificates.put(identifier, now + _REMEMBERED)

    def has_certificate(self, identifier: str, now: datetime) -> bool:
        """Return whether a claim with this bootstrap certificate was refused a short time ago."""
        until = self._certificates.get(identifier)
        return until is not None and now < until

    def note_counter(self, counter: Counter, by: RefusedBy) -> None:
        """Remember that each shard of the counter refuses a claim, and why."""
        self._counters.put(_key(counter), by)

    def by_counter(self, counter: Counter) -> RefusedBy | None:
        """Return why the counter refused a claim; None if it did not, or had another limit then."""
        return self._counters.get(_key(counter))

    def forget_counter(self, counter: Counter) -> None:
        """Forget a counter that takes enrollments again."""
        self._counters.remove(_key(counter))


def _key(counter: Counter) -> tuple[str, int]:
    # With another limit the counter may have room, so the limit is part of what is remembered.
    return counter.name, counter.limit
