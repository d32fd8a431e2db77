"""How every Lambda of the stack is made: runtime, logs, tracing and a role of its own."""

from __future__ import annotations

from typing import Any, cast

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct, IConstruct

from firstboot.runtime.settings import Settings
from infra.nag import acknowledge, acknowledge_serverless

LOG_RETENTION = logs.RetentionDays.THREE_MONTHS


class Function(lambda_.Function):
    """A Lambda that may write its log and its traces, and nothing else until `permit` says so."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: lambda_.Code,
        handler: str,
        seconds: int,
        memory: int = 512,
    ) -> None:
        self.own_role = iam.Role(
            scope, f"{construct_id}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")
        )
        log_group = logs.LogGroup(scope, f"{construct_id}Logs", retention=LOG_RETENTION)
        super().__init__(
            scope,
            construct_id,
            code=code,
            handler=handler,
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            role=self.own_role,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            tracing=lambda_.Tracing.ACTIVE,
            timeout=Duration.seconds(seconds),
            memory_size=memory,
        )
        log_group.grant_write(self.own_role)
        accept_dependency(self)
        tested = "The newest runtime that the locked packages are tested with."
        acknowledge(self, {"L1": tested})
        acknowledge_serverless(
            self,
            {
                "LambdaLatestVersion": tested,
                "LambdaDLQ": "Asynchronous calls that fail go to an on-failure destination, or are made "
                "again by the next schedule; other callers hear of a failure themselves.",
            },
        )
        acknowledge(
            self.own_role,
            {"IAM5[Resource::*]": "X-Ray's PutTraceSegments and PutTelemetryRecords name no resource."},
        )

    def configure(self, settings: Settings) -> None:
        """Tell the Lambda its settings."""
        for name, value in settings.environment().items():
            self.add_environment(name, value)

    def permit(self, actions: list[str], *resources: str, conditions: dict[str, Any] | None = None) -> None:
        """Let the Lambda's role do `actions` on `resources`."""
        self.own_role.add_to_policy(
            iam.PolicyStatement(actions=actions, resources=list(resources), conditions=conditions)
        )


def accept_dependency(function: IConstruct) -> None:
    """Have cfn-lint accept that CDK lets a function depend on its role, which it also names (W3005).

    On the function, not in the template's own metadata: the rest of a stack may be someone else's.
    """
    resource = cast("lambda_.CfnFunction", function.node.default_child)
    resource.add_metadata("cfn-lint", {"config": {"ignore_checks": ["W3005"]}})
