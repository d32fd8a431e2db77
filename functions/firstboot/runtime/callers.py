"""Identify the caller of an HTTPS request by the certificate of the TLS handshake or by a signed proof."""

from __future__ import annotations

from datetime import datetime

from firstboot.identity.errors import ProofRequired
from firstboot.identity.possession import OverTls, Proven
from firstboot.identity.proof import Prove
from firstboot.pki import certificate
from firstboot.pki.proof import Call
from firstboot.runtime.http import HttpRequest

_SCHEME = "bearer "


def present(request: HttpRequest, prove: Prove, now: datetime) -> OverTls | Proven:
    """Return the certificate whose key the caller has proved to hold.

    If the gateway verified a TLS client certificate, an `Authorization` header is ignored.
    Raises ProofRequired, ProofError, CertificateMalformed, Unavailable.
    """
    if request.client_certificate:
        return OverTls(certificate.parse_text(request.client_certificate))
    authorization = request.headers.get("authorization", "")
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise ProofRequired
    token = authorization[len(_SCHEME) :].strip()
    return prove(token, Call(request.method, request.url, request.body), now)
