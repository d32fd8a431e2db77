"""Sweep the device records: which devices must AWS IoT be reconciled for, since the fleet definition
changed or a day has passed.

1. How far the last sweep got is read, and only then the fleet in force: a run with an older fleet has
   read an older row too, and its write in 3 fails.
2. Nothing to do if another run is at work, or the last sweep was of this fleet, came to its end,
   and is less than a day old.
3. The sweep is taken for a while, by a conditional write, so that one run at a time works.
4. At its beginning every grant's policy is made to say what the fleet says: one new version
   serves every device.
5. A page of devices at a time, those that need it are sent to `register`. Then it is written down
   how far the sweep got: a crash repeats a page, and `register` finds nothing left to do. A fleet
   published in the meantime begins a new sweep.
6. At its end the policies of removed grants are deleted too, unless a certificate has them. Those that
   `register` has still to detach go at the end of a later sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from firstboot.domain.clock import whole_seconds
from firstboot.domain.device import Device
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId
from firstboot.domain.sweep import PAGE, Sweep
from firstboot.policy.attachment import look
from firstboot.policy.render import compact, iot_policy
from firstboot.policy.rules import Rules
from firstboot.policy.service import ServicePolicy, grant_policy_name
from firstboot.register.reconcile import Account

WORK_SECONDS = 40
"""A run starts no page after this time."""

RUN_SECONDS = 50
"""A run has ended, or was ended by Lambda, after this time."""

_HELD = timedelta(seconds=55)  # more than a run's life, and over when the next minute's run comes
_DAY = timedelta(days=1)


class Pages(Protocol):
    """The device records, page by page."""

    def page(self, limit: int, after: str | None) -> tuple[list[Device], str | None]:
        """Return the devices among `limit` rows behind `after`, and where the next page starts, if any."""


class Sweeps(Protocol):
    """The row that says how far the last sweep got."""

    def read(self) -> Sweep | None:
        """Return the last sweep, read consistently; None before the first."""

    def write(self, sweep: Sweep, known: Sweep | None) -> bool:
        """Write `sweep` over the one that is `known` (None: there is none).

        Return False, and write nothing, if another run has taken the sweep since `known` was read or
        written.
        """


class Policies(Protocol):
    """The policies of the AWS IoT registry."""

    def ensure(self, name: str, document: str) -> None:
        """Have a policy `name` that says `document` (JSON); repeating it changes nothing."""

    def names(self, prefix: str) -> list[str]:
        """Return the names of the policies that begin with `prefix`."""

    def remove_unused(self, name: str) -> None:
        """Delete the policy, unless a certificate has it; repeating it changes nothing."""


@dataclass(frozen=True)
class KeepServicePolicies:
    """Have Firstboot's own policies say what this version says.

    The functions that attach a service policy create a missing one, and never change one.
    """

    policies: Policies
    account: Account

    def __call__(self) -> None:
        """Bring every service policy up to date. Raises Unavailable."""
        for policy in ServicePolicy:
            document = compact(policy.document(self.account.place))
            self.policies.ensure(policy.policy_name(self.account.stack), document)


@dataclass(frozen=True)
class RunSweep:
    """Go on with the sweep, or begin one.

    `rules` reads those in force anew; `order` asks `register` to reconcile devices.
    """

    rules: Callable[[], Rules]
    sweeps: Sweeps
    records: Pages
    policies: Policies
    order: Callable[[Iterable[DeviceId]], None]
    account: Account

    def __call__(self, now: datetime, in_time: Callable[[], bool]) -> Sweep | None:
        """Do what is to be done at `now` while `in_time`.

        Return the sweep as it is then, None if there was nothing to do.
        Raises Unavailable; what was done until then is kept.
        """
        now = whole_seconds(now)
        known = self.sweeps.read()  # 1
        rules = self.rules()
        if known and (_is_held(known, now) or _is_done(known, rules.fleet, now)):  # 2
            return None
        begun = known if known and _is_under_way(known, rules.fleet) else Sweep(rules.fleet.hash, now)
        sweep = replace(begun, held_until=now + _HELD)
        held = self.sweeps.write(sweep, known)  # 3
        while held and in_time() and sweep.finished_at is None:
            taken, sweep = sweep, self._page(sweep, now)
            held = self.sweeps.write(sweep, taken)
        if held and sweep.finished_at is None:
            self.sweeps.write(replace(sweep, held_until=None), sweep)
        return sweep if held else None

    def _page(self, sweep: Sweep, now: datetime) -> Sweep:
        rules = self.rules()
        if sweep.fleet_hash != rules.fleet.hash:
            sweep = Sweep(rules.fleet.hash, now, held_until=sweep.held_until)
        documents = self._documents(rules.fleet)
        if sweep.after is None:
            for name, document in documents.items():  # 4
                self.policies.ensure(name, document)
        found = look(rules, *self.records.page(PAGE, sweep.after), now)  # 5
        self.order(found.needing)
        if found.following is None:
            ours = self.policies.names(grant_policy_name(self.account.stack, ""))
            for name in set(ours) - documents.keys():  # 6
                self.policies.remove_unused(name)
        counted = replace(
            sweep,
            after=found.following,
            scanned=sweep.scanned + found.scanned,
            touched=sweep.touched + len(found.needing),
        )
        return counted if found.following else replace(counted, finished_at=now, held_until=None)

    def _documents(self, fleet: Fleet) -> dict[str, str]:
        """Return the policies that the fleet's grants have in AWS IoT, by name."""
        account = self.account
        documents = {
            grant_policy_name(account.stack, grant): iot_policy(fleet, grant, account.place)
            for grant in fleet.grants
        }
        return {name: document for name, document in documents.items() if document is not None}


def _is_held(sweep: Sweep, now: datetime) -> bool:
    return sweep.held_until is not None and sweep.held_until > now


def _is_done(sweep: Sweep, fleet: Fleet, now: datetime) -> bool:
    return sweep.fleet_hash == fleet.hash and sweep.finished_at is not None and now < sweep.finished_at + _DAY


def _is_under_way(sweep: Sweep, fleet: Fleet) -> bool:
    return sweep.fleet_hash == fleet.hash and sweep.finished_at is None
