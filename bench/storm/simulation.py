"""Run a storm on a virtual clock and count the requests.

A *request* is one HTTPS request to the service's host, or one connection to the broker with its request. The
download of a certificate from S3 is not counted: S3 is not limited here. An enrollment without a refusal is
two requests: the exchange and the commit.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from bench.storm.clients import CLOSED, UNKNOWN, Client
from device.refusal import Refused

_START = 1_800_000_017.0
"""The time at which the devices get power, somewhere in a minute."""

_BETWEEN = 0.5
"""Seconds between the answer to a device's first step and its second one."""


class Service(Protocol):
    """The service that the devices call."""

    def refusal(self, device: int, step: int, now: float, chance: float) -> Refused | None:
        """Return the refusal of a device's request in a step, 0 or 1, or None if it is granted."""


@dataclass(frozen=True)
class Result:
    """The measurements of one storm. `rate` is the service's, in devices a second, and times are seconds.

    `requests` are counted by device, without the connections that a broker closed: `polls` are those of new
    certificates that AWS IoT does not know yet, `closed` all others. `busiest` is the most requests in
    one second. `unnamed` counts requests that were refused without a time, and `gave_up` how
    often a client ended before it was done.
    """

    devices: int
    rate: float
    done: float
    requests: list[int]
    busiest: int
    unnamed: int
    polls: int
    closed: int
    gave_up: int

    @property
    def duration(self) -> float:
        """Return the time to the last device, as a multiple of the shortest one that the rate allows."""
        return self.done / (self.devices / self.rate)

    @property
    def mean(self) -> float:
        """Return the requests of a device on average."""
        return sum(self.requests) / self.devices

    def percentile(self, share: float) -> int:
        """Return the requests that a share of the devices, from 0 to 1, did not exceed."""
        return sorted(self.requests)[min(self.devices - 1, int(share * self.devices))]

    @property
    def peak(self) -> float:
        """Return the requests of the busiest second, as a multiple of the rate."""
        return self.busiest / self.rate


def run(
    devices: int,
    rate: float,
    within: float,
    client: Client,
    service: Service,
    random: Callable[[], float],
) -> Result:
    """Let `devices` make their first request at random moments `within` some seconds; run to the end."""
    events = [(_START + random() * within, device) for device in range(devices)]
    heapq.heapify(events)
    requests, step = [0] * devices, bytearray(devices)
    earlier: dict[tuple[int, bool], int] = {}
    seconds: dict[int, int] = {}
    unnamed = polls = closed = gave_up = 0
    now = _START
    while events:
        now, device = events[0]
        refusal = service.refusal(device, step[device], now, random())
        if refusal is None or refusal.detail not in (CLOSED, UNKNOWN):
            requests[device] += 1
            seconds[int(now)] = seconds.get(int(now), 0) + 1
        if refusal is None:
            _forget(earlier, device)
            step[device] += 1
            if step[device] == 2:
                heapq.heappop(events)
            else:
                heapq.heapreplace(events, (now + _BETWEEN, device))
            continue
        polls += refusal.detail == UNKNOWN
        closed += refusal.detail == CLOSED
        unnamed += refusal.retry_after is None and refusal.detail != CLOSED
        kind = device, refusal.overloaded
        pause = client.pause(refusal, earlier.get(kind, 0))
        if pause is None:
            _forget(earlier, device)
            gave_up, pause = gave_up + 1, client.next_run()
        else:
            earlier[kind] = earlier.get(kind, 0) + 1
        heapq.heapreplace(events, (now + pause, device))
    busiest = max(seconds.values())
    return Result(devices, rate, now - _START, requests, busiest, unnamed, polls, closed, gave_up)


def _forget(earlier: dict[tuple[int, bool], int], device: int) -> None:
    earlier.pop((device, False), None)
    earlier.pop((device, True), None)
