"""Publishing a fleet definition between deployments.

1. It builds on the fleet that is deployed.
2. It holds by every rule of the compiler: who sent it may not have used ours.
3. It needs nothing that only a deployment makes.
4. It is put where exchange and vend look for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from firstboot.errors import FleetNeedsDeployment, FleetOutdated
from firstboot.fleet import compiler
from firstboot.fleet.model import Fleet
from firstboot.pki import chain
from firstboot.policy.render import Place, ceiling


def publish(fleet: Fleet, deployed: Fleet, put: Callable[[Fleet], None]) -> None:
    """Publish `fleet` by `put`.

    Raises FleetOutdated, FleetInvalid, FleetNeedsDeployment, Unavailable.
    """
    if fleet.base != deployed.hash:  # 1
        raise FleetOutdated(f"The fleet builds on {fleet.base}, and {deployed.hash} is deployed")
    compiler.check(fleet)  # 2
    reasons = needs_deployment(deployed, fleet)  # 3
    if reasons:
        raise FleetNeedsDeployment("; ".join(reasons))
    put(fleet)  # 4


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
    return {chain.fingerprint(chain.anchor(pem)) for group in fleet.groups.values() for pem in group.trust}
