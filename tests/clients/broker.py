"""The service of device tests behind a real broker: mosquitto on loopback, with client certificates.

A client may use the topics of its own client id only, as under AWS IoT's policies. AWS IoT's rules tell the
service which certificate a message came with; here the broker's log does.
"""

from __future__ import annotations

import json
import queue
import re
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from local.cloud import free_ports
from tests import factories
from tests.clients.programs import program
from tests.device.server import running
from tests.device.service import COMMIT, CREDENTIALS, ENROLL, Call, Public, Reply, Service, common_name
from tests.paho_clients import end

SECONDS = 60
"""The time limit for an event that a test waits for."""

CALLS = {
    "certificates/request": (ENROLL, "certificates"),
    "certificates/commit": (COMMIT, "certificates/commit"),
    "credentials/request": (CREDENTIALS, "credentials"),
}
_CONFIGURATION = """
user root
per_listener_settings true
set_tcp_nodelay true
connection_messages true
log_type information
log_type notice
log_type debug
log_dest stderr
listener {tls} 127.0.0.1
cafile {folder}/clients.crt
certfile {folder}/broker.crt
keyfile {folder}/broker.private
require_certificate true
use_subject_as_username true
acl_file {folder}/acl
listener {plain} 127.0.0.1
allow_anonymous true
"""
_CONNECTED = re.compile(r"New client connected from \S+ as (\S+) \(.*u'(.*)'\)")
_PUBLISHED = re.compile(r"Received PUBLISH from (\S+) \(.*'firstboot/")


class Numbered(Service):
    """A service whose certificates have their serial in the subject, which the broker's log shows. They are
    `age` old when they are issued.
    """

    age = timedelta(minutes=5)

    def issue(self, name: str, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        """See Service."""
        serial = x509.random_serial_number()
        attributes = [(NameOID.COMMON_NAME, name), (NameOID.SERIAL_NUMBER, str(serial))]
        subject = x509.Name([x509.NameAttribute(*attribute) for attribute in attributes])
        return self.issuing.issue(
            name,
            Public(csr.public_key()),  # type: ignore[arg-type]
            subject=subject,
            serial=serial,
            not_before=datetime.now(UTC) - self.age,
        )


@dataclass
class Broker:
    """A broker, and the service behind it.

    `asked` holds client ids and topics, in order. `noise` is published, by topic, before the next answer.
    `silent` is the number of answers that are not sent. `extra` is in each answer that has a certificate.
    `stop` is called in place of an answer. Without a `clock` the answer to a log-in has no time.
    """

    service: Numbered
    port: int
    asked: list[tuple[str, str]] = field(default_factory=list)
    noise: list[tuple[str, bytes]] = field(default_factory=list)
    silent: int = 0
    senders: queue.Queue[str] = field(default_factory=queue.Queue)
    extra: dict[str, Any] = field(default_factory=dict)
    stop: Callable[[], None] | None = None
    process: subprocess.Popen[str] | None = None
    clock: bool = True
    failures: list[Exception] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return the address for `--mqtt`."""
        return f"localhost:{self.port}"

    def hear(self, client: Client, _: object, message: MQTTMessage) -> None:
        """Answer a request as the product's Lambda does. A failure here fails the test."""
        try:
            self._answer(client, message)
        except Exception as error:  # noqa: BLE001 - otherwise it would end the thread only
            self.failures.append(error)

    def _answer(self, client: Client, message: MQTTMessage) -> None:
        _, client_id, topic = message.topic.split("/", 2)
        self.asked.append((client_id, topic))
        sender = self.senders.get(timeout=SECONDS)
        if self.stop:
            self.stop()
            return
        if self.silent:
            self.silent -= 1
            return
        members = json.loads(message.payload)
        token = members.pop("clientToken")
        route, answer = CALLS[topic]
        reply = self._reply(client_id, sender, route, members)
        while self.noise:
            client.publish(f"firstboot/{client_id}/{answer}/{self.noise[0][0]}", self.noise.pop(0)[1], qos=1)
        accepted = reply.status < 300
        said = reply.body | {"clientToken": token} | ({} if accepted else {"status": reply.status})
        said |= {"time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")} if self.clock else {}
        if route == ENROLL and accepted:
            said |= self.extra
        kind = "accepted" if accepted else "rejected"
        qos = 0 if route == CREDENTIALS else 1
        client.publish(f"firstboot/{client_id}/{answer}/{kind}", json.dumps(said), qos=qos)

    def _reply(self, client_id: str, sender: str, route: str, members: dict[str, Any]) -> Reply:
        method, path = route.split()
        if shown := members.pop("bootstrap", None):
            peer = x509.load_pem_x509_certificate(shown.encode())
            named = members.get("deviceId", common_name(peer))
            assert client_id == (named if named == common_name(peer) else f"boot-{named}")
        else:
            peer = next(leaf for leaf in self.service.issued if str(leaf.serial_number) in sender)
            assert client_id == common_name(peer)
        if route == CREDENTIALS:
            assert members == {"roleAlias": "telemetry"}
        return self.service.answer(Call(method, path, "", {}, json.dumps(members).encode(), peer))

    def follow(self, log: Any) -> None:
        """Read from the broker's log which certificate each message came with."""
        subjects: dict[str, str] = {}
        for line in log:
            if found := _CONNECTED.search(line):
                subjects[found[1]] = found[2]
            elif (found := _PUBLISHED.search(line)) and found[1] in subjects:
                self.senders.put(subjects[found[1]])


@contextmanager
def brokered(folder: Path) -> Iterator[Broker]:
    """Run a broker on a free port, and a service that answers there."""
    service = Numbered(folder)
    with running(folder, service):
        ports = dict(zip(("tls", "plain"), free_ports(None, None), strict=True))
        broker = Broker(service, ports["tls"])
        (folder / "acl").write_text("pattern readwrite firstboot/%c/#\n")
        with _mosquitto(broker, ports) as broker.process, _answering(broker, ports["plain"]):
            yield broker
        assert broker.failures == []


@contextmanager
def _mosquitto(broker: Broker, ports: dict[str, int]) -> Iterator[subprocess.Popen[str]]:
    folder, service = broker.service.folder, broker.service
    key = factories.ec_key()
    localhost = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = service.web.issue(
        "localhost", key, eku=ExtendedKeyUsageOID.SERVER_AUTH, extra=[(localhost, False)]
    )
    service.save("broker", certificate, key)
    authorities = (service.factory, service.issuing)
    (folder / "clients.crt").write_text("".join(factories.pem(a.certificate) for a in authorities))
    (folder / "mosquitto.conf").write_text(_CONFIGURATION.format(folder=folder, **ports))
    with subprocess.Popen(
        [program("mosquitto"), "-c", folder / "mosquitto.conf"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if re.search(r"mosquitto version \S+ running", line):
                break
        reader = threading.Thread(target=broker.follow, args=(process.stderr,))
        reader.start()
        try:
            yield process
        finally:
            process.terminate()
            process.wait(SECONDS)
            reader.join()


@contextmanager
def _answering(broker: Broker, port: int) -> Iterator[None]:
    client = Client(CallbackAPIVersion.VERSION2, "the-service")
    ready = threading.Event()
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = broker.hear
    client.connect("127.0.0.1", port)
    client.subscribe([(f"firstboot/+/{topic}", 1) for topic in CALLS])
    client.loop_start()
    try:
        assert ready.wait(SECONDS)
        yield
    finally:
        end(client)


@contextmanager
def hanging_up(port: int, calls: str) -> Iterator[int]:
    """Run a relay to `port` and yield its own port.

    For each connection it takes one character of `calls`: `+` relays it, `-` closes it. Later connections are
    relayed.
    """
    lets_through = deque(calls)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_relay, args=(listener, port, lets_through))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _relay(listener: socket.socket, port: int, lets_through: deque[str]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        if lets_through and lets_through.popleft() == "-":
            client.close()
            continue
        target = socket.create_connection(("127.0.0.1", port))
        for source, sink in ((client, target), (target, client)):
            threading.Thread(target=_pump, args=(source, sink)).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            end.close()
