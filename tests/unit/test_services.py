"""Test which actions a grant may allow, with those that an attack on the compiler used."""

from __future__ import annotations

import pytest

from firstboot.compiler import services
from tests.unit.fleet_folders import TOML, fleet, grant, problems, statement

OPENED = ("athena", "bedrock", "cognito-idp", "dynamodb", "kms", "lambda", "s3", "sagemaker", "sqs", "ssm")


@pytest.mark.parametrize(
    "action",
    [
        *("s3:GetObject", "s3:GetObject*", "s3:Get*", "s3:List*", "s3:PutObject", "s3:DeleteObject"),
        *("dynamodb:UpdateItem", "dynamodb:Batch*", "dynamodb:BatchWriteItem", "dynamodb:PartiQLSelect"),
        *("kinesis:PutRecords", "kinesis:PutRecord*", "kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt"),
        *("lambda:InvokeFunction", "sqs:SendMessage", "iot:Publish", "secretsmanager:GetSecretValue"),
    ],
)
def test_what_devices_do_with_data_is_open_to_every_fleet(action: str) -> None:
    """A grant may allow the actions that read and write data, without a key in fleet.toml."""
    assert services.problem(action, ()) is None


@pytest.mark.parametrize(
    "action",
    [
        *("bedrock:InvokeModel", "sagemaker:InvokeEndpoint", "athena:StartQueryExecution", "athena:Get*"),
        *("kms:Sign", "dynamodb:CreateTable", "ssm:PutParameter", "sqs:PurgeQueue", "athena:List*"),
    ],
)
def test_other_actions_need_the_service_opened(action: str) -> None:
    """An action that is not listed is refused, and allowed when fleet.toml opens its service."""
    problem = services.problem(action, ())
    assert problem
    assert "`services` in fleet.toml" in problem
    assert services.problem(action, OPENED) is None


@pytest.mark.parametrize(
    "action",
    [
        *("sts:AssumeRole", "sts:*", "iam:CreateAccessKey", "iam:PassRole", "iam:Get*"),
        *("organizations:LeaveOrganization", "sso:CreateAccountAssignment", "cloudformation:CreateStack"),
        *("kms:CreateGrant", "kms:CreateG*", "kms:PutKeyPolicy", "kms:Put*", "kms:ScheduleKeyDeletion"),
        *("lambda:UpdateFunctionCode", "lambda:Update*", "lambda:AddPermission", "lambda:CreateFunction"),
        *(
            "s3:PutBucketPolicy",
            "s3:PutBucket*",
            "s3:PutObjectAcl",
            "s3:PutObject*",
            "s3:Put*",
            "s3:P*",
            "s3:*",
        ),
        *("sqs:AddPermission", "dynamodb:PutResourcePolicy", "dynamodb:Put*", "dynamodb:*"),
        *("ssm:SendCommand", "ssm:StartSession", "cognito-idp:AdminCreateUser", "cognito-idp:Admin*"),
        *("cognito-idp:GetCredentialsForIdentity", "s3:CreateAccessGrant"),
        *("s3:?etObject", "s3:Get*Acl"),
    ],
)
def test_no_grant_manages_rights(action: str) -> None:
    """An action on identities, rights, credentials, keys or code is refused, also in an opened service."""
    assert services.problem(action, (*OPENED, "iam", "sts", "organizations", "sso", "cloudformation"))


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:s3:::bucket/x", "bucket/x"),
        ("arn:aws:sqs:r:1:queue", "queue"),
        ("arn:aws:dynamodb:r:1:table/t/index/*", "t/index/*"),
        ("arn:aws:logs:r:1:log-group:g:*", "g:*"),
        ("arn:aws:dynamodb:r:1:table/*", "*"),
        ("arn:aws:lambda:r:1:function:*", "*"),
        ("arn:aws:lambda:r:1:*:x", ""),
        ("arn:aws:timestream:r:1:thing", "thing"),
    ],
)
def test_where_a_name_begins(arn: str, name: str) -> None:
    """A resource's name begins after its type, except in services whose ARNs have no type."""
    assert services.name_of(arn) == name


def test_the_compiler_reads_the_opened_services() -> None:
    """The key `services` opens a service for the fleet's grants, and the fleet's JSON keeps it."""
    grants = {"telemetry": grant(statement(Action="kms:Sign", Resource="arn:aws:kms:r:1:key/k"))}
    assert any("add it to `services`" in line for line in problems(grants=grants))
    opened = fleet(grants=grants, toml=f'services = ["kms"]\n{TOML}')
    assert opened.services == ("kms",)
    assert '"services":["kms"]' in opened.to_json()
    assert "services" not in fleet().to_json()
