"""A client for many questions to an MQTT 5 broker: a refusal has a reason code and keeps the connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.paho_clients import end

_SECONDS = 120
# MQTT 5, "2.4 Reason Code": not authorized. Any other failure is not a policy's decision.
_REFUSED = 0x87
_UNUSED = "filter/without/subscription"
_END = -1

_Answers = SimpleQueue[tuple[int, list[ReasonCode]]]
"""The broker's answers: a packet's number (`_END` at the connection's end) and its reason codes."""


@dataclass(frozen=True)
class Login:
    """A broker, as endpoints.json describes it, and the files of a certificate and its key.

    `principal` is the certificate's ARN.
    """

    broker: Mapping[str, Any]
    principal: str
    certificate: Path
    key: Path


class Connection:
    """A connected client. `received` holds the topics and payloads of the messages it received."""

    def __init__(self, client: Client, answers: _Answers) -> None:
        self._client = client
        self._answers = answers
        self.received: set[tuple[str, str]] = set()
        client.on_message = lambda _, __, message: self.received.add(
            (message.topic, message.payload.decode())
        )

    def subscribe(self, filters: Sequence[str]) -> list[bool]:
        """Return whether each filter was granted, by the codes of SUBACK."""
        if not filters:
            return []
        self._client.subscribe([(each, SubscribeOptions(qos=1)) for each in filters])
        return _granted(_next(self._answers)[1])

    def publish(self, messages: Sequence[tuple[str, str]], *, retain: bool = False) -> list[bool]:
        """Return whether each message, a topic and a payload, was accepted, by the codes of PUBACK."""
        sent = [self._client.publish(topic, payload, qos=1, retain=retain) for topic, payload in messages]
        answers = dict(_next(self._answers) for _ in messages)
        return [_granted(answers[each.mid]) == [True] for each in sent]

    def settle(self) -> None:
        """Wait until every message that the broker sent before this call has been received."""
        self._client.unsubscribe(_UNUSED)
        _next(self._answers)


@contextmanager
def connected(login: Login, client_id: str) -> Iterator[Connection | None]:
    """Yield a connection with this client id, or None if the broker refuses it."""
    answers: _Answers = SimpleQueue()
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
    )
    client.tls_set(login.broker["ca"], str(login.certificate), str(login.key))
    client.on_connect = lambda _, __, ___, code, ____: answers.put((0, [code]))
    client.on_subscribe = lambda _, __, number, codes, ____: answers.put((number, codes))
    client.on_unsubscribe = lambda _, __, number, codes, ____: answers.put((number, codes))
    client.on_publish = lambda _, __, number, code, ____: answers.put((number, [code]))
    client.on_disconnect = lambda *_: answers.put((_END, []))
    connection = Connection(client, answers)
    client.connect(login.broker["host"], login.broker["port"])
    client.loop_start()
    try:
        yield connection if _granted(_next(answers)[1]) == [True] else None
    finally:
        end(client)


def _next(answers: _Answers) -> tuple[int, list[ReasonCode]]:
    number, codes = answers.get(timeout=_SECONDS)
    assert number != _END, "the broker closed the connection without an answer"
    return number, codes


def _granted(codes: Sequence[ReasonCode]) -> list[bool]:
    """Return whether a policy allowed each request; a failure with another cause fails the test."""
    for code in codes:
        assert code.value == _REFUSED or not code.is_failure, f"{code} is no decision of a policy"
    return [not code.is_failure for code in codes]
