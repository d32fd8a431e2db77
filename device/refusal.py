"""Why a call came to nothing, and what a device does about it."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum


class Action(StrEnum):
    """The service's `action` (docs/protocol.md)."""

    RETRY = "retry"  # the same call again, with back-off
    WAIT = "wait"  # the same call again, not before Retry-After
    STOP = "stop"  # a person must look; repeating changes nothing
    REENROLL = "reenroll"  # start over with the bootstrap certificate


EXIT_CODES = {Action.RETRY: 10, Action.WAIT: 11, Action.STOP: 12, Action.REENROLL: 13}


class Refused(Exception):
    """A call failed. `retry_after` is in seconds; `detail` and `code` hold nothing secret."""

    def __init__(
        self, action: Action, detail: str, *, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.action = action
        self.detail = detail
        self.code = code
        self.retry_after = retry_after

    def members(self) -> dict[str, str | float]:
        """What there is to say of it, in the service's words."""
        members = {
            "action": self.action,
            "code": self.code,
            "detail": self.detail,
            "retryAfter": self.retry_after,
        }
        return {name: value for name, value in members.items() if value is not None}

    def to_json(self) -> str:
        """One line for a log: JSON, so that nothing the service says can forge another."""
        return json.dumps(self.members())


class CertificateRefused(Refused):
    """The gateway refused our certificate itself; no service code saw the call. `moment` is the
    gateway's time, if it told.
    """

    def __init__(self, detail: str, moment: datetime | None = None) -> None:
        super().__init__(Action.STOP, detail)
        self.moment = moment
