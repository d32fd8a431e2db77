"""The service behind AWS IoT's broker: a third host, by MQTT 3.1.1 (docs/protocol.md, "Over MQTT").

This needs paho-mqtt, so nothing imports it unless it is asked for. Each call is a connection of its
own: a device that is connected as itself already is taken over by the broker, and must reconnect.
"""

from __future__ import annotations

import json
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

from device import certificates
from device.hosts import ANSWER_LIMIT
from device.refusal import Action, CertificateRefused, Refused
from device.store import Identity
from device.transport import TIMEOUT_SECONDS, Answer, Transport

CONNECT_SECONDS = 30
"""For a TLS handshake, and for each of the broker's own answers; and MQTT's keep-alive."""

_TOKEN_LIMIT = 128
"""What the echoed `clientToken` may add to an answer."""

_CERTIFICATES = "/v1/certificates"

Arrived = TypeVar("Arrived")


class Broker:
    """The broker at `address` (HOST:PORT). The identity is the TLS client's; `bootstrap` must be shown
    in the request too, since AWS IoT tells the service no more than its digest.
    """

    def __init__(self, address: str, transport: Transport, bootstrap: Identity | None = None) -> None:
        self._host, self._port = parse(address)
        self._transport = transport
        self._bootstrap = bootstrap
        self._registered_in: float | None = None

    def send(self, identity: Identity, method: str, path: str, body: bytes | None = None) -> Answer:
        """See Host."""
        if method == "GET" and path == "/v1/device":
            return self._record(identity)
        topic, answer_topic, members = _call(path)
        members |= json.loads(body) if body else {}
        chain = identity.certificate.read_bytes()
        client_id = _client_id(chain, members.get("deviceId"))
        if identity == self._bootstrap:
            members["bootstrap"] = certificates.leaf(chain)
        with self._connected(identity, client_id) as conversation:
            accepted, said = conversation.ask(f"firstboot/{client_id}", topic, answer_topic, members)
        return self._answer(path, accepted=accepted, members=said)

    def _record(self, identity: Identity) -> Answer:
        """No MQTT call has the record: what a log-in says, and whether the certificate is due, by its
        own dates and the service's clock.
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
        """The answer as HTTPS has it, where the status says what kind it is."""
        if not accepted:
            status = members.get("status")
            return _http(status if isinstance(status, int) else HTTPStatus.BAD_REQUEST, members)
        if path != _CERTIFICATES:
            return _http(HTTPStatus.OK, members)
        state = members.get("mqtt")
        seconds = state.get("retryAfter") if isinstance(state, dict) and not state.get("ready") else None
        self._registered_in = float(seconds) if isinstance(seconds, int | float) else None
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
        context.sslsocket_class = _Socket
        client.tls_set_context(context)
        client.connect_timeout = CONNECT_SECONDS
        conversation = _Conversation(client)
        try:
            conversation.connect(self._host, self._port)
            yield conversation
        except OSError as error:
            if not conversation.connected:
                raise self._unconnected(identity, error) from error
            raise Refused(Action.RETRY, f"No answer from {self._host}: {_reason(error)}") from error
        finally:
            client.disconnect()

    def _unconnected(self, identity: Identity, error: OSError) -> Refused:
        # Why a broker turns a certificate away it does not say: not registered yet is the usual case.
        detail = f"No connection to {self._host}: {_reason(error)}"
        if certificates.expired(identity.certificate.read_bytes(), datetime.now(UTC)):
            return CertificateRefused(detail)
        if identity == self._bootstrap or self._registered_in is None:
            return Refused(Action.RETRY, detail)
        return Refused(Action.WAIT, detail, retry_after=self._registered_in)


class _Socket(ssl.SSLSocket):
    """paho-mqtt leaves a socket whose handshake failed to the garbage collector; this one is closed."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's own signature
        """See ssl.SSLSocket."""
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class _Conversation:
    """One connection, for one question; `connected` once the broker has said yes. Every method raises
    OSError if the broker hangs up or is silent.
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
        """Connect, until the broker has said yes."""
        self._client.connect(host, port, keepalive=CONNECT_SECONDS)
        self._wait(lambda: self.connected, CONNECT_SECONDS)

    def ask(
        self, root: str, topic: str, answer_topic: str, members: dict[str, Any]
    ) -> tuple[bool, dict[str, Any]]:
        """Whether the service accepted what is asked, and what it says. The answers are subscribed to
        before the question is put.
        """
        accepted, rejected = (f"{root}/{answer_topic}/{kind}" for kind in ("accepted", "rejected"))
        self._client.subscribe([(accepted, 1), (rejected, 1)])
        self._wait(lambda: self._subscribed, CONNECT_SECONDS)
        question = json.dumps(members | {"clientToken": self._token})
        self._client.publish(f"{root}/{topic}", question, qos=1)
        where, said = self._wait(lambda: self._answer, TIMEOUT_SECONDS)
        return where == accepted, said

    def _wait(self, arrived: Callable[[], Arrived | None], seconds: float) -> Arrived:
        end = time.monotonic() + seconds
        while (thing := arrived()) is None:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self._turn(min(left, 1.0)) is not MQTTErrorCode.MQTT_ERR_SUCCESS and arrived() is None:
                raise ConnectionError
        return thing

    def _turn(self, seconds: float) -> MQTTErrorCode:
        """Wait for the socket, then have the client read, write and keep the connection alive.

        `Client.loop` would do this, but it makes a pair of sockets that it leaves to the garbage collector.
        """
        connection = self._client.socket()
        if connection is None:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        writing = [connection] if self._client.want_write() else []
        # What TLS has decrypted already is not seen by select.
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
        """Take the answer to our question. Whatever else comes is another question's, or another's."""
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
    """The host and the port of HOST:PORT. Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def _call(path: str) -> tuple[str, str, dict[str, Any]]:
    """An HTTPS call's topics, below the client's own: the question's and the answers'; and what the
    question says that stands in the path there.
    """
    if path == _CERTIFICATES:
        return "certificates/request", "certificates", {}
    if path == f"{_CERTIFICATES}/commit":
        return "certificates/commit", "certificates/commit", {}
    alias = path.removeprefix("/role-aliases/").removesuffix("/credentials")
    return "credentials/request", "credentials", {"roleAlias": unquote(alias)}


def _client_id(chain: bytes, device_id: str | None) -> str:
    """A certificate that names its device connects as that; one that many share, as the one that asks."""
    try:
        name = certificates.common_name(chain)
    except (ValueError, IndexError) as error:
        raise Refused(Action.STOP, "The certificate names nobody") from error
    return name if device_id in (None, name) else f"boot-{device_id}"


def _http(status: int, members: dict[str, Any]) -> Answer:
    return Answer(status, Message(), json.dumps(members).encode())


def _reason(error: OSError) -> str:
    return str(getattr(error, "reason", None) or type(error).__name__)
