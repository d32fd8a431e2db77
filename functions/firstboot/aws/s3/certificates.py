"""Issued certificates in S3.

A certificate is issued when its object exists. The device record only says what was intended, so the two
can't contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered
from firstboot.domain.names import DeviceId, certificate_key, certificates_prefix

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE = 200
"""The certificates of a page: about as many as can be withdrawn in half a minute, at 7 a second."""


class S3CertificateStore:
    """The ports CertificateStore and IssuedCertificates, on a bucket.

    Every method that makes a call raises Unavailable.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def put(self, device_id: DeviceId, serial: str, chain: bytes) -> bool:
        """Store a chain (PEM) unless there is one; return whether this call stored it (PutObject).

        When the reply is lost, the repeat finds its own object and returns False.
        """
        try:
            # S3 answers a put that races with another one with 409, and a later one with 412.
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
        """Return a stored chain (PEM), or None if the certificate has not been issued (GetObject).

        The role needs s3:ListBucket: without it S3 answers 403 for a missing object.
        """
        try:
            with answered("NoSuchKey"):
                answer = self._client.get_object(Bucket=self._bucket, Key=certificate_key(device_id, serial))
                return answer["Body"].read()
        except ClientError:
            return None

    def versions(self, device_id: DeviceId, serial: str) -> Iterator[bytes]:
        """Yield every version of a chain (PEM), the newest first (ListObjectVersions, GetObject of each).

        The bucket keeps the versions of a deleted object.
        """
        key = certificate_key(device_id, serial)
        pages = self._client.get_paginator("list_object_versions")
        with answered():
            listed = pages.paginate(Bucket=self._bucket, Prefix=key)
            found = [each for page in listed for each in page.get("Versions", []) if each["Key"] == key]
        for each in found:
            with answered():
                answer = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=each["VersionId"])
                body = answer["Body"].read()
            yield body

    def url(self, device_id: DeviceId, serial: str, seconds: int) -> str:
        """Return a presigned URL of a chain that works for `seconds`. No call is made.

        Raises Unavailable if there are no credentials to sign it with.
        """
        with answered():
            return self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._bucket, "Key": certificate_key(device_id, serial)},
                ExpiresIn=seconds,
            )

    def serials(self, device_id: DeviceId, after: str | None) -> tuple[list[str], bool]:
        """Return a page of the serials of all certificates of the device, and whether there may be more.

        They are lower-case hex, in the order of S3's keys, and follow the serial `after` (ListObjectsV2).
        """
        prefix = certificates_prefix(device_id)
        start = certificate_key(device_id, after) if after else prefix
        with answered():
            listed = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, MaxKeys=PAGE, StartAfter=start
            )
        keys = [entry["Key"] for entry in listed.get("Contents", [])]
        return [key.removeprefix(prefix).removesuffix(".pem") for key in keys], listed["IsTruncated"]
