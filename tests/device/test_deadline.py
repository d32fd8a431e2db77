"""A server that sends a byte now and then holds no call of the device for longer than the deadline.

Each byte comes before the time-out of the socket, which begins anew with it. The servers send until the
device closes the connection.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from device import mqtt
from device.mqtt import Broker
from device.refusal import Action, Refused
from device.transport import Transport
from tests.device.server import server_context
from tests.device.service import Service

SCRIPT = Path(__file__).parents[2] / "device/firstboot.sh"
SECONDS = 0.5
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"

# The beginning of a TLS record with a handshake message of 16,000 bytes (RFC 8446, sections 4 and 5.1).
RECORD = b"\x16\x03\x03\x3e\x84\x02\x00\x3e\x80"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return a service with the CA that the device trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)  # loading the system's roots would take most of the time
    return Service(tmp_path)


@contextmanager
def trickling(service: Service, beginning: bytes, *, tls: bool = True) -> Iterator[int]:
    """Run a server that sends `beginning` and then single bytes, until the client closes the connection.

    Yield its port. At the end the client must have closed each connection.
    """
    context, stop = server_context(service), threading.Event()

    def serve(accepted: socket.socket) -> None:
        with suppress(OSError):
            connection = context.wrap_socket(accepted, server_side=True) if tls else accepted
            with closing(connection):
                connection.sendall(beginning)
                while not stop.wait(0.02):
                    connection.sendall(b"x")
                ended_by_the_test.set()

    ended_by_the_test = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            accepted, _ = listener.accept()
            serve(accepted)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
            thread.join(60)
        finally:
            stop.set()
            thread.join()
    assert not ended_by_the_test.is_set()


@pytest.mark.parametrize(
    ("beginning", "tls"),
    [(ANSWER, True), (b"HTTP/1.1 200 OK\r\nX-Long: ", True), (b"", True), (RECORD, False)],
    ids=["body", "header", "status", "handshake"],
)
def test_a_trickling_server_holds_no_request(service: Service, beginning: bytes, *, tls: bool) -> None:
    """A request ends at its deadline although bytes still arrive, in each part of the answer."""
    transport = Transport(service.ca.read_text(), SECONDS)
    with trickling(service, beginning, tls=tls) as port:
        with pytest.raises(Refused) as caught:
            transport.send("GET", f"https://localhost:{port}/", limit=65_536)
        assert (caught.value.action, caught.value.detail) == (
            Action.RETRY,
            "No answer from localhost: TimeoutError",
        )
    gc.collect()  # a socket left open would be reported now, as an error


@pytest.mark.parametrize(
    ("beginning", "tls"), [(b"\x20\xff\x7f", True), (RECORD, False)], ids=["packet", "handshake"]
)
def test_a_trickling_broker_holds_no_call(
    service: Service, monkeypatch: pytest.MonkeyPatch, beginning: bytes, *, tls: bool
) -> None:
    """A call over MQTT ends although the broker still sends bytes of a packet, or of its handshake."""
    monkeypatch.setattr(mqtt, "CONNECT_SECONDS", 1)
    live = service.bootstrap()
    with trickling(service, beginning, tls=tls) as port:
        broker = Broker(f"localhost:{port}", Transport(service.ca.read_text()))
        with pytest.raises(Refused) as caught:
            broker.send(live, "POST", "/v1/certificates/commit")
        assert caught.value.action is Action.RETRY
        assert caught.value.detail.startswith("No connection to localhost")
    gc.collect()


def test_the_script_has_a_deadline_too() -> None:
    """Each call of curl in firstboot.sh has a time limit for the whole call (curl(1), --max-time)."""
    calls = [line for line in SCRIPT.read_text().splitlines() if line.strip().startswith("curl ")]
    assert calls
    assert all("--max-time" in line for line in calls)
