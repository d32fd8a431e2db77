"""Gather what a fleet definition lets devices do, for a security reviewer. No input or output.

The conditions of a rule can only be decided for a particular device. The report therefore says, of each
group and grant, whether a new device holds the grant, and which rules could give it or withhold it from
other devices. A new device has no attributes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from console import scopes, template
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Device, Status
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId, device_id
from firstboot.pki import certificate
from firstboot.pki.certificate import Certificate
from firstboot.policy import limits, render
from firstboot.policy.render import Place
from firstboot.policy.rules import RequestContext, Rules
from firstboot.policy.service import ServicePolicy

SAMPLE = device_id("sample-device")
_LONGEST = DeviceId("d" * 64)
MQTT = "MQTT"

Json = dict[str, Any]


@dataclass(frozen=True)
class Deployed:
    """A deployed stack: its name, its account and region, its template and its outputs."""

    stack: str
    place: Place
    template: Json
    outputs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Anchor:
    """A trust anchor of a group. Times are UTC; `is_valid` refers to the time of the report."""

    group: str
    subject: str
    sha256: str
    not_before: datetime
    not_after: datetime
    is_valid: bool


@dataclass(frozen=True)
class Cell:
    """A group and a grant.

    `new` says when a new device of the group holds the grant: it maps "MQTT" or a role alias to the rules
    that give the grant there. `permits` are the rules that could give the grant to a device of the group,
    `forbids` those that could withhold it.
    """

    group: str
    grant: str
    new: dict[str, tuple[str, ...]]
    permits: tuple[str, ...]
    forbids: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """A rendered policy document.

    `characters` is its size with the longest device id, `limit` the one of AWS.
    """

    name: str
    kind: str
    document: Json
    characters: int
    limit: int


@dataclass(frozen=True)
class Stack:
    """The roles and keys of a deployed template."""

    name: str
    roles: list[template.Role]
    keys: list[template.Key]


@dataclass(frozen=True)
class Report:
    """The whole report. If no template was read, `stack` is None and `no_stack` gives the reason."""

    made: datetime
    fleet: Fleet
    place: Place
    anchors: list[Anchor]
    cells: list[Cell]
    rules: list[scopes.Rule]
    policies: list[Policy]
    stack: Stack | None
    no_stack: str

    def summary(self) -> Json:
        """Return the main figures of the report, for `--json` and the terminal."""
        return {
            "hash": self.fleet.hash,
            "groups": len(self.fleet.groups),
            "grants": len(self.fleet.grants),
            "sharedGrants": self.fleet.shared_grants,
            "forbidsByClaim": [r.id for r in self.rules if r.effect == "forbid" and r.reads_claims],
            "rules": len(self.rules),
            "anchors": [
                {"group": a.group, "subject": a.subject, "sha256": a.sha256, "valid": a.is_valid}
                for a in self.anchors
            ],
            "policies": [
                {"name": p.name, "kind": p.kind, "characters": p.characters, "limit": p.limit}
                for p in self.policies
            ],
            "stack": self.stack.name if self.stack else None,
            "signers": [role.name for role in self.stack.roles if role.signs] if self.stack else None,
        }


def gather(
    fleet: Fleet, place: Place, now: datetime, deployed: Deployed | None, no_stack: str = ""
) -> Report:
    """Return the report on `fleet`, which must come from the compiler, with policies rendered for `place`."""
    rules = scopes.rules(fleet)
    return Report(
        made=now,
        fleet=fleet,
        place=place,
        anchors=_anchors(fleet, now),
        cells=_cells(fleet, rules),
        rules=rules,
        policies=_policies(fleet, place),
        stack=_stack(deployed) if deployed else None,
        no_stack=no_stack,
    )


def _stack(deployed: Deployed) -> Stack:
    return Stack(deployed.stack, template.roles(deployed.template), template.keys(deployed.template))


def _anchors(fleet: Fleet, now: datetime) -> list[Anchor]:
    return [
        _anchor(group.name, certificate.anchor(pem), now)
        for group in fleet.groups.values()
        for pem in group.trust
    ]


def _anchor(group: str, anchor: Certificate, now: datetime) -> Anchor:
    begin, end = anchor.not_before, anchor.not_after
    return Anchor(
        group=group,
        subject=anchor.subject.text(),
        sha256=anchor.fingerprint,
        not_before=begin,
        not_after=end,
        is_valid=begin <= now.astimezone(UTC) <= end,
    )


def _cells(fleet: Fleet, rules: list[scopes.Rule]) -> list[Cell]:
    decided = Rules(fleet)
    return [
        _cell(group, grant, held, rules)
        for group in fleet.groups
        for held in [_new(decided, group)]
        for grant in sorted(fleet.grants)
    ]


def _new(rules: Rules, group: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return what a new device of a group holds: for "MQTT" and each role alias, the rules of each grant."""
    device = Device(SAMPLE, group, Status.ENROLLED, generation=1, created_at=EPOCH, updated_at=EPOCH)
    contexts = {MQTT: RequestContext()} | {
        name: RequestContext(role_alias=name) for name in rules.fleet.role_aliases
    }
    return {name: rules.decide(device, context).rules for name, context in contexts.items()}


def _cell(
    group: str, grant: str, held: dict[str, dict[str, tuple[str, ...]]], rules: list[scopes.Rule]
) -> Cell:
    concerned = [rule for rule in rules if group in rule.groups and grant in rule.grants]
    return Cell(
        group=group,
        grant=grant,
        new={context: grants[grant] for context, grants in held.items() if grant in grants},
        permits=tuple(rule.id for rule in concerned if rule.effect == "permit"),
        forbids=tuple(rule.id for rule in concerned if rule.effect == "forbid"),
    )


def _policies(fleet: Fleet, place: Place) -> list[Policy]:
    found = [
        policy
        for grant in sorted(fleet.policies)
        for policy in (_session(fleet, [grant], place, grant), _iot(fleet, grant, place))
        if policy
    ]
    found += [
        _policy(kind.value, "AWS IoT policy of Firstboot itself", kind.document(place), limits.IOT_POLICY)
        for kind in ServicePolicy
    ]
    if not fleet.policies:
        return found
    ceiling = render.ceiling(fleet, place)
    return [
        *found,
        _session(fleet, sorted(fleet.policies), place, "all grants at once"),
        _policy("every role alias", "ceiling of the fleet roles", ceiling, limits.ROLE_POLICY),
    ]


def _session(fleet: Fleet, grants: list[str], place: Place, name: str) -> Policy:
    document = json.loads(render.session_policy(fleet, grants, SAMPLE, place))
    longest = render.session_policy(fleet, grants, _LONGEST, place)
    return Policy(name, "STS session policy", document, len(longest), limits.SESSION_POLICY)


def _iot(fleet: Fleet, grant: str, place: Place) -> Policy | None:
    document = render.iot_policy(fleet, grant, place)
    return _policy(grant, "AWS IoT policy", json.loads(document), limits.IOT_POLICY) if document else None


def _policy(name: str, kind: str, document: Json, limit: int) -> Policy:
    return Policy(name, kind, document, len(render.compact(document)), limit)
