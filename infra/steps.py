"""The next steps for a new user, as commands to paste into a shell."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.compiler.trust import is_placeholder
from firstboot.domain.fleet import Fleet, Group
from firstboot.pki import certificate, profile

_NUMBER = "000001"
_WHERE = "In the checkout, with its .venv active, "


@dataclass(frozen=True)
class Step:
    """A command and its purpose."""

    command: str
    purpose: str


def steps(fleet: Fleet, stack: str, host: str) -> list[Step]:
    """Return the commands that give a bench device its identity from `stack`.

    `host` is the option of the device's client that names a host of the stack (`--public URL`).

    The device is of the fleet's first group for whose devices `factory issue` makes bootstrap certificates of
    their own. Without such a group there are no steps. A step that makes a factory CA comes first if the
    group has only the example's placeholders as trust anchors.
    """
    group = next(filter(_can_issue, fleet.groups.values()), None)
    if group is None:
        return []
    prefix = _prefix(group)
    device = f"{prefix}{_NUMBER}"
    found = [
        Step(
            f"python -m console factory issue --group {group.name} --count 1 --prefix {prefix}"
            " --out bench/devices --ca-cert bench/factory/ca.pem --ca-key bench/factory/ca.key",
            _WHERE + "make a bench device's bootstrap certificate, with your factory CA's files",
        ),
        Step(
            f"python -m device boot {host} --bootstrap-cert bench/devices/{device}.pem"
            f" --bootstrap-key bench/devices/{device}.key --state bench/state",
            "Boot the device, which gets its operational certificate",
        ),
        Step(f"python -m console devices show {device} --stack {stack}", "Show the device's record"),
    ]
    if all(map(is_placeholder, map(certificate.anchor, group.trust))):
        # A deployment makes no factory CA, because a person must decide where its private key is kept.
        making = f"python -m console factory ca --group {group.name} --out bench/factory"
        purpose = "replace the example's factory CA, whose private key does not exist, then deploy again"
        found.insert(0, Step(making, _WHERE + purpose))
    return found


def _can_issue(group: Group) -> bool:
    makes = not group.is_shared and profile.placed(group, "") is not None
    return makes and group.may_name(f"{_prefix(group)}{_NUMBER}")


def _prefix(group: Group) -> str:
    """Return the beginning of a bench device's id that the group's `ids` allow, if a beginning decides."""
    head = "" if group.may_name(f"bench-{_NUMBER}") else group.ids.partition("*")[0]
    return f"{head}bench-"
