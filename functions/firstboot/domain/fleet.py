"""The compiled fleet definition: values, and their JSON. Checks nothing; the compiler does.

Importing this loads no Cedar, so `exchange` can use it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from firstboot.domain.device import Limits

Naming = Literal["subject.CN", "request.deviceId"]


@dataclass(frozen=True)
class Budget:
    """How many devices a group may enroll: in all, a minute, and until when (epoch seconds). More
    than `freeze_per_hour` in an hour freezes it.
    """

    total: int
    per_minute: int
    until: int
    freeze_per_hour: int | None = None

    @property
    def limits(self) -> Limits:
        """What is counted."""
        return Limits(self.total, self.per_minute, self.freeze_per_hour)


@dataclass(frozen=True)
class CertificatePlan:
    """A group's operational certificates. `renew_at` is a fraction of the lifetime."""

    days: int
    renew_at: float
    grace_days: int

    @property
    def grace_seconds(self) -> int:
        """How long a certificate still counts for renewal after it has ended, or was superseded."""
        return self.grace_days * 86_400


@dataclass(frozen=True)
class Group:
    """An enrollment group. `trust` are PEM certificates, every one a trust anchor. `device_id` is
    where a device's name stands: in its own bootstrap certificate, or, where many devices share
    one, in the request. `configuration` is what a new device starts with: its shadow's desired state.
    """

    name: str
    trust: tuple[str, ...]
    device_id: Naming
    reenroll: Literal["refuse", "replace"]
    reenroll_per_day: int
    certificate: CertificatePlan
    mqtt: Literal["registry", "token"]
    budget: Budget | None = None
    configuration: dict[str, Any] = field(default_factory=dict)

    @property
    def is_shared(self) -> bool:
        """Whether many devices hold the same bootstrap certificate (a claim certificate)."""
        return self.device_id == "request.deviceId"

    def is_connectable(self, certificate_id: str, registered: frozenset[str]) -> bool:
        """Whether AWS IoT's broker knows a device of this group that has the certificate; `registered`
        are those of its certificates that are ACTIVE there. One that comes with tokens is known at
        once: the authorizer asks our own record.
        """
        return self.mqtt == "token" or certificate_id in registered


@dataclass(frozen=True)
class RoleAlias:
    """A name devices ask credentials under. `seconds` is the session's duration."""

    name: str
    seconds: int


Algorithm = Literal["RS256", "PS256", "ES256"]
"""Signature algorithms of tokens. No HMAC: its key would be both ends' secret."""


@dataclass(frozen=True)
class TokenIssuer:
    """Who makes tokens for the devices of `groups`. `issuer` is their exact `iss`, `jwks` the URL of
    the keys that sign them, with one of `algorithms`.
    """

    name: str
    issuer: str
    jwks: str
    algorithms: tuple[Algorithm, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Fleet:
    """A whole fleet definition. `grants` are policy templates, by name; `rules` and `schema`
    Cedar text. `base` is the hash of the deployed fleet a published one builds on; None in the
    deployed one itself.
    """

    groups: dict[str, Group]
    role_aliases: dict[str, RoleAlias]
    grants: dict[str, dict[str, Any]]
    rules: str
    schema: str
    base: str | None = None
    issuers: dict[str, TokenIssuer] = field(default_factory=dict)

    def to_json(self) -> str:
        """The fleet as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Fleet:
        """The fleet that `to_json` wrote."""
        raw = json.loads(text)
        return cls(
            groups={name: _group(value) for name, value in raw["groups"].items()},
            role_aliases={name: RoleAlias(**value) for name, value in raw["role_aliases"].items()},
            grants=raw["grants"],
            rules=raw["rules"],
            schema=raw["schema"],
            base=raw["base"],
            issuers={name: _issuer(value) for name, value in raw["issuers"].items()},
        )

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the canonical JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def _group(raw: dict[str, Any]) -> Group:
    return Group(
        **raw
        | {
            "trust": tuple(raw["trust"]),
            "certificate": CertificatePlan(**raw["certificate"]),
            "budget": Budget(**raw["budget"]) if raw["budget"] else None,
        }
    )


def _issuer(raw: dict[str, Any]) -> TokenIssuer:
    return TokenIssuer(
        **raw | {"algorithms": tuple(raw["algorithms"]), "groups": tuple(raw["groups"])},
    )
