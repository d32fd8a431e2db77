"""Test what the compiler says of the keys that name a group's devices."""

from __future__ import annotations

import pytest

from firstboot.domain.fleet import Fleet
from tests import factories
from tests.unit.fleet_folders import fleet, problems

TRUST = {f"{name}.pem": factories.pem(factories.authority(name).certificate).encode() for name in "abc"}
ROLES = "[role_aliases.telemetry]\nseconds = 3600\n"
RULES = """
@id("all") permit (principal, action == Action::"hold", resource == Grant::"telemetry");
"""


def toml(**groups: str) -> str:
    """Return a definition of groups, each with these lines."""
    tables = (f'[groups.{name}]\ntrust = ["trust/{name}.pem"]\n{lines}\n' for name, lines in groups.items())
    return "".join(tables) + ROLES


def compiled(**groups: str) -> Fleet:
    """Return the compiled fleet of these groups."""
    return fleet(toml=toml(**groups), trust=TRUST, rules=RULES)


def wrong(**groups: str) -> list[str]:
    """Return the problems of a fleet of these groups."""
    return problems(toml=toml(**groups), trust=TRUST, rules=RULES)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ('pattern = "sn(.+)"\nstrip_prefix = "sn"', "has `pattern` beside `strip_prefix` or `strip_suffix`"),
        ('pattern = "sn(.+)"\nstrip_suffix = "sn"', "has `pattern` beside"),
        (
            'device_id = "key.sha256"\nstrip_prefix = "0"',
            "has device_id = 'key.sha256', of which nothing can",
        ),
        ('device_id = "key.sha256"\npattern = "(.{8}).*"', "has device_id = 'key.sha256'"),
        (
            'device_id = "san.dns"\nstrip_suffix = ".Acme"',
            "strips capital letters, and a DNS name is read in",
        ),
        ('shares_ids_with = ["b"]', "has 'b' in shares_ids_with: there is no other group of this name"),
        ('shares_ids_with = ["a"]', "has 'a' in shares_ids_with"),
        ('pattern = "(a"', ".pattern must be a regular expression of RE2 with one group"),
        (r'pattern = "(.)\\1"', "RE2 says: invalid escape sequence"),
        ('pattern = "((?:[^a]{1,999}){1,999})"', "RE2 says: "),
        ('pattern = "a"', "RE2 says: it has 0 groups"),
    ],
)
def test_a_mistake_in_naming_is_a_problem(lines: str, problem: str) -> None:
    """Keys that contradict each other, unknown groups and patterns that RE2 refuses are problems."""
    (found,) = wrong(a=lines)
    assert found.startswith("fleet.toml: groups.a")
    assert problem in found


def test_a_request_has_nothing_to_strip() -> None:
    """A shared group, whose devices choose what they ask for, can strip nothing."""
    budget = "budget = { total = 1, per_minute = 1, until = 2028-01-01, freeze_per_hour = 1 }"
    (found,) = wrong(a=f'device_id = "request.deviceId"\nstrip_prefix = "x"\n{budget}')
    assert "has device_id = 'request.deviceId', of which nothing can be stripped" in found


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ('ids = "gw-*"', ""),
        ('ids = "gw-*"', 'ids = "gw-1*"'),
        ('ids = "gw-*"', 'ids = "*-eu"'),
        ('ids = "gw-1"', 'ids = "gw-1"'),
    ],
)
def test_two_groups_with_ids_in_common_must_say_so(a: str, b: str) -> None:
    """Two groups with ids in common are a problem, unless one of the two names the other."""
    (found,) = wrong(a=a, b=b)
    assert "have ids in common" in found
    assert "groups.a.ids" in found
    assert "groups.b.ids" in found
    assert compiled(a=f'{a}\nshares_ids_with = ["b"]', b=b)
    assert compiled(a=a, b=f'{b}\nshares_ids_with = ["a"]')


def test_groups_apart_need_not_say_so() -> None:
    """Groups whose ids can't be the same compile, and so does a fleet in which no group has `ids`."""
    assert compiled(a='ids = "gw-*"', b='ids = "sensor-*"', c='ids = "*.c"\nshares_ids_with = ["a", "b"]')
    assert compiled(a="", b="")


def test_a_fleet_without_the_keys_keeps_its_text() -> None:
    """The JSON of a fleet that uses no key of naming is as older versions wrote it, and so is its hash."""
    plain = compiled(a="").groups["a"].to_plain()
    assert not {"strip_prefix", "strip_suffix", "pattern", "ids", "shares_ids_with"} & plain.keys()


def test_a_fleet_with_the_keys_comes_back_from_json() -> None:
    """A fleet that uses each key of naming is the same after JSON."""
    lines = 'device_id = "san.uri"\nstrip_prefix = "urn:"\nstrip_suffix = "x"\nids = "a*"'
    made = compiled(a=f'{lines}\nshares_ids_with = ["b"]', b='pattern = "sn(.+)"')
    assert Fleet.from_json(made.to_json()) == made
