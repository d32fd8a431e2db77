"""Coverage does not trace what the tests keep from it, and traces all else."""

from __future__ import annotations

import sys
from typing import Any

import boto3
import botocore.session
import pytest

from tests.aws.cheap_clients import untraced


class Tracer:
    """A tracer of coverage's kind. It records when it is stopped and started."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def stop(self) -> None:
        """Stop."""
        self.seen.append("stop")

    def start(self) -> None:
        """Start."""
        self.seen.append("start")


@pytest.mark.parametrize("fails", [False, True])
def test_the_tracer_is_off_during_the_call_alone(monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> None:
    """The tracer stops before an untraced function and starts after it, also if the function raises."""
    tracer = Tracer()
    monkeypatch.setattr(sys, "gettrace", lambda: tracer)

    def work() -> None:
        tracer.seen.append("work")
        if fails:
            raise ValueError

    try:
        untraced(work)()
    except ValueError:
        assert fails
    assert tracer.seen == ["stop", "work", "start"]


def test_a_call_over_moto_is_untraced(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tracer is off while a client is made and while moto answers, and on again after each."""
    tracer = Tracer()
    monkeypatch.setattr(sys, "gettrace", lambda: tracer)
    boto3.client("sts").get_caller_identity()
    assert tracer.seen == ["stop", "start"] * 2


def test_clients_share_what_is_expensive(aws: None) -> None:
    """All clients have the same TLS context and read the service models once."""
    made: list[Any] = [boto3.client("sts"), boto3.client("kms")]
    assert len({id(_context(client)) for client in made}) == 1
    loaders = [botocore.session.get_session().get_component("data_loader") for _ in range(2)]
    assert loaders[0] is loaders[1]


def _context(client: Any) -> Any:
    return client._endpoint.http_session._manager.connection_pool_kw["ssl_context"]
