"""Fetch the JWK sets (RFC 7517) of token issuers over HTTPS and keep them.

An issuer is trusted to name its keys and for nothing else. So redirects and proxies are not used, and a
fetch is bounded in size and in time. A client that sends tokens with invented key ids causes at most one
fetch in each `PAUSE`.

PyJWT's own client is not used. It bounds neither the size nor the whole time of a fetch, drops old keys
while the issuer does not answer, and pauses only after a fetch that succeeded.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from firstboot.domain.clock import EPOCH
from firstboot.pki.errors import TokenUntrusted
from firstboot.pki.token import SigningKey, signing_keys
from firstboot.runtime.errors import IssuerUnavailable

FRESH = timedelta(minutes=5)
"""How long a set is used before it is fetched again. So long a withdrawn key may be accepted."""

STALE = timedelta(hours=1)
"""How long after its fetch a set is used while the issuer does not answer."""

PAUSE = timedelta(seconds=30)
"""The shortest time between two fetches, successful or not. So long a new key may be refused."""

MAX_SIZE = 65_536
"""Bytes of a JWK set; a larger one is refused."""

_SECONDS = 1.5
"""The time for a whole fetch, name resolution included. AWS IoT gives the custom authorizer five seconds."""


@dataclass
class _Known:
    """An issuer's keys, the time of their fetch, and the time of the last attempt."""

    keys: dict[str, SigningKey] = field(default_factory=dict)
    fetched_at: datetime = EPOCH
    tried_at: datetime = EPOCH


class IssuerKeys:
    """The keys of issuers by the URL of their set, kept in the process.

    `failed` is called with the description of each fetch that fails.
    """

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._known: dict[str, _Known] = {}
        self._failed = failed
        self._tls = ssl.create_default_context()
        # The time-out of a socket bounds a single read, so an answer that comes byte by byte could take
        # forever. `_fetch` can stop waiting for the worker thread that reads such an answer.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jwks")

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
        pending: Future[bytes] = self._worker.submit(_get, url, self._tls)
        try:
            known.keys = signing_keys(pending.result(timeout=_SECONDS))
        except (OSError, http.client.HTTPException, ValueError) as error:
            pending.cancel()
            self._failed(f"{url}: {error!r}"[:300])
        else:
            known.fetched_at = now


def _get(url: str, tls: ssl.SSLContext) -> bytes:
    """Return the body of a 200 answer.

    Raises ValueError for any other answer and for a body that is too long, OSError, HTTPException.
    """
    # `http.client` follows no redirect and uses no proxy.
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, timeout=_SECONDS, context=tls
    )
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "application/jwk-set+json, application/json"})
        with connection.getresponse() as response:
            status, body = response.status, response.read(MAX_SIZE + 1)
    finally:
        connection.close()
    if status != HTTPStatus.OK or len(body) > MAX_SIZE:
        raise ValueError(f"status {status}, {len(body)} bytes")
    return body
