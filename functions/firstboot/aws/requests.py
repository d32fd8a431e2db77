"""Makes requests to AWS. botocore's serializers and signers make their bodies and signatures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode, urlsplit

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import prepare_request_dict
from botocore.exceptions import NoCredentialsError, NoRegionError, ParamValidationError
from botocore.model import OperationModel, ServiceModel
from botocore.serialize import create_serializer

from firstboot.aws.answers import crc32_text
from firstboot.domain.aws_apis import AwsApi

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest

_PREFIXES = {
    AwsApi.DYNAMODB: "dynamodb",
    AwsApi.DYNAMODB_STREAMS: "streams.dynamodb",
    AwsApi.IOT: "iot",
    AwsApi.IOT_DATA: "data-ats.iot",
    AwsApi.KMS: "kms",
    AwsApi.S3: "s3",
    AwsApi.SECRETS_MANAGER: "secretsmanager",
    AwsApi.SQS: "sqs",
    AwsApi.STS: "sts",
}
"""The first part of each API's host. A test compares the hosts with botocore's in all regions."""

_AGENT = "firstboot (botocore)"


@dataclass(frozen=True)
class Keys:
    """An access key, with the names that botocore's signers know."""

    access_key: str
    secret_key: str
    token: str | None


def region() -> str:
    """Return the region of this process."""
    found = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not found:
        raise NoRegionError
    return found


def host(api: AwsApi, region: str) -> str:
    """Return an API's host in a region of the partitions `aws`, `aws-cn` and `aws-us-gov`."""
    # AWS's general reference, "AWS IoT Core endpoints and quotas": this region's host has another form.
    prefix = "data.ats.iot" if (api, region) == (AwsApi.IOT_DATA, "cn-north-1") else _PREFIXES[api]
    return f"{prefix}.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def keys() -> Any:  # noqa: ANN401 - Keys, or botocore's own type of them
    """Return the credentials of this process. Raises CredentialRetrievalError, NoCredentialsError."""
    access_key = os.environ.get("AWS_ACCESS_KEY_ID")
    if access_key:
        secret = os.environ.get("AWS_SECRET_ACCESS_KEY")
        if not secret:
            raise NoCredentialsError
        return Keys(access_key, secret, os.environ.get("AWS_SESSION_TOKEN"))
    # The import takes CPU that a function with its credentials in the environment need not pay.
    from firstboot.aws.local_host import credentials  # noqa: PLC0415 - see above

    return credentials()


class Request:
    """A signed request, with what botocore's signers read of a request and change in it.

    botocore's own type makes the body and all headers anew each time that a signer reads the body.
    """

    def __init__(self, method: str, url: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.params: dict[str, str] = {}
        self.data = b""
        self.context: dict[str, Any] = {}


class _OneSelection:
    """Selects the headers of a signature once. botocore's signers do so twice."""

    _selected: Any = None

    def headers_to_sign(self, request: Request) -> Any:  # noqa: ANN401 - the HTTP library's own type
        """Return the headers to sign."""
        if self._selected is None:
            self._selected = super().headers_to_sign(request)  # type: ignore[misc]
        return self._selected


class _Signer(_OneSelection, SigV4Auth):  # type: ignore[misc]
    pass


class _S3Signer(_OneSelection, S3SigV4Auth):  # type: ignore[misc]
    pass


@cache
def _in_path(operation: OperationModel) -> tuple[str, ...]:
    """Return the names of the parameters that are parts of the path."""
    members = operation.input_shape.members if operation.input_shape else {}
    return tuple(name for name, each in members.items() if each.serialization.get("location") == "uri")


class Requests:
    """Makes the signed requests of one API."""

    def __init__(self, api: AwsApi, model: ServiceModel) -> None:
        self._is_s3 = api is AwsApi.S3
        self._region = region()
        name = model.service_id.replace(" ", "_").upper()
        # AWS SDKs and tools reference guide, "Service-specific endpoints".
        given = os.environ.get(f"AWS_ENDPOINT_URL_{name}") or os.environ.get("AWS_ENDPOINT_URL")
        self.url = given or f"https://{host(api, self._region)}"
        # Another host than AWS's need not have a name for each bucket.
        self._has_bucket_hosts = not given
        # A service checks the parameters itself.
        self._serializer = create_serializer(model.resolved_protocol, include_validation=False)
        self._signing_name = model.signing_name

    def serialize(self, operation: OperationModel, params: dict[str, Any]) -> dict[str, Any]:
        """Return a request without its signature.

        Raises ParamValidationError for a parameter of the path that is missing or empty.
        """
        # Without it the path would be that of another call.
        if missing := [name for name in _in_path(operation) if not params.get(name)]:
            raise ParamValidationError(report=f"{operation.name} needs {missing[0]}")
        made: dict[str, Any] = self._serializer.serialize_to_request(params, operation)
        if isinstance(made["body"], dict):
            made["body"] = urlencode(made["body"]).encode()
        headers = made["headers"]
        if operation.name == "PutObject":
            # S3 refuses other bytes, and keeps the checksum (user guide, "Checking object integrity").
            headers["x-amz-checksum-crc32"] = crc32_text(made["body"])
        elif operation.name == "GetObject":
            headers["x-amz-checksum-mode"] = "ENABLED"
        prepare_request_dict(made, self._place(made, params.get("Bucket") if self._is_s3 else None))
        return made

    def sign(self, made: dict[str, Any]) -> Request:
        """Return a signed request."""
        request = self._request(made, made["headers"])
        # The signature of a bucket's host is over the path with the bucket's name, if that is in the path.
        signer = _S3Signer if self._is_s3 else _Signer
        signer(keys(), self._signing_name, self._region).add_auth(cast("AWSRequest", request))
        request.headers["User-Agent"] = _AGENT
        if request.method != "GET":
            request.headers["Content-Length"] = str(len(request.body))
        return request

    def presign(self, made: dict[str, Any], seconds: int) -> str:
        """Return a URL with a signature that works for `seconds`."""
        # A header in the signature would be one that the device has to send.
        request = self._request(made, {})
        signer = S3SigV4QueryAuth(keys(), self._signing_name, self._region, expires=seconds)
        signer.add_auth(cast("AWSRequest", request))
        return request.url

    @staticmethod
    def _request(made: dict[str, Any], headers: dict[str, str]) -> Request:
        # botocore's signers would find the host in the URL, several times.
        host = urlsplit(made["url"]).netloc
        return Request(made["method"], made["url"], {"Host": host, **headers}, made["body"])

    def _place(self, made: dict[str, Any], bucket: str | None) -> str:
        """Return the scheme and host of a request. A bucket's name moves from the path to the host."""
        # The hosts' certificate fits no name with a dot (Amazon S3 user guide, "Virtual hosting of buckets").
        if not bucket or not self._has_bucket_hosts or "." in bucket:
            return self.url
        made["url_path"] = made["url_path"].removeprefix(f"/{bucket}") or "/"
        return f"https://{bucket}.{urlsplit(self.url).netloc}"
