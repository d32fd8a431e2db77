"""Grants of a fleet whose device ids may have a colon."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firstboot.compiler import templates
from firstboot.domain.clock import EPOCH
from firstboot.domain.device import Device, Status
from firstboot.domain.fleet import Fleet, GrantTerms
from firstboot.domain.names import DeviceId
from firstboot.policy.rules import RequestContext, Rules
from tests.unit.fleet_folders import TOML, fleet, grant, problems, statement

COLONS = f"colon_ids = true\n{TOML}"
_LOGS = "arn:aws:logs:{region}:{account}:log-group:"
_SQS = "arn:aws:sqs:{region}:{account}:"


def _found(*statements: Any, toml: str = COLONS) -> list[str]:
    return problems(
        toml=f"{toml}[grants.telemetry]\nshared = true\n", grants={"telemetry": grant(*statements)}
    )


def _compiles(*statements: Any, toml: str = COLONS) -> bool:
    shared = f"{toml}[grants.telemetry]\nshared = true\n"
    return "telemetry" in fleet(toml=shared, grants={"telemetry": grant(*statements)}).grants


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:PutObject", "arn:aws:s3:::b/DEVICE:{deviceId}/*"),
        ("s3:PutObject", "arn:aws:s3:::b/{deviceId}:x/*"),
        ("s3:PutObject", "arn:aws:s3:::b/{deviceId}:*"),
        ("logs:PutLogEvents", f"{_LOGS}{{deviceId}}:*"),
        ("logs:PutLogEvents", f"{_LOGS}/own:log-stream:{{deviceId}}"),
        ("s3:PutObject", "arn:aws:s3:::b/{deviceId}/{account}:{deviceId}"),
        ("iot:Publish", "arn:aws:iot:{region}:{account}:topic/{deviceId}:x"),
    ],
)
def test_a_colon_delimits_no_id_that_may_have_one(action: str, resource: str) -> None:
    """A colon beside the id is a problem in a fleet with `colon_ids`, and a delimiter in another one."""
    own = statement(Action=action, Resource=resource)
    assert any("an id may have a colon here" in line for line in _found(own))
    assert _compiles(own, toml=TOML)


@pytest.mark.parametrize(
    "own",
    [
        statement(Action="sqs:SendMessage", Resource=f"{_SQS}{{deviceId}}"),
        statement(Resource="arn:aws:s3:::b/{deviceId}/*"),
        statement(Resource="arn:aws:s3:::b/x:y/{deviceId}/z:*"),
        statement(Resource="arn:aws:s3:::{deviceId}/*"),
        statement(Action="iot:Connect", Resource="arn:aws:iot:{region}:{account}:client/{deviceId}"),
        statement(
            Action="dynamodb:GetItem",
            Resource="arn:aws:dynamodb:r:1:table/t",
            Condition={
                "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["DEVICE#{deviceId}", "{deviceId}"]},
                "Null": {"dynamodb:LeadingKeys": "false"},
            },
        ),
        statement(Condition={"ArnLike": {"aws:x": f"{_SQS}{{deviceId}}"}}),
    ],
)
def test_the_colons_of_an_arns_own_fields_delimit(own: Any) -> None:
    """The id may follow the fields of an ARN, and colons elsewhere in a text do no harm."""
    assert _compiles(own)


@pytest.mark.parametrize(
    "value", ["arn:{deviceId}", "arn:aws:sqs:{deviceId}:1:x", "arn:aws:s3:::x:{deviceId}"]
)
def test_an_id_with_colons_can_not_move_an_arns_fields(value: str) -> None:
    """An id in a field of an ARN, or behind a further colon, is a problem in a fleet with `colon_ids`."""
    own = statement(Condition={"ArnLike": {"aws:x": value}})
    assert any("an id may have a colon here" in line for line in _found(own))


def _pair(one: str, other: str, *, colons: bool, reserved: tuple[str, ...] = ()) -> list[str]:
    grants = {"one": grant(statement(Resource=one)), "other": grant(statement(Resource=other))}
    terms = {name: GrantTerms(name, shared=True) for name in grants}
    changes: dict[str, Any] = {"grants": grants, "terms": terms, "colon_ids": colons, "reserved": reserved}
    return templates.check(replace(fleet(), **changes))


_B = "arn:aws:s3:::b/"


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (f"{_B}{{deviceId}}/*", f"{_B}DEVICE:all/*", "DEVICE:all"),
        (f"{_B}{{deviceId}}", f"{_B}a:b", "a:b"),
        (f"{_SQS}{{deviceId}}", f"{_SQS}orders:dead", "orders:dead"),
    ],
)
def test_a_shared_word_may_have_colons(one: str, other: str, name: str) -> None:
    """A word with a colon must be reserved if ids may have colons, and is no word of an id otherwise."""
    for pair in ((one, other), (other, one)):
        (found,) = _pair(*pair, colons=True)
        assert f"add {name!r} to `reserved`" in found
        assert _pair(*pair, colons=True, reserved=(name,)) == []
        assert _pair(*pair, colons=False) == []


def test_a_shared_wildcard_behind_a_colon_can_not_be_cured() -> None:
    """A wildcard behind a colon takes the place of ids in a fleet with `colon_ids` only."""
    pair = f"{_B}{{deviceId}}/*", f"{_B}DEVICE:*"
    (found,) = _pair(*pair, colons=True, reserved=("DEVICE",))
    assert "gives each device a part of what" in found
    assert _pair(*pair, colons=False) == []


def test_a_word_with_a_colon_is_in_the_way_of_another_grants_path() -> None:
    """A device may have a path's word with a colon as its id, which is a problem for both grants."""
    pair = f"{_B}{{deviceId}}/*", f"{_B}a:b/{{deviceId}}/x"
    (found,) = _pair(*pair, colons=True)
    assert "gives a device with the id 'a:b' what" in found
    assert _pair(*pair, colons=False) == []


def test_an_id_can_not_be_a_whole_arn() -> None:
    """A condition on the bare id is a problem beside one on an ARN with it: an id may be an ARN."""

    def own(value: str) -> Any:
        return statement(Condition={"StringEquals": {"aws:x": value}})

    for pair in (("{deviceId}", "arn:aws:sqs:r:1:{deviceId}"), ("arn:aws:sqs:r:1:{deviceId}", "{deviceId}")):
        (found,) = _found(own(pair[0]), own(pair[1]))
        assert "gives a device with the id" in found
        assert _compiles(own(pair[0]), own(pair[1]), toml=TOML)


def test_without_colons_the_fleet_keeps_its_text() -> None:
    """A fleet without `colon_ids` has the JSON that earlier versions read, and one with it is read back."""
    assert "colon_ids" not in fleet().to_json()
    assert fleet(toml=f"colon_ids = false\n{TOML}").hash == fleet().hash
    allowing = fleet(toml=COLONS)
    assert allowing.ids.allows("a:b")
    assert Fleet.from_json(allowing.to_json()) == allowing
    assert not fleet().ids.allows("a:b")


def test_a_rule_may_name_a_device_with_a_colon() -> None:
    """Cedar takes an id with a colon, which a rule may name in a fleet with `colon_ids` only."""
    rule = '@id("r") permit (principal == Device::"a:b", action, resource == Grant::"telemetry");'
    allowing = fleet(toml=COLONS, rules=rule)
    held = [Rules(allowing).decide(_device(name), RequestContext()).grants for name in ("a:b", "a", "x")]
    assert held == [("telemetry",), (), ()]
    assert any('Device::"a:b" is not a valid device id' in line for line in problems(rules=rule))


@pytest.mark.parametrize(
    ("changes", "name"), [({}, "a:b"), ({"toml": f'reserved = ["stable"]\n{TOML}'}, "stable")]
)
def test_a_device_whose_id_the_fleet_does_not_allow_holds_no_grant(changes: Any, name: str) -> None:
    """A device that had its id before the fleet forbade it loses its grants, and the log says why."""
    rules = Rules(fleet(**changes))
    assert rules.decide(_device("gw-1"), RequestContext()).grants == ("telemetry",)
    found = rules.decide(_device(name), RequestContext())
    assert (found.grants, found.errors) == ((), (f"{name}: the fleet does not allow the id",))


def _device(name: str) -> Device:
    return Device(DeviceId(name), "gateways", Status.ENROLLED, 0, EPOCH, EPOCH)
