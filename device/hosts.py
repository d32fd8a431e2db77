"""The service's HTTPS hosts. Their answers are alike; they differ in how a request proves its sender."""

from __future__ import annotations

from typing import Protocol

from . import answers
from .proof import proof
from .refusal import Action, Refused
from .store import Identity
from .transport import Answer, Transport

ANSWER_LIMIT = 4_608
"""Bytes of the protocol's longest answer: one with credentials, of which AWS's session token has 4,096."""


class Host(Protocol):
    """The destination of the service's calls."""

    def send(self, identity: Identity, method: str, path: str, body: bytes | None = None) -> Answer:
        """Return the answer to a request of `identity`. Raises Refused if there is none."""


class MutualTls:
    """The mTLS host at `url`. The identity is the TLS client certificate."""

    def __init__(self, url: str, transport: Transport) -> None:
        self._url = url.rstrip("/")
        self._transport = transport

    def send(self, identity: Identity, method: str, path: str, body: bytes | None = None) -> Answer:
        """See Host."""
        url = self._url + path
        return self._transport.send(method, url, limit=ANSWER_LIMIT, identity=identity, body=body)


class SignedProofs:
    """The public host at `url`. The identity signs a proof for each request."""

    def __init__(self, url: str, transport: Transport) -> None:
        self._url = url.rstrip("/")
        self._transport = transport
        self._nonce: str | None = None

    def send(self, identity: Identity, method: str, path: str, body: bytes | None = None) -> Answer:
        """See Host. After a refusal that brings a new nonce, sign and send the request once more."""
        answer = self._signed(identity, method, path, body, self._nonce or self._fetch_nonce())
        if answer.status >= 400 and (nonce := answer.headers.get("DPoP-Nonce")):
            self._nonce = nonce
            answer = self._signed(identity, method, path, body, nonce)
        return answer

    def _fetch_nonce(self) -> str:
        answer = self._transport.send("GET", f"{self._url}/v1/nonce", limit=ANSWER_LIMIT)
        nonce = answers.success(answer).get("nonce")
        if not isinstance(nonce, str):
            raise Refused(Action.RETRY, "The answer is not a nonce")
        self._nonce = nonce
        return nonce

    def _signed(self, identity: Identity, method: str, path: str, body: bytes | None, nonce: str) -> Answer:
        url = self._url + path
        token = proof(identity, method, url, body or b"", nonce)
        return self._transport.send(
            method, url, limit=ANSWER_LIMIT, body=body, authorization=f"Bearer {token}"
        )
