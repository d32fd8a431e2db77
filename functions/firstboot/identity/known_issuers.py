"""The issuers of bootstrap certificates that a process has admitted before.

In a storm most requests are refused. The strict reading of a certificate and the search for its path would
cost more than everything else of a refusal. A signature by an issuer whose path was verified before shows the
group as well. It is enough to refuse a certificate for its group's limit, and never enough to admit one.
"""

from __future__ import annotations

from collections.abc import Sequence

from firstboot.domain.bounded import Bounded
from firstboot.domain.fleet import Fleet, Group
from firstboot.pki.certificate import Certificate
from firstboot.pki.outline import Outline
from firstboot.pki.path import signed_by

_ISSUERS = 64


class KnownIssuers:
    """The issuers that a process knows, by their names. It forgets them with the fleet definition."""

    def __init__(self) -> None:
        self._fleet: Fleet | None = None
        self._issuers: Bounded[bytes, tuple[Certificate, Group]] = Bounded(_ISSUERS)

    def note(self, path: Sequence[Certificate], group: Group, fleet: Fleet) -> None:
        """Remember the issuer on a path by which a certificate was admitted to `group` under `fleet`."""
        if fleet is not self._fleet:
            self._issuers.clear()
            self._fleet = fleet
        leaf, issuer = path[:2]
        self._issuers.put(leaf.issuer_der, (issuer, group))

    def group_of(self, leaf: Outline, fleet: Fleet) -> Group | None:
        """Return the group of the known issuer whose key signed `leaf`; None if there is none."""
        found = self._issuers.get(leaf.issuer_der) if fleet is self._fleet else None
        if found is None:
            return None
        issuer, group = found
        return group if signed_by(leaf, issuer) else None
