"""Lets tests reach into the product's AWS clients as into botocore's own ones.

moto answers for botocore's clients by an event before each request. Here the same events are emitted around
the calls of the product's clients. Patches of botocore's `_make_api_call` see these calls too.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.client import BaseClient
from botocore.hooks import HierarchicalEmitter
from moto.core.models import botocore_stubber

from firstboot.aws.client import Client

_call, _attempt, _send = Client.call, Client.attempt, Client.send
_made: WeakKeyDictionary[Client, Any] = WeakKeyDictionary()


@cache
def events() -> HierarchicalEmitter:
    """Return the events of all clients that are made after a handler was registered."""
    return HierarchicalEmitter()


def _meta(client: Client) -> Any:
    if client not in _made:
        _made[client] = SimpleNamespace(events=events().__copy__(), service_model=client.model)
    return _made[client]


def _emit(client: Client, event: str, operation: str, **told: Any) -> Any:
    """Emit an event, and return the first answer of a handler."""
    name = f"{event}.{client.model.service_id.hyphenize()}.{operation}"
    answers = _meta(client).events.emit(name, **told)
    return next((answer for _, answer in answers if answer is not None), None)


def _observed(client: Client, operation: str, params: dict[str, Any]) -> Any:
    _emit(client, "provide-client-params", operation, params=params)
    model = client.model.operation_model(operation)
    _emit(client, "before-parameter-build", operation, params=params, model=model)
    return _call(client, operation, params)


def _attempted(client: Client, operation: Any, made: dict[str, Any]) -> Any:
    answer = _emit(client, "before-call", operation.name, model=operation, params=made)
    return answer or _attempt(client, operation, made)


def _sent(client: Client, operation: Any, request: Any) -> Any:
    headers: Any = HeadersDict(request.headers)
    prepared = AWSPreparedRequest(request.method, request.url, headers, request.body, stream_output=False)
    answer = _emit(client, "before-send", operation.name, request=prepared)
    return answer or botocore_stubber("before-send", prepared) or _send(client, operation, request)


def install() -> None:
    """Put the bridge around every client, until the process ends."""
    if Client.send is _sent:
        return
    make = BaseClient._make_api_call  # type: ignore[attr-defined]

    def either(client: Any, operation: str, params: dict[str, Any]) -> Any:
        made = _observed if isinstance(client, Client) else make
        return made(client, operation, params)

    def call(client: Client, operation: str, params: dict[str, Any]) -> Any:
        return BaseClient._make_api_call(client, operation, params)  # type: ignore[attr-defined]

    BaseClient._make_api_call = either  # type: ignore[attr-defined]
    patched: Any = Client
    patched.call, patched.attempt, patched.send = call, _attempted, _sent
    patched.meta = property(_meta)
