"""Call a stack's hosts, as a device does.

Trusted are the machine's CAs or those of SSL_CERT_FILE, and those of AWS_CA_BUNDLE.
"""

from __future__ import annotations

import os
import socket
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from console import tls
from console.diagnosis import Level, Line

_SECONDS = 5
_MTLS = "mTLS host"
_REFUSED = b" 403 "
_OTHER_NAME = 62
"""OpenSSL's code X509_V_ERR_HOSTNAME_MISMATCH."""


def public(url: str) -> Line:
    """Return whether the public host at `url` answers."""
    return _answers("public host", f"{url}/healthz")


def presigned(url: str) -> Line:
    """Return whether a presigned URL of S3 can be fetched from here, as devices fetch their certificates."""
    return _answers("presigned URLs", url)


def _answers(what: str, url: str) -> Line:
    host = urlsplit(url).hostname
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS, context=_trust()) as response:  # noqa: S310 - ours
            return Line(Level.OK, what, f"{host} answers {response.status}")
    except urllib.error.HTTPError as error:
        return Line(Level.FAIL, what, f"{host} answers {error.code}")
    except urllib.error.URLError as error:
        return Line(Level.FAIL, what, f"{host}: {_reason(error.reason)}")
    except (OSError, HTTPException) as error:
        return Line(Level.FAIL, what, f"{host}: {_reason(error)}")


def mtls(url: str, alias: str) -> Line:
    """Return whether the mTLS host has an address and a certificate for its name, and refuses a client that
    has no certificate. `alias` is the host to which its DNS record must point.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        answer = _without_certificate(host, port)
    except socket.gaierror:
        return Line(Level.FAIL, _MTLS, f"{host} has no address: point its DNS record at {alias}")
    except OSError as error:
        return Line(Level.FAIL, _MTLS, f"{host}: {_reason(error)}")
    if answer and _REFUSED not in answer:
        return Line(Level.FAIL, _MTLS, f"{host} answers a client without a certificate")
    return Line(Level.OK, _MTLS, f"{host} demands a client certificate")


def _without_certificate(host: str, port: int) -> bytes:
    """Return the first line of the answer to a client without a certificate, or nothing if it is refused.

    Raises OSError if there is no server, SSLError if it does not speak TLS, and SSLCertVerificationError if
    its certificate is not trusted.
    """
    context = _trust()
    with socket.create_connection((host, port), timeout=_SECONDS) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=host) as session:
                session.sendall(
                    f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
                )
                return session.recv(1024).partition(b"\r\n")[0]
        except ssl.SSLError as error:
            # A server that refuses the client sends an alert or ends the connection. Any other error is ours,
            # for example because the server does not speak TLS.
            if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or "ALERT" in str(error.reason):
                return b""
            raise
        except ConnectionError:
            return b""


def _trust() -> ssl.SSLContext:
    """Return a context with the trusted CAs.

    Raises OSError if AWS_CA_BUNDLE names a file that has none.
    """
    context = ssl.create_default_context()
    # boto3 trusts this file for AWS's hosts. An endpoint that needs it needs it here too.
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        try:
            context.load_verify_locations(bundle)
        except OSError as error:
            raise OSError(tls.trusted("AWS_CA_BUNDLE", bundle)) from error
    return context


def _reason(error: object) -> str:
    """Return why a host did not answer. A certificate that is not trusted is told apart from no answer."""
    match error:
        case ssl.SSLCertVerificationError(verify_code=code, verify_message=message):
            refused = f"its certificate is refused: {message.rstrip('.')}"
            # The trusted CAs do not matter if the certificate is for another host.
            if code == _OTHER_NAME:
                return refused
            settings = (
                tls.trusted(name, os.environ.get(name)) for name in ("SSL_CERT_FILE", "AWS_CA_BUNDLE")
            )
            return f"{refused}. {'. '.join(settings)}"
        case socket.gaierror():
            return "it has no address in DNS"
        case TimeoutError():
            return f"no answer within {_SECONDS} s"
        case OSError(strerror=str() as text):
            return text
        case _:
            return str(error)
