"""Find out what the rules of a fleet read of a request, and so which requests they can't tell apart."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from firstboot.domain.device import Device
from firstboot.policy import addresses, vocabulary

if TYPE_CHECKING:
    from firstboot.policy.rules import RequestContext


@dataclass(frozen=True)
class Reads:
    """The parts of a request that rules read.

    `names` are those of attributes, and of members of the claims and of the context. `is_by_device` and
    `is_by_address` say whether a decision may depend on which device it is, and on the caller's address.
    """

    names: frozenset[str]
    is_by_device: bool
    is_by_address: bool

    @classmethod
    def of(cls, policies: Collection[vocabulary.Json]) -> Reads:
        """Return what the rules of a fleet, as Cedar's JSON, read."""
        found = [node for policy in policies for node in vocabulary.nodes(policy)]
        names = frozenset(node["attr"] for node in found if isinstance(node.get("attr"), str))
        # A literal of a device has its type. A rule about every Device has an `entity_type`.
        names_devices = any(node.get("type") == "Device" for node in found)
        by_address = any(map(addresses.reads_address, policies))
        return cls(names, names_devices or "deviceId" in names, by_address)

    def key(self, device: Device, context: RequestContext) -> str:
        """Return a text that is equal for requests that no rule can tell apart.

        They have the same decision, but for the texts of errors, which name the device.
        """
        # An attribute that no rule reads may still not fit the schema. A claim is then left out.
        parts = [
            device.group,
            device.device_id if self.is_by_device else None,
            device.attributes,
            device.claims if "claims" in self.names else None,
            context.role_alias,
            context.source_ip if self.is_by_address else _form(context.source_ip),
        ]
        # JSON keeps true and 1 apart, which are equal in Python.
        return json.dumps(parts, separators=(",", ":"))


def _form(address: str | None) -> str | int | None:
    """Return a number that is equal for addresses of a version that Cedar reads, and any other address.

    Cedar answers a request with an error if it can't read the address, whether or not a rule uses it.
    """
    # Python also reads a zone, and an IPv6 address whose end has dots. Cedar reads neither.
    if address is None or "%" in address or (":" in address and "." in address):
        return address
    try:
        return ip_address(address).version
    except ValueError:
        return address
