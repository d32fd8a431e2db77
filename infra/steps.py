"""The next steps for a new user, as commands to paste into a shell."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.compiler.trust import is_placeholder
from firstboot.domain.fleet import Fleet
from firstboot.pki import certificate

DEVICE = "bench-000001"
_WHERE = "In the checkout, with its .venv active, "


@dataclass(frozen=True)
class Step:
    """A command and its purpose."""

    command: str
    purpose: str


def steps(fleet: Fleet, stack: str, host: str) -> list[Step]:
    """Return the commands that give a bench device its identity from `stack`.

    `host` is the option of the device's client that names a host of the stack (`--public URL`).

    The device is of the fleet's first group whose devices have bootstrap certificates of their own. Without
    such a group there are no steps. A step that makes a factory CA comes first if the group has only the
    example's placeholders as trust anchors.
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
            f"python -m device boot {host} --bootstrap-cert bench/devices/{DEVICE}.pem"
            f" --bootstrap-key bench/devices/{DEVICE}.key --state bench/state",
            "Boot the device, which gets its operational certificate",
        ),
        Step(f"python -m console devices show {DEVICE} --stack {stack}", "Show the device's record"),
    ]
    if all(map(is_placeholder, map(certificate.anchor, group.trust))):
        # A deployment makes no factory CA, because a person must decide where its private key is kept.
        making = f"python -m console factory ca --group {group.name} --out bench/factory"
        purpose = "replace the example's factory CA, whose private key does not exist, then deploy again"
        found.insert(0, Step(making, _WHERE + purpose))
    return found
