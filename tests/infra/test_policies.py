"""The resource policies of the stack, and the reasons for wildcards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import Synthesised, run_app, spelled
from tests.infra.test_functions import (
    CERTIFICATES,
    DEAD,
    ECDSA,
    LOST,
    LOST_DEAD,
    ORDERS,
    REGISTRATIONS,
    UNDELIVERED,
    listed,
)

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

ADMINISTRATION = [
    *("kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:GetPublicKey"),
    *("kms:ListGrants", "kms:ListKeyPolicies", "kms:ListResourceTags"),
    *("kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias", "kms:TagResource", "kms:UntagResource"),
    *("kms:UpdateKeyDescription", "kms:EnableKeyRotation", "kms:DisableKeyRotation"),
    *("kms:PutKeyPolicy", "kms:RevokeGrant", "kms:EnableKey", "kms:DisableKey"),
    *("kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"),
]
ACCOUNT = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"
ALL_PRINCIPALS = {"AWS": "*"}
INSECURE = {"Bool": {"aws:SecureTransport": "false"}}
QUEUES = {
    *(UNDELIVERED, *ORDERS, DEAD, LOST, LOST_DEAD),
    *("${NewcomersPassed.Arn}", "${NewcomersQueue.Arn}", "${NewcomersDeadLetters.Arn}"),
}
NAMELESS = {
    "iot:DescribeEndpoint",
    "iot:ListAttachedPolicies",
    "iot:ListPolicies",
    "iot:ListPrincipalThings",
    "iot:RegisterCertificateWithoutCA",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
"""Actions without a resource type (service authorization reference, "AWS IoT" and "AWS X-Ray")."""


def policies(stack: Synthesised, kind: str, of: str) -> dict[str, Any]:
    """Return the statements of resource policies by the resource that each policy is attached to."""
    found = (spelled(each["Properties"]) for each in stack.resources(kind).values())
    return {listed(each[of])[0]: each["PolicyDocument"]["Statement"] for each in found}


def statement(effect: str, principal: Any, action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    """Return a statement."""
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource, **more}


def test_the_key_s_policy(stack: Synthesised) -> None:
    """Three roles may sign with ECDSA and SHA-256, the account's administrators may manage the key but not
    sign, and no principal may create a grant.
    """
    (key,) = stack.resources("AWS::KMS::Key").values()
    signers = [f"${{{name}Role.Arn}}" for name in ("AuthorityFunction", "Exchange", "ExchangeMqtt")]
    assert spelled(key["Properties"]["KeyPolicy"]["Statement"]) == [
        statement("Allow", {"AWS": ACCOUNT}, ADMINISTRATION, "*", Sid="Administration"),
        statement("Deny", ALL_PRINCIPALS, "kms:CreateGrant", "*", Sid="NoGrants"),
        *(statement("Allow", {"AWS": role}, "kms:Sign", "*", Condition=ECDSA) for role in signers),
    ]


def test_the_bucket_s_policy(stack: Synthesised) -> None:
    """The bucket's policy allows nothing, and denies plain HTTP, old presigned URLs and overwriting."""
    issued = [CERTIFICATES, "${Store.Arn}/authority/*"]
    writing = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    old = {"NumericGreaterThan": {"s3:signatureAge": 300_000}}
    assert policies(stack, "AWS::S3::BucketPolicy", "Bucket") == {
        "${Store}": [
            statement("Deny", ALL_PRINCIPALS, "s3:*", ["${Store.Arn}", "${Store.Arn}/*"], Condition=INSECURE),
            statement(
                "Deny", ALL_PRINCIPALS, "s3:GetObject", CERTIFICATES, Condition=old, Sid="RefuseOldUrls"
            ),
            statement(
                "Deny", ALL_PRINCIPALS, "s3:PutObject", issued, Condition=writing, Sid="RefuseOverwriting"
            ),
        ]
    }


def test_the_queues_policies(stack: Synthesised) -> None:
    """Each queue demands TLS, and S3 may send to the queue of registrations for this account."""
    account = {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}}
    sender = [
        statement(
            "Allow", {"Service": "s3.amazonaws.com"}, "sqs:SendMessage", REGISTRATIONS, Condition=account
        ),
    ]
    assert policies(stack, "AWS::SQS::QueuePolicy", "Queues") == {
        arn.replace(".Arn}", "}"): [
            statement("Deny", ALL_PRINCIPALS, "sqs:*", arn, Condition=INSECURE),
            *(sender if arn == REGISTRATIONS else []),
        ]
        for arn in QUEUES
    }


def test_the_topic_s_policy(stack: Synthesised) -> None:
    """The topic demands TLS, and this account's alarms may publish to it."""
    alarms = {
        "ArnLike": {
            "aws:SourceArn": "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:*"
        },
        "StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"},
    }
    (found,) = policies(stack, "AWS::SNS::TopicPolicy", "Topics").values()
    assert [{name: part for name, part in each.items() if name != "Sid"} for each in found] == [
        statement("Deny", "*", "sns:Publish", "${AlarmsTopic}", Condition=INSECURE),
        statement(
            "Allow",
            {"Service": "cloudwatch.amazonaws.com"},
            "sns:Publish",
            "${AlarmsTopic}",
            Condition=alarms,
        ),
    ]


def test_the_table_has_no_policy(stack: Synthesised) -> None:
    """The table has no resource policy, so rights to it come from roles of this account only."""
    (table,) = stack.resources("AWS::DynamoDB::GlobalTable").values()
    (replica,) = table["Properties"]["Replicas"]
    assert not {"ResourcePolicy", "ReplicaStreamSpecification"} & {*replica, *table["Properties"]}


def test_nothing_else_has_a_policy_of_its_own(stack: Synthesised) -> None:
    """Of all resources only roles, the bucket, the topic and the queues have policies."""
    kinds = {each["Type"] for each in stack.template["Resources"].values() if "Polic" in each["Type"]}
    assert kinds == {
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
    }


def test_a_rule_s_error_goes_to_its_queue(stack: Synthesised) -> None:
    """The role of the rules' error action may send to the queue of undelivered requests, and nothing else."""
    policy = stack.resources("AWS::IAM::Policy")["MqttErrorRoleDefaultPolicy"]["Properties"]
    assert spelled(policy["PolicyDocument"]["Statement"]) == [
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": UNDELIVERED}
    ]


def test_a_wildcard_resource_has_no_alternative(stack: Synthesised) -> None:
    """A role has `*` as a resource only for actions that have no resource type in AWS."""
    found = {
        action
        for policy in stack.resources("AWS::IAM::Policy").values()
        for each in policy["Properties"]["PolicyDocument"]["Statement"]
        if "*" in listed(each["Resource"])
        for action in listed(each["Action"])
    }
    assert found == NAMELESS


@pytest.mark.parametrize(
    ("actions", "resource"),
    [("s3:DeleteObject", "arn:aws:s3:::bucket/*"), ("dynamodb:*", "arn:aws:dynamodb:::table/t")],
)
def test_a_wildcard_without_a_reason_fails_the_synth(tmp_path: Path, actions: str, resource: str) -> None:
    """The synth fails on a wildcard in a role's actions or resources that is not acknowledged."""
    program = (
        "from pathlib import Path\n"
        "from infra.app import application\n"
        "from infra.exchange import Exchange\n"
        "app = application(Path())\n"
        "(exchange,) = (each for each in app.node.find_all() if isinstance(each, Exchange))\n"
        f"exchange.permit([{actions!r}], {resource!r})\n"
        "app.synth()\n"
    )
    done = run_app(tmp_path, {"aws:cdk:bundling-stacks": []}, "-c", program)
    assert done.returncode != 0
    assert "AwsSolutions-IAM5" in done.stdout + done.stderr
