"""Find the requests of a device that fail because its grants are too large together.

The compiler checks each grant alone. Which grants a device holds together depends on its attributes and
claims, and on the caller's address, which is not known beforehand. An excess is certain if a request exceeds
AWS's limit from every address, and possible if it does from some.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from firstboot.domain.device import Attribute, Device, Status
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.names import is_thing_name
from firstboot.policy import addresses, limits, vocabulary
from firstboot.policy.errors import NoGrant, PoliciesTooLarge
from firstboot.policy.reads import Reads
from firstboot.policy.render import VERSION, Place, compact, connection_policies, is_about_iot, session_policy
from firstboot.policy.rules import RequestContext, Rules

Grants = frozenset[str]

_EMPTY = compact({"Version": VERSION, "Statement": []})
"""A session policy without its statements, which are separated by commas."""

OWN_POLICIES = 1
"""The policies of a certificate beside those of grants: the service policy."""


@dataclass(frozen=True)
class Excess:
    """A kind of request whose grants are too large together.

    `role_alias` is None for the connection over MQTT. `detail` says what exceeds which limit.
    """

    role_alias: str | None
    certain: bool
    grants: tuple[str, ...]
    detail: str

    @property
    def text(self) -> str:
        """Return a description for an operator."""
        request = f"role alias {self.role_alias}" if self.role_alias else "MQTT"
        may = "" if self.certain else "may, from some addresses, "
        return f"{request}: the grants {', '.join(self.grants)} {may}{self.detail}"


def newly_certain(before: Iterable[Excess], after: Iterable[Excess]) -> list[Excess]:
    """Return the certain excesses of `after` whose request has no certain excess in `before`."""
    known = {each.role_alias for each in before if each.certain}
    return [each for each in after if each.certain and each.role_alias not in known]


class Sums:
    """The excesses of devices under a fleet's rules. Equal devices are decided once."""

    def __init__(self, rules: Rules, place: Place) -> None:
        self._rules, self._place = rules, place
        policies = list(vocabulary.policies(rules.fleet.rules).values())
        self._reads = Reads.of(policies)
        self._grants = frozenset(rules.fleet.policies)
        self._about_iot = frozenset(grant for grant in self._grants if is_about_iot(rules.fleet, grant))
        # None if no rule depends on the caller's address.
        self._ranges = addresses.literals(policies) if self._reads.is_by_address else None
        self._statements: dict[tuple[str, int], frozenset[str]] = {}
        self._found: dict[str, tuple[Excess, ...]] = {}
        self._any_fits: dict[tuple[str, type[Attribute]], bool] = {}

    @property
    def fleet(self) -> Fleet:
        """Return the fleet whose rules these are."""
        return self._rules.fleet

    def of(self, device: Device) -> tuple[Excess, ...]:
        """Return the excesses of a device that is enrolled or expected; none of any other device."""
        if device.status not in (Status.ENROLLED, Status.EXPECTED):
            return ()
        key = self._key(device)
        if key not in self._found:
            self._found[key] = tuple(self._excesses(device))
        return self._found[key]

    def _key(self, device: Device) -> str:
        """Return a text that is equal for devices that can't differ in their excesses."""
        name = device.device_id
        # An attribute that no rule reads matters only if it may not fit the schema.
        attributes = {
            key: type(value).__name__ if self._never_matters(key, value, device) else value
            for key, value in device.attributes.items()
        }
        claims = device.claims if "claims" in self._reads.names else {}
        kind = [device.group, name if self._reads.is_by_device else len(name), is_thing_name(name)]
        kind.append(self.fleet.ids.allows(name))
        return json.dumps([*kind, attributes, claims], sort_keys=True)

    def _never_matters(self, name: str, value: Attribute, device: Device) -> bool:
        """Return whether an attribute gives the same excesses as any other value of its type."""
        if name in self._reads.names:
            return False
        key = name, type(value)
        if key not in self._any_fits:
            self._any_fits[key] = self._rules.takes_any(device, *key)
        return self._any_fits[key]

    def _excesses(self, device: Device) -> Iterator[Excess]:
        for alias in self.fleet.role_aliases:
            yield from self._session(device, alias)
        group = self.fleet.group_of(device.group)
        if group:
            yield from self._connection(device, group)

    def _session(self, device: Device, alias: str) -> Iterator[Excess]:
        if self._size(self._grants, device) <= limits.SESSION_POLICY:
            return
        held = self._possible(device, alias)
        worst = max(held, key=lambda grants: self._size(grants, device))
        characters = self._size(worst, device)
        if characters > limits.SESSION_POLICY:
            certain = all(self._size(grants, device) > limits.SESSION_POLICY for grants in held)
            detail = f"have {characters:,} characters, and a session policy at most {limits.SESSION_POLICY:,}"
            yield Excess(alias, certain, tuple(sorted(worst)), detail)

    def _possible(self, device: Device, alias: str) -> list[Grants]:
        """Return the sets of grants that the device may hold under a role alias, from all addresses."""
        # Over MQTT the caller's address is not known.
        held = [self._held(device, alias)]
        if self._ranges is None:
            return held
        values: list[Attribute] = [*device.attributes.values(), *device.claims.values()]
        starts = addresses.representatives([*self._ranges, *addresses.in_values(values)])
        return held + [self._held(device, alias, addresses.text(start)) for start in starts]

    def _connection(self, device: Device, group: Group) -> Iterator[Excess]:
        fleet = self.fleet
        room = limits.IOT_POLICIES - OWN_POLICIES
        if group.mqtt == "registry" and (len(self._about_iot) <= room or not is_thing_name(device.device_id)):
            return
        held = tuple(sorted(self._held(device, None) & self._about_iot))
        if group.mqtt == "registry":
            if len(held) > room:
                detail = f"are {len(held)} policies, and a certificate has room for {room}"
                yield Excess(None, certain=True, grants=held, detail=detail)
            return
        try:
            connection_policies(fleet, held, device.device_id, self._place)
        except NoGrant:
            return
        except PoliciesTooLarge as error:
            detail = f"do not fit the custom authorizer's answer ({error.log})"
            yield Excess(None, certain=True, grants=held, detail=detail)

    def _held(self, device: Device, alias: str | None, address: str | None = None) -> Grants:
        """Return the grants of permissions that the device holds; from an unknown address if it is None."""
        held = self._rules.decide(device, RequestContext(alias, address)).grants
        return self._grants.intersection(held)

    def _size(self, grants: Grants, device: Device) -> int:
        """Return the characters of the session policy of `grants`; they depend on the id's length alone."""
        # Rendering the whole policy would take longer than the decision. Grants may share a statement.
        statements = frozenset[str]().union(*(self._of_grant(grant, device) for grant in grants))
        return len(_EMPTY) + sum(map(len, statements)) + len(statements) - 1 if statements else 0

    def _of_grant(self, grant: str, device: Device) -> frozenset[str]:
        """Return a grant's statements in a session policy of a device with an id of the same length."""
        key = grant, len(device.device_id)
        if key not in self._statements:
            policy = json.loads(session_policy(self.fleet, [grant], device.device_id, self._place))
            self._statements[key] = frozenset(map(compact, policy["Statement"]))
        return self._statements[key]
