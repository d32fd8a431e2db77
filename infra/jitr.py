"""Just-in-time registration (JITR) of bootstrap certificates: the factory CAs, topic rule, queues and Lambda.

Source: AWS IoT developer guide, "Register a client certificate when the client connects to AWS IoT
just-in-time registration (JITR)".
"""

from __future__ import annotations

import hashlib
import math
from typing import cast

from aws_cdk import Aws, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from firstboot.domain.fleet import Fleet
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.domain.topics import REGISTERED
from firstboot.register.settings import JitrSettings
from infra.deployment import Deployment
from infra.function import Function
from infra.iot import arn, spelled
from infra.nag import acknowledge, acknowledge_serverless
from infra.queue import DeadLetters, Queue

_SECONDS = 30
_BATCH = 10
_AT_ONCE = 10
"""The most batches of events at once. An event costs a read of the table, so ten workers handle about a
thousand a second."""
_DECISION_SECONDS = 0.5
"""How long a decision takes, with its slot of the rate limiter. It sets how many workers the rate needs."""
_ATTEMPTS = 10


class Jitr(Function):
    """The Lambda that admits, revokes or leaves each bootstrap certificate that AWS IoT has registered."""

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        super().__init__(scope, construct_id, code=deployment.code, handler="register.jitr", seconds=_SECONDS)
        device_records, store = deployment.device_records, deployment.store
        # JITR changes no device record. It writes the rate limiter's row and those of waiting certificates.
        device_records.permit_rows(self, "jitr")
        store.permit_reading(self, PUBLISHED_FLEET_KEY)
        self._permit_certificates()
        self.dead = DeadLetters(self, "DeadLetters")
        self.events = self._queue("Queue", batch_size=_BATCH, at_once=_AT_ONCE)
        # While orders wait too, each worker makes a decision in about four seconds (register/slots.py).
        deciding = max(2, math.ceil(deployment.configuration.iot_rate * _DECISION_SECONDS))
        self.passed = self._queue("Passed", batch_size=1, at_once=deciding)
        self.permit(["sqs:SendMessage"], self.passed.queue_arn)
        # An event that AWS did not answer about is sent again to the queue that it came from. The code bounds
        # how often (register/jitr_handler.py). Lambda would stop such a chain after 16 invocations.
        cast("lambda_.CfnFunction", self.node.default_child).recursive_loop = "Allow"
        acknowledge_serverless(
            self, {"LambdaEventSourceMappingDestination": "The queues have a dead-letter queue of their own."}
        )
        self.configure(
            JitrSettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                stack=Stack.of(self).stack_name,
                account=Aws.ACCOUNT_ID,
                iot_rate=str(deployment.configuration.iot_rate),
                fleet_refresh=str(deployment.configuration.fleet_refresh),
                passed_queue=self.passed.queue_url,
            )
        )
        self._rule(self.events)
        if deployment.configuration.register_factory_cas:
            # The CAs are registered last. Before this Lambda has its fleet, a certificate's event would be
            # lost or decided by the previous fleet.
            FactoryCas(scope, f"{construct_id}Factory", fleet=deployment.fleet).node.add_dependency(self)

    def _permit_certificates(self) -> None:
        self.permit(
            ["iot:AttachPolicy", "iot:DescribeCertificate", "iot:UpdateCertificate"],
            arn("cert/*"),
        )
        acknowledge(
            self.own_role, {f"IAM5[Resource::{spelled('cert/*')}]": "A certificate's id is its digest."}
        )

    def _queue(self, name: str, *, batch_size: int, at_once: int) -> Queue:
        queue = Queue(
            self,
            name,
            retention_period=Duration.days(14),
            # Six times the Lambda's timeout, by the Lambda developer guide, "Creating and configuring an
            # Amazon SQS event source mapping".
            visibility_timeout=Duration.seconds(6 * _SECONDS),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead, max_receive_count=_ATTEMPTS),
        )
        queue.bring_to(self, batch_size=batch_size, at_once=at_once)
        return queue

    def _rule(self, queue: sqs.Queue) -> None:
        # One rule for all CAs: an account has a quota of rules, and the Lambda must find out anyway which
        # trust anchor signed a certificate.
        iot.CfnTopicRule(
            self,
            "Registered",
            topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
                sql=f"SELECT certificateId, caCertificateId, certificateStatus FROM '{REGISTERED}+'",  # noqa: S608 - a constant
                aws_iot_sql_version="2016-03-23",
                actions=[_into(queue, self._sender("Rule", queue))],
                error_action=_into(self.dead, self._sender("RuleError", self.dead)),
            ),
        )

    def _sender(self, name: str, queue: sqs.Queue) -> iam.Role:
        principal = iam.ServicePrincipal(
            "iot.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}}
        )
        role = iam.Role(self, f"{name}Role", assumed_by=principal)
        role.add_to_policy(iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[queue.queue_arn]))
        return role


def _into(queue: sqs.Queue, role: iam.Role) -> iot.CfnTopicRule.ActionProperty:
    return iot.CfnTopicRule.ActionProperty(
        sqs=iot.CfnTopicRule.SqsActionProperty(queue_url=queue.queue_url, role_arn=role.role_arn)
    )


class FactoryCas(Construct):
    """The factory CAs of the groups with `mqtt = "registry"` and JITR, registered in AWS IoT.

    A CA is deleted with its trust anchor or with the stack. Certificates that were admitted stay.
    """

    # The CAs are not retained: AWS IoT would go on registering certificates on which no Lambda decides.

    def __init__(self, scope: Construct, construct_id: str, *, fleet: Fleet) -> None:
        super().__init__(scope, construct_id)
        groups = [each for each in fleet.groups.values() if each.mqtt == "registry" and each.jitr != "off"]
        for pem in sorted({pem for group in groups for pem in group.trust}):
            iot.CfnCACertificate(
                self,
                # The id is made from the content, because a changed PEM is another CA: CloudFormation must
                # register a new one instead of replacing the old one in place.
                f"Ca{hashlib.sha256(pem.encode()).hexdigest()[:12]}",
                ca_certificate_pem=pem,
                certificate_mode="SNI_ONLY",
                status="ACTIVE",
                auto_registration_status="ENABLE",
            )
