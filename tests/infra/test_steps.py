"""The commands that a new user gets after a deployment. tests/deploy shows that they work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from firstboot.compiler.fleet import load
from firstboot.domain.fleet import Fleet
from infra.steps import steps
from tests import factories

EXAMPLE = load(Path(__file__).parents[2] / "fleet")
HOST = "--public https://api.example.com"
REAL = factories.pem(factories.authority("Real CA").certificate)


def trusting(*pems: str) -> Fleet:
    """Return the example fleet, whose first group has these trust anchors."""
    gateways = EXAMPLE.groups["gateways"]
    return replace(EXAMPLE, groups=EXAMPLE.groups | {"gateways": replace(gateways, trust=pems)})


def programs(fleet: Fleet) -> list[str]:
    """Return the first words of the commands."""
    return [" ".join(step.command.split()[2:5]) for step in steps(fleet, "Mine", HOST)]


def test_three_commands_follow_a_deployment() -> None:
    """The commands issue a certificate, boot at this stack's host and show the record in this stack."""
    issue, boot, show = steps(trusting(REAL), "Mine", HOST)
    assert issue.command.startswith("python -m console factory issue --group gateways ")
    assert boot.command.startswith(f"python -m device boot {HOST} ")
    assert show.command == "python -m console devices show bench-000001 --stack Mine"


def test_a_group_with_only_placeholders_needs_a_factory_first() -> None:
    """A group whose only trust anchors are placeholders gets the command that makes a factory CA."""
    first, *rest = programs(EXAMPLE)
    assert (first, rest) == ("console factory ca", programs(trusting(REAL)))
    (placeholder,) = EXAMPLE.groups["gateways"].trust
    assert programs(trusting(placeholder, REAL)) == programs(trusting(REAL))


def test_devices_with_a_shared_certificate_are_no_bench() -> None:
    """The commands are for the first group with bootstrap certificates of their own; without one there are
    none.
    """
    groups = {name: replace(group, device_id="request.deviceId") for name, group in EXAMPLE.groups.items()}
    assert steps(replace(EXAMPLE, groups=groups), "Mine", HOST) == []
    groups["sensors"] = EXAMPLE.groups["sensors"]
    assert "--group sensors" in steps(replace(EXAMPLE, groups=groups), "Mine", HOST)[0].command


def test_the_bench_device_has_an_id_of_its_group() -> None:
    """The bench device's id is one that the group may name, and a group without such an id is passed over."""

    def first(**changes: object) -> list[str]:
        groups = {"gateways": replace(EXAMPLE.groups["gateways"], trust=(REAL,), **changes)}  # type: ignore[arg-type]
        return [step.command for step in steps(replace(EXAMPLE, groups=groups), "Mine", HOST)]

    issue, boot, show = first(ids="gw-*")
    assert "--prefix gw-bench-" in issue
    assert "bench/devices/gw-bench-000001.pem" in boot
    assert show.startswith("python -m console devices show gw-bench-000001 ")
    assert first(ids="*-gw") == first(pattern="sn(.+)") == []
