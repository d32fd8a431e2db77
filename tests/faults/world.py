"""An account with the product, whose functions reach AWS over the wire, and what AWS does around them.

The table's stream, S3's notifications, queues and asynchronous invocations deliver as AWS documents it: what
a function failed on comes again, a message whose function died as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import boto3
import pytest
from botocore.loaders import create_loader
from moto import mock_aws
from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends
from urllib3.util import Timeout

from firstboot.aws import clients
from firstboot.domain.secret_keys import GROUPS, KeyPair
from firstboot.domain.ways import WAYS
from firstboot.register.settings import QueuesSettings
from tests import factories
from tests.aws import deployed
from tests.aws.deployed import ACCOUNT, REGION
from tests.aws.product import CONTEXT, Product, make_policies
from tests.aws.registering import CONFIGURATION, MQTT, RULES
from tests.aws.test_hub_signatures import GRANT, RULE, SECRET
from tests.faults.answers import Request
from tests.faults.wire import Wire
from tests.fleets import fleet, group

Result = TypeVar("Result")

RECEIVES = 5
"""How often a message is received before it is dead (infra/register.py)."""

LONG_SECONDS = 120.0
"""How long the clients wait for an answer, as long as one comes."""

ID_SCOPE = "0ne00000A0B"
KEYS = KeyPair(b"p" * 64, b"s" * 64)
"""The symmetric keys of the group, and of the IoT hub."""

_MOST = 200  # deliveries in one run
_DEVICES = "DEV#"


_loader = cache(create_loader)
_client = boto3.client


@cache
def direct(service: Any, **options: Any) -> Any:
    """Return a client that reaches moto directly. Each is made once in this process."""
    return _client(service, **options)


@cache
def wire() -> Wire:
    """Return the wire of this process."""
    return Wire()


@cache
def factory() -> factories.Authority:
    """Return the factory's CA of this process, so that bootstrap certificates are the same in all runs."""
    return factories.authority()


@cache
def board(name: str, key: int = 0) -> tuple[factories.PrivateKey, Any]:
    """Return the key and the bootstrap certificate of a device's board."""
    made = device_key(1_000 + key)
    return made, factory().issue(name, made)


@cache
def device_key(number: int) -> factories.PrivateKey:
    """Return one of the keys that devices make, the same ones in all runs."""
    del number
    return factories.ec_key()


class Died:
    """The outcome of an invocation whose process died."""


@dataclass
class World:
    """The account during one run of a flow."""

    product: Product
    wire: Wire
    now: datetime
    stream: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    invocations: int = 0
    between: Callable[[int], None] | None = None
    redelivers: int | None = None
    again: Callable[[], object] | None = None
    keys: int = 0
    outcomes: list[str] = field(default_factory=list)
    _rows: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.product.lambdas.clock = lambda: self.now
        self.wire.wrote = self._note
        self._rows = self._devices()

    def wait(self, seconds: float) -> None:
        """Move the time forward."""
        self.now += timedelta(seconds=int(seconds))

    def rest(self, seconds: float) -> None:
        """Move the time forward while a client waits, and deliver what comes meanwhile."""
        before, self.wire.watching = self.wire.watching, False
        self.wait(seconds)
        self.pump()
        self.wire.watching = before

    # What AWS notices.

    @property
    def table(self) -> Any:
        """Moto's table."""
        return dynamodb_backends[ACCOUNT][REGION].get_table(self.product.table)

    def _devices(self) -> dict[str, Any]:
        rows = {
            key.value: item.attrs for key, item in self.table.items.items() if key.value.startswith(_DEVICES)
        }
        return {key: {name: plain(value) for name, value in attrs.items()} for key, attrs in rows.items()}

    def _note(self, request: Request) -> None:
        if request.service == "dynamodb" and request.operation not in ("GetItem", "Scan", "Query"):
            rows, before = self._devices(), self._rows
            for key in sorted(rows):
                if rows[key] != before.get(key):
                    images = {"NewImage": rows[key]}
                    images |= {"OldImage": before[key]} if key in before else {}
                    self.stream.append({"eventName": "MODIFY", "dynamodb": images})
            self._rows = rows
        if request.operation == "PutObject" and "/certificates/" in request.path:
            key = request.path.partition("?")[0].removeprefix(f"/{self.product.bucket}/")
            if all(each["s3"]["object"]["key"] != key for each in self.notifications):
                event = {
                    "eventTime": self.now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    "s3": {"object": {"key": key}},
                }
                self.notifications.append(event)

    # What AWS does.

    def invoke(self, call: Callable[[], Result]) -> Result | type[Died]:
        """Run a function's process until it answers or dies. What follows a death is a new process."""
        if self.between and self.wire.watching:
            self.between(self.invocations)
        counted = self.wire.watching
        self.invocations += counted
        self.again = call
        try:
            result = call()
        except Exception:
            if not self.wire.is_dead:
                raise
        if self.wire.is_dead:
            self.wire.is_dead = False
            self.product.lambdas.restart()
            return Died
        if counted and self.redelivers == self.invocations - 1:
            call()
        return result

    def invoke_event(self, handler: str, event: Any, tries: int) -> None:
        """Invoke a function with an event that comes again as often as it fails."""

        def call() -> bool:
            try:
                getattr(self.product.lambdas, handler)(event, CONTEXT)
            except Exception:  # noqa: BLE001 - Lambda counts any exception as a failure
                return False
            return True

        for _ in range(tries):
            if self.invoke(call) is True:
                return
            self.wait(30)
        self.dead.append(handler)

    def deliver(self, handler: str, body: str) -> None:
        """Deliver a message until a function has worked on it, at most `RECEIVES` times."""

        def call() -> bool:
            record = {"messageId": "m", "body": body, "attributes": {"SentTimestamp": "1764000000000"}}
            answer: dict[str, Any] = getattr(self.product.lambdas, handler)({"Records": [record]}, CONTEXT)
            return not answer["batchItemFailures"]

        for _ in range(RECEIVES):
            if self.invoke(call) is True:
                return
            self.wait(60)
        self.dead.append(handler)

    def pump(self) -> None:
        """Deliver all that waits, and what follows from it."""
        for _ in range(_MOST):
            if not self._step():
                return
        raise AssertionError("the orders do not end")

    def _step(self) -> bool:
        if self.stream:
            records, self.stream = self.stream, []
            self.invoke_event("changes", {"Records": records}, RECEIVES)
        elif self.notifications:
            event = self.notifications.pop(0)
            self.deliver("work", json.dumps({"Records": [event]}))
        elif self.events:
            self.deliver("jitr", json.dumps(self.events.pop(0)))
        else:
            return self._step_queue()
        return True

    def _step_queue(self) -> bool:
        for name, handler in {"urgent": "work", "changes": "work", "passed": "jitr"}.items():
            # SQS would deliver a delayed message only after its delay.
            waiting = sqs_backends[ACCOUNT][REGION].queues[name]._messages
            if waiting:
                message = waiting.pop(0)
                self.wait(5)
                self.deliver(handler, str(message.body))
                return True
        return False

    @cached_property
    def queues(self) -> QueuesSettings:
        """The queues of orders."""
        return QueuesSettings.read()


def plain(value: Any) -> Any:
    """Return an attribute of moto's table in DynamoDB's own form."""
    if value.type == "M":
        return {"M": {name: plain(each) for name, each in value.value.items()}}
    if value.type == "L":
        return {"L": [plain(each) for each in value.value]}
    return {value.type: value.value}


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Make an account with the product in it, and end it."""
    with pytest.MonkeyPatch.context() as patched:
        deployed.prepare(patched)
        with mock_aws(config=deployed.MOTO):
            patched.setattr("botocore.session.create_loader", _loader)
            patched.setattr(boto3, "client", direct)
            # A client would wait between two attempts.
            patched.setattr("firstboot.aws.client.sleep", lambda _: None)
            on_wire = wire()
            on_wire.begin(None)
            on_wire.wrote = lambda _: None
            reconnect()
            wait_for_answers(LONG_SECONDS)
            for name, made in _clients().items():
                patched.setattr(clients, name, lambda *_, made=made: made)
            table, bucket, ca_key = deployed.make_table(), deployed.make_bucket(), deployed.make_ca_key()
            ca = deployed.make_ca(ca_key)
            gateways = group(
                "gateways", factory(), configuration=CONFIGURATION, ways=WAYS, symmetric_key=True
            )
            small = fleet(gateways, group("sensors", factories_other()))
            grants = small.grants | {"mqtt": MQTT, "site": MQTT, "hub": GRANT}
            changes: dict[str, Any] = {"grants": grants, "rules": RULES + RULE, "id_scope": ID_SCOPE}
            small = type(small)(**vars(small) | changes)
            deployed.configure(patched, folder, small, table, bucket, ca_key, ca)
            product = Product(factory(), small, ca, table, bucket)
            product.records.make_nonce_key()
            product.records.make_password_key()
            for secret in (f"Firstboot/{GROUPS}/gateways", SECRET):
                direct("secretsmanager").create_secret(Name=secret, SecretString=KEYS.to_json())
            make_policies(small)
            yield World(product, on_wire, datetime.now(UTC).replace(microsecond=0))


@cache
def factories_other() -> factories.Authority:
    """Return another factory's CA."""
    return factories.authority("Other factory")


@cache
def _clients() -> dict[str, Any]:
    """Return the product's clients, which reach AWS over the wire. All others reach moto directly."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", wire().url)
        deployed.forget_clients()
        made: dict[str, Any] = {
            each.__name__: each()
            for each in (
                clients.dynamodb,
                clients.kms,
                clients.sts,
                clients.iot,
                clients.iot_data,
                clients.sqs,
                clients.secrets_manager,
            )
        }
        made["s3"] = clients.s3(ACCOUNT)
        deployed.forget_clients()
    return made


def _connections() -> Any:
    """Return the connections of the product's clients."""
    # All of them have the same ones, which are not those that a new client would get.
    return _clients()["dynamodb"].connections


def reconnect() -> None:
    """Let the product's clients make new connections."""
    _connections().clear()


def wait_for_answers(seconds: float) -> None:
    """Let the product's clients wait for so long for the answers to the calls that they make from now on."""
    manager = _connections().manager
    manager.connection_pool_kw["timeout"] = seconds
    for pool in list(manager.pools._container.values()):
        pool.timeout = Timeout.from_float(seconds)
