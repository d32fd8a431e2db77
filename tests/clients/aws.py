"""AWS's own clients, with the identity of a device, and a check of the credentials that they get."""

from __future__ import annotations

import shlex
import sys
from typing import Any
from urllib.parse import urlsplit

import boto3
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
from botocore.session import get_session

from local.processes import ROOT
from tests.clients.relay import relaying
from tests.flows.conftest import Cloud
from tests.flows.devices import Device, client

SECONDS = 120
"""The time limit for a client."""


def provider_credentials(device: Device) -> boto3.Session:
    """Return a session with the credentials that AWS's SDK gets for a device (awscrt, `new_x509`).

    It always calls port 443, so it needs a relay.
    """
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
        found = provider.get_credentials().result(SECONDS)
        del provider
    return boto3.Session(found.access_key_id, found.secret_access_key, found.session_token)


def process_credentials(device: Device) -> boto3.Session:
    """Return a session whose profile has the device's client as `credential_process`."""
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "device"]
    process = shlex.join([*command, *device.credentials_arguments("telemetry")])
    file = device.folder / "aws-config"
    file.write_text(f"[profile device]\ncredential_process = {process}\n")
    core = get_session()
    core.set_config_variable("config_file", str(file))
    return boto3.Session(botocore_session=core, profile_name="device")


def check_own_prefix(cloud: Cloud, session: boto3.Session, name: str) -> None:
    """Check that a session of the device `name` writes below its own prefix in S3, and nowhere else."""
    aws = cloud.endpoints["aws"]
    bucket = f"acme-telemetry-{aws['account']}-{aws['region']}"
    client(cloud, "s3").create_bucket(Bucket=bucket)  # the example fleet's grants name it
    s3 = session.client(
        "s3",
        endpoint_url=aws["s3_endpoint"],
        region_name=aws["region"],
        verify=cloud.endpoints["api_ca"],
    )
    assert _refusal(s3, bucket, f"{name}/temperature") is None
    for other in (f"{name}0/temperature", "gw-another/temperature", "temperature"):
        assert _refusal(s3, bucket, other) == "AccessDenied", other


def _refusal(s3: Any, bucket: str, key: str) -> str | None:
    """Return the error code of a session's write, or None if it succeeds."""
    try:
        s3.put_object(Bucket=bucket, Key=key, Body=b"21.5")
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None
