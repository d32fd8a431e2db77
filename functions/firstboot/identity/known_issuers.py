"""The issuers of bootstrap certificates that a process has admitted before.

In a storm most requests are refused, and the search for a certificate's path costs more than everything else
of a refusal. A signature by an issuer whose path was verified before shows the group as well. It is enough to
refuse a certificate for its group's limit, and never enough to admit one.
"""

from __future__ import annotations

from firstboot.domain.bounded import Bounded
from firstboot.domain.fleet import Fleet, Group
from firstboot.pki import path
from firstboot.pki.certificate import Certificate, Name

_ISSUERS = 64


class KnownIssuers:
    """The issuers that a process knows, by their names. It forgets them with the fleet definition."""

    def __init__(self) -> None:
        self._fleet: Fleet | None = None
        self._issuers: Bounded[Name, tuple[Certificate, Group]] = Bounded(_ISSUERS)

    def note(self, leaf: Certificate, issuer: Certificate, group: Group, fleet: Fleet) -> None:
        """Remember the issuer of `leaf`, which was admitted to `group` under the definition `fleet`."""
        if fleet is not self._fleet:
            self._issuers.clear()
            self._fleet = fleet
        self._issuers.put(leaf.issuer, (issuer, group))

    def group_of(self, leaf: Certificate, fleet: Fleet) -> Group | None:
        """Return the group of the known issuer whose key signed `leaf`; None if there is none."""
        found = self._issuers.get(leaf.issuer) if fleet is self._fleet else None
        if found is None:
            return None
        issuer, group = found
        return group if path.signed_by(leaf, issuer) else None
