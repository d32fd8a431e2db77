"""Makes keys, certificates and CSRs for tests while they run. No private key is ever committed."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, utils
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """Return a new EC key, on P-256 by default."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a new RSA key."""
    return rsa.generate_private_key(65537, bits)


def name(common_name: str) -> x509.Name:
    """Return a distinguished name of one CN."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def pem(thing: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """Return a certificate or CSR as PEM text."""
    return thing.public_bytes(Encoding.PEM).decode()


def key_pem(key: PrivateKey) -> str:
    """Return a key as PKCS#8 PEM text, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def base64_text(raw: bytes) -> str:
    """Return bytes as base64 on one line."""
    return base64.b64encode(raw).decode()


def csr(key: PrivateKey, common_name: str = "ignored") -> x509.CertificateSigningRequest:
    """Return a CSR signed by `key`."""
    return x509.CertificateSigningRequestBuilder().subject_name(name(common_name)).sign(key, hashes.SHA256())


def key_usage(*, ca: bool, **changes: bool) -> x509.KeyUsage:
    """Return the usual key usage of a CA or a client, with `changes`."""
    bits = dict.fromkeys(
        [
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ],
        False,
    )
    bits |= {"digital_signature": not ca, "key_cert_sign": ca, "crl_sign": ca} | changes
    return x509.KeyUsage(**bits)


CLIENT_USAGE = key_usage(ca=False)


@dataclass(frozen=True)
class Authority:
    """A CA with its certificate and key."""

    certificate: x509.Certificate
    key: PrivateKey

    def issue(
        self,
        common_name: str,
        key: PrivateKey,
        *,
        ca: bool = False,
        path_length: int | None = None,
        eku: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
        usage: x509.KeyUsage | None = CLIENT_USAGE,
        not_before: datetime | None = None,
        days: float = 365,
        serial: int | None = None,
        subject: x509.Name | None = None,
        extra: list[tuple[x509.ExtensionType, bool]] | None = None,
    ) -> x509.Certificate:
        """Return a certificate for `key`, signed by this CA. By default it is a valid client leaf."""
        start = not_before or datetime.now(UTC) - timedelta(minutes=5)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject or name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.certificate.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
        )
        if usage:
            builder = builder.add_extension(key_usage(ca=True) if ca else usage, critical=True)
        if eku and not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([eku]), critical=False)
        for extension, critical in extra or []:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hashes.SHA256())

    def intermediate(self, common_name: str, **options: Any) -> Authority:
        """Return a CA whose certificate this CA has signed."""
        key = ec_key()
        return Authority(self.issue(common_name, key, ca=True, **options), key)


def authority(
    common_name: str = "Factory CA", key: PrivateKey | None = None, *, days: float = 3650
) -> Authority:
    """Return a self-signed CA, valid from yesterday for `days`."""
    key = key or ec_key()
    start = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name(common_name))
        .issuer_name(name(common_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def twin(certificate: x509.Certificate, curve: ec.EllipticCurve | None = None) -> x509.Certificate:
    """Return the certificate with the other form of its ECDSA signature, which no key is needed for.

    `curve` is the issuer's, P-256 by default.
    """
    # SEQUENCE (of two length octets) of what is signed, the algorithm, and a BIT STRING of the signature.
    encoded, signature = certificate.public_bytes(Encoding.DER), certificate.signature
    signed_and_algorithm = encoded[4 : -len(signature) - 3]
    r, s = utils.decode_dss_signature(signature)
    other = utils.encode_dss_signature(r, (curve or ec.SECP256R1()).group_order - s)
    content = signed_and_algorithm + bytes([0x03, len(other) + 1, 0]) + other
    return x509.load_der_x509_certificate(b"\x30\x82" + len(content).to_bytes(2, "big") + content)
