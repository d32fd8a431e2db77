"""Vending: an operational certificate becomes short-lived AWS credentials.

1. The certificate is the device's own now (authentication.py); the thing name, if sent, is its.
2. The role alias exists.
3. The rules decide the device's grants at this moment; without any there is no session.
4. The grants render to a session policy; everything STS limits is checked.
5. STS makes the session, with SourceIdentity and tags naming the device.
"""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.domain.errors import NoGrant, RoleAliasNotFound, ThingNameMismatch
from firstboot.domain.ports import Sts
from firstboot.domain.session import Credentials, SessionRequest
from firstboot.identity.login import VerifiedIdentity
from firstboot.policy.limits import check_session
from firstboot.policy.render import Place, session_policy
from firstboot.policy.rules import Moment, Rules


@dataclass(frozen=True)
class VendingRequest:
    """What a device asks for. `thing_name` is what it says of itself, and must be true. `source_ip`
    is None over MQTT: AWS IoT does not say.
    """

    role_alias: str
    thing_name: str | None = None
    source_ip: str | None = None


def vend(
    identity: VerifiedIdentity,
    request: VendingRequest,
    rules: Rules,
    place: Place,
    role_arns: dict[str, str],
    sts: Sts,
) -> Credentials:
    """Credentials for what the device may do right now.

    Raises ThingNameMismatch, RoleAliasNotFound, NoGrant, VendingError, Unavailable.
    """
    device, fleet = identity.device, rules.fleet
    if request.thing_name not in (None, device.device_id):  # 1
        raise ThingNameMismatch
    alias, role_arn = fleet.role_aliases.get(request.role_alias), role_arns.get(request.role_alias)
    if alias is None or role_arn is None:  # 2
        raise RoleAliasNotFound
    held = rules.decide(device, Moment(role_alias=alias.name, source_ip=request.source_ip))  # 3
    if not held.grants:
        raise NoGrant
    session = SessionRequest(
        role_arn=role_arn,
        device_id=device.device_id,
        policy=session_policy(fleet, held.grants, device.device_id, place),
        seconds=alias.seconds,
        tags={"deviceId": device.device_id, "group": device.group},
    )
    check_session(session)  # 4
    return sts.assume(session)  # 5
