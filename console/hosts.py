"""Calls of a stack's hosts, as a device makes them.

They trust the machine's CAs or those of SSL_CERT_FILE, and those of AWS_CA_BUNDLE.
"""

from __future__ import annotations

import os
import socket
import ssl
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from console.diagnosis import Level, Line

_SECONDS = 5
_MTLS = "mTLS host"
_REFUSED = b" 403 "


def public(url: str) -> Line:
    """Whether the public host at `url` answers."""
    return _answers("public host", f"{url}/healthz")


def presigned(url: str) -> Line:
    """Whether what S3 hands out can be fetched from here, as devices fetch their certificates."""
    return _answers("presigned URLs", url)


def _answers(what: str, url: str) -> Line:
    host = urlsplit(url).hostname
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS, context=_trust()) as response:  # noqa: S310 - ours
            return Line(Level.OK, what, f"{host} answers {response.status}")
    except urllib.error.HTTPError as error:
        return Line(Level.FAIL, what, f"{host} answers {error.code}")
    except OSError as error:
        return Line(Level.FAIL, what, f"{host}: {error}")


def mtls(url: str, alias: str) -> Line:
    """Whether the mTLS host has an address and a certificate for its name, and takes no client without
    one. `alias` is what its name must lead to.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    try:
        answer = _without_certificate(host, port)
    except socket.gaierror:
        return Line(Level.FAIL, _MTLS, f"{host} has no address: point its DNS record at {alias}")
    except ssl.SSLCertVerificationError as error:
        return Line(Level.FAIL, _MTLS, f"{host}: {error.verify_message}")
    except OSError as error:
        return Line(Level.FAIL, _MTLS, f"{host}: {error}")
    if answer and _REFUSED not in answer:
        return Line(Level.FAIL, _MTLS, f"{host} answers a client without a certificate")
    return Line(Level.OK, _MTLS, f"{host} demands a client certificate")


def _without_certificate(host: str, port: int) -> bytes:
    """The first line that a client without a certificate is answered; none if it is refused.

    Raises OSError where nobody is, SSLCertVerificationError where somebody else is.
    """
    context = _trust()
    with socket.create_connection((host, port), timeout=_SECONDS) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=host) as tls:
                tls.sendall(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                return tls.recv(1024).partition(b"\r\n")[0]
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, ConnectionError):
            return b""


def _trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # boto3 takes it for calls of AWS. Where it is needed for those, it is needed for AWS's hosts too.
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        context.load_verify_locations(bundle)
    return context
