"""Vend: an operational identity becomes short-lived AWS credentials.

1. The thing name, if the request has one, is the device's id.
2. The role alias exists, and its duration is not exceeded.
3. The rules decide the device's grants in this request context. Without a grant there is no session.
4. The grants render to a session policy, and the request is within all limits of STS.
5. STS makes the session. Its SourceIdentity and tags name the device.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from firstboot.domain.errors import DurationTooLong, RoleAliasNotFound
from firstboot.domain.names import FLEET_ROLE_PATH, fleet_role
from firstboot.domain.session import Credentials, SessionRequest
from firstboot.identity.login import VerifiedIdentity
from firstboot.policy.errors import NoGrant
from firstboot.policy.limits import check_session
from firstboot.policy.render import Place, session_policy
from firstboot.policy.rules import RequestContext, Rules
from firstboot.vend.errors import ThingNameMismatch


class Sessions(Protocol):
    """The sessions of STS."""

    def assume(self, request: SessionRequest) -> Credentials:
        """Return credentials of a new session of the role.

        Raises RoleNotAssumable, DurationTooLong, SessionPolicyTooLarge, Unavailable.
        """


@dataclass(frozen=True)
class VendingRequest:
    """A request for credentials.

    `thing_name` is the name that the device gives itself, and is checked. `source_ip` is None over MQTT,
    because AWS IoT does not pass it on. `seconds` is the duration of the session, at most that of the role
    alias; None is the role alias's own.
    """

    role_alias: str
    thing_name: str | None = None
    source_ip: str | None = None
    seconds: int | None = None


@dataclass(frozen=True)
class Vend:
    """The use case that vends credentials.

    The fleet roles are in `place`. `role_aliases` are those of the deployed fleet, because a deployment makes
    the roles.
    """

    place: Place
    role_aliases: Collection[str]
    sessions: Sessions

    def __call__(self, identity: VerifiedIdentity, request: VendingRequest, rules: Rules) -> Credentials:
        """Return credentials for the grants that the device holds in this request context.

        Nothing is stored. A repeat makes another session. Raises ThingNameMismatch, RoleAliasNotFound,
        NoGrant, VendingError, Unavailable.
        """
        device, fleet = identity.device, rules.fleet
        if request.thing_name not in (None, device.device_id):  # 1
            raise ThingNameMismatch
        alias = fleet.role_aliases.get(request.role_alias)
        if alias is None or alias.name not in self.role_aliases:  # 2
            raise RoleAliasNotFound
        if request.seconds is not None and request.seconds > alias.seconds:
            raise DurationTooLong(f"Sessions of this role have {alias.seconds:,} seconds at most")
        context = RequestContext(role_alias=alias.name, source_ip=request.source_ip)
        held = rules.decide(device, context)  # 3
        # STS gives a session without a session policy all rights of the fleet role, for every device.
        if not held.grants:
            raise NoGrant
        session = SessionRequest(
            role_arn=self._role(alias.name),
            device_id=device.device_id,
            # IAM intersects the session policy, which has the literal device id, with the fleet role's own
            # policy.
            policy=session_policy(fleet, held.grants, device.device_id, self.place),
            seconds=request.seconds or alias.seconds,
            tags={"deviceId": device.device_id, "group": fleet.current_name(device.group)},
        )
        check_session(session)  # 4
        return self.sessions.assume(session)  # 5

    def alias(self, role_arn: str) -> str:
        """Return the role alias with that fleet role, or else the ARN, which is no alias's name.

        So the caller's own check refuses an unknown role, after the device has logged in.
        """
        return next((alias for alias in self.role_aliases if self._role(alias) == role_arn), role_arn)

    def _role(self, alias: str) -> str:
        """Return the ARN of the fleet role behind a role alias."""
        partition, account = self.place.partition, self.place.account
        return f"arn:{partition}:iam::{account}:role{FLEET_ROLE_PATH}{fleet_role(self.place.region, alias)}"
