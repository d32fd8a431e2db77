"""Lambda functions for the batches of an SQS queue.

Each message is handled on its own, and the answer names those that failed (Lambda developer guide,
"Implementing partial batch responses"). Otherwise one failed message would make SQS deliver the whole batch
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

from firstboot.domain.clock import utc_now
from firstboot.runtime.guard import Clock, Guard, Handler, Pause

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Configuration = TypeVar("Configuration")
Record = dict[str, Any]
Work = Callable[[Record, datetime], None]
"""Handle one SQS record at a given time."""


def queue_function(
    service: str,
    build: Callable[[Configuration, Guard], Work],
    read: Callable[[], Configuration],
    clock: Clock = utc_now,
    pause: Pause = time.sleep,
) -> Handler:
    """Return a Lambda handler for the batches of an SQS queue; the answer names the failed messages.

    SQS delivers a failed message again, and moves it to the dead-letter queue after its last try. The work is
    built on the first call, from the settings that `read` returns.
    """
    guard = Guard(service, clock, pause)
    work = cache(lambda: build(read(), guard))

    def done(record: Record) -> bool:
        work()(record, guard.now())
        return True

    def handle(event: dict[str, Any], _: LambdaContext) -> dict[str, Any]:
        records: list[Record] = event["Records"]
        guard.count("Request", len(records))
        failed = [
            record["messageId"] for record in records if not guard.run(partial(done, record), lambda _: False)
        ]
        return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}

    return guard.handler(handle)
