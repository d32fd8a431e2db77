"""The topic rules for first boot, commit and credentials over MQTT, and the queue of requests that failed.

A rule invokes its Lambda asynchronously. When AWS IoT can't invoke it, the rule's error action sends the
request to the queue; when the Lambda fails, its on-failure destination does.
"""

from __future__ import annotations

from typing import cast

from aws_cdk import Aws, Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from firstboot.domain import topics
from firstboot.exchange.settings import ExchangeSettings
from firstboot.runtime.mqtt import REQUEST_LOGGED
from infra.deployment import Deployment
from infra.exchange import Exchange
from infra.function import Function
from infra.iot import arn, spelled
from infra.live import live
from infra.nag import acknowledge, arn_of
from infra.queue import DeadLetters
from infra.vend import Vend

_SQL_VERSION = "2016-03-23"
# The payload is encoded. With `SELECT *` a payload would choose members of the event, and could imitate the
# event of another service. The comparison keeps each client to its own topics, independently of its policy.
_REQUEST = (
    "SELECT encode(*, 'base64') AS payload, clientid() AS clientId, principal() AS principal, "
    "topic() AS topic FROM '{topic}' WHERE clientid() = topic(2)"
)
_PRESENCE = f"SELECT clientId, principalIdentifier FROM '{topics.CONNECTED}+'"  # noqa: S608 - a constant
_RETRY_ATTEMPTS = 1
"""How often Lambda repeats a failed invocation. Devices repeat their requests themselves, and sooner."""

_MAX_AGE = Duration.seconds(topics.STALE_SECONDS)
"""How long Lambda keeps an event for which it has no concurrency, or which failed. With the default of six
hours it would handle a burst's requests long after their devices have repeated them."""


class Mqtt(Construct):
    """The topic rules. `undelivered` is the dead-letter queue of their requests."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        deployment: Deployment,
        exchange: Exchange,
        vend: Vend,
    ) -> None:
        super().__init__(scope, construct_id)
        self._cold_start = deployment.configuration.cold_start
        self.undelivered = DeadLetters(self, "Undelivered")
        self._failing = self._error_role()
        self.presence = Presence(scope, "Presence", deployment=deployment, settings=exchange.settings)
        for call, function in {
            topics.CERTIFICATES: exchange.mqtt,
            topics.COMMIT: exchange.mqtt,
            topics.CREDENTIALS: vend.mqtt,
        }.items():
            name = "".join(word.title() for word in call.request.split("/"))
            called = live(function, self._cold_start)
            self._rule(name, _REQUEST.format(topic=call.request_topic("+")), called)
            _permit_answers(function, call)
        # No device waits for an answer of `presence`, so it has no alias.
        self._rule("Connected", _PRESENCE, self.presence)
        for function, called in (
            (exchange.mqtt, live(exchange.mqtt, self._cold_start)),
            (vend.mqtt, live(vend.mqtt, self._cold_start)),
            (self.presence, self.presence),
        ):
            called.configure_async_invoke(retry_attempts=_RETRY_ATTEMPTS, max_event_age=_MAX_AGE)
            asynchronous = called.node.find_child("EventInvokeConfig").node.default_child
            self.undelivered.keep_failures(function, cast("lambda_.CfnEventInvokeConfig", asynchronous))
            if concurrency := deployment.configuration.mqtt_concurrency:
                reserved = cast("lambda_.CfnFunction", function.node.default_child)
                reserved.reserved_concurrent_executions = concurrency
        self._talkers(exchange.mqtt, vend.mqtt)

    def _talkers(self, *functions: Function) -> None:
        """Rank the clients by their requests, so that an operator sees which of them takes the concurrency.

        Amazon CloudWatch user guide, "Contributor Insights rule syntax".
        """
        stack = Stack.of(self)
        body = {
            "Schema": {"Name": "CloudWatchLogRule", "Version": 1},
            "LogGroupNames": [function.log_group.log_group_name for function in functions],
            "LogFormat": "JSON",
            "Contribution": {
                "Keys": ["$.clientId"],
                # Each request has one such line. Other lines of a request also name the client.
                "Filters": [{"Match": "$.message", "In": [REQUEST_LOGGED]}],
            },
            "AggregateOn": "Count",
        }
        cloudwatch.CfnInsightRule(
            self,
            "Talkers",
            rule_name=f"{stack.stack_name}-mqtt-clients",
            rule_state="ENABLED",
            rule_body=stack.to_json_string(body),
        )

    def _rule(self, name: str, sql: str, function: lambda_.Function | lambda_.Alias) -> None:
        rule = iot.CfnTopicRule(
            self,
            name,
            topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
                sql=sql,
                aws_iot_sql_version=_SQL_VERSION,
                actions=[
                    iot.CfnTopicRule.ActionProperty(
                        lambda_=iot.CfnTopicRule.LambdaActionProperty(function_arn=function.function_arn)
                    )
                ],
                # AWS IoT's error message lacks principal(), so nothing proves whose request it was. `operate`
                # shows such a request and never handles it.
                error_action=iot.CfnTopicRule.ActionProperty(
                    sqs=iot.CfnTopicRule.SqsActionProperty(
                        queue_url=self.undelivered.queue_url,
                        role_arn=self._failing.role_arn,
                        use_base64=False,
                    )
                ),
            ),
        )
        function.add_permission(
            name,
            principal=iam.ServicePrincipal("iot.amazonaws.com"),
            source_arn=rule.attr_arn,
            source_account=Aws.ACCOUNT_ID,
        )

    def _error_role(self) -> iam.Role:
        # The condition keeps rules of other accounts from using the role. The rules' ARNs would be a cycle,
        # because each rule names this role.
        principal = iam.ServicePrincipal(
            "iot.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
        )
        role = iam.Role(self, "ErrorRole", assumed_by=principal)
        role.add_to_policy(
            iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self.undelivered.queue_arn])
        )
        return role


def _permit_answers(function: Function, call: topics.Call) -> None:
    """Let `function` publish the answers to a call of all clients."""
    found = [f"topic/{topic}" for topic in call.answer_topics("*")]
    function.permit(["iot:Publish"], *map(arn, found))
    acknowledge(
        function.own_role,
        {f"IAM5[Resource::{spelled(topic)}]": "Each client has topics of its own." for topic in found},
    )


class Presence(Function):
    """The Lambda that commits a pending certificate when its device connects with it.

    It has the settings of `exchange`, but may neither sign nor publish.
    """

    # A device that connects with its new certificate has proved that it has it. The rule runs for each
    # connection; all but the first find nothing pending and cost one read.

    def __init__(
        self, scope: Construct, construct_id: str, *, deployment: Deployment, settings: ExchangeSettings
    ) -> None:
        super().__init__(scope, construct_id, code=deployment.code, handler="exchange.presence", seconds=9)
        self.configure(settings)
        deployment.device_records.permit_rows(self, "presence")
        deployment.store.permit_reading(self, "certificates/*")
        acknowledge(
            self.own_role,
            {f"IAM5[Resource::{arn_of(deployment.store)}/certificates/*]": "Each certificate is an object."},
        )
