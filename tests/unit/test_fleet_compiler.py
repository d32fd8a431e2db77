"""Test the compiler as a whole, with folders of any contents and compiled fleets of unknown origin."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firstboot.compiler import definition, source
from firstboot.compiler import fleet as compiler
from firstboot.compiler.errors import FleetInvalid
from firstboot.compiler.source import Source
from firstboot.domain.clock import from_epoch
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.plans import Budget
from tests.unit.fleet_folders import TOML, fleet, grant, problems, statement
from tests.unit.fleet_folders import source as folder

EXAMPLE = source.read(Path(__file__).parents[2] / "fleet")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_a_folder_is_read(tmp_path: Path) -> None:
    """The compiler reads the files of a fleet definition and no others, and what it read compiles."""
    for name, content in folder().files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "trust/README.md").write_text("not ours")
    assert source.read(tmp_path) == folder()
    assert compiler.load(tmp_path) == fleet()


def test_an_unreadable_file_is_reported(tmp_path: Path) -> None:
    """A folder in the place of a file is a problem, and not another exception."""
    (tmp_path / "rules.cedar").mkdir()
    with pytest.raises(FleetInvalid, match=r"rules\.cedar: Is a directory"):
        compiler.load(tmp_path)


def test_an_empty_folder_lacks_three_files(tmp_path: Path) -> None:
    """Each missing file is reported by its name."""
    with pytest.raises(FleetInvalid) as caught:
        compiler.load(tmp_path / "absent")
    assert caught.value.problems == [
        f"{name}: is missing" for name in ("fleet.toml", "rules.cedar", "schema.cedarschema")
    ]


@pytest.mark.parametrize("name", sorted(EXAMPLE.files))
def test_bytes_that_are_no_text_are_reported(name: str) -> None:
    """A file that is not UTF-8 text is a problem."""
    assert any(name in line for line in problems(Source({**EXAMPLE.files, name: b"\xff\xfe"})))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_deep_nesting_is_a_problem(text: str) -> None:
    """JSON or TOML that is nested too deeply for the parsers is a problem, and not a crash."""
    assert problems(grants={"telemetry": text})[0].startswith("grants/telemetry.json")
    assert problems(toml="a = " + text)[0].startswith("fleet.toml")


def test_a_key_cannot_come_twice() -> None:
    """A key that comes twice in a JSON object is a problem, because a parser keeps only the last one."""
    text = json.dumps(grant()).replace('"Effect"', '"Effect": "Deny", "Effect"', 1)
    assert "a key is repeated" in problems(grants={"telemetry": text})[0]


@pytest.mark.parametrize("name", ["a b", "1a", "é", "a.b", "a" * 65])
def test_a_grants_name_is_plain(name: str) -> None:
    """A grant's name must be valid in Cedar, AWS IoT and tags."""
    assert "is not a valid grant name" in problems(grants={"telemetry": grant(), name: grant()})[0]


def _mutated(name: str, at: float, cut: int, new: bytes) -> Source:
    content = EXAMPLE.files[name]
    start = int(at * len(content))
    return Source({**EXAMPLE.files, name: content[:start] + new + content[start + cut :]})


@settings(deadline=None, max_examples=300)
@given(
    st.builds(
        _mutated,
        st.sampled_from(sorted(EXAMPLE.files)),
        st.floats(0, 1),
        st.integers(0, 40),
        st.binary(max_size=8)
        | st.sampled_from([b"{", b"}", b"[", b'"', b"\n", b"0", b"*", b"{deviceId}", b"!"]),
    )
)
def test_a_changed_folder_compiles_or_is_invalid(files: Source) -> None:
    """The example fleet with any change to a file either compiles or is reported as invalid."""
    try:
        compiled = compiler.compile_fleet(files)
    except FleetInvalid:
        return
    compiler.check(compiled)


@settings(deadline=None, max_examples=200)
@given(JSON)
def test_any_json_as_a_grant_is_a_problem(value: Any) -> None:
    """Any JSON value as a grant, a statement or a member of one is reported as a problem."""
    for document in (
        value,
        grant(value),
        grant(statement(Action=value)),
        grant(statement(Condition=value or 1)),
    ):
        assert problems(grants={"telemetry": document})


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(st.sampled_from(["groups", "role_aliases", "x"]), st.dictionaries(st.text(), JSON) | JSON)
)
def test_any_definition_is_read_or_a_problem(values: dict[str, Any]) -> None:
    """Any table as fleet.toml is read or reported as a problem."""
    found: list[str] = []
    definition.read(values, found)
    assert found or all(values["groups"])


def test_a_compiled_fleet_checks() -> None:
    """A fleet that the compiler made passes the check, also after conversion to JSON and with a base."""
    full = fleet(toml=TOML.replace("[role", "budget = {total=1, per_minute=1, until=2028-01-01}\n[role"))
    configured = fleet(toml=TOML + "[groups.gateways.configuration]\nz = 1\na = { b = [1.5, true, 'x'] }\n")
    for good in (full, configured, compiler.compile_fleet(EXAMPLE)):
        compiler.check(good)
        compiler.check(replace(Fleet.from_json(good.to_json()), base="0" * 64))


GOOD = fleet()
WRONG: Any = (3,)
GATEWAYS: Group = GOOD.groups["gateways"]
DEEP: dict[str, Any] = reduce(lambda inner, _: {"a": inner}, range(10_000), {})


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": GOOD.rules + "x"},
        {"rules": 3},
        {"rules": "\ud800"},
        {"schema": ""},
        {"grants": GOOD.grants | {"other": {}}},
        {"grants": GOOD.grants | {"a/b": grant()}},
        {"grants": GOOD.grants | {"other": object()}},
        {"grants": GOOD.grants | {"telemetry": grant(statement(Action="*"))}},
        {"groups": {}},
        {"groups": {"other": GATEWAYS}},
        {"groups": {"gateways": GATEWAYS, "twin": replace(GATEWAYS, name="twin")}},
        {"groups": {"gateways": replace(GATEWAYS, name="other")}},
        {"groups": {"gateways": replace(GATEWAYS, trust=())}},
        {"groups": {"gateways": replace(GATEWAYS, trust=("x",))}},
        {"groups": {"gateways": replace(GATEWAYS, trust=WRONG)}},
        {"groups": {"gateways": replace(GATEWAYS, trust=(GATEWAYS.trust[0] + "# more\n",))}},
        {"groups": {"gateways": replace(GATEWAYS, mqtt=WRONG)}},
        {"groups": {"gateways": replace(GATEWAYS, configuration=WRONG)}},
        {"groups": {"gateways": replace(GATEWAYS, configuration={"a": None})}},
        {"groups": {"gateways": replace(GATEWAYS, configuration={"a": "\ud800"})}},
        {"groups": {"gateways": replace(GATEWAYS, configuration={"a": float("inf")})}},
        {"groups": {"gateways": replace(GATEWAYS, configuration=DEEP)}},
        {"groups": {"gateways": replace(GATEWAYS, budget=Budget(1, 1, from_epoch(86_399)))}},
        {
            "groups": {
                "gateways": replace(GATEWAYS, budget=Budget(1, 1, from_epoch(86_400).replace(microsecond=1)))
            }
        },
        {"groups": {"gateways": replace(GATEWAYS, budget=Budget(1, 1, WRONG))}},
        {"groups": {"gateways": replace(GATEWAYS, budget=Budget(0, 1, from_epoch(86_400)))}},
        {"role_aliases": {"other": GOOD.role_aliases["telemetry"]}},
        {"role_aliases": {"telemetry": replace(GOOD.role_aliases["telemetry"], seconds=43_200)}},
    ],
)
def test_a_fleet_from_elsewhere_is_checked(changes: dict[str, Any]) -> None:
    """A compiled fleet that the compiler would not have made is refused."""
    with pytest.raises(FleetInvalid):
        compiler.check(replace(GOOD, **changes))
