"""First boot, commit and credentials over MQTT: topic rules, and what is kept when they fail.

An invocation by a rule is asynchronous, so its failures come to light in two places: the rule's
error action, where AWS IoT could not invoke, and the function's on-failure destination, where the
function failed. Both end in one queue.
"""

from __future__ import annotations

from typing import cast

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from firstboot.domain import topics
from firstboot.exchange.settings import ExchangeSettings
from infra.deployment import Deployment
from infra.exchange import Exchange
from infra.function import Function
from infra.iot import arn, spelled
from infra.nag import acknowledge, arn_of
from infra.queue import DeadLetters
from infra.vend import Vend

_SQL_VERSION = "2016-03-23"
# `SELECT *` would let a payload choose members of the event, and so imitate another service's.
# The comparison keeps every client to its own topics, whatever its policy says.
_REQUEST = (
    "SELECT encode(*, 'base64') AS payload, clientid() AS clientId, principal() AS principal, "
    "topic() AS topic FROM '{topic}' WHERE clientid() = topic(2)"
)
_PRESENCE = f"SELECT clientId, principalIdentifier FROM '{topics.CONNECTED}+'"  # noqa: S608 - AWS IoT's
_RETRY_ATTEMPTS = 1
"""Devices ask again by themselves, sooner than Lambda does."""


class Mqtt(Construct):
    """The topic rules, and the queue `undelivered` of requests that nobody could handle."""

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
        self.undelivered = DeadLetters(self, "Undelivered")
        self._failing = self._error_role()
        self.presence = Presence(scope, "Presence", deployment=deployment, settings=exchange.settings)
        for call, function in {
            topics.CERTIFICATES: exchange.mqtt,
            topics.COMMIT: exchange.mqtt,
            topics.CREDENTIALS: vend.mqtt,
        }.items():
            name = "".join(word.title() for word in call.request.split("/"))
            self._rule(name, _REQUEST.format(topic=call.request_topic("+")), function)
            for answer in ("accepted", "rejected"):
                permit_answers(function, answer, call)
        self._rule("Connected", _PRESENCE, self.presence)
        self.functions = (exchange.mqtt, vend.mqtt, self.presence)
        for function in self.functions:
            function.configure_async_invoke(retry_attempts=_RETRY_ATTEMPTS)
            asynchronous = function.node.find_child("EventInvokeConfig").node.default_child
            self.undelivered.keep_failures(function, cast("lambda_.CfnEventInvokeConfig", asynchronous))

    def _rule(self, name: str, sql: str, function: Function) -> None:
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
        role = iam.Role(self, "ErrorRole", assumed_by=iam.ServicePrincipal("iot.amazonaws.com"))
        role.add_to_policy(
            iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self.undelivered.queue_arn])
        )
        return role


def permit_answers(function: Function, answer: str, *calls: topics.Call) -> None:
    """Let `function` publish answers (`accepted` or `rejected`) to any client's calls."""
    answers = (topic for call in calls for topic in call.answer_topics("*"))
    found = [f"topic/{topic}" for topic in answers if topic.endswith(f"/{answer}")]
    function.permit(["iot:Publish"], *map(arn, found))
    acknowledge(
        function.own_role,
        {f"IAM5[Resource::{spelled(topic)}]": "Answers, each to the client that asked." for topic in found},
    )


class Presence(Function):
    """Commits a pending certificate when its device connects with it. It can't sign, and can't
    speak to devices.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, deployment: Deployment, settings: ExchangeSettings
    ) -> None:
        super().__init__(scope, construct_id, code=deployment.code, handler="exchange.presence", seconds=9)
        self.configure(settings)
        self.permit(["dynamodb:GetItem", "dynamodb:UpdateItem"], deployment.device_records.table_arn)
        deployment.store.permit_reading(self, "certificates/*")
        acknowledge(
            self.own_role,
            {f"IAM5[Resource::{arn_of(deployment.store)}/certificates/*]": "One object a certificate."},
        )
