"""Lambda functions for the events of a stream, a schedule, the custom authorizer or CloudFormation.

Each function chooses what happens after a failure: the event is repeated, dropped or answered.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from firstboot.domain.clock import utc_now
from firstboot.domain.errors import FirstbootError, InternalError, Unavailable
from firstboot.runtime.guard import Clock, Guard, Handler

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Configuration = TypeVar("Configuration")
Work = Callable[[Any, "LambdaContext", datetime], Any]
"""Handle an event at a given time."""

LastWord = Callable[[FirstbootError, Guard], Any]
"""Return the answer to an event that failed, or raise."""


def repeat(error: FirstbootError, _: Guard) -> None:
    """Make the invocation fail, so that Lambda or the event source delivers the event again."""
    raise error


def repeat_unless_refused(error: FirstbootError, guard: Guard) -> None:
    """Repeat an event after a failure; drop it after a refusal, which a repeat would not change."""
    if isinstance(error, Unavailable | InternalError):
        repeat(error, guard)


def event_function(
    service: str,
    build: Callable[[Configuration, Guard], Work],
    read: Callable[[], Configuration],
    last_word: LastWord = repeat,
    clock: Clock = utc_now,
) -> Handler:
    """Return a Lambda handler for events of one kind.

    Its work is built on the first call, from the settings that `read` returns. `last_word` handles failures.
    """
    guard = Guard(service, clock)
    work = cache(lambda: build(read(), guard))

    def handle(event: Any, context: LambdaContext) -> Any:  # noqa: ANN401 - any JSON value
        return guard.run(lambda: work()(event, context, guard.now()), lambda error: last_word(error, guard))

    return guard.handler(handle)
