"""The HTTP APIs: routes, throttles and the access log."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import cast

from aws_cdk import Duration, Fn, RemovalPolicy, Stack
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
from infra.throttles import Throttle

VENDED_LOGS = "/aws/vendedlogs/"
"""The prefix of log groups that AWS services write to."""

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


class Api(apigw.HttpApi):
    """An HTTP API with the routes of the deployment, and with throttles and an access log of its own.

    `functions` has the Lambda of each service, `throttles` the limit of each of the `served` routes. With
    `name` the API has no address of its own: only the domain that maps to it leads there. Without `name` its
    address is the public host, which never asks for a client certificate.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        functions: Mapping[routes.Service, lambda_.IFunction],
        throttles: Mapping[str, Throttle],
        served: Collection[routes.Route],
        name: str = "",
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            description=f"Firstboot {name}".rstrip(),
            create_default_stage=False,
            disable_execute_api_endpoint=True if name else None,
        )
        lambdas = {service: _integration(function) for service, function in functions.items()}
        made = [self._route(route.key, lambdas[route.service]) for route in served]
        made.append(self._route("$default", lambdas["exchange"]))
        self.access_log = logs.LogGroup(
            self,
            "VendedLog",
            log_group_name=_log_name(self),
            retention=LOG_RETENTION,
            # A first deployment that is rolled back must not leave the group, whose name the next one takes.
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        # A route without a throttle fails the synth with a KeyError.
        self.stage = self._stage(
            {key: throttles[key] for key in ("$default", *(each.key for each in served))}
        )
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

    def _stage(self, limits: Mapping[str, Throttle]) -> apigw.CfnStage:
        return apigw.CfnStage(
            self,
            "Stage",
            api_id=self.api_id,
            stage_name="$default",
            auto_deploy=True,
            default_route_settings=apigw.CfnStage.RouteSettingsProperty(
                throttling_rate_limit=limits["$default"].rate,
                throttling_burst_limit=limits["$default"].burst,
            ),
            # CDK passes this map on as it is, so its keys are CloudFormation's.
            route_settings={key: throttle.settings for key, throttle in limits.items()},
            access_log_settings=apigw.CfnStage.AccessLogSettingsProperty(
                destination_arn=self.access_log.log_group_arn, format=json.dumps(_ACCESS_LOG)
            ),
        )


def _log_name(api: Api) -> str:
    """Return the name of an API's access log, which no other stack's has, and no earlier one's of this name.

    AWS writes access logs by a resource policy of the region's log groups, which is limited to 5,120
    characters and has an entry for each group, except for groups below this prefix (CloudWatch Logs user
    guide, "Enable logging from AWS services"). A log group outlives its stack, so its name has the end of the
    stack's id.
    """
    stack = Stack.of(api)
    unique = Fn.select(4, Fn.split("-", Fn.select(2, Fn.split("/", stack.stack_id))))
    return f"{VENDED_LOGS}{stack.stack_name}-{unique}/{api.node.id}"


def _integration(function: lambda_.IFunction) -> integrations.HttpLambdaIntegration:
    """Return an integration that lets each of its routes, and no other caller, invoke `function`."""
    return integrations.HttpLambdaIntegration(function.node.id, function, timeout=Duration.seconds(10))
