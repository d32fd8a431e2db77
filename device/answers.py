"""Read the service's answers, and its refusals in each of their formats."""

from __future__ import annotations

import json
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from .refusal import Action, CertificateRefused, Refused
from .transport import Answer


def success(answer: Answer) -> dict[str, Any]:
    """Return the members of an answer that grants the request. Raises Refused for every other answer."""
    members = _members(answer)
    if answer.status in (200, 201) and members:
        return members
    raise _refusal(answer, members)


def _members(answer: Answer) -> dict[str, Any]:
    try:
        members = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _refusal(answer: Answer, members: dict[str, Any]) -> Refused:
    detail = str(members.get("detail") or members.get("message") or f"HTTP status {answer.status}")
    code = members.get("code") or answer.headers.get("x-amzn-ErrorType")
    if answer.status == 403 and detail == "Forbidden":
        # API Gateway answers so for a client certificate that it refuses (HTTP API guide, "mutual TLS").
        return CertificateRefused("The gateway refused the certificate", _date(answer))
    after = _retry_after(answer, members)
    # A throttled call of AWS is a 503 with a time, and a 202 once the request is recorded. A 503 without a
    # time is a fault behind the gateway.
    overloaded = answer.status == 429 or (after is not None and answer.status in (202, 503))
    return Refused(
        _action(answer, members), detail, code=code and str(code), retry_after=after, overloaded=overloaded
    )


def _action(answer: Answer, members: dict[str, Any]) -> Action:
    if answer.status == 202:
        return Action.WAIT  # the request is recorded, the certificate is not issued yet
    try:
        return Action(str(members.get("action")))
    except ValueError:
        # API Gateway and the credential provider name no action.
        transient = answer.status < 400 or answer.status in (408, 429) or answer.status >= 500
        return Action.RETRY if transient else Action.STOP


def _retry_after(answer: Answer, members: dict[str, Any]) -> float | None:
    try:
        return max(0.0, float(str(members.get("retryAfter", answer.headers.get("Retry-After")))))
    except ValueError:
        return None


def _date(answer: Answer) -> datetime | None:
    try:
        return parsedate_to_datetime(answer.headers["Date"])
    except (TypeError, ValueError):
        return None
