"""Find the parts of a fleet definition that need a deployment to take effect."""

from __future__ import annotations

import json
from dataclasses import replace

from firstboot.domain.fleet import Fleet
from firstboot.pki import certificate
from firstboot.policy.render import Place, ceiling


def needs_deployment(deployed: Fleet, fleet: Fleet) -> list[str]:
    """Return a line for each kind of difference that only a deployment can put in force.

    A role alias needs its IAM role, and a trust anchor must be in API Gateway's truststore. Token issuers are
    trusted parties as well, and the first of them needs the custom authorizer. JITR that was off needs the
    factory CAs in AWS IoT.
    """
    reasons = []
    if fleet.role_aliases != deployed.role_aliases:
        reasons.append("role aliases differ from the deployed ones")
    if _anchors(fleet) != _anchors(deployed):
        reasons.append("trust anchors differ from the deployed ones")
    if fleet.issuers != deployed.issuers:
        reasons.append("token issuers differ from the deployed ones")
    if started := (_jitr(fleet) - _jitr(deployed)) & deployed.groups.keys():
        reasons.append(f"JITR is off in the deployed groups {', '.join(sorted(started))}")
    return reasons


def beyond_roles(deployed: Fleet, fleet: Fleet) -> list[str]:
    """Return the grants of `fleet` that may allow more than all deployed grants together.

    The excess has no effect on sessions before a deployment: the roles allow what the deployed grants allow,
    and a session never has more rights than its role.
    """
    allowed = _allowed(deployed)
    return [
        name
        for name in fleet.grants
        if not _allowed(replace(fleet, grants={name: fleet.grants[name]})) <= allowed
    ]


def _allowed(fleet: Fleet) -> set[str]:
    # Statements are compared as text. One that is only written differently counts as more, which causes a
    # warning too many; the opposite mistake would hide a grant that has no effect.
    statements = ceiling(fleet, Place("{partition}", "{region}", "{account}"))["Statement"]
    return {json.dumps(statement, sort_keys=True) for statement in statements}


def _jitr(fleet: Fleet) -> set[str]:
    """Return the groups for which a deployment registers factory CAs in AWS IoT."""
    return {group.name for group in fleet.groups.values() if group.jitr != "off"}


def _anchors(fleet: Fleet) -> set[str]:
    return {certificate.anchor(pem).fingerprint for group in fleet.groups.values() for pem in group.trust}
