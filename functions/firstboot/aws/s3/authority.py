"""The CA's certificate and the truststore in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class AuthorityStore:
    """Two objects of the bucket. Every method raises Unavailable when S3 does not do its part."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def certificate(self) -> bytes | None:
        """The CA certificate (PEM), None before there is one."""
        found = self._read(AUTHORITY_KEY)
        return found[0] if found else None

    def put_certificate(self, pem: bytes) -> bool:
        """Store the CA certificate unless there is one; True if this call stored it.

        Two that race (S3 answers one of them 409) and a lost reply all end in one certificate.
        """
        try:
            with answered("PreconditionFailed", "ConditionalRequestConflict"):
                self._client.put_object(Bucket=self._bucket, Key=AUTHORITY_KEY, Body=pem, IfNoneMatch="*")
        except ClientError:
            return False
        return True

    def put_truststore(self, pem: bytes) -> str:
        """Store the truststore if it differs from what is there; the S3 version that holds it."""
        found = self._read(TRUSTSTORE_KEY)
        if found and found[0] == pem:
            return found[1]
        with answered():
            return self._client.put_object(Bucket=self._bucket, Key=TRUSTSTORE_KEY, Body=pem)["VersionId"]

    def _read(self, key: str) -> tuple[bytes, str] | None:
        """An object's content and version."""
        try:
            with answered("NoSuchKey"):
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
                return answer["Body"].read(), answer["VersionId"]
        except ClientError:
            return None
