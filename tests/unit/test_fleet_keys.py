"""The declared keys of fleet.toml agree with the compiler, its inverse, the reference page and the schema."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from docs import generate
from firstboot.compiler import definition, source
from firstboot.compiler import fleet as compiler
from firstboot.compiler.group_keys import GROUP
from firstboot.compiler.keys import GRANT, ISSUER, ROLE_ALIAS, ROOT
from firstboot.compiler.kinds import Document, HttpsUrl, Json, LastDay
from firstboot.compiler.table import REQUIRED, Record
from firstboot.compiler.texts import Pattern, Space, Text
from firstboot.domain.fleet import Fleet
from tests.unit.fleet_folders import source as folder
from tests.unit.fleet_keys import Place, accepted, at, definitions, places, refused

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/fleet.md").read_text()
SCHEMA: Json = json.loads((REPOSITORY / "fleet/fleet.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER)
PLACES = list(places())

ACCEPTED = [(place, value) for place in PLACES for value in accepted(place.key.kind)]
REFUSED = [(place, value) for place in PLACES for value in refused(place.key.kind)]


def _problems(values: Json) -> list[str]:
    found: list[str] = []
    definition.read(values, found)
    return found


def _as_editors_hold(value: Any) -> Any:
    """Convert dates to strings, as editors do before they use a schema."""
    match value:
        case dict():
            return {name: _as_editors_hold(member) for name, member in value.items()}
        case date():
            return value.isoformat()
        case _:
            return value


def _short(value: object) -> str:
    return str(value)[:40]


@pytest.mark.parametrize(("place", "value"), ACCEPTED, ids=_short)
def test_a_value_at_the_border_is_accepted(place: Place, value: object) -> None:
    """The compiler and the schema accept each value at the border of its range."""
    # Names of groups are checked against the definition, in test_fleet_issuers.py and test_fleet_naming.py.
    values = at(place, value)
    names = ("issuers.name.groups names", "in shares_ids_with")
    assert [line for line in _problems(values) if not any(each in line for each in names)] == []
    assert list(VALIDATOR.iter_errors(_as_editors_hold(values))) == []


@pytest.mark.parametrize(("place", "value"), REFUSED, ids=_short)
def test_a_value_beyond_the_border_is_refused(place: Place, value: object) -> None:
    """The compiler refuses each value beyond its range by its path, and so does the schema where it can."""
    values = at(place, value)
    assert any(line.startswith(f"fleet.toml: {place}") for line in _problems(values))
    inexpressible = (
        isinstance(place.key.kind, LastDay | HttpsUrl)
        or (isinstance(place.key.kind, Document) and isinstance(value, dict))
        or (isinstance(place.key.kind, Text | Pattern | Space) and isinstance(value, str))
        or isinstance(value, float)  # JSON Schema accepts 1.0 as an integer, and NaN is no JSON.
    )
    assert inexpressible or list(VALIDATOR.iter_errors(_as_editors_hold(values)))


@pytest.mark.parametrize("place", [place for place in PLACES if place.key.default is REQUIRED], ids=str)
def test_a_required_key_cannot_be_left_out(place: Place) -> None:
    """A missing required key is refused by the schema and by the compiler, which says what it must be."""
    values = at(place, accepted(place.key.kind)[0])
    table = values
    for name in place.path[:-1]:
        table = table[name]
    del table[place.path[-1]]
    assert f"fleet.toml: {place} is missing: it must be {place.key.kind.text}" in _problems(values)
    assert list(VALIDATOR.iter_errors(_as_editors_hold(values)))


SHARED: Json = {"trust": ["a"], "device_id": "request.deviceId"}
LIMITS: Json = {"total": 1, "per_minute": 1, "until": date(2028, 1, 1)}


@pytest.mark.parametrize(
    ("group", "missing"),
    [
        (SHARED, "fleet.toml: groups.a.budget is missing"),
        (SHARED | {"budget": LIMITS}, "fleet.toml: groups.a.budget.freeze_per_hour is missing"),
        (SHARED | {"budget": LIMITS | {"freeze_per_hour": 1}}, None),
        ({"trust": ["a"], "budget": LIMITS}, None),
    ],
)
def test_a_shared_group_needs_more(group: Json, missing: str | None) -> None:
    """A shared group must have a budget that freezes, for the compiler and for the schema."""
    found = _problems({"groups": {"a": group}})
    assert bool(found) == bool(missing)
    assert all(line.startswith(missing or "") for line in found)
    assert VALIDATOR.is_valid(_as_editors_hold({"groups": {"a": group}})) is (missing is None)


def test_defaults_of_a_shared_group_are_its_own() -> None:
    """A shared group refuses re-enrollment by default, so that a leaked claim certificate replaces none."""
    group = SHARED | {"budget": LIMITS | {"freeze_per_hour": 1}}
    read = definition.read({"groups": {"a": group, "b": {"trust": ["a"]}}}, [])
    assert (read.groups["a"].reenroll, read.groups["b"].reenroll) == ("refuse", "replace")


def test_defaults_are_allowed_values() -> None:
    """Every default is a value that the file could have."""
    for place in PLACES:
        for default in (place.key.default_in(shared=False), place.key.default_in(shared=True)):
            if default is not REQUIRED and default is not None:
                assert [line for line in _problems(at(place, default)) if f"{place} " in line] == []


@pytest.mark.parametrize("record", [ROOT, GRANT, GROUP, ROLE_ALIAS, ISSUER, *(
    key.kind for key in GROUP.keys if isinstance(key.kind, Record)
)])  # fmt: skip
def test_the_model_has_a_field_for_each_key(record: Record[Any]) -> None:
    """A model has exactly one field for each key of its record."""
    model: Any = record.model
    assert {key.name for key in record.keys} == {field.name for field in fields(model)} - {"name"}


@settings(deadline=None, max_examples=200)
@given(definitions())
def test_a_written_definition_reads_the_same(values: Json) -> None:
    """The inverse of the compiler gives back any definition that was read."""
    read = definition.read(values, [])
    # Random issuers name groups that do not exist, random groups have former names and ids in common, and
    # random ways may give no certificate.
    between = re.compile(
        r"fleet.toml: issuers\.|.* were both called |.* is a group's name now$|.* have ids in common|"
        r".* in shares_ids_with|.* has `pattern` beside|.* nothing can be stripped|.*\.ways has "
    )
    assert [line for line in _problems(values) if not between.match(line)] == []
    assert definition.read(definition.write(read), []) == read


@settings(deadline=None, max_examples=100)
@given(definitions(), st.data())
def test_any_compiled_fleet_checks(values: Json, data: st.DataObject) -> None:
    """Any fleet that the compiler makes passes the check of fleets from elsewhere, also after JSON."""
    group = data.draw(st.sampled_from(list(values["groups"].values())))
    issuers = [table | {"groups": ["gateways"]} for table in values.get("issuers", {}).values()]
    # These keys are checked together, in test_fleet_naming.py and test_fleet_ways.py.
    for name in ("strip_prefix", "strip_suffix", "pattern", "shares_ids_with", "ways"):
        group.pop(name, None)
    if "budget" not in group:
        group.pop("symmetric_key", None)
    values |= {
        "id_scope": "0ne",
        "grants": {},
        "groups": {"gateways": group | {"trust": ["trust/factory.pem"]}},
        "issuers": {"one": issuers[0]} if issuers and group.get("mqtt") == "token" else {},
    }
    fleet = compiler._compile(values, folder(), [])
    compiler.check(fleet)
    compiler.check(Fleet.from_json(fleet.to_json()))


def test_every_key_is_on_the_page_and_in_the_schema() -> None:
    """Each key has a row on the reference page and a description in the schema."""
    for place in PLACES:
        if len(place.path) > 1:
            assert f"| `{place.key.name}` | " in PAGE
            assert place.key.text in PAGE
        table: Json = SCHEMA
        for name in place.path:
            named = name == "name" and "name" not in table.get("properties", {})
            table = table["additionalProperties"] if named else table["properties"][name]
        assert table["description"].startswith(place.key.text)


def test_the_schema_is_valid_and_accepts_the_example() -> None:
    """The schema is valid for JSON Schema 2020-12, and the example fleet names it and conforms to it."""
    Draft202012Validator.check_schema(SCHEMA)
    text = (REPOSITORY / "fleet/fleet.toml").read_text()
    assert text.startswith("#:schema ./fleet.schema.json\n")
    VALIDATOR.validate(_as_editors_hold(tomllib.loads(text)))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("seconds = 900", "seconds = 901\nminutes = 15"),
        ("seconds = 900", "seconds = 899"),
        ("grace_days = 90", "grace_days = -1"),
        ("[role_aliases.updates]", "[role_alias.updates]"),
        ("until = 2036-12-31", "until = 'tomorrow'"),
    ],
)
def test_the_schema_finds_mistakes(before: str, after: str) -> None:
    """The schema refuses an unknown key, a number out of range and a text that is no date."""
    text = (REPOSITORY / "fleet/fleet.toml").read_text()
    assert before in text
    assert not VALIDATOR.is_valid(_as_editors_hold(tomllib.loads(text.replace(before, after))))


def test_the_schema_is_not_part_of_the_definition() -> None:
    """The compiler does not read the schema, which lies in the folder for editors only."""
    assert "fleet.schema.json" not in source.read(REPOSITORY / "fleet").files


def test_generated_files_are_fresh() -> None:
    """Each generated file is up to date with its declarations."""
    assert generate.stale(REPOSITORY) == {}


def test_a_stale_file_is_named_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stale file is reported and kept with --check, and rewritten without it."""
    for name in generate.OUTPUTS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    page = tmp_path / "docs/fleet.md"
    page.write_text(PAGE.replace("| `days` |", "| `weeks` |"))
    assert generate.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "docs/fleet.md is stale: run `make docs`\n"
    assert page.read_text() != PAGE
    assert generate.main([], tmp_path) == 0
    assert page.read_text() == PAGE
    assert generate.main(["--check"], tmp_path) == 0
    assert generate.main(["--chek"], tmp_path) == 2


@pytest.mark.parametrize("text", ["", PAGE + PAGE])
def test_a_page_has_its_markers_once(text: str) -> None:
    """A page without the markers, or with two pairs of them, is an error."""
    with pytest.raises(ValueError, match="parts between the markers of keys"):
        generate.fleet_page(text)
