"""Find ways that can't work with a group's other keys, or with the hosts of the stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.ways import DEFAULT, PROVISIONING, Way
from firstboot.pki import bootstrap, certificate

_NO_CERTIFICATES: frozenset[Way] = frozenset({"roles-anywhere"})
"""The ways in which a device gets credentials and no certificate."""

_PUBLIC_ONLY: frozenset[Way] = frozenset({"proof", "roles-anywhere"})
"""The ways whose clients have no certificate in TLS, which the mTLS host demands."""

_MTLS_ONLY: frozenset[Way] = frozenset({"mtls"})
"""The ways that a host without client certificates can't serve."""


def problems(file: str, groups: Mapping[str, Group]) -> list[str]:
    """Return the problems of groups whose ways can't work under any configuration of the stack."""
    return [f"{file}: groups.{group.name}.ways {line}" for group in groups.values() for line in _of(group)]


def _of(group: Group) -> Iterator[str]:
    if group.ways and not set(group.ways) - _NO_CERTIFICATES:
        yield f"has {', '.join(group.ways)} only, in which no device gets a certificate"
    # The operational certificate of such a group is never registered in AWS IoT, so it can't connect there.
    if group.mqtt == "token" and group.ways == ("mqtt",):
        yield 'has mqtt only, but with mqtt = "token" no operational certificate connects, so none logs in'
    if PROVISIONING in group.ways and group.mqtt != "registry":
        yield f'has "{PROVISIONING}", whose certificates are in AWS IoT; set its mqtt = "registry"'
    if "roles-anywhere" in group.ways and group.proof == "nonce":
        yield 'has "roles-anywhere", whose requests have a time and no nonce; set its proof = "time"'


def without_public_host(fleet: Fleet) -> list[str]:
    """Return a line for each way that a group names and that a stack without the public host can't serve."""
    remedy = "set public to true in cdk.json"
    return _lacking(fleet, _PUBLIC_ONLY, "the public host", remedy) + [
        f"groups.{group.name}: symmetric_key is true, which needs the public host, and the stack has none. "
        f"Set it to false, or {remedy}"
        for group in fleet.groups.values()
        if group.symmetric_key
    ]


def without_mtls_host(fleet: Fleet) -> list[str]:
    """Return a line for each way that a group names and that a stack without the mTLS host can't serve."""
    return _lacking(fleet, _MTLS_ONLY, "the mTLS host", "set domain in cdk.json")


def _lacking(fleet: Fleet, ways: frozenset[Way], host: str, remedy: str) -> list[str]:
    # The default ways are those of every stack, with one host or both.
    named = [group for group in fleet.groups.values() if group.ways != DEFAULT]
    return [
        f"groups.{group.name}: ways has {way}, which needs {host}, and the stack has none. Take it out of "
        f"ways, or {remedy}"
        for group in named
        for way in group.ways
        if way in ways
    ]


def warnings(fleet: Fleet) -> list[str]:
    """Return a line for each thing that only a signed proof can do, in a group without the way `proof`."""
    return [
        f"groups.{group.name}: {line}"
        for group in fleet.groups.values()
        if "proof" not in group.ways
        for line in _unproven(group)
    ]


def _unproven(group: Group) -> Iterator[str]:
    if days := group.certificate.grace_days:
        yield (
            f"certificate.grace_days is {days}, but an expired certificate can be renewed by a signed proof "
            "only, and ways has no proof"
        )
    for anchor in map(certificate.anchor, group.trust):
        if bootstrap.allows_cas(anchor):
            yield (
                f"{anchor.subject.text()} may have CAs below it, and ways has no proof. A device whose "
                "certificate one of them issued can't enroll: name that CA in trust, too"
            )
