"""Just-in-time registration (JITR): bootstrap certificates that AWS IoT meets for the first time.

AWS IoT developer guide, "Register a client certificate when the client connects to AWS IoT
just-in-time registration (JITR)".
"""

from __future__ import annotations

import hashlib

from aws_cdk import Aws, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_iot as iot
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from firstboot.domain.fleet import Fleet
from firstboot.domain.names import PUBLISHED_FLEET_KEY, RATE_LIMITER_KEY
from firstboot.domain.topics import REGISTERED
from firstboot.policy.service import ServicePolicy
from firstboot.register.settings import RegisterSettings
from infra.deployment import Deployment
from infra.function import Function
from infra.iot import arn, spelled
from infra.nag import acknowledge, acknowledge_serverless
from infra.queue import DeadLetters, Queue

_SECONDS = 30
_BATCH = 5
_AT_ONCE = 5
"""More would not be faster: JITR and reconciling share one rate limiter."""
_ATTEMPTS = 10


class Jitr(Function):
    """Lambda that decides on the bootstrap certificates that AWS IoT registered by itself, from a queue.

    Its construct id is "Newcomers": the ids of a deployed stack stay.
    """

    def __init__(self, scope: Construct, construct_id: str, *, deployment: Deployment) -> None:
        super().__init__(scope, construct_id, code=deployment.code, handler="register.jitr", seconds=_SECONDS)
        device_records, store, stack = deployment.device_records, deployment.store, Stack.of(self).stack_name
        self.permit(["dynamodb:GetItem"], device_records.table_arn)
        # It reads device records and changes none; it writes the rate limiter's row alone.
        rate_limiter = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [RATE_LIMITER_KEY]}}
        self.permit(["dynamodb:UpdateItem"], device_records.table_arn, conditions=rate_limiter)
        store.permit_reading(self, PUBLISHED_FLEET_KEY)
        self._permit_certificates()
        self._permit_policies(stack)
        self.dead = DeadLetters(self, "DeadLetters")
        self.queue = self._queue()
        self.configure(
            RegisterSettings(
                table=device_records.table_name,
                bucket=store.bucket_name,
                stack=stack,
                partition=Aws.PARTITION,
                region=Aws.REGION,
                account=Aws.ACCOUNT_ID,
                queue=self.queue.queue_url,
                iot_rate=str(deployment.configuration.iot_rate),
                fleet_refresh=str(deployment.configuration.fleet_refresh),
            )
        )
        self.permit(["sqs:SendMessage"], self.queue.queue_arn)
        self._rule(self.queue)
        if deployment.configuration.register_factory_cas:
            # AWS IoT must know the CAs last. Before this Lambda has its fleet, the event of a certificate
            # would be lost, or decided by the previous fleet.
            FactoryCas(scope, f"{construct_id}Factory", fleet=deployment.fleet).node.add_dependency(self)

    def _permit_certificates(self) -> None:
        self.permit(
            ["iot:AttachPolicy", "iot:DescribeCertificate", "iot:UpdateCertificate"],
            arn("cert/*"),
        )
        acknowledge(
            self.own_role, {f"IAM5[Resource::{spelled('cert/*')}]": "A certificate's id is its hash."}
        )

    def _permit_policies(self, stack: str) -> None:
        """Let it make the policies that it attaches. CloudFormation's own would keep the stack from
        being deleted: AWS IoT deletes no policy that a certificate has (DeletePolicy).
        """
        policies = (
            f"arn:{Aws.PARTITION}:iot:{Aws.REGION}:{Aws.ACCOUNT_ID}:policy/{policy.policy_name(stack)}"
            for policy in (ServicePolicy.BOOTSTRAP, ServicePolicy.CLAIM)
        )
        self.permit(["iot:CreatePolicy"], *policies)

    def _queue(self) -> Queue:
        queue = Queue(
            self,
            "Queue",
            retention_period=Duration.days(14),
            # Lambda developer guide, "Creating and configuring an Amazon SQS event source mapping".
            visibility_timeout=Duration.seconds(6 * _SECONDS),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead, max_receive_count=_ATTEMPTS),
        )
        queue.bring_to(self, batch_size=_BATCH, at_once=_AT_ONCE)
        acknowledge_serverless(
            self, {"LambdaEventSourceMappingDestination": "The queue has dead letters of its own."}
        )
        return queue

    def _rule(self, queue: sqs.Queue) -> None:
        iot.CfnTopicRule(
            self,
            "Registered",
            topic_rule_payload=iot.CfnTopicRule.TopicRulePayloadProperty(
                sql=f"SELECT certificateId, caCertificateId, certificateStatus FROM '{REGISTERED}+'",  # noqa: S608 - ours
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
    """The factory CAs of the groups with `mqtt = "registry"`, registered in AWS IoT.

    A CA is deleted with its trust anchor or with the stack: otherwise AWS IoT would go on registering
    certificates that no Lambda decides on. Certificates that were admitted stay.
    """

    def __init__(self, scope: Construct, construct_id: str, *, fleet: Fleet) -> None:
        super().__init__(scope, construct_id)
        groups = [group for group in fleet.groups.values() if group.mqtt == "registry"]
        for pem in sorted({pem for group in groups for pem in group.trust}):
            iot.CfnCACertificate(
                self,
                # By its content: a changed PEM is another CA, and none takes a registered one's place.
                f"Ca{hashlib.sha256(pem.encode()).hexdigest()[:12]}",
                ca_certificate_pem=pem,
                certificate_mode="SNI_ONLY",
                status="ACTIVE",
                auto_registration_status="ENABLE",
            )
