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
    """The HTTP API. Its own address is the public host, which never asks for a client certificate.

    The mTLS host is a custom domain that maps to the same API.
    """

    def __init__(self, scope: Construct, construct_id: str, *, exchange: Function, vend: Function) -> None:
        super().__init__(scope, construct_id, description="Firstboot", create_default_stage=False)
        lambdas = {"exchange": _integration(exchange), "vend": _integration(vend)}
        made = [self._route(route.key, lambdas[route.service]) for route in routes.ROUTES]
        made.append(self._route("$default", lambdas["exchange"]))
        self.stage = self._stage()
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
            # CDK passes this map on as it is, so its keys are CloudFormation's. A route without a throttle
            # fails the synth with a KeyError.
            route_settings={
                **{route.key: THROTTLES[route].settings for route in routes.ROUTES},
                "$default": OTHERS.settings,
            },
            access_log_settings=apigw.CfnStage.AccessLogSettingsProperty(
                destination_arn=log_group.log_group_arn, format=json.dumps(_ACCESS_LOG)
            ),
        )


def _integration(function: Function) -> integrations.HttpLambdaIntegration:
    """Return an integration that lets each of its routes, and no other caller, invoke `function`."""
    return integrations.HttpLambdaIntegration(function.node.id, function, timeout=Duration.seconds(10))
