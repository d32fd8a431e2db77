"""Render the outcome of an exchange as an answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from firstboot.domain.clock import epoch, iso
from firstboot.domain.names import DeviceId
from firstboot.exchange.issue import Claimed, Issued
from firstboot.exchange.messages import Asked, CertificateAnswer, DelayedAnswer, MqttAddress, base64_der
from firstboot.pki import chain
from firstboot.runtime.problem import RETRY_SECONDS, Backlog, retry_in, spread

URL_SECONDS = 300
"""How long a presigned URL works. The bucket's policy refuses URLs that work longer."""


class Urls(Protocol):
    """Presigned URLs of issued certificates."""

    def url(self, device_id: DeviceId, serial: str, seconds: int) -> str:
        """Return a presigned URL of the chain that works for `seconds`. The method makes no call."""


@dataclass(frozen=True)
class Answers:
    """The renderer of answers. `mqtt_host` and `mqtt_port` are AWS IoT's address for devices."""

    mqtt_host: str
    mqtt_port: int
    urls: Urls
    limiter: Backlog

    def render(
        self, outcome: Issued | Claimed, asked: Asked, now: datetime
    ) -> CertificateAnswer | DelayedAnswer:
        """Return the answer to a request, with the certificate by URL or inline as `asked`.

        The answer to a Claimed outcome tells the device when to repeat the request.
        """
        if isinstance(outcome, Claimed):
            seconds = outcome.slot or spread(RETRY_SECONDS, outcome.device_id)
            return DelayedAnswer(device_id=outcome.device_id, retry_after=seconds)
        if asked.deliver == "inline":
            delivered = _inline(outcome)
        else:
            delivered = self._url(outcome.device_id, outcome.record.serial, now)
        if asked.configuration:
            delivered["configuration"] = outcome.group.configuration
        return self._issued(outcome, delivered, now)

    def inline(self, issued: Issued, now: datetime) -> CertificateAnswer:
        """Return the answer with an issued certificate inline."""
        return self._issued(issued, _inline(issued), now)

    def _issued(self, outcome: Issued, delivered: dict[str, Any], now: datetime) -> CertificateAnswer:
        record = outcome.record
        return CertificateAnswer(
            device_id=outcome.device_id,
            certificate_id=chain.fingerprint(outcome.certificates[0]),
            serial=record.serial,
            not_after=iso(record.not_after),
            renew_after=iso(record.renew_after),
            # A device without a clock counts seconds, and can't compare dates.
            renew_in=max(0, epoch(record.renew_after) - epoch(now)),
            mqtt=self._mqtt(outcome, now),
            **delivered,
        )

    def _mqtt(self, outcome: Issued, now: datetime) -> MqttAddress:
        ready = outcome.ready
        return MqttAddress(
            host=self.mqtt_host,
            port=self.mqtt_port,
            client_id=outcome.device_id,
            ready=ready,
            retry_after=retry_in(outcome.device_id, self.limiter, now, ready=ready),
        )

    def _url(self, device_id: DeviceId, serial: str, now: datetime) -> dict[str, Any]:
        return {
            "certificate_url": self.urls.url(device_id, serial, URL_SECONDS),
            "url_expires_at": iso(now + timedelta(seconds=URL_SECONDS)),
            "url_expires_in": URL_SECONDS,
        }


def _inline(outcome: Issued) -> dict[str, Any]:
    leaf, *above = outcome.certificates
    return {"certificate": base64_der(leaf), "chain": [base64_der(each) for each in above]}
