"""The endpoints of the exchange Lambda functions over HTTPS and MQTT."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from firstboot.exchange.answers import Answers
from firstboot.exchange.certifying import certify
from firstboot.exchange.commit import CommitByConnecting
from firstboot.exchange.exchange import Exchange
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issued
from firstboot.exchange.messages import (
    CertificateAnswer,
    CommitAnswer,
    DelayedAnswer,
    HealthAnswer,
    MqttCertificateRequest,
    NonceAnswer,
    asked,
    read,
    said,
)
from firstboot.identity.connection import Connected, Connection
from firstboot.identity.login import LogIn
from firstboot.identity.possession import OverTls, Presented
from firstboot.identity.proof import Prove
from firstboot.runtime.callers import present
from firstboot.runtime.guard import Guard
from firstboot.runtime.http import NONCE_HEADER, HttpRequest, HttpResponse, respond
from firstboot.runtime.messages import NoMembers
from firstboot.runtime.mqtt import connection


@dataclass(frozen=True)
class Endpoints:
    """The endpoints of requests, with the use cases that they call."""

    exchange: Exchange
    log_in: LogIn
    prove: Prove
    connected: Connected
    answers: Answers
    guard: Guard

    def certificates(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Certify the key in the CSR: enroll with a bootstrap certificate, renew with an operational one."""
        sent = request.body, request.headers.get("content-type", ""), request.query
        if request.client_certificate:
            self.guard.about(way=OverTls.way)
            self.exchange.refuse_early(request.client_certificate, lambda: said(*sent), now)
        presented = present(request, self.prove, now)
        wanted = read(*sent)
        answer = self.answers.render(self._certify(presented, wanted.request, now), wanted, now)
        if isinstance(answer, CertificateAnswer):
            return respond(HTTPStatus.CREATED, answer, now)
        return respond(HTTPStatus.ACCEPTED, answer, now, {"Retry-After": str(answer.retry_after)})

    def commit(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Log in with a new certificate, which becomes the active one."""
        return respond(HTTPStatus.OK, self._log_in(present(request, self.prove, now), now), now)

    def nonce(self, _: HttpRequest, now: datetime) -> HttpResponse:
        """Return a nonce for a signed proof, for a device without a clock."""
        fresh = self.prove.fresh_nonce(now)
        return respond(HTTPStatus.OK, NonceAnswer(nonce=fresh), now, {NONCE_HEADER: fresh})

    def health(self, _: HttpRequest, now: datetime) -> HttpResponse:
        """Return an answer, which shows that the gateway reaches a Lambda function."""
        return respond(HTTPStatus.OK, HealthAnswer(), now)

    def certificates_message(
        self, client: Connection, request: MqttCertificateRequest, now: datetime
    ) -> CertificateAnswer | DelayedAnswer:
        """Certify the key in the CSR, over MQTT.

        The connection's certificate id leads to the certificate, which is then verified like one over HTTPS,
        with its chain and dates.
        """
        presented = self.connected(client, request.bootstrap)
        wanted = asked(request)
        return self.answers.render(self._certify(presented, wanted.request, now), wanted, now)

    def commit_message(self, client: Connection, _: NoMembers, now: datetime) -> CommitAnswer:
        """Log in with a new certificate, over MQTT."""
        return self._log_in(self.connected(client, None), now)

    def _certify(self, presented: Presented, request: ExchangeRequest, now: datetime) -> Issued | Claimed:
        return certify(lambda: self.exchange(presented, request, now), presented.way, self.guard)

    def _log_in(self, presented: Presented, now: datetime) -> CommitAnswer:
        self.guard.about(way=presented.way)
        identity = self.log_in(presented, now)
        return CommitAnswer(device_id=identity.device.device_id, certificate_id=identity.certificate_id)


@dataclass(frozen=True)
class Presence:
    """The handler that commits a pending certificate when its device connects to AWS IoT."""

    commit: CommitByConnecting
    guard: Guard

    def __call__(self, event: object, _: Any, now: datetime) -> None:  # noqa: ANN401 - Lambda's context
        """Handle the event that the topic rule of connections sends."""
        self.guard.count("Connected")
        identity = self.commit(connection(event), now)
        if identity:
            self.guard.info("committed by connecting", deviceId=identity.device.device_id)
            self.guard.count("CommittedByConnecting")
