"""The service's calls, and its refusals in all the shapes they come in."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from device import certificates
from device.refusal import Action, CertificateRefused, Refused
from device.store import Identity
from device.transport import Answer, Transport

ANSWER_LIMIT = 4_096
CHAIN_LIMIT = 65_536


@dataclass(frozen=True)
class Issued:
    """A certificate as it came, unchecked. `chain` is PEM; `moment` is the service's time."""

    device_id: str
    certificate_id: str
    moment: datetime
    chain: bytes


class Service:
    """The mTLS host at `url`. Every call raises Refused."""

    def __init__(self, url: str, transport: Transport) -> None:
        self._url = url.rstrip("/")
        self._transport = transport

    def enroll(self, bootstrap: Identity, csr: str, *, device_id: str | None, inline: bool) -> Issued:
        """A certificate for the key of `csr` (PEM): the same one as often as this is repeated.

        `inline` asks for it in the answer; else it is downloaded.
        """
        request = {"csr": csr, "deliver": "inline" if inline else "url"}
        if device_id:
            request["deviceId"] = device_id
        answer = self._send(bootstrap, "POST", "/v1/certificates", request)
        if answer.status == 202:
            seconds = _retry_after(answer, _members(answer))
            raise Refused(Action.WAIT, "The certificate is not issued yet", retry_after=seconds)
        members = _success(answer)
        try:
            return Issued(
                device_id=members["deviceId"],
                certificate_id=members["certificateId"],
                moment=datetime.strptime(members["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
                chain=_chain(members) if inline else self._download(members["certificateUrl"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Refused(Action.RETRY, "The answer is not a certificate") from error

    def commit(self, identity: Identity) -> dict[str, Any]:
        """Log in with a certificate, which makes it the device's own."""
        return self._log_in(identity, "POST", "/v1/certificates/commit")

    def device(self, identity: Identity) -> dict[str, Any]:
        """The device's record and its grants."""
        return self._log_in(identity, "GET", "/v1/device")

    def credentials(self, identity: Identity, role_alias: str) -> dict[str, Any]:
        """AWS credentials, as a `credential_process` prints them (AWS SDKs and Tools Reference
        Guide, "Process credential provider").
        """
        alias = quote(role_alias, safe="=,@")
        try:
            answer = self._log_in(identity, "GET", f"/role-aliases/{alias}/credentials")
        except Refused as refusal:
            if not (refusal.code or "").startswith("AccessDenied"):
                raise
            # That answer's shape is AWS IoT's and names no action. The record's does; and if the
            # record is to be had, it is only that no rule grants anything now.
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

    def _download(self, url: str) -> bytes:
        answer = self._transport.send("GET", url, limit=CHAIN_LIMIT)
        if answer.status != 200:
            # 403 is an expired URL; a new one comes with the next try, whatever went wrong.
            raise Refused(Action.RETRY, f"The certificate's URL answered {answer.status}")
        return answer.body

    def _log_in(self, identity: Identity, method: str, path: str) -> dict[str, Any]:
        moment = datetime.now(UTC)
        try:
            answer = self._send(identity, method, path)
            moment = max(moment, _date(answer) or moment)
            return _success(answer)
        except CertificateRefused as refusal:
            if certificates.expired(identity.certificate.read_bytes(), moment):
                raise Refused(Action.REENROLL, "The certificate has expired") from refusal
            raise

    def _send(
        self, identity: Identity, method: str, path: str, members: dict[str, str] | None = None
    ) -> Answer:
        body = None if members is None else json.dumps(members).encode()
        return self._transport.send(
            method, self._url + path, limit=ANSWER_LIMIT, identity=identity, body=body
        )


def _chain(members: dict[str, Any]) -> bytes:
    ders = (members["certificate"], *members["chain"])
    return certificates.pem([base64.b64decode(der, validate=True) for der in ders])


def _success(answer: Answer) -> dict[str, Any]:
    members = _members(answer)
    if answer.status in (200, 201) and members:
        return members
    raise _refusal(answer, members)


def _members(answer: Answer) -> dict[str, Any]:
    try:
        members = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _refusal(answer: Answer, members: dict[str, Any]) -> Refused:
    detail = str(members.get("detail") or members.get("message") or f"HTTP status {answer.status}")
    code = members.get("code") or answer.headers.get("x-amzn-ErrorType")
    if answer.status == 403 and detail == "Forbidden":
        # API Gateway's own words for a certificate it does not take (HTTP API guide, "mutual TLS").
        return CertificateRefused("The gateway refused the certificate")
    return Refused(
        _action(answer, members), detail, code=code and str(code), retry_after=_retry_after(answer, members)
    )


def _action(answer: Answer, members: dict[str, Any]) -> Action:
    try:
        return Action(str(members.get("action")))
    except ValueError:
        # API Gateway and the credential provider name no action.
        transient = answer.status < 400 or answer.status in (408, 429) or answer.status >= 500
        return Action.RETRY if transient else Action.STOP


def _retry_after(answer: Answer, members: dict[str, Any]) -> float | None:
    try:
        return max(0.0, float(str(members.get("retryAfter", answer.headers.get("Retry-After")))))
    except ValueError:
        return None


def _date(answer: Answer) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers["Date"])
    except (TypeError, ValueError):
        return None
