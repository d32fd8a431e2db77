"""The HTTPS hosts of a stack: the public host, the mTLS host, or both, apart from each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aws_cdk import Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from firstboot.runtime import routes
from firstboot.runtime.routes import Service
from infra.api import Api
from infra.authority import Authority
from infra.configuration import Configuration
from infra.deployment import Deployment
from infra.function import Function, Twin
from infra.live import live
from infra.mtls import MtlsHost
from infra.throttles import region, throttles


@dataclass(frozen=True)
class Hosts:
    """The hosts that a configuration has, at least one of them.

    `functions` are the Lambdas that the public host has for itself, by construct id. A stack with one host
    has none.
    """

    public: Api | None
    mtls: MtlsHost | None
    functions: dict[str, lambda_.Function] = field(default_factory=dict)

    @property
    def apis(self) -> dict[str, Api]:
        """The APIs by the name of their host."""
        found = {"Public": self.public, "Mtls": self.mtls.api if self.mtls else None}
        return {name: api for name, api in found.items() if api}

    @property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs about its hosts."""
        outputs = {"ApiId": next(iter(self.apis.values())).api_id}
        if self.public:
            outputs["PublicUrl"] = self.public.api_endpoint
        if self.mtls:
            outputs["MtlsUrl"] = self.mtls.url
            outputs["MtlsAlias"] = self.mtls.regional_domain_name
            outputs["MtlsApiId"] = self.mtls.api.api_id
        return outputs

    @property
    def option(self) -> str:
        """The option of the device's client that names a host."""
        return f"--public {self.public.api_endpoint}" if self.public else f"--mtls {self.outputs['MtlsUrl']}"


def hosts(
    scope: Construct, *, deployment: Deployment, authority: Authority, functions: dict[Service, Function]
) -> Hosts:
    """Make the hosts of the deployment's configuration. `functions` has the Lambda of each service."""
    configuration = deployment.configuration
    called = _called(functions, configuration)
    served = routes.served(deployment.fleet.offers)
    limits = throttles(configuration, region(Stack.of(scope)), served)
    if not configuration.domain:
        return Hosts(Api(scope, "Api", functions=called, throttles=limits, served=served), None)
    # A domain that maps to the public host's API would share its throttles. An API with an address of its own
    # would also be reached around the domain, without a client certificate.
    api = Api(scope, "MtlsApi", functions=called, throttles=limits, served=served, name="mTLS host")
    mtls = MtlsHost(
        scope,
        "MtlsHost",
        domain=configuration.domain,
        api=api,
        store=deployment.store,
        truststore_version=authority.truststore_version,
    )
    if not configuration.public:
        return Hosts(None, mtls)
    twins = _twins(scope, configuration, functions)
    halves = {key: throttle.halved() for key, throttle in limits.items()}
    public = Api(scope, "Api", functions=_called(twins, configuration), throttles=halves, served=served)
    return Hosts(public, mtls, {each.node.id: each for each in twins.values()})


def _called(
    functions: Mapping[Service, lambda_.Function], configuration: Configuration
) -> dict[Service, lambda_.IFunction]:
    """Return what an API calls for each service."""
    return {name: live(function, configuration.cold_start) for name, function in functions.items()}


def _twins(
    scope: Construct, configuration: Configuration, functions: dict[Service, Function]
) -> dict[Service, Twin]:
    """Return the Lambdas of the public host, whose concurrency is not that of the mTLS host."""
    # AWS calls a throttle a target and no ceiling (API Gateway developer guide, "Throttling requests to your
    # HTTP API"), and within its bursts each call may be a cold start. Reserved concurrency is a ceiling.
    return {
        service: Twin(
            scope, f"{function.node.id}Public", of=function, concurrency=configuration.public_concurrency
        )
        for service, function in functions.items()
    }
