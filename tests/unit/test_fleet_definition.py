"""Test the keys of fleet.toml, and that anything else in it is a problem."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from firstboot.domain.fleet import Fleet, RoleAlias
from firstboot.domain.plans import Budget, CertificatePlan
from tests import factories
from tests.unit.fleet_folders import TOML, fleet, problems

FULL = """
[groups.gateways]
trust = ["trust/factory.pem"]
device_id = "subject.CN"
reenroll = "refuse"
mqtt = "token"
certificate = { days = 30, renew_at = 0.5, grace_days = 0 }
budget = { total = 50_000, per_minute = 200, until = 2028-01-01 }
[role_aliases.telemetry]
seconds = 900
"""


def test_every_key_is_in_the_compiled_fleet() -> None:
    """The compiled fleet holds the value of every key in fleet.toml."""
    compiled = fleet(toml=FULL)
    group = compiled.groups["gateways"]
    end = datetime(2028, 1, 2, tzinfo=UTC)
    assert (group.name, group.device_id, group.reenroll, group.mqtt) == (
        "gateways",
        "subject.CN",
        "refuse",
        "token",
    )
    assert group.certificate == CertificatePlan(days=30, renew_at=0.5, grace_days=0)
    assert group.budget == Budget(total=50_000, per_minute=200, until=end)
    assert compiled.role_aliases == {"telemetry": RoleAlias("telemetry", 900)}
    assert compiled.base is None


def test_defaults() -> None:
    """A group that names only its trust gets the documented defaults."""
    group = fleet().groups["gateways"]
    assert (group.device_id, group.reenroll, group.mqtt, group.budget) == (
        "subject.CN",
        "replace",
        "registry",
        None,
    )
    assert group.certificate == CertificatePlan(days=365, renew_at=0.66, grace_days=90)
    assert fleet(toml=TOML.replace("seconds = 3600", "")).role_aliases["telemetry"].seconds == 3600


@pytest.mark.parametrize("size", [512, 2_048, 8_192])
def test_a_role_alias_may_bound_its_answers(size: int) -> None:
    """A role alias has the longest answer that fleet.toml gives it, and no bound without one."""
    bounded = fleet(toml=TOML + f"max_answer = {size}\n")
    assert bounded.role_aliases["telemetry"].max_answer == size
    assert fleet().role_aliases["telemetry"].max_answer is None
    assert Fleet.from_json(bounded.to_json()) == bounded


def test_a_fleet_without_bounds_keeps_its_text() -> None:
    """A compiled fleet without a `max_answer` has no such member, and its hash stays."""
    assert "max_answer" not in fleet().to_json()
    assert '"max_answer":600' in fleet(toml=TOML + "max_answer = 600\n").to_json()


def test_order_is_kept() -> None:
    """Groups and role aliases keep the order of fleet.toml, because the first role alias has a meaning."""
    compiled = fleet(toml=TOML + "[role_aliases.aaa]\n")
    assert list(compiled.role_aliases) == ["telemetry", "aaa"]


def test_a_budget_lasts_its_whole_last_day() -> None:
    """A budget lasts until the end of its last day, and the last day of the calendar does not overflow."""
    budget = fleet(toml=FULL.replace("2028-01-01", "9999-12-31")).groups["gateways"].budget
    assert budget is not None
    assert budget.until == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        (
            "days = 30",
            "days = 0",
            "groups.gateways.certificate.days must be a whole number from 1 to 3,650, is 0",
        ),
        ("days = 30", "days = 3651", "groups.gateways.certificate.days must"),
        ("days = 30", "days = true", "groups.gateways.certificate.days must"),
        ("days = 30", "days = 1.5", "groups.gateways.certificate.days must"),
        ("renew_at = 0.5", "renew_at = 0.0", "groups.gateways.certificate.renew_at must"),
        ("renew_at = 0.5", "renew_at = 1.0", "groups.gateways.certificate.renew_at must"),
        ("renew_at = 0.5", "renew_at = nan", "groups.gateways.certificate.renew_at must"),
        ("grace_days = 0", "grace_days = -1", "groups.gateways.certificate.grace_days must"),
        ("grace_days = 0", "grace = 1", "groups.gateways.certificate.grace is not a key"),
        ("total = 50_000,", "", "groups.gateways.budget.total is missing"),
        ("total = 50_000", "total = 0", "groups.gateways.budget.total must"),
        ("per_minute = 200", "per_minute = '200'", "groups.gateways.budget.per_minute must"),
        (", until = 2028-01-01", "", "groups.gateways.budget.until is missing"),
        ("2028-01-01", "2028-01-01T00:00:00Z", "groups.gateways.budget.until must be a date"),
        ("2028-01-01", "'2028-01-01'", "groups.gateways.budget.until must be a date"),
        ('"refuse"', '"never"', "groups.gateways.reenroll must be 'refuse' or 'replace', is 'never'"),
        ('"refuse"', "true", "groups.gateways.reenroll must"),
        ('"token"', '"jitr"', "groups.gateways.mqtt must be 'registry' or 'token'"),
        ('"subject.CN"', '"subject.O"', "groups.gateways.device_id must be 'subject.CN'"),
        (
            'trust = ["trust/factory.pem"]',
            "trust = []",
            "groups.gateways.trust must be a list of one or more",
        ),
        (
            'trust = ["trust/factory.pem"]',
            'trust = "trust/factory.pem"',
            "groups.gateways.trust must be a list",
        ),
        ('trust = ["trust/factory.pem"]', "", "groups.gateways.trust is missing"),
        ("[groups.gateways]", "groups.x = 1\n[groups.gateways]", "groups.x must be a table"),
        ("[groups.gateways]", "[groups.'a b']", "groups.a b is not a valid name: a name must match"),
        ("[groups.gateways]", "[grups.gateways]", "groups is missing"),
        (
            "seconds = 900",
            "seconds = 899",
            "role_aliases.telemetry.seconds must be a whole number from 900 to 3,600",
        ),
        ("seconds = 900", "seconds = 3601", "one hour at most"),
        ("seconds = 900", "minutes = 15", "role_aliases.telemetry.minutes is not a key"),
        ("seconds = 900", "max_answer = 511", "max_answer must be a whole number from 512 to 8,192"),
        ("seconds = 900", "max_answer = 8193", "max_answer must be a whole number from 512 to 8,192"),
        (
            "[role_aliases.telemetry]",
            "[role_aliases.'a/b']",
            "role_aliases.a/b is not a valid name: a name must match",
        ),
        ("[role_aliases.telemetry]", f"[role_aliases.{'a' * 129}]", "is not a valid name"),
        ("[groups.gateways]", "title = 'x'\n[groups.gateways]", "title is not a key"),
        ("[groups.gateways]", "groups = 3", "groups must be a table"),
    ],
)
def test_a_wrong_key_is_reported(before: str, after: str, problem: str) -> None:
    """Each wrong or unknown key is a problem that names the file and the key."""
    assert before in FULL
    found = problems(toml=FULL.replace(before, after))
    assert any(problem in line for line in found), found
    assert all(line.startswith(("fleet.toml: ", "rules.cedar")) for line in found), found


CONFIGURED = TOML + "[groups.gateways.configuration]\n"


def test_a_configuration_can_be_any_json() -> None:
    """The compiled fleet holds a group's configuration, which can be any JSON of up to five levels."""
    text = """a = { b = { c = { d = { e = {} } } } }
l = [[[["x", true, 1]]], -2.5, {}]
"é €" = "ünï"
i = 9007199254740991"""
    assert fleet(toml=CONFIGURED + text).groups["gateways"].configuration == {
        "a": {"b": {"c": {"d": {"e": {}}}}},
        "l": [[[["x", True, 1]]], -2.5, {}],
        "é €": "ünï",
        "i": 2**53 - 1,
    }


def test_a_configuration_is_bounded_as_the_json_it_becomes() -> None:
    """A configuration has at most 1,024 bytes as ASCII JSON; an escaped character counts as its escape."""
    longest = "x" * (1_024 - len('{"a":""}'))
    assert fleet(toml=f"{CONFIGURED}a = '{longest}'").groups["gateways"].configuration == {"a": longest}
    for text in (longest + "x", longest[:-5] + "é"):
        assert problems(toml=f"{CONFIGURED}a = '{text}'") == [
            "fleet.toml: groups.gateways.configuration must have at most 1,024 bytes as JSON, has 1,025"
        ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 2028-01-01", ".a must be a string, a number, a boolean, a list or a table, is datetime"),
        ("a = 07:32:00", ".a must be a string"),
        ("a = [1, [nan]]", ".a.1.0 must be a finite number"),
        ("a = -inf", ".a must be a finite number"),
        ("a = 9007199254740992", ".a is a whole number that some JSON readers cannot hold"),
        ('a = "x\\u0000"', ".a must be printable text"),
        ('a = "x\\n"', ".a must be printable text"),
        ('"" = 1', " has a name that is empty or not printable: ''"),
        ('"a\\u0007" = 1', " has a name that is empty or not printable: 'a\\x07'"),
        ("a = { b = { c = { d = { e = { f = 1 } } } } }", ".a.b.c.d.e is nested too deeply"),
        ("a = [[[[[1]]]]]", ".a.0.0.0.0 is nested too deeply"),
    ],
)
def test_a_value_unfit_for_a_configuration_is_reported(text: str, problem: str) -> None:
    """A value that JSON or a device's parser cannot hold is a problem that names its path."""
    (found,) = problems(toml=CONFIGURED + text)
    assert found.startswith("fleet.toml: groups.gateways.configuration" + problem)


def test_a_configuration_is_a_table() -> None:
    """A configuration that is not a table is a problem."""
    (found,) = problems(toml=TOML.replace("[role", "configuration = 'x'\n[role", 1))
    assert found == "fleet.toml: groups.gateways.configuration must be a table"


def test_all_problems_are_reported_at_once() -> None:
    """One compilation reports the problems of every file."""
    found = problems(
        toml=TOML.replace("seconds = 3600", "seconds = 1\nname = 'x'"),
        grants={"telemetry": "{", "other": "[]"},
        rules="permit (principal, action, resource);",
        trust={"factory.pem": b"nothing"},
    )
    for start in (
        "fleet.toml: role_aliases.telemetry.seconds",
        "fleet.toml: role_aliases.telemetry.name",
        "grants/telemetry.json:1: ",
        "grants/other.json: ",
        "rules.cedar: rule number 1: has no @id",
        "trust/factory.pem: ",
    ):
        assert any(line.startswith(start) for line in found), (start, found)


def test_one_mistake_is_reported_once() -> None:
    """A mistake is reported once: an unreadable grant is not also reported as missing."""
    assert len(problems(grants={"telemetry": '{\n"Version" 1}'})) == 1
    assert len(problems(toml="[groups.gateways")) == 1


def test_lines_are_reported_if_the_parser_gives_them() -> None:
    """A problem names its line if the parser gives it, in TOML, in JSON and in a rule with an id."""
    assert "at line 3" in problems(toml="\n\nx = = 1")[0]
    assert problems(grants={"telemetry": '{\n\n"Version" 1}'})[0].startswith("grants/telemetry.json:3: ")
    rules = '\n@id("all")\npermit (principal, action, resource) when { principal.sit == "x" };'
    assert problems(rules=rules)[0].startswith('rules.cedar:2: rule "all": ')


@pytest.mark.parametrize(
    ("formerly", "problem"),
    [
        ('["gateways"]', "groups.gateways.formerly names 'gateways', which is a group's name now"),
        ('["sensors"]', "groups.gateways.formerly names 'sensors', which is a group's name now"),
        ('["meters"]', "groups.gateways and groups.sensors were both called 'meters'"),
        ('["a b"]', "groups.gateways.formerly must be a list of at most 20 names"),
    ],
)
def test_a_former_name_leads_to_one_group(formerly: str, problem: str) -> None:
    """A former name that is a group's name now, or another group's former name too, is a problem."""
    sensors = '[groups.sensors]\ntrust = ["trust/sensors.pem"]\nformerly = ["meters"]\n'
    toml = TOML.replace("[role_aliases", f"formerly = {formerly}\n{sensors}[role_aliases", 1)
    trust = {"sensors.pem": factories.pem(factories.authority("Sensors").certificate).encode()}
    assert any(problem in line for line in problems(toml=toml, trust=trust))


def test_a_group_that_demands_a_nonce_lacks_roles_anywhere() -> None:
    """The way roles-anywhere and `proof = "nonce"` exclude each other, as its clients show no nonce."""
    keys = 'ways = ["mtls", "roles-anywhere"]\n'
    toml = TOML.replace("[role_aliases", f"{keys}[role_aliases", 1)
    assert fleet(toml=toml).groups["gateways"].ways == ("mtls", "roles-anywhere")
    (line,) = problems(toml=toml.replace(keys, f'{keys}proof = "nonce"\n'))
    assert "have a time and no nonce" in line


def test_a_group_is_found_by_its_former_names() -> None:
    """A compiled fleet finds a group by its name and its former ones, and counts it under the first."""
    toml = TOML.replace("[role_aliases", 'formerly = ["first", "second"]\n[role_aliases', 1)
    made = fleet(toml=toml)
    assert Fleet.from_json(made.to_json()) == made
    (group,) = made.groups.values()
    assert [made.group_of(name) for name in ("gateways", "first", "second", "other")] == [*[group] * 3, None]
    assert (made.current_name("second"), made.current_name("other")) == ("gateways", "other")
    assert group.counted_as == "first"
