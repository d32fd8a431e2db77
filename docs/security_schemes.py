"""The proofs that callers give, as the security schemes of the OpenAPI document."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def security_schemes() -> Json:
    """Return the security schemes by name."""
    return {
        "clientCertificate": {"type": "mutualTLS", "description": "On the mTLS host"},
        "signedProof": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "On the public host: a JWT of type `firstboot-proof+jwt`, signed for this one call"
            " by the certificate's key",
        },
        "signedRequest": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "A signature of the request by the key of the certificate in `X-Amz-X509`, by the"
            " algorithm AWS4-X509-ECDSA-SHA256 or AWS4-X509-RSA-SHA256 of IAM Roles Anywhere",
        },
        "oneTimePassword": {
            "type": "http",
            "scheme": "basic",
            "description": "On the public host: the device's id, and a password that an operator made for it",
        },
        "sharedAccessSignature": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "A shared access signature as in Azure DPS, by a key that derives from one of the"
            " group's keys",
        },
    }
