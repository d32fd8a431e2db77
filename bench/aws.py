"""AWS on a TLS socket of loopback, with canned answers of the size and form of AWS's own.

moto would take 6 to 10 ms of CPU a call, more than what is measured. KMS signs with the CA's key, because the
handlers verify what they issue.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from firstboot.domain.names import RETRY_PREFIX

ACCOUNT = "123456789012"
REGION = "us-east-1"
TOKEN = "IQoJb3JpZ2luX2VjE" + "FwoGZXIvYXdzEJr" * 66 + "=="
"""A session token of about 1,000 characters, as STS makes them."""

_TARGET = "x-amz-target"
_JSON = "application/x-amz-json-1."
_MISSING = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>'
    "The specified key does not exist.</Message><Key>fleet/published.json</Key>"
    "<RequestId>4442587FB7D0A2F9</RequestId>"
    "<HostId>vZ4ByDX6lF0bW1xqJf0n8q6aTGkVYcS2bJY9dH1YzU0J4gG9p0M6YwQ5n3fW7e2kBq8s1L4uT6o=</HostId></Error>"
)
_SESSION = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <SourceIdentity>gw-1</SourceIdentity>
    <AssumedRoleUser>
      <AssumedRoleId>AROAEXAMPLEEXAMPLE123:gw-1</AssumedRoleId>
      <Arn>arn:aws:sts::123456789012:assumed-role/telemetry/gw-1</Arn>
    </AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAEXAMPLEEXAMPLE12</AccessKeyId>
      <SecretAccessKey>wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12</SecretAccessKey>
      <SessionToken>{token}</SessionToken>
      <Expiration>2099-01-01T00:00:00Z</Expiration>
    </Credentials>
    <PackedPolicySize>12</PackedPolicySize>
  </AssumeRoleResult>
  <ResponseMetadata>
    <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>
  </ResponseMetadata>
</AssumeRoleResponse>
"""
_THROTTLED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error>
    <Type>Sender</Type>
    <Code>Throttling</Code>
    <Message>Rate exceeded</Message>
  </Error>
  <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>
</ErrorResponse>
"""

Row = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]


@dataclass
class Aws:
    """The server. `key` is the CA's key, and `calls` has the name of each call since it was cleared.

    `rows` are the items of the tables by their key. The server's certificate and key are files. If `is_full`,
    each counter of a group's minute is at its limit, and STS throttles.
    """

    key: ec.EllipticCurvePrivateKey
    certificate: Path
    private: Path
    calls: list[str] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)
    is_full: bool = False

    def __post_init__(self) -> None:
        aws = self

        class Handler(_Handler):
            answer = staticmethod(lambda *request: aws.answer(*request))  # noqa: PLW0108 - bound to this server

        self._server = _Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.private)
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        """Return the answer to a call, and note its name."""
        if target := headers.get(_TARGET):
            service, _, name = target.partition(".")
            self.calls.append(name)
            content_type = _JSON + ("1" if service == "TrentService" else "0")
            asked = json.loads(body)
            if name == "TransactWriteItems" and self.is_full:
                return _json(_over_the_limit(asked), content_type, status=400)
            return _json(self.members(name, asked), content_type)
        if body.startswith(b"Action="):
            name = body.removeprefix(b"Action=").partition(b"&")[0].decode()
            self.calls.append(name)
            if self.is_full:
                return 400, {"content-type": "text/xml"}, _THROTTLED.encode()
            return 200, {"content-type": "text/xml"}, self.xml(name).encode()
        found = self.rest(method, path)
        if found is not None:
            return _json(found, "application/json")
        self.calls.append({"PUT": "PutObject", "GET": "GetObject"}[method])
        return self._object(method, headers)

    def members(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a call of DynamoDB, KMS or SQS. Raises ValueError if there is none."""
        match name:
            case "Sign":
                algorithm = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
                signature = self.key.sign(base64.b64decode(asked["Message"]), algorithm)
                return {
                    "KeyId": asked["KeyId"],
                    "Signature": base64.b64encode(signature).decode(),
                    "SigningAlgorithm": asked["SigningAlgorithm"],
                }
            case "GetItem":
                row = self.rows.get(asked["Key"]["pk"]["S"])
                return {"Item": row} if row else {}
            case "UpdateItem" if asked["Key"]["pk"]["S"].startswith(RETRY_PREFIX):
                values = asked["ExpressionAttributeValues"]
                following = int(values[":first"]["N"]) + int(values[":count"]["N"])
                return {"Attributes": {"next": {"N": str(following)}}}
            case "TransactWriteItems" | "PutItem" | "UpdateItem":
                return {}
        raise ValueError(f"there is no canned answer to {name}")

    def xml(self, name: str) -> str:
        """Return the answer to a call of STS. Raises ValueError if there is none."""
        if name != "AssumeRole":
            raise ValueError(f"there is no canned answer to {name}")
        return _SESSION.format(token=TOKEN)

    def rest(self, method: str, path: str) -> dict[str, Any] | None:  # noqa: ARG002 - a larger AWS reads them
        """Return the answer to a call of AWS IoT, or None for one of S3. There are none of AWS IoT here."""
        return None

    @staticmethod
    def _object(method: str, headers: dict[str, str]) -> Response:
        told = {
            "x-amz-id-2": "Uuag1LuByRx9e6j5Onimru9pO4ZVKnJ2Qz7/C1NPcfTWAtRPfTaOFg==",
            "x-amz-request-id": "656c76696e6727732072657175657374",
        }
        if method == "GET":
            return 404, told | {"content-type": "application/xml"}, _MISSING.encode()
        checksums = {name: value for name, value in headers.items() if name.startswith("x-amz-checksum-")}
        told |= checksums | {"etag": f'"{secrets.token_hex(16)}"', "x-amz-server-side-encryption": "AES256"}
        return 200, told | {"x-amz-version-id": secrets.token_urlsafe(24)}, b""


def _over_the_limit(asked: dict[str, Any]) -> dict[str, Any]:
    """Return DynamoDB's refusal of a transaction whose counter of a minute is at its limit.

    Amazon DynamoDB API reference, "TransactWriteItems", Errors.
    """
    reasons = []
    for item in asked["TransactItems"]:
        (action,) = item.values()
        is_minute = str(action.get("Key", {}).get("pk", {}).get("S")).startswith("MINUTE#")
        row = {"Item": action["Key"] | {"count": {"N": "100000"}}} if is_minute else {}
        reasons.append({"Code": "ConditionalCheckFailed" if is_minute else "None"} | row)
    return {
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
        "CancellationReasons": reasons,
    }


def _json(members: dict[str, Any], content_type: str, status: int = 200) -> Response:
    body = json.dumps(members, separators=(",", ":")).encode()
    # DynamoDB sends this checksum, and botocore verifies it.
    return status, {"content-type": content_type, "x-amz-crc32": str(zlib.crc32(body))}, body


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - http.server's own signature
        """Report nothing of a client that closes a connection, as a measured process does at its end."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Server"
    disable_nagle_algorithm = True
    wbufsize = -1
    answer: Callable[..., Response]

    def handle_expect_100(self) -> bool:
        """Let the client send its body, as S3 does."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, told, body = type(self).answer(self.command, self.path, headers, self._body(headers))
        self.send_response(status)
        for name, value in {**told, "x-amzn-requestid": secrets.token_hex(26).upper()}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        body = b""
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - http.server's own signature
        """Log nothing."""

    do_GET = do_PUT = do_POST = _handle  # noqa: N815 - http.server's names
