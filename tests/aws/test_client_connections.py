"""The clients of the product share one TLS context, and verify each host of AWS with it."""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.connection
from botocore.exceptions import BotoCoreError, ConnectionClosedError, HTTPClientError, ReadTimeoutError
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from firstboot.aws import clients
from firstboot.aws.clients import answered
from firstboot.aws.connections import connections
from firstboot.aws.requests import Request
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


@dataclass
class Script:
    """A host that answers each request of each connection with the next of `answers`.

    It sends `size` bytes at once. An answer of None ends the connection. `connections` has the number of
    requests of each connection.
    """

    answers: list[bytes | None]
    size: int
    connections: list[int] = field(default_factory=list)

    def serve(self, listening: socket.socket) -> None:
        """Answer until there is no further answer."""
        while self.answers:
            connection, _ = listening.accept()
            self.connections.append(0)
            # The client may end a connection while the host still sends.
            with connection, suppress(ConnectionError):
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        while self.answers and connection.recv(65_536):
            self.connections[-1] += 1
            answer = self.answers.pop(0)
            if answer is None:
                return
            for at in range(0, len(answer), self.size):
                connection.sendall(answer[at : at + self.size])


Ask = Callable[..., tuple[list[str], Script]]
"""Make a call for each of the given answers, and return what each brought, and the host."""


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Yield a function that makes a call for each of the given answers, and returns each end and the host."""
    deployed.prepare(monkeypatch)
    deployed.forget_clients()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")

        def made(*answers: bytes | None, calls: int | None = None, size: int = 7) -> tuple[list[str], Script]:
            script = Script(list(answers), size)
            threading.Thread(target=script.serve, args=(listening,), daemon=True).start()
            return [_told() for _ in range(len(answers) if calls is None else calls)], script

        yield made
    deployed.forget_clients()


def _told() -> str:
    """Return what a call to SQS brings, or the name of its failure."""
    try:
        answer = clients.sqs().receive_message(QueueUrl="https://sqs/1/q")
    except BotoCoreError as error:
        return type(error).__name__
    return str(answer["Messages"][0]["Body"])


def _message(text: str) -> bytes:
    return json.dumps({"Messages": [{"Body": text}]}).encode()


def _whole(text: str, head: bytes = b"") -> bytes:
    return sized(b"HTTP/1.1 200 OK\r\n" + head, _message(text))


def _in_chunks(text: str) -> bytes:
    body, head = _message(text), b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    return head + chunks + b"0\r\nx-amz-crc32: 1\r\n\r\n"


def test_a_connection_has_many_requests(ask: Ask) -> None:
    """A connection is used again, for answers with a length and for answers in chunks."""
    ends, host = ask(_whole("a"), _in_chunks("b"), _whole("c"))
    assert (ends, host.connections) == (["a", "b", "c"], [3])


INTERIM = [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"]


@pytest.mark.parametrize("interim", INTERIM)
def test_an_interim_answer_is_not_the_answer(ask: Ask, interim: bytes) -> None:
    """The answer is the one with a final status (RFC 9110 section 15.2)."""
    ends, host = ask(interim + _whole("a"), _whole("b"))
    assert (ends, host.connections) == (["a", "b"], [2])


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"

ENDED = {
    "says that it closes": _whole("a", b"connection: close\r\n"),
    "more than an answer": _whole("a") + _whole("of no request"),
    "the begin of another answer": _whole("a") + b"HTTP/1.1 200 OK",
    "no HTTP": _whole("a") + b"<html>",
    "another protocol": _whole("a") + SWITCHED,
    "more than the last answer": _whole("a", b"connection: close\r\n") + b"<html>",
}


@pytest.mark.parametrize("size", [7, 65_536])
@pytest.mark.parametrize("first", ENDED.values(), ids=ENDED)
def test_a_connection_is_not_used_again(ask: Ask, first: bytes, size: int) -> None:
    """Bytes that follow an answer belong to no request, and the connection ends."""
    ends, host = ask(first, _whole("b"), size=size)
    assert (ends, host.connections) == (["a", "b"], [1, 1])


def test_a_connection_that_the_host_closed_is_made_again(
    ask: Ask,
) -> None:
    """A call whose connection ends without an answer is made again, over a new connection."""
    ends, host = ask(_whole("a"), None, _whole("b"), calls=2)
    assert (ends, host.connections) == (["a", "b"], [2, 1])


UNREADABLE = {
    "no HTTP": b"220 smtp.example.com\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a length and chunks": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    "another protocol": SWITCHED,
    "a header over two lines": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
def test_an_answer_that_can_be_read_in_two_ways_is_refused(ask: Ask, answer: bytes) -> None:
    """Both attempts of a call fail if the answer is no HTTP, or if readers may see its end elsewhere."""
    ends, host = ask(answer, answer, calls=1)
    assert (ends, host.connections) == (["ConnectionClosedError"], [1, 1])


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_header_can_not_begin_another(ask: Ask, end: str) -> None:
    """A value with the end of a line is not sent, because the rest would be a header of its own."""
    _, host = ask(calls=0)
    request = Request("GET", f"{os.environ['AWS_ENDPOINT_URL']}/", {"Host": f"a{end}x: y"}, b"")
    with pytest.raises(HTTPClientError, match="the end of a line"):
        connections().send(request)
    assert host.connections == []


HEADERS = b"x-none:\r\nx-blank: \r\nx-twice: 1\r\nX-Twice: 2\r\nx-latin: caf\xe9\r\nx-last:\r\n"


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[int]]]:
    """Yield the URL of a host, and a list with the number of each of its connections.

    `answer` answers on a connection, which then ends.
    """
    numbers: list[int] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    numbers.append(len(numbers))
                    connection.recv(65_536)
                    answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", numbers
        listening.shutdown(socket.SHUT_RDWR)


BODIES = {
    "length": b"content-length: 2\r\n\r\n{}",
    "chunks": b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("size", [1, 7, 65_536])
def test_headers_in_unusual_forms_are_read(ca: factories.Authority, body: bytes, size: int) -> None:
    """Headers that are empty, twice there or not in ASCII are read, in any pieces, as urllib3 reads them."""
    del ca
    whole = b"HTTP/1.1 200 OK\r\n" + body.replace(b"\r\n\r\n", b"\r\n" + HEADERS + b"\r\n", 1)

    def answer(connection: socket.socket) -> None:
        for at in range(0, len(whole), size):
            connection.sendall(whole[at : at + size])

    with answering(answer) as (url, _):
        found = connections().send(Request("GET", url, {"Host": "h"}, b""))
    assert found.content == b"{}"
    named = {"x-none": "", "x-blank": "", "x-twice": "1, 2", "x-latin": "caf\xe9", "x-last": ""}
    assert {name: found.headers[name] for name in named} == named


def test_a_refusal_before_the_end_of_a_request_is_the_answer(ca: factories.Authority) -> None:
    """The answer of a host that closes the connection before it has read the request is the answer.

    The connection is not used again.
    """
    del ca
    refusal = sized(b"HTTP/1.1 403 Forbidden\r\n", b"{}")
    with answering(lambda connection: connection.sendall(refusal)) as (url, numbers):
        # The buffers of two sockets hold less.
        request = Request("PUT", url, {"Host": "h", "Content-Length": "32000000"}, bytes(32_000_000))
        assert [connections().send(request).status_code for _ in range(2)] == [403, 403]
    assert numbers == [0, 1]


@pytest.mark.parametrize("answer", [b"", b"220 smtp\r\n", SWITCHED, _whole("a")[:-1]])
def test_failed_calls_leave_nothing_open(ca: factories.Authority, answer: bytes) -> None:
    """A call that fails closes its connection."""
    del ca
    with answering(lambda connection: connection.sendall(answer)) as (url, numbers):
        counts = []
        for _ in range(20):
            with pytest.raises(HTTPClientError):
                connections().send(Request("GET", url, {"Host": "h"}, b""))
            (pool,) = connections()._pools.values()
            queue: Any = pool.pool
            counts.append((queue.qsize(), sum(not each.is_closed for each in queue.queue if each)))
    assert set(counts) == {(10, 0)}
    assert len(numbers) == 20


@pytest.mark.parametrize("length", ["content-length: 5", "transfer-encoding: chunked"])
@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_body_that_may_not_be_there_ends_the_connection(ask: Ask, status: str, length: str) -> None:
    """An answer that has no body, but names one, ends the connection: the body may come later."""
    head = f"HTTP/1.1 {status}\r\n{length}\r\n\r\n".encode()
    _, host = ask(head + b"later", _whole("b"), calls=0, size=len(head))
    url = os.environ["AWS_ENDPOINT_URL"]
    asked = Request("GET", f"{url}/", {"Host": url.removeprefix("http://")}, b"")
    assert connections().send(asked).content == b""
    assert connections().send(asked).content == _message("b")
    assert host.connections == [1, 1]


MODULE = "firstboot.aws.connections"


def clock(monkeypatch: pytest.MonkeyPatch, step: float, size: int = 100) -> None:
    """Let `step` seconds pass with each read of an answer, which gets `size` bytes at most."""
    times = itertools.count(0, step)
    monkeypatch.setattr(f"{MODULE}.monotonic", lambda: next(times))
    monkeypatch.setattr(f"{MODULE}._BYTES", size)
    monkeypatch.setattr("firstboot.aws.client.sleep", lambda _: None)


SLOW = _whole("a" * 1000)
"""An answer that takes eleven reads of 100 bytes."""


def test_a_slow_answer_is_read(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes in many parts is read, if it ends before its time is over."""
    clock(monkeypatch, 0.25)
    ends, host = ask(SLOW, SLOW, size=65_536)
    assert (ends, host.connections) == (["a" * 1000] * 2, [2])


def test_the_time_for_an_answer_is_for_all_of_it(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer whose parts come in time but not its end is a time-out, at both attempts of a call."""
    clock(monkeypatch, 0.4)
    ends, host = ask(SLOW, SLOW, calls=1, size=65_536)
    assert (ends, host.connections) == (["ReadTimeoutError"], [1, 1])


def test_a_call_whose_answer_is_too_slow_is_made_again(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt has the whole time again, and another connection."""
    clock(monkeypatch, 0.4)
    ends, host = ask(SLOW, _whole("b"), calls=1, size=65_536)
    assert (ends, host.connections) == (["b"], [1, 1])


def test_the_last_read_ends_with_the_time_for_the_answer(
    ca: factories.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read waits for no longer than what is left of the answer's time."""
    del ca
    # A minute passes with the first read, and leaves a hundredth of a second.
    monkeypatch.setattr(f"{MODULE}.TIMEOUT_SECONDS", (60.0, 60.0))
    clock(monkeypatch, 59.99, size=65_536)

    def answer(connection: socket.socket) -> None:
        connection.sendall(SLOW[:-1])
        connection.settimeout(5)
        # The client has closed the connection long before it would get the end.
        with suppress(TimeoutError):
            connection.recv(1)
        connection.sendall(SLOW[-1:])

    with answering(answer) as (url, _), pytest.raises(ReadTimeoutError):
        connections().send(Request("GET", url, {"Host": "h"}, b""))


LARGE = 200_000
OVERHEAD = {
    "status": b"HTTP/1.1 200 " + b"K" * LARGE + _whole("a")[15:],
    "header": _whole("a", b"x: " + b"a" * LARGE + b"\r\n"),
    "headers": _whole("a", b"x: a\r\n" * (LARGE // 6)),
    "interim answers": INTERIM[0] * (LARGE // len(INTERIM[0])) + _whole("a"),
    "note of a chunk": _in_chunks("a").replace(b"note=1", b"note=" + b"1" * LARGE, 1),
    "field after the last chunk": _in_chunks("a")[:-2] + b"x: " + b"a" * LARGE + b"\r\n\r\n",
}


@pytest.mark.parametrize("kind", OVERHEAD)
def test_an_answer_has_few_bytes_besides_its_body(ca: factories.Authority, kind: str) -> None:
    """An answer of which more than 64 KiB are not its body is as one that is no HTTP."""
    del ca
    with (
        answering(lambda connection: connection.sendall(OVERHEAD[kind])) as (url, _),
        pytest.raises(ConnectionClosedError),
    ):
        connections().send(Request("GET", url, {"Host": "h"}, b""))


@pytest.mark.parametrize("make", [_whole, _in_chunks])
def test_a_large_body_is_read(ask: Ask, make: Callable[[str], bytes]) -> None:
    """The bytes of a body do not count, and a head may have almost 64 KiB."""
    text = "a" * LARGE
    answer = make(text).replace(b"\r\n", b"\r\nx: " + b"a" * 65_000 + b"\r\n", 1)
    ends, host = ask(answer, _whole("b"), size=1_000_000)
    assert (ends, host.connections) == ([text, "b"], [2])


def test_bytes_that_follow_an_answer_do_not_count(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call whose answer is whole is not made again because of much that follows the answer."""
    monkeypatch.setattr(f"{MODULE}._MOST_OVERHEAD", 100)
    ends, host = ask(_whole("a") + b"x" * 1000, calls=1, size=65_536)
    assert (ends, host.connections) == (["a"], [1])
