"""Make the service's calls."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from . import answers, certificates
from .hosts import Host
from .refusal import Action, CertificateRefused, Refused
from .store import Identity
from .transport import Transport

CHAIN_LIMIT = 65_536


@dataclass(frozen=True)
class Issued:
    """A certificate that is not checked yet. `chain` is PEM; `moment` is the service's time."""

    device_id: str
    certificate_id: str
    moment: datetime
    chain: bytes


class Service:
    """The service behind `host`. Every call raises Refused.

    A certificate is downloaded over `transport`, or with `inline` it is part of the answer.
    """

    def __init__(self, host: Host, transport: Transport, *, inline: bool = False) -> None:
        self._host = host
        self._transport = transport
        self._inline = inline

    def enroll(self, bootstrap: Identity, csr: str, device_id: str | None) -> Issued:
        """Get a certificate for the key of `csr` (PEM). A repeated call gets the same certificate."""
        named = {"deviceId": device_id} if device_id else {}
        return self._issued(self._call(bootstrap, "POST", "/v1/certificates", self._request(csr) | named))

    def renew(self, identity: Identity, csr: str) -> Issued:
        """Get the next certificate of a device that has an identity. A repeated call gets the same one."""
        return self._issued(self._as_device(identity, "POST", "/v1/certificates", self._request(csr)))

    def commit(self, identity: Identity) -> dict[str, Any]:
        """Log in with a new certificate, which commits it."""
        return self._as_device(identity, "POST", "/v1/certificates/commit")

    def device(self, identity: Identity) -> dict[str, Any]:
        """Return the device's record and its grants."""
        return self._as_device(identity, "GET", "/v1/device")

    def credentials(self, identity: Identity, role_alias: str) -> dict[str, Any]:
        """Return AWS credentials in the format of a `credential_process` (AWS SDKs and Tools Reference Guide,
        "Process credential provider").
        """
        alias = quote(role_alias, safe="=,@")
        try:
            answer = self._as_device(identity, "GET", f"/role-aliases/{alias}/credentials")
        except Refused as refusal:
            if not (refusal.code or "").startswith("AccessDenied"):
                raise
            # This answer has AWS IoT's format, which names no action. A refusal of the record names one. If
            # the record is not refused, then no rule grants anything now, which an operator may change.
            self.device(identity)
            raise Refused(Action.WAIT, refusal.detail, code=refusal.code) from refusal
        try:
            credentials = answer["credentials"]
            return {"Version": 1} | {
                name[0].upper() + name[1:]: credentials[name]
                for name in ("accessKeyId", "secretAccessKey", "sessionToken", "expiration")
            }
        except (KeyError, TypeError) as error:
            raise Refused(Action.RETRY, "The answer is not credentials") from error

    def _request(self, csr: str) -> dict[str, str]:
        return {"csr": csr, "deliver": "inline" if self._inline else "url"}

    def _issued(self, members: dict[str, Any]) -> Issued:
        try:
            return Issued(
                device_id=members["deviceId"],
                certificate_id=members["certificateId"],
                moment=datetime.strptime(members["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
                chain=_chain(members) if self._inline else self._download(members["certificateUrl"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(Action.RETRY, "The answer is not a certificate") from error

    def _download(self, url: str) -> bytes:
        answer = self._transport.send("GET", url, limit=CHAIN_LIMIT)
        if answer.status != 200:
            # 403 means that the URL expired. For every status, the next try gets a new URL.
            raise Refused(Action.RETRY, f"The certificate's URL answered {answer.status}")
        return answer.body

    def _as_device(
        self, identity: Identity, method: str, path: str, members: dict[str, str] | None = None
    ) -> dict[str, Any]:
        try:
            return self._call(identity, method, path, members)
        except CertificateRefused as refusal:
            clocks = [datetime.now(UTC), *filter(None, [refusal.moment])]
            if certificates.expired(identity.certificate.read_bytes(), max(clocks)):
                raise Refused(Action.REENROLL, "The certificate has expired") from refusal
            raise

    def _call(
        self, identity: Identity, method: str, path: str, members: dict[str, str] | None = None
    ) -> dict[str, Any]:
        body = None if members is None else json.dumps(members).encode()
        return answers.success(self._host.send(identity, method, path, body))


def _chain(members: dict[str, Any]) -> bytes:
    ders = (members["certificate"], *members["chain"])
    return certificates.pem([base64.b64decode(der, validate=True) for der in ders])
