"""Test clients that are not ours: curl and openssl, AWS's awscrt, boto3."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from awscrt.auth import AwsCredentialsProvider
from awscrt.http import HttpProxyConnectionType, HttpProxyOptions
from awscrt.io import (
    ClientBootstrap,
    ClientTlsContext,
    DefaultHostResolver,
    EventLoopGroup,
    TlsContextOptions,
)
from botocore.exceptions import ClientError

from local.processes import ROOT
from tests.clients.relay import relaying
from tests.flows.conftest import Cloud
from tests.flows.devices import Device, client, fresh_name, issued

SCRIPT = ROOT / "device" / "firstboot.sh"


@pytest.fixture(scope="module")
def device(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """Return a device that has booted."""
    device = Device(cloud, fresh_name(), tmp_path_factory.mktemp("device"))
    device.boot()
    return device


@pytest.fixture(scope="module")
def bucket(cloud: Cloud) -> str:
    """Make the device maker's bucket, which the example fleet's grants name."""
    aws = cloud.endpoints["aws"]
    name = f"acme-telemetry-{aws['account']}-{aws['region']}"
    client(cloud, "s3").create_bucket(Bucket=name)
    return name


def refusal(s3: Any, bucket: str, key: str) -> str | None:
    """Return the error code of a session's write, or None if it succeeds."""
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=b"21.5")
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None


def test_first_boot_with_curl_and_openssl(cloud: Cloud, tmp_path: Path) -> None:
    """firstboot.sh gets one certificate from the product, and a second run only logs in."""
    name, state = fresh_name(), tmp_path / "state"
    certificate, key = cloud.bootstrap(name, tmp_path)
    command = ["sh", SCRIPT, cloud.endpoints["mtls"], certificate, key, state, cloud.endpoints["api_ca"]]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    identity = (state / "certificate.pem").read_bytes()
    subprocess.run(command, check=True)
    assert (state / "certificate.pem").read_bytes() == identity
    assert len(issued(cloud, name)) == 1


def curl(device: Device, path: str, *options: str) -> tuple[int, dict[str, str], Any]:
    """Return status, headers and JSON of a GET with the device's identity."""
    certificate, key = map(str, device.identity)
    authority = device.cloud.endpoints["api_ca"]
    command = ["curl", "--silent", "--show-error", "--include", "--http1.1", "--cacert", authority]
    url = device.cloud.endpoints["mtls"] + path
    done = subprocess.run(
        [*command, "--cert", certificate, "--key", key, *options, url], capture_output=True, check=True
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, json.loads(body)


def test_the_credential_provider_s_wire_format(device: Device) -> None:
    """Credentials have AWS IoT's member names, times with `Z` and at most 2,048 bytes, with and without a
    thing name.
    """
    for options in ([], ["--header", f"x-amzn-iot-thingname: {device.name}"]):
        status, headers, body = curl(device, "/role-aliases/telemetry/credentials", *options)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert set(body) == {"credentials"}
        assert set(body["credentials"]) == {"accessKeyId", "secretAccessKey", "sessionToken", "expiration"}
        assert body["credentials"]["expiration"].endswith("Z")
        assert int(headers["content-length"]) <= 2048


@pytest.mark.parametrize(
    ("path", "thing", "status", "kind", "message"),
    [
        ("nope", None, 404, "ResourceNotFoundException", "Role alias does not exist"),
        ("telemetry", "gw-another", 403, "AccessDeniedException", "Invalid thing name passed"),
        ("updates", None, 403, "AccessDeniedException", "Access Denied"),
    ],
)
def test_the_credential_provider_s_errors(
    device: Device, path: str, thing: str | None, status: int, kind: str, message: str
) -> None:
    """Errors have AWS IoT's messages and headers, which its clients log."""
    options = ["--header", f"x-amzn-iot-thingname: {thing}"] if thing else []
    answer, headers, body = curl(device, f"/role-aliases/{path}/credentials", *options)
    assert (answer, headers["x-amzn-errortype"], body) == (status, kind, {"message": message})
    assert headers["x-amzn-requestid"]


def test_aws_s_own_client_gets_credentials_that_fit(device: Device, bucket: str) -> None:
    """AWS's SDK (`new_x509`) gets credentials as from AWS IoT, for the device's own prefix only."""
    host = urlsplit(device.cloud.endpoints["mtls"])
    group = EventLoopGroup(1)
    bootstrap = ClientBootstrap(group, DefaultHostResolver(group))
    options = TlsContextOptions.create_client_with_mtls_from_path(*map(str, device.identity))
    options.override_default_trust_store_from_path(None, device.cloud.endpoints["api_ca"])
    with relaying(host.hostname or "", host.port or 0) as port:
        provider = AwsCredentialsProvider.new_x509(
            endpoint="localhost",
            thing_name=device.name,
            role_alias="telemetry",
            tls_ctx=ClientTlsContext(options),
            client_bootstrap=bootstrap,
            http_proxy_options=HttpProxyOptions(
                "127.0.0.1", port, connection_type=HttpProxyConnectionType.Tunneling
            ),
        )
        credentials = provider.get_credentials().result(120)
        del provider
    aws = device.cloud.endpoints["aws"]
    s3 = boto3.client(
        "s3",
        endpoint_url=aws["s3_endpoint"],
        region_name=aws["region"],
        verify=device.cloud.endpoints["api_ca"],
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
    )
    assert refusal(s3, bucket, f"{device.name}/temperature") is None
    assert refusal(s3, bucket, f"{device.name}0/temperature") == "AccessDenied"


def test_boto3_uses_the_device_as_credential_process(
    device: Device, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile with `credential_process` in AWS's configuration file lets boto3 use the device's
    credentials.
    """
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "device"]
    process = shlex.join([*command, *device.credentials_arguments("telemetry")])
    aws = device.cloud.endpoints["aws"]
    (tmp_path / "config").write_text(
        f"[profile device]\nregion = {aws['region']}\ncredential_process = {process}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    session = boto3.Session(profile_name="device")
    s3 = session.client("s3", endpoint_url=aws["s3_endpoint"], verify=device.cloud.endpoints["api_ca"])
    assert refusal(s3, bucket, f"{device.name}/humidity") is None
    assert refusal(s3, bucket, "gw-another/humidity") == "AccessDenied"
    assert refusal(s3, bucket, "humidity") == "AccessDenied"
