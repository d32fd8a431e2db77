"""First boot, commit and credentials of the reference client over MQTT.

The emulator's broker evaluates Firstboot's policies. tests/clients/test_mqtt.py has other clients.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from firstboot.domain import topics
from tests.flows.conftest import Cloud, until
from tests.flows.devices import Device, fresh_name, issued, printed, revoke
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
