"""Every AWS client of the product, made once a process.

They are made by botocore itself: importing boto3 on top of it would add a tenth to a cold start, and nothing
of it is used.

Short time-outs and one retry: a device that waits longer has hung up, and time asleep is billed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session, get_session

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
    # Presigned URLs must be SigV4 and name the region's own host. botocore may choose the global one,
    # which answers for a new bucket with a redirect, and devices follow none.
    signature_version="v4",
    s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "virtual"},
)


@cache
def session() -> Session:
    """Return the session of every client: they share the service models and endpoint rules that it reads."""
    return get_session()


def _client(service: str, config: Config = _CONFIG) -> Any:  # noqa: ANN401 - the callers know its type
    return session().create_client(service, config=config)


@cache
def dynamodb() -> DynamoDBClient:
    """DynamoDB."""
    return cast("DynamoDBClient", _client("dynamodb"))


@cache
def kms() -> KMSClient:
    """KMS."""
    return cast("KMSClient", _client("kms"))


@cache
def s3() -> S3Client:
    """S3; presigns with SigV4."""
    return cast("S3Client", _client("s3", _CONFIG.merge(Config(signature_version="s3v4"))))


@cache
def sts() -> STSClient:
    """STS, of the region."""
    return cast("STSClient", _client("sts"))


@cache
def iot() -> IoTClient:
    """AWS IoT's control plane."""
    return cast("IoTClient", _client("iot"))


@cache
def iot_data() -> IoTDataPlaneClient:
    """AWS IoT's data plane: messages, shadows, connections."""
    return cast("IoTDataPlaneClient", _client("iot-data"))


@cache
def sqs() -> SQSClient:
    """SQS."""
    return cast("SQSClient", _client("sqs"))


@cache
def lambda_() -> LambdaClient:
    """Lambda."""
    return cast("LambdaClient", _client("lambda"))


def error_code(error: ClientError) -> str:
    """The service's own code of an error."""
    return error.response["Error"]["Code"]


@contextmanager
def answered(*expected: str) -> Iterator[None]:
    """Turn a failed AWS call into Unavailable; the log names the failure, the caller never sees it.

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
