"""Test the settings of token issuers in a fleet definition, and that only a deployment changes them."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from firstboot.compiler import fleet as compiler
from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.clock import EPOCH
from firstboot.domain.fleet import Fleet
from firstboot.domain.token_issuer import TokenIssuer
from firstboot.operate.errors import FleetNeedsDeployment
from firstboot.operate.fleet import Fleets
from firstboot.operate.requests import ApplyFleet
from firstboot.policy.render import Place
from tests.unit.fleet_folders import TOML, fleet, problems

TOKENS = TOML.replace('trust = ["trust/factory.pem"]', 'trust = ["trust/factory.pem"]\nmqtt = "token"')
FULL = (
    TOKENS
    + """
[issuers.acme]
issuer = "https://id.example.com/tenant"
jwks = "https://id.example.com:8443/jwks?tenant=1"
algorithms = ["ES256", "PS256"]
groups = ["gateways"]
"""
)
ACME = TokenIssuer(
    name="acme",
    issuer="https://id.example.com/tenant",
    jwks="https://id.example.com:8443/jwks?tenant=1",
    algorithms=("ES256", "PS256"),
    groups=("gateways",),
)
OTHER = """
[issuers.other]
issuer = "https://id.example.com/other"
jwks = "https://id.example.com/jwks"
algorithms = ["RS256"]
groups = ["gateways"]
"""


def test_every_key_arrives() -> None:
    """The compiled fleet holds every setting of each issuer, and two issuers may serve one group."""
    assert fleet(toml=FULL).issuers == {"acme": ACME}
    assert list(fleet(toml=FULL + OTHER).issuers) == ["acme", "other"]
    assert fleet().issuers == {}


def test_json_and_back() -> None:
    """The fleet is the same after conversion to JSON and back, and its hash depends on the issuers."""
    compiled = fleet(toml=FULL)
    assert Fleet.from_json(compiled.to_json()) == compiled
    assert replace(compiled, issuers={}).hash != compiled.hash


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES384", "EdDSA", "es256"])
def test_algorithms_are_pinned(algorithm: str) -> None:
    """An algorithm that is not listed, such as HMAC or `none`, is refused, even beside an allowed one."""
    for listed in (f'["{algorithm}"]', f'["ES256", "{algorithm}"]'):
        found = problems(toml=FULL.replace('["ES256", "PS256"]', listed))
        assert "issuers.acme.algorithms must be a list of one or more of RS256, PS256, ES256" in found[0]


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('["ES256", "PS256"]', "[]", "issuers.acme.algorithms must be a list"),
        ('["ES256", "PS256"]', '"ES256"', "issuers.acme.algorithms must be a list"),
        ('["ES256", "PS256"]', '["ES256", "ES256"]', "each once"),
        ('["ES256", "PS256"]', "[1]", "issuers.acme.algorithms must be a list"),
        ('algorithms = ["ES256", "PS256"]\n', "", "issuers.acme.algorithms is missing"),
        (
            "https://id.example.com/tenant",
            "http://id.example.com",
            "issuers.acme.issuer must be an https URL",
        ),
        ("https://id.example.com/tenant", "id.example.com", "issuers.acme.issuer must be an https URL"),
        ("https://id.example.com/tenant", "https://", "issuers.acme.issuer must be an https URL"),
        (
            "https://id.example.com:8443/jwks",
            "http://id.example.com/jwks",
            "issuers.acme.jwks must be an https",
        ),
        ("https://id.example.com:8443/jwks", "file:///etc/jwks", "issuers.acme.jwks must be an https URL"),
        ("https://id.example.com:8443/jwks", "https://u:p@id.example.com/", "issuers.acme.jwks must be"),
        ("https://id.example.com:8443/jwks", "https://id.example.com/#x", "issuers.acme.jwks must be"),
        ("https://id.example.com:8443/jwks", "https://id.example.com/a b", "issuers.acme.jwks must be"),
        ("https://id.example.com:8443/jwks", "https://id.example.com/\\n", "issuers.acme.jwks must be"),
        ("https://id.example.com:8443/jwks", "https://ïd.example.com/", "issuers.acme.jwks must be"),
        ("https://id.example.com:8443/jwks", "https://id.example.com:x/", "issuers.acme.jwks must be"),
        ("https://id.example.com:8443/jwks", "https://[::1/", "issuers.acme.jwks must be"),
        (
            "https://id.example.com:8443/jwks",
            "https://id.example.com/" + "a" * 512,
            "issuers.acme.jwks must be",
        ),
        ('jwks = "https://id.example.com:8443/jwks?tenant=1"', "jwks = 3", "issuers.acme.jwks must be"),
        ('jwks = "https://id.example.com:8443/jwks?tenant=1"', "", "issuers.acme.jwks is missing"),
        ('groups = ["gateways"]', "groups = []", "issuers.acme.groups must be a list of one or more"),
        ('groups = ["gateways"]', 'groups = ["absent"]', "names 'absent': there is no such group"),
        ('mqtt = "token"', 'mqtt = "registry"', "names 'gateways', whose devices connect with certificates"),
        ("[issuers.acme]", "[issuers.'a b']", "issuers.a b is not a valid name: a name must match"),
        ("[issuers.acme]", "[issuers.acme]\naudience = 'x'", "issuers.acme.audience is not a key"),
        ("[issuers.acme]", "[issuers]\nacme = 3\n[x]", "issuers.acme must be a table"),
    ],
)
def test_a_wrong_value_is_reported(before: str, after: str, problem: str) -> None:
    """Each wrong or unknown value is a problem that names the file and the key."""
    assert before in FULL
    found = problems(toml=FULL.replace(before, after))
    assert any(problem in line for line in found), found
    assert all(line.startswith("fleet.toml: ") for line in found), found


def test_two_names_for_one_issuer_are_refused() -> None:
    """Two issuers cannot have the same URL, because a token names its issuer by it."""
    twin = OTHER.replace("https://id.example.com/other", "https://id.example.com/tenant")
    assert problems(toml=FULL + twin) == [
        "fleet.toml: issuers.acme and issuers.other have the same value of issuer"
    ]


GOOD = fleet(toml=FULL)
WRONG: Any = ("HS256",)


@pytest.mark.parametrize(
    "issuers",
    [
        {"other": ACME},
        {"acme": replace(ACME, jwks="http://id.example.com")},
        {"acme": replace(ACME, algorithms=WRONG)},
        {"acme": replace(ACME, algorithms=())},
        {"acme": replace(ACME, groups=("absent",))},
        {"acme": replace(ACME, groups=WRONG[:0])},
        {"acme": ACME, "twin": replace(ACME, name="twin")},
    ],
)
def test_a_fleet_from_elsewhere_is_checked(issuers: dict[str, TokenIssuer]) -> None:
    """A published fleet is refused if its issuers are none that the compiler would accept."""
    compiler.check(replace(GOOD, base="0" * 64))
    with pytest.raises(FleetInvalid):
        compiler.check(replace(GOOD, issuers=issuers))


@pytest.mark.parametrize(
    "issuers",
    [{}, {"acme": replace(ACME, jwks="https://evil.example.com")}, {"new": replace(ACME, name="new")}],
)
def test_issuers_are_not_published(issuers: dict[str, TokenIssuer]) -> None:
    """A published fleet cannot change the token issuers; only a deployment can."""
    published: list[bytes] = []

    def write(text: bytes, _: object) -> bool:
        published.append(text)
        return True

    stored: Any = SimpleNamespace(read=lambda: None, write=write)
    unused: Any = None
    place, audit = Place("aws", "us-east-1", "123456789012"), cast("Any", lambda *_, **__: None)
    fleets = Fleets(
        GOOD,
        unused,
        stored,
        unused,
        unused,
        unused,
        audit,
        place,
        has_public_host=True,
        clock=lambda: EPOCH,
    )

    def apply(fleet: Fleet) -> None:
        fleets.apply(ApplyFleet(fleet=json.loads(fleet.to_json())), EPOCH)

    apply(replace(GOOD, base=GOOD.hash))
    with pytest.raises(FleetNeedsDeployment, match="token issuers differ"):
        apply(replace(GOOD, base=GOOD.hash, issuers=issuers))
    assert len(published) == 1
