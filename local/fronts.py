"""The two HTTPS hosts in front of the deployed functions, as API Gateway has them.

The mTLS host stands for the custom domain of an HTTP API with mutual TLS, the public host for an execute-api
endpoint. Both have the routes of their deployed API. ministack's own gateway has no mutual TLS.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from typing import Any

import boto3
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local import events
from local.state import State

_LARGEST_BODY = 10 * 1024 * 1024  # HTTP API quota "Payload size"
_INTEGRATION_SECONDS = 30  # HTTP API quota "Maximum integration timeout"


class Gateway:
    """The gateway of the deployed API `api_id`. It finds a request's route and invokes its function."""

    def __init__(self, api_id: str) -> None:
        self._api_id = api_id
        self._routes = _routes(api_id)
        # No retries, because a second Invoke would be a second request.
        config = Config(retries={"max_attempts": 0}, read_timeout=_INTEGRATION_SECONDS)
        self._lambda = boto3.client("lambda", config=config)

    async def answer(self, request: web.Request, host: dict[str, str]) -> web.Response:
        """Return the answer to a request. `host` is the part of requestContext that names the host."""
        line = f"{request.method} {events.raw_path(request)}"
        for key, pattern, function in self._routes:
            if match := pattern.fullmatch(line):
                context = host | {"apiId": self._api_id, "routeKey": key}
                return await self._forward(request, function, match.groupdict(), context)
        return _refusal(404, "Not Found")

    async def _forward(
        self, request: web.Request, function: str, parameters: dict[str, str], context: dict[str, str]
    ) -> web.Response:
        try:
            event = events.event(request, await request.read(), parameters, context)
            return events.response(await asyncio.to_thread(self._invoke, function, event))
        except web.HTTPRequestEntityTooLarge:
            return _refusal(413, "Request Entity Too Large")
        except (ClientError, BotoCoreError):
            return _refusal(503, "Service Unavailable")
        except (AttributeError, KeyError, TypeError, ValueError):
            return _refusal(500, "Internal Server Error")

    def _invoke(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        answer = self._lambda.invoke(FunctionName=function, Payload=json.dumps(event).encode())
        if "FunctionError" in answer:
            raise ValueError(answer["FunctionError"])
        result: dict[str, Any] = json.load(answer["Payload"])
        return result


def _routes(api_id: str) -> list[tuple[str, re.Pattern[str], str]]:
    """Return the API's routes: key, pattern of a request's method and path, and ARN of the function.

    Routes with fewer parameters come first, and `$default` comes last.
    """
    api = boto3.client("apigatewayv2")
    integrations = api.get_integrations(ApiId=api_id)["Items"]
    uris = {f"integrations/{each['IntegrationId']}": each["IntegrationUri"] for each in integrations}
    targets = {route["RouteKey"]: route["Target"] for route in api.get_routes(ApiId=api_id)["Items"]}
    keys = sorted(targets, key=lambda key: (key == "$default", key.count("{")))
    # An integration's URI is a function's ARN, or has one in its path.
    return [(k, _pattern(k), re.findall(r"arn:[\w-]+:lambda:[^/]+", uris[targets[k]])[0]) for k in keys]


def _pattern(key: str) -> re.Pattern[str]:
    template = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(key))
    return re.compile(".*" if key == "$default" else template, re.DOTALL)


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def tls(state: State, truststore: str | None) -> ssl.SSLContext:
    """Return the TLS settings of a host.

    With a truststore (a PEM file) the host demands a client certificate that chains to any of its
    certificates. Without a truststore it does not ask for one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(state.path("run/server.pem"), state.path("run/server.key"))
    if truststore:
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(truststore)
        context.num_tickets = 0  # the certificate of a resumed session would not be verified again
    return context


async def listen(gateway: Gateway, context: ssl.SSLContext, port: int) -> web.AppRunner:
    """Start a host on loopback and return its runner, which the caller cleans up."""
    host = {"domainName": f"localhost:{port}", "domainPrefix": "localhost"}

    async def handle(request: web.Request) -> web.Response:
        return await gateway.answer(request, host)

    app = web.Application(client_max_size=_LARGEST_BODY)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    return runner
