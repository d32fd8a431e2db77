"""The handlers of the register Lambda functions, for the events of queues, the stream and the schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Device
from firstboot.domain.errors import FirstbootError, InternalError
from firstboot.policy.rules import RulesInForce
from firstboot.register import jitr_messages, messages
from firstboot.register.changes import Reaction, reaction
from firstboot.register.jitr import FleetInForce, Judge
from firstboot.register.messages import URGENT_SLOT, Order
from firstboot.register.rate_limited import Queue, RateLimited
from firstboot.register.reconcile import Reconcile
from firstboot.register.sweep import RUN_SECONDS, WORK_SECONDS, RunSweep
from firstboot.register.withdraw import Outcome
from firstboot.runtime.event import repeat
from firstboot.runtime.guard import Guard


@dataclass(frozen=True)
class Work:
    """The handler of both queues, which reconciles the devices that messages name, each at its slot."""

    rules: RulesInForce
    reconcile: Reconcile
    rate_limited: RateLimited
    guard: Guard

    def __call__(self, record: dict[str, Any], now: datetime) -> None:
        """Handle an SQS record.

        After a failure, SQS delivers the record again; a repeated reconciliation ends in the same state.
        """
        for order in messages.parse(record):
            self._work(order, now)

    def _work(self, order: Order, now: datetime) -> None:
        self.guard.about(deviceId=order.device_id)
        if not self.rate_limited.is_due(
            order.slot, now, lambda slot: messages.render(replace(order, slot=slot))
        ):
            return
        self._report(self.reconcile(order.device_id, self.rules.at(now), now))
        age = (self.guard.now() - order.since).total_seconds()
        # The clocks of S3, DynamoDB and Lambda differ a little, so the difference may be negative.
        self.guard.count("RegistrationAge", max(0, int(age)), MetricUnit.Seconds)

    def _report(self, outcome: Outcome) -> None:
        """Log and count the outcome."""
        self.guard.info("registered", activated=sorted(outcome.activated), deleted=outcome.deleted)
        counts = {
            "CertificateActivated": len(outcome.activated),
            "CertificateRetired": len(outcome.retired),
            "CertificateRevoked": len(outcome.revoked),
            "DeviceDeleted": int(outcome.deleted),
            "ThingNameRefused": int(outcome.unnamed),
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
    queues: Mapping[Reaction, Queue]
    guard: Guard

    def __call__(self, event: dict[str, Any], _: LambdaContext, now: datetime) -> None:
        """Handle a batch of the stream."""
        self.guard.count("Request", len(event["Records"]))
        for record in event["Records"]:
            images = record["dynamodb"]
            device = self.read(images["NewImage"])
            reacting = reaction(self.read(images["OldImage"]) if "OldImage" in images else None, device)
            if reacting:
                slot = URGENT_SLOT if reacting is Reaction.URGENT else None
                order = Order(device.device_id, whole_seconds(now), slot)
                self.queues[reacting].send(messages.render(order), 0)
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
        # The function's time-out is RUN_SECONDS. A page that starts within WORK_SECONDS is complete before
        # it.
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


@dataclass(frozen=True)
class Jitr:
    """The handler of certificates that AWS IoT registered by itself, each at its slot."""

    fleet: FleetInForce
    judge: Judge
    rate_limited: RateLimited
    guard: Guard

    def __call__(self, record: dict[str, Any], now: datetime) -> None:
        """Handle an SQS record. After a failure, SQS delivers it again; repeating a decision is safe."""
        waiting = jitr_messages.parse(record["body"])
        if not self.rate_limited.is_due(
            waiting.slot, now, lambda slot: jitr_messages.render(replace(waiting, slot=slot))
        ):
            return
        judged = self.judge(waiting.certificate_id, self.fleet.current(now), now)
        about = {"certificateId": waiting.certificate_id, "outcome": judged.decision.value}
        if judged.group:
            about["group"] = judged.group
        if judged.refusal:
            about |= {"code": judged.refusal.code, "reason": judged.refusal.log}
        self.guard.info("newcomer", **about)
        self.guard.count(f"Newcomer{judged.decision.capitalize()}")
