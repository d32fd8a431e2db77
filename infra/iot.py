"""ARNs in AWS IoT: of the account and region that a stack is in, whatever the partition."""

from __future__ import annotations

from aws_cdk import Aws


def arn(resource: str) -> str:
    """The ARN of `resource` (`thing/*`). Not Stack.format_arn: it writes out the account and region of a
    stack that has them, and then `spelled` would be another's.
    """
    return f"arn:{Aws.PARTITION}:iot:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"


def spelled(resource: str) -> str:
    """How cdk-nag's findings spell `arn(resource)`."""
    return f"arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>:{resource}"
