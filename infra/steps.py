"""What a new user does next, as commands to paste. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.compiler.trust import is_placeholder
from firstboot.domain.fleet import Fleet
from firstboot.pki import certificate

DEVICE = "bench-000001"
_WHERE = "In the checkout, with its .venv active: "


@dataclass(frozen=True)
class Step:
    """A command, and what it is for."""

    command: str
    purpose: str


def steps(fleet: Fleet, stack: str, url: str) -> list[Step]:
    """How a bench device gets its identity from `stack`, whose public host is `url`.

    The fleet's first group whose devices have certificates of their own is the bench's; without one there
    are no steps. There is one more as long as the group trusts nobody but the example's placeholders.
    """
    group = next((each for each in fleet.groups.values() if not each.is_shared), None)
    if group is None:
        return []
    found = [
        Step(
            f"python -m console factory issue --group {group.name} --count 1 --prefix bench-"
            " --out bench/devices --ca-cert bench/factory/ca.pem --ca-key bench/factory/ca.key",
            _WHERE + "make a bench device's bootstrap certificate, with your factory CA's files",
        ),
        Step(
            f"python -m device boot --public {url} --bootstrap-cert bench/devices/{DEVICE}.pem"
            f" --bootstrap-key bench/devices/{DEVICE}.key --state bench/state",
            "Boot it: it gets its own identity",
        ),
        Step(f"python -m console devices show {DEVICE} --stack {stack}", "See what is known of it"),
    ]
    if all(map(is_placeholder, map(certificate.anchor, group.trust))):
        making = f"python -m console factory ca --group {group.name} --out bench/factory"
        purpose = "make a factory CA in the place of the example's, whose key nobody has, then deploy again"
        found.insert(0, Step(making, _WHERE + purpose))
    return found
