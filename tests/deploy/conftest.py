"""An empty AWS account, and the real CDK CLI as a deployer uses it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from local import cloud as local_cloud
from local import deployment
from local.cloud import STACK
from local.processes import ROOT
from local.state import State
from tests.flows import conftest as flows
from tests.flows.devices import client

_CDK_SECONDS = 300
_HOST_SECONDS = 60


@dataclass(frozen=True)
class Account:
    """An emulated account.

    `cloud` is the account in the form that tests/flows use. The HTTPS hosts answer within the context of
    `hosts` only.
    """

    here: local_cloud.Cloud
    cloud: flows.Cloud
    loop: asyncio.AbstractEventLoop

    @property
    def fleet(self) -> Path:
        """The deployer's fleet folder, with a factory CA of this state directory in its trust/."""
        return self.here.state.path("fleet")

    def cdk(self, *arguments: str, folder: Path = ROOT, failing: bool = False) -> str:
        """Run the CDK CLI in a checkout and return its output.

        Its context differs from cdk.json in the fleet folder and the bundle's target. The exit code must be
        zero, or another one if `failing`.
        """
        command = [str(Path(sys.prefix) / "node_modules/.bin/cdk"), *arguments]
        options = ["--context", f"fleet={self.fleet}", "--context", "bundle=local"]
        options += ["--output", str(self.here.state.path("run/cdk.out")), "--no-notices", "--ci"]
        done = subprocess.run(
            [*command, *options],
            cwd=folder,
            env=local_cloud.operator(self.cloud.endpoints) | {"CDK_VALIDATION": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_CDK_SECONDS,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert bool(done.returncode) == failing, printed
        return printed

    def deploy(self, *options: str, failing: bool = False) -> str:
        """Run `cdk deploy` and return its output."""
        return self.cdk("deploy", STACK, "--require-approval", "never", *options, failing=failing)

    def client(self, service: str) -> Any:
        """Return an operator's boto3 client."""
        return client(self.cloud, service)

    def hosts(self) -> AbstractContextManager[None]:
        """Return a context with the mTLS host and the public host of the currently deployed API."""
        return _entered(self.loop, deployment.open_fronts(self.here))


@contextmanager
def _entered(loop: asyncio.AbstractEventLoop, manager: AbstractAsyncContextManager[Any]) -> Iterator[None]:
    """Run an asynchronous context in `loop` around synchronous code."""
    asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result(_HOST_SECONDS)
    try:
        yield
    finally:
        leaving = manager.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(leaving, loop).result(_HOST_SECONDS)


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Yield an event loop in a thread of its own, since tests block while programs call it."""
    made = asyncio.new_event_loop()
    thread = Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory, loop: asyncio.AbstractEventLoop) -> Iterator[Account]:
    """Yield the account, which is not bootstrapped yet."""
    state = State(tmp_path_factory.mktemp("account"))
    with state.begin(), pytest.MonkeyPatch.context() as environment:
        here = local_cloud.Cloud(state, *local_cloud.free_ports(None, None, None, None))
        endpoints = here.endpoints(*deployment.prepare(state))
        operator = local_cloud.operator(endpoints)
        for name in set(os.environ) - set(operator):
            environment.delenv(name)
        for name, value in operator.items():
            environment.setenv(name, value)
        with _entered(loop, local_cloud.running(here)):
            yield Account(here, flows.Cloud(endpoints, flows.factory(endpoints["factory"])), loop)


@pytest.fixture
def hosts(account: Account) -> Iterator[None]:
    """Both hosts, for as long as a test takes."""
    with account.hosts():
        yield
