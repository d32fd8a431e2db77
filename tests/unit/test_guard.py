"""Each refusal is logged and counted, and early ones of a storm are logged once a second."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aws_lambda_powertools.metrics import MetricUnit

from firstboot.domain.clock import from_epoch
from firstboot.domain.errors import FirstbootError
from firstboot.exchange.errors import EnrollmentRateExceeded
from firstboot.runtime.guard import Guard

CONTEXT: Any = SimpleNamespace(
    function_name="f", memory_limit_in_mb=128, invoked_function_arn="arn", aws_request_id="r"
)

Written = Callable[[], tuple[list[Any], Counter[str]]]


@dataclass
class Function:
    """A Lambda function that ends each invocation with the refusal that it is given, if any."""

    name: str
    now: datetime = field(default_factory=lambda: from_epoch(1_800_000_000))

    def __post_init__(self) -> None:
        self.guard = Guard(self.name, lambda: self.now)
        self.handle = self.guard.handler(self._handle)

    def _handle(self, refusal: FirstbootError | None, _: Any) -> None:
        self.guard.count("Request")
        if refusal:
            self.guard.refusal(refusal)


@pytest.fixture
def function(request: pytest.FixtureRequest) -> Function:
    """Return a function with a log of its own, which Powertools keeps by name."""
    return Function(request.node.name)


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Written:
    """Return a function for what was written since its last call.

    It returns `notLogged` of each refusal in the log, and the sums of the metrics.
    """

    def take() -> tuple[list[Any], Counter[str]]:
        refused = [getattr(each, "notLogged", None) for each in caplog.records if each.message == "refused"]
        caplog.clear()
        sums: Counter[str] = Counter()
        for line in map(json.loads, capsys.readouterr().out.splitlines()):
            for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
                sums[metric["Name"]] += sum(line[metric["Name"]])
        return refused, sums

    return take


def early() -> EnrollmentRateExceeded:
    """Return a refusal of a limit that the process knows to be reached."""
    refusal = EnrollmentRateExceeded(retry_after=60)
    refusal.is_early = True
    return refusal


def test_each_refusal_is_logged_and_counted(function: Function, written: Written) -> None:
    """A refusal that is not early has a log line and its metric at once, however many there are."""
    for _ in range(3):
        function.handle(EnrollmentRateExceeded(retry_after=60), CONTEXT)
        assert written() == ([None], {"Request": 1, "EnrollmentRateExceeded": 1})


def test_early_refusals_are_logged_once_a_second(function: Function, written: Written) -> None:
    """The first one is logged at once, and the next line says how many were not. All are counted."""
    function.handle(early(), CONTEXT)
    assert written() == ([0], {"Request": 1, "EnrollmentRateExceeded": 1})
    for _ in range(5):
        function.handle(early(), CONTEXT)
    assert written() == ([], {})
    function.now += timedelta(seconds=1)
    function.handle(early(), CONTEXT)
    assert written() == ([5], {"Request": 6, "EnrollmentRateExceeded": 6})


def test_the_next_other_request_brings_the_counts(function: Function, written: Written) -> None:
    """An invocation that is no early refusal writes the counts that are not written yet."""
    function.handle(early(), CONTEXT)
    function.handle(early(), CONTEXT)
    written()
    function.handle(None, CONTEXT)
    assert written() == ([], {"Request": 2, "EnrollmentRateExceeded": 1})


def test_values_with_a_unit_stay_apart(function: Function, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts of one invocation are summed, and sizes are not, because their distribution matters."""

    def work(_: None, __: Any) -> None:
        for value in (1, 2):
            function.guard.count("Sizes", value, MetricUnit.Bytes)
            function.guard.count("Counts", value)

    function.guard.handler(work)(None, CONTEXT)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["Sizes"], line["Counts"]) == ([1.0, 2.0], [3.0])


def test_a_line_has_the_keys_of_its_invocation(function: Function, caplog: pytest.LogCaptureFixture) -> None:
    """A line has its invocation's id and keys, none of the invocation before, and the place that logs it."""

    def work(device: str | None, _: Any) -> None:
        function.guard.info("begun")
        if device:
            function.guard.about(deviceId=device)
        function.guard.warning("done")

    handle = function.guard.handler(work)
    for device, request in (("gw-1", "r1"), (None, "r2")):
        context: Any = SimpleNamespace(aws_request_id=request)
        handle(device, context)
    lines = [vars(each) for each in caplog.records]
    assert [(line["function_request_id"], line.get("deviceId")) for line in lines] == [
        ("r1", None),
        ("r1", "gw-1"),
        ("r2", None),
        ("r2", None),
    ]
    assert {line["funcName"] for line in lines} == {"work"}


def test_a_failure_has_the_keys_of_its_invocation(
    function: Function, caplog: pytest.LogCaptureFixture
) -> None:
    """The line of a refusal and that of another exception have the keys too."""

    def fail(error: Exception) -> None:
        raise error

    def work(error: Exception, _: Any) -> None:
        function.guard.about(deviceId="gw-1")
        function.guard.run(lambda: fail(error), lambda _: None)

    for error in (EnrollmentRateExceeded(retry_after=60), KeyError("x")):
        function.guard.handler(work)(error, CONTEXT)
    assert [(line.message, vars(line)["deviceId"]) for line in caplog.records] == [
        ("refused", "gw-1"),
        ("unhandled", "gw-1"),
    ]
