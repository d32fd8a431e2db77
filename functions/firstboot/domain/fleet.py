"""The compiled fleet definition as values, and its JSON.

This module checks nothing, because the compiler has checked everything. It does not import Cedar, so that
`exchange` starts without loading it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from firstboot.domain.hubs import KIND, has_kind
from firstboot.domain.names import IdRule, first_name
from firstboot.domain.plans import Budget, CertificatePlan
from firstboot.domain.token_issuer import TokenIssuer
from firstboot.domain.ways import DEFAULT, Way

Naming = Literal["subject.CN", "subject.serialNumber", "san.uri", "san.dns", "key.sha256", "request.deviceId"]
Reenroll = Literal["refuse", "replace"]
MqttLogin = Literal["registry", "token"]
Eku = Literal["optional", "required"]
Jitr = Literal["off", "shared", "exclusive"]
Freshness = Literal["time", "nonce"]

MISSHAPEN = (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)
"""What reading JSON raises that is not of the expected shape."""


@dataclass(frozen=True)
class Group:
    """An enrollment group.

    `trust` holds the trust anchors in PEM. `device_id` says where a device's id is read from: its own
    bootstrap certificate or, if the group's devices share one, the request. `strip_prefix` and `strip_suffix`
    are taken off what is read there, or the group in `pattern` is the id. `ids` bounds the ids: a text with
    one `*` at most. Groups in `shares_ids_with` may have the same ids. `configuration` is the desired
    state in a new device's shadow. `eku` says whether a bootstrap certificate must have extendedKeyUsage,
    `jitr` who else decides on the bootstrap certificates that AWS IoT registers by itself, `proof` by what a
    signed proof may show that it is fresh. `formerly` are the group's earlier names, oldest first, which
    records of its devices may still have. `pin_bootstrap` counts if each device has its own certificate.
    `ways` are the only ways in which the group's devices may ask.
    """

    name: str
    trust: tuple[str, ...]
    device_id: Naming
    reenroll: Reenroll
    reenroll_per_day: int
    certificate: CertificatePlan
    mqtt: MqttLogin
    budget: Budget | None = None
    configuration: dict[str, Any] = field(default_factory=dict)
    strip_prefix: str = ""
    strip_suffix: str = ""
    pattern: str | None = None
    ids: str = "*"
    shares_ids_with: tuple[str, ...] = ()
    eku: Eku = "optional"
    jitr: Jitr = "shared"
    proof: Freshness = "time"
    formerly: tuple[str, ...] = ()
    pin_bootstrap: bool = True
    ways: tuple[Way, ...] = DEFAULT

    @property
    def names(self) -> tuple[str, ...]:
        """Return the group's name and its earlier names."""
        return (self.name, *self.formerly)

    @property
    def counted_as(self) -> str:
        """Return the name under which the group's enrollments are counted.

        It is the first name, so that a renamed group keeps what it has used of its budget.
        """
        return first_name(self.name, self.formerly)

    @property
    def is_shared(self) -> bool:
        """Return whether the group's devices share one bootstrap certificate (a claim certificate)."""
        return self.device_id == "request.deviceId"

    @property
    def naming(self) -> tuple[str, str, str, str | None]:
        """Return what decides which id a bootstrap certificate gives its device."""
        return self.device_id, self.strip_prefix, self.strip_suffix, self.pattern

    @property
    def space(self) -> str:
        """Return the ids that the group's devices may have, as a sentence's object."""
        case = " in lower case" if self.device_id == "san.dns" else ""
        return f"the ids {self.ids}{case}"

    def may_name(self, device_id: str) -> bool:
        """Return whether a device of the group may have this id."""
        if self.device_id == "san.dns" and device_id != device_id.lower():
            return False
        head, star, tail = self.ids.partition("*")
        if not star:
            return device_id == head
        long_enough = len(device_id) >= len(head) + len(tail)
        return long_enough and device_id.startswith(head) and device_id.endswith(tail)

    @property
    def pins(self) -> bool:
        """Return whether a device's name is bound to the bootstrap key that it first enrolled with."""
        return self.pin_bootstrap and not self.is_shared

    def is_connectable(self, certificate_id: str, registered: frozenset[str]) -> bool:
        """Return whether AWS IoT's broker accepts a device of this group that has the certificate.

        `registered` holds the ids of the device's certificates that are ACTIVE in AWS IoT.
        """
        # With tokens no certificate is ever registered, so a device that waited for that would wait forever.
        # The custom authorizer reads the device record instead.
        return self.mqtt == "token" or certificate_id in registered

    def to_plain(self) -> dict[str, Any]:
        """Return the group as JSON's types; the budget's `until` is in epoch seconds."""
        # Older versions do not know these members. A published fleet names the hash of the deployed one, so
        # a fleet that does not use them keeps its text.
        unused = {name for name, default in _LATER.items() if getattr(self, name) == default}
        plain = {name: value for name, value in asdict(self).items() if name not in unused}
        if self.budget:
            plain["budget"] = self.budget.to_plain()
        return plain


_LATER: dict[str, Any] = {
    "eku": "optional",
    "jitr": "shared",
    "proof": "time",
    "formerly": (),
    "strip_prefix": "",
    "strip_suffix": "",
    "pattern": None,
    "ids": "*",
    "shares_ids_with": (),
    "pin_bootstrap": True,
    "ways": DEFAULT,
}
"""The members of a group that later versions added, with their defaults."""


@dataclass(frozen=True)
class RoleAlias:
    """A name under which devices ask for credentials. `seconds` is the duration of a session.

    `max_answer` is the bytes of the longest answer with credentials that the alias's devices read; None if
    they read any.
    """

    name: str
    seconds: int
    max_answer: int | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return the role alias as JSON's types."""
        # Older versions do not know `max_answer`; see Group.to_plain.
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class GrantTerms:
    """The terms of a grant in fleet.toml. A `shared` one lets devices write what is no single device's."""

    name: str
    shared: bool = False


@dataclass(frozen=True)
class Fleet:
    """A compiled fleet definition.

    `grants` holds templates by name, of policies or of another kind; `rules` and `schema` are Cedar text.
    `base` is the hash of the deployed fleet that a published fleet builds on; None in the deployed fleet
    itself. `services` are AWS services that grants may use beyond the usual ones. `reserved` are words that
    no device may have as its id; with `colon_ids` an id may have a `:`. `terms` are what fleet.toml says of
    grants, by name.
    """

    groups: dict[str, Group]
    role_aliases: dict[str, RoleAlias]
    grants: dict[str, dict[str, Any]]
    rules: str
    schema: str
    base: str | None = None
    issuers: dict[str, TokenIssuer] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    terms: dict[str, GrantTerms] = field(default_factory=dict)
    colon_ids: bool = False

    def to_json(self) -> str:
        """Return the fleet as canonical JSON; a budget's `until` is in epoch seconds."""
        # Keys are sorted, so that equal fleets have equal hashes on every machine.
        plain = asdict(self)
        plain |= {"groups": {name: group.to_plain() for name, group in self.groups.items()}}
        plain |= {"role_aliases": {name: alias.to_plain() for name, alias in self.role_aliases.items()}}
        # Older versions do not know these members; see Group.to_plain.
        for name in ("services", "reserved", "terms", "colon_ids"):
            if not plain[name]:
                del plain[name]
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Fleet:
        """Return the fleet that `to_json` wrote.

        Raises one of MISSHAPEN for any other text.
        """
        raw = json.loads(text)
        # A member that this version does not know may be a restriction, so it is not passed over.
        if unknown := raw.keys() - {each.name for each in fields(cls)}:
            raise ValueError(f"unknown members: {', '.join(sorted(unknown))}")
        return cls(
            groups={name: _group(value) for name, value in raw["groups"].items()},
            role_aliases={name: RoleAlias(**value) for name, value in raw["role_aliases"].items()},
            grants=raw["grants"],
            rules=raw["rules"],
            schema=raw["schema"],
            base=raw["base"],
            issuers={name: _issuer(value) for name, value in raw["issuers"].items()},
            services=tuple(raw.get("services", ())),
            reserved=tuple(raw.get("reserved", ())),
            terms={name: GrantTerms(**value) for name, value in raw.get("terms", {}).items()},
            colon_ids=raw.get("colon_ids", False),
        )

    def group_of(self, name: str) -> Group | None:
        """Return the group that is called, or was called, `name`; None without one.

        A device record has the name that its group had when the device enrolled.
        """
        found = self.groups.get(name)
        if found:
            return found
        return next((group for group in self.groups.values() if name in group.formerly), None)

    def current_name(self, name: str) -> str:
        """Return the name that the group `name` of a device record has now; `name` itself without a group."""
        group = self.group_of(name)
        return group.name if group else name

    @property
    def ids(self) -> IdRule:
        """Return the rule for the ids of the fleet's devices."""
        return IdRule(self.reserved, self.colon_ids)

    @property
    def offers(self) -> frozenset[str]:
        """Return what the fleet needs of its deployment: its groups' ways, and its grants' kind."""
        kinds = [KIND for template in self.grants.values() if has_kind(template)]
        return frozenset([*kinds, *(way for group in self.groups.values() for way in group.ways)])

    @property
    def policies(self) -> dict[str, dict[str, Any]]:
        """Return the grants whose templates are policy documents, by name."""
        return {name: template for name, template in self.grants.items() if not has_kind(template)}

    @property
    def shared_grants(self) -> list[str]:
        """Return the names of the grants that let devices write what is no single device's."""
        return sorted(name for name, terms in self.terms.items() if terms.shared)

    @property
    def hash(self) -> str:
        """Return the SHA-256 (hex) of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def _group(raw: dict[str, Any]) -> Group:
    return Group(
        **raw
        | {
            "trust": tuple(raw["trust"]),
            "formerly": tuple(raw.get("formerly", ())),
            "shares_ids_with": tuple(raw.get("shares_ids_with", ())),
            "ways": tuple(raw.get("ways", DEFAULT)),
            "certificate": CertificatePlan(**raw["certificate"]),
            "budget": Budget.from_plain(raw["budget"]) if raw["budget"] else None,
        }
    )


def _issuer(raw: dict[str, Any]) -> TokenIssuer:
    return TokenIssuer(
        **raw | {"algorithms": tuple(raw["algorithms"]), "groups": tuple(raw["groups"])},
    )
