"""Who calls over HTTPS: the certificate of the TLS handshake, or a signed proof in `Authorization`."""

from __future__ import annotations

import base64
from datetime import datetime

from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

from firstboot.domain.errors import ProofRequired
from firstboot.domain.ports import Registry
from firstboot.identity.possession import Presented, prove
from firstboot.pki import chain
from firstboot.pki.proof import Call

_SCHEME = "bearer "


def present(event: APIGatewayProxyEventV2, registry: Registry, now: datetime) -> Presented:
    """The certificate that the caller proved to own.

    Of client TLS, only what the gateway's context says counts: a header of that meaning is the
    client's own invention. The names and serials the gateway prints vary in form, so only the PEM
    is read. Where there is one, an `Authorization` header counts for nothing.

    Raises ProofRequired, ProofError, CertificateMalformed, Unavailable.
    """
    context = event.raw_event.get("requestContext") or {}
    pem = ((context.get("authentication") or {}).get("clientCert") or {}).get("clientCertPem")
    if pem:
        return Presented(chain.parse(pem))
    authorization = event.headers.get("authorization", "")
    if authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise ProofRequired
    return prove(authorization[len(_SCHEME) :].strip(), _call(event), registry, now)


def _call(event: APIGatewayProxyEventV2) -> Call:
    """The call as its sender saw it; the host is the one the gateway says it came to."""
    query = f"?{event.raw_query_string}" if event.raw_query_string else ""
    url = f"https://{event.request_context.domain_name}{event.raw_path}{query}"
    body = event.body or ""
    raw = base64.b64decode(body) if event.is_base64_encoded else body.encode()
    return Call(event.request_context.http.method, url, raw)
