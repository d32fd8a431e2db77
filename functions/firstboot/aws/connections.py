"""The connections of all clients to AWS: a pool for each host, and one TLS context.

botocore makes a context for each client, and loads the CA certificates again for each connection, which takes
13 to 28 ms of CPU each time.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
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
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, exceptions
from urllib3.connection import HTTPSConnection
from urllib3.util import Retry, Timeout

if TYPE_CHECKING:
    from firstboot.aws.requests import Request

TIMEOUT_SECONDS = (1.0, 3.0)
"""How long a client waits for a connection, and for the next bytes of an answer."""

_BODILESS = frozenset({204, 304})
"""The statuses whose answers have no body, and need no length (RFC 9112, section 6.3)."""

_ONCE = Retry(total=False)
"""The client repeats calls itself, and follows no redirect."""


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


class _OneWrite(HTTPSConnection):
    """A connection that sends the head and the body of a request at once, in one record of TLS."""

    _parts: list[bytes] | None = None

    def request(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - urllib3's own signature
        """Send a request."""
        self._parts = []
        try:
            super().request(*arguments, **options)
            whole = b"".join(self._parts)
        finally:
            self._parts = None
        self.send(whole)

    def send(self, data: Any) -> None:  # noqa: ANN401 - urllib3's own signature
        """Send bytes, or keep them until the request is whole."""
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)


class _OneWritePool(HTTPSConnectionPool):
    ConnectionCls = _OneWrite


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
        self.manager.pool_classes_by_scheme = {"http": HTTPConnectionPool, "https": _OneWritePool}
        self._pools: dict[str, HTTPConnectionPool] = {}

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
            answer = self._pool(f"{url.scheme}://{url.netloc}").urlopen(
                request.method,
                target,
                body=request.body or None,
                headers=request.headers,
                retries=_ONCE,
                redirect=False,
                assert_same_host=False,
                decode_content=False,
            )
        except Exception as error:
            raise _failure(error, request.url) from error
        # Without a length, what was cut off looks like the end. AWS gives one to each body.
        headers = answer.headers
        has_length = "content-length" in headers or "transfer-encoding" in headers
        if not has_length and answer.status not in _BODILESS:
            raise ConnectionClosedError(endpoint_url=request.url, error="the answer has no length")
        return Answer(answer.status, headers, answer.data)

    def _pool(self, origin: str) -> HTTPConnectionPool:
        found = self._pools.get(origin)
        if found is None:
            found = self._pools[origin] = self.manager.connection_from_url(origin)
        return found


def _failure(error: Exception, url: str) -> HTTPClientError:
    """Return botocore's error for one of urllib3, as botocore's own connections raise it."""
    kinds: dict[type[Exception] | tuple[type[Exception], ...], Any] = {
        exceptions.SSLError: SSLError,
        (exceptions.NewConnectionError, socket.gaierror): EndpointConnectionError,
        exceptions.ConnectTimeoutError: ConnectTimeoutError,
        exceptions.ReadTimeoutError: ReadTimeoutError,
        exceptions.ProtocolError: ConnectionClosedError,
    }
    for kind, made in kinds.items():
        if isinstance(error, kind):
            found: HTTPClientError = made(endpoint_url=url, error=error)
            return found
    return HTTPClientError(error=error)
