"""When JITR looks again at a bootstrap certificate that still waits for activation. Pure.

AWS IoT publishes an event at each connection of such a certificate, and a device may connect many times a
second. One event passes; the next one passes after a pause, which doubles from a minute to an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from firstboot.domain.clock import whole_seconds

FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
REMEMBERED = timedelta(days=1)
"""How long after `next_at` the attempts are remembered. Then the pauses begin anew."""


@dataclass(frozen=True)
class Attempts:
    """The events of one certificate that have passed.

    `message` is the queue's id of the last one, `count` how many there were, and `next_at` when the next
    one passes. `decided_at` is when the last decision began, None before the first. Times are whole seconds.
    """

    message: str
    count: int
    next_at: datetime
    decided_at: datetime | None = None

    @property
    def forgotten_at(self) -> datetime:
        """When the attempts are no longer remembered."""
        return self.next_at + REMEMBERED

    def is_decided(self, since: datetime) -> bool:
        """Return whether a decision began after `since`, when an event passed. That event is then done."""
        return self.decided_at is not None and since < self.decided_at


def after(known: Attempts | None, message: str, now: datetime) -> Attempts | None:
    """Return what is known of a certificate if this message passes at `now`; None if it comes too soon.

    A message that has passed already is delivered again when its handling failed. It passes again, and the
    result is `known` itself. Without that, a failure would close the certificate's way until `next_at`.
    """
    if known and known.message == message:
        return known
    if known and now < known.next_at:
        return None
    count = known.count + 1 if known and now < known.forgotten_at else 1
    return Attempts(message, count, whole_seconds(now) + pause(count))


def pause(count: int) -> timedelta:
    """Return the pause after an attempt; `count` counts it."""
    # From the seventh attempt on it is the longest. The exponent is bounded because `count` is not.
    return min(LONGEST_PAUSE, FIRST_PAUSE * (1 << min(count - 1, 6)))
