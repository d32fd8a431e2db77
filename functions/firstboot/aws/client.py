"""A client of an API of AWS: botocore's models, serializers, signers and parsers without its own client.

botocore's client looks up the host of each call by a table of rules and runs dozens of hooks around it. A
warm request takes a quarter to a third less CPU without it, and a cold start a sixth less.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache, cached_property, partial
from io import BytesIO
from time import sleep
from typing import Any, cast
from uuid import uuid4

from botocore import xform_name
from botocore.errorfactory import ClientExceptionsFactory
from botocore.exceptions import BotoCoreError, ConnectionError, HTTPClientError  # noqa: A004 - botocore's own name
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel
from botocore.response import StreamingBody
from botocore.retries.quota import RetryQuota
from botocore.retries.standard import (
    ExponentialBackoff,
    RetryEventAdapter,
    RetryHandler,
    RetryPolicy,
    RetryQuotaChecker,
    StandardRetryConditions,
)

from firstboot.aws.answers import WholeAnswers
from firstboot.aws.connections import Answer, connections
from firstboot.aws.requests import Request, Requests
from firstboot.domain.aws_apis import AwsApi

_ATTEMPTS = 2
"""How often a call is tried: devices and gateways give up after a few seconds."""

_ERROR = 300


@cache
def loader() -> Loader:
    """Return the loader of botocore's models, which keeps what it has read."""
    # Environments that Lambda restores from one snapshot begin with the same random state, and would all wait
    # for the same times before they repeat a call.
    random.seed()
    return Loader()


class Client:
    """A client of one API. Its methods have the names, parameters, answers and errors of botocore's client.

    `fixed` are parameters of every call.
    """

    def __init__(self, api: AwsApi, fixed: dict[str, Any] | None = None) -> None:
        self.model = ServiceModel(loader().load_service_model(api.value, "service-2"), api.value)
        self.requests = Requests(api, self.model)
        self.connections = connections()
        self._fixed = fixed or {}
        self._parser = WholeAnswers(self.model.resolved_protocol)
        # The stubs of botocore have other types of these two than botocore has.
        self._quota: Any = RetryQuotaChecker(RetryQuota())
        policy = RetryPolicy(StandardRetryConditions(max_attempts=_ATTEMPTS), ExponentialBackoff())
        self._retries = RetryHandler(policy, RetryEventAdapter(), self._quota)  # type: ignore[arg-type]

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method not in self._names:
            raise AttributeError(method)
        made = partial(self._named, self._names[method])
        setattr(self, method, made)
        return made

    @cached_property
    def _names(self) -> dict[str, str]:
        return {xform_name(name): name for name in self.model.operation_names}

    @cached_property
    def exceptions(self) -> Any:  # noqa: ANN401 - made of the model
        """The classes of the API's errors."""
        return ClientExceptionsFactory().create_client_exceptions(self.model)

    def get_paginator(self, method: str) -> Any:  # noqa: ANN401 - as botocore's client has it
        """Return what makes the calls for all pages of an operation."""
        # The paginator's own language of paths takes CPU to import, and devices wait for no page.
        from botocore.paginate import Paginator  # noqa: PLC0415 - see above

        name = self._names[method]
        known = loader().load_service_model(self.model.service_name, "paginators-1")["pagination"]
        return Paginator(getattr(self, method), known[name], self.model.operation_model(name))

    def generate_presigned_url(self, method: str, Params: dict[str, Any], ExpiresIn: int) -> str:  # noqa: N803
        """Return a URL by which a call can be made without credentials for `ExpiresIn` seconds."""
        operation = self.model.operation_model(self._names[method])
        return self.requests.presign(self.requests.serialize(operation, Params), ExpiresIn)

    def _named(self, name: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 - members of any type
        return self.call(name, params)

    def call(self, name: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a call. Raises ClientError for an error of the service, and BotoCoreError."""
        operation = self.model.operation_model(name)
        params = params | self._fixed
        for member in operation.idempotent_members:
            params.setdefault(member, str(uuid4()))
        made = self.requests.serialize(operation, params)
        http, parsed = self.attempt(operation, made)
        if http.status_code >= _ERROR:
            code = parsed.get("Error", {}).get("Code")
            raise self.exceptions.from_code(code)(parsed, name)
        return parsed

    def attempt(self, operation: OperationModel, made: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
        """Send a request, and once more if that may help. Return the answer, and its members."""
        invocation, attempt = str(uuid4()), 1
        context: dict[str, Any] = {}
        while True:
            answer = error = None
            try:
                request = self.requests.sign(made)
                # AWS SDKs and tools reference guide, "Retry behavior". The signature leaves them out.
                request.headers["amz-sdk-invocation-id"] = invocation
                request.headers["amz-sdk-request"] = f"attempt={attempt}; max={_ATTEMPTS}"
                answer = self._answer(operation, request)
            except (HTTPClientError, ConnectionError) as failed:
                error = failed
            if answer and answer[0].status_code < _ERROR:
                break
            pause = self._retries.needs_retry(
                response=answer,
                operation=operation,
                attempts=attempt,
                caught_exception=error,
                request_dict={"context": context},
            )
            if pause is None:
                break
            sleep(pause)
            attempt += 1
        if answer is None:
            raise cast("BotoCoreError", error)
        self._quota.release_retry_quota(context, answer[0])
        return answer

    def _answer(self, operation: OperationModel, request: Request) -> tuple[Answer, dict[str, Any]]:
        http = self.send(operation, request)
        body: Any = http.content
        if operation.has_streaming_output and http.status_code < _ERROR:
            body = StreamingBody(BytesIO(body), len(body))
        raw = {
            "status_code": http.status_code,
            "headers": http.headers,
            "body": body,
            "context": {"operation_name": operation.name},
        }
        parsed = self._parser.parse(raw, operation.output_shape)
        if http.status_code >= _ERROR:
            shape = self.model.shape_for_error_code(parsed.get("Error", {}).get("Code"))
            parsed |= self._parser.parse(raw, shape) if shape else {}
        return http, parsed

    def send(self, operation: OperationModel, request: Request) -> Answer:
        """Send a request that is signed, and return the answer."""
        del operation
        return self.connections.send(request)
