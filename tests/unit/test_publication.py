"""Test which fleet is in force, and how devices are counted by their trust anchor."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from firstboot.domain import sweep
from firstboot.domain.device import Anchor, Device
from firstboot.domain.publication import TOMBSTONE, Publication, Unreadable, in_force
from firstboot.domain.sweep import MAX_ANCHORS, UNLISTED, counted, counted_ways
from tests.unit.fleet_folders import device, fleet

DEPLOYED = fleet()


def _published(base: object, **changes: object) -> Publication:
    text = json.dumps(json.loads(DEPLOYED.to_json()) | changes | {"base": base})
    return Publication(text.encode(), '"1"')


def test_a_publication_is_in_force_on_its_base_only() -> None:
    """The published fleet is in force while the deployed one is what it builds on."""
    published = _published(DEPLOYED.hash, rules="permit (principal, action, resource);")
    assert in_force(published, DEPLOYED).rules == "permit (principal, action, resource);"
    for other in (None, _published("another"), _published(None), Publication(TOMBSTONE, '"2"')):
        assert in_force(other, DEPLOYED) is DEPLOYED


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'"a"', b"\xff", b'{"base":1}', b"[" * 100_000])
def test_a_publication_without_a_base_is_unreadable(text: bytes) -> None:
    """A published object of another shape is an error with a reason."""
    with pytest.raises(Unreadable, match=r"."):
        in_force(Publication(text, ""), DEPLOYED)


def test_a_misshapen_publication_of_this_deployment_is_unreadable() -> None:
    """A publication that builds on the deployed fleet and has no fleet is an error with a reason."""
    with pytest.raises(Unreadable, match="KeyError"):
        in_force(Publication(json.dumps({"base": DEPLOYED.hash}).encode(), ""), DEPLOYED)


def test_a_publication_has_its_digest() -> None:
    """A publication's digest is the SHA-256 of its content."""
    assert Publication(b"{}", "").digest == hashlib.sha256(b"{}").hexdigest()


def _from(anchor: str | None, group: str = "gateways") -> Device:
    return replace(device(group=group), enrolled_by="b", anchor=Anchor(anchor, "") if anchor else None)


def test_devices_are_counted_by_group_and_anchor() -> None:
    """Enrolled devices add to the known counts of their group and anchor, which stay as they are."""
    known = {"gateways": {"a": 2}}
    never = replace(device(), enrolled_by=None)
    devices = [never, _from("a"), _from("b"), _from("b"), _from(None), _from("a", "sensors")]
    assert counted(known, devices) == {
        "gateways": {"a": 3, "b": 2, UNLISTED: 1},
        "sensors": {"a": 1},
    }
    assert known == {"gateways": {"a": 2}}


def test_the_counted_anchors_are_bounded() -> None:
    """Devices of an anchor above the bound are counted together, and those of known ones as before."""
    assert MAX_ANCHORS == 500
    known = {"gateways": {f"a{number}": 1 for number in range(MAX_ANCHORS - 1)}}
    found = counted(known, [_from("last"), _from("more"), _from("other", "sensors"), _from("last")])
    assert found["gateways"]["last"] == 2
    assert found["gateways"][UNLISTED] == 1
    assert found["sensors"] == {UNLISTED: 1}
    assert sweep.PAGE == 1_000


def test_the_counted_ways_are_bounded() -> None:
    """Devices of a group whose ways are above the bound are counted together."""
    known = {f"group-{number}": {"mtls": 1} for number in range(MAX_ANCHORS)}
    more = [replace(device(group=group), enrolled_by="b", way="proof") for group in ("group-0", "new")]
    found = counted_ways(known, more)
    assert found == known | {"group-0": {"mtls": 1, UNLISTED: 1}, "new": {UNLISTED: 1}}
