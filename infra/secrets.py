"""The right to read the secrets of one kind of this stack.

The console makes the secrets, under the rights of the person who runs it. They are no resources of the stack,
so destroying the stack leaves them. Secrets Manager encrypts them with its own key in KMS, for which a caller
in the account needs no right (AWS Secrets Manager user guide, "Secret encryption and decryption").
"""

from __future__ import annotations

from aws_cdk import Aws, Stack

from firstboot.domain.secret_keys import prefix
from infra.function import Function
from infra.nag import acknowledge


def permit_reading(function: Function, kind: str) -> None:
    """Let a function read the keys of a kind."""
    name = f"{prefix(Stack.of(function).stack_name, kind)}/*"
    function.permit(["secretsmanager:GetSecretValue"], _arn(Aws.PARTITION, Aws.REGION, Aws.ACCOUNT_ID, name))
    found = _arn("<AWS::Partition>", "<AWS::Region>", "<AWS::AccountId>", name)
    acknowledge(function.own_role, {f"IAM5[Resource::{found}]": "Each group and each hub has a secret."})


def _arn(partition: str, region: str, account: str, name: str) -> str:
    # Secrets Manager adds a hyphen and six characters to the name, which the wildcard covers.
    return f"arn:{partition}:secretsmanager:{region}:{account}:secret:{name}"
