"""Resources' own policies, to the letter; and every wildcard has its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.infra.conftest import Synthesised, run_app, spelled
from tests.infra.test_functions import CERTIFICATES, DEAD, ECDSA, RATE_LIMITED, UNDELIVERED, URGENT, listed

# One worker, one synthesis.
pytestmark = pytest.mark.xdist_group("infra")

ADMINISTRATION = [
    *("kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*"),
    *("kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:UntagResource"),
    *("kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"),
]
ACCOUNT = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"
ANYONE = {"AWS": "*"}
INSECURE = {"Bool": {"aws:SecureTransport": "false"}}
QUEUES = {UNDELIVERED, RATE_LIMITED, URGENT, DEAD, "${NewcomersQueue.Arn}", "${NewcomersDeadLetters.Arn}"}
NAMELESS = {
    "iot:DescribeEndpoint",
    "iot:ListAttachedPolicies",
    "iot:ListPolicies",
    "iot:RegisterCertificateWithoutCA",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
"""Actions that take no resource: service authorization reference, "AWS IoT" and "AWS X-Ray"."""


def policies(stack: Synthesised, kind: str, of: str) -> dict[str, Any]:
    """The statements of resource policies, by what each is of."""
    found = (spelled(each["Properties"]) for each in stack.resources(kind).values())
    return {listed(each[of])[0]: each["PolicyDocument"]["Statement"] for each in found}


def statement(effect: str, principal: Any, action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    """A statement."""
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resource, **more}


def test_the_key_s_policy(stack: Synthesised) -> None:
    """Three roles sign, in one way; the account's administrators look after the key and don't. `*` is this
    key, in a key's policy.
    """
    (key,) = stack.resources("AWS::KMS::Key").values()
    signers = [f"${{{name}Role.Arn}}" for name in ("AuthorityFunction", "Exchange", "ExchangeMqtt")]
    assert spelled(key["Properties"]["KeyPolicy"]["Statement"]) == [
        statement("Allow", {"AWS": ACCOUNT}, ADMINISTRATION, "*", Sid="Administration"),
        *(statement("Allow", {"AWS": role}, "kms:Sign", "*", Condition=ECDSA) for role in signers),
    ]


def test_the_bucket_s_policy(stack: Synthesised) -> None:
    """It allows nobody anything, and refuses anyone what no one may do."""
    issued = [CERTIFICATES, "${Store.Arn}/authority/*"]
    writing = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}
    old = {"NumericGreaterThan": {"s3:signatureAge": 300_000}}
    assert policies(stack, "AWS::S3::BucketPolicy", "Bucket") == {
        "${Store}": [
            statement("Deny", ANYONE, "s3:*", ["${Store.Arn}", "${Store.Arn}/*"], Condition=INSECURE),
            statement("Deny", ANYONE, "s3:GetObject", CERTIFICATES, Condition=old, Sid="RefuseOldUrls"),
            statement("Deny", ANYONE, "s3:PutObject", issued, Condition=writing, Sid="RefuseOverwriting"),
        ]
    }


def test_the_queues_policies(stack: Synthesised) -> None:
    """TLS only; and S3, for this account, may send to the one queue that it tells of certificates."""
    account = {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}}
    told = [
        statement(
            "Allow", {"Service": "s3.amazonaws.com"}, "sqs:SendMessage", RATE_LIMITED, Condition=account
        ),
    ]
    assert policies(stack, "AWS::SQS::QueuePolicy", "Queues") == {
        arn.replace(".Arn}", "}"): [
            statement("Deny", ANYONE, "sqs:*", arn, Condition=INSECURE),
            *(told if arn == RATE_LIMITED else []),
        ]
        for arn in QUEUES
    }


def test_the_topic_s_policy(stack: Synthesised) -> None:
    """TLS only; and this account's alarms may publish."""
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
    """Whoever reads it has it from a role, and nobody from another account has."""
    (table,) = stack.resources("AWS::DynamoDB::GlobalTable").values()
    (replica,) = table["Properties"]["Replicas"]
    assert not {"ResourcePolicy", "ReplicaStreamSpecification"} & {*replica, *table["Properties"]}


def test_nothing_else_has_a_policy_of_its_own(stack: Synthesised) -> None:
    """But the Lambdas, whose permissions to invoke are asserted with the API and the rules."""
    kinds = {each["Type"] for each in stack.template["Resources"].values() if "Polic" in each["Type"]}
    assert kinds == {
        "AWS::IAM::Policy",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
    }


def test_a_rule_s_error_goes_to_its_queue(stack: Synthesised) -> None:
    """All that the role of the rules on requests may do."""
    policy = stack.resources("AWS::IAM::Policy")["MqttErrorRoleDefaultPolicy"]["Properties"]
    assert spelled(policy["PolicyDocument"]["Statement"]) == [
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": UNDELIVERED}
    ]


def test_what_names_no_resource_can_name_none(stack: Synthesised) -> None:
    """`*` is a role's resource only where AWS takes no other."""
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
    """In a role's actions or resources, where nobody wrote why it is there."""
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
