"""Load the factory's CA, and check that a group accepts its certificates before it signs any."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from console.cloud import Refused
from firstboot.domain.errors import AuthenticationError
from firstboot.domain.fleet import Group
from firstboot.pki import bootstrap, certificate, chain, path
from firstboot.pki.certificate import Certificate
from firstboot.pki.errors import CertificateMalformed
from firstboot.pki.profile import Issuer, bootstrap_certificate

CaKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def load(certificate: Path, key: Path, password: Callable[[], bytes]) -> Issuer:
    """Return the CA of two PEM files. `password` is called only if the key is encrypted.

    Raises Refused, and OSError if a file cannot be read.
    """
    try:
        ca = chain.parse(certificate.read_text("ascii"))
    except (UnicodeDecodeError, CertificateMalformed) as error:
        raise unfit(f"{certificate} is not a PEM certificate") from error
    private = _key(key, password)
    if private.public_key() != ca.public_key():
        raise unfit(f"{key} is not the key of {certificate}")
    return Issuer(ca, private)


def _key(file: Path, password: Callable[[], bytes]) -> CaKey:
    pem = file.read_bytes()
    try:
        try:
            key = load_pem_private_key(pem, None)
        except TypeError:  # it is encrypted
            key = load_pem_private_key(pem, password())
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library's message is left out, because it may quote the file.
        raise unfit(f"{file} is not a PEM private key, or the password is wrong") from error
    if not isinstance(key, CaKey):
        raise unfit(f"{file} is neither an EC nor an RSA key")
    return key


def check(issuer: Issuer, group: Group, now: datetime, not_after: datetime) -> bytes:
    """Check that `group` accepts bootstrap certificates of `issuer` that end at `not_after`.

    Return the PEM to put after each certificate: the CA's own if the CA is below a trust anchor, nothing if
    it is one.
    Raises Refused.
    """
    ca, anchors = _read(issuer.certificate), [certificate.anchor(pem) for pem in group.trust]
    above = next((anchor for anchor in anchors if _same(anchor, ca)), None)
    direct = above is not None
    above = above or next((anchor for anchor in anchors if path.issued_by(ca, anchor)), None)
    if above is None:
        raise unfit(
            f"{ca.subject.text()} is no trust anchor of group {group.name}, and none of its anchors issued it"
        )
    last = min(ca.not_after, above.not_after) - timedelta(seconds=1)
    if not_after > last:
        raise unfit(f"certificates must end before their CA: --days {max(0, (last - now).days)} at most")
    _try(issuer, anchors, [] if direct else [ca], now, not_after)
    return b"" if direct else issuer.pem


def _read(made: x509.Certificate) -> Certificate:
    return certificate.parse(made.public_bytes(Encoding.DER))


def _same(one: Certificate, other: Certificate) -> bool:
    """Return whether two certificates are of the same CA. One of them may be renewed."""
    same_name = one.subject.canonical() == other.subject.canonical()
    return same_name and one.spki_fingerprint() == other.spki_fingerprint()


def _try(
    issuer: Issuer,
    anchors: list[Certificate],
    intermediates: list[Certificate],
    now: datetime,
    not_after: datetime,
) -> None:
    """Verify a trial certificate, which is then thrown away, as `exchange` will verify those of devices.

    Raises Refused.
    """
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    try:
        trial = _read(bootstrap_certificate(issuer, "trial", key, now, not_after))
        bootstrap.verify(trial, anchors, now, intermediates)
    except AuthenticationError as error:
        raise unfit(
            f"a certificate of {_name(issuer.certificate)} would be refused, {error.code}: {error}"
        ) from error


def unfit(detail: str) -> Refused:
    """Return the refusal of a CA."""
    return Refused({"code": "factory-ca-unfit", "detail": detail})


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
