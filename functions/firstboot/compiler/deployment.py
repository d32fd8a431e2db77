"""Compare a fleet definition with the deployed one: what only a deployment can bring."""

from __future__ import annotations

import json
from dataclasses import replace

from firstboot.domain.fleet import Fleet
from firstboot.pki import certificate
from firstboot.policy.render import Place, ceiling


def needs_deployment(deployed: Fleet, fleet: Fleet) -> list[str]:
    """What of `fleet` only a deployment can bring, a line each.

    Role aliases have IAM roles behind them, and trust anchors stand in API Gateway's truststore. Who
    may make tokens is a matter of trust too, and the first issuer brings an authorizer.
    """
    reasons = []
    if fleet.role_aliases != deployed.role_aliases:
        reasons.append("role aliases differ from the deployed ones")
    if _anchors(fleet) != _anchors(deployed):
        reasons.append("trust anchors differ from the deployed ones")
    if fleet.issuers != deployed.issuers:
        reasons.append("token issuers differ from the deployed ones")
    return reasons


def beyond_roles(deployed: Fleet, fleet: Fleet) -> list[str]:
    """The grants of `fleet` that may allow more than the deployed ones together.

    What is more has no effect before a deployment: a session never has more than its role, and the
    roles allow what the deployed grants do.
    """
    allowed = _allowed(deployed)
    return [
        name
        for name in fleet.grants
        if not _allowed(replace(fleet, grants={name: fleet.grants[name]})) <= allowed
    ]


def _allowed(fleet: Fleet) -> set[str]:
    statements = ceiling(fleet, Place("{partition}", "{region}", "{account}"))["Statement"]
    return {json.dumps(statement, sort_keys=True) for statement in statements}


def _anchors(fleet: Fleet) -> set[str]:
    return {certificate.anchor(pem).fingerprint for group in fleet.groups.values() for pem in group.trust}
