"""The endpoint of the assign Lambda function, which AWS IoT invokes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from firstboot.assign import authorizer
from firstboot.assign.connect import Connect
from firstboot.domain.errors import FirstbootError
from firstboot.policy.rules import RulesInForce
from firstboot.runtime.guard import Guard


def refuse(_: FirstbootError, __: Guard) -> dict[str, Any]:
    """Return a refusal after every failure.

    After an exception, a client that merely may not connect would look like a service that is down.
    """
    return authorizer.REFUSED


@dataclass(frozen=True)
class Authorize:
    """The handler of the events of AWS IoT's custom authorizer."""

    rules: RulesInForce
    connect: Connect
    guard: Guard

    def __call__(self, event: object, _: Any, now: datetime) -> dict[str, Any]:  # noqa: ANN401 - Lambda's context
        """Return the policies of a connection."""
        self.guard.count("Request")
        self.guard.about(connectionId=authorizer.connection_id(event))
        request = authorizer.request(event)
        self.guard.about(clientId=request.client_id[:128])  # chosen by the client, not verified
        connection = self.connect(request, self.rules.at(now), now)
        self.guard.info(
            "connection authorized",
            deviceId=connection.device_id,
            issuer=connection.issuer,
            documents=len(connection.policies),
            seconds=connection.seconds,
        )
        self.guard.count("ConnectionAuthorized")
        return authorizer.answer(connection)
