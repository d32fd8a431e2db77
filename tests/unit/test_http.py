"""Test the dispatcher of a Lambda function's HTTPS requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from firstboot.domain.clock import EPOCH
from firstboot.runtime.errors import MethodNotAllowed, RouteNotFound
from firstboot.runtime.http import Dispatcher, HttpEndpoints, HttpRequest, HttpResponse
from firstboot.runtime.routes import CREDENTIALS, DEVICE, NONCE, served

EVERY = served(())
"""The routes of every deployment."""


def echo(request: HttpRequest, _: datetime) -> HttpResponse:
    """Answer with the path parameters."""
    return HttpResponse(200, "text/plain", str(dict(request.parameters)))


def other(_: HttpRequest, __: datetime) -> HttpResponse:
    """Answer as a different endpoint would."""
    return HttpResponse(200, "text/plain", "other")


def asked(method: str, path: str) -> HttpRequest:
    """Return a request with this method and path."""
    return HttpRequest(method, path, f"https://host{path}", b"", "192.0.2.1", "request-1")


@pytest.mark.parametrize(
    "endpoints", [{}, {DEVICE: echo}, {DEVICE: echo, CREDENTIALS: echo, NONCE: echo}, {NONCE: echo}]
)
def test_a_lambda_answers_exactly_its_routes(endpoints: dict[Any, Any]) -> None:
    """A dispatcher cannot be built with a route left out, or with a route of another Lambda function."""
    with pytest.raises(ValueError, match="vend must answer exactly"):
        Dispatcher("vend", HttpEndpoints(EVERY, endpoints))


def test_a_request_reaches_the_endpoint_of_its_route() -> None:
    """A request reaches the endpoint of its route, with its path parameters."""
    dispatcher = Dispatcher("vend", HttpEndpoints(EVERY, {DEVICE: other, CREDENTIALS: echo}))
    found = dispatcher.answer(asked("GET", "/role-aliases/telemetry/credentials"), EPOCH)
    assert found.body == "{'alias': 'telemetry'}"
    assert dispatcher.answer(asked("GET", "/v1/device"), EPOCH).body == "other"


@pytest.mark.parametrize("route", EVERY, ids=lambda route: route.key)
def test_another_method_is_refused_with_the_allowed_one(route: Any) -> None:
    """A known path with another method is refused with the allowed one, also on another Lambda's path."""
    dispatcher = Dispatcher("vend", HttpEndpoints(EVERY, {DEVICE: echo, CREDENTIALS: echo}))
    with pytest.raises(MethodNotAllowed) as refused:
        dispatcher.answer(asked("DELETE", route.path.replace("{alias}", "telemetry")), EPOCH)
    assert refused.value.allow == route.method


@pytest.mark.parametrize(
    "path", ["/", "", "/v1", "/v1/device/", "/v1/device/x", "/role-aliases//credentials", "/V1/device"]
)
def test_an_unknown_path_is_not_found(path: str) -> None:
    """An unknown path is not found, and neither is a path with an empty parameter."""
    dispatcher = Dispatcher("vend", HttpEndpoints(EVERY, {DEVICE: echo, CREDENTIALS: echo}))
    with pytest.raises(RouteNotFound):
        dispatcher.answer(asked("GET", path), EPOCH)
