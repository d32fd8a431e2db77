"""Reads what is in the account from the services' APIs instead of CloudFormation's description."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY
from firstboot.policy.service import ServicePolicy
from local.cloud import STACK
from tests.deploy.conftest import Account
from tests.flows.devices import output

IDENTIFIERS = {
    "AWS::DynamoDB::GlobalTable": "TableName",
    "AWS::KMS::Key": "KeyId",
    "AWS::S3::Bucket": "BucketName",
}


@dataclass(frozen=True)
class Lasting:
    """The facts that a deployment must not change.

    `resources` maps logical ids of retained resources to type and name. `objects` are the keys in the bucket.
    `devices` maps each device to its status, its generation and its certificates (member of the record:
    serial).
    """

    resources: dict[str, tuple[str, str]]
    ca: bytes
    truststore: bytes
    objects: frozenset[str]
    devices: dict[str, tuple[str, str, dict[str, str]]]


def lasting(account: Account) -> Lasting:
    """Return the lasting facts as they are now."""
    bucket, table = (output(account.cloud, name) for name in ("CertificatesBucket", "Table"))
    s3 = account.client("s3")
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    rows = account.client("dynamodb").scan(TableName=table)["Items"]
    return Lasting(
        resources={
            logical: (kind, name)
            for logical, (kind, name) in physical(account).items()
            if kind in IDENTIFIERS
        },
        ca=s3.get_object(Bucket=bucket, Key=AUTHORITY_KEY)["Body"].read(),
        truststore=s3.get_object(Bucket=bucket, Key=TRUSTSTORE_KEY)["Body"].read(),
        objects=frozenset(each["Key"] for each in listed),
        devices={
            row["deviceId"]["S"]: (
                row["status"]["S"],
                row["generation"]["N"],
                {
                    name: row[name]["M"]["serial"]["S"]
                    for name in ("pending", "active", "superseded")
                    if name in row
                },
            )
            for row in rows
            if row["pk"]["S"].startswith("DEV#")
        },
    )


def template(account: Account) -> Any:
    """Return the stack's template."""
    return account.client("cloudformation").get_template(StackName=STACK)["TemplateBody"]


def code(account: Account) -> dict[str, tuple[str, str]]:
    """Return the hash of the code and the handler of each Lambda."""
    functions = account.client("lambda").list_functions()["Functions"]
    return {each["FunctionName"]: (each["CodeSha256"], each["Handler"]) for each in functions}


def resources(account: Account) -> list[dict[str, Any]]:
    """Return the stack's resources."""
    pages = account.client("cloudformation").get_paginator("list_stack_resources")
    return [each for page in pages.paginate(StackName=STACK) for each in page["StackResourceSummaries"]]


def physical(account: Account) -> dict[str, tuple[str, str]]:
    """Return the type and physical id of each resource by logical id. Replacing changes the physical id."""
    return {
        each["LogicalResourceId"]: (each["ResourceType"], each["PhysicalResourceId"])
        for each in resources(account)
    }


def status(account: Account) -> str:
    """Return the stack's status."""
    (stack,) = account.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    return str(stack["StackStatus"])


_LISTINGS = {
    "apigatewayv2": ("get_apis", "Items", "ApiId"),
    "cloudwatch": ("describe_alarms", "MetricAlarms", "AlarmName"),
    "events": ("list_rules", "Rules", "Name"),
    "iam": ("list_roles", "Roles", "RoleName"),
    "iot": ("list_topic_rules", "rules", "ruleName"),
    "kms": ("list_keys", "Keys", "KeyId"),
    "lambda": ("list_functions", "Functions", "FunctionName"),
    "logs": ("describe_log_groups", "logGroups", "logGroupName"),
    "s3": ("list_buckets", "Buckets", "Name"),
    "sns": ("list_topics", "Topics", "TopicArn"),
}


def identifiers(account: Account) -> set[str]:
    """Return the identifiers of all resources in the account, of all types that the stack has."""
    found = {
        each[name]
        for service, (listing, member, name) in _LISTINGS.items()
        for each in getattr(account.client(service), listing)()[member]
    }
    iot = account.client("iot")
    found |= {each["certificateId"] for each in iot.list_ca_certificates()["certificates"]}
    found |= set(account.client("sqs").list_queues().get("QueueUrls", []))
    return found | set(account.client("dynamodb").list_tables()["TableNames"])


def holders(account: Account, policy: ServicePolicy) -> set[str]:
    """Return the ARNs of the certificates that have one of AWS IoT's policies."""
    answer = account.client("iot").list_targets_for_policy(policyName=policy.policy_name(STACK))
    return set(answer["targets"])


def signers(account: Account) -> set[str]:
    """Return the roles that the CA key's own policy lets sign."""
    (key,) = (each for each in resources(account) if each["ResourceType"] == "AWS::KMS::Key")
    policy = account.client("kms").get_key_policy(KeyId=key["PhysicalResourceId"], PolicyName="default")
    return {
        statement["Principal"]["AWS"].split("/")[-1]
        for statement in json.loads(policy["Policy"])["Statement"]
        if statement["Action"] == "kms:Sign"
    }
