"""The places in a bootstrap certificate from which a device's id can be read. Pure."""

from __future__ import annotations

from typing import Final

from firstboot.domain.errors import Reason
from firstboot.pki import der
from firstboot.pki.certificate import COMMON_NAME, Certificate
from firstboot.pki.der import NotDer
from firstboot.pki.errors import CertificateMalformed

SERIAL_NUMBER = "2.5.4.5"
"""The attribute serialNumber of a name (RFC 4519 section 2.31): a device's, not the certificate's. An IDevID
has its device's there (IEEE 802.1AR section 8.6)."""

SUBJECT_ALT_NAME = "2.5.29.17"

_DNS, _URI = 0x82, 0x86
"""The tags of dNSName and uniformResourceIdentifier (RFC 5280 section 4.2.1.6)."""

_IN_SUBJECT: Final = {
    "subject.CN": (COMMON_NAME, "common name"),
    "subject.serialNumber": (SERIAL_NUMBER, "serialNumber"),
}
_IN_ALT_NAME: Final = {"san.dns": (_DNS, "DNS name"), "san.uri": (_URI, "URI")}

_SHOWN = 3
"""Values that a refusal shows, of at most 40 characters each."""


def value(leaf: Certificate, source: str) -> str:
    """Return the one value that the certificate has at `source`, a value of the key `device_id`.

    A DNS name is returned in lower case, because DNS does not distinguish case (RFC 4343).
    Raises CertificateMalformed if there is none, or more than one.
    """
    if source == "key.sha256":
        return leaf.spki_fingerprint()
    if source in _IN_SUBJECT:
        oid, what = _IN_SUBJECT[source]
        return _only(leaf.subject.values(oid), "subject", what)
    tag, what = _IN_ALT_NAME[source]
    found = _only(_alternative(leaf, tag), "subjectAltName", what)
    return found.lower() if tag == _DNS else found


def _alternative(leaf: Certificate, tag: int) -> list[str]:
    """Return the values of one kind in the certificate's subjectAltName. Raises CertificateMalformed."""
    extension = leaf.extensions.get(SUBJECT_ALT_NAME)
    if extension is None:
        return []
    try:
        values = extension.read().expect(der.SEQUENCE).children
        return [each.content.decode("ascii") for each in values if each.tag == tag]
    except (NotDer, UnicodeError) as error:
        detail = "The certificate's subjectAltName is not as RFC 5280 section 4.2.1.6 has it"
        raise CertificateMalformed(detail, log=repr(error), reason=Reason.CERTIFICATE_NAME) from error


def _only(values: list[str], where: str, what: str) -> str:
    if len(values) == 1:
        return values[0]
    shown = ", ".join(ascii(each[:40]) for each in sorted(values)[:_SHOWN])
    found = f"{len(values)}: {shown}" if values else "0"
    detail = f"The certificate's {where} must have one {what}, and has {found}"
    raise CertificateMalformed(detail, reason=Reason.CERTIFICATE_NAME)
