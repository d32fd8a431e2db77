"""The service in a simulated storm: the throttles ahead of it, its limit, its slots, and AWS IoT's queue.

Times are seconds. The product's own code hands out the slots, in several processes as Lambda has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bench.storm.clients import closed, gateway_refusal, slot, unknown
from device.refusal import Refused
from firstboot.domain.clock import EPOCH
from firstboot.domain.lanes import Lanes
from firstboot.domain.retry_slots import Lane, first_taken
from firstboot.runtime.problem import RETRY_SECONDS, spread

_LATENCY = 2.0
"""Seconds from the end of a certificate's turn until the broker knows it: an assumption."""

_NOTED_EVERY = 5.0
"""How often `register` notes the length of AWS IoT's queue (register/backlog.py)."""


@dataclass
class Bucket:
    """A throttle of AWS: a token bucket of `burst` tokens, into which `rate` fall each second."""

    rate: float
    burst: float
    _tokens: float = field(init=False)
    _since: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._tokens = self.burst

    def takes(self, now: float) -> bool:
        """Return whether the throttle lets in a request at `now`."""
        tokens = min(self.burst, self._tokens + (now - self._since) * self.rate)
        self._since, taken = now, tokens >= 1
        self._tokens = tokens - taken
        return taken


@dataclass
class Slots:
    """The table's row of the one lane (aws/dynamodb/retry_slots.py)."""

    following: int | None = None

    def take(self, lane: Lane, count: int, opens: datetime, now: datetime) -> int | None:
        """See firstboot.domain.lanes.RetrySlots."""
        first = first_taken(self.following, lane.first(opens), lane.last(now))
        if first is not None:
            self.following = first + count
        return first


class Enrollment:
    """The service's limit of `per_minute` first enrollments, and the slots of those that it refuses.

    A request reaches one of `processes` by chance, as at Lambda.
    """

    def __init__(self, per_minute: int, processes: int) -> None:
        self.lane = Lane("simulated", per_minute)
        slots = Slots()
        self._lanes = [Lanes(slots) for _ in range(processes)]
        self._minute = -1
        self._used = 0

    def refusal(self, device: int, now: float, chance: float) -> Refused | None:
        """Return the refusal of a device's request, or None if it is granted."""
        lanes, moment = self._lanes[int(chance * len(self._lanes))], EPOCH + timedelta(seconds=now)
        if not lanes.is_closed(self.lane, moment, probes=True):
            lanes.passed(self.lane, moment)
            if self._counts(now):
                return None
            lanes.close(self.lane, EPOCH + timedelta(minutes=self._minute + 1))
        seconds = lanes.wait(self.lane, str(device), moment)
        if seconds is None:
            raise RuntimeError("the simulated table always answers")
        return slot(seconds)

    def _counts(self, now: float) -> bool:
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += 1
        return self._used <= self.lane.per_minute


class Registration:
    """AWS IoT's queue of new certificates, of which it takes `rate` a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = 0.0
        self._noted_at = self._noted = 0.0
        self._ready: dict[int, float] = {}
        self._turn: dict[int, float] = {}
        self._ordered: dict[int, float] = {}

    def order(self, device: int, now: float) -> None:
        """Put a device's certificate into the queue, and keep what the answer says of its turn."""
        self._free = max(now, self._free) + 1 / self._rate
        self._ready[device], self._ordered[device] = self._free + _LATENCY, now
        if now >= self._noted_at + _NOTED_EVERY:
            self._noted_at, self._noted = now, self._free
        backlog = max(0, int(self._noted - now))
        self._turn[device] = now + spread(RETRY_SECONDS + backlog, str(device))

    def refusal(self, device: int, now: float) -> Refused | None:
        """Return what the device makes of the closed connection, or None if AWS IoT knows its certificate."""
        if now >= self._ready[device]:
            return None
        left = self._turn[device] - now
        return unknown(min(left, 3_600) if left > 0 else min(60, self._turn[device] - self._ordered[device]))


class Https:
    """The mTLS host. Its routes for enrollment and for the commit have a throttle each."""

    def __init__(self, per_minute: int, throttle: float, burst: float, processes: int = 8) -> None:
        self._routes = [Bucket(throttle, burst), Bucket(throttle, burst)]
        self._enrollment = Enrollment(per_minute, processes)

    def refusal(self, device: int, step: int, now: float, chance: float) -> Refused | None:
        """Return the refusal of a device's request in a step (0 enrolls, 1 commits), or None."""
        if not self._routes[step].takes(now):
            return gateway_refusal()
        return self._enrollment.refusal(device, now, chance) if step == 0 else None


class Broker:
    """AWS IoT's broker, which accepts `connects` connections a second, in front of the same service."""

    def __init__(self, per_minute: int, connects: float, registered: float, processes: int = 8) -> None:
        self._connects = Bucket(connects, connects)
        self._enrollment = Enrollment(per_minute, processes)
        self._registration = Registration(registered)

    def refusal(self, device: int, step: int, now: float, chance: float) -> Refused | None:
        """Return the refusal of a device's connection in a step (0 enrolls, 1 commits), or None."""
        if not self._connects.takes(now):
            return closed()
        if step == 1:
            return self._registration.refusal(device, now)
        refusal = self._enrollment.refusal(device, now, chance)
        if refusal is None:
            self._registration.order(device, now)
        return refusal


class Logins:
    """The mTLS host for devices with an identity: a commit, then the record. Neither has a limit of ours."""

    def __init__(self, commits: float, records: float) -> None:
        self._routes = [Bucket(commits, 2 * commits), Bucket(records, 2 * records)]

    def refusal(self, _device: int, step: int, now: float, _chance: float) -> Refused | None:
        """Return the refusal of a device's request in a step (0 commits, 1 reads the record), or None."""
        return None if self._routes[step].takes(now) else gateway_refusal()
