"""Lambda functions that an operator invokes directly: named operations with typed parameters.

Event `{"operation": "devices.show", "parameters": {…}}`, answer `{"result": {…}}` or
`{"problem": {…}}` with the members of problem+json (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    """An operation: the type of its parameters, and the function that carries it out at a time."""

    parameters: type[Parameters]
    carry_out: Callable[[Parameters, datetime], Json]


def invoke_function(
    service: str,
    build: Callable[[Configuration, Guard], Mapping[str, Operation[Any]]],
    read: Callable[[], Configuration],
    clock: Clock = utc_now,
) -> Handler:
    """Return a Lambda handler for direct invocations, with the operations that `build` returns by name.

    They are built on the first call, from the settings that `read` returns.
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


def _carried_out(event: object, operations: Mapping[str, Operation[Any]], guard: Guard) -> Json:
    """Carry out the operation that an event names.

    An event with any other member is refused: an event that API Gateway or a topic rule forwards has
    members that a device chooses, and must never be taken for an operator's call.
    Raises MalformedRequest, OperationUnknown and what the operation raises.
    """
    match event:
        case {"operation": str(name), "parameters": dict(parameters), **rest} if not rest:
            pass
        case _:
            raise MalformedRequest("Send exactly {operation, parameters}")
    if name not in operations:
        raise OperationUnknown(f"There are {', '.join(operations)}")
    guard.about(operation=name)
    operation = operations[name]
    return operation.carry_out(convert(operation.parameters, parameters), guard.now())
