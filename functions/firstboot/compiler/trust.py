"""Read trust anchors from their files, and check that they separate the groups.

A bootstrap certificate belongs to the group whose anchor it chains to. If a chain could end at the anchors
of two groups, the holder of the certificate could choose its group.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.compiler.source import Source
from firstboot.domain.fleet import Group
from firstboot.pki import chain
from firstboot.pki.errors import CertificateMalformed

_PLACEHOLDER = "(replace me)"


@dataclass(frozen=True)
class Anchor:
    """A trust anchor, the group to which it admits devices, and its file."""

    group: str
    file: str
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        """Return the certificate in PEM, without any other text of its file."""
        return self.certificate.public_bytes(Encoding.PEM).decode()


def is_placeholder(certificate: x509.Certificate) -> bool:
    """Return whether an anchor is a placeholder of the example fleet, whose subject says so.

    The private key of a placeholder was deleted, so no certificate can be issued under it.
    """
    return _PLACEHOLDER in certificate.subject.rfc4514_string()


def anchors(source: Source, groups: dict[str, Group], problems: list[str]) -> list[Anchor]:
    """Return the anchors of all groups. Add their faults to `problems`."""
    found = [
        Anchor(group.name, file, certificate)
        for group in groups.values()
        for file in group.trust
        for certificate in _certificates(source, group.name, file, problems)
    ]
    for one, other in combinations(found, 2):
        if one.group != other.group:
            problems += _conflict(one, other)
    return found


def _certificates(source: Source, group: str, file: str, problems: list[str]) -> list[x509.Certificate]:
    # A group may name any text, but only files in trust/ are anchors.
    content = source.files.get(file, b"") if file.startswith("trust/") else b""
    if not content:
        problems.append(f"fleet.toml: groups.{group}.trust names {file!r}: there is no such file in trust/")
        return []
    if b"PRIVATE KEY" in content:
        problems.append(f"{file}: holds a private key; it would be deployed and published with the fleet")
        return []
    try:
        # Each is parsed again on its own, because this parser does not look at extensions and keys.
        certificates = [
            chain.parse(each.public_bytes(Encoding.PEM).decode())
            for each in x509.load_pem_x509_certificates(content)
        ]
    except (ValueError, CertificateMalformed) as error:
        problems.append(f"{file}: not a PEM certificate: {error}")
        return []
    problems += [f"{file}: {text}" for each in certificates for text in _unfit(each)]
    return certificates


def _unfit(certificate: x509.Certificate) -> list[str]:
    """Return why an anchor is not a CA (RFC 5280 sections 4.2.1.9 and 4.2.1.3) or has a weak key."""
    found = {type(extension.value): extension.value for extension in certificate.extensions}
    constraints = found.get(x509.BasicConstraints)
    usage = found.get(x509.KeyUsage)
    name = certificate.subject.rfc4514_string()
    problems = []
    if not (isinstance(constraints, x509.BasicConstraints) and constraints.ca):
        problems.append(f"{name} is not a CA certificate (basicConstraints)")
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        problems.append(f"{name} may not sign certificates (keyUsage)")
    if not chain.key_is_strong(certificate.public_key()):
        problems.append(f"{name} has a key that is not P-256, P-384 or RSA of 2048 to 4096 bits")
    return problems


def _conflict(one: Anchor, other: Anchor) -> list[str]:
    pair = f"{one.group}'s {one.file} and {other.group}'s {other.file}"
    if one.certificate.public_key() == other.certificate.public_key():
        return [f"fleet.toml: {pair} are the same CA: a certificate under it would belong to both groups"]
    for upper, lower in ((one, other), (other, one)):
        if chain.issued_by(lower.certificate, upper.certificate):
            return [f"fleet.toml: {pair}: the CA of {upper.group} issued the CA of {lower.group}"]
    return []
