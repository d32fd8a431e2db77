"""Identities for the broker of a cloud, and a call by a plain MQTT client."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from firstboot.domain.topics import Call
from firstboot.pki import chain
from tests.flows.conftest import Cloud
from tests.paho_clients import end

SECONDS = 120

Members = dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, as files, and the client id to connect with."""

    cloud: Cloud
    certificate: Path
    key: Path
    client_id: str

    @property
    def certificate_id(self) -> str:
        """Return AWS IoT's id of the certificate."""
        return chain.fingerprint(x509.load_pem_x509_certificates(self.certificate.read_bytes())[0])

    @property
    def broker(self) -> Members:
        """Return the broker's `host`, `port` and `ca`."""
        found: Members = self.cloud.endpoints["mqtt"]
        return found

    def connection(
        self, protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311, *, clean_session: bool = True
    ) -> Client:
        """Return a paho client that has not connected yet. MQTT 5 has no `clean_session`."""
        made = Client(
            CallbackAPIVersion.VERSION2,
            self.client_id,
            clean_session=None if protocol == MQTTProtocolVersion.MQTTv5 else clean_session,
            protocol=protocol,
            reconnect_on_failure=False,
        )
        made.tls_set(self.broker["ca"], str(self.certificate), str(self.key))
        return made


Ask = Callable[[Identity, Call, Members], tuple[str, Members]]
"""A function that makes a call, and returns the topic and the members of the answer."""


def paho(protocol: MQTTProtocolVersion) -> Ask:
    """Return an `Ask` by paho-mqtt."""

    def ask(who: Identity, call: Call, members: Members) -> tuple[str, Members]:
        answers: queue.Queue[tuple[str, Members]] = queue.Queue()
        subscribed = threading.Event()
        connection = who.connection(protocol)
        connection.on_message = lambda _, __, message: answers.put(
            (message.topic, json.loads(message.payload))
        )
        connection.on_subscribe = lambda *_: subscribed.set()
        connection.connect(who.broker["host"], who.broker["port"])
        connection.loop_start()
        try:
            connection.subscribe([(topic, 1) for topic in call.answer_topics(who.client_id)])
            assert subscribed.wait(SECONDS)
            connection.publish(call.request_topic(who.client_id), json.dumps(members), qos=1)
            return answers.get(timeout=SECONDS)
        finally:
            end(connection)

    return ask
