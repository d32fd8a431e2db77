"""AWS on a loopback socket, where a fault can be put at any call of any client.

An HTTP server passes each request to moto, in this process, by the way that moto's own patch of botocore
takes. moto's WSGI application would need Flask, which nothing else here needs.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto.core.botocore_stubber import BotocoreStubber

from tests.faults import answers
from tests.faults.answers import Request, Response

REGION = "us-east-1"
_HOSTS = {"iotdata": f"data-ats.iot.{REGION}.amazonaws.com"}


class Kind(StrEnum):
    """A kind of fault. Each strikes every attempt of a call, if its name does not say otherwise."""

    THROTTLE = "throttle"
    CONNECTION = "connection error"
    FAILURE = "5xx"
    DENIED = "AccessDenied"
    CONFLICT = "conflict"
    LOST_ONCE = "answer lost once"
    LOST = "answer lost"
    CUT_OFF = "answer cut off"
    TIMEOUT = "time-out after the effect"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"
    INTERLEAVED = "interleaved delivery"
    REVOKE = "revoke"
    DELETE = "delete"
    RENEW = "renew"
    SET = "set"
    APPLY = "apply"
    DUPLICATE = "duplicate delivery"


BEFORE: dict[Kind, Callable[[Request], Response | None]] = {
    Kind.THROTTLE: answers.throttled,
    Kind.FAILURE: answers.failed,
    Kind.DENIED: answers.denied,
    Kind.CONFLICT: answers.conflict,
}
"""The faults that are an answer instead of the effect."""

_CUT = frozenset({Kind.CONNECTION, Kind.CRASH_BEFORE})
_LOST = frozenset({Kind.LOST, Kind.LOST_ONCE, Kind.CRASH_AFTER})
_CRASHES = frozenset({Kind.CRASH_BEFORE, Kind.CRASH_AFTER})


@dataclass
class Fault:
    """A fault at the call with this number, counted from 0."""

    kind: Kind
    number: int
    reached: bool = False


@dataclass
class Wire:
    """The loopback address of AWS, and the calls that came there.

    Only the calls while `watching` are counted. `after` runs after the effect of each counted call, before
    its answer. `wrote` runs after each effect. `expects_silence` is called before the call that gets no
    answer, and at its last attempt. `is_dead` says that the calling process has died: no call of it arrives.
    """

    calls: list[str] = field(default_factory=list)
    fault: Fault | None = None
    watching: bool = False
    is_dead: bool = False
    after: Callable[[int], None] | None = None
    wrote: Callable[[Request], None] = lambda _: None
    expects_silence: Callable[..., None] = lambda **_: None
    disconnected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stubber = BotocoreStubber()
        self._lock = threading.RLock()
        self._numbers: dict[str, int] = {}
        self._transactions: dict[str, Response] = {}
        wire = self

        class Handler(_Handler):
            answer = staticmethod(lambda request: wire.answer(request))  # noqa: PLW0108 - `answer` may be replaced

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.start()

    def start(self) -> None:
        """Let the server answer, in a thread of this process."""
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Let the server answer no longer, so that a copy of this process can."""
        self._server.shutdown()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()

    def begin(self, fault: Fault | None) -> None:
        """Forget all calls, and put a fault at a coming one."""
        self.calls, self.fault, self.is_dead, self.after = [], fault, False, None
        self.disconnected = []
        self._numbers, self._transactions = {}, {}

    def answer(self, request: Request) -> Response | None:
        """Return the answer to a request, or None for a connection that is closed without one.

        Instead of an answer with the status 0 no byte is sent. One with a negative status is cut off.
        """
        if self.is_dead:
            return None
        if not self.watching:
            return self._effect(request)
        number = self._numbers.setdefault(request.invocation, len(self.calls))
        is_first = number == len(self.calls)
        if is_first:
            self.calls.append(request.name)
        fault = self.fault
        if fault is None or fault.number != number:
            answer = self._after(number, self._effect(request))
            if fault and fault.kind is Kind.TIMEOUT and fault.number == number + 1:
                self.expects_silence(is_coming=True)
            return answer
        fault.reached = True
        if fault.kind is Kind.TIMEOUT and request.is_last_attempt:
            self.expects_silence(is_coming=False)
        return self._faulty(fault.kind, number, request, is_first=is_first)

    def _faulty(self, kind: Kind, number: int, request: Request, *, is_first: bool) -> Response | None:
        self.is_dead = kind in _CRASHES
        if kind in _CUT:
            return None
        if kind in BEFORE:
            return BEFORE[kind](request) or self._effect(request)
        answer = self._effect(request)
        if kind is Kind.TIMEOUT:
            return 0, {}, b""
        if kind is Kind.CUT_OFF:
            return -answer[0], *answer[1:]
        if kind in _LOST and (is_first or kind is not Kind.LOST_ONCE):
            return None
        return self._after(number, answer) if is_first else answer

    def _after(self, number: int, answer: Response) -> Response:
        if self.after:
            after, self.watching = self.after, False
            try:
                after(number)
            finally:
                self.watching = True
        return answer

    def _effect(self, request: Request) -> Response:
        """Pass a request to moto, with AWS's behaviour where moto lacks it."""
        token = request.members().get("ClientRequestToken") if request.operation == _TRANSACTION else None
        with self._lock:
            # DynamoDB answers a repeated token as the first time (API reference, TransactWriteItems).
            if token and token in self._transactions:
                return self._transactions[token]
            if request.operation == "DeleteConnection":
                self.disconnected.append(request.path.partition("?")[0].rpartition("/")[2])
                return 200, {}, b"{}"
            answer = self._moto(request)
            if token and answer[0] == 200:
                self._transactions[token] = answer
            self.wrote(request)
        return answer

    def _moto(self, request: Request) -> Response:
        host = _HOSTS.get(request.service, f"{request.service}.{REGION}.amazonaws.com")
        headers = HTTPHeaders()
        for name, value in request.headers.items():
            headers[name] = host if name == "host" else value
        prepared = AWSPreparedRequest(
            method=request.method,
            url=f"https://{host}{request.path}",
            headers=headers,
            body=request.body,
            stream_output=False,
        )
        answer: Any = self._stubber.process_request(prepared)
        assert answer is not None, request
        status, said, body = answer
        return (
            status,
            {str(k): str(v) for k, v in said.items()},
            body.encode() if isinstance(body, str) else body,
        )


_TRANSACTION = "TransactWriteItems"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that close a connection, as they do after a time-out."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answer: Callable[[Request], Response | None]

    def _handle(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        answer = type(self).answer(request)
        if answer is None:
            self.close_connection = True
        elif answer[0] == 0:
            self._withhold()
        else:
            self._send(*answer)

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        with suppress(ConnectionError):
            self.send_response_only(abs(status))
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            is_cut_off = status < 0
            # Of an answer without a body the end of the head is missing.
            if body or not is_cut_off:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body[: len(body) // 2] if is_cut_off else body)
            self.close_connection |= is_cut_off

    def _withhold(self) -> None:
        """Send nothing until the client closes the connection."""
        with suppress(ConnectionError):
            self.connection.recv(1)
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own signature
        """Log nothing."""

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _handle  # noqa: N815 - http.server's names
