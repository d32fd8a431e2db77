"""An issuer's JWK set (RFC 7517), fetched over HTTPS and kept.

An issuer is trusted to name its keys and with nothing else: no redirect is followed, no proxy asked,
and an answer ends at a size and at a time. Whoever sends tokens with invented key ids makes no more
fetches than one per `PAUSE`.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from firstboot.pki.errors import TokenUntrusted
from firstboot.pki.token import SigningKey, signing_keys
from firstboot.runtime.errors import IssuerUnavailable

FRESH = 300
"""Seconds for which a set is taken as it is. A key that the issuer withdraws counts as long."""

STALE = 3_600
"""Seconds for which it is taken while the issuer does not answer."""

PAUSE = 30
"""Seconds between two fetches, whether they worked or not. A new key waits for as long."""

MAX_SIZE = 65_536
"""Bytes of a set."""

_SECONDS = 1.5  # of AWS IoT's five, a fetch in all: names resolved, connected, read to the end


@dataclass
class _Known:
    """An issuer's keys; times are epoch seconds."""

    keys: dict[str, SigningKey] = field(default_factory=dict)
    fetched_at: float = 0
    tried_at: float = 0


class IssuerKeys:
    """Issuers' keys by the URL of their set, kept for a process. `failed` hears why a fetch did."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._known: dict[str, _Known] = {}
        self._failed = failed
        self._tls = ssl.create_default_context()
        # A time-out of a socket ends one read, not an answer that drips; a thread can be left.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jwks")

    def key(self, url: str, key_id: str, now: datetime) -> SigningKey:
        """The key `key_id` of the set at `url`; at most one fetch.

        Raises TokenUntrusted if the set has no such key, IssuerUnavailable if there is no set.
        """
        known, at = self._known.setdefault(url, _Known()), now.timestamp()
        due = key_id not in known.keys or at >= known.fetched_at + FRESH
        if due and at >= known.tried_at + PAUSE:
            self._fetch(url, known, at)
        if at >= known.fetched_at + STALE:
            raise IssuerUnavailable(log=url)
        if key_id not in known.keys:
            raise TokenUntrusted(log=f"key {key_id[:80]!r} is not in {url}")
        return known.keys[key_id]

    def _fetch(self, url: str, known: _Known, at: float) -> None:
        known.tried_at = at
        pending: Future[bytes] = self._worker.submit(_get, url, self._tls)
        try:
            known.keys = signing_keys(pending.result(timeout=_SECONDS))
        except (OSError, http.client.HTTPException, ValueError) as error:
            pending.cancel()
            self._failed(f"{url}: {error!r}"[:300])
        else:
            known.fetched_at = at


def _get(url: str, tls: ssl.SSLContext) -> bytes:
    """The body of a 200; anything else, and a body that is too long, is a ValueError."""
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
