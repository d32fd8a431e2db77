"""The clients of the product share one TLS context, and verify each host of AWS with it."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.connection
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from firstboot.aws import clients
from firstboot.aws.clients import answered
from firstboot.domain.errors import Unavailable
from tests import factories
from tests.aws import deployed
from tests.aws.deployed import ACCOUNT
from tests.aws.wire_answers import Host, sized

HERE = ipaddress.ip_address("127.0.0.1")
ANSWER = b'HTTP/1.1 200 OK\r\netag: "e"\r\n'


@contextmanager
def tls_host(folder: Path, ca: factories.Authority, address: str = "127.0.0.1") -> Iterator[Host]:
    """Yield a host of AWS with a certificate of a CA for an address."""
    key = factories.ec_key()
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    leaf = ca.issue("host", key, eku=ExtendedKeyUsageOID.SERVER_AUTH, extra=[(names, False)])
    (folder / "host.pem").write_text(factories.key_pem(key) + factories.pem(leaf))
    with Host(folder / "host.pem").running() as made:
        made.answer = sized(ANSWER, b"{}")
        yield made


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[factories.Authority]:
    """Yield the CA that the clients trust."""
    deployed.prepare(monkeypatch)
    made = factories.authority("AWS")
    (tmp_path / "bundle.pem").write_text(factories.pem(made.certificate))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "bundle.pem"))
    deployed.forget_clients()
    yield made
    deployed.forget_clients()


CALLS: dict[str, Callable[[], Any]] = {
    "dynamodb": lambda: clients.dynamodb().get_item(TableName="table", Key={"pk": {"S": "k"}}),
    "iot": lambda: clients.iot().update_thing(thingName="gw-1"),
    "iot-data": lambda: clients.iot_data().publish(topic="t"),
    "s3": lambda: clients.s3(ACCOUNT).get_object(Bucket="bucket", Key="k"),
    "sqs": lambda: clients.sqs().delete_message(QueueUrl="https://sqs/1/q", ReceiptHandle="h"),
}


def test_all_clients_share_one_context(
    ca: factories.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CA certificates are loaded once in a process, for all clients and all of their connections."""
    loaded: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def count(context: ssl.SSLContext, *arguments: Any, **options: Any) -> None:
        loaded.append(context)
        load(context, *arguments, **options)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", count)
    with tls_host(tmp_path, ca) as host:
        monkeypatch.setenv("AWS_ENDPOINT_URL", host.url)
        for call in CALLS.values():
            call()
            call()
        assert len(host.requests) == 2 * len(CALLS)
    assert len(loaded) == 1


def test_a_request_does_not_wait_between_its_writes(
    ca: factories.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection sends a body at once, before the host acknowledges the head (TCP_NODELAY)."""
    set_options: list[int] = []
    create = urllib3.util.connection.create_connection

    def connect(*arguments: Any, **options: Any) -> socket.socket:
        made = create(*arguments, **options)
        set_options.append(made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return made

    monkeypatch.setattr(urllib3.util.connection, "create_connection", connect)
    with tls_host(tmp_path, ca) as host:
        monkeypatch.setenv("AWS_ENDPOINT_URL", host.url)
        CALLS["dynamodb"]()
    assert [bool(each) for each in set_options] == [True]


@pytest.mark.parametrize("name", CALLS)
def test_a_stranger_is_refused(
    ca: factories.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A host whose certificate is of another CA gets no request."""
    del ca
    with tls_host(tmp_path, factories.authority("Stranger")) as host:
        monkeypatch.setenv("AWS_ENDPOINT_URL", host.url)
        with pytest.raises(Unavailable, match="SSLError"), answered():
            CALLS[name]()
        assert host.requests == []


def test_another_name_is_refused(
    ca: factories.Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose certificate has another name gets no request."""
    with tls_host(tmp_path, ca, "127.0.0.2") as host:
        monkeypatch.setenv("AWS_ENDPOINT_URL", host.url)
        with pytest.raises(Unavailable), answered():
            CALLS["dynamodb"]()
        assert host.requests == []
