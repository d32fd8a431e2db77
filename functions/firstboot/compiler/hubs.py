"""Check the grants of the kind azure-sas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from firstboot.domain.fleet import Fleet
from firstboot.domain.hubs import HUB, KIND, has_kind, hub_grants

SECONDS = range(300, 86_401)
"""The lifetimes of signatures, in seconds. They can't be withdrawn, so a day is the most."""

_POLICY = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_REQUIRED = {"kind", "hub", "seconds"}
_ALLOWED = _REQUIRED | {"policy"}


def document(template: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of one grant that names a kind."""
    if template["kind"] != KIND:
        yield f'kind must be "{KIND}"; a grant of AWS permissions has no kind'
        return
    for key in sorted(template.keys() - _ALLOWED):
        yield f"{key} is not supported; only {', '.join(sorted(_ALLOWED))} are"
    for key in sorted(_REQUIRED - template.keys()):
        yield f"{key} is missing"
    if template.keys() >= _REQUIRED:
        yield from _values(template)


def _values(template: dict[str, Any]) -> Iterator[str]:
    hub, seconds, policy = template["hub"], template["seconds"], template.get("policy", "device")
    if not isinstance(hub, str) or not HUB.fullmatch(hub):
        yield "hub must be the host name of an IoT hub in lower case, such as myhub.azure-devices.net"
    if type(seconds) is not int or seconds not in SECONDS:
        yield f"seconds must be an integer from {SECONDS[0]} to {SECONDS[-1]}"
    if not isinstance(policy, str) or not _POLICY.fullmatch(policy):
        yield "policy must be the name of one of the hub's shared access policies"


def check(fleet: Fleet) -> Iterator[str]:
    """Yield the problems between grants. Each of them is valid by itself."""
    first: dict[str, str] = {}
    for name, grant in sorted(hub_grants(fleet.grants).items()):
        if grant.hub in first:
            other = first[grant.hub]
            yield f"grants/{name}.json: its hub is that of grants/{other}.json, and a hub has one grant"
        first.setdefault(grant.hub, name)
    for name in sorted(fleet.terms):
        if has_kind(fleet.grants.get(name)):
            yield f"fleet.toml: grants.{name} is about statements, and grants/{name}.json has none"
