"""Strangers speak the protocols of other services: Azure DPS, EST, IAM Roles Anywhere, fleet provisioning.

What counts is what leaves the process. A stranger's request makes no write, and one read at most, which is
the read of a key that the process then keeps. In a new process it may also read the published fleet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from firstboot.aws import clients
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.domain.ways import WAYS
from firstboot.pki import password
from tests import factories, signed_requests
from tests.attacks.test_10_before_a_signature import Wire
from tests.aws import est, test_dps
from tests.aws.deployed import ACCOUNT
from tests.aws.product import CONTEXT, HOST, Product
from tests.aws.test_dps import Device
from tests.aws.test_roles_anywhere import ARNS

dps = test_dps.dps
FLEET, ROW = "s3.GetObject", "dynamodb.GetItem"
SECRET, CERTIFICATE = "secrets-manager.GetSecretValue", "iot.DescribeCertificate"
KEY = factories.ec_key()
STRANGER = factories.authority("Stranger").issue("gw-1", KEY)


@pytest.fixture
def attacked(dps: Product, monkeypatch: pytest.MonkeyPatch) -> Product:
    """Return new processes of a deployment with all ways in."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    dps.records.make_password_key()
    groups = {name: replace(each, ways=WAYS) for name, each in dps.fleet.groups.items()}
    Path(aws_fleet._DEPLOYED).write_text(replace(dps.fleet, groups=groups).to_json())
    dps.lambdas.restart()
    return dps


@pytest.fixture
def wire(attacked: Product) -> Iterator[Wire]:
    """Yield the record of every AWS request of the functions."""
    del attacked
    found = Wire()
    made: list[Any] = [
        *(clients.dynamodb(), clients.s3(ACCOUNT), clients.kms(), clients.sts()),
        *(clients.iot(), clients.iot_data(), clients.secrets_manager()),
    ]
    for client in made:
        client.meta.events.register_first("before-send", found)
    yield found
    for client in made:
        client.meta.events.unregister("before-send", found)


def _basic(product: Product, text: str) -> int:
    given = est.basic("gw-1", text)
    return est.send(product, est.ENROLL, est.csr(), authorization=given).status


def _forged_password(product: Product) -> int:
    made, _ = password.make(b"x" * password.KEY_BYTES, "gw-1", "gateways", datetime.now(UTC))
    return _basic(product, made)


def _session(product: Product, **changes: str) -> int:
    body = json.dumps(ARNS)
    url = f"https://{HOST}/sessions"
    headers = signed_requests.sign(KEY, STRANGER, url, body.encode(), product.lambdas.now())
    return product.call("POST", "/sessions", None, body, headers | changes).status


def _hook(product: Product) -> int:
    event = {
        "claimCertificateId": "0" * 64,
        "certificateId": "1" * 64,
        "certificatePem": factories.pem(STRANGER),
        "parameters": {"DeviceId": "gw-1"},
    }
    assert product.lambdas.provisioning(event, CONTEXT) == {"allowProvisioning": False}
    return 403


def _renamed(product: Product) -> int:
    """Send a new registration id each time, which may not lead to a new read."""
    return Device(product, f"sn-{token_hex(8)}", key=b"x" * 32).register().status


STRANGERS: dict[str, tuple[Callable[[Product], int], list[str], list[str]]] = {
    # Each has the reads that its first request may make beside the fleet's, and those of each later one.
    "DPS, another key": (lambda p: Device(p, "sn-1", key=b"x" * 32).register().status, [SECRET], []),
    "DPS, another name each time": (_renamed, [SECRET], []),
    "DPS, no signature": (lambda p: Device(p, "sn-1", authorization="x").register().status, [], []),
    "DPS, state": (lambda p: Device(p, "sn-1", key=b"x" * 32).state().status, [SECRET], []),
    "DPS, operation": (lambda p: Device(p, "sn-1", key=b"x" * 32).poll("1").status, [SECRET], []),
    "DPS, certificate": (lambda p: Device(p, "gw-1", leaf=STRANGER).register().status, [], []),
    "EST, text": (lambda p: _basic(p, "letmein"), [ROW], []),
    "EST, forged password": (_forged_password, [ROW], []),
    "EST, no password": (lambda p: est.send(p, est.ENROLL, est.csr()).status, [], []),
    "EST, certificate": (lambda p: est.send(p, est.ENROLL, est.csr(), leaf=STRANGER).status, [], []),
    "sessions, certificate": (_session, [], []),
    "sessions, forged": (lambda p: _session(p, **{"x-amz-date": "20261128T000000Z"}), [], []),
    "hook, unknown claim certificate": (_hook, [CERTIFICATE], [CERTIFICATE]),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_makes_no_write_and_one_read(attacked: Product, wire: Wire, name: str) -> None:
    """A stranger is refused without a write, and reads a key once in a process, under any name."""
    send, first, later = STRANGERS[name]
    before = attacked.rows(), attacked.objects()
    wire.take()
    assert send(attacked) in (400, 401, 403)
    made = wire.take()
    assert [each for each in made if each != FLEET] == first
    assert made.count(FLEET) <= 1
    for _ in range(5):
        assert send(attacked) in (400, 401, 403)
        assert wire.take() == later
    assert (attacked.rows(), attacked.objects()) == before
