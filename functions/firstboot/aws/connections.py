"""The connections of all clients to AWS: a pool for each host, and one TLS context.

botocore makes a context for each client, and loads the CA certificates again for each connection, which takes
13 to 28 ms of CPU each time. urllib3 opens the connections, verifies the hosts and keeps the connections.
httptools reads the answers: a call takes about 0.6 of the CPU that it takes with Python's own HTTP library,
which urllib3 would use (docs/decisions/0086).
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import create_urllib3_context, get_cert_path
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3 import HTTPConnectionPool, HTTPHeaderDict, HTTPSConnectionPool, PoolManager, exceptions
from urllib3.util import Timeout

if TYPE_CHECKING:
    from firstboot.aws.requests import Request

TIMEOUT_SECONDS = (1.0, 3.0)
"""How long a client waits for a connection, and for a whole answer."""

_BYTES = 65_536
"""The most bytes that are read at once."""

_MOST_OVERHEAD = 65_536
"""The most bytes of an answer besides its body: its head, interim answers and what encloses chunks."""

_BODILESS = frozenset({204, 304})
"""The statuses whose answers have no body (RFC 9112, section 6.3)."""

_FINAL = 200
"""The first status of an answer that no other one follows (RFC 9110, section 15.2)."""


@dataclass(frozen=True)
class Answer:
    """The answer to a request, read to its end. The names of its headers have no case."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


@cache
def connections() -> Connections:
    """Return the connections of this process."""
    return Connections()


class _Reading:
    """Reads an answer. httptools calls the methods that begin with `on`, in the order of the bytes.

    `answer` is None until the answer is whole. `is_reusable` says whether the connection may have another
    request.
    """

    answer: Answer | None = None
    is_reusable = False

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        self._headers, self._fields = HTTPHeaderDict(), HTTPHeaderDict()
        self._body: list[bytes] = []
        self._overhead = 0

    def feed(self, part: bytes) -> None:
        """Read the next bytes. Raises HttpParserError and HttpParserUpgrade for bytes that are no answer."""
        self._overhead += len(part)
        try:
            self.parser.feed_data(part)
        except (HttpParserError, HttpParserUpgrade):
            # A call whose answer is whole must not be made again because of what follows the answer.
            if self.answer is None:
                raise
            self.is_reusable = False
        if self._overhead > _MOST_OVERHEAD and self.answer is None:
            raise HttpParserError("more bytes besides the body than AWS sends")

    def on_message_begin(self) -> None:
        """Begin an answer: the first one, one after an interim answer, or one of no request."""
        self._body, self.is_reusable = [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, or a field after the last chunk."""
        self._fields.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Keep the headers apart from fields that may follow the body (RFC 9110, section 6.5.1)."""
        self._headers, self._fields = self._fields, HTTPHeaderDict()

    def on_body(self, part: bytes) -> None:
        """Add a part of the body."""
        self._body.append(part)
        self._overhead -= len(part)

    def on_message_complete(self) -> None:
        """Keep the answer, unless it is an interim one or follows the answer."""
        status = self.parser.get_status_code()
        if status >= _FINAL and self.answer is None:
            self.answer = Answer(status, self._headers, b"".join(self._body))
            # A host may send the body whose length it names, although these answers have none. Its bytes may
            # come later, and the next request would get them for an answer.
            names_body = (
                self._headers.get("content-length", "0") != "0" or "transfer-encoding" in self._headers
            )
            is_over = not (status in _BODILESS and names_body)
            self.is_reusable = is_over and self.parser.should_keep_alive()


class _Pool(HTTPConnectionPool):
    """A pool that sends requests itself over its connections."""

    def exchange(self, sent: bytes) -> Answer:
        """Send a request, and return the answer, read to its end.

        Raises OSError, HttpParserError, HttpParserUpgrade, and urllib3's errors of a connection that can't be
        made.
        """
        # The type that urllib3 declares has no socket.
        connection: Any = self._get_conn()
        seconds: Any = self.timeout.read_timeout
        reading, is_sent = _Reading(), False
        try:
            if connection.is_closed:
                connection.connect()
            connection.sock.settimeout(seconds)
            # A host may refuse a request and close the connection before it has read all of it.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sock.sendall(sent)
                is_sent = True
            ends_at = monotonic() + seconds
            while True:
                part = connection.sock.recv(_BYTES)
                # Without a length, what was cut off looks like the end. AWS gives one to each body.
                if not part:
                    raise ConnectionAbortedError("the answer has no end")
                reading.feed(part)
                if reading.answer:
                    return reading.answer
                # The time-out of a socket is for one read. An answer that comes byte by byte would not end.
                left = ends_at - monotonic()
                if left <= 0:
                    raise TimeoutError("the time for the whole answer is over")
                connection.sock.settimeout(left)
        finally:
            if not (is_sent and reading.is_reusable):
                connection.close()
            self._put_conn(connection)


class _TlsPool(_Pool, HTTPSConnectionPool):
    pass


class Connections:
    """The connections to the hosts of AWS."""

    def __init__(self) -> None:
        context = create_urllib3_context()
        # AWS SDKs and tools reference guide, "AWS_CA_BUNDLE".
        context.load_verify_locations(os.environ.get("AWS_CA_BUNDLE") or get_cert_path(verify=True))
        connect, read = TIMEOUT_SECONDS
        # Without TCP_NODELAY the end of a request would wait up to 40 ms for the host to acknowledge what
        # it has.
        self.manager = PoolManager(
            maxsize=10,
            timeout=Timeout(connect=connect, read=read),
            ssl_context=context,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self.manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        self._pools: dict[str, _Pool] = {}

    def clear(self) -> None:
        """Close the connections that no request uses."""
        self._pools.clear()
        self.manager.clear()

    def send(self, request: Request) -> Answer:
        """Return the answer to a request, read to its end.

        Raises ConnectionClosedError for an answer that breaks off, and botocore's other errors.
        """
        # Our streams are small: certificates, fleets and shadows. What breaks off here is repeated.
        url = urlsplit(request.url)
        target = f"{url.path}?{url.query}" if url.query else url.path
        try:
            return self._pool(f"{url.scheme}://{url.netloc}").exchange(_head(request, target) + request.body)
        except Exception as error:
            raise _failure(error, request.url) from error

    def _pool(self, origin: str) -> _Pool:
        found = self._pools.get(origin)
        if found is None:
            found = self._pools[origin] = cast("_Pool", self.manager.connection_from_url(origin))
        return found


def _head(request: Request, target: str) -> bytes:
    """Return a request's first line and headers. Raises ValueError for a value with the end of a line."""
    # Without this header an answer may come compressed (RFC 9110, section 12.5.3).
    lines = [f"{request.method} {target} HTTP/1.1", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    head = "\r\n".join(lines)
    # A line's end in a value would make the rest of it another header, or another request.
    if not head.count("\r") == head.count("\n") == len(lines) - 1:
        raise ValueError("a header with the end of a line")
    return f"{head}\r\n\r\n".encode("latin-1")


def _failure(error: Exception, url: str) -> HTTPClientError:
    """Return botocore's error for one of urllib3 or of a socket, as botocore's own connections raise it."""
    kinds: dict[type[Exception] | tuple[type[Exception], ...], Any] = {
        (ssl.SSLError, exceptions.SSLError): SSLError,
        exceptions.NewConnectionError: EndpointConnectionError,
        exceptions.ConnectTimeoutError: ConnectTimeoutError,
        TimeoutError: ReadTimeoutError,
        (OSError, HttpParserError, HttpParserUpgrade): ConnectionClosedError,
    }
    for kind, made in kinds.items():
        if isinstance(error, kind):
            found: HTTPClientError = made(endpoint_url=url, error=error)
            return found
    return HTTPClientError(error=error)
