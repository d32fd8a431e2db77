"""Issued certificates in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.domain.names import DeviceId, certificate_key, certificates_prefix

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3CertificateStore:
    """The CertificateStore port on a bucket."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """PutObject with `If-None-Match: *`. A lost reply is repeated, and finds its own object."""
        try:
            with answered("PreconditionFailed", "ConditionalRequestConflict"):
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=certificate_key(device_id, serial),
                    Body=chain,
                    ContentType="application/pem-certificate-chain",
                    IfNoneMatch="*",
                )
        except ClientError:
            return False
        return True

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """GetObject. Without s3:ListBucket a missing object would be 403, so the role has it."""
        try:
            with answered("NoSuchKey"):
                answer = self._client.get_object(Bucket=self._bucket, Key=certificate_key(device_id, serial))
                return answer["Body"].read()
        except ClientError:
            return None

    def url(self, device_id: DeviceId, serial: str, seconds: int) -> str:
        """A SigV4 presigned GET, made without a call."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self._bucket, "Key": certificate_key(device_id, serial)},
            ExpiresIn=seconds,
        )

    def issued(self, device_id: DeviceId) -> list[bytes]:
        """ListObjectsV2, and GetObject of each."""
        pages = self._client.get_paginator("list_objects_v2")
        prefix = certificates_prefix(device_id)
        with answered():
            listed = pages.paginate(Bucket=self._bucket, Prefix=prefix)
            keys = [entry["Key"] for page in listed for entry in page.get("Contents", [])]
            return [self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read() for key in keys]
