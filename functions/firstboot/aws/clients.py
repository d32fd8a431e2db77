"""The AWS clients of the product, each made once in a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from firstboot.aws.client import Client
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


@cache
def dynamodb() -> DynamoDBClient:
    """Return the DynamoDB client."""
    return cast("DynamoDBClient", Client(AwsApi.DYNAMODB))


@cache
def dynamodb_streams() -> Any:  # noqa: ANN401 - no stubs of this API are installed
    """Return the client of DynamoDB's streams."""
    return Client(AwsApi.DYNAMODB_STREAMS)


@cache
def kms() -> KMSClient:
    """Return the KMS client."""
    return cast("KMSClient", Client(AwsApi.KMS))


@cache
def s3(owner: str) -> S3Client:
    """Return the S3 client for buckets of the account `owner`. Its presigned URLs have SigV4 signatures.

    Each call names the owner, and S3 refuses it with 403 if the bucket is another account's (Amazon S3 user
    guide, "Verifying bucket ownership with bucket owner condition").
    """
    return cast("S3Client", Client(AwsApi.S3, {"ExpectedBucketOwner": owner}))


@cache
def sts() -> STSClient:
    """Return the STS client of the region."""
    return cast("STSClient", Client(AwsApi.STS))


@cache
def iot() -> IoTClient:
    """Return the client of AWS IoT's control plane."""
    return cast("IoTClient", Client(AwsApi.IOT))


@cache
def iot_data() -> IoTDataPlaneClient:
    """Return the client of AWS IoT's data plane: messages, shadows and connections."""
    return cast("IoTDataPlaneClient", Client(AwsApi.IOT_DATA))


@cache
def secrets_manager() -> SecretsManagerClient:
    """Return the Secrets Manager client."""
    return cast("SecretsManagerClient", Client(AwsApi.SECRETS_MANAGER))


@cache
def sqs() -> SQSClient:
    """Return the SQS client."""
    return cast("SQSClient", Client(AwsApi.SQS))


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
