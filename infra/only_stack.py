"""The resource of which an account has one in each region, so that a second stack can't be deployed."""

from __future__ import annotations

from aws_cdk import Stack
from aws_cdk import aws_ssm as ssm
from constructs import Construct, IConstruct

PARAMETER = "/firstboot/one-stack-per-account-and-region"
"""The parameter's name. If a deployment fails on it, CloudFormation shows it and the other stack's name."""


class OnlyStack(ssm.StringParameter):
    """A parameter that holds the stack's name, under a name that a second stack can't take.

    Topics and things have names that no stack chooses, so two stacks would serve each other's devices. The
    parameter goes with its stack, and a new stack can then adopt what the old one left.
    """

    def __init__(self, scope: Construct) -> None:
        # CloudFormation shows the logical id beside its reason, so the id says the rule too.
        super().__init__(
            scope,
            "OneStackPerAccountAndRegion",
            parameter_name=PARAMETER,
            string_value=Stack.of(scope).stack_name,
            description="The one Firstboot here. Two would share AWS IoT's topics and things.",
        )

    def precede(self, parts: list[IConstruct]) -> None:
        """Have CloudFormation make this before `parts`, and delete it after them.

        A second stack then leaves nothing. The table, the bucket, the key and the logs would be retained when
        its creation is rolled back.
        """
        for part in parts:
            part.node.add_dependency(self)
