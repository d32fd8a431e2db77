"""Why a device holds what it holds: the rules' answers, and the session policies they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from firstboot.domain.device import Device, check_not_revoked
from firstboot.domain.errors import FirstbootError, RoleAliasNotFound
from firstboot.policy.render import Place, session_policy
from firstboot.policy.rules import Holdings, Moment, Rules


@dataclass(frozen=True)
class Explained:
    """What a device would get at `moment`: grants and a session policy (JSON; none over MQTT,
    where no session is made), or a refusal.
    """

    moment: Moment
    holdings: Holdings
    session_policy: str | None = None
    refusal: FirstbootError | None = None


def explain(device: Device, moments: Iterable[Moment], rules: Rules, place: Place) -> list[Explained]:
    """What the device would get at each of `moments`; decides and renders as vending does."""
    return [_at(moment, device, rules, place) for moment in moments]


def _at(moment: Moment, device: Device, rules: Rules, place: Place) -> Explained:
    held = Holdings()
    try:
        check_not_revoked(device)
        if moment.role_alias not in (None, *rules.fleet.role_aliases):
            raise RoleAliasNotFound
        held = rules.decide(device, moment)
        policy = session_policy(rules.fleet, held.grants, device.device_id, place)
    except FirstbootError as refusal:
        return Explained(moment, held, refusal=refusal)
    return Explained(moment, held, policy if moment.role_alias else None)
