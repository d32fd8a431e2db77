"""Acknowledges findings of cdk-nag. The reason for each stands beside the construct that it concerns."""

from __future__ import annotations

from typing import cast

from aws_cdk import Acknowledgment, CfnElement, Stack, Validations
from constructs import Construct


def acknowledge(construct: Construct, reasons: dict[str, str], pack: str = "AwsSolutions") -> None:
    """Accept findings on `construct` and below. `reasons` maps a rule's id in the pack to the reason."""
    Validations.of(construct).acknowledge(
        *(Acknowledgment(id=f"{pack}-{rule}", reason=reason) for rule, reason in reasons.items())
    )


def acknowledge_serverless(construct: Construct, reasons: dict[str, str]) -> None:
    """Accept findings of cdk-nag's Serverless pack, as `acknowledge` does."""
    acknowledge(construct, reasons, "Serverless")


def arn_of(construct: Construct) -> str:
    """Return the ARN of the one resource that `construct` wraps, as findings spell it."""
    resource = cast("CfnElement", construct.node.default_child)
    return f"<{Stack.of(construct).get_logical_id(resource)}.Arn>"
