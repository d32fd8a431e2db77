"""Devices of the reference client, whose hosts and broker are the Lambda functions in this process."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from moto.backends import get_backend

from device.boot import Device
from device.hosts import Host, MutualTls, SignedProofs
from device.mqtt import Broker
from device.patience import Patience
from device.refusal import ConnectionEnded, Refused
from device.service import Service
from device.store import FileIdentity, Identity, Store
from device.transport import Answer, Transport
from firstboot.domain.topics import CREDENTIALS
from firstboot.pki import chain
from tests import factories
from tests.aws.deployed import ACCOUNT, REGION
from tests.aws.mqtt import event
from tests.aws.product import CONTEXT, HOST
from tests.faults.world import World, board, device_key

BOOTS = 8
ASYNC_TRIES = 2
"""An asynchronous invocation and its one retry (infra/mqtt.py)."""


class Gateway(Transport):
    """API Gateway in front of the functions."""

    def __init__(self, world: World) -> None:
        super().__init__(None)
        self._world = world

    def send(
        self,
        method: str,
        url: str,
        *,
        limit: int,  # noqa: ARG002 - no answer here is that long
        identity: Identity | None = None,
        authorization: str | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a request, as Transport specifies."""
        headers = {"content-type": "application/json"}
        headers |= {"authorization": authorization} if authorization else {}
        text = body.decode() if body else None
        leaf = _leaf(identity) if identity and not authorization else None

        def call() -> Any:
            return self._world.product.call(method, urlsplit(url).path, leaf, text, headers)

        answer = self._world.invoke(call)
        message = Message()
        if isinstance(answer, type):  # its process died
            return Answer(502, message, b'{"message": "Internal Server Error"}')
        for name, value in answer.headers.items():
            message[name] = value
        return Answer(answer.status, message, json.dumps(answer.body).encode())


class InProcess(Broker):
    """AWS IoT's broker and its topic rules in front of the functions."""

    def __init__(self, world: World, bootstrap: Identity) -> None:
        super().__init__("iot.example.com:8883", Gateway(world), bootstrap)
        self._world = world

    @contextmanager
    def _connected(self, identity: Identity, client_id: str) -> Iterator[Any]:
        yield _Conversation(self._world, chain.fingerprint(_leaf(identity)), client_id)


@dataclass
class _Conversation:
    world: World
    principal: str
    client_id: str

    def ask(
        self, root: str, topic: str, _answer_topic: str, members: dict[str, Any]
    ) -> tuple[bool, dict[str, Any]]:
        """Publish a request, whose function runs again if it fails, and return the answer."""
        token = secrets.token_urlsafe(16)
        request = json.dumps(members | {"clientToken": token}).encode()
        lambdas = self.world.product.lambdas
        name = (
            "vend_mqtt" if f"{root}/{topic}" == CREDENTIALS.request_topic(self.client_id) else "exchange_mqtt"
        )

        def call() -> bool:
            getattr(lambdas, name)(event(self.client_id, self.principal, f"{root}/{topic}", request), CONTEXT)
            return True

        for _ in range(ASYNC_TRIES):
            try:
                done = self.world.invoke(call) is True
            except Exception:  # noqa: BLE001 - Lambda counts any exception as a failure
                self.world.wire.is_dead = False
                done = False
            if done:
                break
            self.world.wait(60)
        for where, payload in get_backend("iot-data")[ACCOUNT][REGION].published_payloads:
            said = json.loads(payload)
            if said.pop("clientToken", None) == token:
                return where.endswith("/accepted"), said
        raise ConnectionEnded("No answer")


def _leaf(identity: Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificates(identity.certificate.read_bytes())[0]


@dataclass
class Board:
    """A device with its state directory. `host` is how it reaches the service."""

    world: World
    name: str
    folder: Path
    way: str = "mtls"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(self.folder / "state")
        key, leaf = board(self.name)
        self.bootstrap = FileIdentity(self.folder / "bootstrap.crt", self.folder / "bootstrap.key")
        self.bootstrap.certificate.write_text(factories.pem(leaf))
        self.bootstrap.key.write_text(factories.key_pem(key))
        gateway = Gateway(self.world)
        made: dict[str, Callable[[], Host]] = {
            "mtls": lambda: MutualTls(f"https://{HOST}", gateway),
            "proof": lambda: SignedProofs(f"https://{HOST}", gateway),
            "mqtt": lambda: InProcess(self.world, self.bootstrap),
        }
        self.service = Service(made[self.way](), gateway, inline=True)

    def copy(self, folder: Path) -> Board:
        """Return the same device with a copy of its files."""
        shutil.copytree(self.folder, folder)
        return replace(self, folder=folder)

    def run(self, act: Callable[[Device], object]) -> bool:
        """Let the device act, and again after a pause if it is refused, as its init system does.

        Return whether it succeeded. The world's outcomes get the last refusal.
        """
        refused = ""
        for _ in range(BOOTS):
            patience = Patience(tries=4, sleep=self.world.rest, jitter=lambda: 0)
            device = Device(self.store, self.service, patience, new_key=new_keys(self.world))
            try:
                with self.store.locked():
                    act(device)
            except Refused as refusal:
                refused = str(refusal.code)
                self.world.rest(max(60, refusal.retry_after or 0))
            else:
                return True
        self.world.outcomes.append(f"{self.name}: {refused}")
        return False

    def boot(self) -> bool:
        """Run `python -m device boot`."""
        return self.run(lambda device: device.boot(self.bootstrap))

    def renew(self) -> bool:
        """Run `python -m device renew`."""
        return self.run(lambda device: device.renew())

    def credentials(self) -> bool:
        """Run `python -m device credentials`."""

        def get(device: Device) -> None:
            live = device.store.live()
            assert live
            device.patience(lambda: self.service.credentials(live, "telemetry"))

        return self.run(get)

    def live_leaf(self) -> x509.Certificate:
        """Return the certificate of the live identity."""
        live = self.store.live()
        assert live
        return _leaf(live)


def new_keys(world: World) -> Callable[[], bytes]:
    """Return what makes the devices' keys, which are the same ones in all runs."""

    def make() -> bytes:
        world.keys += 1
        return factories.key_pem(device_key(world.keys)).encode()

    return make
