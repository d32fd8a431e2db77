"""Fetch the JWK sets (RFC 7517) of token issuers over HTTPS and keep them.

An issuer is trusted to name its keys and for nothing else. So redirects and proxies are not used, and a
fetch is bounded in size and in time. A client that sends tokens with invented key ids causes at most one
fetch in each `PAUSE`. Issuers share no thread and no state, so a slow one does not stop the others.

PyJWT's own client is not used. It bounds neither the size nor the whole time of a fetch, drops old keys
while the issuer does not answer, and pauses only after a fetch that succeeded.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from firstboot.domain.clock import EPOCH
from firstboot.pki.errors import TokenUntrusted
from firstboot.pki.token import SigningKey, signing_keys
from firstboot.runtime.errors import IssuerUnavailable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

FRESH = timedelta(minutes=5)
"""How long a set is used before it is fetched again. So long a withdrawn key may be accepted."""

STALE = timedelta(hours=1)
"""How long after its fetch a set is used while the issuer does not answer."""

PAUSE = timedelta(seconds=30)
"""The shortest time between two fetches, successful or not. So long a new key may be refused."""

MAX_SIZE = 65_536
"""Bytes of a JWK set; a larger one is refused."""

_SECONDS = 1.5
"""The time for a whole fetch. AWS IoT gives the custom authorizer five seconds."""


@dataclass
class _Known:
    """An issuer's keys, the time of their fetch, and the last attempt with its time."""

    keys: dict[str, SigningKey] = field(default_factory=dict)
    fetched_at: datetime = EPOCH
    tried_at: datetime = EPOCH
    attempt: Future[bytes] | None = None


class IssuerKeys:
    """The keys of issuers by the URL of their set, kept in the process.

    `failed` is called with the description of each fetch that fails.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._known: dict[str, _Known] = {}
        self._failed = failed
        self._tls = ssl.create_default_context()
        self._tls.sslsocket_class = _Socket

    def key(self, url: str, key_id: str, now: datetime) -> SigningKey:
        """Return the key `key_id` of the set at `url`. Fetch the set if necessary, at most once.

        Raises TokenUntrusted if the set has no such key, IssuerUnavailable if no usable set is known.
        """
        known = self._known.setdefault(url, _Known())
        due = key_id not in known.keys or now >= known.fetched_at + FRESH
        if due and now >= known.tried_at + PAUSE:
            self._fetch(url, known, now)
        if now >= known.fetched_at + STALE:
            raise IssuerUnavailable(log=url)
        if key_id not in known.keys:
            raise TokenUntrusted(log=f"key {key_id[:80]!r} is not in {url}")
        return known.keys[key_id]

    def _fetch(self, url: str, known: _Known, now: datetime) -> None:
        # Before the fetch, so that a failure counts as an attempt too.
        known.tried_at = now
        try:
            known.keys = signing_keys(self._body(url, known))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._failed(f"{url}: {error!r}"[:300])
        else:
            known.fetched_at = now

    def _body(self, url: str, known: _Known) -> bytes:
        """Fetch in a thread that ends with the fetch. Each issuer has one at most.

        Every step of a fetch ends at its deadline except the resolution of the host's name: the C library
        can't be interrupted, and gives up after its own time-outs. The caller does not wait for it.
        Raises TimeoutError, and what `_get` raises.
        """
        if known.attempt and not known.attempt.done():
            raise TimeoutError("the last fetch has not ended")
        worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jwks")
        known.attempt = worker.submit(_get, url, self._tls, time.monotonic() + _SECONDS)
        worker.shutdown(wait=False)
        return known.attempt.result(timeout=_SECONDS)


class _Socket(ssl.SSLSocket):
    """A TLS connection whose reads and writes all end at `deadline`, in seconds of the monotonic clock.

    The time-out of a socket bounds a single read. So an answer that comes byte by byte would never end.
    """

    deadline: float

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """Read what is there. Raises TimeoutError."""
        self.settimeout(_left(self.deadline))
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Write what fits. Raises TimeoutError."""
        self.settimeout(_left(self.deadline))
        return super().send(data, flags)


def _left(deadline: float) -> float:
    """Return the seconds until `deadline`. Raises TimeoutError after it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for the whole fetch is over")
    return left


def _get(url: str, tls: ssl.SSLContext, deadline: float) -> bytes:
    """Return the body of a 200 answer.

    Raises ValueError for any other answer and for a body that is too long, OSError (TimeoutError at the
    deadline), HTTPException.
    """
    # `http.client` follows no redirect and uses no proxy.
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    connection = http.client.HTTPSConnection(host, port, context=tls)
    try:
        connection.sock = _secured(_connected(host, port, deadline), host, tls, deadline)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "application/jwk-set+json, application/json"})
        with connection.getresponse() as response:
            status, body = response.status, response.read(MAX_SIZE + 1)
    finally:
        connection.close()
    if status != HTTPStatus.OK or len(body) > MAX_SIZE:
        raise ValueError(f"status {status}, {len(body)} bytes")
    return body


def _connected(host: str, port: int, deadline: float) -> socket.socket:
    """Return a connection to the first address of a host that takes one. Raises OSError."""
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _secured(connection: socket.socket, host: str, tls: ssl.SSLContext, deadline: float) -> ssl.SSLSocket:
    """Return a connection after its TLS handshake. Raises OSError, and then closes it."""
    try:
        # Other than a read's, a handshake's time-out is for the whole of it.
        connection.settimeout(_left(deadline))
        secured = cast("_Socket", tls.wrap_socket(connection, server_hostname=host))
    except OSError:
        connection.close()
        raise
    secured.deadline = deadline
    return secured
