"""AWS's own clients, with the identity of a device, and a check of the credentials that they get."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
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
from tests.clients.programs import aws_client
from tests.clients.relay import relaying
from tests.flows.conftest import Cloud
from tests.flows.devices import Device, client

SECONDS = 120
"""The time limit for a client."""

_ROLES_ANYWHERE = """
import json, sys
from iam_rolesanywhere_session import CredentialsRetrievalError, IAMRolesAnywhereSession
try:
    session = IAMRolesAnywhereSession(**json.loads(sys.argv[1])).get_session()
    found = session.get_credentials().get_frozen_credentials()
    print(json.dumps([found.access_key, found.secret_key, found.token]))
except CredentialsRetrievalError as error:
    print(json.dumps([error.status_code, error.message]))
"""

_CREDENTIALS = "/role-aliases/telemetry/credentials"


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


def roles_anywhere(settings: Mapping[str, Any]) -> list[Any]:
    """Return the credentials, or the status and the message, that AWS's library for Roles Anywhere gets."""
    done = subprocess.run(
        [aws_client("python"), "-c", _ROLES_ANYWHERE, json.dumps(dict(settings))],
        stdout=subprocess.PIPE,
        check=True,
        timeout=SECONDS,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


@contextmanager
def serving(state: Path) -> Iterator[dict[str, str]]:
    """Run `device serve` for a device that has booted; yield the environment of a program on the device."""
    command = [sys.executable, "-m", "device", "serve", "--state", str(state), "--port", "0"]
    with subprocess.Popen(
        [*command, "--role-alias", "telemetry"], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        try:
            printed = json.loads(server.stdout.readline())
            plain = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
            yield (
                plain
                | printed[_CREDENTIALS]
                | {
                    "AWS_CONFIG_FILE": os.devnull,
                    "AWS_DEFAULT_REGION": "eu-central-1",
                    "AWS_EC2_METADATA_DISABLED": "true",
                    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                }
            )
        finally:
            server.terminate()
        assert server.wait(20) == 0


def check_own_prefix(cloud: Cloud, session: boto3.Session, name: str) -> None:
    """Check that a session of the device `name` writes below its own prefix in S3, and nowhere else."""
    s3 = _s3(cloud, session)
    _check_writes(
        cloud, name, lambda bucket, key: _refusal(s3.put_object, Bucket=bucket, Key=key, Body=b"21.5")
    )


def check_stable_firmware(cloud: Cloud, session: boto3.Session) -> None:
    """Check that a session reads stable firmware in S3, and no other."""
    bucket, operator, s3 = _bucket(cloud, "firmware"), client(cloud, "s3"), _s3(cloud, session)
    for key, code in (("stable/1.bin", None), ("beta/1.bin", "AccessDenied")):
        operator.put_object(Bucket=bucket, Key=key, Body=b"1")
        assert _refusal(s3.get_object, Bucket=bucket, Key=key) == code, key


def check_own_prefix_by_cli(cloud: Cloud, environment: Mapping[str, str], name: str, folder: Path) -> None:
    """Check the same of the AWS CLI, which finds its credentials by `environment`."""
    aws, body = cloud.endpoints["aws"], folder / "body"
    where = ["--endpoint-url", aws["s3_endpoint"], "--region", aws["region"]]
    trusted = ["--ca-bundle", cloud.endpoints["api_ca"]]

    def refusal(bucket: str, key: str) -> str | None:
        body.write_bytes(b"21.5")
        put = ["s3api", "put-object", "--bucket", bucket, "--key", key, "--body", str(body)]
        done = subprocess.run(
            [aws_client("aws"), *put, *where, *trusted],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if done.returncode == 0:
            return None
        return "AccessDenied" if "(AccessDenied)" in done.stderr else done.stderr

    _check_writes(cloud, name, refusal)


def _check_writes(cloud: Cloud, name: str, refusal: Callable[[str, str], str | None]) -> None:
    """Check which writes are refused. `refusal` writes, and returns the error code or None."""
    bucket = _bucket(cloud, "telemetry")
    assert refusal(bucket, f"{name}/temperature") is None
    for other in (f"{name}0/temperature", "gw-another/temperature", "temperature"):
        assert refusal(bucket, other) == "AccessDenied", other


def _s3(cloud: Cloud, session: boto3.Session) -> Any:
    aws, trusted = cloud.endpoints["aws"], cloud.endpoints["api_ca"]
    return session.client("s3", endpoint_url=aws["s3_endpoint"], region_name=aws["region"], verify=trusted)


def _bucket(cloud: Cloud, name: str) -> str:
    """Make a bucket that the example fleet's grants name, and return its name."""
    aws = cloud.endpoints["aws"]
    bucket = f"acme-{name}-{aws['account']}-{aws['region']}"
    client(cloud, "s3").create_bucket(Bucket=bucket)
    return bucket


def _refusal(call: Callable[..., Any], **members: Any) -> str | None:
    """Return the error code of a session's call, or None if it succeeds."""
    try:
        call(**members)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return None
