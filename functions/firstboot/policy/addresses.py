"""Find the rules that may depend on the caller's address, and addresses that stand for all addresses.

A rule can use an address only with Cedar's operators on addresses: ranges, equality, versions, loopback and
multicast. Cedar demands literals in `ip("…")`, so the ranges that matter can be read from the rules. Their
ends divide all addresses into intervals, and no rule can tell two addresses of an interval apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from firstboot.domain.device import Attribute
from firstboot.policy import vocabulary

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_BUILT_IN = tuple(map(ip_network, ("127.0.0.0/8", "224.0.0.0/4", "::1/128", "ff00::/8")))
"""The loopback and multicast addresses (isLoopback and isMulticast of Cedar's ipaddr)."""

_CONTEXT = {"Var": "context"}
_ROLE_ALIAS = {"left": _CONTEXT, "attr": "roleAlias"}


def reads_address(policy: vocabulary.Json) -> bool:
    """Return whether a rule, as Cedar's JSON, may depend on the caller's address."""
    found = list(vocabulary.nodes(policy))
    # A use of the context that is not `context.roleAlias` counts, also one of the context as a whole.
    aliases = sum(_ROLE_ALIAS in (node.get("."), node.get("has")) for node in found)
    return found.count(_CONTEXT) > aliases


def literals(policies: Iterable[vocabulary.Json]) -> list[Network]:
    """Return the ranges that the rules name."""
    return [
        ip_network(argument["Value"], strict=False)
        for policy in policies
        for node in vocabulary.nodes(policy)
        if isinstance(node.get("ip"), list)  # A member of a record may have this name too.
        for argument in node["ip"]
    ]


def in_values(values: Iterable[Attribute]) -> list[Network]:
    """Return the ranges among the values of a device's attributes and claims.

    The schema may declare an attribute as an address, and Cedar then reads its text as one.
    """
    return [network for value in values if isinstance(value, str) and (network := _network(value))]


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def representatives(networks: Iterable[Network]) -> list[Address]:
    """Return the first address of each interval between the ends of `networks` and of the built-in ranges.

    They are in order, IPv4 first.
    """
    starts: set[Address] = {IPv4Address(0), IPv6Address(0)}
    for network in (*networks, *_BUILT_IN):
        starts.add(network.network_address)
        if int(network.broadcast_address) + 1 < 2**network.max_prefixlen:
            starts.add(network.broadcast_address + 1)
    return sorted(starts, key=_order)


def text(address: Address) -> str:
    """Return an address in a form that Cedar reads.

    Since Python 3.13 `str` writes the last 32 bits of an IPv4-mapped address with dots (RFC 5952 section 5),
    which Cedar refuses.
    """
    if isinstance(address, IPv4Address):
        return str(address)
    return ":".join(f"{int(address) >> shift & 0xFFFF:x}" for shift in range(112, -1, -16))


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)
