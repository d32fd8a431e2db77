"""`python -m local`: its files, the two hosts that stand for API Gateway, and its end without leftovers."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from aiohttp import web

from local import certificates, events, fronts
from local.cloud import free_ports
from local.processes import ROOT
from local.state import State
from tests import factories
from tests.flows.conftest import Cloud, processes_of, save, start, until
from tests.flows.devices import Device, fresh_name, printed

LOCAL = [sys.executable, "-m", "local"]


def _context(cloud: Cloud, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=cloud.endpoints["api_ca"])
    if certificate:
        context.load_cert_chain(*certificate)
    return context


def _request(
    url: str,
    context: ssl.SSLContext,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    host = urlsplit(url)
    connection = http.client.HTTPSConnection(host.hostname or "", host.port, context=context, timeout=30)
    with closing(connection):
        connection.request(method, host.path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.load(answer)


@contextmanager
def refused() -> Iterator[None]:
    """Expect a refusal in the TLS handshake. In TLS 1.3 the client learns of it when it first reads."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        yield


def test_endpoints_name_every_file_and_host(cloud: Cloud) -> None:
    """endpoints.json has the promised members, its files exist, and only their owner can read keys."""
    endpoints = cloud.endpoints
    assert set(endpoints) == {
        *("mtls", "public", "api_ca", "mqtt", "aws", "stack", "operational_ca", "factory", "bootstrap"),
        *("factories", "role_alias", "pid"),
    }
    assert set(endpoints["mqtt"]) == {"host", "port", "ca"}
    files = [endpoints["api_ca"], endpoints["mqtt"]["ca"], endpoints["operational_ca"]]
    assert all(Path(file).is_absolute() and Path(file).exists() for file in files)
    for identity in (endpoints["factory"], endpoints["bootstrap"], *endpoints["factories"].values()):
        assert Path(identity["certificate"]).is_absolute()
        assert stat.S_IMODE(Path(identity["key"]).stat().st_mode) == 0o600
    for name in ("endpoints.json", "env.sh"):
        assert stat.S_IMODE(Path(endpoints["api_ca"]).with_name(name).stat().st_mode) == 0o600


def test_the_operator_s_keys_work(cloud: Cloud) -> None:
    """boto3 reads the deployed stack with the operator's keys and endpoint."""
    aws = cloud.endpoints["aws"]
    client = boto3.client(
        "cloudformation",
        endpoint_url=aws["endpoint"],
        region_name=aws["region"],
        aws_access_key_id=aws["accessKeyId"],
        aws_secret_access_key=aws["secretAccessKey"],
        verify=cloud.endpoints["api_ca"],
    )
    stack = client.describe_stacks(StackName=cloud.endpoints["stack"])["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE"


def test_everything_listens_on_loopback_only(cloud: Cloud) -> None:
    """No port of the cloud can be reached from another machine."""
    urls = [cloud.endpoints["mtls"], cloud.endpoints["public"], cloud.endpoints["aws"]["endpoint"]]
    ports = {urlsplit(url).port for url in urls} | {cloud.endpoints["mqtt"]["port"]}
    assert _listening(ports) == {("127.0.0.1", port) for port in ports}


def _listening(ports: set[int | None]) -> set[tuple[str, int]]:
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = [line[1].split(":") for line in lines if line[3] == "0A"]
    heard = {(socket.inet_ntoa(bytes.fromhex(ip)[::-1]), int(port, 16)) for ip, port in addresses}
    return {(ip, port) for ip, port in heard if port in ports}


def test_the_public_host_never_asks_for_a_certificate(cloud: Cloud) -> None:
    """The public host serves a client without a certificate, and ignores the certificate of another."""
    assert _request(f"{cloud.endpoints['public']}/healthz", _context(cloud))[0] == 200
    own = Path(cloud.endpoints["bootstrap"]["certificate"]), Path(cloud.endpoints["bootstrap"]["key"])
    status, problem = _request(f"{cloud.endpoints['public']}/v1/device", _context(cloud, own))
    assert (status, problem["code"]) == (401, "proof-required")


def test_the_mtls_host_serves_a_factory_certificate(cloud: Cloud, tmp_path: Path) -> None:
    """A request with a certificate under the truststore reaches the deployed function."""
    context = _context(cloud, cloud.bootstrap("gw-local", tmp_path))
    assert _request(f"{cloud.endpoints['mtls']}/healthz", context)[0] == 200
    status, problem = _request(f"{cloud.endpoints['mtls']}/v1/device", context)
    assert (status, problem["code"]) == (403, "operational-certificate-required")


def test_the_handshake_refuses_no_certificate(cloud: Cloud) -> None:
    """The mTLS host refuses a client without a certificate."""
    with refused():
        _request(f"{cloud.endpoints['mtls']}/healthz", _context(cloud))


def test_the_handshake_refuses_an_unknown_issuer(cloud: Cloud, tmp_path: Path) -> None:
    """The mTLS host refuses a certificate under no anchor of the truststore."""
    key = factories.ec_key()
    stranger = save(tmp_path, factories.authority("Rogue CA").issue("gw-rogue", key), key)
    with refused():
        _request(f"{cloud.endpoints['mtls']}/healthz", _context(cloud, stranger))


def test_the_handshake_refuses_an_expired_certificate(cloud: Cloud, tmp_path: Path) -> None:
    """The mTLS host refuses an expired certificate of the factory."""
    key, start = factories.ec_key(), datetime.now(UTC) - timedelta(days=30)
    expired = save(tmp_path, cloud.factory.issue("gw-old", key, not_before=start, days=29), key)
    with refused():
        _request(f"{cloud.endpoints['mtls']}/healthz", _context(cloud, expired))


def test_the_gateway_refuses_a_body_that_is_too_large(cloud: Cloud) -> None:
    """A body over 10 MB gets the gateway's own 413."""
    body = bytes(10 * 1024 * 1024 + 1)
    answer = _request(f"{cloud.endpoints['public']}/healthz", _context(cloud), "POST", body)
    assert answer == (413, {"message": "Request Entity Too Large"})


def test_a_client_cannot_write_to_the_request_context(cloud: Cloud, tmp_path: Path) -> None:
    """Headers that imitate the gateway's certificate data do not authenticate a client of the public host."""
    certificate = cloud.bootstrap("gw-smuggled", tmp_path)[0].read_text().replace("\n", "")
    names = ["X-Amzn-Mtls-Clientcert", "X-Client-Cert", "X-SSL-Cert", "RequestContext", "Forwarded"]
    url = f"{cloud.endpoints['public']}/v1/device"
    headers = dict.fromkeys(names, certificate) | {"Host": "device.example"}
    status, problem = _request(url, _context(cloud), headers=headers)
    assert (status, problem["code"]) == (401, "proof-required")


class Echo(fronts.Gateway):
    """A gateway that answers with the event that a function would get."""

    def __init__(self) -> None:
        """Skip the lookup of the API."""

    async def answer(self, request: web.Request, host: dict[str, str]) -> web.Response:
        """Return the event of the request."""
        context = host | {"apiId": "api", "routeKey": "$default"}
        return web.json_response(events.event(request, await request.read(), {"alias": "telemetry"}, context))


def _echo(
    folder: Path, path: str, body: bytes, headers: list[tuple[str, str]], *, mutual: bool
) -> dict[str, Any]:
    """Return the event of a request over TLS; with `mutual` the client has a certificate of `gw-echo`."""
    ca, (port,) = certificates.authority("CA"), free_ports(None)
    state, files = State(folder), (folder / "ca.pem", folder / "device.pem", folder / "device.key")
    state.path("run").mkdir()
    certificates.server(ca).save(state.path("run/server.pem"), state.path("run/server.key"))
    files[0].write_bytes(ca.pem)
    certificates.bootstrap(ca, "gw-echo").save(files[1], files[2])
    context = ssl.create_default_context(cafile=files[0])
    context.load_cert_chain(files[1], files[2])

    def send() -> dict[str, Any]:
        with closing(http.client.HTTPSConnection("localhost", port, context=context)) as connection:
            connection.putrequest("POST", path, skip_host="Host" in dict(headers))
            for header in [*headers, ("Content-Length", str(len(body)))]:
                connection.putheader(*header)
            connection.endheaders(body)
            event: dict[str, Any] = json.load(connection.getresponse())
            return event

    async def echoed() -> dict[str, Any]:
        runner = await fronts.listen(Echo(), fronts.tls(state, str(files[0]) if mutual else None), port)
        try:
            return await asyncio.to_thread(send)
        finally:
            await runner.cleanup()

    return asyncio.run(echoed())


def test_an_event_is_payload_format_2_0(tmp_path: Path) -> None:
    """An event has path, query, headers, cookies and body as API Gateway's payload format 2.0 has them."""
    headers = [("Content-Type", "application/json"), ("X-Two", "1"), ("x-two", "2"), ("Cookie", "a=1; b=2")]
    event = _echo(tmp_path, "/a%20b%2Fc%252e?x=1&x=2&y=", '{"ä": 1}'.encode(), headers, mutual=False)
    assert (event["version"], event["routeKey"]) == ("2.0", "$default")
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/a b/c%252e"
    assert event["rawQueryString"] == "x=1&x=2&y="
    assert event["queryStringParameters"] == {"x": "1,2", "y": ""}
    assert (event["headers"]["x-two"], event["cookies"]) == ("1,2", ["a=1", "b=2"])
    assert "cookie" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ('{"ä": 1}', False)
    assert event["pathParameters"] == {"alias": "telemetry"}


def test_a_binary_body_is_base64_in_an_event(tmp_path: Path) -> None:
    """A body without a textual content type is base64 in the event."""
    event = _echo(tmp_path, "/", b"\xff\x00", [("Content-Type", "application/pkcs10")], mutual=False)
    assert (event["body"], event["isBase64Encoded"]) == ("/wA=", True)


def test_an_event_names_the_certificate_of_the_handshake(tmp_path: Path) -> None:
    """The client certificate in requestContext is that of the handshake, and never of a header."""
    event = _echo(
        tmp_path, "/", b"", [("Authentication", "clientCert"), ("Host", "evil.example")], mutual=True
    )
    context = event["requestContext"]
    certificate = context["authentication"]["clientCert"]
    assert certificate["clientCertPem"] == (tmp_path / "device.pem").read_text()
    assert (certificate["subjectDN"], certificate["issuerDN"]) == ("CN=gw-echo", "CN=CA")
    assert context["domainName"].startswith("localhost:")
    assert context["http"]["sourceIp"] == "127.0.0.1"


def test_the_public_host_puts_no_certificate_into_an_event(tmp_path: Path) -> None:
    """An event of the public host has no client certificate."""
    assert "authentication" not in _echo(tmp_path, "/", b"", [], mutual=False)["requestContext"]


def test_a_lambda_sees_only_its_own_packages(cloud: Cloud) -> None:
    """The interpreter of Lambda functions finds no package of this environment, and not even AWS's boto3."""
    python = Path(cloud.endpoints["api_ca"]).parent / "run/lambda/python"
    for package in ("botocore", "typer"):
        found = subprocess.run(
            [python, "-c", f"import {package}"], capture_output=True, text=True, check=False
        )
        assert f"No module named '{package}'" in found.stderr


def test_the_processes_of_a_function_share_its_code(cloud: Cloud) -> None:
    """Each Lambda process runs code that is unpacked once for all processes of its function."""
    run = Path(cloud.endpoints["api_ca"]).parent / "run"
    found = [folder.resolve() for folder in run.glob("ministack-lambda-*/code")]
    assert found
    assert {folder.parent for folder in found} == {run}


def test_session_tokens_have_the_usual_length(cloud: Cloud, tmp_path: Path) -> None:
    """Session tokens have the usual length of AWS's, in credentials and in presigned URLs."""
    device = Device(cloud, fresh_name(), tmp_path)
    device.boot()
    vended = printed(device.run(*device.credentials_arguments("telemetry")))
    body = {"csr": factories.pem(factories.csr(factories.ec_key()))}
    status, answer = _request(
        f"{cloud.endpoints['mtls']}/v1/certificates",
        _context(cloud, device.identity),
        "POST",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    assert status == 201, answer
    (signer,) = parse_qs(urlsplit(answer["certificateUrl"]).query)["X-Amz-Security-Token"]
    assert (len(vended["SessionToken"]), len(signer)) == (1_000, 1_000)


def test_a_second_up_in_the_same_folder_is_refused(cloud: Cloud) -> None:
    """A second `up` in the same folder fails, and the first one still runs."""
    state = Path(cloud.endpoints["api_ca"]).parent
    second = subprocess.run([*LOCAL, "up", "--state", state], cwd=ROOT, capture_output=True, check=False)
    assert second.returncode == 1
    assert _request(f"{cloud.endpoints['public']}/healthz", _context(cloud))[0] == 200


def test_a_taken_port_is_an_error(cloud: Cloud, tmp_path: Path) -> None:
    """`up` fails at once if a wanted port is taken."""
    port = str(cloud.endpoints["mqtt"]["port"])
    command = [*LOCAL, "up", "--state", str(tmp_path), "--mqtt-port", port]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "Address already in use" in done.stderr) == (1, True)


def test_down_leaves_nothing(tmp_path: Path) -> None:
    """`down` ends `up` and all its processes during a deployment, and removes keys and endpoints."""
    up = start(tmp_path)
    until((tmp_path / "deploy.log").exists, up)
    subprocess.run([*LOCAL, "down", "--state", tmp_path], cwd=ROOT, check=True)
    assert up.wait(60) == 0
    assert processes_of(tmp_path) == set()
    assert {file.name for file in tmp_path.iterdir()} == {"lock", "deploy.log", "emulator.log"}


def test_nothing_outlives_a_killed_up(tmp_path: Path) -> None:
    """After `up` is killed, the emulator and its Lambda functions end too."""
    up = start(tmp_path)
    until((tmp_path / "mqtt-ca.pem").exists, up)
    up.kill()
    up.wait()
    until(lambda: not any("local.emulator" in each for each in processes_of(tmp_path)))
    assert subprocess.run([*LOCAL, "down", "--state", tmp_path], cwd=ROOT, check=False).returncode == 0


def test_sigint_ends_up_in_the_background_of_a_script(tmp_path: Path) -> None:
    """`up` ends on SIGINT and cleans up, although the shell of `up &` has SIGINT ignored."""
    background = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    with subprocess.Popen([*background, *LOCAL, "up", "--state", tmp_path], cwd=ROOT) as up:
        until((tmp_path / "deploy.log").exists, up)
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
    assert processes_of(tmp_path) == set()
