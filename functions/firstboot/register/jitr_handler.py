"""Handle the events of certificates that AWS IoT registered by itself, in two steps.

1. An event passes or comes too soon (domain/jitr.py). Too soon is normal: a device that waits for its
   activation connects again and again. This step takes no turn, so that events never wait in their queue.
2. An event that passed waits in a second queue, and for its turn. Then the certificate is decided on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from firstboot.domain.clock import whole_seconds
from firstboot.domain.errors import BootstrapKeyChanged, Unavailable
from firstboot.domain.jitr import Attempts, after
from firstboot.domain.rate_limiter import Priority
from firstboot.register import jitr_messages
from firstboot.register.handlers import Queue, delay_after
from firstboot.register.jitr import FleetInForce, Judge, Judged
from firstboot.register.jitr_messages import Arrival
from firstboot.register.slots import JITR_PATIENCE, JITR_SHARE, Slots
from firstboot.runtime.guard import Guard


class AttemptRows(Protocol):
    """The certificates that wait for activation. Every method raises Unavailable."""

    def find(self, certificate_id: str) -> Attempts | None:
        """Return what is known of a certificate, read consistently."""

    def write(self, certificate_id: str, attempts: Attempts, known: Attempts | None) -> bool:
        """Write `attempts` if `known` still holds; return whether its message is the one that is written."""

    def decided(self, certificate_id: str, at: datetime) -> None:
        """Note when a decision began."""


@dataclass(frozen=True)
class Jitr:
    """The handler of both queues. `passed` is the second."""

    fleet: FleetInForce
    judge: Judge
    attempts: AttemptRows
    passed: Queue
    slots: Slots
    guard: Guard

    def __call__(self, record: dict[str, Any], now: datetime) -> None:
        """Handle an SQS record. After a failure, SQS delivers it again; both steps may be repeated."""
        arrival = jitr_messages.parse(record["body"])
        if arrival.since is None:
            self._pass(arrival, record["messageId"], now)
            return
        try:
            self._decide(arrival.certificate_id, arrival.since)
        except Unavailable as error:
            self._again(arrival, error)

    def _pass(self, arrival: Arrival, message: str, now: datetime) -> None:
        certificate_id = arrival.certificate_id
        known = self.attempts.find(certificate_id)
        attempts = after(known, message, now)
        if attempts is None or not (
            attempts is known or self.attempts.write(certificate_id, attempts, known)
        ):
            # Not logged: one device may cause many such events a second.
            self.guard.count("NewcomerTooSoon")
            return
        self.passed.send(jitr_messages.render(replace(arrival, since=whole_seconds(now))), 0)

    def _decide(self, certificate_id: str, since: datetime) -> None:
        known = self.attempts.find(certificate_id)
        if known and known.is_decided(since):
            # In a storm an event may wait here for longer than the pause after it, and the next one passes.
            self.guard.count("NewcomerSettled")
            return
        self.slots.of(Priority.JITR, JITR_SHARE, JITR_PATIENCE)()
        now = self.guard.now()
        self._report(certificate_id, self.judge(certificate_id, self.fleet.current(now), now))
        self.attempts.decided(certificate_id, now)

    def _again(self, arrival: Arrival, error: Unavailable) -> None:
        """Send a message again after a delay; let it fail when it was sent often enough."""
        delay = delay_after(arrival.tries, error, self.guard)
        again = replace(arrival, tries=arrival.tries + 1)
        self.passed.send(jitr_messages.render(again), delay)

    def _report(self, certificate_id: str, judged: Judged) -> None:
        about = {"certificateId": certificate_id, "outcome": judged.decision.value}
        if judged.group:
            about["group"] = judged.group
        if judged.refusal:
            about |= {"code": judged.refusal.code, "reason": judged.refusal.log}
        # A second board has a device's name. An alarm rings for it, wherever the board asks first.
        if isinstance(judged.refusal, BootstrapKeyChanged):
            self.guard.count(judged.refusal.metric)
        self.guard.info("newcomer", **about)
        self.guard.count(f"Newcomer{judged.decision.capitalize()}")
