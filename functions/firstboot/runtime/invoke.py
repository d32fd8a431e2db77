"""Lambda functions that an operator invokes directly: named operations with typed parameters.

The event is `{"operation": "devices.show", "parameters": {…}}`. The answer is `{"result": {…}}`, or
`{"problem": {…}}` with the members of problem+json (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from firstboot.domain.clock import utc_now
from firstboot.runtime.errors import MalformedRequest, OperationUnknown
from firstboot.runtime.guard import Clock, Guard, Handler
from firstboot.runtime.messages import Json, Request, convert
from firstboot.runtime.problem import problem

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Configuration = TypeVar("Configuration")
Parameters = TypeVar("Parameters", bound=Request)


@dataclass(frozen=True)
class Operation(Generic[Parameters]):
    """The declaration of an operation: its name, the type of its parameters and a summary.

    `reads` says that it changes nothing, so that the read-only operate function has it too.
    """

    name: str
    parameters: type[Parameters]
    summary: str
    reads: bool = False

    def bind(self, carry_out: Callable[[Parameters, datetime], Json]) -> Bound[Parameters]:
        """Return the operation with the function that carries it out at a given time."""
        return Bound(self, carry_out)


@dataclass(frozen=True)
class Bound(Generic[Parameters]):
    """An operation with the function that carries it out at a given time."""

    operation: Operation[Parameters]
    carry_out: Callable[[Parameters, datetime], Json]

    def call(self, parameters: Json, now: datetime) -> Json:
        """Carry out the operation.

        Raises MalformedRequest if the parameters have another type, and what the operation raises.
        """
        return self.carry_out(convert(self.operation.parameters, parameters), now)


Operations = Mapping[str, Bound[Any]]
"""Bound operations by name."""


def by_name(declared: Sequence[Operation[Any]], bound: Sequence[Bound[Any]]) -> Operations:
    """Return bound operations by name, in the order of their declarations.

    Raises ValueError unless each declared operation is bound once, and no other one is.
    """
    if sorted(each.name for each in declared) != sorted(each.operation.name for each in bound):
        raise ValueError(f"Exactly these operations must be bound: {[each.name for each in declared]}")
    found = {each.operation.name: each for each in bound}
    return {each.name: found[each.name] for each in declared}


def invoke_function(
    service: str,
    build: Callable[[Configuration, Guard], Operations],
    read: Callable[[], Configuration],
    clock: Clock = utc_now,
) -> Handler:
    """Return a Lambda handler for direct invocations, with the operations that `build` returns by name.

    The operations are built on the first call, from the settings that `read` returns.
    """
    guard = Guard(service, clock)
    operations = cache(lambda: build(read(), guard))

    def handle(event: object, context: LambdaContext) -> Json:
        guard.count("Request")
        return guard.run(
            lambda: {"result": _carried_out(event, operations(), guard)},
            lambda error: {"problem": problem(error, context.aws_request_id, guard.now())},
        )

    return guard.handler(handle)


def _carried_out(event: object, operations: Operations, guard: Guard) -> Json:
    """Carry out the operation that an event names.

    Raises MalformedRequest, OperationUnknown and what the operation raises.
    """
    # No other member is allowed: a device chooses members of the events that API Gateway and topic rules
    # forward, and none of those may pass for an operator's call.
    match event:
        case {"operation": str(name), "parameters": dict(parameters), **rest} if not rest:
            pass
        case _:
            raise MalformedRequest("The event must have exactly the members operation and parameters")
    if name not in operations:
        raise OperationUnknown(f"The operations are {', '.join(operations)}")
    guard.about(operation=name)
    return operations[name].call(parameters, guard.now())
