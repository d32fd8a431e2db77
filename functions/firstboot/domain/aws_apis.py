"""The APIs of AWS that the Lambda functions call. The asset has botocore's models of these and no others."""

from __future__ import annotations

from enum import StrEnum


class AwsApi(StrEnum):
    """An API, by botocore's name for it."""

    DYNAMODB = "dynamodb"
    DYNAMODB_STREAMS = "dynamodbstreams"
    IOT = "iot"
    IOT_DATA = "iot-data"
    KMS = "kms"
    S3 = "s3"
    SECRETS_MANAGER = "secretsmanager"
    SQS = "sqs"
    STS = "sts"
