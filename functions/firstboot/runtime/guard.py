"""The log, metrics and clock of a Lambda function, and the single place where its failures are handled."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from firstboot.domain.clock import EPOCH, utc_now
from firstboot.domain.errors import FirstbootError, InternalError
from firstboot.domain.names import METRICS

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

Clock = Callable[[], datetime]
Pause = Callable[[float], None]
"""Wait for some seconds."""

Handler = Callable[[Any, "LambdaContext"], Any]
Result = TypeVar("Result")

_PAUSE = timedelta(seconds=1)
"""The time between two early refusals in the log of a process."""

_CALLER = 4
"""Stack frames from the logger to the caller of `info` or `warning`, whose line the log has
(`stacklevel`)."""


def _ascii(line: Mapping[str, Any]) -> str:
    """Return a log line as JSON in ASCII, because devices choose parts of it and terminals show it."""
    return json.dumps(line, default=str, separators=(",", ":"))


class Guard:
    """The log, the metrics and the clock of one Lambda function.

    `service` is the Lambda file's name. It is the log's service and the only dimension of every metric.
    `pause` waits until the clock has advanced by some seconds.
    """

    def __init__(self, service: str, clock: Clock = utc_now, pause: Pause = time.sleep) -> None:
        self.now = clock
        self.pause = pause
        self._logger = Logger(service=service, json_serializer=_ascii)
        self._metrics = Metrics(namespace=METRICS, service=service)
        self._keys: dict[str, object] = {}
        # The counts that are not written yet, the early refusals since the last one in the log, and its time.
        self._counts: dict[str, float] = {}
        self._not_logged = 0
        self._logged = EPOCH

    def about(self, **keys: object) -> None:
        """Add `keys` to every following log line of this invocation."""
        self._keys |= keys

    def info(self, message: str, **fields: object) -> None:
        """Log an event that is expected in normal operation."""
        self._log(self._logger.info, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Log an event that an operator may want to look at."""
        self._log(self._logger.warning, message, fields)

    def count(self, metric: str, value: float = 1, unit: MetricUnit = MetricUnit.Count) -> None:
        """Add `value` to the CloudWatch metric `metric`. Counts of one invocation are summed."""
        if unit is MetricUnit.Count:
            self._counts[metric] = self._counts.get(metric, 0) + value
        else:
            self._metrics.add_metric(metric, unit, value)

    def fleet_unreadable(self, reason: str) -> None:
        """Log and count that the published fleet can't be read."""
        self.warning("the published fleet can't be read", reason=reason)
        self.count("FleetUnreadable")

    def refusal(self, error: FirstbootError) -> None:
        """Log a domain error and count it under its metric.

        In a storm a process refuses many requests for one reason, and logging takes much of the CPU of a
        refusal. So early refusals are logged once a second, with the number of those between (`notLogged`).
        """
        self.count(error.metric)
        if error.is_early and self.now() < self._logged + _PAUSE:
            self._not_logged += 1
            return
        log = self._logger.error if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else self._logger.info
        fields: dict[str, object] = {"code": error.code, "reason": error.log}
        if error.reason:
            fields["cause"] = error.reason
        if error.is_early:
            fields["notLogged"] = self._not_logged
            self._not_logged, self._logged = 0, self.now()
        self._log(log, "refused", fields)

    def run(self, work: Callable[[], Result], last_word: Callable[[FirstbootError], Result]) -> Result:
        """Return what `work` returns, or what `last_word` makes of its failure.

        Every failure is logged and counted. An exception that is not a domain error is passed to `last_word`
        as InternalError, with the exception as its cause. `last_word` may raise, so that Lambda invokes the
        function again.
        """
        try:
            return work()
        except FirstbootError as error:
            self.refusal(error)
            return last_word(error)
        except Exception as error:  # noqa: BLE001 - it is logged, and `last_word` may raise it
            self._log(self._logger.exception, "unhandled", {})
            self.count("InternalError")
            internal = InternalError(log=repr(error))
            internal.__cause__ = error
            return last_word(internal)

    def handler(self, handle: Handler) -> Handler:
        """Return `handle` as a Lambda handler that logs the invocation's id and flushes the metrics.

        Powertools' own decorator sets five more keys at each invocation, which takes a twentieth of an early
        refusal's CPU. Four are the same for all lines of a log group, and Lambda logs each cold start itself.
        """

        def flushed(event: Any, context: LambdaContext) -> Any:  # noqa: ANN401 - any JSON value
            before = self._not_logged
            # The keys of the previous invocation may name another device.
            self._keys = {"function_request_id": context.aws_request_id}
            try:
                return handle(event, context)
            finally:
                # The counts of a refusal that was not logged come with those of a later invocation.
                if self._not_logged <= before:
                    self._flush()

        return flushed

    def _log(self, write: Callable[..., None], message: str, fields: Mapping[str, object]) -> None:
        write(message, extra={**self._keys, **fields}, stacklevel=_CALLER)

    def _flush(self) -> None:
        """Write the metrics."""
        for metric, value in self._counts.items():
            self._metrics.add_metric(metric, MetricUnit.Count, value)
        self._counts.clear()
        if self._metrics.metric_set:  # Powertools warns if there is no metric to flush.
            self._metrics.flush_metrics()
