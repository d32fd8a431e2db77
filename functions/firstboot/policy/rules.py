"""Decide with Cedar which grants a device holds in a request context.

A decision with an error is a denial. Cedar skips a rule whose evaluation fails, so a `forbid` that was
skipped would otherwise become a permission.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from cedarpy import Entities, Schema

from firstboot.domain.bounded import Bounded
from firstboot.domain.device import Attribute, Device
from firstboot.domain.fleet import Fleet
from firstboot.policy import vocabulary
from firstboot.policy.decision import Decided, Decisions
from firstboot.policy.errors import AttributesInvalid
from firstboot.policy.reads import Reads

REMEMBERED = 256
"""How many decisions are remembered. Each may name all grants and rules of a fleet."""

_SAMPLES: dict[str, Attribute] = {"a string": "", "a boolean": False, "an integer of 64 bits": 0}
_UNSETTABLE = "of a type that no operator can set"
_WORDS = {str: "a string", bool: "a boolean"}


@dataclass(frozen=True)
class RequestContext:
    """The values that a decision depends on besides the device.

    `role_alias` is the role alias of a request for credentials, None for an MQTT connection. `source_ip` is
    the caller's address, None where it is not known.
    """

    role_alias: str | None = None
    source_ip: str | None = None


@dataclass(frozen=True)
class Holdings:
    """The grants that a device holds, each with the ids of the rules that gave it.

    `withheld` has, for grants that a rule forbade, the ids of these rules. `errors` is for the operator's log
    only; every grant that has an error was denied.
    """

    grants: tuple[str, ...] = ()
    rules: dict[str, tuple[str, ...]] = field(default_factory=dict)
    withheld: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


class Rules:
    """The rules of a fleet, parsed once. The fleet must come from the compiler, which has checked them."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._schema = Schema.from_str(fleet.schema)
        policies = vocabulary.policies(fleet.rules)
        self._decisions = Decisions(policies, sorted(fleet.grants), self._schema)
        self._reads = Reads.of(policies.values())
        self._decided: Bounded[str, Holdings] = Bounded(REMEMBERED)

    def decide(self, device: Device, context: RequestContext) -> Holdings:
        """Return the grants that `device` holds in `context`.

        A device whose id the fleet does not allow holds none. It may have its id from a time when the fleet
        allowed the id. The compiler has checked the grants for the ids that the fleet allows now: another id
        could be a word of a path, or hold a character that delimits ids.
        """
        if not self.fleet.ids.allows(device.device_id):
            return Holdings(errors=(f"{device.device_id}: the fleet does not allow the id",))
        # Most devices of a fleet differ in nothing that a rule reads.
        key = self._reads.key(device, context)
        held = self._decided.get(key)
        if held is None:
            held = self._decide(device, context)
        # The text of an error names the device.
        if not held.errors:
            # Also for a decision that was found: it becomes the newest, so that many requests of few devices
            # do not drop the decisions of all others.
            self._decided.put(key, held)
        return held

    def _decide(self, device: Device, context: RequestContext) -> Holdings:
        fitting = self._fitting(device)
        if fitting is None:
            return Holdings(errors=(f"{device.device_id}: an attribute does not fit the schema",))
        asked = vocabulary.context(context.role_alias, context.source_ip)
        return _holdings(self._decisions.decide(device.device_id, asked, fitting))

    def check_attributes(self, device: Device) -> None:
        """Refuse attributes that the schema does not accept, before they are written.

        Raises AttributesInvalid with the reason for each of them.
        """
        problems = [
            problem
            for name, value in device.attributes.items()
            if (problem := self._misfit(device, name, value))
        ]
        if problems:
            raise AttributesInvalid("; ".join(problems))

    def takes_any(self, device: Device, name: str, kind: type[Attribute]) -> bool:
        """Return whether each value of a type fits as this attribute, or none matters.

        A device with an attribute that does not fit holds no grant. One that the schema does not have counts
        for nothing.
        """
        # No text of an address, a number or a time is empty, so the schema takes any text if it takes "".
        return not self._knows(name) or self._accepts(device, name, kind())

    def fitting_claims(self, device: Device) -> dict[str, Attribute]:
        """Return the device's claims that the schema accepts."""
        # A device can leave out any claim itself, so it gains nothing if an unfitting one is left out here.
        bare = replace(device, attributes={})
        return {
            name: value
            for name, value in device.claims.items()
            if self._parsed(replace(bare, claims={name: value})) is not None
        }

    def _fitting(self, device: Device) -> Entities | None:
        """Return the device as Cedar entities, or None if an attribute has another type than in the schema.

        An attribute of a wrong type must not be left out, because a rule that forbids might then not apply.
        An attribute that the schema does not have is left out: no rule can mention it, and a newer schema
        may have dropped it.
        """
        whole = self._parsed(device)
        if whole is not None:
            return whole
        known = {name: value for name, value in device.attributes.items() if self._knows(name)}
        return self._parsed(replace(device, attributes=known, claims=self.fitting_claims(device)))

    def _misfit(self, device: Device, name: str, value: Attribute) -> str | None:
        if name in vocabulary.RESERVED:
            return f"{name} is reserved for Firstboot"
        if not self._knows(name):
            return f"{name} is not in the schema"
        if self._accepts(device, name, value):
            return None
        # cedarpy does not show the parts of a schema, so a value of each type is tried.
        allowed = (words for words, sample in _SAMPLES.items() if self._accepts(device, name, sample))
        found = value if isinstance(value, int) and not isinstance(value, bool) else _WORDS[type(value)]
        return f"{name} must be {next(allowed, _UNSETTABLE)}, not {found}"

    def _accepts(self, device: Device, name: str, value: Attribute) -> bool:
        return self._parsed(replace(device, attributes={name: value}, claims={})) is not None

    def _knows(self, attribute: str) -> bool:
        try:
            return vocabulary.can_have(self._schema, {"Var": "principal"}, attribute)
        except ValueError:  # Cedar cannot write the name, so no schema has it.
            return False

    def _placed(self, device: Device) -> Device:
        """Return the device in its group's current name, which is the one that rules use."""
        return replace(device, group=self.fleet.current_name(device.group))

    def _parsed(self, device: Device) -> Entities | None:
        try:
            return Entities.from_json_str(json.dumps(vocabulary.entities(self._placed(device))), self._schema)
        except ValueError:
            return None


class RulesInForce:
    """The rules of the fleet in force. They are parsed again only when that fleet changes."""

    def __init__(self, current: Callable[[datetime], Fleet]) -> None:
        self._current = current
        self._rules: Rules | None = None

    def at(self, now: datetime) -> Rules:
        """Return the rules in force at `now`. Raises what reading the fleet raises."""
        # The reader of the fleet returns the same object until the fleet changes.
        fleet = self._current(now)
        if self._rules is None or self._rules.fleet is not fleet:
            self._rules = Rules(fleet)
        return self._rules


def _holdings(decided: dict[str, Decided]) -> Holdings:
    # A grant may be allowed and have errors: a `forbid` that could not be evaluated is among them.
    granted = {name: each for name, each in decided.items() if each.is_allowed and not each.errors}
    return Holdings(
        grants=tuple(granted),
        rules={name: each.reasons for name, each in granted.items()},
        withheld={name: each.reasons for name, each in decided.items() if each.forbids},
        errors=tuple(f"{name}: {error}" for name, each in decided.items() for error in each.errors),
    )
