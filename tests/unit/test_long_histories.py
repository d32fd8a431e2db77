"""A device with thousands of certificates is cut off within seconds, and its history ends in slices.

The use cases and the handler are real. AWS is simulated by its times, its rate and what it was asked to do.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest

from firstboot.domain import rate_limiter
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.names import DeviceId
from firstboot.domain.rate_limiter import Priority, Slot
from firstboot.pki import certificate
from firstboot.policy.render import Place
from firstboot.policy.rules import RulesInForce
from firstboot.register.backlog import Backlog
from firstboot.register.deletion import Deletion
from firstboot.register.handlers import Queues, Work
from firstboot.register.history import History
from firstboot.register.reconcile import Reconcile
from firstboot.register.slots import Slots
from firstboot.register.target import Account, Aim
from firstboot.register.withdraw import Withdraw
from firstboot.runtime.guard import Guard
from tests import factories
from tests.unit import fleet_folders

NAME = DeviceId("dev-1")
RATE, QUOTA = 7, 10
LAMBDA = timedelta(seconds=60)
CALL = timedelta(milliseconds=40)
PAGE = 200


class Clock:
    """The simulated time."""

    def __init__(self) -> None:
        self.now = EPOCH

    def pass_(self, seconds: float) -> None:
        """Move the time forward."""
        self.now += timedelta(seconds=seconds)


@dataclass
class Issued:
    """The bucket: certificates that differ in their serial only, which no use case verifies."""

    clock: Clock
    count: int

    def __post_init__(self) -> None:
        """Make one chain, from which the others are made."""
        ca = factories.authority()
        leaf = certificate.parse_text(factories.pem(ca.issue(NAME, factories.ec_key(), serial=1 << 150)))
        self._der, self._ca = leaf.der, factories.pem(ca.certificate)
        self._known = [f"{(1 << 150) + index:x}" for index in range(self.count)]

    def id(self, serial: str) -> str:
        """Return a certificate's id."""
        return hashlib.sha256(self._leaf(serial)).hexdigest()

    def _leaf(self, serial: str) -> bytes:
        return self._der.replace((1 << 150).to_bytes(19), int(serial, 16).to_bytes(19))

    def get(self, _: DeviceId, serial: str) -> bytes | None:
        """Return a chain."""
        self.clock.now += CALL
        return (certificate.parse(self._leaf(serial)).pem + self._ca).encode()

    def serials(self, _: DeviceId, after: str | None) -> tuple[list[str], bool]:
        """Return a page."""
        self.clock.now += CALL
        start = bisect_right(self._known, after) if after else 0
        return self._known[start : start + PAGE], start + PAGE < len(self._known)


@dataclass
class Registry:
    """AWS IoT and the record: when it was asked for what."""

    clock: Clock
    record: Device
    revoked: dict[str, datetime] = field(default_factory=dict)
    writes: list[datetime] = field(default_factory=list)
    disconnected: datetime | None = None
    deleted: set[str] = field(default_factory=set)
    forgotten: bool = False

    def device(self, _: DeviceId) -> Device | None:
        """Return the record."""
        self.clock.now += CALL
        return None if self.forgotten else self.record

    def note(self, *_: object) -> bool:
        """Write a note."""
        self.clock.now += CALL
        return True

    def forget(self, _: Device) -> bool:
        """Remove the record."""
        self.forgotten = True
        return True

    def set_status(self, certificate_id: str, status: str) -> bool:
        """Make an UpdateCertificate, of which AWS IoT takes QUOTA a second."""
        self.clock.now += CALL
        assert status == "REVOKED"
        self.revoked.setdefault(certificate_id, self.clock.now)
        self.writes.append(self.clock.now)
        return certificate_id not in self.deleted

    def set_policies(self, *_: object) -> None:
        """Take the policies."""
        self.clock.now += 2 * CALL

    def detach(self, *_: object) -> None:
        """Detach a certificate from the thing."""
        self.clock.now += CALL

    def delete(self, what: str, *_: object, **__: object) -> bool:
        """Delete a certificate or the thing."""
        self.clock.now += 2 * CALL
        self.deleted.add(what)
        return True

    def disconnect(self, _: DeviceId) -> None:
        """End the connection."""
        self.clock.now += CALL
        self.disconnected = self.clock.now

    def owner(self, *_: object, **__: object) -> None:
        """Return that there is no thing."""

    def principals(self, _: DeviceId) -> frozenset[str]:
        """Return that nothing is attached."""
        return frozenset()


@dataclass
class Limiter:
    """The rate limiter's row."""

    next: datetime = EPOCH

    def take(self, now: datetime, rate: float, priority: Priority, share: float = 1) -> Slot:
        """Take the next slot if the priority may have it."""
        following, ahead = max(self.next, now), rate_limiter.ahead(priority, rate)
        if ahead is not None and following > now + ahead:
            return Slot(following - ahead, taken=False)
        self.next = following + rate_limiter.interval(rate, share)
        return Slot(following, taken=True)


@dataclass
class Queue:
    """The queues of all priorities."""

    bodies: list[str] = field(default_factory=list)

    def send(self, body: str, delay: int = 0) -> None:
        """Keep a message that is due at once."""
        assert delay == 0
        self.bodies.append(body)

    def send_all(self, bodies: Iterable[str], delay: int) -> None:
        """Keep messages."""
        for body in bodies:
            self.send(body, delay)


@dataclass
class Simulation:
    """The handler of orders in simulated Lambda functions, one after the other."""

    count: int
    status: Status

    def __post_init__(self) -> None:
        """Put the parts together."""
        self.clock = Clock()
        self.issued = Issued(self.clock, self.count)
        self.live = f"{(1 << 150) + self.count // 2:x}"
        active = CertificateRecord(
            self.live, "spki", EPOCH, EPOCH, EPOCH, certificate_id=self.issued.id(self.live)
        )
        device = replace(fleet_folders.device(device_id=NAME), status=self.status, active=active)
        self.registry = Registry(self.clock, device)
        self.queue = Queue()
        self.work = self._wired()

    def _wired(self) -> Work:
        aws: Any = self.registry
        history = History(aws, self.issued)
        withdraw = Withdraw(aws, history, aws, aws)
        deletion = Deletion(aws, history, aws, aws, withdraw)
        aim = Aim(Account("Firstboot", Place("aws", "us-east-1", "1")), self.issued)
        fleet = fleet_folders.fleet()
        guard = Guard("register", lambda: self.clock.now, self.clock.pass_)
        slots = Slots(Limiter(), RATE, lambda: self.clock.now, self.clock.pass_)
        queues = Queues(self.queue, self.queue)
        backlog = cast("Backlog", type("NoBacklog", (), {"note": lambda _: None})())
        reconcile = Reconcile(aws, aws, aws, aim, withdraw, deletion)
        return Work(RulesInForce(lambda _: fleet), lambda: False, reconcile, slots, backlog, queues, guard)

    def run(self) -> list[timedelta]:
        """Carry out the order and those that follow; return how long each took."""
        self.queue.send(json.dumps({"deviceId": NAME, "priority": "revocation", "since": 0}))
        took = []
        while self.queue.bodies:
            began = self.clock.now
            record = {
                "messageId": "m",
                "body": self.queue.bodies.pop(),
                "attributes": {"SentTimestamp": "0"},
            }
            self.work(record, began)
            took.append(self.clock.now - began)
        return took


@pytest.mark.parametrize(
    ("count", "status"),
    [
        (600, Status.REVOKED),
        (600, Status.DELETED),
        (3_000, Status.REVOKED),
        (7_300, Status.REVOKED),  # 20 renewals a day, for a year
    ],
)
def test_a_device_that_renewed_for_a_year_is_cut_off_within_seconds(count: int, status: Status) -> None:
    """The certificate in use is REVOKED and the connection ends within two seconds of the first slice.

    All other certificates follow in slices, each of which fits into a Lambda function's time, at the rate.
    """
    simulation = Simulation(count, status)
    took = simulation.run()
    registry = simulation.registry
    soon = EPOCH + timedelta(seconds=2)
    assert registry.revoked[simulation.issued.id(simulation.live)] < soon
    assert registry.disconnected
    assert registry.disconnected < soon
    assert len(registry.revoked) == count
    assert max(took) < LAMBDA
    assert len(took) <= count / RATE / 25 + 1
    for first, last in zip(registry.writes, registry.writes[QUOTA:], strict=False):
        assert last - first > timedelta(seconds=1)
    assert registry.forgotten == (status is Status.DELETED)
