"""Test the emulator's broker with mosquitto's clients. test_scenarios.py has the calls over MQTT."""

from __future__ import annotations

from firstboot.domain import topics
from tests.clients.mqtt import mosquitto_run
from tests.flows.devices import Device
from tests.flows.test_mqtt import ANOTHER, booted, operational

__all__ = ["booted"]  # a fixture


def test_no_client_connects_as_another(booted: Device) -> None:
    """The broker refuses mosquitto's clients under another client id than the certificate's device."""
    who = operational(booted, ANOTHER)
    done = mosquitto_run("mosquitto_pub", who, "-t", topics.COMMIT.request_topic(ANOTHER), "-m", "{}")
    assert done.returncode != 0
    done = mosquitto_run("mosquitto_sub", who, "-t", topics.COMMIT.accepted_topic(ANOTHER), "-E", "-W", "5")
    assert done.returncode != 0
