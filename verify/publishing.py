"""Publish a fleet with one more grant for a while, and take the grant back."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace

from console.cloud import Operate
from firstboot.domain.fleet import Fleet

GRANT = "verify-size"
"""The name of the grant. A later walk takes it back if a walk was killed."""

_BEGIN = "\n// The grant of `make verify-aws`.\n"
_RULE = '@id("{}")\npermit (principal in Group::"{}", action == Action::"hold", resource == Grant::"{}")\n'
_WHEN = 'when   {{ context.roleAlias == "{}" }};\n'


def with_grant(fleet: Fleet, group: str, alias: str, names: Sequence[str]) -> Fleet:
    """Return the fleet with a grant on resources for the devices of a group under a role alias.

    The roles allow no more than before (compiler/deployment.py, beyond_roles).
    """
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": list(names)}
    plain = without_grant(fleet)
    rules = plain.rules + _BEGIN + _RULE.format(GRANT, group, GRANT) + _WHEN.format(alias)
    template = {"Version": "2012-10-17", "Statement": [statement]}
    return replace(plain, grants=plain.grants | {GRANT: template}, rules=rules)


def resources(partition: str, characters: int) -> list[str]:
    """Return ARNs of resources that take up to so many characters of a policy.

    Their names are random, because STS packs repetitions. They do not exist.
    """
    length = len(json.dumps(_arn(partition))) + 1
    return [_arn(partition) for _ in range(characters // length)]


def _arn(partition: str) -> str:
    return f"arn:{partition}:s3:::{secrets.token_hex(12)}/*"


def without_grant(fleet: Fleet) -> Fleet:
    """Return the fleet as it was before `with_grant`."""
    kept = {name: template for name, template in fleet.grants.items() if name != GRANT}
    return replace(fleet, grants=kept, rules=fleet.rules.partition(_BEGIN)[0])


def publish(operate: Operate, fleet: Fleet) -> None:
    """Publish a fleet in the place of the one in force. Raises Refused, Unreachable."""
    fleets = operate.fleets()
    based = replace(fleet, base=fleets.deployed.hash)
    operate.call("fleet.apply", fleet=json.loads(based.to_json()), inForce=fleets.mark)
