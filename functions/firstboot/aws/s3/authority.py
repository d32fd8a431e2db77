"""The CA's certificate and the truststore in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class AuthorityStore:
    """The CA's certificate and the truststore, two objects of the bucket. Every method raises Unavailable."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def certificate(self) -> bytes | None:
        """Return the CA certificate (PEM), or None before there is one (GetObject)."""
        found = self._read(AUTHORITY_KEY)
        return found[0] if found else None

    def put_certificate(self, pem: bytes) -> bool:
        """Store the CA certificate unless there is one; return whether this call stored it (PutObject).

        When the reply is lost, the repeat finds the object and returns False. Of two calls at the same time
        one stores; S3 answers the other with 409 or 412. The caller therefore reads what is stored.
        """
        try:
            with answered("PreconditionFailed", "ConditionalRequestConflict"):
                self._client.put_object(Bucket=self._bucket, Key=AUTHORITY_KEY, Body=pem, IfNoneMatch="*")
        except ClientError:
            return False
        return True

    def put_truststore(self, pem: bytes) -> str:
        """Store the truststore (PEM) if it differs from the stored one (GetObject, PutObject).

        Return the S3 version that holds it. After a lost reply the repeat makes a second version with the
        same content.
        """
        found = self._read(TRUSTSTORE_KEY)
        # API Gateway reads one version of the truststore. A new version without a change would make each
        # deployment update the domain.
        if found and found[0] == pem:
            return found[1]
        with answered():
            return self._client.put_object(Bucket=self._bucket, Key=TRUSTSTORE_KEY, Body=pem)["VersionId"]

    def _read(self, key: str) -> tuple[bytes, str] | None:
        """Return an object's content and version, or None."""
        try:
            with answered("NoSuchKey"):
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
                return answer["Body"].read(), answer["VersionId"]
        except ClientError:
            return None
