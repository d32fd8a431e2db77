"""The certificates of the emulated cloud's HTTPS servers and factories. Each run makes new ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firstboot.pki.profile import Issuer, bootstrap_certificate

_CA_DAYS = 30 * 365  # longer than the bootstrap certificates of `console factory issue`
_USES = [
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
]


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """Return the certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def save(self, certificate: Path, key: Path) -> None:
        """Write the certificate and the key as PEM; only the owner can read the key file."""
        certificate.write_bytes(self.pem)
        key.touch(mode=0o600)
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def authority(common_name: str) -> Identity:
    """Make a self-signed CA without a path length limit, because a factory may have intermediate CAs."""
    return _identity(common_name, None, ["key_cert_sign", "crl_sign"])


def server(ca: Identity) -> Identity:
    """Make the certificate of all HTTPS servers. The wildcard is for S3 with the bucket in the host."""
    names = [x509.DNSName("localhost"), x509.DNSName("*.localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _identity("localhost", ca, ["digital_signature"], purpose, x509.SubjectAlternativeName(names))


def bootstrap(ca: Identity, device_id: str) -> Identity:
    """Make a bootstrap certificate of the factory `ca` for one device, as `console factory issue` does."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, until = Issuer(ca.certificate, ca.key), ca.certificate.not_valid_after_utc - timedelta(seconds=1)
    return Identity(bootstrap_certificate(issuer, device_id, key.public_key(), datetime.now(UTC), until), key)


def _identity(name: str, ca: Identity | None, uses: list[str], *extensions: x509.ExtensionType) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = ca.key if ca else key
    start = datetime.now(UTC) - timedelta(minutes=5)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    usage = x509.KeyUsage(**{use: use in uses for use in _USES})
    builder = (
        x509.CertificateBuilder(subject_name=subject, issuer_name=ca.certificate.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 if ca else _CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(by, critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Identity(builder.sign(signer, hashes.SHA256()), key)
