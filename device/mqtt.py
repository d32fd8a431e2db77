"""Make the service's calls through AWS IoT's broker by MQTT 3.1.1 (docs/protocol.md, "Over MQTT").

This module needs paho-mqtt, so it is imported only for --mqtt. Each call makes a connection of its own under
the device's client id. The broker then closes the connection that the device has already.
"""

from __future__ import annotations

import json
import math
import secrets
import select
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import Message
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import unquote

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from . import certificates
from .hosts import ANSWER_LIMIT
from .refusal import Action, CertificateRefused, ConnectionEnded, Refused
from .store import Identity
from .transport import TIMEOUT_SECONDS, Answer, Transport, untrusted

CONNECT_SECONDS = 30
"""The time limit of a TLS handshake and of each of the broker's own answers, and MQTT's keep-alive."""

_LONGEST_TURN, _TURN_IN_VAIN = 3_600, 60

_TOKEN_LIMIT = 128
"""The most bytes that the echoed `clientToken` adds to an answer."""

_CERTIFICATES = "/v1/certificates"

_WAITS_FOR = {
    "certificates/request": "the certificate",
    "certificates/commit": "the answer to the log-in",
    "credentials/request": "the credentials",
}
"""The answer to a request on each topic, in words."""

Arrived = TypeVar("Arrived")


class Broker:
    """The broker at `address` (HOST:PORT). The identity is the TLS client certificate.

    A request of the identity `bootstrap` holds its certificate, because AWS IoT passes only a certificate's
    digest to the service. It connects as `client_id`; without one, as `_client_id` says. `say` gets a line
    for each step that takes time.
    """

    def __init__(
        self,
        address: str,
        transport: Transport,
        bootstrap: Identity | None = None,
        say: Callable[[str], None] = lambda _line: None,
        client_id: str | None = None,
    ) -> None:
        self._host, self._port = parse(address)
        self._transport = transport
        self._bootstrap = bootstrap
        self._say = say
        self._client_id = client_id
        self._registered_in: float | None = None
        self._registered_at = 0.0

    def send(self, identity: Identity, method: str, path: str, body: bytes | None = None) -> Answer:
        """See Host."""
        if method == "GET" and path == "/v1/device":
            return self._record(identity)
        topic, answer_topic, members = _call(path)
        members |= json.loads(body) if body else {}
        chain = identity.certificate.read_bytes()
        client_id = self._client_id if identity == self._bootstrap else None
        client_id = client_id or _client_id(chain, members.get("deviceId"))
        if identity == self._bootstrap:
            members["bootstrap"] = certificates.leaf(chain)
        with self._connected(identity, client_id) as conversation:
            self._say(f"Waiting for {_WAITS_FOR[topic]}")
            accepted, said = conversation.ask(f"firstboot/{client_id}", topic, answer_topic, members)
        return self._answer(path, accepted=accepted, members=said)

    def _record(self, identity: Identity) -> Answer:
        """Return the answer to a log-in in place of the record, which no MQTT call has. Its `renew` compares
        the certificate's dates with the service's time.
        """
        answer = self.send(identity, "POST", f"{_CERTIFICATES}/commit")
        members = json.loads(answer.body)
        if answer.status != HTTPStatus.OK:
            return answer
        try:
            moment = datetime.strptime(members["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(Action.RETRY, "The answer has no time") from error
        members["renew"] = certificates.due(identity.certificate.read_bytes(), moment)
        return _http(HTTPStatus.OK, members)

    def _answer(self, path: str, *, accepted: bool, members: dict[str, Any]) -> Answer:
        """Return the answer in HTTPS's form, with the status that it would have there."""
        if not accepted:
            status = members.get("status")
            return _http(status if isinstance(status, int) else HTTPStatus.BAD_REQUEST, members)
        if path != _CERTIFICATES:
            return _http(HTTPStatus.OK, members)
        state = members.get("mqtt")
        seconds = state.get("retryAfter") if isinstance(state, dict) and not state.get("ready") else None
        self._registered_in = float(seconds) if isinstance(seconds, int | float) else None
        self._registered_at = time.monotonic() + (self._registered_in or 0)
        return _http(HTTPStatus.CREATED if "certificateId" in members else HTTPStatus.ACCEPTED, members)

    @contextmanager
    def _connected(self, identity: Identity, client_id: str) -> Iterator[_Conversation]:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=True,
            protocol=MQTTv311,
            reconnect_on_failure=False,
        )
        context = self._transport.context(identity)
        context.sslsocket_class = Socket
        client.tls_set_context(context)
        client.connect_timeout = CONNECT_SECONDS
        conversation = _Conversation(client)
        self._say(f"Connecting to {self._host}:{self._port} as {client_id}")
        try:
            conversation.connect(self._host, self._port)
            yield conversation
        except ssl.SSLCertVerificationError as error:
            raise untrusted(error, self._host) from error
        except OSError as error:
            if not conversation.connected:
                raise self._unconnected(identity, error) from error
            raise ConnectionEnded(f"No answer from {self._host}: {_reason(error)}") from error
        finally:
            client.disconnect()

    def _unconnected(self, identity: Identity, error: OSError) -> Refused:
        # A broker closes the connection without a reason. After an exchange the usual reason is that AWS IoT
        # has not registered the certificate yet.
        detail = f"No connection to {self._host}: {_reason(error)}"
        if certificates.expired(identity.certificate.read_bytes(), datetime.now(UTC)):
            return CertificateRefused(detail)
        if identity == self._bootstrap or self._registered_in is None:
            return Refused(Action.RETRY, detail)
        detail = f"AWS IoT does not know the new certificate yet ({_reason(error)})"
        return Refused(Action.WAIT, detail, retry_after=self._turn(), overloaded=True)

    def _turn(self) -> float:
        """Return the seconds until AWS IoT knows the certificate: at most an hour, and later a minute."""
        left = math.ceil(self._registered_at - time.monotonic())
        return min(left, _LONGEST_TURN) if left > 0 else min(self._registered_in or 0, _TURN_IN_VAIN)


class Socket(ssl.SSLSocket):
    """A TLS socket that closes when its handshake fails. paho-mqtt leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own signature
        """See ssl.SSLSocket."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class _Conversation:
    """One connection, for one request. `connected` is set once the broker has accepted it.

    Every method raises OSError if the broker closes the connection or does not answer in time.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._token = secrets.token_urlsafe(16)
        self.connected: ReasonCode | None = None
        self._subscribed: list[ReasonCode] | None = None
        self._answer: tuple[str, dict[str, Any]] | None = None
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    def connect(self, host: str, port: int) -> None:
        """Connect, and wait until the broker has accepted the connection."""
        self._client.connect(host, port, keepalive=CONNECT_SECONDS)
        self._wait(lambda: self.connected, CONNECT_SECONDS)

    def ask(
        self, root: str, topic: str, answer_topic: str, members: dict[str, Any]
    ) -> tuple[bool, dict[str, Any]]:
        """Send a request and wait for its answer, whose topics are subscribed to first.

        Returns whether the service accepted the request, and the members of its answer.
        """
        accepted, rejected = (f"{root}/{answer_topic}/{kind}" for kind in ("accepted", "rejected"))
        self._client.subscribe([(accepted, 1), (rejected, 1)])
        self._wait(lambda: self._subscribed, CONNECT_SECONDS)
        request = json.dumps(members | {"clientToken": self._token})
        self._client.publish(f"{root}/{topic}", request, qos=1)
        where, said = self._wait(lambda: self._answer, TIMEOUT_SECONDS)
        return where == accepted, said

    def _wait(self, arrived: Callable[[], Arrived | None], seconds: float) -> Arrived:
        end = time.monotonic() + seconds
        while (thing := arrived()) is None:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self._loop(min(left, 1.0)) is not MQTTErrorCode.MQTT_ERR_SUCCESS and arrived() is None:
                raise ConnectionError
        return thing

    def _loop(self, seconds: float) -> MQTTErrorCode:
        """Wait for the socket, then let the client read, write and keep the connection alive.

        This replaces `Client.loop`, which makes a pair of sockets and leaves them to the garbage collector.
        """
        connection = self._client.socket()
        if connection is None:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        writing = [connection] if self._client.want_write() else []
        # select does not see bytes that TLS has decrypted already.
        pending = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        readable, writable, _ = select.select([connection], writing, [], 0 if pending else seconds)
        code = self._client.loop_read() if readable or pending else MQTTErrorCode.MQTT_ERR_SUCCESS
        if writable and code is MQTTErrorCode.MQTT_ERR_SUCCESS:
            code = self._client.loop_write()
        return self._client.loop_misc() if code is MQTTErrorCode.MQTT_ERR_SUCCESS else code

    def _on_connect(
        self, _client: Client, _data: object, _flags: object, code: ReasonCode, _: object
    ) -> None:
        if not code.is_failure:
            self.connected = code

    def _on_subscribe(
        self, _client: Client, _data: object, _id: int, codes: list[ReasonCode], _: object
    ) -> None:
        self._subscribed = codes

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        """Keep the answer that has this request's token. Every other message answers another request."""
        if len(message.payload) > ANSWER_LIMIT + _TOKEN_LIMIT:
            return
        try:
            members = json.loads(message.payload)
        except (ValueError, RecursionError):
            return
        ours = isinstance(members, dict) and members.pop("clientToken", None) == self._token
        if ours and not self._answer:
            self._answer = (message.topic, members)


def parse(address: str) -> tuple[str, int]:
    """Return the host and the port of HOST:PORT. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _call(path: str) -> tuple[str, str, dict[str, Any]]:
    """Return the topics of an HTTPS call, below the client's own: the request's and its answers'.

    The third value is the members that stand in the path over HTTPS and in the request over MQTT.
    """
    if path == _CERTIFICATES:
        return "certificates/request", "certificates", {}
    if path == f"{_CERTIFICATES}/commit":
        return "certificates/commit", "certificates/commit", {}
    alias = path.removeprefix("/role-aliases/").removesuffix("/credentials")
    return "credentials/request", "credentials", {"roleAlias": unquote(alias)}


def _client_id(chain: bytes, device_id: str | None) -> str:
    """Return the name in the certificate, or `boot-` and the device id if the certificate is shared."""
    try:
        name = certificates.common_name(chain)
    except (ValueError, IndexError) as error:
        raise Refused(Action.STOP, "The certificate has no common name") from error
    return name if device_id in (None, name) else f"boot-{device_id}"


def _http(status: int, members: dict[str, Any]) -> Answer:
    return Answer(status, Message(), json.dumps(members).encode())


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or type(error).__name__)
