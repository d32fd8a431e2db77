"""Answers of AWS to each operation that the product calls, whole and damaged, and a host that gives them."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

from botocore import xform_name
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from firstboot.domain.aws_apis import AwsApi
from infra.bundling import FUNCTIONS
from tests.infra.test_aws_client import calls

Make = Callable[[bytes, bytes], bytes]
"""What makes the bytes of an answer of its head, without a length, and its body."""

_XML = {
    "AssumeRole": "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKIA</AccessKeyId>"
    "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
    "<Expiration>2027-01-15T08:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
    "ListObjectVersions": "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>",
    "ListObjectsV2": "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
    "GetObject": "-----BEGIN CERTIFICATE-----",
    "PutObject": "",
}
_HTML = b"<html><body><h1>It works</h1></body></html>"


def operations() -> list[tuple[AwsApi, OperationModel]]:
    """Return the operations that the product calls, by the adapters' source."""
    methods = {name for file in (FUNCTIONS / "firstboot/aws").rglob("*.py") for name, _ in calls(file)}
    found = []
    for api in AwsApi:
        model = ServiceModel(Loader().load_service_model(api.value, "service-2"), api.value)
        known = [model.operation_model(name) for name in model.operation_names]
        found += [(api, each) for each in known if xform_name(each.name) in methods]
    return found


_PLAIN = {"boolean": False, "timestamp": 1, "blob": b"AAAA"} | dict.fromkeys(
    ("integer", "long", "double", "float"), 1
)


def sample(shape: Any, *, whole: bool) -> Any:
    """Return a value of a shape: with all members if `whole`, otherwise with the required ones."""
    kind = shape.type_name if shape else "none"
    if kind == "structure":
        names = shape.members if whole else shape.required_members
        members = shape.members.items()
        return {name: sample(member, whole=False) for name, member in members if name in names}
    if kind == "list":
        return [sample(shape.member, whole=False)]
    if kind == "map":
        return {"key": sample(shape.value, whole=False)}
    if kind == "string":
        return shape.enum[0] if shape.enum else "a" * max(3, shape.metadata.get("min", 0))
    return _PLAIN.get(kind, {})


def body(operation: OperationModel) -> bytes:
    """Return the body of a success of an operation."""
    if operation.name in _XML:
        return _XML[operation.name].encode()
    if operation.has_streaming_output:
        return b'{"state": {}}'
    answer = sample(operation.output_shape, whole=True)
    return json.dumps(answer, default=lambda blob: blob.decode()).encode() if answer else b""


def head(operation: OperationModel, content: bytes, status: str = "200 OK") -> bytes:
    """Return the head of an answer, without a length."""
    kind = "text/xml" if operation.name in _XML else "application/x-amz-json-1.0"
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", "connection: close"]
    if operation.service_model.endpoint_prefix == "s3":
        lines.append('etag: "e"')
    if "dynamodb" in operation.service_model.endpoint_prefix:
        lines.append(f"x-amz-crc32: {crc32(content)}")
    return "\r\n".join([*lines, ""]).encode()


def sized(first: bytes, content: bytes) -> bytes:
    """Return an answer whose length is that of its body."""
    return first + b"content-length: %d\r\n\r\n" % len(content) + content


def _short(first: bytes, content: bytes) -> bytes:
    return first + b"content-length: %d\r\n\r\n" % len(content) + content[: len(content) // 2]


def _chunked(first: bytes, content: bytes) -> bytes:
    half = content[: len(content) // 2]
    return first + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(half), half)


def _no_length(first: bytes, content: bytes) -> bytes:
    return first + b"\r\n" + content[: len(content) // 2]


def _page(first: bytes, content: bytes) -> bytes:
    del first, content
    return sized(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n", _HTML)


CUT: dict[str, Make] = {
    "fewer bytes than its length": _short,
    "chunks without an end": _chunked,
    "no length": _no_length,
    "head only": lambda first, _: first,
    "half a status": lambda first, _: first[:10],
}
"""Damages that any answer with a body may have on its way."""

REPLACED: dict[str, Make] = {
    "empty": lambda first, _: sized(first, b""),
    "half a body": lambda first, content: sized(first, content[: len(content) // 2]),
    "a page": _page,
    "a page with the service's head": lambda first, _: sized(first, _HTML),
    "no member": lambda first, content: sized(first, b"{}" if content.startswith(b"{") else b"<a/>"),
    "a list": lambda first, _: sized(first, b"[]"),
    "binary": lambda first, _: sized(first, b"\x00\xff"),
    "an error": lambda first, _: sized(first, b"<Error><Code>InternalError</Code></Error>"),
}
"""Bodies with a right length that are not the operation's."""


class Host:
    """AWS on a loopback port, which gives every request the same answer."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.answer = b""
        self.requests: list[bytes] = []
        host = self

        class Handler(socketserver.StreamRequestHandler):
            timeout: ClassVar = 5

            def handle(self) -> None:
                host._handle(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            block_on_close = False

            def get_request(self) -> Any:
                made, address = super().get_request()
                return (host._secured(made), address)

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing of clients that end a connection."""

        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._tls and certificate:
            self._tls.load_cert_chain(certificate)
        self._server = Server(("127.0.0.1", 0), Handler)
        scheme = "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def _secured(self, made: Any) -> Any:
        return self._tls.wrap_socket(made, server_side=True) if self._tls else made

    def _handle(self, connection: socketserver.StreamRequestHandler) -> None:
        first = connection.rfile.readline()
        length = 0
        while (line := connection.rfile.readline().strip()) and line:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        connection.rfile.read(length)
        if first:
            self.requests.append(first)
        connection.wfile.write(self.answer)
        # An answer that is cut off by TLS's own end would be noticed by TLS.
        connection.wfile.flush()

    @contextmanager
    def running(self) -> Iterator[Host]:
        """Answer during the context."""
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
