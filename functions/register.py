"""AWS IoT's registry follows the devices' records. The only writer to AWS IoT's control plane."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot.aws import clients
from firstboot.aws.dynamodb import rows
from firstboot.aws.dynamodb.devices import DynamoRegistry
from firstboot.aws.dynamodb.rate_limiter import Pace
from firstboot.aws.dynamodb.sweeps import DynamoSweeps
from firstboot.aws.iot.certificates import IotCertificates
from firstboot.aws.iot.policies import IotPolicies
from firstboot.aws.iot.things import IotThings
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.aws.sqs.queue import Queue
from firstboot.domain import rate_limiter as pace
from firstboot.domain.clock import epoch, utc_now, whole_seconds
from firstboot.domain.errors import FirstbootError
from firstboot.domain.names import METRICS, DeviceId
from firstboot.policy.render import Place
from firstboot.policy.rules import RulesInForce
from firstboot.register import jitr_events as registered
from firstboot.register import messages as registrations
from firstboot.register import sweep as sweeping
from firstboot.register.changes import Reaction, reaction
from firstboot.register.jitr import judge
from firstboot.register.messages import Order
from firstboot.register.reconcile import Account, register
from firstboot.register.withdraw import Outcome, Ports
from firstboot.runtime import guard as refusals
from firstboot.runtime.settings import ChangesSettings, NewcomersSettings, RegisterSettings, SweepSettings

logger = Logger(service="register")
metrics = Metrics(namespace=METRICS, service="register")


@dataclass(frozen=True)
class Turns:
    """AWS IoT's control plane, one after the other: whose turn is later comes back to `queue` then."""

    pace: Pace
    rate: float
    queue: Queue

    def take(self, slot: datetime | None, now: datetime) -> tuple[datetime, int]:
        """Return the message's slot, its own or the next, and the seconds to keep the message back."""
        if slot is None:
            slot = self.pace.reserve(now, self.rate)
        metrics.add_metric("RegistrationBacklog", MetricUnit.Seconds, pace.backlog_seconds(slot, now))
        return slot, pace.delay_seconds(slot, now)


def _turns(settings: RegisterSettings | NewcomersSettings) -> Turns:
    pace_row, queue = Pace(clients.dynamodb(), settings.table), Queue(clients.sqs(), settings.queue)
    return Turns(pace_row, float(settings.iot_rate), queue)


@dataclass(frozen=True)
class Parts:
    """What `work` works with, made once a process."""

    rules: RulesInForce
    account: Account
    ports: Ports
    turns: Turns


@cache
def parts() -> Parts:
    """The parts, wired as the environment says."""
    settings = RegisterSettings.read()
    fleet = FleetSource(clients.s3(), settings.bucket, deployed(), float(settings.fleet_refresh))
    place = Place(settings.partition, settings.region, settings.account)
    return Parts(
        rules=RulesInForce(fleet.current),
        account=Account(settings.stack, place),
        ports=Ports(
            registry=DynamoRegistry(clients.dynamodb(), settings.table),
            store=S3CertificateStore(clients.s3(), settings.bucket),
            things=IotThings(clients.iot(), clients.iot_data(), settings.stack, place),
        ),
        turns=_turns(settings),
    )


@cache
def queues() -> dict[Reaction, Queue]:
    """Where `changes` sends what it decides, wired as the environment says."""
    settings = ChangesSettings.read()
    return {
        Reaction.PACED: Queue(clients.sqs(), settings.queue),
        Reaction.URGENT: Queue(clients.sqs(), settings.urgent_queue),
    }


@cache
def sweep_parts() -> sweeping.Parts:
    """The sweep's parts, wired as the environment says. The fleet is read anew every time: what was
    published a moment ago is what it is about.
    """
    settings = SweepSettings.read()
    rules = RulesInForce(FleetSource(clients.s3(), settings.bucket, deployed(), refresh_seconds=0).current)
    return sweeping.Parts(
        rules=lambda: rules.at(clock()),
        sweeps=DynamoSweeps(clients.dynamodb(), settings.table),
        registry=DynamoRegistry(clients.dynamodb(), settings.table),
        policies=IotPolicies(clients.iot()),
        send=_order,
        stack=settings.stack,
        place=Place(settings.partition, settings.region, settings.account),
    )


@cache
def _keep_service_policies() -> None:
    """Once a process: another version of us is another process, and the schedule's next run its first."""
    sweeping.keep_service_policies(sweep_parts())


def _order(devices: Iterable[DeviceId]) -> None:
    """Tell `register`, when it can have no older fleet any more; SQS waits 15 minutes at most."""
    settings, since = SweepSettings.read(), whole_seconds(clock())
    bodies = (registrations.render(Order(device, since)) for device in devices)
    Queue(clients.sqs(), settings.queue).send_all(bodies, min(int(settings.fleet_refresh), 900))


@dataclass(frozen=True)
class Door:
    """What `newcomers` works with, made once a process."""

    account: Account
    fleet: FleetSource
    certificates: IotCertificates
    registry: DynamoRegistry
    turns: Turns


@cache
def door() -> Door:
    """The parts, wired as the environment says."""
    settings = NewcomersSettings.read()
    return Door(
        account=Account(settings.stack, Place(settings.partition, settings.region, settings.account)),
        fleet=FleetSource(clients.s3(), settings.bucket, deployed(), float(settings.fleet_refresh)),
        certificates=IotCertificates(clients.iot()),
        registry=DynamoRegistry(clients.dynamodb(), settings.table),
        turns=_turns(settings),
    )


def clock() -> datetime:
    """The time, for whoever must be told it."""
    return utc_now()


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def work(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda entry for both queues. What fails comes again, and what always does ends in the third."""
    metrics.add_metric("Request", MetricUnit.Count, len(event["Records"]))
    return _answer(event, _worked)


def _worked(record: dict[str, Any]) -> None:
    for order in registrations.parse(record):
        _turn(order, clock())


def _answer(event: dict[str, Any], work_on: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Work on each message; the answer names those to bring again (Lambda developer guide, "Reporting
    batch item failures").
    """
    failed = [record["messageId"] for record in event["Records"] if not _is_done(work_on, record)]
    return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}


def _is_done(work_on: Callable[[dict[str, Any]], None], record: dict[str, Any]) -> bool:
    try:
        work_on(record)
    except FirstbootError as error:
        refusals.count(error, logger, metrics)
        return False
    except Exception:
        logger.exception("unhandled")
        metrics.add_metric("InternalError", MetricUnit.Count, 1)
        return False
    return True


def _turn(order: Order, now: datetime) -> None:
    """Do it if it is its turn; else send it away until then."""
    logger.append_keys(deviceId=order.device_id)
    made = parts()
    slot, delay = made.turns.take(order.slot, now)
    if delay:
        made.turns.queue.send(registrations.render(replace(order, slot=slot)), delay)
        return
    outcome = register(order.device_id, made.rules.at(now), made.account, made.ports, now)
    _tell(outcome)
    age = epoch(clock()) - epoch(order.since)
    metrics.add_metric("RegistrationAge", MetricUnit.Seconds, max(0, age))


def _tell(outcome: Outcome) -> None:
    """Log and count what was done."""
    logger.info("registered", extra={"activated": sorted(outcome.activated), "deleted": outcome.deleted})
    counts = {
        "CertificateActivated": len(outcome.activated),
        "CertificateRetired": len(outcome.retired),
        "CertificateRevoked": len(outcome.revoked),
        "DeviceDeleted": int(outcome.deleted),
        "ThingNameRefused": int(outcome.unnamed),
    }
    for name, count in counts.items():
        if count:
            metrics.add_metric(name, MetricUnit.Count, count)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def changes(event: dict[str, Any], context: LambdaContext) -> None:
    """Lambda entry for the table's stream: what AWS IoT must follow becomes a message. If one can't be
    sent, the stream brings the batch again.
    """
    metrics.add_metric("Request", MetricUnit.Count, len(event["Records"]))
    for record in event["Records"]:
        images = record["dynamodb"]
        device = rows.device(images["NewImage"])
        reacting = reaction(rows.device(images["OldImage"]) if "OldImage" in images else None, device)
        if reacting:
            slot = registrations.URGENT_SLOT if reacting is Reaction.URGENT else None
            order = Order(device.device_id, whole_seconds(clock()), slot)
            queues()[reacting].send(registrations.render(order))
            metrics.add_metric("RegistrationOrdered", MetricUnit.Count, 1)


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def sweep(event: object, context: LambdaContext) -> None:
    """Lambda entry for the schedule and for a published fleet; nothing in the event matters. What
    AWS did not do now is done by the next minute's run.
    """
    metrics.add_metric("SweepRun", MetricUnit.Count, 1)
    stop = 1000 * (sweeping.RUN_SECONDS - sweeping.WORK_SECONDS)
    try:
        _keep_service_policies()
        done = sweeping.run(sweep_parts(), clock(), lambda: context.get_remaining_time_in_millis() > stop)
    except FirstbootError as error:
        refusals.count(error, logger, metrics)
        metrics.add_metric("SweepFailed", MetricUnit.Count, 1)
        return
    if done:
        logger.info(
            "swept",
            extra={"fleetHash": done.fleet_hash, "scanned": done.scanned, "touched": done.touched},
        )


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def newcomers(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda entry for the queue of certificates that AWS IoT registered by itself."""
    metrics.add_metric("Request", MetricUnit.Count, len(event["Records"]))
    return _answer(event, _judged)


def _judged(record: dict[str, Any]) -> None:
    made, now = door(), clock()
    newcomer = registered.parse(record["body"])
    slot, delay = made.turns.take(newcomer.slot, now)
    if delay:
        made.turns.queue.send(registered.render(replace(newcomer, slot=slot)), delay)
        return
    certificate_id = newcomer.certificate_id
    judged = judge(
        certificate_id, made.account, made.fleet.current(now), made.certificates, made.registry, now
    )
    about = {"certificateId": certificate_id, "outcome": judged.outcome.value}
    if judged.refusal:
        about |= {"code": judged.refusal.code, "reason": judged.refusal.log}
    logger.info("newcomer", extra=about)
    metrics.add_metric(f"Newcomer{judged.outcome.capitalize()}", MetricUnit.Count, 1)
