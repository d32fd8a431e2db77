"""An issuer's JWK set (RFC 7517), fetched over HTTPS and kept.

An issuer is trusted to name its keys and with nothing else: no redirect is followed, no proxy asked,
and an answer ends at a size and at a time. A client that sends tokens with invented key ids causes at most
one fetch in each `PAUSE`.
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
"""How long a set is used without fetching it again, and so how long a withdrawn key still counts."""

STALE = timedelta(hours=1)
"""How long a set is used while the issuer does not answer."""

PAUSE = timedelta(seconds=30)
"""The time between two fetches, whether they worked or not. A new key may wait for as long."""

MAX_SIZE = 65_536
"""Bytes of a set."""

_SECONDS = 1.5  # of AWS IoT's five, a fetch in all: names resolved, connected, read to the end


@dataclass
class _Known:
    """An issuer's keys, when they were fetched, and when a fetch was last tried."""

    keys: dict[str, SigningKey] = field(default_factory=dict)
    fetched_at: datetime = EPOCH
    tried_at: datetime = EPOCH


class IssuerKeys:
    """Issuers' keys by the URL of their set, kept for a process. `failed` is told why a fetch failed."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._known: dict[str, _Known] = {}
        self._failed = failed
        self._tls = ssl.create_default_context()
        # A socket's time-out ends one read, not an answer that comes a byte at a time. The thread that reads
        # it can be left behind.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jwks")

    def key(self, url: str, key_id: str, now: datetime) -> SigningKey:
        """Return the key `key_id` of the set at `url`; fetch the set at most once.

        Raises TokenUntrusted if the set has no such key, IssuerUnavailable if there is no set.
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
