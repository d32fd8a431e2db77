"""Test the calls over MQTT with clients of other authors and the emulator's broker."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.domain import topics
from tests import factories
from tests.clients.mqtt import CLIENTS, mosquitto_run
from tests.flows.conftest import Cloud, until
from tests.flows.devices import Device, issued
from tests.flows.mqtt import Ask, Identity
from tests.flows.test_mqtt import ANOTHER, booted, operational, out_of_the_box

__all__ = ["booted"]  # a fixture


@pytest.mark.parametrize("ask", CLIENTS.values(), ids=CLIENTS)
def test_other_clients_do_the_same(cloud: Cloud, tmp_path: Path, ask: Ask) -> None:
    """Each client gets a certificate, waits until AWS IoT knows it, logs in and gets credentials."""
    factory = out_of_the_box(cloud, tmp_path)
    key = factories.ec_key()
    request = {"csr": factories.pem(factories.csr(key)), "deliver": "inline", "configuration": True}
    request |= {"bootstrap": factory.certificate.read_text(), "clientToken": "the same"}
    topic, answer = ask(factory, topics.CERTIFICATES, request)
    assert topic == topics.CERTIFICATES.accepted_topic(factory.client_id)
    assert (answer["clientToken"], answer["configuration"]) == ("the same", {})
    until(lambda: ask(factory, topics.CERTIFICATES, request)[1]["mqtt"]["ready"])
    own = _own(factory, answer, key)
    topic, committed = ask(own, topics.COMMIT, {})
    assert topic == topics.COMMIT.accepted_topic(own.client_id)
    assert (committed["certificateId"], committed["status"]) == (own.certificate_id, "active")
    topic, vended = ask(own, topics.CREDENTIALS, {"roleAlias": "telemetry"})
    assert topic == topics.CREDENTIALS.accepted_topic(own.client_id)
    assert set(vended["credentials"]) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}
    assert len(issued(cloud, own.client_id)) == 1


def _own(factory: Identity, answer: dict[str, Any], key: Any) -> Identity:
    leaf = x509.load_der_x509_certificate(base64.b64decode(answer["certificate"]))
    folder = factory.certificate.parent
    (folder / "own.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "own.key").write_text(factories.key_pem(key))
    return Identity(factory.cloud, folder / "own.pem", folder / "own.key", factory.client_id)


def test_no_client_connects_as_another(booted: Device) -> None:
    """The broker refuses mosquitto's clients under another client id than the certificate's device."""
    who = operational(booted, ANOTHER)
    done = mosquitto_run("mosquitto_pub", who, "-t", topics.COMMIT.request_topic(ANOTHER), "-m", "{}")
    assert done.returncode != 0
    done = mosquitto_run("mosquitto_sub", who, "-t", topics.COMMIT.accepted_topic(ANOTHER), "-E", "-W", "5")
    assert done.returncode != 0
