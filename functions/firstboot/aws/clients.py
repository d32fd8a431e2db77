"""Every boto3 client of the product, made once a process.

Short time-outs and one retry: a device that waits longer has hung up, and time asleep is billed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from firstboot.domain.errors import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iot import IoTClient
    from mypy_boto3_iot_data import IoTDataPlaneClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sts import STSClient

_CONFIG = Config(
    connect_timeout=1,
    read_timeout=3,
    retries={"mode": "standard", "total_max_attempts": 2},
    # Presigned URLs must be SigV4 and name the region's own host. boto3 may choose the global one,
    # which answers for a new bucket with a redirect, and devices follow none.
    signature_version="v4",
    s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "virtual"},
)


@cache
def dynamodb() -> DynamoDBClient:
    """DynamoDB."""
    return boto3.client("dynamodb", config=_CONFIG)


@cache
def kms() -> KMSClient:
    """KMS."""
    return boto3.client("kms", config=_CONFIG)


@cache
def s3() -> S3Client:
    """S3; presigns with SigV4."""
    return boto3.client("s3", config=_CONFIG.merge(Config(signature_version="s3v4")))


@cache
def sts() -> STSClient:
    """STS, of the region."""
    return boto3.client("sts", config=_CONFIG)


@cache
def iot() -> IoTClient:
    """AWS IoT's control plane."""
    return boto3.client("iot", config=_CONFIG)


@cache
def iot_data() -> IoTDataPlaneClient:
    """AWS IoT's data plane: messages, shadows, connections."""
    return boto3.client("iot-data", config=_CONFIG)


@cache
def sqs() -> SQSClient:
    """SQS."""
    return boto3.client("sqs", config=_CONFIG)


@cache
def lambda_() -> LambdaClient:
    """Lambda."""
    return boto3.client("lambda", config=_CONFIG)


def error_code(error: ClientError) -> str:
    """The service's own code of an error."""
    return error.response["Error"]["Code"]


@contextmanager
def answered(*expected: str) -> Iterator[None]:
    """Turn whatever AWS did not do into Unavailable; the log names it, the caller never sees it.

    A ClientError with an `expected` code passes: it is an answer.
    """
    try:
        yield
    except ClientError as error:
        if error_code(error) in expected:
            raise
        raise Unavailable(log=f"{error.operation_name}: {error_code(error)}") from error
    except BotoCoreError as error:
        raise Unavailable(log=type(error).__name__) from error
