"""API Gateway and Lambda in front of the product over moto, with the limits of a synthesised template.

The emulator has neither throttles nor concurrency. A route's throttle is a token bucket (API Gateway
developer guide, "Throttling requests to your HTTP API"). All calls come in one moment here, so a bucket has
its burst and is not refilled. An execution takes its place from what is reserved for its function, or from
what the account has besides all reservations (Lambda developer guide, "Configuring reserved concurrency for a
function").
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, web

from local import certificates, events, fronts
from local.cloud import free_ports
from local.state import State
from tests import factories
from tests.aws.product import CONTEXT, Product

Json = dict[str, Any]


@dataclass
class Account:
    """The functions of a template, and how many executions the account may have at a time.

    Each execution lasts until `may_end` is set, so that a test decides how many there are at a time.
    `decided` gets an item for each call that was refused or is executed.
    """

    template: Json
    product: Product
    concurrency: int
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    decided: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        functions = self.of("AWS::Lambda::Function")
        lambdas = self.product.lambdas
        handlers = {"exchange.http": lambdas.exchange_http, "vend.http": lambdas.vend_http}
        self._handlers = {name: handlers.get(made["Handler"]) for name, made in functions.items()}
        reserved = "ReservedConcurrentExecutions"
        self._free = {name: made[reserved] for name, made in functions.items() if reserved in made}
        self._free[""] = self.concurrency - sum(self._free.values())
        self._one_at_a_time = asyncio.Lock()

    def of(self, kind: str) -> dict[str, Json]:
        """Return the properties of the template's resources of a type, by logical id."""
        found = self.template["Resources"].items()
        return {name: made["Properties"] for name, made in found if made["Type"] == kind}

    async def execute(self, function: str, event: Json) -> Json | None:
        """Return a function's answer, or None if Lambda has no concurrency left for it."""
        share = function if function in self._free else ""
        self.decided.put_nowait(function)
        if not self._free[share]:
            return None
        self._free[share] -= 1
        await self.may_end.wait()
        handler = self._handlers[function]
        assert handler
        async with self._one_at_a_time:  # moto's backends are for one thread
            answer: Json = await asyncio.to_thread(handler, event, CONTEXT)
        self._free[share] += 1
        return answer


class Gateway(fronts.Gateway):
    """The API with the logical id `api`. `tokens` has what is left of each route's throttle."""

    def __init__(self, account: Account, api: str) -> None:
        self._account, self._api_id = account, api
        uris = {
            name: made["IntegrationUri"]["Fn::GetAtt"][0]
            for name, made in account.of("AWS::ApiGatewayV2::Integration").items()
        }
        targets = {
            made["RouteKey"]: made["Target"]["Fn::Join"][1][1]["Ref"]
            for made in account.of("AWS::ApiGatewayV2::Route").values()
            if made["ApiId"] == {"Ref": api}
        }
        keys = sorted(targets, key=lambda key: (key == "$default", key.count("{")))
        self._routes = [(key, fronts._pattern(key), uris[targets[key]]) for key in keys]
        stages = account.of("AWS::ApiGatewayV2::Stage").values()
        (settings,) = (each["RouteSettings"] for each in stages if each["ApiId"] == {"Ref": api})
        self.tokens = {key: int(limits["ThrottlingBurstLimit"]) for key, limits in settings.items()}

    async def _forward(
        self, request: web.Request, function: str, parameters: dict[str, str], context: dict[str, str]
    ) -> web.Response:
        self.tokens[context["routeKey"]] -= 1
        if self.tokens[context["routeKey"]] < 0:
            self._account.decided.put_nowait("the gateway")
            return fronts._refusal(429, "Too Many Requests")
        event = events.event(request, await request.read(), parameters, context)
        answer = await self._account.execute(function, event)
        return events.response(answer) if answer else fronts._refusal(503, "Service Unavailable")


@dataclass(frozen=True)
class Hosts:
    """The two hosts of a stack, over TLS on loopback."""

    account: Account
    public: Gateway
    mtls: Gateway
    urls: dict[str, str]
    trusted: Path

    def session(self, identity: tuple[Path, Path] | None = None) -> ClientSession:
        """Return a client of any number of connections, with a certificate and its key if it has some."""
        context = ssl.create_default_context(cafile=self.trusted)
        if identity:
            context.load_cert_chain(*identity)
        return ClientSession(connector=TCPConnector(limit=0, ssl=context))


@asynccontextmanager
async def serve(account: Account, folder: Path) -> AsyncIterator[Hosts]:
    """Serve the hosts of the account's template. `folder` gets the files of their TLS."""
    (mapping,) = account.of("AWS::ApiGatewayV2::ApiMapping").values()
    apis = account.of("AWS::ApiGatewayV2::Api").items()
    (public,) = (name for name, made in apis if not made.get("DisableExecuteApiEndpoint"))
    gateways = {"public": Gateway(account, public)}
    # An API has one set of throttles, also if it has two names.
    domain = mapping["ApiId"]["Ref"]
    gateways["mtls"] = gateways["public"] if domain == public else Gateway(account, domain)
    state, ports = State(folder), dict(zip(gateways, free_ports(None, None), strict=True))
    truststores = {"public": None, "mtls": _files(state, account.product)}
    async with AsyncExitStack() as opened:
        for name, gateway in gateways.items():
            runner = await fronts.listen(gateway, fronts.tls(state, truststores[name]), ports[name])
            opened.push_async_callback(runner.cleanup)
        urls = {name: f"https://localhost:{port}" for name, port in ports.items()}
        yield Hosts(account, gateways["public"], gateways["mtls"], urls, state.path("ca.pem"))


def _files(state: State, product: Product) -> str:
    """Write the servers' certificate, its CA and the truststore, and return the truststore's path."""
    state.path("run").mkdir(parents=True)
    ca = certificates.authority("HTTPS CA")
    state.path("ca.pem").write_bytes(ca.pem)
    certificates.server(ca).save(state.path("run/server.pem"), state.path("run/server.key"))
    anchors = map(factories.pem, (product.factory.certificate, product.ca))
    state.path("truststore.pem").write_text("".join(anchors))
    return str(state.path("truststore.pem"))


def call(route: str, alias: str) -> tuple[str, str]:
    """Return the method and the path of a call to a route."""
    method, _, template = route.partition(" ")
    return method, re.sub(r"\{\w+\}", alias, template)
