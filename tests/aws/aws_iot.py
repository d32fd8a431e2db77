"""AWS IoT's documented behaviour that moto lacks.

- A detached certificate stays attached for a while (API reference, DetachThingPrincipal).
- A thing that exists with another type or other attributes can't be created (API reference, CreateThing).
- A thing is in at most ten groups (AWS IoT endpoints and quotas, "Thing groups").

moto itself deletes no certificate that is ACTIVE or has a policy or a thing, and no thing with a principal.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

Make = Callable[[str, dict[str, Any]], Any]


@dataclass
class AwsIot:
    """The account's registry. A detachment takes effect after `lag` further calls."""

    lag: int = 0
    _detaching: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Return whether every detachment has taken effect."""
        return not self._detaching

    def call(self, make: Make, operation: str, parameters: dict[str, Any]) -> Any:
        """Make a call as AWS IoT would answer it."""
        self._take_effect(make)
        match operation:
            case "DetachThingPrincipal" if self.lag:
                return self._detach(make, parameters)
            case "AttachThingPrincipal":
                self._detaching.pop((parameters["thingName"], parameters["principal"]), None)
            case "CreateThing":
                self._check_new(make, parameters)
            case "AddThingToThingGroup":
                self._check_groups(make, parameters)
        return make(operation, parameters)

    def _take_effect(self, make: Make) -> None:
        for pair in list(self._detaching):
            self._detaching[pair] -= 1
            if self._detaching[pair] <= 0:
                del self._detaching[pair]
                with suppress(ClientError):
                    make("DetachThingPrincipal", {"thingName": pair[0], "principal": pair[1]})

    def _detach(self, make: Make, parameters: dict[str, Any]) -> Any:
        thing, principal = parameters["thingName"], parameters["principal"]
        attached = make("ListThingPrincipals", {"thingName": thing})["principals"]
        if principal in attached:
            self._detaching.setdefault((thing, principal), self.lag)
        return {}

    def _check_new(self, make: Make, parameters: dict[str, Any]) -> None:
        try:
            thing = make("DescribeThing", {"thingName": parameters["thingName"]})
        except ClientError:
            return
        wanted = parameters.get("thingTypeName"), parameters["attributePayload"]["attributes"]
        if (thing.get("thingTypeName"), thing["attributes"]) != wanted:
            raise _error("ResourceAlreadyExistsException", "CreateThing")

    def _check_groups(self, make: Make, parameters: dict[str, Any]) -> None:
        try:
            groups = make("ListThingGroupsForThing", {"thingName": parameters["thingName"]})["thingGroups"]
        except ClientError:
            return
        names = {each["groupName"] for each in groups}
        if len(names) >= _GROUPS and parameters["thingGroupName"] not in names:
            raise _error("InvalidRequestException", "AddThingToThingGroup")


_GROUPS = 10


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, operation)
