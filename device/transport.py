"""One HTTPS request over one fresh connection: verified, timed, bounded, no redirects."""

from __future__ import annotations

import http.client
import ssl
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from urllib.parse import urlsplit

from device.refusal import Action, CertificateRefused, Refused
from device.store import Identity

# An API Gateway integration may take 30 s; a shorter patience would make the device ask twice.
TIMEOUT_SECONDS = 35.0


@dataclass(frozen=True)
class Answer:
    """What came back. The body may hold credentials: no repr."""

    status: int
    headers: Message
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status})"


class Transport:
    """`ca` (PEM) is trusted beside the system's own roots."""

    def __init__(self, ca: str | None) -> None:
        self._ca = ca

    def send(
        self,
        method: str,
        url: str,
        *,
        limit: int,
        identity: Identity | None = None,
        authorization: str | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """The answer to one request, its body at most `limit` bytes; `identity` is the TLS client's,
        `authorization` the header of that name.

        Raises CertificateRefused, or Refused if there is no answer or none that can be trusted.
        """
        address = urlsplit(url)
        if address.scheme != "https" or not address.hostname:
            raise Refused(Action.STOP, "The address is not an https URL")
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection = http.client.HTTPSConnection(
            address.hostname, address.port, timeout=TIMEOUT_SECONDS, context=self.context(identity)
        )
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Authorization": authorization} if authorization else {}
        try:
            connection.connect()
            # Who refuses us may hang up before all is sent, and has said why: read on.
            with suppress(ConnectionError, ssl.SSLEOFError):
                connection.request(method, target, body, headers)
            with connection.getresponse() as response:
                content = _body(response, limit)
        except (OSError, http.client.HTTPException) as error:
            raise _refusal(error, address.hostname) from error
        finally:
            connection.close()
        return Answer(response.status, response.headers, content)

    def context(self, identity: Identity | None) -> ssl.SSLContext:
        """TLS that verifies the server by its name, with `identity` for the client's.

        Raises Refused (stop) if that can't be loaded.
        """
        context = ssl.create_default_context()
        if self._ca is not None:
            context.load_verify_locations(cadata=self._ca)
        if identity:
            try:
                # Without a password OpenSSL would ask the terminal for an encrypted key's.
                context.load_cert_chain(identity.certificate, identity.key, password="")
            except ssl.SSLError as error:
                raise Refused(Action.STOP, f"{identity.certificate} and its key can't be loaded") from error
        return context


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    content = response.read(limit + 1)
    if len(content) > limit:
        raise http.client.HTTPException(f"more than {limit} bytes")
    if response.length:
        # A sized read does not say so itself, and half a chain must not pass for a wrong one.
        raise http.client.IncompleteRead(content, response.length)
    return content


# What a TLS peer says of the client's certificate (RFC 8446 section 6.2), in OpenSSL's words.
_CERTIFICATE_ALERTS = (
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNKNOWN_CA",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)


def _refusal(error: OSError | http.client.HTTPException, host: str) -> Refused:
    reason = str(getattr(error, "reason", None) or type(error).__name__)
    if reason.endswith(_CERTIFICATE_ALERTS):
        return CertificateRefused(f"{host} refused the certificate: {reason}")
    return Refused(Action.RETRY, f"No answer from {host}: {reason}")
