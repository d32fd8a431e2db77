"""The compiled fleet definition: values, and their JSON. Checks nothing; the compiler does.

Importing this loads no Cedar, so `exchange` can use it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

from firstboot.domain.clock import epoch, from_epoch
from firstboot.domain.device import Limits

Naming = Literal["subject.CN", "request.deviceId"]
Reenroll = Literal["refuse", "replace"]
MqttLogin = Literal["registry", "token"]

_LAST = datetime.max.replace(tzinfo=UTC)


def end_of_day(day: date) -> datetime:
    """Return the instant at which `day` is over in UTC.

    For 9999-12-31 that would be a year that no datetime holds; it is a microsecond earlier.
    """
    return _LAST if day == date.max else datetime.combine(day + timedelta(days=1), time(), UTC)


@dataclass(frozen=True)
class Budget:
    """How many devices a group may enroll, in total and a minute. From `until` on, the end of a day in
    UTC, it enrolls none. More than `freeze_per_hour` in an hour freeze it.
    """

    total: int
    per_minute: int
    until: datetime
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
    def lifetime(self) -> timedelta:
        """How long a certificate is valid, unless its CA ends before."""
        return timedelta(days=self.days)

    @property
    def grace(self) -> timedelta:
        """How long a certificate still counts for renewal after it has ended, or was superseded."""
        return timedelta(days=self.grace_days)


@dataclass(frozen=True)
class Group:
    """An enrollment group. `trust` are PEM certificates, every one a trust anchor. `device_id` is
    where a device's name stands: in its own bootstrap certificate, or, where many devices share
    one, in the request. `configuration` is what a new device starts with: its shadow's desired state.
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

    def to_plain(self) -> dict[str, Any]:
        """Return the group as JSON's types; the budget's `until` is in epoch seconds."""
        plain = asdict(self)
        if self.budget:
            plain["budget"]["until"] = _until_seconds(self.budget.until)
        return plain


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
        """Return the fleet as canonical JSON; a budget's `until` is in epoch seconds."""
        plain = asdict(self) | {"groups": {name: group.to_plain() for name, group in self.groups.items()}}
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Fleet:
        """Read what `to_json` wrote.

        Raises KeyError, TypeError, ValueError and AttributeError for anything else.
        """
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
            "budget": _budget(raw["budget"]) if raw["budget"] else None,
        }
    )


def _budget(raw: dict[str, Any]) -> Budget:
    return Budget(**raw | {"until": _until(raw["until"])})


def _until(seconds: int) -> datetime:
    return _LAST if seconds == _until_seconds(_LAST) else from_epoch(seconds)


def _until_seconds(until: datetime) -> int:
    # The last end of a day is a microsecond early.
    return epoch(until) + 1 if until == _LAST else epoch(until)


def _issuer(raw: dict[str, Any]) -> TokenIssuer:
    return TokenIssuer(
        **raw | {"algorithms": tuple(raw["algorithms"]), "groups": tuple(raw["groups"])},
    )
