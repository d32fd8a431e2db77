"""The asset has an AWS client of its own, with all that the product's calls need of it."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.session import get_session

from firstboot.domain.aws_apis import AwsApi
from infra.aws_client import trim
from infra.bundling import FUNCTIONS
from tests.infra.conftest import alone

ADAPTERS = sorted((FUNCTIONS / "firstboot/aws").rglob("*.py"))
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
REGIONS = ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"]
APIS = {
    "dynamodb": [AwsApi.DYNAMODB, AwsApi.DYNAMODB_STREAMS],
    "iot": [AwsApi.IOT, AwsApi.IOT_DATA],
    "kms": [AwsApi.KMS],
    "s3": [AwsApi.S3],
    "secrets": [AwsApi.SECRETS_MANAGER],
    "sqs": [AwsApi.SQS],
    "sts": [AwsApi.STS],
}
"""The APIs that each folder or module of firstboot/aws calls."""

# The program below runs with the asset alone. It prints what a client of each API has.
DESCRIBE = """
import json
from firstboot.aws.clients import session
from firstboot.domain.aws_apis import AwsApi

def described(client):
    names = client.meta.method_to_api_mapping
    for operation in client.meta.service_model.operation_names:
        client.meta.service_model.operation_model(operation).output_shape
    return {
        "methods": sorted(names),
        "paginated": sorted(name for name in names if client.can_paginate(name)),
        "url": client.meta.endpoint_url,
        "signed": [client.meta.service_model.signing_name, client.meta.region_name],
    }

print(json.dumps({api.value: described(session().create_client(api.value)) for api in AwsApi}))
"""

# The program below uses every client of the product. A client signs each request, and reads an answer as AWS
# gives it, but nothing is sent.
USE = """
import json
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from firstboot.aws import clients

sent, answers = [], []

class Raw:
    def __init__(self, body):
        self.body = body
    def stream(self, **_):
        yield self.body

def answer(request, **_):
    sent.append(request)
    status, headers, body = answers.pop(0)
    return AWSResponse(request.url, status, headers, Raw(body))

s3 = clients.s3("111122223333")
for client in (s3, clients.dynamodb(), clients.dynamodb_streams(), clients.iot(), clients.iot_data(),
               clients.kms(), clients.secrets_manager(), clients.sqs(), clients.sts()):
    client.meta.events.register("before-send", answer)

JSON = {"content-type": "application/x-amz-json-1.0"}
answers += [(200, JSON, b'{"Attributes": {"n": {"N": "1"}}}')]
clients.dynamodb().update_item(TableName="t", Key={"pk": {"S": "k"}})
answers += [(400, JSON, b'{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",'
                        b' "Item": {"pk": {"S": "k"}}}')]
try:
    clients.dynamodb().put_item(TableName="t", Item={"pk": {"S": "k"}})
except ClientError as error:
    code, item = clients.error_code(error), error.response["Item"]
answers += [(200, {}, b'{"policies": [{"policyName": "a"}], "nextMarker": "m"}'),
            (200, {}, b'{"policies": [{"policyName": "b"}]}')]
pages = clients.iot().get_paginator("list_policies").paginate()
policies = [each["policyName"] for page in pages for each in page["policies"]]
answers += [(404, {"x-amzn-errortype": "ResourceNotFoundException"}, b'{"message": "no such thing"}')]
try:
    clients.iot().describe_thing(thingName="t")
except clients.iot().exceptions.ResourceNotFoundException as error:
    missing = clients.error_code(error)
answers += [(200, {}, b"{}")]
clients.iot_data().delete_connection(clientId="gw-1", cleanSession=True)
answers += [(200, JSON, b'{"Signature": "AAAA"}')]
clients.kms().sign(KeyId="k", Message=b"m", SigningAlgorithm="ECDSA_SHA_256")
answers += [(412, {}, b"<Error><Code>PreconditionFailed</Code></Error>")]
try:
    s3.put_object(Bucket="bucket", Key="k", Body=b"x", IfNoneMatch="*")
except ClientError as error:
    refused = clients.error_code(error)
url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"}, ExpiresIn=300)
answers += [(200, {}, b"<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKIA</AccessKeyId>"
                      b"</Credentials></AssumeRoleResult></AssumeRoleResponse>")]
role = clients.sts().assume_role(RoleArn="arn:aws:iam::111122223333:role/r", RoleSessionName="gw-1")
answers += [(200, JSON, b'{"MessageId": "1"}')]
clients.sqs().send_message(QueueUrl="https://sqs.eu-central-1.amazonaws.com/1/q", MessageBody="m")
answers += [(400, JSON, b'{"__type": "ResourceNotFoundException", "Message": "no such secret"}')]
try:
    clients.secrets_manager().get_secret_value(SecretId="Firstboot/groups/g")
except ClientError as error:
    absent = clients.error_code(error)
answers += [(200, JSON, b'{"Records": []}')]
clients.dynamodb_streams().get_records(ShardIterator="i")

def signed_for(request):
    return request.headers["Authorization"].decode().split("/aws4_request")[0].rpartition("/")[2]

print(json.dumps({
    "code": code, "item": item, "policies": policies, "missing": missing, "refused": refused, "url": url,
    "absent": absent,
    "role": role["Credentials"]["AccessKeyId"], "signed": sorted({signed_for(each) for each in sent}),
    "disconnected": [each.url for each in sent if "connections" in each.url],
}))
"""


def run(asset: Path, program: str, **environment: str) -> Any:
    """Run a program with the asset alone, and return what it prints."""
    done = alone(asset, f"exec({program!r})", **KEYS, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=REGIONS)
def region(request: pytest.FixtureRequest) -> str:
    """Return a region of each partition, and the one with STS's global host."""
    return str(request.param)


@pytest.fixture(scope="module")
def described(asset: Path, region: str) -> dict[str, Any]:
    """Return what the asset's client of each API has in the region."""
    return dict(run(asset, DESCRIBE, AWS_DEFAULT_REGION=region, AWS_STS_REGIONAL_ENDPOINTS="legacy"))


def calls(module: Path) -> set[tuple[str, bool]]:
    """Return the methods of clients that a module uses, each with whether it is paginated."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="get_paginator"), args=[ast.Constant(value=str(method))]):
                found.add((method, True))
            case ast.Call(
                func=ast.Attribute(attr="generate_presigned_url"), args=[ast.Constant(value=str(method)), *_]
            ):
                found.add((method, False))
            case ast.Attribute(
                value=ast.Name(id="client") | ast.Attribute(attr="_client" | "_data" | "_sqs"), attr=method
            ) if method not in {"meta", "exceptions", "get_paginator", "generate_presigned_url"}:
                found.add((method, False))
    return found


def test_the_asset_has_every_call(described: dict[str, Any]) -> None:
    """The asset's client of an API has each method that the adapters of the API call, and each paginator."""
    missing, found = [], set()
    for module in ADAPTERS:
        part = module.relative_to(FUNCTIONS / "firstboot/aws").parts[0].removesuffix(".py")
        for method, paginated in calls(module):
            known = {
                each
                for api in APIS.get(part, [])
                for each in described[api]["paginated" if paginated else "methods"]
            }
            found.add(method)
            if method not in known:
                missing.append(f"{module}: {method}")
    assert missing == []
    # The walk over the source finds calls of each form.
    assert found > {
        "delete_connection",
        "list_policies",
        "get_object",
        "receive_message",
        "create_thing",
        "get_records",
    }


def test_the_asset_s_client_is_the_whole_client(described: dict[str, Any], region: str) -> None:
    """In each partition the asset's client has the whole client's methods, host and signature."""
    for api, found in described.items():
        client: Any = get_session().create_client(api, region_name=region)
        names = client.meta.method_to_api_mapping
        assert found["methods"] == sorted(names)
        assert found["paginated"] == sorted(name for name in names if client.can_paginate(name))
        assert found["signed"] == [client.meta.service_model.signing_name, region]
        assert found["url"] == client.meta.endpoint_url


def test_sts_is_called_in_the_region(described: dict[str, Any], region: str) -> None:
    """The STS client calls its region's own host, even if a setting asks for the global host."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    assert described["sts"]["url"] == f"https://sts.{region}.{suffix}"


def test_the_asset_s_client_works(asset: Path) -> None:
    """With the asset alone each client signs, and the forms of answers that the product reads are understood:
    pages, errors with codes and members, presigned URLs.
    """
    used = run(asset, USE, AWS_DEFAULT_REGION="eu-central-1")
    assert (used["code"], used["item"]) == ("ConditionalCheckFailedException", {"pk": {"S": "k"}})
    assert (used["policies"], used["missing"]) == (["a", "b"], "ResourceNotFoundException")
    assert (used["refused"], used["role"]) == ("PreconditionFailed", "AKIA")
    assert used["url"].startswith(
        "https://bucket.s3.eu-central-1.amazonaws.com/k?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    )
    assert [url.partition("?")[0].rpartition("/")[2] for url in used["disconnected"]] == ["gw-1"]
    assert used["absent"] == "ResourceNotFoundException"
    services = ["dynamodb", "iot", "iotdata", "kms", "s3", "secretsmanager", "sqs", "sts"]
    assert used["signed"] == services


def test_the_asset_comes_before_the_runtime(asset: Path, tmp_path: Path) -> None:
    """The client is the asset's, in the locked version, even if AWS's runtime has another."""
    (tmp_path / "botocore").mkdir()
    (tmp_path / "botocore/__init__.py").write_text("raise ImportError('the runtime's')")
    program = (
        f"sys.path.append({str(tmp_path)!r}); import botocore; print(botocore.__file__, botocore.__version__)"
    )
    done = alone(asset, program)
    assert done.stdout.split() == [str(asset / "botocore/__init__.py"), botocore.__version__], done.stderr


def test_other_apis_are_left_out(asset: Path) -> None:
    """The asset has the models of the APIs in use, without examples and descriptions, in less than 2 MB."""
    data = asset / "botocore/data"
    assert {path.name for path in data.iterdir() if path.is_dir()} == set(AwsApi)
    models = [path for path in data.rglob("*") if path.is_file()]
    assert {path.suffix for path in models} == {".json"}
    assert not [path for path in models if "examples" in path.name]
    assert sum(path.stat().st_size for path in models) < 2_000_000
    assert "<p>" not in (data / "kms/2014-11-01/service-2.json").read_text()


def test_licences_stay(asset: Path) -> None:
    """The asset has the licence of botocore and of what comes with it."""
    (information,) = asset.glob("botocore-*.dist-info")
    assert {"LICENSE.txt", "NOTICE"} <= {path.name for path in information.iterdir()}
    for package in ("jmespath", "python_dateutil", "six", "urllib3"):
        (information,) = asset.glob(f"{package}-*.dist-info")
        assert [path for path in information.rglob("*") if path.name.upper().startswith("LICENSE")]


def test_an_unknown_api_is_an_error(tmp_path: Path) -> None:
    """The bundle fails if botocore has no model of an API in use."""
    shutil.copytree(Path(botocore.__file__).parent / "data/sts", tmp_path / "data/sts")
    with pytest.raises(FileNotFoundError):
        trim(tmp_path, ["sts", "sqs"])
