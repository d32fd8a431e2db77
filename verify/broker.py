"""Connect to AWS IoT's broker with any identity, and say in words what the broker answers.

The device client (`device.mqtt`) makes the service's calls. Here the broker itself is asked: which client it
lets in, with which reason it refuses a topic, and when it closes a connection.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties

from device import mqtt
from device.store import Identity
from device.transport import Transport

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
ACCEPTED = "accepted"
CLOSED = "closed"
SILENT = "no answer"

_SECONDS = 30
"""The time limit of a connection and of each of the broker's answers, and MQTT's keep-alive."""

_FIRST_SECONDS = 5.0
"""How long the first of several messages may take."""


_CONNECTED: dict[str, float] = {}
"""The client ids that have connected, with the monotonic times of their last connections."""


@dataclass(frozen=True)
class Token:
    """A token that the custom authorizer decides on. It has no repr, so that no page shows it."""

    authorizer: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Login:
    """A client's id, and the certificate or the token that it connects with."""

    client_id: str
    identity: Identity | None = None
    token: Token | None = None


@dataclass(frozen=True)
class Message:
    """A message, and when it arrived (monotonic seconds)."""

    topic: str
    payload: bytes
    qos: int
    expiry_seconds: int | None
    at: float


@dataclass(frozen=True)
class Broker:
    """AWS IoT's broker.

    `transport` trusts its CA. Connections of one client begin `apart_seconds` apart. After `quiet_seconds`
    without a message, no other one comes.
    """

    host: str
    port: int
    transport: Transport
    apart_seconds: float = 0.0
    quiet_seconds: float = 5.0

    def outcome(self, login: Login, protocol: MQTTProtocolVersion = V5) -> str:
        """Connect, disconnect, and return `Connection.outcome`."""
        with self.connected(login, protocol) as connection:
            return connection.outcome

    @contextmanager
    def connected(
        self, login: Login, protocol: MQTTProtocolVersion = V5, *, clean_session: bool = True
    ) -> Iterator[Connection]:
        """Connect, whether the broker accepts it or not, and disconnect at the end.

        Without a clean session, which MQTT 3.1.1 has, the broker stores messages until the client's next
        connection.
        """
        client = self._client(login, protocol, clean_session=clean_session)
        connection = Connection(client, self.quiet_seconds)
        self._wait(login.client_id)
        try:
            connection.open(self.host, self.port)
            yield connection
        finally:
            connection.close()

    def _wait(self, client_id: str) -> None:
        if client_id in _CONNECTED:
            time.sleep(max(0.0, _CONNECTED[client_id] + self.apart_seconds - time.monotonic()))
        _CONNECTED[client_id] = time.monotonic()

    def _client(self, login: Login, protocol: MQTTProtocolVersion, *, clean_session: bool) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            login.client_id,
            clean_session=None if protocol == V5 else clean_session,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        context = self.transport.context(login.identity)
        context.sslsocket_class = _Socket
        if login.token:
            # docs/protocol.md, "Connecting with a token".
            context.set_alpn_protocols(["mqtt"])
            client.username_pw_set(
                f"verify?x-amz-customauthorizer-name={login.token.authorizer}", login.token.text
            )
        client.tls_set_context(context)
        client.connect_timeout = _SECONDS
        return client


class _Socket(mqtt.Socket):
    """The device's TLS socket, which also keeps the alert that came after the handshake.

    In TLS 1.3 a server refuses a client's certificate after the client's part of the handshake (RFC 8446
    appendix E.1.3). paho-mqtt only logs that error.
    """

    alert: str | None = None

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """See ssl.SSLSocket."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            # A server that refuses the certificate may close before it has read anything. Its alert is in the
            # socket's buffer then.
            with suppress(OSError):
                self.recv()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """See ssl.SSLSocket."""
        try:
            return super().recv(buflen, flags)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            self.alert = error.reason
            raise


class Connection:
    """A connection to the broker.

    `outcome` is ACCEPTED, CLOSED, SILENT, the broker's reason for its refusal, or `TLS: ` and the reason for
    which the handshake failed. MQTT 3.1.1 has no reasons but those of CONNACK.
    """

    def __init__(self, client: Client, quiet_seconds: float) -> None:
        self._client = client
        self._quiet_seconds = quiet_seconds
        self._socket: Any = None
        self._answers: SimpleQueue[str] = SimpleQueue()
        self._received: SimpleQueue[Message] = SimpleQueue()
        self._gone = threading.Event()
        self._ended: tuple[str, float] = ("", 0.0)
        self.outcome = SILENT
        client.on_connect = lambda _, __, ___, code, ____: self._answers.put(_words(code))
        client.on_subscribe = lambda _, __, ___, codes, ____: self._answers.put(_words(codes[0]))
        client.on_publish = lambda _, __, ___, code, ____: self._answers.put(_words(code))
        client.on_disconnect = self._on_disconnect
        client.on_socket_open = self._on_socket_open
        client.on_message = self._on_message

    def open(self, host: str, port: int) -> None:
        """Connect, and set `outcome`."""
        try:
            self._client.connect(host, port, keepalive=_SECONDS)
        except OSError as error:  # ssl.SSLError too
            self.outcome = f"TLS: {getattr(error, 'reason', None) or type(error).__name__}"
            return
        self._client.loop_start()
        self.outcome = self._answer()

    @property
    def is_accepted(self) -> bool:
        """Return whether the broker accepted the connection."""
        return self.outcome == ACCEPTED

    @property
    def is_gone(self) -> bool:
        """Return whether the connection has ended."""
        return self._gone.is_set()

    def subscribe(self, topic_filter: str, qos: int = 1) -> str:
        """Subscribe, and return ACCEPTED, CLOSED, SILENT or the broker's reason."""
        if self._gone.is_set():
            return CLOSED
        self._client.subscribe(topic_filter, qos)
        return self._answer()

    def publish(self, topic: str, payload: str) -> str:
        """Publish with QoS 1, and return ACCEPTED, CLOSED, SILENT or the broker's reason."""
        if self._gone.is_set():
            return CLOSED
        self._client.publish(topic, payload, qos=1)
        answer = self._answer()
        # AWS IoT acknowledges a refused message of MQTT 3.1.1 in some cases, and closes the connection.
        return CLOSED if answer == ACCEPTED and self._gone.wait(0.5) else answer

    def message(self, seconds: float) -> Message | None:
        """Return the next message, or None if none comes within `seconds`."""
        try:
            return self._received.get(timeout=max(seconds, 0.001))
        except Empty:
            return None

    def messages(self) -> list[Message]:
        """Return all messages until there is none for a while."""
        found, seconds = list[Message](), _FIRST_SECONDS
        while message := self.message(seconds):
            found.append(message)
            seconds = self._quiet_seconds
        return found

    def ended(self, seconds: float) -> tuple[str, float] | None:
        """Wait until the broker closes the connection, and return its reason and the monotonic time of it.

        Returns None if the connection is open after `seconds`.
        """
        return self._ended if self._gone.wait(seconds) else None

    def close(self) -> None:
        """Disconnect and close all sockets."""
        self._client.disconnect()
        self._client.loop_stop()
        self._client._reset_sockets()  # noqa: SLF001 - loop_stop leaves a pair of sockets open

    def _answer(self) -> str:
        try:
            return self._answers.get(timeout=_SECONDS)
        except Empty:
            return SILENT

    def _on_socket_open(self, _client: Client, _data: object, opened: object) -> None:
        self._socket = opened  # the client has forgotten it when the connection has ended

    def _on_disconnect(self, _client: Client, _data: object, flags: Any, code: Any, _: object) -> None:  # noqa: ANN401
        alert = getattr(self._socket, "alert", None)
        said = str(code) if flags.is_disconnect_packet_from_server else CLOSED
        reason = f"TLS: {alert}" if alert else said
        self._ended = reason, time.monotonic()
        self._gone.set()
        self._answers.put(reason)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        properties: Properties | None = message.properties
        expiry = getattr(properties, "MessageExpiryInterval", None)
        self._received.put(Message(message.topic, message.payload, message.qos, expiry, time.monotonic()))


def _words(code: Any) -> str:  # noqa: ANN401 - paho's reason code
    return str(code) if code.is_failure else ACCEPTED
