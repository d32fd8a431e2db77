"""A session of a fleet role reaches nothing of Firstboot itself, even if its grants allowed everything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.flows.conftest import Cloud
from tests.flows.devices import client, output

_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_ROLE = "attack"


@contextmanager
def _session(cloud: Cloud, policy: str | None) -> Iterator[Callable[[str], Any]]:
    """Yield what makes clients of a session whose role may do everything but what `policy` denies."""
    iam, aws = client(cloud, "iam"), cloud.endpoints["aws"]
    principal = {"AWS": f"arn:aws:iam::{aws['account']}:root"}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=_ROLE,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    iam.put_role_policy(RoleName=_ROLE, PolicyName="all", PolicyDocument=json.dumps(_ALL))
    if policy:
        iam.attach_role_policy(RoleName=_ROLE, PolicyArn=policy)
    session = client(cloud, "sts").assume_role(RoleArn=role, RoleSessionName="attacker")["Credentials"]

    def made(service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=aws["s3_endpoint" if service == "s3" else "endpoint"],
            region_name=aws["region"],
            aws_access_key_id=session["AccessKeyId"],
            aws_secret_access_key=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
            verify=cloud.endpoints["api_ca"],
        )

    try:
        yield made
    finally:
        if policy:
            iam.detach_role_policy(RoleName=_ROLE, PolicyArn=policy)
        iam.delete_role_policy(RoleName=_ROLE, PolicyName="all")
        iam.delete_role(RoleName=_ROLE)


def _attempts(cloud: Cloud, made: Callable[[str], Any]) -> dict[str, Callable[[], Any]]:
    """Return attempts on what is Firstboot's, each of which reads only."""
    bucket, queue = output(cloud, "CertificatesBucket"), output(cloud, "DeadQueue")
    event = json.dumps({"operation": "devices.list", "parameters": {}})
    return {
        "table": lambda: made("dynamodb").scan(TableName=output(cloud, "Table"), Limit=1),
        "bucket": lambda: made("s3").get_object(Bucket=bucket, Key="authority/ca.pem"),
        "list": lambda: made("s3").list_objects_v2(Bucket=bucket),
        "operate": lambda: made("lambda").invoke(
            FunctionName=output(cloud, "OperateFunction"), Payload=event
        ),
        "queue": lambda: made("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"]),
        "key": lambda: made("kms").get_public_key(KeyId=output(cloud, "CaKey")),
    }


@pytest.fixture(scope="module")
def protected(cloud: Cloud) -> str:
    """Return the ARN of the policy that the stack's fleet roles carry."""
    pages = client(cloud, "cloudformation").get_paginator("list_stack_resources")
    (arn,) = (
        each["PhysicalResourceId"]
        for page in pages.paginate(StackName=cloud.endpoints["stack"])
        for each in page["StackResourceSummaries"]
        if each["ResourceType"] == "AWS::IAM::ManagedPolicy"
    )
    return str(arn)


def _reached(cloud: Cloud, policy: str | None) -> set[str]:
    found = set()
    with _session(cloud, policy) as made:
        for name, attempt in _attempts(cloud, made).items():
            try:
                attempt()
            except ClientError:
                continue
            found.add(name)
    return found


def test_a_session_reaches_nothing_of_firstboot(cloud: Cloud, protected: str) -> None:
    """A session that may do everything reaches none of it with the fleet roles' Deny, and most without."""
    assert _reached(cloud, protected) == set()
    # The key's own policy names who may do what, so that it is out of reach in any case.
    assert _reached(cloud, None) >= {"table", "bucket", "list", "operate", "queue"}


def test_the_fleet_roles_carry_the_policy(cloud: Cloud, protected: str) -> None:
    """Each deployed role of devices' sessions has the policy attached."""
    iam = client(cloud, "iam")
    roles = [each["RoleName"] for each in iam.list_roles(PathPrefix="/firstboot/")["Roles"]]
    assert roles
    for role in roles:
        attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        assert [each["PolicyArn"] for each in attached] == [protected]
