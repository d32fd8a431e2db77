"""The steps of `up`: make certificates, start the emulator, deploy the app, open both hosts."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import boto3

from firstboot.domain import names
from local import certificates, cloud, fronts, processes
from local.cloud import ACCOUNT, REGION, STACK, Cloud
from local.state import OURS, State

FLEET = processes.ROOT / "fleet"
"""The fleet folder of the product."""

DEVICE = "gw-0001"
"""The device whose bootstrap certificate endpoints.json names."""


async def serve(here: Cloud, fleet: Path, report: Callable[[str], None]) -> None:
    """Run the product with the fleet folder `fleet` until this task is cancelled.

    Calls `report` with lines about the progress. This replaces the process's environment by the operator's.
    Raises processes.Failed when a part ends or does not start.
    """
    begun, state = time.monotonic(), here.state
    async with AsyncExitStack() as stack:
        stack.callback(state.remove, *OURS)
        endpoints = here.endpoints(*prepare(state, fleet))
        environment = cloud.operator(endpoints)
        os.environ.clear()
        os.environ.update(environment)
        process = await stack.enter_async_context(cloud.running(here))
        report("AWS is up; deploying the app")
        await _deploy(here)
        await asyncio.to_thread(sweep)
        await stack.enter_async_context(open_fronts(here))
        await asyncio.to_thread(here.get, f"{endpoints['public']}/healthz")
        state.publish(endpoints, cloud.shell(endpoints))
        report(f"ready after {time.monotonic() - begun:.0f} s: {state.path('endpoints.json')}")
        report(f"In another shell, run:  . {shlex.quote(str(state.path('env.sh')))}")
        await process.wait()
        raise processes.failure("ministack", state.path("emulator.log"))


def prepare(state: State, source: Path = FLEET) -> tuple[str, list[str]]:
    """Make the certificates, and copy the fleet folder with a new CA in the place of each trust anchor.

    Returns the name of the fleet's first role alias, and the names of its trust anchors.
    """
    api_ca = certificates.authority("Firstboot local HTTPS CA")
    state.path("api-ca.pem").write_bytes(api_ca.pem)
    certificates.server(api_ca).save(state.path("run/server.pem"), state.path("run/server.key"))
    fleet = state.path("fleet")
    shutil.copytree(source, fleet)
    definition = tomllib.loads((fleet / "fleet.toml").read_text())
    anchors = [anchor for group in definition["groups"].values() for anchor in group["trust"]]
    factories = {anchor: certificates.authority(Path(anchor).stem) for anchor in anchors}
    for anchor, factory in factories.items():
        key = state.path(f"factories/{anchor}.key")
        key.parent.mkdir(parents=True, exist_ok=True)
        factory.save(fleet / anchor, key)
    factory = factories[anchors[0]]
    factory.save(state.path("factory-ca.pem"), state.path("factory-ca.key"))
    bootstrap = certificates.bootstrap(factory, DEVICE)
    bootstrap.save(state.path("bootstrap.pem"), state.path("bootstrap.key"))
    return str(next(iter(definition["role_aliases"]))), anchors


async def _deploy(here: Cloud) -> None:
    """Bootstrap the account and deploy the stack."""
    assembly = str(here.state.path("run/cdk.out"))
    context = [f"stack={STACK}", f"fleet={here.state.path('fleet')}", "fleetRefresh=1", "bundle=local"]
    context += ["mqttHost=localhost", f"mqttPort={here.mqtt_port}", "iotRate=100"]
    options = [word for setting in context for word in ("--context", setting)]
    try:
        async with asyncio.TaskGroup() as together:
            # From another folder than ours, because the CLI would run the app a second time there.
            outside = here.state.path("run")
            together.create_task(_cdk(here, "bootstrap", f"aws://{ACCOUNT}/{REGION}", folder=outside))
            together.create_task(_cdk(here, "synth", "--quiet", "--output", assembly, *options))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    await _cdk(here, "deploy", STACK, "--app", assembly, "--require-approval", "never")


async def _cdk(here: Cloud, *arguments: str, folder: Path = processes.ROOT) -> None:
    cdk = str(Path(sys.prefix) / "node_modules/.bin/cdk")
    await processes.run([cdk, *arguments, "--no-notices", "--ci"], here.state.path("deploy.log"), folder)


def sweep() -> None:
    """Run the sweep once, which makes the policies in AWS IoT. Its schedule begins a minute later."""
    functions = boto3.client("lambda")
    (name,) = (
        each["FunctionName"]
        for each in functions.list_functions()["Functions"]
        if each["FunctionName"].startswith(f"{STACK}-Sweep")
    )
    functions.invoke(FunctionName=name)


@asynccontextmanager
async def open_fronts(here: Cloud) -> AsyncIterator[None]:
    """Start both hosts in front of the deployed APIs, with the CA certificate and the truststore of the
    deployment. A stack without a domain has one API, which stands behind both.

    This process must have the operator's environment.
    """
    (stack,) = boto3.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
    s3, truststore = boto3.client("s3"), str(here.state.path("run/truststore.pem"))
    for key, file in {
        names.AUTHORITY_KEY: str(here.state.path("operational-ca.pem")),
        names.TRUSTSTORE_KEY: truststore,
    }.items():
        owner = {"ExpectedBucketOwner": ACCOUNT}
        s3.download_file(outputs["CertificatesBucket"], key, file, ExtraArgs=owner)
    mtls = fronts.Gateway(outputs.get("MtlsApiId", outputs["ApiId"]))
    public = fronts.Gateway(outputs["ApiId"])
    async with AsyncExitStack() as opened:
        for gateway, trusted, port in [
            (mtls, truststore, here.mtls_port),
            (public, None, here.public_port),
        ]:
            runner = await fronts.listen(gateway, fronts.tls(here.state, trusted), port)
            opened.push_async_callback(runner.cleanup)
        yield
