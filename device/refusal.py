"""The outcome of a call that failed: the reason, and what the device does next."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum


class Action(StrEnum):
    """The service's `action` (docs/protocol.md)."""

    RETRY = "retry"  # repeat the call, with back-off
    WAIT = "wait"  # repeat the call, not before Retry-After
    STOP = "stop"  # a person must find the cause; repeating the call changes nothing
    REENROLL = "reenroll"  # enroll again with the bootstrap certificate


EXIT_CODES = {Action.RETRY: 10, Action.WAIT: 11, Action.STOP: 12, Action.REENROLL: 13}


class Refused(Exception):
    """A call failed. `retry_after` is in seconds. `detail` and `code` hold no secret.

    `overloaded` says that there were more requests than the service or its gateway takes.
    """

    def __init__(
        self,
        action: Action,
        detail: str,
        *,
        code: str | None = None,
        retry_after: float | None = None,
        overloaded: bool = False,
    ) -> None:
        super().__init__(detail)
        self.action = action
        self.detail = detail
        self.code = code
        self.retry_after = retry_after
        self.overloaded = overloaded

    def members(self) -> dict[str, str | float]:
        """Return the refusal as JSON members, under the service's own names."""
        members = {
            "action": self.action,
            "code": self.code,
            "detail": self.detail,
            "retryAfter": self.retry_after,
        }
        return {name: value for name, value in members.items() if value is not None}

    def to_json(self) -> str:
        """Return one line for a log. JSON escapes line ends, so the service's text can't forge a line."""
        return json.dumps(self.members())


class CertificateRefused(Refused):
    """The gateway or broker refused the client certificate, so the service never saw the call. `moment` is
    the gateway's time if its answer has one.
    """

    def __init__(self, detail: str, moment: datetime | None = None) -> None:
        super().__init__(Action.STOP, detail)
        self.moment = moment


class ConnectionEnded(Refused):
    """The broker ended a connection before it answered a call, as it does if a policy forbids the call."""

    def __init__(self, detail: str) -> None:
        super().__init__(Action.RETRY, detail)
