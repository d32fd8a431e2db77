"""Makes boto3's clients and moto's answers cheap, which otherwise take most of a test's time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import pytest
from botocore.httpsession import create_urllib3_context
from botocore.loaders import create_loader
from botocore.session import Session
from moto.core.botocore_stubber import BotocoreStubber

# One of each for all tests: the service models, and the TLS context, which no call over moto uses.
_loader = cache(create_loader)
_context = cache(create_urllib3_context)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share service models and TLS context, and keep coverage out of moto and of the making of clients."""
    monkeypatch.setattr("botocore.session.create_loader", _loader)
    monkeypatch.setattr("botocore.httpsession.create_urllib3_context", _context)
    monkeypatch.setattr(Session, "create_client", untraced(Session.create_client))
    monkeypatch.setattr(BotocoreStubber, "process_request", untraced(BotocoreStubber.process_request))


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` without coverage's tracer, if there is one.

    On Python 3.11 the tracer sees each line of each module, also of those that are not measured.
    """

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        tracer: Any = sys.gettrace()
        if not hasattr(tracer, "stop"):  # none, or a debugger's
            return function(*arguments, **options)
        # `stop` takes effect at the next event, so the tracer sees nothing of `function`. After `start` it
        # sees that `run` returns, whose call it has seen.
        tracer.stop()
        try:
            return function(*arguments, **options)
        finally:
            tracer.start()

    return run
