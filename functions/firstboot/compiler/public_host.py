"""Find what in a fleet definition needs the public host, which a stack may lack.

Expired certificates and intermediate certificates come in signed proofs only, which the public host takes.
The gateway of the mTLS host refuses an expired certificate in the handshake, and passes on the client's
certificate alone.
"""

from __future__ import annotations

from firstboot.compiler import ways
from firstboot.domain.fleet import Fleet
from firstboot.pki import bootstrap, certificate


def needs(fleet: Fleet) -> list[str]:
    """Return a line for each part of the fleet definition that has no effect without the public host."""
    lines = [
        f"groups.{group.name}: certificate.grace_days is {group.certificate.grace_days}, but an expired"
        " certificate can be renewed at the public host only, which the stack does not have. Set grace_days"
        " = 0, or public to true in cdk.json"
        for group in fleet.groups.values()
        if group.certificate.grace_days and "proof" in group.ways
    ]
    return lines + ways.without_public_host(fleet)


def may_need(fleet: Fleet) -> list[str]:
    """Return a line for each trust anchor whose devices may need the public host.

    The fleet definition has no certificates of devices, so it does not say which of them chain to their
    anchor by an intermediate certificate.
    """
    return [
        f"groups.{group.name}: {anchor.subject.text()} may have CAs below it, and there is no public host. A"
        " device whose certificate one of them issued can't enroll: name that CA in trust, too. `console"
        " factory check` says whether mTLS is a way in for a certificate"
        for group in fleet.groups.values()
        for anchor in map(certificate.anchor, group.trust)
        if bootstrap.allows_cas(anchor)
    ]
