"""The operator's calls about the fleet definition: show, apply, plan and progress."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from firstboot.compiler import fleet as compiler
from firstboot.compiler import public_host
from firstboot.compiler.deployment import needs_deployment
from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.device import Device
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, is_device_id
from firstboot.domain.sweep import PAGE, Sweep
from firstboot.operate import answers, excess, requests
from firstboot.operate.audit import Audit
from firstboot.operate.errors import FleetNeedsDeployment, FleetOutdated
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.requests import ApplyFleet, PlanFleet
from firstboot.policy.attachment import look
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.policy.sums import Sums
from firstboot.runtime.messages import Json, NoMembers
from firstboot.runtime.problem import Backlog


class Records(Protocol):
    """The device records."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently. Raises Unavailable."""

    def page(self, limit: int, after: str | None) -> tuple[list[Device], str | None]:
        """Return the devices among `limit` rows after the key `after`, and where the next page starts.

        The second is None after the last page. Raises Unavailable.
        """


class Sweeps(Protocol):
    """The row that says how far the last sweep got."""

    def read(self) -> Sweep | None:
        """Return the last sweep, read consistently, or None before the first. Raises Unavailable."""


@dataclass(frozen=True)
class Fleets:
    """The operations on the fleet definition. `deployed` is the one in the asset."""

    deployed: Fleet
    fleet: FleetInForce
    records: Records
    sweeps: Sweeps
    limiter: Backlog
    audit: Audit
    place: Place
    has_public_host: bool

    def show(self, _: NoMembers, now: datetime) -> Json:
        """Return the fleet definitions, deployed and in force. Raises Unavailable."""
        return answers.fleets(self.deployed, self.fleet.current(now))

    def apply(self, parameters: ApplyFleet, now: datetime) -> Json:
        """Publish a fleet definition between deployments.

        1. It builds on the fleet that is deployed.
        2. It passes every check of the compiler. Its sender may have used another compiler than ours.
        3. It needs nothing that only a deployment makes, no device has an id that it newly reserves, and no
           new device would hold more grants than fit.
        4. It is stored where all Lambda functions read it.

        A repeat publishes the same definition. Raises MalformedRequest, FleetOutdated, FleetInvalid,
        FleetNeedsDeployment, Unavailable.
        """
        fleet = requests.fleet(parameters.fleet)
        if fleet.base != self.deployed.hash:  # 1
            raise FleetOutdated(f"The fleet builds on {fleet.base}, and {self.deployed.hash} is deployed")
        compiler.check(fleet)  # 2
        reasons = needs_deployment(self.deployed, fleet)  # 3
        if not self.has_public_host:
            reasons += public_host.needs(fleet)
        if reasons:
            raise FleetNeedsDeployment("; ".join(reasons))
        in_force = self.fleet.current(now)
        self._check_reserved(fleet, in_force)
        excess.check_new_devices(Sums(Rules(in_force), self.place), Sums(Rules(fleet), self.place), now)
        self.fleet.publish(fleet)  # 4
        self.audit("FleetPublished", fleetHash=fleet.hash)
        return {"hash": fleet.hash}

    def _check_reserved(self, fleet: Fleet, in_force: Fleet) -> None:
        """Refuse a fleet that reserves the id of a device. Raises FleetInvalid, Unavailable."""
        fresh = [word for word in fleet.reserved if word not in in_force.reserved and is_device_id(word)]
        taken = [word for word in fresh if self.records.device(DeviceId(word))]
        if taken:
            raise FleetInvalid([f"fleet.toml: reserved has {', '.join(taken)}, which are ids of devices"])

    def plan(self, parameters: PlanFleet, now: datetime) -> Json:
        """Return for how many devices of a page a fleet definition would change something in AWS IoT.

        The answer also counts the devices whose grants would be too large together.
        The rows note what AWS IoT was last brought to, so no call to AWS IoT is made. The definition is
        checked first, because its sender may have used another compiler than ours. Raises MalformedRequest,
        FleetInvalid, Unavailable.
        """
        fleet = requests.fleet(parameters.fleet)
        compiler.check(fleet)
        rules, (devices, following) = Rules(fleet), self.records.page(PAGE, parameters.after)
        before = Sums(Rules(self.fleet.current(now)), self.place)
        counted = excess.count(before, Sums(rules, self.place), devices)
        return answers.found(look(rules, devices, following, now)) | {"excess": counted}

    def progress(self, _: NoMembers, now: datetime) -> Json:
        """Return how far AWS IoT has been brought to the fleet definition in force. Raises Unavailable."""
        backlog = self.limiter.backlog_seconds(now)
        return answers.progress(self.sweeps.read(), self.fleet.current(now), backlog)
