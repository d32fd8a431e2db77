"""The issuers of bootstrap certificates that a process has admitted before, and the claim certificates.

In a storm most requests are refused. The strict reading of a certificate and the search for its path would
cost more than everything else of a refusal. A signature by an issuer whose path was verified before shows the
group as well, and so does a claim certificate that was admitted before. Both are enough to refuse a request
for its group's limit, and never enough to admit one.
"""

from __future__ import annotations

from collections.abc import Sequence

from firstboot.domain.bounded import Bounded
from firstboot.domain.fleet import Fleet, Group
from firstboot.pki.certificate import Certificate
from firstboot.pki.outline import Outline
from firstboot.pki.path import signed_by

_MOST = 64
"""How many issuers, and how many claim certificates, a process knows at most."""


class KnownIssuers:
    """The issuers that a process knows, by their names, and the groups of claim certificates.

    It forgets them with the fleet definition.
    """

    def __init__(self) -> None:
        self._fleet: Fleet | None = None
        self._issuers: Bounded[bytes, tuple[Certificate, Group]] = Bounded(_MOST)
        self._claims: Bounded[str, Group] = Bounded(_MOST)

    def note(self, path: Sequence[Certificate], group: Group, fleet: Fleet) -> None:
        """Remember the issuer on a path by which a certificate was admitted to `group` under `fleet`."""
        if fleet is not self._fleet:
            self._issuers.clear()
            self._claims.clear()
            self._fleet = fleet
        leaf, issuer = path[:2]
        self._issuers.put(leaf.issuer_der, (issuer, group))
        if group.is_shared:
            self._claims.put(leaf.identifier, group)

    def group_of(self, leaf: Outline, fleet: Fleet) -> Group | None:
        """Return the group of the known issuer whose key signed `leaf`; None if there is none."""
        if fleet is not self._fleet:
            return None
        # All devices of a shared group present one certificate, so its signature need not be verified again.
        if claimed := self._claims.get(leaf.identifier):
            return claimed
        found = self._issuers.get(leaf.issuer_der)
        if found is None:
            return None
        issuer, group = found
        return group if signed_by(leaf, issuer) else None
