"""The fields of a certificate that the client needs, read also where cryptography refuses the certificate.

Secure elements and makers' CAs write forms that cryptography does not read (NULL parameters beside ECDSA, an
underscore in a PrintableString, Latin-1). OpenSSL reads them in TLS, and the service accepts them. So a
bootstrap certificate is read here as far as the client needs it. Nothing is verified: it is the device's own.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

_PEM = re.compile(b"-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----")
_SEQUENCE, _UTC_TIME, _VERSION = 0x30, 0x17, 0xA0
_COMMON_NAME = bytes.fromhex("0603550403")
_ENCODINGS = {0x0C: "utf-8", 0x1E: "utf-16-be"}  # UTF8String and BMPString; all others are read as Latin-1


@dataclass(frozen=True)
class Fields:
    """A certificate's DER and the fields of it that the client uses. `spki` is the public key's DER."""

    der: bytes
    issuer: bytes
    subject: bytes
    spki: bytes
    not_after: datetime

    def common_name(self) -> str:
        """Return the subject's first common name. Raises ValueError if there is none."""
        for _, relative in _elements(_content(self.subject)):
            for _, attribute in _elements(_content(relative)):
                (_, kind), (tag, value) = _elements(_content(attribute))
                if kind == _COMMON_NAME:
                    return _content(value).decode(_ENCODINGS.get(tag, "latin-1"))
        raise ValueError("the certificate has no common name")


def chain(pem: bytes) -> list[Fields]:
    """Return the certificates of a PEM file. Raises ValueError if there is none or one can't be read."""
    found = [_fields(base64.b64decode(encoded)) for encoded in _PEM.findall(pem)]
    if not found:
        raise ValueError("there is no certificate")
    return found


def _fields(der: bytes) -> Fields:
    ((_, whole),) = _elements(der)
    (_, signed), _, _ = _elements(_content(whole))
    elements = _elements(_content(signed))
    tag, _ = next(elements)
    # A certificate of X.509 v1 begins with the serial number instead of the version.
    rest = list(islice(elements, 6 if tag == _VERSION else 5))[-5:]
    if len(rest) < 5:
        raise ValueError("fields of the certificate are missing")
    (_, _), (_, issuer), (_, validity), (_, subject), (_, spki) = rest
    _, (tag, end) = _elements(_content(validity))
    return Fields(der, issuer, subject, spki, _time(tag, _content(end).decode()))


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # RFC 5280 section 4.1.2.5.1
        text = ("19" if text[0] >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _content(element: bytes) -> bytes:
    """Return what follows an element's tag and length."""
    return element[_head(element)[0] :]


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the bytes of each element. Raises ValueError if one is cut."""
    while content:
        begin, length = _head(content)
        element, content = content[: begin + length], content[begin + length :]
        if len(element) < begin + length:
            raise ValueError("an element of the certificate is cut")
        yield element[0], element


def _head(element: bytes) -> tuple[int, int]:
    """Return how long an element's tag and length are, and how long its content is."""
    if len(element) < 2:
        raise ValueError("an element of the certificate is cut")
    if element[1] < 0x80:
        return 2, element[1]
    octets = element[1] & 0x7F
    return 2 + octets, int.from_bytes(element[2 : 2 + octets], "big")
