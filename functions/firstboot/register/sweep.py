"""Sweeping the registry: which devices AWS IoT must be brought up to date for, since the fleet
definition changed, or a day has passed.

1. How far the last sweep got is read, and only then the fleet in force: whoever has an older fleet
   has an older row too, and its write in 3 fails.
2. Nothing to do if another run is at work, or the last sweep was of this fleet, came to its end,
   and is no day old.
3. The sweep is taken for a while, by a conditional write: one run at a time works.
4. At its beginning every grant's policy is made to say what the fleet says: one new version
   serves every device.
5. A page of devices at a time, those that need it are told to `register`. Then it is written down
   how far the sweep got: a crash repeats a page, and `register` finds nothing left to do. A fleet
   published in the meantime begins a new sweep.
6. At its end policies of grants that are gone go too, if nobody holds them. What `register` has
   still to take from a device goes at the end of a later sweep.
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
from firstboot.policy.render import Place, compact, iot_policy
from firstboot.policy.rules import Rules
from firstboot.policy.service import ServicePolicy, grant_policy_name

WORK_SECONDS = 40
RUN_SECONDS = 50
"""A run's time: it starts no page after the first, and is dead after the second."""

_HELD = timedelta(seconds=55)  # more than a run's life, and over when the next minute's run comes
_DAY = timedelta(days=1)


class Pages(Protocol):
    """The registry, page by page."""

    def page(self, limit: int, after: str | None) -> tuple[list[Device], str | None]:
        """The devices among `limit` rows behind `after`, and where the next page starts, if any."""


class Sweeps(Protocol):
    """Where it is written how far the last sweep got."""

    def read(self) -> Sweep | None:
        """The last sweep, read consistently; None before the first."""

    def write(self, sweep: Sweep, known: Sweep | None) -> bool:
        """Write `sweep` over the one that is `known` (None: there is none). Return False, and write
        nothing, if another run has taken the sweep since `known` was read or written.
        """


class Policies(Protocol):
    """AWS IoT's policies."""

    def ensure(self, name: str, document: str) -> None:
        """Have a policy `name` that says `document` (JSON); repeating it changes nothing."""

    def names(self, prefix: str) -> list[str]:
        """The policies whose names begin so."""

    def remove_unused(self, name: str) -> None:
        """Delete the policy, unless somebody has it; repeating it changes nothing."""


@dataclass(frozen=True)
class Parts:
    """What a run works with. `rules` reads those in force anew; `send` tells `register` of devices."""

    rules: Callable[[], Rules]
    sweeps: Sweeps
    registry: Pages
    policies: Policies
    send: Callable[[Iterable[DeviceId]], None]
    stack: str
    place: Place


def keep_service_policies(parts: Parts) -> None:
    """Have Firstboot's own policies say what this version's do: whoever attaches them only makes them.

    Raises Unavailable.
    """
    for policy in ServicePolicy:
        parts.policies.ensure(policy.policy_name(parts.stack), compact(policy.document(parts.place)))


def run(parts: Parts, now: datetime, in_time: Callable[[], bool]) -> Sweep | None:
    """Do what is to be done at `now` while `in_time`. Return the sweep as it is then, None if there was
    nothing to do.

    Raises Unavailable; what was done until then is kept.
    """
    now = whole_seconds(now)
    known = parts.sweeps.read()  # 1
    rules = parts.rules()
    if known and (_is_held(known, now) or _is_done(known, rules.fleet, now)):  # 2
        return None
    begun = known if known and _is_under_way(known, rules.fleet) else Sweep(rules.fleet.hash, now)
    sweep = replace(begun, held_until=now + _HELD)
    held = parts.sweeps.write(sweep, known)  # 3
    while held and in_time() and sweep.finished_at is None:
        taken, sweep = sweep, _page(parts, sweep, now)
        held = parts.sweeps.write(sweep, taken)
    if held and sweep.finished_at is None:
        parts.sweeps.write(replace(sweep, held_until=None), sweep)
    return sweep if held else None


def _is_held(sweep: Sweep, now: datetime) -> bool:
    return sweep.held_until is not None and sweep.held_until > now


def _is_done(sweep: Sweep, fleet: Fleet, now: datetime) -> bool:
    return sweep.fleet_hash == fleet.hash and sweep.finished_at is not None and now < sweep.finished_at + _DAY


def _is_under_way(sweep: Sweep, fleet: Fleet) -> bool:
    return sweep.fleet_hash == fleet.hash and sweep.finished_at is None


def _page(parts: Parts, sweep: Sweep, now: datetime) -> Sweep:
    rules = parts.rules()
    if sweep.fleet_hash != rules.fleet.hash:
        sweep = Sweep(rules.fleet.hash, now, held_until=sweep.held_until)
    documents = _documents(parts, rules.fleet)
    if sweep.after is None:
        for name, document in documents.items():  # 4
            parts.policies.ensure(name, document)
    found = look(rules, *parts.registry.page(PAGE, sweep.after), now)  # 5
    parts.send(found.needing)
    if found.following is None:
        for name in set(parts.policies.names(grant_policy_name(parts.stack, ""))) - documents.keys():  # 6
            parts.policies.remove_unused(name)
    counted = replace(
        sweep,
        after=found.following,
        scanned=sweep.scanned + found.scanned,
        touched=sweep.touched + len(found.needing),
    )
    return counted if found.following else replace(counted, finished_at=now, held_until=None)


def _documents(parts: Parts, fleet: Fleet) -> dict[str, str]:
    """The policies that the fleet's grants have in AWS IoT, by name."""
    documents = {
        grant_policy_name(parts.stack, grant): iot_policy(fleet, grant, parts.place) for grant in fleet.grants
    }
    return {name: document for name, document in documents.items() if document is not None}
