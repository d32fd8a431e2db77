"""Sign requests as clients of IAM Roles Anywhere do, with botocore's canonical form."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256."""


def encoded(certificate: x509.Certificate) -> str:
    """Return a certificate as a header holds it."""
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def sign(
    key: Any,
    leaf: x509.Certificate,
    url: str,
    body: bytes,
    now: datetime,
    *,
    chain: Sequence[x509.Certificate] = (),
    algorithm: str | None = None,
    **headers: str,
) -> dict[str, str]:
    """Return the headers of a signed POST request, with names in lower case.

    `headers` are further ones. `algorithm` is RSA or ECDSA, by default the key's own.
    """
    kind = algorithm or ("RSA" if isinstance(key, rsa.RSAPrivateKey) else "ECDSA")
    request = AWSRequest("POST", url, data=body)
    date = now.strftime("%Y%m%dT%H%M%SZ")
    request.headers["Host"] = urlsplit(url).netloc
    request.headers["X-Amz-Date"] = date
    request.headers["X-Amz-X509"] = encoded(leaf)
    if chain:
        request.headers["X-Amz-X509-Chain"] = ",".join(map(encoded, chain))
    for name, value in headers.items():
        request.headers[name.replace("_", "-")] = value
    request.context["timestamp"] = date
    signer = SigV4Auth(Credentials("", ""), "rolesanywhere", "eu-central-1")
    names = signer.signed_headers(signer.headers_to_sign(request))
    text = signer.string_to_sign(request, signer.canonical_request(request))
    text = text.replace("AWS4-HMAC-SHA256", f"AWS4-X509-{kind}-SHA256")
    signature = (
        key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        if isinstance(key, rsa.RSAPrivateKey)
        else key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    )
    scope = f"{leaf.serial_number}/{date[:8]}/eu-central-1/rolesanywhere/aws4_request"
    request.headers["Authorization"] = (
        f"AWS4-X509-{kind}-SHA256 Credential={scope}, SignedHeaders={names}, Signature={signature.hex()}"
    )
    return {name.lower(): value for name, value in request.headers.items()}


def twin(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers with the other form of their ECDSA signature, which an attacker can compute."""
    given, signature = headers["authorization"].rsplit("=", 1)
    r, s = decode_dss_signature(bytes.fromhex(signature))
    return headers | {"authorization": f"{given}={encode_dss_signature(r, ORDER - s).hex()}"}
