"""Refusals in log and metrics, the same for every Lambda."""

from __future__ import annotations

from http import HTTPStatus

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from firstboot.domain.errors import FirstbootError


def count(error: FirstbootError, logger: Logger, metrics: Metrics) -> None:
    """Log a refusal, and count it under its class's name."""
    level = "error" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "info"
    getattr(logger, level)("refused", extra={"code": error.code, "reason": error.log})
    metrics.add_metric(type(error).__name__, MetricUnit.Count, 1)
