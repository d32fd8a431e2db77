"""The walk says in words how a broker answers a client, on real sockets.

The broker is a TLS server that says fixed bytes. tests/verify has the emulator's.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from device.store import FileIdentity
from device.transport import Transport
from tests import factories
from verify.broker import ACCEPTED, CLOSED, V311, Broker, Connection, Login

WEB, FACTORY, FOREIGN = (factories.authority(name) for name in ("web", "factory", "foreign"))
CONNACK = b"\x20\x02\x00\x00"
NOT_AUTHORIZED = b"\x20\x02\x00\x05"
SUBACK = b"\x90\x03\x00\x01"


@dataclass(frozen=True)
class Folder:
    """The files of this module's certificates."""

    path: Path

    def identity(self, name: str, issuer: factories.Authority) -> FileIdentity:
        """Make a client's certificate."""
        return self._saved(name, issuer.issue(name, key := factories.ec_key()), key)

    def server(self) -> ssl.SSLContext:
        """Return the server's side, which demands a certificate of FACTORY."""
        key = factories.ec_key()
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        made = WEB.issue("localhost", key, eku=ExtendedKeyUsageOID.SERVER_AUTH, extra=[(names, False)])
        files = self._saved("server", made, key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        context.load_verify_locations(cadata=factories.pem(FACTORY.certificate))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _saved(self, name: str, made: x509.Certificate, key: factories.PrivateKey) -> FileIdentity:
        files = FileIdentity(self.path / f"{name}.pem", self.path / f"{name}.key")
        files.certificate.write_text(factories.pem(made))
        files.key.write_text(factories.key_pem(key))
        return files


@contextmanager
def serving(context: ssl.SSLContext, talk: Callable[[ssl.SSLSocket], None]) -> Iterator[Broker]:
    """Run a server for one connection, which it closes after `talk`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted, suppress(OSError), context.wrap_socket(accepted, server_side=True) as connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        yield Broker("localhost", port, Transport(factories.pem(WEB.certificate)), quiet_seconds=0.2)
        thread.join()


def says(*answers: bytes) -> Callable[[ssl.SSLSocket], None]:
    """Return a broker's part of a conversation: an answer to each packet of the client."""

    def talk(connection: ssl.SSLSocket) -> None:
        for answer in answers:
            connection.recv(1_024)
            connection.sendall(answer)

    return talk


def stays(*answers: bytes) -> Callable[[ssl.SSLSocket], None]:
    """Return a broker's part that waits afterwards until the client has gone."""

    def talk(connection: ssl.SSLSocket) -> None:
        says(*answers)(connection)
        while connection.recv(1_024):
            pass

    return talk


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_refused_certificate_is_told_from_a_closed_connection(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """The reason of a server that refuses the certificate in the handshake is named, in each version of TLS.

    In TLS 1.3 the alert comes after the client's part of the handshake.
    """
    folder = Folder(tmp_path)
    context = folder.server()
    context.maximum_version = version
    with serving(context, says(CONNACK)) as broker:
        outcome = broker.outcome(Login("gw-1", folder.identity("foreign", FOREIGN)), V311)
    assert outcome.startswith("TLS: ")
    assert outcome.endswith("ALERT_UNKNOWN_CA")


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        (stays(CONNACK), ACCEPTED),
        (says(NOT_AUTHORIZED), "Not authorized"),
        (says(b""), CLOSED),
    ],
    ids=["accepts", "refuses", "closes"],
)
def test_an_answer_is_named(tmp_path: Path, talk: Callable[[ssl.SSLSocket], None], expected: str) -> None:
    """A broker that accepts, one that refuses and one that closes the connection are told apart."""
    folder = Folder(tmp_path)
    with serving(folder.server(), talk) as broker:
        assert broker.outcome(Login("gw-1", folder.identity("gw-1", FACTORY)), V311) == expected


@contextmanager
def connected(folder: Path, talk: Callable[[ssl.SSLSocket], None]) -> Iterator[Connection]:
    """Connect to a broker that talks so."""
    files = Folder(folder)
    with serving(files.server(), talk) as broker:
        who = Login("gw-1", files.identity("gw-1", FACTORY))
        with broker.connected(who, V311) as connection:
            assert connection.is_accepted
            yield connection


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(SUBACK + b"\x01", ACCEPTED), (SUBACK + b"\x80", "Unspecified error"), (b"", CLOSED)],
    ids=["grants", "refuses", "closes"],
)
def test_an_answer_to_a_subscription_is_named(tmp_path: Path, answer: bytes, expected: str) -> None:
    """A granted subscription, a refused one and one that ends the connection are told apart."""
    with connected(tmp_path, says(CONNACK, answer)) as connection:
        assert connection.subscribe("topic") == expected


def test_a_message_that_ends_the_connection_is_refused(tmp_path: Path) -> None:
    """A broker that acknowledges a message and closes the connection has refused it."""
    with connected(tmp_path, says(CONNACK, b"\x40\x02\x00\x01")) as connection:
        assert connection.publish("topic", "{}") == CLOSED


def test_the_end_of_a_connection_has_its_time(tmp_path: Path) -> None:
    """The end of a connection is known with its time, and later deeds are refused."""
    with connected(tmp_path, says(CONNACK, b"")) as connection:
        connection.subscribe("topic")
        ended = connection.ended(30)
        assert ended
        assert ended[0] == CLOSED
        assert ended[1] > 0
        assert connection.subscribe("topic") == CLOSED
        assert connection.publish("topic", "{}") == CLOSED


def test_messages_are_read_until_none_comes(tmp_path: Path) -> None:
    """All messages of a subscription are returned, in their order, when none has come for a while."""
    published = b"\x30\x06\x00\x03gw1a" + b"\x30\x06\x00\x03gw1b"
    with connected(tmp_path, stays(CONNACK, SUBACK + b"\x01" + published)) as connection:
        assert connection.subscribe("gw1") == ACCEPTED
        assert [each.payload for each in connection.messages()] == [b"a", b"b"]
