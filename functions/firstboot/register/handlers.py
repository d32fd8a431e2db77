"""The handlers of the register Lambda functions, for the events of queues, the stream and the schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Device
from firstboot.domain.errors import FirstbootError, InternalError, Unavailable
from firstboot.domain.rate_limiter import Priority
from firstboot.policy.rules import RulesInForce
from firstboot.register import messages
from firstboot.register.backlog import Backlog
from firstboot.register.changes import reaction
from firstboot.register.messages import Order
from firstboot.register.outcome import Outcome
from firstboot.register.reconcile import Reconcile
from firstboot.register.slots import Slots
from firstboot.register.sweep import RUN_SECONDS, WORK_SECONDS, RunSweep
from firstboot.runtime.event import repeat
from firstboot.runtime.guard import Guard

TRIES = 9
"""How often an order is sent again because AWS IoT was not ready. With `delay_after` that takes half an
hour. An order that has no success then rings: the cause may be a missing right or a fault of ours."""

_FIRST_DELAY_SECONDS = 5
LONGEST_DELAY_SECONDS = 900
"""The longest delay that SQS accepts (SQS API reference, SendMessage, DelaySeconds)."""


class Queue(Protocol):
    """A queue of orders. Messages arrive after `delay` seconds, 900 at most."""

    def send(self, body: str, delay: int) -> None:
        """Send a message. Raises Unavailable."""

    def send_all(self, bodies: Iterable[str], delay: int) -> None:
        """Send messages. Raises Unavailable, after which some may have been sent."""


@dataclass(frozen=True)
class Queues:
    """The queues that orders are sent to. S3 alone sends to the queue of registrations."""

    urgent: Queue
    changes: Queue

    def of(self, priority: Priority) -> Queue:
        """Return the queue for orders of a priority."""
        return self.urgent if priority is Priority.REVOCATION else self.changes

    def send(self, order: Order, delay: int = 0) -> None:
        """Send an order that arrives after `delay` seconds. Raises Unavailable."""
        self.of(order.priority).send(messages.render(order), delay)


@dataclass(frozen=True)
class Work:
    """The handler of all queues of orders, which reconciles each device that a message names at its turn.

    `is_stale` says whether the rules may be older than those in force, because the fleet can't be read.
    """

    rules: RulesInForce
    is_stale: Callable[[], bool]
    reconcile: Reconcile
    slots: Slots
    backlog: Backlog
    queues: Queues
    guard: Guard

    def __call__(self, record: dict[str, Any], _: datetime) -> None:
        """Handle an SQS record.

        After a failure, SQS delivers the record again; a repeated reconciliation ends in the same state.
        """
        self.backlog.note()
        for order in messages.parse(record):
            self.guard.about(deviceId=order.device_id)
            try:
                self._work(order)
            except Unavailable as error:
                self._again(order, error)

    def _work(self, order: Order) -> None:
        take_slot = self.slots.of(order.priority)
        take_slot()
        now = self.guard.now()
        outcome = self.reconcile(order, self.rules.at(now), take_slot, now)
        if outcome.rest:
            # What is left takes no rights from a certificate in use, so new revocations come first.
            self.queues.send(replace(order, priority=Priority.CHANGE, tries=0, after=outcome.rest))
        self._report(outcome)
        # A sweep orders a device once for a fleet, so work by older rules would stand until the next day's.
        if self.is_stale():
            raise Unavailable(log=f"{order.device_id} was reconciled by an older fleet: S3 did not answer")
        age = (self.guard.now() - order.since).total_seconds()
        # The clocks of S3, DynamoDB and Lambda differ a little, so the difference may be negative.
        self.guard.count("RegistrationAge", max(0, int(age)), MetricUnit.Seconds)

    def _again(self, order: Order, error: Unavailable) -> None:
        """Send an order again after a delay; let the message fail when it was sent often enough."""
        delay = delay_after(order.tries, error, self.guard)
        self.queues.send(replace(order, tries=order.tries + 1), delay)

    def _report(self, outcome: Outcome) -> None:
        """Log and count the outcome."""
        self.guard.info("registered", activated=sorted(outcome.activated), deleted=outcome.deleted)
        if outcome.clash:
            self.guard.warning("the thing is another's, or in too many groups")
        if outcome.lost:
            self.guard.warning("the certificate in use is not in the bucket", lost=sorted(outcome.lost))
        if outcome.excess:
            self.guard.warning("AWS IoT's limits deny a certificate its policies", excess=outcome.excess)
        if outcome.left or outcome.thing_left:
            self.guard.warning("left in AWS IoT", left=sorted(outcome.left), thing=outcome.thing_left)
        counts = {
            "CertificateActivated": len(outcome.activated),
            "CertificateRetired": len(outcome.retired),
            "CertificateRevoked": len(outcome.revoked),
            "DeviceDeleted": int(outcome.deleted),
            "ThingNameRefused": int(outcome.unnamed),
            "ThingClash": int(outcome.clash),
            "ThingLeft": int(outcome.thing_left),
            "CertificateLost": len(outcome.lost),
            "PoliciesTooLarge": len(outcome.excess),
            "CertificateLeft": len(outcome.left),
        }
        for name, count in counts.items():
            if count:
                self.guard.count(name, count)


@dataclass(frozen=True)
class Changes:
    """The handler of the table's stream, which sends an order for each change that AWS IoT must follow.

    `read` makes a device of a row's image. If a message can't be sent, the batch fails and the stream
    delivers it again.
    """

    read: Callable[[dict[str, Any]], Device]
    queues: Queues
    guard: Guard

    def __call__(self, event: dict[str, Any], _: LambdaContext, now: datetime) -> None:
        """Handle a batch of the stream."""
        self.guard.count("Request", len(event["Records"]))
        for record in event["Records"]:
            images = record["dynamodb"]
            device = self.read(images["NewImage"])
            reacting = reaction(self.read(images["OldImage"]) if "OldImage" in images else None, device)
            if reacting:
                self.queues.send(Order(device.device_id, whole_seconds(now), reacting))
                self.guard.count("RegistrationOrdered")


@dataclass(frozen=True)
class Sweeping:
    """The handler of the schedule and of published fleets, which sweeps the device records.

    `keep_service_policies` works once in a process, which is enough: another version of this code runs in
    another process.
    """

    keep_service_policies: Callable[[], None]
    run: RunSweep
    guard: Guard

    def __call__(self, _: object, context: LambdaContext, now: datetime) -> None:
        """Handle an event. Its content is not read."""
        self.guard.count("SweepRun")
        # The function's time-out is RUN_SECONDS. A page that starts within WORK_SECONDS ends before it, since
        # a page takes about SLICE.
        stop = 1000 * (RUN_SECONDS - WORK_SECONDS)
        self.keep_service_policies()
        done = self.run(now, lambda: context.get_remaining_time_in_millis() > stop)
        if done:
            self.guard.info("swept", fleetHash=done.fleet_hash, scanned=done.scanned, touched=done.touched)


def sweep_again(error: FirstbootError, guard: Guard) -> None:
    """Leave a failed AWS call to the next minute's run; have an unforeseen failure repeated."""
    if isinstance(error, InternalError):
        repeat(error, guard)
    guard.count("SweepFailed")


def delay_after(tries: int, error: Unavailable, guard: Guard) -> int:
    """Log a failure, and return the seconds until its message comes again; they double with each of `tries`.

    Raises the error after the last try: the message then fails, which costs one of its receives, and SQS
    hides it for minutes.
    """
    if tries >= TRIES:
        raise error
    guard.refusal(error)
    return min(LONGEST_DELAY_SECONDS, (error.retry_after or _FIRST_DELAY_SECONDS) << tries)
