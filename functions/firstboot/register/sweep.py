"""Sweep the device records, to find the devices that AWS IoT must be reconciled for.

No record changes when the rules do, so no event says which devices a changed fleet affects. A daily sweep
also finds what only time changes, and what a lost message left undone. The sweep sends orders and changes no
certificate, so that all writes to certificates are behind one rate limiter.

1. Read how far the last sweep got, and only then the fleet in force. A run with an older fleet has then read
   an older row too, so its write in step 3 fails and it can't bring AWS IoT back to the older fleet.
2. Stop if another run is at work, or if the last sweep was of this fleet, is complete and less than a day
   old. In the second case, make the policies that are missing first, since `register` and JITR can't.
3. Take the sweep for a while by a conditional write, so that one run at a time works.
4. At the beginning, update the policy of every grant. One new version serves every device.
5. For each page of devices, order the reconciliation of those that need it, and count them by the trust
   anchor that they enrolled under and by the way of their enrollment. Then write how far the sweep got, with
   the counts.
   A page ends early if its devices take long, and so do the policies of step 4: a run that has time for one
   device or policy brings the sweep forward. A crash repeats a page, and `register` finds nothing left to do.
   A fleet that is published in the meantime begins a new sweep.
6. At the end, delete the policies of removed grants unless a certificate has them. Those that `register`
   still has to detach are deleted by a later sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Device
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.sweep import PAGE, SLICE, Origins, Slice, Sweep, counted, counted_ways
from firstboot.domain.ways import PROVISIONING
from firstboot.policy.attachment import needs_reconciling
from firstboot.policy.render import compact, iot_policy
from firstboot.policy.rules import Rules
from firstboot.policy.service import (
    ServicePolicy,
    grant_policy_name,
    provisioning_document,
    provisioning_policy_name,
)
from firstboot.register.target import Account

WORK_SECONDS = 40
"""The time after which a run starts no page."""

RUN_SECONDS = 50
"""The time after which a run has ended, or Lambda has ended it."""

LEAST_ROWS = 50
"""The fewest rows of a page. Fewer would hardly make a Scan cheaper."""

_HELD = timedelta(seconds=55)  # longer than a run, and over before the next minute's run starts
_DAY = timedelta(days=1)


class Pages(Protocol):
    """The device records by page."""

    def after(self, device: Device) -> str:
        """Return the key of a device, after which the next page may start."""

    def page(self, limit: int, after: str | None) -> tuple[list[Device], str | None]:
        """Return the devices among `limit` rows after the key `after`, and where the next page starts.

        The second is None after the last page. Raises Unavailable.
        """


class Sweeps(Protocol):
    """The row that says how far the last sweep got. Every method raises Unavailable."""

    def read(self) -> Sweep | None:
        """Return the last sweep, read consistently, or None before the first."""

    def write(self, sweep: Sweep, known: Sweep | None) -> bool:
        """Write `sweep` over `known`, or where there is none if `known` is None.

        Return False, and write nothing, if another run has taken the sweep since `known` was read or written.
        """


class Policies(Protocol):
    """The policies of the AWS IoT registry. Every method raises Unavailable."""

    def ensure(self, name: str, document: str) -> None:
        """Create or update the policy `name` so that it says `document` (JSON). A repeat changes nothing."""

    def names(self, prefix: str) -> list[str]:
        """Return the names of the policies that begin with `prefix`."""

    def remove_unused(self, name: str) -> None:
        """Delete the policy unless a certificate has it. A repeat changes nothing."""


class ThingTypes(Protocol):
    """The thing types of the AWS IoT registry."""

    def ensure(self) -> None:
        """Create the type of our things unless it exists. Raises Unavailable."""


@dataclass(frozen=True)
class KeepServicePolicies:
    """The use case that brings Firstboot's own policies to the state that this version describes.

    The functions that attach a service policy may neither make nor change one: a function that handles every
    device's changes could otherwise change the rights of all devices. `offers` are the ways of the deployed
    fleet. `thing_types` is None without fleet provisioning.
    """

    policies: Policies
    account: Account
    offers: Collection[str] = ()
    thing_types: ThingTypes | None = None

    def __call__(self) -> None:
        """Create or update every service policy. A repeat changes nothing. Raises Unavailable."""
        for name, document in service_policies(self.account, self.offers).items():
            self.policies.ensure(name, document)
        # The provisioning template makes things of this type, by which `register` knows them as ours.
        if self.thing_types:
            self.thing_types.ensure()


@dataclass(frozen=True)
class RunSweep:
    """The use case that continues the sweep, or begins one.

    `rules` reads the rules in force anew at each call. `order` asks `register` to reconcile devices. `clock`
    returns the current time.
    """

    rules: Callable[[], Rules]
    sweeps: Sweeps
    records: Pages
    policies: Policies
    order: Callable[[Iterable[Device]], None]
    account: Account
    clock: Callable[[], datetime]

    def __call__(self, now: datetime, in_time: Callable[[], bool]) -> Sweep | None:
        """Work on the sweep that is due at `now`, as long as `in_time` returns True.

        Return the sweep as it is then, or None if there was nothing to do. Raises Unavailable; the pages that
        were written until then count, and the next run continues after them.
        """
        now = whole_seconds(now)
        known = self.sweeps.read()  # 1
        rules = self.rules()
        if known and _is_held(known, now):  # 2
            return None
        if known and _is_done(known, rules.fleet, now):
            self._make_missing(rules.fleet)
            return None
        begun = known if known and _is_under_way(known, rules.fleet) else _begun(rules.fleet, now, known)
        sweep = replace(begun, held_until=now + _HELD)
        held = self.sweeps.write(sweep, known)  # 3
        rows = PAGE
        while held and in_time() and sweep.finished_at is None:
            taken, (sweep, rows) = sweep, self._page(sweep, rows, now)
            held = self.sweeps.write(sweep, taken)
        if held and sweep.finished_at is None:
            # Release the sweep, so that the next run can continue at once.
            self.sweeps.write(replace(sweep, held_until=None), sweep)
        return sweep if held else None

    def _page(self, sweep: Sweep, rows: int, now: datetime) -> tuple[Sweep, int]:
        """Return the sweep after a page of `rows` rows or a part of it, and how many rows to read next."""
        rules, end = self.rules(), self.clock() + SLICE
        if sweep.fleet_hash != rules.fleet.hash:
            sweep = replace(_begun(rules.fleet, now, sweep), held_until=sweep.held_until)
        documents = grant_policies(rules.fleet, self.account)
        if sweep.after is None:
            sweep = self._keep_policies(sweep, documents, end)  # 4
            if _left(sweep, documents) or self.clock() >= end:
                return sweep, rows
        # The rows note what AWS IoT was last brought to, so looking at a device costs no call to AWS IoT. At
        # its quota, asking about a million devices would take 55 hours.
        devices, following = self.records.page(rows, sweep.after)
        part = Slice(devices, following, self.records.after, lambda: self.clock() >= end)
        needing = [each for each in part if needs_reconciling(rules, each, now)]  # 5
        # The orders go out before the caller writes the row, so that a crash repeats a page and skips none.
        self.order(needing)
        if part.following is None:
            ours = self.policies.names(grant_policy_name(self.account.stack, ""))
            for name in set(ours) - documents.keys():  # 6
                self.policies.remove_unused(name)
        done = _advanced(sweep, part, len(needing), now)
        # The devices that the time was too short for are read again, so fewer are read next.
        fewer = max(LEAST_ROWS, 2 * len(part.looked))
        return done, min(PAGE, 2 * rows if len(part.looked) == len(devices) else fewer)

    def _keep_policies(self, sweep: Sweep, documents: dict[str, str], end: datetime) -> Sweep:
        """Bring the policies that are left up to date until the time `end`, and at least one of them.

        Return the sweep after them. Raises Unavailable if none could be brought up to date.
        """
        begun = sweep
        for name in _left(sweep, documents):
            try:
                self.policies.ensure(name, documents[name])
            except Unavailable:
                # AWS IoT takes about ten of these calls a second. The policies until here count.
                if sweep is begun:
                    raise
                return sweep
            sweep = replace(sweep, policy=name)
            if self.clock() >= end:
                break
        return sweep

    def _make_missing(self, fleet: Fleet) -> None:
        """Make the policies that an operator deleted. They would be missing for a day otherwise."""
        documents = service_policies(self.account, fleet.offers) | grant_policies(fleet, self.account)
        for name in documents.keys() - set(self.policies.names(f"{self.account.stack}-")):
            self.policies.ensure(name, documents[name])


def service_policies(account: Account, offers: Collection[str] = ()) -> dict[str, str]:
    """Return Firstboot's own policies in AWS IoT, name to document (JSON), for a fleet with `offers`."""
    documents = {
        policy.policy_name(account.stack): policy.document(account.place) for policy in ServicePolicy
    }
    if PROVISIONING in offers:
        # The provisioning template has the stack's name.
        name = provisioning_policy_name(account.stack)
        documents[name] = provisioning_document(account.stack, account.place)
    return {name: compact(document) for name, document in documents.items()}


def grant_policies(fleet: Fleet, account: Account) -> dict[str, str]:
    """Return the policies of the fleet's grants in AWS IoT, name to document (JSON)."""
    documents = {
        grant_policy_name(account.stack, grant): iot_policy(fleet, grant, account.place)
        for grant in fleet.grants
    }
    return {name: document for name, document in documents.items() if document is not None}


def _left(sweep: Sweep, documents: dict[str, str]) -> list[str]:
    """Return the names of the policies that the sweep has not brought up to date yet, in their order."""
    return sorted(name for name in documents if name > (sweep.policy or ""))


def _advanced(sweep: Sweep, part: Slice, touched: int, now: datetime) -> Sweep:
    """Return the sweep after the devices of `part`, of which `touched` were ordered to be reconciled."""
    counts = counted(sweep.counts, part.looked)
    ways = None if sweep.ways is None else counted_ways(sweep.ways, part.looked)
    done = replace(
        sweep,
        policy=None,
        after=part.following,
        scanned=sweep.scanned + len(part.looked),
        touched=sweep.touched + touched,
        counts=counts,
        ways=ways,
    )
    if part.following:
        return done
    complete = Origins(now, counts, ways)
    return replace(done, finished_at=now, held_until=None, counts={}, ways={}, origins=complete)


def _begun(fleet: Fleet, now: datetime, last: Sweep | None) -> Sweep:
    return Sweep(fleet.hash, now, origins=last.origins if last else None)


def _is_held(sweep: Sweep, now: datetime) -> bool:
    return sweep.held_until is not None and sweep.held_until > now


def _is_done(sweep: Sweep, fleet: Fleet, now: datetime) -> bool:
    return sweep.fleet_hash == fleet.hash and sweep.finished_at is not None and now < sweep.finished_at + _DAY


def _is_under_way(sweep: Sweep, fleet: Fleet) -> bool:
    return sweep.fleet_hash == fleet.hash and sweep.finished_at is None
