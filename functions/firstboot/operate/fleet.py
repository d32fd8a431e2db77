"""The operator's calls about the fleet definition: show, apply, plan and progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from firstboot.compiler import fleet as compiler
from firstboot.compiler import public_host
from firstboot.compiler.deployment import needs_deployment, orphaned
from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.device import Device
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import ANY_FLEET, DeviceId
from firstboot.domain.publication import Publication, Unreadable, in_force
from firstboot.domain.sweep import PAGE, SLICE, Slice, Sweep
from firstboot.operate import answers, excess, requests
from firstboot.operate.audit import Audit
from firstboot.operate.errors import FleetChanged, FleetNeedsDeployment, FleetOrphansDevices, FleetOutdated
from firstboot.operate.fleet_in_force import FleetInForce
from firstboot.operate.requests import ApplyFleet, PlanFleet
from firstboot.policy.attachment import needs_reconciling
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.policy.sums import Sums
from firstboot.runtime.messages import Json, NoMembers
from firstboot.runtime.problem import Backlog

SUMS = timedelta(seconds=10)
"""The time after which no further group's new devices are checked. Deciding takes about 25 ms for a group and
a role alias, and a call has 30 seconds in all."""


class Records(Protocol):
    """The device records."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently. Raises Unavailable."""

    def after(self, device: Device) -> str:
        """Return the key of a device, after which the next page may start."""

    def page(self, limit: int, after: str | None) -> tuple[list[Device], str | None]:
        """Return the devices among `limit` rows after the key `after`, and where the next page starts.

        The second is None after the last page. Raises Unavailable.
        """


class Sweeps(Protocol):
    """The row that says how far the last sweep got."""

    def read(self) -> Sweep | None:
        """Return the last sweep, read consistently, or None before the first. Raises Unavailable."""


class Published(Protocol):
    """The published object. Every method raises Unavailable."""

    def read(self) -> Publication | None:
        """Return the published object, or None without one."""

    def write(self, text: bytes, over: Publication | None) -> bool:
        """Store `text` if the object is still as it was read (`over`); return whether it was."""


@dataclass(frozen=True)
class _Read:
    """The published object, and the fleet in force by it; None if the object can't be read."""

    published: Publication | None
    in_force: Fleet | None

    @property
    def mark(self) -> str:
        """Return the hash of the fleet in force, or the SHA-256 of an object that can't be read."""
        if self.in_force:
            return self.in_force.hash
        return self.published.digest if self.published else ""


@dataclass(frozen=True)
class Fleets:
    """The operations on the fleet definition. `deployed` is the one in the asset.

    `clock` returns the current time.
    """

    deployed: Fleet
    fleet: FleetInForce
    published: Published
    records: Records
    sweeps: Sweeps
    limiter: Backlog
    audit: Audit
    place: Place
    has_public_host: bool
    clock: Callable[[], datetime]

    def show(self, _: NoMembers, __: datetime) -> Json:
        """Return the fleet definitions, deployed and in force. Raises Unavailable.

        A published one that can't be read has a hash, of its text, and no fleet.
        """
        read = self._read()
        return answers.fleets(self.deployed, read.in_force, read.mark)

    def apply(self, parameters: ApplyFleet, now: datetime) -> Json:
        """Publish a fleet definition between deployments.

        1. It builds on the fleet that is deployed.
        2. It passes every check of the compiler. Its sender may have used another compiler than ours.
        3. It needs nothing that only a deployment makes, no device has an id that it newly reserves, and no
           new device would hold more grants than fit.
        4. The fleet in force is the one that the caller compared it with.
        5. The caller has stated how many devices lose their group by it.
        6. It is stored where all Lambda functions read it, unless another one was stored in the meantime.

        A repeat changes nothing. Raises MalformedRequest, FleetOutdated, FleetInvalid, FleetNeedsDeployment,
        FleetChanged, FleetOrphansDevices, Unavailable.
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
        read = self._read()
        # Another operator may publish between the caller's comparison and this call, or during this call. A
        # definition that was compared with an older one would take back what the other operator published.
        if read.in_force == fleet:
            return {"hash": fleet.hash}
        if parameters.in_force not in (None, read.mark):  # 4
            raise FleetChanged(log=f"compared with {parameters.in_force}; {read.mark} is in force")
        # If the published one can't be read, the deployed one is the nearest that is known.
        before = read.in_force or self.deployed
        _check_colons(fleet, before)
        self._check_reserved(fleet, before)
        unchecked = self._check_sums(before, fleet, now)
        _check_stated(before, fleet, parameters.orphan)  # 5
        is_stored = self.published.write(fleet.to_json().encode(), read.published)  # 6
        # The stored object may be this call's own, if the reply to a first try was lost.
        if not is_stored and self._read().in_force != fleet:
            raise FleetChanged(log="another one was published during this call")
        stated = {"orphaned": parameters.orphan} if parameters.orphan else {}
        self.audit("FleetPublished", fleetHash=fleet.hash, **stated, **unchecked)
        return {"hash": fleet.hash, **unchecked}

    def _check_sums(self, before: Fleet, fleet: Fleet, now: datetime) -> dict[str, int]:
        """Refuse a fleet that gives new devices too much. Return how many groups there was no time for.

        Raises FleetInvalid.
        """
        end = self.clock() + SUMS
        old, new = (Sums(Rules(each), self.place) for each in (before, fleet))
        left = excess.check_new_devices(old, new, now, lambda: self.clock() >= end)
        return {"uncheckedGroups": len(left)} if left else {}

    def _read(self) -> _Read:
        """Return what the bucket says of the fleet in force. Raises Unavailable."""
        published = self.published.read()
        try:
            found = in_force(published, self.deployed)
        except Unreadable:
            return _Read(published, None)
        return _Read(published, found)

    def _check_reserved(self, fleet: Fleet, before: Fleet) -> None:
        """Refuse a fleet that reserves the id of a device. Raises FleetInvalid, Unavailable."""
        fresh = [word for word in fleet.reserved if word not in before.reserved and ANY_FLEET.allows(word)]
        taken = [word for word in fresh if self.records.device(DeviceId(word))]
        if taken:
            raise FleetInvalid([f"fleet.toml: reserved has {', '.join(taken)}, which are ids of devices"])

    def plan(self, parameters: PlanFleet, now: datetime) -> Json:
        """Return for how many devices of a page a fleet definition would change something in AWS IoT.

        The answer also counts the devices whose grants would be too large together, and the page's devices by
        group and by trust anchor.
        The rows note what AWS IoT was last brought to, so no call to AWS IoT is made. The definition is
        checked first, because its sender may have used another compiler than ours. The page ends early if its
        devices take long. Raises MalformedRequest, FleetInvalid, Unavailable.
        """
        fleet = requests.fleet(parameters.fleet)
        compiler.check(fleet)
        rules, (devices, following) = Rules(fleet), self.records.page(PAGE, parameters.after)
        before = Sums(Rules(self._read().in_force or self.deployed), self.place)
        count, end = excess.Count(before, Sums(rules, self.place)), self.clock() + SLICE
        part, touched = Slice(devices, following, self.records.after, lambda: self.clock() >= end), 0
        for device in part:
            touched += needs_reconciling(rules, device, now)
            count.add(device)
        return answers.plan(part, touched) | {"excess": count.answer}

    def progress(self, _: NoMembers, now: datetime) -> Json:
        """Return how far AWS IoT has been brought to the fleet definition in force. Raises Unavailable."""
        backlog = self.limiter.backlog_seconds(now)
        return answers.progress(self.sweeps.read(), self.fleet.current(now), backlog)


def _check_colons(fleet: Fleet, before: Fleet) -> None:
    """Refuse a fleet that allows no more colons in device ids. Raises FleetNeedsDeployment."""
    if before.colon_ids and not fleet.colon_ids:
        raise FleetNeedsDeployment(
            "colon_ids was true: without it, a device with a colon in its id holds no grant"
        )


def _check_stated(before: Fleet, fleet: Fleet, stated: dict[str, int]) -> None:
    """Refuse a fleet without a group whose number of devices is not stated. Raises FleetOrphansDevices."""
    left = [name for name in orphaned(before, fleet) if name not in stated]
    if left:
        raise FleetOrphansDevices(
            f"Name {', '.join(left)} in the `formerly` of a group, or say how many devices there are: "
            "`fleet apply --orphan N`"
        )
