"""Keep one role alias's AWS credentials in memory, and get new ones before they end."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .patience import OVERLOAD
from .refusal import Action, Refused

UNUSABLE = timedelta(minutes=1)
"""Credentials with less time left are not given out: a program would still be making calls with them."""

AHEAD = timedelta(minutes=25)
"""How long before their end new credentials are fetched. SDKs ask for new ones 15 minutes before the end."""

PAUSE = timedelta(seconds=5)
"""How long programs get a first refusal that names no time, without a request to the service. The time
doubles with each further refusal, to LONGEST_PAUSE."""

LONGEST_PAUSE = timedelta(minutes=5)
"""The pause after a refusal that a person must end. An operator may end it while programs go on asking."""

LONGEST_WAIT = timedelta(seconds=OVERLOAD.longest)
"""The longest time that the service can name. It names slots of up to an hour."""

_DOUBLINGS = 6

Fetch = Callable[[], dict[str, str]]
"""Get credentials from the service, in the format of a `credential_process`. Raises Refused."""


def utc_now() -> datetime:
    """Return the device's current UTC time."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class _Held:
    """Credentials that end at `end`. New ones are due from `due` on."""

    members: dict[str, str]
    due: datetime
    end: datetime


@dataclass(frozen=True)
class _Refusal:
    """A refusal that programs get until `until`. It is the `number`th in a row."""

    error: Refused
    since: datetime
    until: datetime
    number: int

    def holds(self, now: datetime) -> bool:
        """Return whether programs get the refusal. A clock that was set back does not lengthen it."""
        return self.since <= now < self.until


class Cache:
    """The credentials of one role alias. The methods may be called by several threads.

    However many programs ask, there is one request to the service at a time, and none while the credentials
    are good or the service has asked to wait. Credentials are in memory only.
    """

    def __init__(
        self,
        fetch: Fetch,
        now: Callable[[], datetime] = utc_now,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._fetch, self._now, self._jitter = fetch, now, jitter
        self._fetching = threading.Lock()
        self._held: _Held | None = None
        self._refusal: _Refusal | None = None
        self._asked = False

    def get(self) -> dict[str, str]:
        """Return credentials that do not end within a minute. Raises Refused."""
        self._asked = True
        if good := self._good():
            return good
        with self._fetching:
            # Another thread may have fetched them while this one waited.
            return self._good() or self._fetched()

    def refresh(self) -> None:
        """Get new credentials if they are due and a program has asked for the present ones.

        Raises Refused.
        """
        with self._fetching:
            # A device whose programs have ended makes no requests.
            if self._held and self._asked and self._now() >= self._held.due:
                self._fetched()
                self._asked = False

    def _good(self) -> dict[str, str] | None:
        held = self._held
        return held.members if held and self._now() < held.end - UNUSABLE else None

    def _fetched(self) -> dict[str, str]:
        if self._refusal and self._refusal.holds(self._now()):
            # Without the traceback of the first raise, which each further one would lengthen.
            raise self._refusal.error.with_traceback(None)
        try:
            members = self._fetch()
            self._held, self._refusal = self._of(members), None
        except Refused as error:
            self._remember(error)
            raise
        except (OSError, ValueError) as error:
            # The state directory cannot be read. A timer's `renew` or an operator can change that.
            refusal = Refused(Action.RETRY, f"The device's identity cannot be read: {error}")
            self._remember(refusal)
            raise refusal from error
        return members

    def _remember(self, error: Refused) -> None:
        if error.action in (Action.STOP, Action.REENROLL):
            # The device has lost its rights, and programs must not go on with what is left of them.
            self._held = None
        now, number = self._now(), self._refusal.number + 1 if self._refusal else 0
        self._refusal = _Refusal(error, now, now + self._pause(error, number), number)

    def _pause(self, error: Refused, number: int) -> timedelta:
        if error.action in (Action.STOP, Action.REENROLL):
            return LONGEST_PAUSE
        if error.retry_after is not None:
            return min(timedelta(seconds=error.retry_after), LONGEST_WAIT)
        # Devices that lost the service at the same time must not all come back at the same time.
        return min(LONGEST_PAUSE, PAUSE * (1 << min(number, _DOUBLINGS))) * (1 - self._jitter() / 2)

    def _of(self, members: dict[str, str]) -> _Held:
        now = self._now()
        try:
            end = datetime.strptime(members["Expiration"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError as error:
            raise Refused(Action.RETRY, "The credentials' expiration is not a time") from error
        if end - UNUSABLE <= now:
            # Each program would cause a request of its own.
            raise Refused(Action.RETRY, "The credentials have ended by this device's clock; set the clock")
        # Devices that booted together must not ask together again.
        ahead = min(AHEAD, (end - now) / 2) * (1 - self._jitter() / 5)
        return _Held(members, end - ahead, end)
