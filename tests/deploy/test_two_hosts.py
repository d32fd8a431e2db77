"""A stack gets a domain, and then an API for it beside the public host's, while both hosts are called."""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from local.cloud import ACCOUNT, REGION, STACK
from local.processes import ROOT
from tests.deploy.conftest import Account
from tests.deploy.evidence import physical, status
from tests.flows.devices import Device, output
from tests.infra.conftest import DOMAIN


def deploy(account: Account, folder: Path, program: str) -> None:
    """Deploy a program with a domain, from a folder with a cdk.json of its own."""
    # `--context` passes text only, and a domain has two members.
    settings = json.loads((ROOT / "cdk.json").read_text())
    settings["app"] = f"{sys.executable} {ROOT / program}"
    settings["context"]["domain"] = DOMAIN
    (folder / "cdk.json").write_text(json.dumps(settings))
    account.cdk("deploy", STACK, "--require-approval", "never", folder=folder)


def called(account: Account, host: str) -> int:
    """Call a host of ministack's own gateway, with the permissions of the API, and return the status."""
    endpoint = account.cloud.endpoints["aws"]["s3_endpoint"]
    context = ssl.create_default_context(cafile=account.cloud.endpoints["api_ca"])
    request = urllib.request.Request(f"{endpoint}/healthz", headers={"Host": host})  # noqa: S310 - https
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310 - https
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@contextmanager
def calling(account: Account, *hosts: str) -> Iterator[Counter[tuple[str, int]]]:
    """Call the hosts again and again, and yield the count of the answers by host and status."""
    found: Counter[tuple[str, int]] = Counter()
    done = Event()

    def run() -> None:
        while not done.wait(0.2):
            found.update((host, called(account, host)) for host in hosts)

    thread = Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="session")
def public(account: Account) -> str:
    """Return the public host's name in a stack without a domain."""
    account.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", folder=account.here.state.path("run"))
    account.deploy()
    return f"{output(account.cloud, 'ApiId')}.execute-api.localhost"


def test_a_domain_is_added_without_a_gap(account: Account, public: str, tmp_path: Path) -> None:
    """The public host answers each call while its routes get functions of their own."""
    with calling(account, public) as answers:
        deploy(account, tmp_path, "tests/deploy/one_api.py")
    assert {status for _, status in answers} == {200}, answers
    assert called(account, DOMAIN["name"]) == 200


def test_the_domain_moves_without_a_gap(account: Account, public: str, tmp_path: Path) -> None:
    """Both hosts answer each call while the domain moves to its own API, and no name changes."""
    before = physical(account)
    with calling(account, public, DOMAIN["name"]) as answers:
        deploy(account, tmp_path, "app.py")
    assert status(account) == "UPDATE_COMPLETE"
    assert {status for _, status in answers} == {200}, answers
    assert physical(account) == before
    gateway = account.client("apigatewayv2")
    (mapping,) = gateway.get_api_mappings(DomainName=DOMAIN["name"])["Items"]
    assert mapping["ApiId"] == output(account.cloud, "MtlsApiId") != output(account.cloud, "ApiId")
    assert public.startswith(output(account.cloud, "ApiId"))


def test_a_device_boots_at_each_host(account: Account, tmp_path: Path) -> None:
    """A device boots at the mTLS host by its API, and another one at the public host by its functions."""
    with account.hosts():
        for host in ("mtls", "public"):
            device = Device(account.cloud, f"gw-at-{host}", tmp_path / host, host)
            assert device.boot()["status"] == "active"
