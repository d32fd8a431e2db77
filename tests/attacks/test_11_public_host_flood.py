"""An attacker without any certificate sends as many calls to the public host as it takes, and a device with a
valid certificate does so at the mTLS host. A publication needs the public host in a stack that has none.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from cryptography import x509

from tests import factories, proofs
from tests.attacks.gateways import Account, Hosts, call, serve
from tests.aws.product import Product
from tests.infra.conftest import DOMAIN, synthesise

ENROLL, VEND, DEVICE = "POST /v1/certificates", "GET /role-aliases/{alias}/credentials", "GET /v1/device"
CONCURRENCY = 500
"""Half of Lambda's default for an account, so that the flood fits into this machine's sockets."""

Attack = Callable[[Hosts], Awaitable[None]]


def attack(product: Product, folder: Path, attacking: Attack, **context: Any) -> None:
    """Carry out an attack on the hosts of a stack with a domain, whose settings `context` changes."""

    async def run() -> None:
        async with serve(Account(template, product, CONCURRENCY), folder / "hosts") as hosts:
            await attacking(hosts)

    template = synthesise(folder / "stack", domain=DOMAIN, apiRate=10_000, **context).template
    asyncio.run(run())


def save(folder: Path, name: str, leaf: x509.Certificate, key: factories.PrivateKey) -> tuple[Path, Path]:
    """Write a device's certificate and key, and return their files."""
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_text(factories.pem(leaf))
    files[1].write_text(factories.key_pem(key))
    return files


async def flood(hosts: Hosts, attacker: ClientSession) -> list[asyncio.Task[int]]:
    """Use up the public host's throttles of enrollments and credentials with calls that have no valid proof.

    Returns when the gateway or Lambda has decided about each call. The answers come when executions may end.
    """

    async def send(route: str) -> int:
        method, url = call(route, "telemetry")
        headers = {"Authorization": "Bearer no.proof.atall"}
        async with attacker.request(method, hosts.urls["public"] + url, headers=headers) as answer:
            return answer.status

    routes = [route for route in (ENROLL, VEND) for _ in range(hosts.public.tokens[route] + 10)]
    calls = [asyncio.create_task(send(route)) for route in routes]
    for _ in calls:
        await hosts.account.decided.get()
    return calls


async def enroll(hosts: Hosts, identity: tuple[Path, Path]) -> int:
    """Enroll at the mTLS host and return the status."""
    body = json.dumps({"csr": factories.pem(factories.csr(factories.ec_key()))})
    headers = {"Content-Type": "application/json"}
    url = hosts.urls["mtls"] + "/v1/certificates"
    async with hosts.session(identity) as device, device.post(url, data=body, headers=headers) as answer:
        return answer.status


async def get(session: ClientSession, url: str, **options: Any) -> int:
    """Return the status of a GET request."""
    async with session.get(url, **options) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("reserved", "status"), [(50, 201), (0, 503)], ids=["as deployed", "without a concurrency of its own"]
)
def test_a_flood_on_the_public_host_leaves_the_mtls_host_open(
    product: Product, tmp_path: Path, reserved: int, status: int
) -> None:
    """While the public host has all calls that its throttles let in, a device enrolls at the mTLS host.

    Throttles alone are too little, because their bursts together take the account's concurrency.
    """
    key = factories.ec_key()
    identity = save(tmp_path, "device", product.factory.issue("gw-1", key), key)

    async def attacking(hosts: Hosts) -> None:
        async with hosts.session() as attacker:
            flooding = await flood(hosts, attacker)
            device = asyncio.create_task(enroll(hosts, identity))
            await hosts.account.decided.get()
            hosts.account.may_end.set()
            assert await device == status
            answers = Counter(await asyncio.gather(*flooding))
            assert answers.keys() == {401, 429, 503}
            assert answers[429] == 20

    attack(product, tmp_path, attacking, publicConcurrency=reserved)


def test_one_valid_device_closes_a_route_of_its_own_host_only(product: Product, tmp_path: Path) -> None:
    """A device with a valid certificate can use up a route of the mTLS host, which no limit of ours prevents.

    The other routes and the public host stay open to the other devices.
    """
    keys = {name: factories.ec_key() for name in ("gw-1", "gw-2")}
    leaves = {
        name: product.certificate(product.enroll(product.bootstrap(name), key)) for name, key in keys.items()
    }
    bad, honest = (save(tmp_path, name, leaves[name], key) for name, key in keys.items())

    async def attacking(hosts: Hosts) -> None:
        hosts.account.may_end.set()
        mtls, public = (hosts.urls[name] + "/v1/device" for name in ("mtls", "public"))
        proof = proofs.sign(keys["gw-2"], leaves["gw-2"], "GET", public)
        async with hosts.session(bad) as attacker, hosts.session(honest) as device:
            for _ in range(hosts.mtls.tokens[DEVICE]):
                await get(attacker, mtls)
            assert await get(device, mtls) == 429
            assert await get(device, f"{hosts.urls['mtls']}/role-aliases/telemetry/credentials") == 200
        async with hosts.session() as device:
            assert await get(device, public, headers={"Authorization": f"Bearer {proof}"}) == 200

    attack(product, tmp_path, attacking)


def test_a_publication_does_not_need_a_host_that_is_missing(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a public host, no fleet is published whose expired certificates could renew only there."""
    monkeypatch.setenv("FIRSTBOOT_PUBLIC_HOST", "false")
    gateways = product.fleet.groups["gateways"]
    plan = replace(gateways.certificate, grace_days=0)
    needing = replace(product.fleet, base=product.fleet.hash)
    sound = replace(needing, groups={"gateways": replace(gateways, certificate=plan)})
    problem = product.operate("fleet.apply", fleet=json.loads(needing.to_json()))["problem"]
    assert problem["code"] == "fleet-needs-deployment"
    assert "groups.gateways: certificate.grace_days is 90" in problem["detail"]
    assert "result" in product.operate("fleet.apply", fleet=json.loads(sound.to_json()))
