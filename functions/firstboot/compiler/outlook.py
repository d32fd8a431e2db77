"""Warnings about trust anchors: what they admit at a given time, and what they admit besides devices.

The compiler does not call this, because the same folder must compile on every day. Its callers are tools that
a person runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from firstboot.domain.fleet import Fleet, Group
from firstboot.pki import bootstrap, certificate, lookalike
from firstboot.pki.certificate import Certificate

NOTICE = timedelta(days=90)
"""The time before the end of a trust anchor in which its end is a warning."""


def warnings(fleet: Fleet, now: datetime) -> list[str]:
    """Return a line for each trust anchor that admits no device at `now`, or that will soon admit none."""
    return [
        f"groups.{group.name}: {line}"
        for group in fleet.groups.values()
        for anchor in _anchors(group)
        for line in _outlook(anchor, now)
    ]


def beyond_clients(fleet: Fleet, decided: Collection[str]) -> list[str]:
    """Return a line for each group that may admit certificates which are not meant for clients.

    A CA that may issue certificates for servers may issue some without extendedKeyUsage, and a group with
    `eku = "optional"` takes those for devices'. `decided` are the groups whose definition says so explicitly.
    """
    return [
        f"groups.{group.name}: a CA in its trust may also issue certificates for servers, and those without"
        ' extendedKeyUsage are accepted. Set eku = "required" if the certificates of devices have clientAuth,'
        ' or set eku = "optional" to end this warning'
        for group in fleet.groups.values()
        if group.eku == "optional" and group.name not in decided
        if any(map(bootstrap.allows_servers, _anchors(group)))
    ]


def _anchors(group: Group) -> list[Certificate]:
    return [certificate.anchor(pem) for pem in group.trust]


def _outlook(anchor: Certificate, now: datetime) -> Iterator[str]:
    name, end = anchor.subject.text(), anchor.not_after
    if refused := lookalike.refusal(anchor, now):
        yield f"no certificate under {name} is accepted: {refused.log}"
    elif end - now < NOTICE:
        yield f"{name} ends on {end:%Y-%m-%d}, in {(end - now).days} days"
