"""The preflight's judgements of an account before a deployment."""

from __future__ import annotations

import pytest

from console import account
from console.account import Reserved
from console.diagnosis import Level

DEFAULT, BOTH = Reserved(50, None), Reserved(50, 50)


@pytest.mark.parametrize(
    ("executions", "reserved", "level", "advice"),
    [
        (1_000, DEFAULT, Level.OK, "the account has 1,000, and 150 are reserved"),
        (350, BOTH, Level.OK, "250 are reserved"),
        (250, DEFAULT, Level.OK, "150 are reserved"),
        (249, DEFAULT, Level.FAIL, "set mqttConcurrency to 49, or have the quota raised"),
        (349, BOTH, Level.FAIL, "set mqttConcurrency and publicConcurrency to 49"),
        (10, DEFAULT, Level.FAIL, "set mqttConcurrency to 0, or have the quota raised"),
        (50, BOTH, Level.FAIL, "set mqttConcurrency and publicConcurrency to 0"),
        (10, Reserved(0, None), Level.WARN, "no more can be: have the quota raised"),
        (1_000, Reserved(0, 0), Level.WARN, "it allows 50 for mqttConcurrency and publicConcurrency"),
        (1_000, Reserved(50, 0), Level.WARN, "it allows 50"),
    ],
)
def test_the_value_to_set_is_named(executions: int, reserved: Reserved, level: Level, advice: str) -> None:
    """An account that has less than the deployment reserves is a failure with the value to set."""
    line = account.concurrency(executions, reserved)
    assert line.level is level
    assert advice in line.detail


@pytest.mark.parametrize("executions", [100, 103, 150, 237, 600])
@pytest.mark.parametrize("public", [None, 0])
def test_the_advice_can_be_followed(executions: int, public: int | None) -> None:
    """With the value that is named, AWS keeps its 100 unreserved executions."""
    most = Reserved(50, public).most(executions)
    made = Reserved(most, None if public is None else most)
    assert account.concurrency(executions, made).level is not Level.FAIL


@pytest.mark.parametrize(
    ("context", "reserved"),
    [
        ({"mqttConcurrency": 7, "domain": None, "publicConcurrency": 3}, Reserved(7, None)),
        ({"mqttConcurrency": 7, "domain": {}, "publicConcurrency": 3}, Reserved(7, None)),
        ({"mqttConcurrency": 0, "domain": {"name": "d"}, "publicConcurrency": 3}, Reserved(0, 3)),
        ({"domain": {"name": "d"}, "public": False}, Reserved(50, None)),
    ],
)
def test_what_is_reserved_follows_from_the_settings(context: dict[str, object], reserved: Reserved) -> None:
    """The public host has functions of its own only beside an mTLS host."""
    assert Reserved.of_settings(context) == reserved


@pytest.mark.parametrize(
    ("version", "level"),
    [(None, Level.FAIL), ("", Level.FAIL), ("5", Level.FAIL), ("6", Level.OK), ("28", Level.OK)],
)
def test_an_old_bootstrap_stack_fails(version: str | None, level: Level) -> None:
    """A bootstrap stack that is missing or older than the template needs is a failure."""
    line = account.bootstrap(version)
    assert line.level is level
    assert "version 6 is needed" in line.detail
