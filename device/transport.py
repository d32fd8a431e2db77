"""Send one HTTPS request over a connection of its own: verified, with a time limit and a size limit, without
redirects.
"""

from __future__ import annotations

import http.client
import math
import os
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .hardware import Reference, backend
from .refusal import Action, CertificateRefused, Refused
from .store import Identity

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

# An API Gateway integration may take 30 s. With a shorter time-out the device would send the request twice.
TIMEOUT_SECONDS = 35.0
"""The time limit of connecting to one address, of a TLS handshake, and of silence."""

# At 1 KB a second, 30 s in the service, the handshake and the longest answer (65 KB) take 105 s.
DEADLINE_SECONDS = 120.0
"""The time limit of a whole request. Without it, a server that sends a byte now and then would hold the
process, and the lock of its state directory, for hours."""


@dataclass(frozen=True)
class Answer:
    """The response to a request. Its repr leaves out the body, which may hold credentials."""

    status: int
    headers: Message
    body: bytes

    def __repr__(self) -> str:
        return f"Answer({self.status})"


class Transport:
    """HTTPS and TLS connections that trust the system's roots and the certificates in `ca` (PEM).

    A request takes at most `seconds`, and more only while it connects: TIMEOUT_SECONDS for each address of
    the host and for the handshake.
    """

    def __init__(self, ca: str | None, seconds: float = DEADLINE_SECONDS) -> None:
        self._ca = ca
        self._seconds = seconds

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
        """Return the answer to one request.

        The answer's body has at most `limit` bytes. `identity` is the TLS client certificate,
        `authorization` the value of the Authorization header.

        Raises CertificateRefused if the server refuses the TLS client certificate. Raises Refused if the
        server does not answer, is not trusted, or answers with too much or too little.
        """
        address = urlsplit(url)
        if address.scheme != "https" or not address.hostname:
            raise Refused(Action.STOP, "The address is not an https URL")
        target = (address.path or "/") + (f"?{address.query}" if address.query else "")
        context, deadline = self.context(identity), time.monotonic() + self._seconds
        context.sslsocket_class = _Socket
        connection = http.client.HTTPSConnection(
            address.hostname, address.port, timeout=min(self._seconds, TIMEOUT_SECONDS), context=context
        )
        headers = {"Content-Type": "application/json"} if body is not None else {}
        headers |= {"Authorization": authorization} if authorization else {}
        try:
            connection.connect()
            made: Any = connection.sock
            made.deadline = deadline
            # A server that refuses the certificate may close the connection before it has read the whole
            # request. Its alert says why, so read on.
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
        """Return a TLS context that verifies the server and its name, with `identity` as the client's
        certificate.

        Raises Refused (stop) if the identity can't be loaded.
        """
        context = ssl.create_default_context()
        if self._ca is not None:
            context.load_verify_locations(cadata=self._ca)
        if identity:
            _load(context, identity)
        return context


class _Socket(ssl.SSLSocket):
    """A TLS socket that neither reads nor writes after `deadline`, a time of the monotonic clock.

    A socket's own time-out begins anew with each byte that arrives.
    """

    deadline = math.inf

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        """See ssl.SSLSocket."""
        self._limit()
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """See ssl.SSLSocket."""
        self._limit()
        return super().send(data, flags)

    def _limit(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.settimeout(min(left, TIMEOUT_SECONDS))


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    identity.certificate.open("rb").close()  # the OSError of load_cert_chain does not name the file
    if isinstance(identity.key, Reference):
        _load_held(context, identity.certificate, identity.key)
        return
    identity.key.open("rb").close()
    try:
        # Without a password argument OpenSSL would ask the terminal for an encrypted key's password.
        context.load_cert_chain(identity.certificate, identity.key, password="")
    except ssl.SSLError as error:
        raise Refused(Action.STOP, f"{identity.certificate} and its key can't be loaded") from error


def _load_held(context: ssl.SSLContext, certificate: Path, key: Reference) -> None:
    """Load a key in hardware by OpenSSL's provider. What names it is in a pipe, because it may hold a PIN."""
    pem = backend(key.uri).for_openssl(key).encode()
    end, begin = os.pipe()
    try:
        with os.fdopen(begin, "wb") as pipe:
            pipe.write(pem)
        context.load_cert_chain(certificate, f"/dev/fd/{end}", password="")
    except OSError as error:  # without a provider OpenSSL reads a damaged file, and Python may give its errno
        detail = (
            f"OpenSSL can't load {key.uri} for TLS: OPENSSL_CONF must activate its provider (pkcs11-provider,"
            " tpm2-openssl) in Python's OpenSSL; the public host needs none"
        )
        raise Refused(Action.STOP, detail) from error
    finally:
        os.close(end)


def loadable(ca: str) -> bool:
    """Return whether `ca` is one certificate or more in PEM format."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError):
        return False
    return True


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    content = response.read(limit + 1)
    if len(content) > limit:
        raise http.client.HTTPException(f"more than {limit} bytes")
    if response.length:
        # http.client does not report a short body when a size is given, and half a chain must be a lost
        # answer, not a wrong certificate.
        raise http.client.IncompleteRead(content, response.length)
    return content


# The alerts of a TLS peer that refuses the client's certificate (RFC 8446 section 6.2), in OpenSSL's words.
_CERTIFICATE_ALERTS = (
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_REVOKED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNKNOWN_CA",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)

# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (openssl-verification-options(1)).
_OUTSIDE_ITS_DATES = (9, 10)


def untrusted(error: ssl.SSLCertVerificationError, host: str) -> Refused:
    """Return the refusal for a server whose certificate does not verify.

    No later attempt can help, with one exception: a device that sets its clock later can then verify the
    certificate's dates.
    """
    action, advice = Action.STOP, "--ca must name the CA that issued the server's certificate"
    if error.verify_code in _OUTSIDE_ITS_DATES:
        action, advice = Action.RETRY, "check this device's clock"
    detail = f"The TLS certificate of {host} is not trusted ({error.verify_message.rstrip('.')}): {advice}"
    return Refused(action, detail, code="server-untrusted")


def _refusal(error: OSError | http.client.HTTPException, host: str) -> Refused:
    if isinstance(error, ssl.SSLCertVerificationError):
        return untrusted(error, host)
    reason = str(getattr(error, "reason", None) or type(error).__name__)
    if reason.endswith(_CERTIFICATE_ALERTS):
        return CertificateRefused(f"{host} refused the certificate: {reason}")
    return Refused(Action.RETRY, f"No answer from {host}: {reason}")
