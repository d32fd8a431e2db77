"""A device and the real Lambda functions in one process, with a clock that jumps.

Requests and answers can be lost, and AWS calls can fail.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from typing import cast
from urllib.parse import urlsplit

import jwt
from cryptography import x509

from device.refusal import Action, Refused
from device.store import Identity
from device.transport import Answer, Transport
from firstboot.pki import chain, signature
from tests.aws.lifecycle_watch import Call, Claims, Watch
from tests.aws.product import Product
from tests.aws.test_issuance import Recorder
from tests.field.encode import own


class PowerLost(BaseException):
    """The device lost power. It is no Exception, so that no code of the device can catch it."""


@dataclass(frozen=True)
class Loss:
    """The loss of the `number`-th request, counted from 1, or of its answer if `answered`.

    With `power` the device loses power at that moment.
    """

    number: int
    answered: bool
    power: bool


@dataclass(frozen=True)
class Fault:
    """A failure of an AWS operation, or of its answer if `done`."""

    operation: str
    done: bool


class Clock:
    """The service's time, in whole seconds."""

    def __init__(self, product: Product) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        product.lambdas.clock = lambda: self.now

    def wait(self, seconds: float) -> None:
        """Move the time forward."""
        self.now += timedelta(seconds=int(seconds))


class Wire(Transport):
    """The transport of all devices in the machine. `watch` gets every call.

    `claims` are put into each request for a certificate.
    """

    def __init__(self, product: Product, recorder: Recorder, clock: Clock, watch: Watch) -> None:
        super().__init__(None)
        self._product = product
        self._recorder = recorder
        self._clock = clock
        self._watch = watch
        self._loss: Loss | None = None
        self._fault: Fault | None = None
        self._sent = 0
        self.claims: Claims | None = None

    def fail(self, loss: Loss | None = None, fault: Fault | None = None) -> None:
        """Set the failures of the next calls; without arguments, calls succeed again."""
        self._loss, self._fault, self._sent = loss, fault, 0

    def send(
        self,
        method: str,
        url: str,
        *,
        limit: int,  # noqa: ARG002 - no answer here is that long
        identity: Identity | None = None,
        authorization: str | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a request, as Transport specifies."""
        self._sent += 1
        self._lose(answered=False)
        answer = self._answer(
            method, urlsplit(url).path, _caller(identity, authorization), authorization, body
        )
        self._lose(answered=True)
        return answer

    def _lose(self, *, answered: bool) -> None:
        loss = self._loss
        if loss and (loss.number, loss.answered) == (self._sent, answered):
            raise PowerLost if loss.power else Refused(Action.RETRY, "lost")

    def _answer(
        self,
        method: str,
        path: str,
        leaf: x509.Certificate | None,
        authorization: str | None,
        body: bytes | None,
    ) -> Answer:
        if leaf and not authorization and leaf.not_valid_after_utc < self._clock.now:
            return self._forbidden()
        text = body.decode() if body else None
        if text and self.claims is not None and not authorization:  # a proof holds the body's hash
            text = json.dumps(json.loads(text) | {"claims": self.claims})
        headers = {"content-type": "application/json"} | (
            {"authorization": authorization} if authorization else {}
        )
        with self._faulty():
            answer = self._product.call(method, path, None if authorization else leaf, text, headers)
        if leaf and answer.body.get("code") not in ("proof-stale", "proof-replayed"):
            self._watch.called(self._call(leaf, text), answer.status, answer.body)
        message = Message()
        for name, value in answer.headers.items():
            message[name] = value
        return Answer(answer.status, message, json.dumps(answer.body).encode())

    @contextmanager
    def _faulty(self) -> Iterator[None]:
        failing = self._recorder.after if self._fault and self._fault.done else self._recorder.before
        failing.update({self._fault.operation} if self._fault else ())
        yield
        failing.clear()

    def _forbidden(self) -> Answer:
        """Return the gateway's refusal of an expired certificate."""
        message = Message()
        message["Date"] = format_datetime(self._clock.now)
        return Answer(403, message, b'{"message": "Forbidden"}')

    def _call(self, leaf: x509.Certificate, body: str | None) -> Call:
        ours = chain.issued_by(own(leaf), self._product.ca)
        return Call(
            caller=f"{leaf.serial_number:x}" if ours else None,
            key=_key(json.loads(body)["csr"]) if body else None,
            claims=json.loads(body).get("claims") if body else None,
            now=self._clock.now,
            faulty=self._fault is not None,
        )


def _caller(identity: Identity | None, authorization: str | None) -> x509.Certificate | None:
    if authorization:
        shown = jwt.get_unverified_header(authorization.removeprefix("Bearer "))["x5c"]
        return chain.parse(f"-----BEGIN CERTIFICATE-----\n{shown[0]}\n-----END CERTIFICATE-----\n")
    return x509.load_pem_x509_certificates(identity.certificate.read_bytes())[0] if identity else None


def _key(request: str) -> str:
    parsed = x509.load_pem_x509_csr(request.encode())
    return signature.spki_fingerprint(cast("signature.DevicePublicKey", parsed.public_key()))
