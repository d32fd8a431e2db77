"""The compiler reports each way that can't work with a group's other keys or with the stack's hosts."""

from __future__ import annotations

import pytest

from firstboot.compiler import public_host, ways
from firstboot.domain.fleet import Fleet
from tests import factories
from tests.unit.fleet_folders import TOML, fleet, problems

_TRUST = 'trust = ["trust/factory.pem"]'
_DIRECT = factories.authority("Root CA").intermediate("Line CA", path_length=0)
ANCHOR = {"factory.pem": factories.pem(_DIRECT.certificate).encode()}


def toml(value: str, more: str = "") -> str:
    """Return the text of a definition whose group has `ways` and the keys `more`."""
    return TOML.replace(_TRUST, f"{_TRUST}\nways = {value}\n{more}")


_SCOPE = 'id_scope = "0ne1"\n'


def with_ways(value: str, more: str = "", trust: dict[str, bytes] = ANCHOR) -> Fleet:
    """Return a fleet of one group with these `ways`, under a CA that has no CAs below it."""
    return fleet(toml=toml(value, more), trust=trust)


@pytest.mark.parametrize("value", ["[]", '["mtsl"]', '["mtls", "mtls"]', '"mtls"', "[1]"])
def test_only_a_list_of_ways_is_one(value: str) -> None:
    """An empty list, an unknown way and a repeated way are refused, with the ways that there are."""
    (line,) = problems(toml=toml(value))
    assert line.startswith("fleet.toml: groups.gateways.ways must be a list of one or more of mtls, proof, ")


def test_a_group_can_get_certificates() -> None:
    """A group whose ways give credentials only is refused: none of its devices could enroll."""
    (line,) = problems(toml=toml('["roles-anywhere"]'))
    assert line == (
        "fleet.toml: groups.gateways.ways has roles-anywhere only, in which no device gets a certificate"
    )
    assert with_ways('["mtls", "roles-anywhere"]')


def test_devices_with_tokens_need_another_way_than_mqtt() -> None:
    """A group that connects with tokens can't have MQTT as its only way: no certificate logs in there."""
    (line,) = problems(toml=toml('["mqtt"]', 'mqtt = "token"'))
    assert line.startswith("fleet.toml: groups.gateways.ways has mqtt only, but with mqtt = ")
    assert with_ways('["mqtt"]')
    assert with_ways('["mqtt", "mtls"]', 'mqtt = "token"')


@pytest.mark.parametrize("way", ["proof", "roles-anywhere"])
def test_a_way_without_client_certificates_needs_the_public_host(way: str) -> None:
    """A named way of clients without a certificate in TLS is reported for a stack without the public host."""
    named = with_ways(f'["mtls", "{way}"]', "certificate = { grace_days = 0 }")
    (line,) = public_host.needs(named)
    assert line.startswith(f"groups.gateways: ways has {way}, which needs the public host, ")
    assert public_host.needs(with_ways('["mtls", "mqtt"]')) == []
    both = _SCOPE + toml('["mtls", "dps", "est"]')
    assert public_host.needs(fleet(toml=both, trust=ANCHOR)) == []


def test_symmetric_keys_need_the_public_host() -> None:
    """A group whose devices have symmetric keys, and so no certificate in TLS, is reported."""
    budget = "budget = { total = 10, per_minute = 10, until = 2036-12-31 }"
    more = f"symmetric_key = true\ncertificate = {{ grace_days = 0 }}\n{budget}"
    keyed = _SCOPE + toml('["mtls", "dps"]', more)
    (line,) = public_host.needs(fleet(toml=keyed, trust=ANCHOR))
    assert line.startswith("groups.gateways: symmetric_key is true, which needs the public host, ")


def test_a_way_with_client_certificates_needs_the_mtls_host() -> None:
    """The named way `mtls` is reported for a stack without a domain, and the default ways are not."""
    (line,) = ways.without_mtls_host(with_ways('["mtls"]'))
    assert line.startswith("groups.gateways: ways has mtls, which needs the mTLS host, ")
    assert ways.without_mtls_host(with_ways('["proof", "mqtt"]')) == []
    assert ways.without_mtls_host(fleet()) == ways.without_public_host(fleet()) == []


def test_what_only_a_signed_proof_can_do_is_a_warning() -> None:
    """Without the way `proof`, grace days and anchors with CAs below them are warnings."""
    root = {"factory.pem": factories.pem(factories.authority("Root CA").certificate).encode()}
    grace, below = ways.warnings(with_ways('["mtls"]', trust=root))
    assert grace.startswith("groups.gateways: certificate.grace_days is 90, but an expired certificate")
    assert below.startswith("groups.gateways: CN=Root CA may have CAs below it, and ways has no proof")
    assert ways.warnings(with_ways('["mtls"]', "certificate = { grace_days = 0 }")) == []
    assert ways.warnings(with_ways('["proof"]', trust=root)) == []
