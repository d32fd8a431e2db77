"""The HTTP APIs: routes, throttles and the access log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigw
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from firstboot.domain.names import METRICS
from firstboot.runtime import routes
from infra.function import LOG_RETENTION
from infra.nag import acknowledge

# The log has no query, no raw path and no header, because a device could put a secret into any of them.
_ACCESS_LOG = {
    "requestId": "$context.requestId",
    "time": "$context.requestTime",
    "host": "$context.domainName",
    "sourceIp": "$context.identity.sourceIp",
    "clientCertificate": "$context.identity.clientCert.serialNumber",
    "route": "$context.routeKey",
    "status": "$context.status",
    "responseLength": "$context.responseLength",
    "latency": "$context.responseLatency",
    "error": "$context.error.message",
    "integrationError": "$context.integrationErrorMessage",
}


@dataclass(frozen=True)
class Throttle:
    """A route's limit in requests a second (`rate`), and the size of its token bucket (`burst`)."""

    rate: int
    burst: int

    @property
    def settings(self) -> dict[str, int]:
        """The limits under CloudFormation's names."""
        return {"ThrottlingRateLimit": self.rate, "ThrottlingBurstLimit": self.burst}

    def halved(self) -> Throttle:
        """Return half of the limits."""
        return Throttle(self.rate // 2, self.burst // 2)


# KMS makes 300 ECC signatures a second in each region, and STS 600 sessions. A storm must get a fast 429 from
# the gateway before it reaches these quotas.
THROTTLES = {
    routes.CERTIFICATES: Throttle(200, 400),
    routes.COMMIT: Throttle(200, 400),
    routes.DEVICE: Throttle(200, 400),
    routes.CREDENTIALS: Throttle(400, 800),
    routes.NONCE: Throttle(200, 400),
    routes.HEALTH: Throttle(20, 40),
}
OTHERS = Throttle(50, 100)
"""The limit for requests that match no route."""


class Api(apigw.HttpApi):
    """An HTTP API with all routes, and with throttles and an access log of its own.

    `functions` has the Lambda of each service. With `name` the API has no address of its own: only the domain
    that maps to it leads there. Without `name` its address is the public host, which never asks for a client
    certificate. `beside` says that another API shares the quotas of KMS and STS, so that the throttles are
    half as high.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        functions: Mapping[routes.Service, lambda_.IFunction],
        name: str = "",
        beside: bool = False,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Firstboot {name}".rstrip(),
            create_default_stage=False,
            disable_execute_api_endpoint=True if name else None,
        )
        lambdas = {service: _integration(function) for service, function in functions.items()}
        made = [self._route(route.key, lambdas[route.service]) for route in routes.ROUTES]
        made.append(self._route("$default", lambdas["exchange"]))
        self.access_log = logs.LogGroup(self, "AccessLog", retention=LOG_RETENTION)
        self.stage = self._stage(beside=beside)
        # The stage's route settings name routes, which must exist first.
        self.stage.node.add_dependency(*made)
        acknowledge(
            self,
            {
                "APIG4": "The Lambdas verify a device's certificate on every call, because the gateway's mTLS"
                " does not check revocation and the public host has no client certificates."
            },
        )

    def _route(self, key: str, integration: integrations.HttpLambdaIntegration) -> apigw.HttpRoute:
        method, _, path = key.partition(" ")
        route_key = (
            apigw.HttpRouteKey.with_(path, apigw.HttpMethod[method]) if path else apigw.HttpRouteKey.DEFAULT
        )
        made = apigw.HttpRoute(
            self,
            f"Route {key}".replace("/", "."),
            http_api=self,
            route_key=route_key,
            integration=integration,
        )
        # An update that gives a route another Lambda must permit the call before it sends calls there.
        route = cast("apigw.CfnRoute", made.node.default_child)
        for each in made.node.find_all():
            if isinstance(each, lambda_.CfnPermission):
                route.add_resource_dependency(each)
        return made

    def throttled(self, metric: str) -> cloudwatch.Metric:
        """Return the count of the calls that the gateway refused with 429, under the name `metric`.

        API Gateway's own metrics do not tell a 429 from another 4xx.
        """
        return logs.MetricFilter(
            self,
            "Throttled",
            log_group=self.access_log,
            filter_pattern=logs.FilterPattern.string_value("$.status", "=", "429"),
            metric_namespace=METRICS,
            metric_name=metric,
        ).metric()

    def _stage(self, *, beside: bool) -> apigw.CfnStage:
        throttles = {"$default": OTHERS} | {route.key: THROTTLES[route] for route in routes.ROUTES}
        if beside:
            throttles = {key: throttle.halved() for key, throttle in throttles.items()}
        return apigw.CfnStage(
            self,
            "Stage",
            api_id=self.api_id,
            stage_name="$default",
            auto_deploy=True,
            default_route_settings=apigw.CfnStage.RouteSettingsProperty(
                throttling_rate_limit=throttles["$default"].rate,
                throttling_burst_limit=throttles["$default"].burst,
            ),
            # CDK passes this map on as it is, so its keys are CloudFormation's. A route without a throttle
            # fails the synth with a KeyError.
            route_settings={key: throttle.settings for key, throttle in throttles.items()},
            access_log_settings=apigw.CfnStage.AccessLogSettingsProperty(
                destination_arn=self.access_log.log_group_arn, format=json.dumps(_ACCESS_LOG)
            ),
        )


def _integration(function: lambda_.IFunction) -> integrations.HttpLambdaIntegration:
    """Return an integration that lets each of its routes, and no other caller, invoke `function`."""
    return integrations.HttpLambdaIntegration(function.node.id, function, timeout=Duration.seconds(10))
