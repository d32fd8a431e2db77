"""Test which actions a grant may allow, with those that an attack on the compiler used."""

from __future__ import annotations

import pytest

from firstboot.compiler import services
from tests.unit.fleet_folders import TOML, fleet, grant, problems, statement

OPENED = (
    *("athena", "bedrock", "cognito-idp", "dynamodb", "ecr", "events", "greengrass", "kms", "lambda", "logs"),
    *("redshift", "s3", "sagemaker", "sns", "sqs", "ssm"),
)


@pytest.mark.parametrize(
    "action",
    [
        *("s3:GetObject", "s3:GetObject*", "s3:Get*", "s3:List*", "s3:PutObject", "s3:DeleteObject"),
        *("dynamodb:UpdateItem", "dynamodb:Batch*", "dynamodb:BatchWriteItem", "dynamodb:PartiQLSelect"),
        *("kinesis:PutRecords", "kinesis:PutRecord*", "kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt"),
        *("lambda:InvokeFunction", "sqs:SendMessage", "iot:Publish", "secretsmanager:GetSecretValue"),
        *(
            "kms:Sign",
            "ssm:PutParameter",
            "ssm:GetParametersByPath",
            "ssm:GetParameter*",
            "logs:GetLogEvents",
        ),
        *("ecr:GetAuthorizationToken", "execute-api:ManageConnections", "s3:RestoreObject", "geo:GetPlace"),
    ],
)
def test_what_devices_do_with_data_is_open_to_every_fleet(action: str) -> None:
    """A grant may allow the actions that read and write data, without a key in fleet.toml."""
    assert services.problem(action, ()) is None


@pytest.mark.parametrize(
    "action",
    [
        *("bedrock:InvokeModel", "sagemaker:InvokeEndpoint", "athena:StartQueryExecution", "athena:List*"),
        *("greengrass:ResolveComponentCandidates", "athena:GetQueryResults", "xray:PutTraceSegments"),
    ],
)
def test_other_actions_need_the_service_opened(action: str) -> None:
    """An action of a service that is not listed is refused, and allowed when fleet.toml opens the service."""
    problem = services.problem(action, ())
    assert problem
    assert "`services` in fleet.toml" in problem
    assert services.problem(action, (*OPENED, "xray")) is None


@pytest.mark.parametrize(
    "action",
    [
        *("dynamodb:CreateTable", "sqs:PurgeQueue", "sqs:SetQueueAttributes", "sns:SetTopicAttributes"),
        *("sns:Subscribe", "events:PutTargets", "events:RemoveTargets", "logs:PutSubscriptionFilter"),
        *("logs:DeleteLogGroup", "ecr:PutImage", "lambda:DeleteFunction", "lambda:PublishLayerVersion"),
        *("lambda:GetFunction", "lambda:Get*", "ssm:GetAccessToken", "ssm:Get*", "ssm:GetCommandInvocation"),
        *("s3:GetDataAccess", "s3:PutReplicationConfiguration", "s3:CreateAccessPoint", "kms:UpdateAlias"),
        *("cloudwatch:DisableAlarmActions", "kms:TagResource", "kms:ImportKeyMaterial"),
    ],
)
def test_a_listed_service_has_its_listed_actions_only(action: str) -> None:
    """Other actions of a listed service are refused, although fleet.toml opens the service."""
    assert services.problem(action, (*OPENED, "cloudwatch"))


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
        *("s3:?etObject", "s3:Get*Acl", "redshift:GetClusterCredentials", "redshift:Get*", "athena:G*"),
        *("greengrass:CreateDeployment", "sagemaker:CreateImage", "sagemaker:CreatePresignedDomainUser"),
        *(
            "apigateway:PATCH",
            "acm-pca:IssueCertificate",
            "cognito-identity:GetId",
            "ssmmessages:OpenChannel",
        ),
        *("lakeformation:GetDataAccess", "tag:TagResources", "bedrock:TagResource", "es:SetRepositoryPolicy"),
        # IAM ignores the case of an action's name.
        *("s3:putbucketpolicy", "kms:creategrant", "lambda:addpermission", "lambda:ADDPERMISSION"),
        *("cognito-idp:admincreateuser", "bedrock:putresourcepolicy", "redshift:GETCLUSTERCREDENTIALS"),
        *("bedrock:tagresource", "greengrass:createdeployment", "s3:getobject", "s3:GETOBJECT"),
    ],
)
def test_no_grant_manages_rights(action: str) -> None:
    """An action on identities, rights, credentials, keys or code is refused, also in an opened service."""
    assert services.problem(action, (*OPENED, *services.NEVER, "es"))


@pytest.mark.parametrize(
    ("action", "written"),
    {
        "s3:PutObject": True,
        "sqs:ReceiveMessage": True,
        "sqs:SendMessage": True,
        "kinesisvideo:ConnectAsMaster": True,
        "kinesisvideo:ConnectAsViewer": False,
        "appconfig:StartConfigurationSession": False,
        "logs:StartQuery": False,
        "logs:FilterLogEvents": False,
        "athena:StartQueryExecution": True,
        "kms:Sign": False,
        "geo:SearchPlaceIndexForText": False,
        "ssm:PutParameter": True,
        "dynamodb:Batch*": True,
        "dynamodb:BatchGetItem": False,
    }.items(),
)
def test_which_actions_write(action: str, written: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """An action writes if others may notice it: they read something else, or a message is gone."""
    assert services.writes(action) is written


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
    resource = "arn:aws:bedrock:r::foundation-model/{deviceId}"
    grants = {"telemetry": grant(statement(Action="bedrock:InvokeModel", Resource=resource))}
    assert any("add 'bedrock' to `services`" in line for line in problems(grants=grants))
    opened = fleet(grants=grants, toml=f'services = ["bedrock"]\n{TOML}')
    assert opened.services == ("bedrock",)
    assert '"services":["bedrock"]' in opened.to_json()
    assert "services" not in fleet().to_json()
