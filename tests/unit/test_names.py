"""Device ids are safe in every place where they are used."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import names
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.names import IdRule

PLAIN, COLONS = IdRule(colons=False), IdRule(colons=True)
IDS = st.from_regex(names.ANY_FLEET.pattern, fullmatch=True).filter(names.ANY_FLEET.allows)
# Texts that differ little, so that two of them would meet under a careless spelling.
CLOSE = st.from_regex(r"[a_][a:._-]{0,3}", fullmatch=True)


@given(st.text(max_size=70) | IDS, st.sampled_from([PLAIN, COLONS]))
def test_an_accepted_id_fits_everywhere(text: str, rule: IdRule) -> None:
    """An accepted id fits a CN, a thing name, every STS name and one segment of an ARN or topic."""
    try:
        accepted = names.device_id(text, rule)
    except DeviceIdInvalid:
        return
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}", accepted, re.ASCII)
    assert re.fullmatch(r"[a-zA-Z0-9:_-]{1,128}", accepted.replace(".", "_"))
    assert not set(accepted) & set("*?/$#+{}=" if rule.colons else ":*?/$#+{}=")
    assert not accepted.startswith(names.RESERVED_PREFIX)


@given(IDS, CLOSE, CLOSE)
def test_a_name_at_sts_belongs_to_one_device(name: str, one: str, other: str) -> None:
    """STS accepts the spelling of every device id, and no two ids have the same spelling."""
    for each in (name, one, other):
        spelled = names.session_name(names.device_id(each))
        assert re.fullmatch(r"[\w+=,.@-]{2,64}", spelled, re.ASCII)
        assert not spelled.lower().startswith("aws:")
        assert spelled.replace("=", ":").removesuffix("+") == each
    same = names.session_name(names.device_id(one)) == names.session_name(names.device_id(other))
    assert same == (one == other)


@given(st.from_regex(names.ROLE_ALIAS, fullmatch=True), st.from_regex(r"[a-z0-9-]{2,16}", fullmatch=True))
def test_a_fleet_roles_name_fits(alias: str, region: str) -> None:
    """IAM accepts the name of the fleet role of any role alias, in a region with a name of any length."""
    assert re.fullmatch(r"[\w+=,.@-]{1,64}", names.fleet_role(region, alias), re.ASCII)


@given(st.text("aA", min_size=1, max_size=3), st.text("aA", min_size=1, max_size=3), st.integers(0, 125))
def test_a_fleet_role_belongs_to_one_alias(one: str, other: str, same: int) -> None:
    """Two role aliases have two roles, also for IAM, which compares role names without case."""
    first, second = (names.fleet_role("r", "a" * same + end).lower() for end in (one, other))
    assert (first == second) == (one == other)


@pytest.mark.parametrize(
    ("name", "spelled"),
    [("gw-1", "gw-1"), ("x", "x+"), ("a:b", "a=b"), ("x:", "x="), ("x" * 64, "x" * 64), ("_", "_+")],
)
def test_the_spelling_at_sts(name: str, spelled: str) -> None:
    """At STS an id has `=` for `:`, and an id of one character has a `+` behind it."""
    assert names.session_name(names.device_id(name)) == spelled


@pytest.mark.parametrize(
    "text", ["gw-0001", "a1", "A.b_c-9", "x" * 64, "a", "7", "_", "a-", "a.", "_gw", "aws", "boot", "Boot-1"]
)
def test_good_ids(text: str) -> None:
    """Ordinary ids are accepted, those of one character too, in every fleet."""
    assert names.device_id(text, PLAIN) == names.device_id(text, COLONS) == names.device_id(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "x" * 65, "-a1", ".a1", "..", ":a", "gw/1", "gw*", "gw 1", "gw\n", "a\n", "ß9", "ß", "${a}"),
        *("boot-1", "boot-", "g\uff11", "firstboot", "aws:x", "AWS:x", "aws:", "a=b", "x+"),
    ],
)
def test_bad_ids(text: str) -> None:
    """An id that is too long or reserved, or has a character with special meaning, is refused everywhere."""
    for rule in (PLAIN, COLONS):
        with pytest.raises(DeviceIdInvalid):
            names.device_id(text, rule)


@pytest.mark.parametrize("text", ["a:b", "00:1B:44:11:3A:B7", "a:", "urn:dev:ops:32473-1", "x::y"])
def test_a_colon_needs_a_fleet_that_allows_it(text: str) -> None:
    """An id with a colon is accepted in a fleet with `colon_ids`, and refused in another one."""
    assert names.device_id(text, COLONS) == text
    with pytest.raises(DeviceIdInvalid) as refused:
        names.device_id(text, PLAIN)
    assert "A-Z a-z 0-9 _ . -, begins" in refused.value.detail


def test_a_refusal_says_what_is_allowed() -> None:
    """The refusal of an id names the characters that the fleet allows, and every prefix that it does not."""
    for rule, characters in ((PLAIN, "A-Z a-z 0-9 _ . -,"), (COLONS, "A-Z a-z 0-9 _ . - :,")):
        with pytest.raises(DeviceIdInvalid) as refused:
            names.device_id("gw 1", rule)
        for part in ("1 to 64", characters, "boot-", "aws:", "firstboot"):
            assert part in refused.value.detail


def test_a_word_that_the_fleet_reserves_is_no_id() -> None:
    """A reserved word is refused as an id, and words that begin like it are not."""
    rule = IdRule(("stable", "a:b"))
    assert [rule.allows(text) for text in ("stable", "a:b", "stable1", "a:b:c")] == [False, False, True, True]
    with pytest.raises(DeviceIdInvalid, match="reserves 'stable'"):
        names.device_id("stable", rule)


def test_every_id_can_be_reserved() -> None:
    """A word that a fleet may have to reserve is a valid value of `reserved`."""
    for text in ("a", "a:b", "_", "x" * 64, "a."):
        assert names.WORD.fullmatch(names.device_id(text))


def test_the_log_of_a_refused_id_is_bounded() -> None:
    """The log of a refused id has the first 80 characters of it, and the rule."""
    rule = names.ANY_FLEET
    with pytest.raises(DeviceIdInvalid) as caught:
        names.device_id("-" * 90)
    assert caught.value.log == f"device id {'-' * 80!r}: {rule.words}"
    assert caught.value.detail == rule.words
