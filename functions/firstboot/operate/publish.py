"""Publishing a fleet definition between deployments.

1. It builds on the fleet that is deployed.
2. It holds by every rule of the compiler: who sent it may not have used ours.
3. It needs nothing that only a deployment makes.
4. It is put where exchange and vend look for it.
"""

from __future__ import annotations

from collections.abc import Callable

from firstboot.compiler import fleet as compiler
from firstboot.compiler.deployment import needs_deployment
from firstboot.domain.errors import FleetNeedsDeployment, FleetOutdated
from firstboot.domain.fleet import Fleet


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
