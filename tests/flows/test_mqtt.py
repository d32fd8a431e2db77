"""First boot, commit and credentials of the reference client over MQTT.

The emulator's broker evaluates Firstboot's policies. tests/clients/test_mqtt.py has other clients.
"""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from firstboot.domain import topics
from firstboot.pki import chain
from tests import factories
from tests.flows.conftest import Cloud, until
from tests.flows.devices import (
    Device,
    client,
    fresh_name,
    issued,
    operate,
    output,
    printed,
    recorded,
    revoke,
)
from tests.flows.mqtt import SECONDS, Identity
from tests.paho_clients import end


def out_of_the_box(cloud: Cloud, folder: Path) -> Identity:
    """Return a device whose bootstrap certificate its first connections have registered with AWS IoT."""
    name = fresh_name()
    who = Identity(cloud, *cloud.bootstrap(name, folder), name)
    until(lambda: survives(who, lambda _: None))
    return who


@pytest.fixture(scope="module")
def booted(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A device that has booted over MQTT with a bootstrap certificate that AWS IoT did not know."""
    device = Device(cloud, fresh_name(), tmp_path_factory.mktemp("device"), "mqtt")
    assert device.boot()["status"] == "active"
    return device


def test_first_boot_over_mqtt(booted: Device) -> None:
    """A device boots, gets credentials and renews over MQTT, which issues two certificates in all."""
    assert len(issued(booted.cloud, booted.name)) == 1
    assert booted.status()["deviceId"] == booted.name
    assert printed(booted.run(*booted.credentials_arguments("telemetry")))["Version"] == 1
    before = booted.leaf
    assert printed(booted.run("renew", "--state", str(booted.state)))["status"] == "active"
    assert booted.leaf != before
    assert len(issued(booted.cloud, booted.name)) == 2


def test_a_repeated_boot_is_no_enrollment(booted: Device) -> None:
    """A repeated boot logs in and keeps the certificate."""
    before = booted.leaf
    booted.boot()
    assert booted.leaf == before


def operational(device: Device, client_id: str | None = None) -> Identity:
    """Return the operational identity of a booted device."""
    return Identity(device.cloud, *device.identity, client_id or device.name)


ANOTHER = "gw-another"


@pytest.mark.parametrize(
    "topic",
    [
        "#",
        "firstboot/#",
        "firstboot/+/certificates/accepted",
        f"firstboot/{ANOTHER}/certificates/accepted",
        "$aws/events/#",
    ],
)
def test_no_client_subscribes_to_another_s_topics(booted: Device, topic: str) -> None:
    """A device can't subscribe to another device's topics, by name or by wildcard."""
    assert not survives(operational(booted), lambda client: client.subscribe(topic, 1))


@pytest.mark.parametrize("call", topics.CALLS)
def test_no_client_publishes_for_another(booted: Device, call: topics.Call) -> None:
    """A device can publish to its own request topics, and not to another device's."""
    assert not survives(
        operational(booted), lambda client: client.publish(call.request_topic(ANOTHER), "{}", 1)
    )
    assert survives(
        operational(booted), lambda client: client.publish(call.request_topic(booted.name), "{}", 1)
    )


@pytest.mark.parametrize("call", [topics.COMMIT, topics.CREDENTIALS])
def test_a_bootstrap_certificate_only_enrolls(cloud: Cloud, tmp_path: Path, call: topics.Call) -> None:
    """A bootstrap certificate can publish a certificate request, and use no other call's topics."""
    who = out_of_the_box(cloud, tmp_path)
    assert survives(
        who, lambda client: client.publish(topics.CERTIFICATES.request_topic(who.client_id), "{}", 1)
    )
    assert not survives(who, lambda client: client.publish(call.request_topic(who.client_id), "{}", 1))
    assert not survives(who, lambda client: client.subscribe(call.accepted_topic(who.client_id), 1))


def test_a_revoked_device_is_disconnected(cloud: Cloud, tmp_path: Path) -> None:
    """Revoking a device closes its connection, and it can't connect again."""
    factory = out_of_the_box(cloud, tmp_path)
    device = Device(cloud, factory.client_id, tmp_path, "mqtt")
    device.boot()
    client, connected, gone = _connection(operational(device))
    try:
        assert connected.wait(SECONDS)
        revoke(cloud, device.name)
        assert gone.wait(SECONDS)
    finally:
        end(client)
    assert not survives(operational(device), lambda _: None)


def test_no_credentials_wait_for_a_later_connection(booted: Device) -> None:
    """A persistent session that was offline gets the commit's answer later, and never credentials.

    The functions answer while no client is connected, as after a request whose client has gone.
    """
    who = operational(booted)
    calls = topics.CREDENTIALS, topics.COMMIT
    filters = [(topic, 1) for call in calls for topic in call.answer_topics(who.client_id)]
    heard: queue.Queue[str] = queue.Queue()
    with _session(who, heard) as subscribed:
        subscribed(filters)
    _answered(who, "vend", topics.CREDENTIALS, {"roleAlias": "telemetry"})
    _answered(who, "exchange", topics.COMMIT, {})
    with _session(who, heard):
        assert heard.get(timeout=SECONDS) == topics.COMMIT.accepted_topic(who.client_id)
    assert heard.empty()


def test_a_forged_dead_letter_enrolls_no_device(cloud: Cloud, tmp_path: Path) -> None:
    """A request that was written into the dead-letter queue is shown and deleted, and gets no certificate.

    Its writer knows the device's bootstrap certificate and not its key, and asks with a key of its own.
    """
    name, sqs, call = fresh_name(), client(cloud, "sqs"), topics.CERTIFICATES
    bootstrap = x509.load_pem_x509_certificate(cloud.bootstrap(name, tmp_path)[0].read_bytes())
    asked = {
        "csr": factories.pem(factories.csr(factories.ec_key())),
        "bootstrap": factories.pem(bootstrap),
    }
    forged = {
        "requestContext": {"functionArn": _behind_rules(cloud, "exchange"), "condition": "RetriesExhausted"},
        "requestPayload": _event(name, chain.fingerprint(bootstrap), call, asked),
    }
    (url,) = (each for each in sqs.list_queues()["QueueUrls"] if "MqttUndelivered" in each)
    sqs.send_message(QueueUrl=url, MessageBody=json.dumps(forged))
    event = {"operation": "failures.redrive", "parameters": {"failures": "requests"}}
    refused = client(cloud, "lambda").invoke(
        FunctionName=output(cloud, "OperateFunction"), Payload=json.dumps(event)
    )
    assert json.load(refused["Payload"])["problem"]["code"] == "malformed-request"
    shown = operate(cloud, "failures.show", failures="requests")["letters"]
    assert (name, call.request) in {(each["clientId"], each["call"]) for each in shown}
    until(lambda: operate(cloud, "failures.delete", failures="requests")["deleted"])
    assert not recorded(cloud, name)
    assert issued(cloud, name) == []


@contextmanager
def _session(who: Identity, heard: queue.Queue[str]) -> Iterator[Callable[[Any], None]]:
    """Connect with a persistent session, put messages' topics into `heard`, and yield what subscribes."""
    client = who.connection(clean_session=False)
    subscribed, connected = threading.Event(), threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _, __, message: heard.put(message.topic)

    def subscribe(filters: Any) -> None:
        client.subscribe(filters)
        assert subscribed.wait(SECONDS)

    client.connect(who.broker["host"], who.broker["port"])
    client.loop_start()
    try:
        assert connected.wait(SECONDS)
        yield subscribe
    finally:
        end(client)


def _answered(who: Identity, name: str, call: topics.Call, members: Any) -> None:
    """Give a request to the Lambda behind the topic rules, as AWS IoT would."""
    event = _event(who.client_id, who.certificate_id, call, members)
    function = _behind_rules(who.cloud, name)
    answer = client(who.cloud, "lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    assert "FunctionError" not in answer


def _event(client_id: str, principal: str, call: topics.Call, members: Any) -> dict[str, str]:
    """Return the event that the topic rules make of a request."""
    encoded = base64.b64encode(json.dumps(members).encode()).decode()
    topic = call.request_topic(client_id)
    return {"payload": encoded, "clientId": client_id, "principal": principal, "topic": topic}


def _behind_rules(cloud: Cloud, name: str) -> str:
    """Return the ARN of the Lambda behind the topic rules that has the code of `name`."""
    (function,) = (
        each["FunctionArn"]
        for page in client(cloud, "lambda").get_paginator("list_functions").paginate()
        for each in page["Functions"]
        if each["Handler"] == f"{name}.mqtt"
    )
    return str(function)


def survives(who: Identity, act: Any) -> bool:
    """Return whether the broker accepts a connection and keeps it open after `act`."""
    client, connected, gone = _connection(who)
    acknowledged = threading.Event()
    client.on_publish = lambda *_: acknowledged.set()
    client.on_subscribe = lambda *_: acknowledged.set()
    try:
        while not connected.wait(0.05):
            if gone.is_set():
                return False
        if (done := act(client)) is None:
            return True
        assert done
        while not acknowledged.wait(0.05):
            if gone.is_set():
                return False
        return not gone.wait(1)
    finally:
        end(client)


def _connection(who: Identity) -> tuple[Any, threading.Event, threading.Event]:
    client = who.connection()
    connected, gone = threading.Event(), threading.Event()
    client.on_connect = lambda _, __, ___, code, ____: None if code.is_failure else connected.set()
    client.on_disconnect = lambda *_: gone.set()
    client.connect(who.broker["host"], who.broker["port"])
    client.loop_start()
    return client, connected, gone
