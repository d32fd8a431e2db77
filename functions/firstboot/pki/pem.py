"""Read the text forms of a certificate: PEM, or base64 of the DER. Pure."""

from __future__ import annotations

import base64
import re

from firstboot.pki.errors import CertificateMalformed

MAX_PEM = 16_384
"""Characters. A certificate for RSA-4096 with a long subject has about 3,000."""

_PEM = re.compile("-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")


def decoded(text: str) -> bytes:
    """Return the bytes of the certificate in `text`, PEM (RFC 7468) or base64 of the DER.

    Raises CertificateMalformed.
    """
    if len(text) > MAX_PEM:
        raise CertificateMalformed(f"A certificate has at most {MAX_PEM} characters")
    if "-----BEGIN" not in text:
        return _decoded(text)
    if not (found := _PEM.search(text)):
        raise CertificateMalformed("The PEM text has no whole CERTIFICATE block")
    return _decoded(found[1])


def all_decoded(text: str) -> list[bytes]:
    """Return the bytes of the certificates in a PEM file. Other text is left out.

    Raises CertificateMalformed.
    """
    return [_decoded(encoded) for encoded in _PEM.findall(text)]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise CertificateMalformed("The certificate is not valid base64", log=repr(error)) from error
