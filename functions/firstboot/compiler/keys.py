"""The declarations of all keys of `fleet.toml`; those of a group are in group_keys.py.

The compiler reads `fleet.toml` and writes it back with these declarations. docs/fleet.md and
fleet/fleet.schema.json are generated from them (`make docs`). To add a key, add its declaration here and a
field of the same name to the model in domain/fleet.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import get_args

from firstboot.compiler.group_keys import GROUP, NAME
from firstboot.compiler.kinds import Boolean, HttpsUrl, Integer
from firstboot.compiler.lists import Choices, Names, Strings
from firstboot.compiler.table import Key, Record, Tables
from firstboot.domain import names
from firstboot.domain.fleet import GrantTerms, Group, RoleAlias
from firstboot.domain.token_issuer import Algorithm, TokenIssuer
from firstboot.policy import limits

_SERVICE = re.compile(r"[a-z0-9-]{2,40}", re.ASCII)
"""Prefixes of actions (service authorization reference)."""


@dataclass(frozen=True)
class Definition:
    """The contents of `fleet.toml`. The `trust` of its groups holds file names, not certificates."""

    groups: dict[str, Group]
    role_aliases: dict[str, RoleAlias]
    issuers: dict[str, TokenIssuer]
    services: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    grants: dict[str, GrantTerms] = field(default_factory=dict)
    colon_ids: bool = False


ROLE_ALIAS = Record(
    RoleAlias,
    (
        Key(
            "seconds",
            Integer(
                limits.SECONDS.start,
                limits.SECONDS.stop - 1,
                "a session of a role that another role assumed, as `vend` does, lasts one hour at most",
            ),
            "How long the credentials are valid that a device gets under this role alias.",
            unit="seconds",
            default=3_600,
        ),
        Key(
            "max_answer",
            Integer(limits.ANSWERS.start, limits.ANSWERS.stop - 1),
            "The longest answer with credentials that the devices of this role alias can read. Firstboot "
            "refuses longer ones; over MQTT a `clientToken` comes on top. There is no limit without it, "
            "except for clients whose own limit Firstboot knows.",
            unit="bytes",
            default=None,
        ),
    ),
)

ISSUER = Record(
    TokenIssuer,
    (
        Key("issuer", HttpsUrl(), "The exact value of the `iss` claim in this issuer's tokens."),
        Key("jwks", HttpsUrl(), "The URL of the keys that sign the tokens (RFC 7517)."),
        Key("algorithms", Choices(get_args(Algorithm)), "The signature algorithms that tokens may use."),
        Key(
            "groups",
            Strings(),
            "The groups for whose devices this issuer makes tokens; each must have `mqtt` set to `token`.",
        ),
    ),
)

GRANT = Record(
    GrantTerms,
    (
        Key(
            "shared",
            Boolean(),
            "Whether the grant may let devices write what is no single device's: without `{deviceId}` in a "
            "statement that allows writing, each device that holds the grant writes to the same place.",
            default=False,
        ),
    ),
)

ROOT = Record(
    Definition,
    (
        Key(
            "groups",
            Tables(GROUP, NAME, least=1),
            "A group is a set of devices that enroll in the same way and get the same kind of certificate.",
        ),
        Key(
            "role_aliases",
            Tables(ROLE_ALIAS, names.ROLE_ALIAS, least=0),
            "A role alias is a name under which devices ask for credentials; the rules see it as "
            "`context.roleAlias`.",
            default={},
        ),
        Key(
            "issuers",
            Tables(ISSUER, NAME, least=0),
            "An issuer makes the tokens (JWTs) with which devices connect to AWS IoT's broker.",
            default={},
        ),
        Key(
            "grants",
            Tables(GRANT, NAME, least=0),
            "What the fleet says of a grant beside its policy template, grants/NAME.json.",
            default={},
        ),
        Key(
            "services",
            Names(_SERVICE, most=50),
            "AWS services whose actions grants may allow, by the prefix of their actions, beyond those that "
            "every fleet may use. Actions that manage identities, rights, credentials or code stay refused.",
            default=[],
        ),
        Key(
            "reserved",
            Names(names.WORD, most=100),
            "Words that no device may have as its id, because a grant uses them in the place where another "
            "grant has the device id.",
            default=[],
        ),
        Key(
            "colon_ids",
            Boolean(),
            "Whether a device id may have a `:`, as a MAC address has. In a grant, `:` then does not delimit "
            "`{deviceId}`, except for the colon with which the resource of an ARN begins.",
            default=False,
        ),
    ),
)
