"""What a new user is told to do next. That the commands work is shown in tests/deploy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from firstboot.compiler.fleet import load
from firstboot.domain.fleet import Fleet
from infra.steps import steps
from tests import factories

EXAMPLE = load(Path(__file__).parents[2] / "fleet")
URL = "https://api.example.com"
REAL = factories.pem(factories.authority("Real CA").certificate)


def trusting(*pems: str) -> Fleet:
    """The example, whose first group trusts these."""
    gateways = EXAMPLE.groups["gateways"]
    return replace(EXAMPLE, groups=EXAMPLE.groups | {"gateways": replace(gateways, trust=pems)})


def programs(fleet: Fleet) -> list[str]:
    """The commands' first words."""
    return [" ".join(step.command.split()[2:5]) for step in steps(fleet, "Mine", URL)]


def test_three_commands_follow_a_deployment() -> None:
    """A certificate, a first boot at this stack's host, a look at the record of this stack."""
    issue, boot, show = steps(trusting(REAL), "Mine", URL)
    assert issue.command.startswith("python -m console factory issue --group gateways ")
    assert boot.command.startswith(f"python -m device boot --public {URL} ")
    assert show.command == "python -m console devices show bench-000001 --stack Mine"


def test_who_trusts_the_example_needs_a_factory_first() -> None:
    """Nobody has the placeholder's key; a real anchor beside it has an owner."""
    first, *rest = programs(EXAMPLE)
    assert (first, rest) == ("console factory ca", programs(trusting(REAL)))
    (placeholder,) = EXAMPLE.groups["gateways"].trust
    assert programs(trusting(placeholder, REAL)) == programs(trusting(REAL))


def test_devices_with_a_shared_certificate_are_no_bench() -> None:
    """They must be named beforehand: the first group with certificates of their own is taken, or none."""
    groups = {name: replace(group, device_id="request.deviceId") for name, group in EXAMPLE.groups.items()}
    assert steps(replace(EXAMPLE, groups=groups), "Mine", URL) == []
    groups["sensors"] = EXAMPLE.groups["sensors"]
    assert "--group sensors" in steps(replace(EXAMPLE, groups=groups), "Mine", URL)[0].command
