"""Read trust anchors from their files, and check that they separate the groups.

A bootstrap certificate belongs to the group whose anchor it chains to. If a chain could end at the anchors
of two groups, the holder of the certificate could choose its group.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from firstboot.compiler.source import Source
from firstboot.domain.fleet import Group
from firstboot.pki import bootstrap, lookalike, path
from firstboot.pki.certificate import Certificate, parse_all
from firstboot.pki.errors import CertificateMalformed

_PLACEHOLDER = "(replace me)"


@dataclass(frozen=True)
class Anchor:
    """A trust anchor, the group to which it admits devices, and its file."""

    group: str
    file: str
    certificate: Certificate

    @property
    def pem(self) -> str:
        """Return the certificate in PEM, without any other text of its file."""
        return self.certificate.pem


def is_placeholder(certificate: Certificate) -> bool:
    """Return whether an anchor is a placeholder of the example fleet, whose subject says so.

    The private key of a placeholder was deleted, so no certificate can be issued under it.
    """
    return _PLACEHOLDER in certificate.subject.text()


def anchors(source: Source, groups: dict[str, Group], problems: list[str]) -> list[Anchor]:
    """Return the anchors of all groups. Add their faults to `problems`."""
    found = [
        Anchor(group.name, file, certificate)
        for group in groups.values()
        for file in group.trust
        for certificate in _certificates(source, group.name, file, problems)
    ]
    # One key signs a certificate. Hundreds of anchors may have one name, and each pair would be a signature.
    roots = {each.certificate for each in found if path.issued_by(each.certificate, each.certificate)}
    keys = {each.certificate: each.certificate.spki_fingerprint() for each in found}
    for one, other in combinations(found, 2):
        if one.group != other.group:
            problems += _conflict(one, other, roots, keys)
    return found


def _certificates(source: Source, group: str, file: str, problems: list[str]) -> list[Certificate]:
    # A group may name any text, but only files in trust/ are anchors.
    content = source.files.get(file, b"") if file.startswith("trust/") else b""
    if not content:
        problems.append(f"fleet.toml: groups.{group}.trust names {file!r}: there is no such file in trust/")
        return []
    if b"PRIVATE KEY" in content:
        problems.append(f"{file}: holds a private key; it would be deployed and published with the fleet")
        return []
    try:
        certificates = parse_all(content.decode("latin-1"))  # text around PEM blocks may be in any encoding
    except CertificateMalformed as error:
        problems.append(f"{file}: not a PEM certificate: {error.detail}")
        return []
    if not certificates:
        problems.append(f"{file}: not a PEM certificate")
    unfit = {each: bootstrap.unfit_issuer(each, is_anchor=True) or _useless(each) for each in certificates}
    problems += [f"{file}: {each.subject.text()} {reason}" for each, reason in unfit.items() if reason]
    return [each for each in certificates if not unfit[each]]


def _useless(anchor: Certificate) -> str | None:
    """Return why no certificate under an anchor could ever be accepted, or None."""
    if anchor.not_after <= anchor.not_before:
        return "ends before it begins"
    # In the middle of its time, so that the same folder compiles on every day.
    refused = lookalike.refusal(anchor, anchor.not_before + (anchor.not_after - anchor.not_before) / 2)
    return f"admits no device ({refused.reason or refused.code}): {refused.log}" if refused else None


def _conflict(one: Anchor, other: Anchor, roots: set[Certificate], keys: dict[Certificate, str]) -> list[str]:
    pair = f"{one.group}'s {one.file} and {other.group}'s {other.file}"
    if keys[one.certificate] == keys[other.certificate]:
        return [f"fleet.toml: {pair} are the same CA: a certificate under it would belong to both groups"]
    for upper, lower in ((one, other), (other, one)):
        if lower.certificate not in roots and path.issued_by(lower.certificate, upper.certificate):
            return [f"fleet.toml: {pair}: the CA of {upper.group} issued the CA of {lower.group}"]
    return []
