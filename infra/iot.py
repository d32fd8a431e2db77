"""ARNs of AWS IoT resources in a stack's own account, region and partition."""

from __future__ import annotations

from aws_cdk import Aws


def arn(resource: str) -> str:
    """Return the ARN of `resource` (`thing/*`)."""
    # Stack.format_arn would write out a stack's fixed account and region, and `spelled` would no longer
    # match.
    return f"arn:{Aws.PARTITION}:iot:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"


def spelled(resource: str) -> str:
    """Return `arn(resource)` as cdk-nag's findings spell it."""
    return f"arn:<AWS::Partition>:iot:<AWS::Region>:<AWS::AccountId>:{resource}"
