"""The HTTP API: routes, throttles and the access log."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_apigatewayv2 as apigw
from aws_cdk import aws_apigatewayv2_integrations as integrations
from aws_cdk import aws_logs as logs
from constructs import Construct

from firstboot.runtime import routes
from infra.function import LOG_RETENTION, Function
from infra.nag import acknowledge

# No query, no path as sent, no header: nothing a device could put a secret into.
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
    """Requests a second, and how many more at once."""

    rate: int
    burst: int

    @property
    def settings(self) -> dict[str, int]:
        """As CloudFormation spells it."""
        return {"ThrottlingRateLimit": self.rate, "ThrottlingBurstLimit": self.burst}


# KMS makes 300 ECC signatures a second in every region, STS 600 sessions: a storm must end here,
# as a fast 429, and not there.
THROTTLES = {
    routes.CERTIFICATES: Throttle(200, 400),
    routes.COMMIT: Throttle(200, 400),
    routes.DEVICE: Throttle(200, 400),
    routes.CREDENTIALS: Throttle(400, 800),
    routes.NONCE: Throttle(200, 400),
    routes.HEALTH: Throttle(20, 40),
}
OTHERS = Throttle(50, 100)
"""For requests that no route takes."""


class Api(apigw.HttpApi):
    """The public host, which never asks for a client certificate; the mTLS host is a door to it."""

    def __init__(self, scope: Construct, construct_id: str, *, exchange: Function, vend: Function) -> None:
        super().__init__(scope, construct_id, description="Firstboot", create_default_stage=False)
        lambdas = {"exchange": _integration(exchange), "vend": _integration(vend)}
        made = [self._route(route.key, lambdas[route.service]) for route in routes.ROUTES]
        made.append(self._route("$default", lambdas["exchange"]))
        self.stage = self._stage()
        # Route settings name routes that must be there.
        self.stage.node.add_dependency(*made)
        acknowledge(
            self,
            {
                "APIG4": "The Lambdas verify a device's certificate on every call: the gateway's mTLS"
                " knows no revocation, and the public host no client certificates."
            },
        )

    def _route(self, key: str, integration: integrations.HttpLambdaIntegration) -> apigw.HttpRoute:
        method, _, path = key.partition(" ")
        route_key = (
            apigw.HttpRouteKey.with_(path, apigw.HttpMethod[method]) if path else apigw.HttpRouteKey.DEFAULT
        )
        return apigw.HttpRoute(
            self,
            f"Route {key}".replace("/", "."),
            http_api=self,
            route_key=route_key,
            integration=integration,
        )

    def _stage(self) -> apigw.CfnStage:
        log_group = logs.LogGroup(self, "AccessLog", retention=LOG_RETENTION)
        return apigw.CfnStage(
            self,
            "Stage",
            api_id=self.api_id,
            stage_name="$default",
            auto_deploy=True,
            default_route_settings=apigw.CfnStage.RouteSettingsProperty(
                throttling_rate_limit=OTHERS.rate,
                throttling_burst_limit=OTHERS.burst,
            ),
            # A free-form map, so in CloudFormation's own spelling. KeyError for a route without a throttle.
            route_settings={
                **{route.key: THROTTLES[route].settings for route in routes.ROUTES},
                "$default": OTHERS.settings,
            },
            access_log_settings=apigw.CfnStage.AccessLogSettingsProperty(
                destination_arn=log_group.log_group_arn, format=json.dumps(_ACCESS_LOG)
            ),
        )


def _integration(function: Function) -> integrations.HttpLambdaIntegration:
    """Lets the API, and each of its routes alone, invoke `function`."""
    return integrations.HttpLambdaIntegration(function.node.id, function, timeout=Duration.seconds(10))
