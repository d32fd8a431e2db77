"""Certificates of the corpus made anew with a key of the test's own: the same form, below another CA.

The private keys of the corpus do not exist any more, so no handshake is possible with its certificates. Here
a leaf gets another key, issuer, common name and authority key identifier, and the issuer signs it. All other
bytes are those of the corpus: dates, extensions, string types, and the form of the algorithm.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstboot.pki import certificate, der
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import Element
from tests import factories
from tests.factories import Authority
from tests.field import corpus
from tests.field.encode import SHA256_ECDSA, oid, tlv

_COMMON_NAME, _AUTHORITY_KEY = "2.5.4.3", "2.5.29.35"
_EXTENSIONS = 0xA3
_UTF8, _TELETEX = 0x0C, 0x14


def leaf(
    case: corpus.Case, common_name: str, key: ec.EllipticCurvePrivateKey, issuer: Authority
) -> Certificate:
    """Return the leaf of `case` with `common_name` and `key`, issued by `issuer`, whose key is on P-256."""
    tbs, algorithm, _ = der.read(case.read("leaf")).children
    encoded = algorithm.encoded
    if algorithm.children[0].oid() != SHA256_ECDSA:  # the case's issuer has an RSA key
        encoded = tlv(der.SEQUENCE, oid(SHA256_ECDSA))
    children = list(tbs.children)
    first = 1 if children[0].tag == 0xA0 else 0  # X.509 v1 has no version
    fields = [each.encoded for each in children]
    fields[first + 1] = encoded
    fields[first + 2] = issuer.certificate.subject.public_bytes()
    fields[first + 4] = _subject(children[first + 4], common_name)
    fields[first + 5] = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if children[-1].tag == _EXTENSIONS:
        fields[-1] = _extensions(children[-1], issuer.certificate)
    signed = tlv(der.SEQUENCE, *fields)
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = issuer.key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return certificate.parse(tlv(der.SEQUENCE, signed, encoded, tlv(der.BIT_STRING, b"\0", signature)))


def save(folder: Path, made: Certificate, key: factories.PrivateKey) -> tuple[Path, Path]:
    """Write a certificate and its key as PEM files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "bootstrap.pem", folder / "bootstrap.key"
    files[0].write_text(made.pem)
    files[1].write_text(factories.key_pem(key))
    return files


def _subject(name: Element, common_name: str) -> bytes:
    """Return the name with another common name, in the string type of the old one."""
    relative = [
        tlv(der.SET, *(_attribute(each, common_name) for each in rdn.children)) for rdn in name.children
    ]
    if oid(_COMMON_NAME) not in name.encoded:
        relative.append(tlv(der.SET, tlv(der.SEQUENCE, oid(_COMMON_NAME), tlv(_UTF8, common_name.encode()))))
    return tlv(der.SEQUENCE, *relative)


def _attribute(attribute: Element, common_name: str) -> bytes:
    kind, value = attribute.children
    if kind.oid() != _COMMON_NAME:
        return attribute.encoded
    return tlv(der.SEQUENCE, kind.encoded, tlv(value.tag, common_name.encode()))


def _extensions(wrapper: Element, issuer: x509.Certificate) -> bytes:
    (sequence,) = wrapper.children
    return tlv(_EXTENSIONS, tlv(der.SEQUENCE, *(_extension(each, issuer) for each in sequence.children)))


def _extension(extension: Element, issuer: x509.Certificate) -> bytes:
    if extension.children[0].oid() != _AUTHORITY_KEY:
        return extension.encoded
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    value = tlv(der.SEQUENCE, tlv(0x80, identifier))
    return tlv(der.SEQUENCE, extension.children[0].encoded, tlv(der.OCTET_STRING, value))
