"""The construct of which each Lambda of the stack is made: runtime, logs, tracing and a role of its own."""

from __future__ import annotations

from typing import Any, cast

from aws_cdk import Duration
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct, IConstruct

from firstboot.runtime.settings import Settings
from infra.assets import Assets
from infra.nag import acknowledge, acknowledge_serverless

LOG_RETENTION = logs.RetentionDays.THREE_MONTHS


class Function(lambda_.Function):
    """A Lambda whose role may write its log and its traces. `permit` adds rights."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        code: Assets,
        handler: str,
        seconds: int,
        memory: int = 512,
    ) -> None:
        self.own_role = iam.Role(
            scope, f"{construct_id}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")
        )
        log_group = logs.LogGroup(scope, f"{construct_id}Logs", retention=LOG_RETENTION)
        self.properties: dict[str, Any] = {
            "code": code.code(handler),
            "handler": handler,
            "runtime": lambda_.Runtime.PYTHON_3_13,
            "architecture": lambda_.Architecture.ARM_64,
            "role": self.own_role,
            "log_group": log_group,
            "logging_format": lambda_.LoggingFormat.JSON,
            "tracing": lambda_.Tracing.ACTIVE,
            "timeout": Duration.seconds(seconds),
            "memory_size": memory,
        }
        super().__init__(scope, construct_id, **self.properties)
        log_group.grant_write(self.own_role)
        _accept_findings(self)
        acknowledge(
            self.own_role,
            {"IAM5[Resource::*]": "X-Ray's PutTraceSegments and PutTelemetryRecords have no resource type."},
        )

    def configure(self, settings: Settings) -> None:
        """Put the settings into the Lambda's environment."""
        environment = settings.environment()
        self.properties["environment"] = environment
        for name, value in environment.items():
            self.add_environment(name, value)

    def permit(self, actions: list[str], *resources: str, conditions: dict[str, Any] | None = None) -> None:
        """Let the Lambda's role do `actions` on `resources`.

        A test takes each of these rights away and expects that a flow breaks (tests/privilege/table.py).
        """
        self.own_role.add_to_policy(
            iam.PolicyStatement(actions=actions, resources=list(resources), conditions=conditions)
        )


class Twin(lambda_.Function):
    """A second Lambda with the code, the settings, the role and the log of another one.

    Lambda reserves concurrency for a function, so two callers that must not take each other's concurrency
    need two functions. `concurrency` is what is reserved for this one, and its limit; 0 reserves none.
    """

    def __init__(self, scope: Construct, construct_id: str, *, of: Function, concurrency: int) -> None:
        reserved = concurrency or None
        super().__init__(scope, construct_id, **of.properties, reserved_concurrent_executions=reserved)
        _accept_findings(self)


def _accept_findings(function: lambda_.Function) -> None:
    accept_dependency(function)
    tested = "This is the newest runtime that the locked packages are tested with."
    acknowledge(function, {"L1": tested})
    acknowledge_serverless(
        function,
        {
            "LambdaLatestVersion": tested,
            "LambdaDLQ": "A failed asynchronous call goes to an on-failure destination, or the next "
            "schedule repeats it. Other callers get the error.",
        },
    )


def accept_dependency(function: IConstruct) -> None:
    """Have cfn-lint accept that CDK lets a function depend on its role, which it also names (W3005)."""
    # On the function and not in the template's metadata, because other constructs may share the stack.
    resource = cast("lambda_.CfnFunction", function.node.default_child)
    resource.add_metadata("cfn-lint", {"config": {"ignore_checks": ["W3005"]}})
