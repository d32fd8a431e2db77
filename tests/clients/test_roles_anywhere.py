"""Test that AWS's library for IAM Roles Anywhere, unmodified, gets credentials from Firstboot.

The library has an environment of its own. The vend function runs in this process, behind TLS on loopback.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests import factories
from tests.aws.conftest import aws, bucket, ca_key, issuing_ca, product_of, table
from tests.aws.product import CONTEXT, Product, http_event
from tests.aws.test_roles_anywhere import ARNS, product
from tests.clients.aws import roles_anywhere

__all__ = ["aws", "bucket", "ca_key", "issuing_ca", "product", "product_of", "table"]  # fixtures


@dataclass
class Host:
    """The vend function behind TLS. `answers` are those that it gave, `name` has the port."""

    product: Product
    folder: Path
    name: str
    answers: list[dict[str, Any]]

    def session(self, key: factories.PrivateKey, leaf: x509.Certificate, **more: Any) -> list[Any]:
        """Return the credentials, or the status and the message, that AWS's library gets."""
        files = {
            "certificate": leaf.public_bytes(Encoding.PEM).decode(),
            "private_key": factories.key_pem(key),
        }
        for file, text in files.items():
            (self.folder / file).write_text(text)
        settings = {
            "profile_arn": ARNS["profileArn"],
            "role_arn": ARNS["roleArn"],
            "trust_anchor_arn": ARNS["trustAnchorArn"],
            "endpoint": self.name,
            "verify": str(self.folder / "web.pem"),
        } | {file: str(self.folder / file) for file in files}
        return roles_anywhere(settings | more)


@pytest.fixture
def host(product: Product, tmp_path: Path) -> Iterator[Host]:
    """Run a host on loopback that makes API Gateway's events."""
    key, web = factories.ec_key(), factories.authority("Web")
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    leaf = web.issue("localhost", key, eku=ExtendedKeyUsageOID.SERVER_AUTH, extra=[(names, False)])
    for file, text in {
        "web.pem": factories.pem(web.certificate),
        "server.pem": factories.pem(leaf) + factories.key_pem(key),
    }.items():
        (tmp_path / file).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    made = Host(product, tmp_path, "", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(made)) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        made.name = f"localhost:{server.server_port}"
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def _handler(host: Host) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Pass the request on as API Gateway does."""
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            url = urlsplit(self.path)
            sent = {name.lower(): value for name, value in self.headers.items()}
            event = http_event("POST", url.path, None, body, sent, None) | {"rawQueryString": url.query}
            event["requestContext"]["domainName"] = host.name
            answer = host.product.lambdas.vend_http(event, CONTEXT)
            host.answers.append(answer)
            self.send_response(answer["statusCode"])
            for name, value in answer["headers"].items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer["body"])))
            self.end_headers()
            self.wfile.write(answer["body"].encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    return Handler


@pytest.mark.parametrize("make", [factories.ec_key, factories.rsa_key], ids=["ECDSA", "RSA"])
def test_the_library_gets_credentials(host: Host, make: Any) -> None:
    """The library gets credentials with each kind of key, with the chain of the certificate or without it."""
    product, key = host.product, make()
    leaf = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    chain = host.folder / "ca.pem"
    chain.write_text(factories.pem(product.ca))
    options: list[dict[str, Any]] = [
        {},
        {"certificate_chain": str(chain), "session_duration": 900, "region": "eu-central-1"},
        {"session_duration": 1800, "instance_properties": {"site": "north"}},
    ]
    for index, more in enumerate(options):
        found = host.session(key, leaf, **more)
        (made,) = json.loads(host.answers[index]["body"])["credentialSet"]
        members = made["credentials"]
        assert found == [members["accessKeyId"], members["secretAccessKey"], members["sessionToken"]]


def test_the_library_reports_refusals(host: Host) -> None:
    """The library reports the reason of each refusal, because its form is AWS's."""
    product, key = host.product, factories.ec_key()
    leaf = product.certificate(product.enroll(product.bootstrap("gw-1"), key))
    status, message = host.session(key, leaf, session_duration=3601)
    assert (status, message) == (400, "durationSeconds exceeds the duration of the role's sessions")
    status, message = host.session(key, leaf, role_session_name="other")
    assert (status, message.partition(":")[0]) == (400, "roleSessionName is not accepted")
    status, message = host.session(product.boards["gw-1"], product.bootstrap("gw-1"))
    assert (status, message) == (403, "This call requires an operational certificate")
