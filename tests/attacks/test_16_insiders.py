"""An attacker runs code in one of our functions, or holds a supporter's credentials, and tries what its role
may not do.

The attacker calls AWS with the role's own session, over the running cloud with IAM enforced. Another attacker
has a bucket under the name of ours, which is tried over moto.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.s3.models import s3_backends

from firstboot.aws import clients
from firstboot.aws.clients import error_code
from firstboot.aws.s3.authority import AuthorityStore
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, PublishedFleet
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.fleets import fleet, group
from tests.flows.conftest import Cloud
from tests.flows.devices import client, fresh_name, operate, output
from tests.infra.conftest import spell

ANYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
STRANGERS_ACCOUNT = "999999999999"
CERTIFICATE = "0" * 64


@dataclass
class Insider:
    """The running stack, and sessions of its roles."""

    cloud: Cloud
    trusts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        formation = client(self.cloud, "cloudformation")
        found = formation.describe_stack_resources(StackName=self.cloud.endpoints["stack"])
        self.names = {
            spell(each["LogicalResourceId"]): each["PhysicalResourceId"] for each in found["StackResources"]
        }
        self.device = fresh_name()
        operate(self.cloud, "groups.expect", group="gateways", devices={self.device: {}})

    def session(self, function: str) -> Session:
        """Return a session of a function's role, which is let to trust the operator for that."""
        iam, name = client(self.cloud, "iam"), self.names[f"{function}Role"]
        role = iam.get_role(RoleName=name)["Role"]
        if name not in self.trusts:
            trust = role["AssumeRolePolicyDocument"]
            self.trusts[name] = json.dumps(trust)
            account = {"AWS": f"arn:aws:iam::{self.cloud.endpoints['aws']['account']}:root"}
            opened = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": account}
            document = json.dumps(trust | {"Statement": [*trust["Statement"], opened]})
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=document)
        sts = client(self.cloud, "sts")
        return Session(self, sts.assume_role(RoleArn=role["Arn"], RoleSessionName="insider")["Credentials"])

    def restore(self) -> None:
        """Give the roles their trust policies back."""
        for name, document in self.trusts.items():
            client(self.cloud, "iam").update_assume_role_policy(RoleName=name, PolicyDocument=document)


@dataclass(frozen=True)
class Session:
    """Credentials of a role or a user, and what they are tried on."""

    insider: Insider
    credentials: dict[str, Any]

    def aws(self, service: Any) -> Any:
        """Return a client with these credentials."""
        aws = self.insider.cloud.endpoints["aws"]
        return boto3.client(
            service,
            endpoint_url=aws["s3_endpoint" if service == "s3" else "endpoint"],
            region_name=aws["region"],
            aws_access_key_id=self.credentials["AccessKeyId"],
            aws_secret_access_key=self.credentials["SecretAccessKey"],
            aws_session_token=self.credentials.get("SessionToken"),
            verify=self.insider.cloud.endpoints["api_ca"],
        )

    def update(self, row: str, attribute: str, value: str | int = "x") -> None:
        """Set an attribute of a row."""
        self.aws("dynamodb").update_item(
            TableName=self.insider.names["Registry"],
            Key={"pk": {"S": row}},
            UpdateExpression="SET #a = :v",
            ExpressionAttributeNames={"#a": attribute},
            ExpressionAttributeValues={":v": {"S": value} if isinstance(value, str) else {"N": str(value)}},
        )

    def update_in_transaction(self, row: str, attribute: str) -> None:
        """Set an attribute of a row, as one of the items of a transaction."""
        item = {
            "TableName": self.insider.names["Registry"],
            "Key": {"pk": {"S": row}},
            "UpdateExpression": f"SET {attribute} = :v",
            "ExpressionAttributeValues": {":v": {"S": "x"}},
        }
        self.aws("dynamodb").transact_write_items(TransactItems=[{"Update": item}])

    def read(self, row: str) -> None:
        """Read a row."""
        key = {"pk": {"S": row}}
        self.aws("dynamodb").get_item(TableName=self.insider.names["Registry"], Key=key)

    def invoke(self, output_name: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Return the answer to an operator's call."""
        event = json.dumps({"operation": operation, "parameters": parameters})
        function = output(self.insider.cloud, output_name)
        answer = self.aws("lambda").invoke(FunctionName=function, Payload=event)
        found: dict[str, Any] = json.load(answer["Payload"])
        return found


@pytest.fixture(scope="module")
def insider(cloud: Cloud) -> Iterator[Insider]:
    """Return the running stack, with one device in its table."""
    made = Insider(cloud)
    yield made
    made.restore()


def denied(attack: Callable[[], object]) -> bool:
    """Return whether AWS refuses a call for lack of a right. Another refusal is raised."""
    try:
        attack()
    except ClientError as error:
        if error_code(error) in ("AccessDenied", "AccessDeniedException"):
            return True
        raise
    return False


LOGINS = ["Vend", "VendMqtt", "Presence"]
OTHER_ROWS = ["BUDGET#gateways#0", "BOOTSTRAP#00", "SWEEP", "PACE#iot", f"JITR#{CERTIFICATE}", "DAY#gw-1#1"]


@pytest.mark.parametrize("function", LOGINS)
@pytest.mark.parametrize("attribute", ["group", "attributes", "anchor", "bootstrapIds"])
def test_a_login_s_function_changes_nothing_else_of_a_record(
    insider: Insider, function: str, attribute: str
) -> None:
    """A function that commits a login can write what a login changes, and not group or origin."""
    session, row = insider.session(function), f"DEV#{insider.device}"
    assert denied(lambda: session.update(row, attribute))
    if attribute != "group":  # a reserved word of DynamoDB
        assert denied(lambda: session.update_in_transaction(row, attribute))
    assert not denied(lambda: session.update(row, "updatedAt", 1))


@pytest.mark.parametrize("function", LOGINS)
@pytest.mark.parametrize("row", OTHER_ROWS)
def test_a_login_s_function_writes_no_other_row(insider: Insider, function: str, row: str) -> None:
    """A function that commits a login writes no counter, no freeze, no revocation and no progress."""
    session = insider.session(function)
    assert denied(lambda: session.update(row, "updatedAt", 1))
    assert denied(lambda: session.update_in_transaction(row, "updatedAt"))


@pytest.mark.parametrize(
    ("function", "row"),
    {
        "Presence": "SECRET#nonces",
        "Vend": "SECRET#passwords",
        "VendMqtt": "SECRET#nonces",
        "ExchangeMqtt": "SECRET#passwords",
        "RegisterWork": "SECRET#nonces",
        "Newcomers": "KEY#00",
        "OperateRead": "SECRET#nonces",
        "Operate": "SECRET#nonces",
    }.items(),
)
def test_a_function_reads_no_row_that_it_does_not_need(insider: Insider, function: str, row: str) -> None:
    """No function reads the keys of nonces or passwords, or other rows, unless its work needs them."""
    assert denied(lambda: insider.session(function).read(row))


@pytest.mark.parametrize("function", ["RegisterWork", "Newcomers"])
@pytest.mark.parametrize("name", ["grant-extra", "bootstrap", "claim", "device"])
def test_no_function_that_handles_devices_writes_a_policy(insider: Insider, function: str, name: str) -> None:
    """`register` and JITR can neither create a policy with a content of their choice nor change one."""
    iot, policy = insider.session(function).aws("iot"), f"Firstboot-{name}"
    document = json.dumps(ANYTHING)
    assert denied(lambda: iot.create_policy(policyName=policy, policyDocument=document))
    assert denied(
        lambda: iot.create_policy_version(policyName=policy, policyDocument=document, setAsDefault=True)
    )


def test_the_read_only_function_s_role_writes_nothing(insider: Insider) -> None:
    """The role of the read-only operate function changes no row, object, message or certificate."""
    session, names = insider.session("OperateRead"), insider.names
    row = f"DEV#{insider.device}"
    dynamodb, sqs, bucket = session.aws("dynamodb"), session.aws("sqs"), names["Store"]
    table, key = names["Registry"], {"pk": {"S": row}}
    iot = session.aws("iot")
    for attack in (
        lambda: session.update(row, "status", "revoked"),
        lambda: session.update_in_transaction(row, "updatedAt"),
        lambda: dynamodb.put_item(TableName=table, Item=key),
        lambda: dynamodb.delete_item(TableName=table, Key=key),
        lambda: session.aws("s3").put_object(Bucket=bucket, Key="fleet/published.json", Body=b"{}"),
        lambda: session.aws("s3").get_object(Bucket=bucket, Key="certificates/gw-1/1.pem"),
        lambda: sqs.send_message(QueueUrl=names["RegisterQueuesUrgent"], MessageBody="{}"),
        lambda: sqs.receive_message(QueueUrl=names["RegisterQueuesDead"]),
        lambda: iot.update_certificate(certificateId=CERTIFICATE, newStatus="REVOKED"),
    ):
        assert denied(attack)
    assert not denied(lambda: session.read(row))


def test_a_supporter_lists_and_explains_and_changes_nothing(insider: Insider) -> None:
    """A person who may invoke the read-only function alone sees devices and can revoke none."""
    iam, name = client(insider.cloud, "iam"), "supporter"
    allowed = f"arn:aws:lambda:*:*:function:{output(insider.cloud, 'ReadFunction')}"
    statement = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": allowed}
    iam.create_user(UserName=name)
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="read", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    supporter, device = Session(insider, key), {"deviceId": insider.device}
    assert supporter.invoke("ReadFunction", "devices.list", limit=5)["result"]["devices"]
    assert supporter.invoke("ReadFunction", "devices.explain", **device)["result"]["moments"]
    refused = supporter.invoke("ReadFunction", "devices.revoke", **device)
    assert refused["problem"]["code"] == "operation-unknown"
    assert denied(lambda: supporter.invoke("OperateFunction", "devices.revoke", **device))
    assert operate(insider.cloud, "devices.show", **device)["status"] == "expected"


def _checking(params: dict[str, Any], **_: object) -> tuple[object, dict[str, Any]] | None:
    """Answer as S3 does when the bucket has another owner than the call expects; moto does not check it.

    Amazon S3 user guide, "Verifying bucket ownership with bucket owner condition".
    """
    if params["headers"].get("x-amz-expected-bucket-owner") in (None, STRANGERS_ACCOUNT):
        return None
    return SimpleNamespace(status_code=403), {"Error": {"Code": "AccessDenied", "Message": ""}}


@pytest.fixture
def stolen(aws: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return an S3 client of a stranger, who has made a bucket under the name of our deleted one."""
    with monkeypatch.context() as theirs:
        theirs.setenv("MOTO_ACCOUNT_ID", STRANGERS_ACCOUNT)
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="lost")
    events: Any = clients.s3(ACCOUNT).meta.events
    events.register("before-call.s3", _checking)
    return s3_backends[STRANGERS_ACCOUNT]["aws"].buckets["lost"]


@pytest.mark.parametrize(
    "call",
    [
        lambda s3: S3CertificateStore(s3, "lost").put(DeviceId("gw-1"), "ab", b"chain"),
        lambda s3: AuthorityStore(s3, "lost").put_certificate(b"pem"),
        lambda s3: AuthorityStore(s3, "lost").certificate(),
        lambda s3: _fleets(s3).current(utc_now()),
        lambda s3: PublishedFleet(s3, "lost").write(b"fleet", None),
    ],
    ids=["certificate", "ca", "ca-read", "fleet-read", "fleet"],
)
def test_a_stranger_s_bucket_is_not_used(stolen: Any, call: Callable[[Any], object]) -> None:
    """A bucket of our name in another account gets nothing of us, and gives us neither a CA nor a fleet."""
    with pytest.raises(Unavailable, match="AccessDenied"):
        call(clients.s3(ACCOUNT))
    assert not stolen.keys


def _fleets(s3: Any) -> FleetSource:
    return FleetSource(s3, "lost", fleet(group("gateways", factories.authority())), 0, print)
