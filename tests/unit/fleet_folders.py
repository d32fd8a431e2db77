"""Small fleet definitions for tests: a valid one, and changes that break it."""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

import pytest

from firstboot.compiler import fleet as compiler
from firstboot.compiler.errors import FleetInvalid
from firstboot.compiler.source import Source
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Attribute, Device, Status
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import DeviceId
from tests import factories

TOML = """
[groups.gateways]
trust = ["trust/factory.pem"]
[role_aliases.telemetry]
seconds = 3600
"""

SCHEMA = """
entity Group;
entity Grant;
entity Device in [Group] = {
  deviceId: String, quarantined: Bool, claims: { model?: String, floor?: Long },
  site?: String, floor?: Long, lab?: ipaddr,
};
action hold appliesTo {
  principal: [Device], resource: [Grant], context: { roleAlias: String, sourceIp?: ipaddr },
};
"""

RULES = """
@id("all-telemetry")
permit (principal in Group::"gateways", action == Action::"hold", resource == Grant::"telemetry");
"""

OFFICE = 'context has sourceIp && context.sourceIp.isInRange(ip("10.0.0.0/8"))'
"""The condition of a rule that an address of a private network meets."""

_FACTORY = factories.pem(factories.authority().certificate).encode()


def statement(**changes: Any) -> dict[str, Any]:
    """Return a valid statement with `changes`; a member that is changed to None is left out."""
    good = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:{partition}:s3:::b/{deviceId}/*"}
    return {key: value for key, value in (good | changes).items() if value is not None}


def grant(*statements: Any) -> dict[str, Any]:
    """Return a policy template with these statements, or with one valid statement."""
    return {"Version": "2012-10-17", "Statement": list(statements) or [statement()]}


def large(name: str) -> dict[str, Any]:
    """Return a grant of about 800 characters. Three such grants do not fit into a session policy."""
    resources = (f"arn:{{partition}}:s3:::{name}{n}{'x' * 115}/{{deviceId}}/*" for n in range(4))
    return grant(*(statement(Resource=resource) for resource in resources))


def permit(name: str, condition: str = "true") -> str:
    """Return a rule that gives the grant `name` under a condition."""
    rule = f'permit (principal, action, resource == Grant::"{name}") when {{ {condition} }};'
    return f'@id("{name}-{crc32(condition.encode())}") {rule}'


def source(**changes: Any) -> Source:
    """Return a valid fleet folder with changes: `toml`, `rules` and `schema` are text, `grants` maps a name
    to a document or text, and `trust` maps a file name to bytes.
    """
    grants = changes.get("grants", {"telemetry": grant()})
    texts = {name: text if isinstance(text, str) else json.dumps(text) for name, text in grants.items()}
    return Source(
        {
            "fleet.toml": changes.get("toml", TOML).encode(),
            "rules.cedar": changes.get("rules", RULES).encode(),
            "schema.cedarschema": changes.get("schema", SCHEMA).encode(),
            **{f"grants/{name}.json": text.encode() for name, text in texts.items()},
            **{
                f"trust/{name}": text
                for name, text in changes.get("trust", {"factory.pem": _FACTORY}).items()
            },
        }
    )


def fleet(**changes: Any) -> Fleet:
    """Return the compiled fleet of `source(**changes)`."""
    return compiler.compile_fleet(source(**changes))


def problems(files: Source | None = None, **changes: Any) -> list[str]:
    """Return the compiler's problems with `files`, or with `source(**changes)`."""
    with pytest.raises(FleetInvalid) as caught:
        compiler.compile_fleet(files or source(**changes))
    return caught.value.problems


def device(
    group: str = "gateways",
    attributes: dict[str, Attribute] | None = None,
    claims: dict[str, Attribute] | None = None,
    device_id: str = "dev-1",
) -> Device:
    """Return an enrolled device."""
    return Device(
        DeviceId(device_id),
        group,
        Status.ENROLLED,
        1,
        EPOCH,
        EPOCH,
        attributes=attributes or {},
        claims=claims or {},
    )
