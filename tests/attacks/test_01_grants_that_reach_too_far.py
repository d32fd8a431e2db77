"""Reach rights, code, credentials or Firstboot itself by a grant.

A maker writes a grant that is too wide, by mistake or because an attacker changed the fleet folder. The
attacker owns a device that holds the grant. Two things stop it: no such fleet is published, and the roles of
the devices' sessions are denied everything of Firstboot.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firstboot.compiler import templates
from firstboot.compiler.services import NEVER
from firstboot.domain.fleet import Fleet, GrantTerms
from firstboot.domain.names import DeviceId
from firstboot.policy import render
from firstboot.policy.render import Place
from tests.aws.product import Product
from tests.aws.test_operate import problem, published, successor
from tests.flows.conftest import Cloud
from tests.flows.devices import client, output

_SECURE = {"Bool": {"aws:SecureTransport": "true"}}

_ATTACKS = """
# what the finding names
sts:AssumeRole                 arn:aws:iam::123456789012:role/*
iam:CreateAccessKey            arn:aws:iam::123456789012:user/*
lambda:InvokeFunction          arn:aws:lambda:us-east-1:123456789012:function:*
dynamodb:UpdateItem            arn:aws:dynamodb:us-east-1:123456789012:table/*
s3:PutObject                   arn:aws:s3:::*/published.json
# rights, credentials and code by other names
sts:AssumeRole                 arn:aws:iam::999999999999:role/x
IAM:CreateUser                 arn:aws:iam::123456789012:user/x
s3:putbucketpolicy             arn:aws:s3:::bucket
s3:PutReplicationConfiguration arn:aws:s3:::bucket
s3:Get*                        arn:aws:s3:us-east-1:123456789012:access-grants/default
sqs:SetQueueAttributes         arn:aws:sqs:us-east-1:123456789012:queue
sns:SetTopicAttributes         arn:aws:sns:us-east-1:123456789012:topic
events:PutTargets              arn:aws:events:us-east-1:123456789012:rule/rule
kms:creategrant                arn:aws:kms:us-east-1:123456789012:key/k
lambda:PublishLayerVersion     arn:aws:lambda:us-east-1:123456789012:layer:l
lambda:GetFunction             arn:aws:lambda:us-east-1:123456789012:function:f
ecr:PutImage                   arn:aws:ecr:us-east-1:123456789012:repository/r
ssm:GetAccessToken             arn:aws:ssm:us-east-1:123456789012:parameter/p
apigateway:PATCH               arn:aws:apigateway:us-east-1::/apis/a
acm-pca:IssueCertificate       arn:aws:acm-pca:us-east-1:123456789012:certificate-authority/c
redshift:Get*                  arn:aws:redshift:us-east-1:123456789012:dbuser:c/u
cloudwatch:DisableAlarmActions arn:aws:cloudwatch:us-east-1:123456789012:alarm:Firstboot-x
logs:DeleteLogGroup            arn:aws:logs:us-east-1:123456789012:log-group:g
# names that are patterns, or look like others
s3:?utObject                   arn:aws:s3:::b/x
s3:*                           arn:aws:s3:::b/x
*                              arn:aws:s3:::b/x
s3:PutObject                   *
s3:PutObject                   arn:aws:s3:::?/x
s3:PutObject                   arn:aws:*:::b/x
\uff533:PutObject              arn:aws:s3:::b/x
s3:PutObject                   \uff41rn:aws:s3:::b/x
# other clients, and topics of AWS IoT and Firstboot
iot:Connect                    arn:aws:iot:r:1:client/*
iot:Connect                    arn:aws:iot:r:1:client/gw-1
iot:Publish                    arn:aws:iot:r:1:topic/$aws/*
iot:Publish                    arn:aws:iot:r:1:topic/$aws/things/*/shadow/update
iot:Publish                    arn:aws:iot:r:1:topic/$aws/rules/Firstboot*
iot:Publish                    arn:aws:iot:r:1:topic/$aws/events/presence/connected/gw-1
iot:Publish                    arn:aws:iot:r:1:topic/$aws/certificates/create/json
iot:Publish                    arn:aws:iot:r:1:topic/$aws/provisioning-templates/t/provision/json
iot:Publish                    arn:aws:iot:r:1:topic/firstboot/gw-1/certificates/request
iot:Publish                    arn:aws:iot:r:1:topic/f*
iot:Receive                    arn:aws:iot:r:1:topic/firstboot/{region}/credentials/accepted
iot:Subscribe                  arn:aws:iot:r:1:topicfilter/$share/g/firstboot/+/credentials/accepted
iot:UpdateCertificate          arn:aws:iot:r:1:cert/c
iot:AttachPolicy               arn:aws:iot:r:1:cert/c
"""
ATTACKS = [tuple(line.split()) for line in _ATTACKS.splitlines() if line and not line.startswith("#")]
"""Actions and resources. The fleet opens every service, and says that the grant is shared."""


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def _refusal(product: Product, statement: dict[str, Any]) -> dict[str, Any]:
    """Publish a fleet with a grant that has the statement, past the console, and return the problem."""
    services = {action.partition(":")[0] for action, _ in ATTACKS if action.isascii()} - {"*", "IAM"}
    fleet = successor(
        product,
        grants=product.fleet.grants | {"attack": _document(statement)},
        services=tuple(sorted(services | NEVER)),
        terms={"attack": GrantTerms("attack", shared=True)},
    )
    return problem(product.operate("fleet.apply", fleet=fleet))


def test_no_fleet_with_such_a_grant_is_published(product: Product) -> None:
    """A grant that reaches rights, code, credentials or other devices is refused with all services opened."""
    for action, resource in ATTACKS:
        statement = {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": _SECURE}
        found = _refusal(product, statement)
        assert found["code"] == "fleet-invalid", (action, resource)
        assert f"{action!r}" in found["detail"] or f"{resource!r}" in found["detail"], found["detail"]
    assert published(product) is None


@pytest.mark.parametrize("element", ["NotAction", "NotResource", "Principal"])
def test_no_grant_covers_what_it_does_not_name(product: Product, element: str) -> None:
    """A grant can't allow all actions or resources but one, and can't name other principals."""
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/x", element: "s3:x"}
    assert f"{element} is not supported" in _refusal(product, statement)["detail"]


_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_ROLE = "attack"


@contextmanager
def _session(
    cloud: Cloud, policy: str | None, allowed: dict[str, Any], session_policy: str
) -> Iterator[Callable[[str], Any]]:
    """Yield what makes clients of a session. Its role has the policies `allowed` and `policy` (an ARN)."""
    iam, aws = client(cloud, "iam"), cloud.endpoints["aws"]
    principal = {"AWS": f"arn:aws:iam::{aws['account']}:root"}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=_ROLE,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    iam.put_role_policy(RoleName=_ROLE, PolicyName="all", PolicyDocument=json.dumps(allowed))
    if policy:
        iam.attach_role_policy(RoleName=_ROLE, PolicyArn=policy)
    assumed = client(cloud, "sts").assume_role(
        RoleArn=role, RoleSessionName="attacker", Policy=session_policy
    )
    session = assumed["Credentials"]

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


def _reached(cloud: Cloud, made: Callable[[str], Any]) -> set[str]:
    found = set()
    for name, attempt in _attempts(cloud, made).items():
        try:
            attempt()
        except ClientError:
            continue
        found.add(name)
    return found


def test_a_session_reaches_nothing_of_firstboot(cloud: Cloud, protected: str) -> None:
    """A session that may do everything reaches none of it with the fleet roles' Deny, and most without."""
    with _session(cloud, protected, _ALL, json.dumps(_ALL)) as made:
        assert _reached(cloud, made) == set()
    with _session(cloud, None, _ALL, json.dumps(_ALL)) as made:
        # The key's own policy names who may do what, so that it is out of reach in any case.
        assert _reached(cloud, made) >= {"table", "bucket", "list", "operate", "queue"}


def _widest() -> Fleet:
    """Return a fleet with the widest grants that compile, and with one of each device's own objects."""

    def allow(action: str | list[str], resource: str, **condition: Any) -> dict[str, Any]:
        return {"Effect": "Allow", "Action": action, "Resource": resource} | condition

    arn = "arn:{{partition}}:{}:*:*:{}"
    wide = _document(
        allow(["lambda:InvokeFunction"], arn.format("lambda", "function:F*")),
        allow(["dynamodb:Scan", "dynamodb:Get*"], arn.format("dynamodb", "table/F*")),
        allow(["sqs:Get*", "sqs:SendMessage"], arn.format("sqs", "F*")),
        allow(["s3:Get*", "s3:List*", "s3:PutObject"], "arn:{partition}:s3:::f*"),
    )
    own = _document(allow("s3:PutObject", "arn:{partition}:s3:::own-{account}/{deviceId}/*"))
    terms = {"wide": GrantTerms("wide", shared=True)}
    fleet = replace(Fleet({}, {}, {}, "", ""), grants={"own": own, "wide": wide}, terms=terms)
    assert templates.check(fleet) == []
    return fleet


def test_the_widest_grants_reach_the_device_alone(cloud: Cloud, protected: str) -> None:
    """With the widest grants that compile, a session has its own objects and nothing of Firstboot."""
    aws, fleet = cloud.endpoints["aws"], _widest()
    place = Place("aws", aws["region"], aws["account"])
    bucket = f"own-{aws['account']}"
    client(cloud, "s3").create_bucket(Bucket=bucket)
    policy = render.session_policy(fleet, fleet.grants, DeviceId("gw-1"), place)
    with _session(cloud, protected, render.ceiling(fleet, place), policy) as made:
        assert _reached(cloud, made) == set()
        made("s3").put_object(Bucket=bucket, Key="gw-1/x", Body=b"")
        for key in ("gw-10/x", "gw-2/x", "x", "gw-1"):
            with pytest.raises(ClientError, match="AccessDenied"):
                made("s3").put_object(Bucket=bucket, Key=key, Body=b"")
    with _session(cloud, None, render.ceiling(fleet, place), policy) as made:
        assert _reached(cloud, made) >= {"table", "bucket", "list", "operate", "queue"}


def test_the_fleet_roles_carry_the_policy(cloud: Cloud, protected: str) -> None:
    """Each deployed role of devices' sessions has the policy attached."""
    iam = client(cloud, "iam")
    roles = [each["RoleName"] for each in iam.list_roles(PathPrefix="/firstboot/")["Roles"]]
    assert roles
    for role in roles:
        attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        assert [each["PolicyArn"] for each in attached] == [protected]
