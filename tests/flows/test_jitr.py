"""Just-in-time registration with paho: the broker sees a bootstrap certificate that AWS IoT does not know."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import paho.mqtt.client as mqtt
import pytest
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.enums import CallbackAPIVersion

from firstboot.domain.names import JITR_PREFIX
from tests import factories
from tests.flows.conftest import Cloud, save, until
from tests.flows.devices import client, fresh_name, operate, output
from tests.paho_clients import end

CLOSED = "closed"


@contextmanager
def connecting(cloud: Cloud, client_id: str, files: tuple[Path, Path]) -> Iterator[tuple[mqtt.Client, str]]:
    """Connect a client with a certificate, and yield it with `CLOSED` or the broker's answer."""
    outcomes: SimpleQueue[str] = SimpleQueue()
    endpoint = cloud.endpoints["mqtt"]
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False)
    made.tls_set(endpoint["ca"], str(files[0]), str(files[1]))
    made.on_connect = lambda *arguments: outcomes.put(str(arguments[3]))
    made.on_disconnect = lambda *_: outcomes.put(CLOSED)
    made.connect(endpoint["host"], endpoint["port"])
    made.loop_start()
    try:
        yield made, outcomes.get(timeout=120)
    finally:
        end(made)


def outcome(cloud: Cloud, client_id: str, files: tuple[Path, Path]) -> str:
    """Connect, and return `CLOSED` or the broker's answer."""
    with connecting(cloud, client_id, files) as (_, answer):
        return answer


def certificate_id(files: tuple[Path, Path]) -> str:
    """Return AWS IoT's id of the certificate."""
    leaf = x509.load_pem_x509_certificate(files[0].read_bytes())
    return hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()


def status(cloud: Cloud, files: tuple[Path, Path]) -> str:
    """Return the certificate's status in AWS IoT."""
    known = client(cloud, "iot").describe_certificate(certificateId=certificate_id(files))
    return str(known["certificateDescription"]["status"])


def settled(cloud: Cloud, files: tuple[Path, Path]) -> str:
    """Return the status that JITR gives a certificate, when it has given one."""
    until(lambda: status(cloud, files) != "PENDING_ACTIVATION")
    return status(cloud, files)


def left(cloud: Cloud, files: tuple[Path, Path], folder: Path) -> bool:
    """Return whether a certificate still waits for activation after a later one was admitted."""
    later = fresh_name()
    (folder / "later").mkdir()
    admitted = cloud.bootstrap(later, folder / "later")
    assert outcome(cloud, later, admitted) == CLOSED
    return settled(cloud, admitted) == "ACTIVE" and status(cloud, files) == "PENDING_ACTIVATION"


def test_an_unknown_certificate_connects_at_its_second_attempt(cloud: Cloud, tmp_path: Path) -> None:
    """The first connection is closed and registers the certificate; then it may connect under its own name
    and subscribe to its own topics.
    """
    name = fresh_name()
    files = cloud.bootstrap(name, tmp_path)
    assert outcome(cloud, name, files) == CLOSED
    assert settled(cloud, files) == "ACTIVE"
    with connecting(cloud, name, files) as (connected, answer):
        assert answer == "Success"
        granted: SimpleQueue[list[int]] = SimpleQueue()
        connected.on_subscribe = lambda *arguments: granted.put([code.value for code in arguments[3]])
        connected.subscribe(f"firstboot/{name}/certificates/accepted", qos=1)
        assert granted.get(timeout=120) == [1]
    assert outcome(cloud, fresh_name(), files) == CLOSED


def test_a_revoked_device_s_bootstrap_certificate_is_not_let_in(cloud: Cloud, tmp_path: Path) -> None:
    """The bootstrap certificate of a device that was revoked before its first boot can't connect."""
    name = fresh_name()
    operate(cloud, "groups.expect", group="gateways", devices={name: {}})
    operate(cloud, "devices.revoke", deviceId=name)
    files = cloud.bootstrap(name, tmp_path)
    assert outcome(cloud, name, files) == CLOSED
    assert left(cloud, files, tmp_path)
    assert outcome(cloud, name, files) == CLOSED


def test_a_name_that_is_no_device_id_is_not_let_in(cloud: Cloud, tmp_path: Path) -> None:
    """A factory's certificate whose common name would be a wildcard in a policy can't connect."""
    key = factories.ec_key()
    files = save(tmp_path, cloud.factory.issue("gw-*", key), key)
    assert outcome(cloud, "gw-*", files) == CLOSED
    assert left(cloud, files, tmp_path)


def test_many_connections_of_one_certificate_are_one_attempt(cloud: Cloud, tmp_path: Path) -> None:
    """A certificate that is not admitted connects again and again, and one of its events passes."""
    key = factories.ec_key()
    files = save(tmp_path, cloud.factory.issue("gw-*", key), key)
    for _ in range(4):
        assert outcome(cloud, "gw-*", files) == CLOSED
    assert left(cloud, files, tmp_path)
    item = {"pk": {"S": f"{JITR_PREFIX}{certificate_id(files)}"}}
    table = output(cloud, "Table")
    until(
        lambda: "decidedAt" in client(cloud, "dynamodb").get_item(TableName=table, Key=item).get("Item", {})
    )
    row = client(cloud, "dynamodb").get_item(TableName=table, Key=item)["Item"]
    assert row["attempts"] == {"N": "1"}


def test_a_certificate_of_an_unknown_ca_is_not_registered(cloud: Cloud, tmp_path: Path) -> None:
    """AWS IoT does not register a certificate that a CA of the factory's name with another key signed."""
    key = factories.ec_key()
    stranger = factories.Authority(cloud.factory.certificate, factories.ec_key())
    files = save(tmp_path, stranger.issue("gw-stranger", key), key)
    assert outcome(cloud, "gw-stranger", files) == CLOSED
    with pytest.raises(ClientError, match="ResourceNotFound"):
        status(cloud, files)
