"""The AWS clients of the product, each made once in a process.

botocore makes them. Importing boto3 on top of it takes 40 ms of CPU, a tenth of a cold start, and the product
uses nothing of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session, get_session

from firstboot.aws.answers import WholeAnswers
from firstboot.aws.connections import TIMEOUT_SECONDS, connections
from firstboot.domain.aws_apis import AwsApi
from firstboot.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot_data import IoTDataPlaneClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

# Time-outs are short and there is one retry: devices and gateways give up after a few seconds, and Lambda
# bills the time that a function waits.
_CONFIG = Config(
    connect_timeout=TIMEOUT_SECONDS[0],
    read_timeout=TIMEOUT_SECONDS[1],
    retries={"mode": "standard", "total_max_attempts": 2},
    # Presigned URLs must be SigV4 and name the region's own host. botocore may choose the global host,
    # which answers for a new bucket with a redirect, and devices do not follow redirects.
    signature_version="v4",
    s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "virtual"},
)


@cache
def session() -> Session:
    """Return the botocore session of every client, so that they share the service models that it reads."""
    # Environments that Lambda restores from one snapshot begin with the same random state, and would all wait
    # for the same times before they repeat a call.
    random.seed()
    made = get_session()
    # STS's global host is in one region, on which credentials would then depend everywhere (AWS SDKs and
    # tools reference guide, "AWS STS Regional endpoints"). The region's own host is only botocore's default.
    made.set_config_variable("sts_regional_endpoints", "regional")
    made.register_component("response_parser_factory", WholeAnswers())
    return made


def _client(api: AwsApi, config: Config = _CONFIG) -> Any:  # noqa: ANN401 - the callers know its type
    made: Any = session().create_client(api.value, config=config)
    # botocore has no setting for it.
    made._endpoint.http_session = connections()  # noqa: SLF001
    return made


@cache
def dynamodb() -> DynamoDBClient:
    """Return the DynamoDB client."""
    return cast("DynamoDBClient", _client(AwsApi.DYNAMODB))


@cache
def dynamodb_streams() -> Any:  # noqa: ANN401 - no stubs of this API are installed
    """Return the client of DynamoDB's streams."""
    return _client(AwsApi.DYNAMODB_STREAMS)


@cache
def kms() -> KMSClient:
    """Return the KMS client."""
    return cast("KMSClient", _client(AwsApi.KMS))


@cache
def s3(owner: str) -> S3Client:
    """Return the S3 client for buckets of the account `owner`. Its presigned URLs have SigV4 signatures.

    Each call names the owner, and S3 refuses it with 403 if the bucket is another account's (Amazon S3 user
    guide, "Verifying bucket ownership with bucket owner condition").
    """
    client = cast("S3Client", _client(AwsApi.S3, _CONFIG.merge(Config(signature_version="s3v4"))))
    client.meta.events.register("before-parameter-build.s3", partial(_expect, owner))
    return client


def _expect(owner: str, params: dict[str, Any], context: dict[str, Any], **_: object) -> None:
    """Add the expected owner of the bucket to a call's parameters."""
    # In a presigned URL it would be a header that the device has to send.
    if not context.get("is_presign_request"):
        params["ExpectedBucketOwner"] = owner


@cache
def sts() -> STSClient:
    """Return the STS client of the region."""
    return cast("STSClient", _client(AwsApi.STS))


@cache
def iot() -> IoTClient:
    """Return the client of AWS IoT's control plane."""
    return cast("IoTClient", _client(AwsApi.IOT))


@cache
def iot_data() -> IoTDataPlaneClient:
    """Return the client of AWS IoT's data plane: messages, shadows and connections."""
    return cast("IoTDataPlaneClient", _client(AwsApi.IOT_DATA))


@cache
def secrets_manager() -> SecretsManagerClient:
    """Return the Secrets Manager client."""
    return cast("SecretsManagerClient", _client(AwsApi.SECRETS_MANAGER))


@cache
def sqs() -> SQSClient:
    """Return the SQS client."""
    return cast("SQSClient", _client(AwsApi.SQS))


# Amazon DynamoDB developer guide, "Error handling with DynamoDB"; AWS KMS API reference, "Common Errors"; AWS
# STS API reference, "Common Error Types"; Amazon S3 API reference, "Error responses".
_TOO_MANY = frozenset(
    {
        *("Throttling", "ThrottlingException", "ThrottlingError", "RequestLimitExceeded", "SlowDown"),
        *("ProvisionedThroughputExceeded", "ProvisionedThroughputExceededException"),
    }
)


def is_throttling(code: str | None) -> bool:
    """Return whether a service refuses a call with `code` because there were too many."""
    return code in _TOO_MANY


def error_code(error: ClientError) -> str:
    """Return the service's own code of an error."""
    return error.response["Error"]["Code"]


@contextmanager
def answered(*expected: str) -> Iterator[None]:
    """Turn a failed AWS call into Unavailable. The log names the failure, and the caller never sees it.

    A ClientError with an `expected` code is an answer: it is raised unchanged.
    """
    try:
        yield
    except ClientError as error:
        if error_code(error) in expected:
            raise
        code = error_code(error)
        raise Unavailable(log=f"{error.operation_name}: {code}", is_throttled=is_throttling(code)) from error
    # Time-outs, refused connections and missing credentials have no code of a service.
    except BotoCoreError as error:
        raise Unavailable(log=type(error).__name__) from error


@contextmanager
def already(code: str) -> Iterator[None]:
    """Pass over a refusal with `code`, by which AWS says that the wanted state exists already."""
    try:
        with answered(code):
            yield
    except ClientError:
        return
