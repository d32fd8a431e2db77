"""Build the register Lambda functions from their settings."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import groupby

from firstboot.aws import clients
from firstboot.aws.dynamodb import rows
from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.aws.dynamodb.jitr import DynamoAttempts
from firstboot.aws.dynamodb.rate_limiter import DynamoRateLimiter
from firstboot.aws.dynamodb.stream import DynamoStream
from firstboot.aws.dynamodb.sweeps import DynamoSweeps
from firstboot.aws.iot.certificates import IotCertificates
from firstboot.aws.iot.policies import IotPolicies
from firstboot.aws.iot.registered import IotRegistered
from firstboot.aws.iot.thing_types import IotThingTypes
from firstboot.aws.iot.things import IotThings
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.aws.sqs.queue import SqsQueue
from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Device
from firstboot.domain.ways import PROVISIONING
from firstboot.policy.render import Place
from firstboot.policy.rules import RulesInForce
from firstboot.register.backlog import Backlog
from firstboot.register.changes import priority
from firstboot.register.deletion import Deletion
from firstboot.register.handlers import LONGEST_DELAY_SECONDS, Changes, Queues, Sweeping, Work
from firstboot.register.history import History
from firstboot.register.jitr import Judge
from firstboot.register.jitr_handler import Jitr
from firstboot.register.lost import Lost
from firstboot.register.messages import Order, render
from firstboot.register.reconcile import Reconcile
from firstboot.register.settings import (
    JitrSettings,
    QueuesSettings,
    RegisterSettings,
    SweepSettings,
    WorkSettings,
)
from firstboot.register.slots import Slots
from firstboot.register.sweep import KeepServicePolicies, RunSweep
from firstboot.register.target import Account, Aim
from firstboot.register.withdraw import Withdraw
from firstboot.runtime import event, queue
from firstboot.runtime.guard import Guard


def work(settings: WorkSettings, guard: Guard) -> queue.Work:
    """Return the work on the queues of orders."""
    account = _account(settings)
    records = DynamoDevices(clients.dynamodb(), settings.table)
    s3 = clients.s3(settings.account)
    store = S3CertificateStore(s3, settings.bucket)
    things = IotThings(clients.iot(), clients.iot_data(), settings.stack, account.place)
    fleet = _fleet(settings, float(settings.fleet_refresh), guard)
    certificates = IotRegistered(clients.iot(), settings.stack, account.place)
    history = History(records, store)
    withdraw = Withdraw(records, history, things, certificates)
    deletion = Deletion(records, history, things, certificates, withdraw)
    reconcile = Reconcile(records, things, certificates, Aim(account, store), withdraw, deletion)
    rules, slots = RulesInForce(fleet.current), _slots(settings, guard)
    backlog, queues = _backlog(settings, guard), _queues(settings)
    return Work(rules, lambda: fleet.is_stale, reconcile, slots, backlog, queues, guard)


def changes(settings: QueuesSettings, guard: Guard) -> event.Work:
    """Return the work on the table's stream."""
    return Changes(rows.device, _queues(settings), guard)


def lost(settings: QueuesSettings, guard: Guard) -> queue.Work:
    """Return the work on the letters about batches of the stream that `changes` failed on."""
    return Lost(DynamoStream(clients.dynamodb_streams()), _queues(settings), guard)


def sweep(settings: SweepSettings, guard: Guard) -> Sweeping:
    """Return the work of the schedule.

    The fleet is read anew every time, because a sweep follows the fleet that was published a moment ago.
    """
    account = _account(settings)
    rules = RulesInForce(_fleet(settings, 0, guard).current)
    policies = IotPolicies(clients.iot())
    queues = _queues(settings)

    def order(devices: Iterable[Device]) -> None:
        # Until this time has passed, a `register` process may still have the fleet from before the sweep. It
        # would reconcile the device by the older rules, and change nothing.
        delay, since = min(int(settings.fleet_refresh), LONGEST_DELAY_SECONDS), whole_seconds(guard.now())
        for urgency, those in groupby(sorted(devices, key=priority), key=priority):
            orders = (render(Order(device.device_id, since, urgency)) for device in those)
            queues.of(urgency).send_all(orders, delay)

    run = RunSweep(
        rules=lambda: rules.at(guard.now()),
        sweeps=DynamoSweeps(clients.dynamodb(), settings.table),
        records=DynamoDevices(clients.dynamodb(), settings.table),
        policies=policies,
        order=order,
        account=account,
        clock=guard.now,
    )
    offers = deployed().offers
    types = IotThingTypes(clients.iot(), settings.stack) if PROVISIONING in offers else None
    return Sweeping(cache(KeepServicePolicies(policies, account, offers, types)), run, guard)


def jitr(settings: JitrSettings, guard: Guard) -> queue.Work:
    """Return the work on the queues of certificates that AWS IoT registered by itself."""
    fleet = _fleet(settings, float(settings.fleet_refresh), guard)
    records = DynamoDevices(clients.dynamodb(), settings.table)
    judge = Judge(settings.stack, IotCertificates(clients.iot()), records)
    attempts = DynamoAttempts(clients.dynamodb(), settings.table)
    passed = SqsQueue(clients.sqs(), settings.passed_queue)
    return Jitr(fleet, judge, attempts, passed, _slots(settings, guard), guard)


def _fleet(settings: RegisterSettings | SweepSettings, refresh_seconds: float, guard: Guard) -> FleetSource:
    s3 = clients.s3(settings.account)
    return FleetSource(s3, settings.bucket, deployed(), refresh_seconds, guard.fleet_unreadable)


def _account(settings: WorkSettings | SweepSettings) -> Account:
    return Account(settings.stack, Place(settings.partition, settings.region, settings.account))


def _queues(settings: QueuesSettings) -> Queues:
    return Queues(
        urgent=SqsQueue(clients.sqs(), settings.urgent_queue),
        changes=SqsQueue(clients.sqs(), settings.changes_queue),
    )


def _backlog(settings: WorkSettings, guard: Guard) -> Backlog:
    urls = (settings.urgent_queue, settings.changes_queue, settings.certificates_queue)
    return Backlog(
        [SqsQueue(clients.sqs(), url) for url in urls],
        DynamoRateLimiter(clients.dynamodb(), settings.table),
        float(settings.iot_rate),
        guard,
    )


def _slots(settings: RegisterSettings, guard: Guard) -> Slots:
    # JITR and reconciling share one rate limiter: they use the same quotas, and a first-boot storm brings
    # both at the same time.
    limiter = DynamoRateLimiter(clients.dynamodb(), settings.table)
    return Slots(limiter, float(settings.iot_rate), guard.now, guard.pause)
