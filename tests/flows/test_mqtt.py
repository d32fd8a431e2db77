"""First boot, commit and credentials of our device over MQTT, against the emulator's broker, which
evaluates the policies that Firstboot makes. tests/clients/test_mqtt.py has other clients.
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
    """A device whose bootstrap certificate AWS IoT has come to know by its first connections."""
    name = fresh_name()
    who = Identity(cloud, *cloud.bootstrap(name, folder), name)
    until(lambda: _survives(who, lambda _: None))
    return who


@pytest.fixture(scope="module")
def booted(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """A device that has booted over MQTT, with a bootstrap certificate that AWS IoT never saw."""
    device = Device(cloud, fresh_name(), tmp_path_factory.mktemp("device"), "mqtt")
    assert device.boot()["status"] == "active"
    return device


def test_first_boot_over_mqtt(booted: Device) -> None:
    """One certificate; with it the device renews and gets credentials, all over MQTT."""
    assert len(issued(booted.cloud, booted.name)) == 1
    assert booted.status()["deviceId"] == booted.name
    assert printed(booted.run(*booted.credentials_arguments("telemetry")))["Version"] == 1
    before = booted.leaf
    assert printed(booted.run("renew", "--state", str(booted.state)))["status"] == "active"
    assert booted.leaf != before
    assert len(issued(booted.cloud, booted.name)) == 2


def test_a_repeated_boot_is_no_enrollment(booted: Device) -> None:
    """It logs in."""
    before = booted.leaf
    booted.boot()
    assert booted.leaf == before


def operational(device: Device, client_id: str | None = None) -> Identity:
    """A booted device as a client."""
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
def test_no_client_hears_another(booted: Device, topic: str) -> None:
    """Neither by name nor by wildcard, with the device's own certificate."""
    assert not _survives(operational(booted), lambda client: client.subscribe(topic, 1))


@pytest.mark.parametrize("call", topics.CALLS)
def test_no_client_speaks_for_another(booted: Device, call: topics.Call) -> None:
    """Another's request topics are closed; one's own are open."""
    assert not _survives(
        operational(booted), lambda client: client.publish(call.request_topic(ANOTHER), "{}", 1)
    )
    assert _survives(
        operational(booted), lambda client: client.publish(call.request_topic(booted.name), "{}", 1)
    )


@pytest.mark.parametrize("call", [topics.COMMIT, topics.CREDENTIALS])
def test_a_bootstrap_certificate_only_enrolls(cloud: Cloud, tmp_path: Path, call: topics.Call) -> None:
    """Operational topics are closed to it, under its own name."""
    who = out_of_the_box(cloud, tmp_path)
    assert _survives(
        who, lambda client: client.publish(topics.CERTIFICATES.request_topic(who.client_id), "{}", 1)
    )
    assert not _survives(who, lambda client: client.publish(call.request_topic(who.client_id), "{}", 1))
    assert not _survives(who, lambda client: client.subscribe(call.accepted_topic(who.client_id), 1))


def test_a_revoked_device_is_disconnected(cloud: Cloud, tmp_path: Path) -> None:
    """Its open connection ends, and it gets no other."""
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
    assert not _survives(operational(device), lambda _: None)


def _survives(who: Identity, act: Any) -> bool:
    """Whether a connection is there, and still is after `act` and a request that must be answered."""
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
