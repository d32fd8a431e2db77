"""Explain which grants a device holds and why, and which session policies they render to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from firstboot.domain.device import Device, check_not_revoked
from firstboot.domain.errors import FirstbootError, RoleAliasNotFound
from firstboot.policy.limits import check_session_policy
from firstboot.policy.render import Place, session_policy
from firstboot.policy.rules import Holdings, RequestContext, Rules


@dataclass(frozen=True)
class Explained:
    """A device's grants in a request context, or the refusal that it would get.

    The session policy is JSON. There is none over MQTT, where no session is made.
    """

    context: RequestContext
    holdings: Holdings
    session_policy: str | None = None
    refusal: FirstbootError | None = None


def explain(
    device: Device, contexts: Iterable[RequestContext], rules: Rules, place: Place
) -> list[Explained]:
    """Return what the device would get in each request context.

    Vending decides and renders by the same functions, so that the explanation can't differ from it.
    """
    return [_explained(context, device, rules, place) for context in contexts]


def _explained(context: RequestContext, device: Device, rules: Rules, place: Place) -> Explained:
    held = Holdings()
    try:
        check_not_revoked(device)
        if context.role_alias not in (None, *rules.fleet.role_aliases):
            raise RoleAliasNotFound
        held = rules.decide(device, context)
        if context.role_alias is None and not rules.fleet.policies.keys() & set(held.grants) and held.grants:
            # Grants for IoT hubs alone: the device gets no rights at the broker by them, and is not refused.
            return Explained(context, held)
        policy = session_policy(rules.fleet, held.grants, device.device_id, place)
        if context.role_alias:
            check_session_policy(policy)
    except FirstbootError as refusal:
        return Explained(context, held, refusal=refusal)
    return Explained(context, held, policy if context.role_alias else None)
