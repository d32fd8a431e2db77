"""Test how large an answer with credentials clients that are not ours read, on a server of this process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from awscrt.auth import AwsCredentialsProvider
from awscrt.exceptions import AwsCrtError
from awscrt.http import HttpProxyConnectionType, HttpProxyOptions
from awscrt.io import (
    ClientBootstrap,
    ClientTlsContext,
    DefaultHostResolver,
    EventLoopGroup,
    TlsContextOptions,
)

from firstboot.domain.clock import EPOCH
from firstboot.domain.session import Credentials
from firstboot.policy.limits import AWSCRT_ANSWER, SESSION_TOKEN
from firstboot.vend import credential_provider
from tests.clients.relay import relaying
from tests.device.server import running
from tests.device.service import CREDENTIALS, Call, Reply, Service


class Recording(Service):
    """A service that keeps the User-Agent of each caller."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.user_agents: list[str] = []

    def answer(self, call: Call) -> Reply:
        """Answer a request, and note who asked."""
        self.user_agents.append(call.headers["User-Agent"])
        return super().answer(call)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Recording]:
    """Run a service whose answers a test decides."""
    service = Recording(tmp_path)
    with running(tmp_path, service):
        yield service


def say(service: Service, size: int) -> str:
    """Answer the next request as Firstboot does, with `size` bytes. Return the session token."""

    def body(token: str) -> str:
        made = Credentials("ASIA" + "A" * 16, "s" * 40, token, EPOCH)
        return credential_provider.success(made).body

    token = "t" * (size - len(body("")))
    answer = body(token).encode()
    assert len(answer) == size
    service.say(CREDENTIALS, Reply(200, answer))
    return token


def awscrt_credentials(service: Service) -> Any:
    """Return the credentials that awscrt's x509 provider reads."""
    host, files = urlsplit(service.url), service.bootstrap()
    group = EventLoopGroup(1)
    options = TlsContextOptions.create_client_with_mtls_from_path(str(files.certificate), str(files.key))
    options.override_default_trust_store_from_path(None, str(service.ca))
    with relaying("localhost", host.port or 0) as port:
        provider = AwsCredentialsProvider.new_x509(
            endpoint="localhost",
            thing_name="dev1",
            role_alias="telemetry",
            tls_ctx=ClientTlsContext(options),
            client_bootstrap=ClientBootstrap(group, DefaultHostResolver(group)),
            http_proxy_options=HttpProxyOptions(
                "127.0.0.1", port, connection_type=HttpProxyConnectionType.Tunneling
            ),
        )
        try:
            return provider.get_credentials().result(60)
        finally:
            del provider


@pytest.mark.parametrize("size", [600, 2_047, 2_048])
def test_awscrt_reads_an_answer_of_2048_bytes(service: Recording, size: int) -> None:
    """The x509 provider of awscrt reads 2,048 bytes, and Firstboot knows it by its User-Agent."""
    assert size <= AWSCRT_ANSWER
    token = say(service, size)
    assert awscrt_credentials(service).session_token == token
    (user_agent,) = service.user_agents
    assert user_agent == "aws-sdk-crt/x509-credentials-provider"
    assert credential_provider.client_limit(user_agent) == AWSCRT_ANSWER


@pytest.mark.parametrize("size", [2_049, SESSION_TOKEN])
def test_awscrt_drops_a_longer_answer(service: Recording, size: int) -> None:
    """The x509 provider of awscrt drops an answer above the limit that Firstboot keeps for it."""
    assert size > AWSCRT_ANSWER
    say(service, size)
    with pytest.raises(AwsCrtError) as dropped:
        awscrt_credentials(service)
    assert dropped.value.name == "AWS_ERROR_SHORT_BUFFER"


def test_awscrt_reports_a_refusal(service: Recording) -> None:
    """A refusal with the status 400 ends awscrt's request with an error, and not with a time-out."""
    service.say(CREDENTIALS, Reply(400, b'{"message":"The credentials are too large for this client"}'))
    with pytest.raises(AwsCrtError):
        awscrt_credentials(service)
    assert service.requests == [CREDENTIALS]


@pytest.mark.parametrize("size", [600, 2_049, 4_265, 4_608])
def test_curl_reads_an_answer_of_any_size(service: Recording, size: int) -> None:
    """The program curl reads the longest answer, and Firstboot knows no limit of it."""
    token, files = say(service, size), service.bootstrap()
    command = ["curl", "--silent", "--show-error", "--fail", "--cacert", str(service.ca)]
    url = service.url + CREDENTIALS.removeprefix("GET ")
    done = subprocess.run(
        [*command, "--cert", files.certificate, "--key", str(files.key), url], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["credentials"]["sessionToken"] == token
    (user_agent,) = service.user_agents
    assert credential_provider.client_limit(user_agent) is None
