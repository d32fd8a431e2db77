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
    def key(self) -> str:
        """Return the SHA-256 (hex) of the certificate's key."""
        return self.certificate.spki_fingerprint()

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
    problems += _conflicts(found)
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


def _conflicts(anchors: list[Anchor]) -> list[str]:
    """Return a line for each two anchors of different groups that are one CA, or one below the other.

    CAs are compared by their keys, because a CA may have several certificates, under several names.
    """
    if len({each.group for each in anchors}) < 2:
        return []
    lines = []
    above = _above(anchors)
    for one, other in combinations(anchors, 2):
        if one.group == other.group:
            continue
        pair = f"fleet.toml: {one.group}'s {one.file} and {other.group}'s {other.file}"
        if one.key == other.key:
            lines.append(f"{pair} are the same CA: a certificate under it would belong to both groups")
        for upper, lower in ((one, other), (other, one)):
            if upper.key in above[lower.key] and upper.key != lower.key:
                lines.append(f"{pair}: the CA of {upper.group} issued the CA of {lower.group}")
    return lines


def _above(anchors: list[Anchor]) -> dict[str, set[str]]:
    """Return for each anchor's key the anchors' keys above it: its issuers, their issuers, and so on."""
    issuers: dict[str, set[str]] = {each.key: set() for each in anchors}
    for each in anchors:
        issuers[each.key] |= _issuer(each, anchors)
    above = {key: set(direct) for key, direct in issuers.items()}
    for _ in issuers:
        grown = {key: known.union(*(issuers[each] for each in known)) for key, known in above.items()}
        if grown == above:
            break
        above = grown
    return above


def _issuer(lower: Anchor, anchors: list[Anchor]) -> set[str]:
    """Return the key among those of `anchors` that signed the anchor `lower`, as a set of one or none."""
    # One key signs a certificate, and most anchors are signed with their own. The names are no condition: a
    # CA may have another name in another of its certificates. They only tell which key to try first.
    name = lower.certificate.issuer.canonical()

    def likeliest(upper: Anchor) -> tuple[bool, bool]:
        return upper.key != lower.key, upper.certificate.subject.canonical() != name

    tried: set[str] = set()
    for upper in sorted(anchors, key=likeliest):
        if upper.key not in tried and path.signed_by(lower.certificate, upper.certificate):
            return {upper.key}
        tried.add(upper.key)
    return set()
