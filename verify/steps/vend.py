"""Steps of credentials over HTTPS."""

from __future__ import annotations

import time
from functools import partial
from urllib.parse import quote

import boto3

from device.answers import success
from device.refusal import Refused
from firstboot.domain.names import DeviceId, session_name
from verify.bench import Bench, Unit
from verify.spending import Act
from verify.step import Failed, Lacking, Measurement, Measurements, Need, Step

Credentials = dict[str, str]


def credentials(way: Need, bench: Bench) -> Measurements:
    """Ask for credentials under each role alias, and use those that a new device gets."""
    unit = bench.unit(way)
    unit.boot()
    granted = 0
    for alias in bench.fleet.role_aliases:
        begun = time.monotonic()
        found, size = vended(bench, unit, way, alias)
        if not found:
            yield Measurement(alias, "a new device holds no grant")
            continue
        granted += 1
        yield Measurement(f"{alias}, first request", time.monotonic() - begun, "s")
        begun = time.monotonic()
        vended(bench, unit, way, alias)
        yield Measurement(f"{alias}, next request", time.monotonic() - begun, "s")
        yield Measurement(f"{alias}, answer", size, "bytes")
        yield Measurement(f"{alias}, session token", len(found["sessionToken"]), "characters")
        yield Measurement(f"{alias}, session", _session(bench, unit, found))
    if not granted:
        raise Lacking("a role alias under which a new device holds a grant")


def vended(bench: Bench, unit: Unit, way: Need | None, alias: str) -> tuple[Credentials, int]:
    """Return the credentials under a role alias, none if the device holds no grant, and the answer's bytes.

    Raises Refused.
    """
    path = f"/role-aliases/{quote(alias, safe='=,@')}/credentials"
    answer = bench.host(way, unit.bootstrap).send(unit.live, "GET", path)
    try:
        found: Credentials = success(answer)["credentials"]
    except Refused as refused:
        if (refused.code or "").startswith("AccessDenied"):
            return {}, len(answer.body)
        raise
    return found, len(answer.body)


def _session(bench: Bench, unit: Unit, found: Credentials) -> str:
    """Return the name of the session, which STS says and which must be the device's."""
    client = bench.client("sts")
    session = boto3.Session(found["accessKeyId"], found["secretAccessKey"], found["sessionToken"])
    caller = session.client("sts", region_name=client.meta.region_name).get_caller_identity()["Arn"]
    name = str(caller).rpartition("/")[2]
    if name != session_name(DeviceId(unit.name)):
        raise Failed(f"a session of {unit.name}", name)
    return name


def without_identity(bench: Bench) -> Measurements:
    """Ask for credentials with the bootstrap certificate, which may only enroll."""
    unit = bench.unit()
    unit.boot()
    alias = next(iter(bench.fleet.role_aliases))
    path = f"/role-aliases/{quote(alias, safe='=,@')}/credentials"
    answer = bench.host(None, unit.bootstrap).send(unit.bootstrap, "GET", path)
    if answer.status < 400:
        raise Failed("a refusal of the bootstrap certificate", f"status {answer.status}")
    refusal = answer.headers.get("x-amzn-ErrorType") or "no type"
    yield Measurement("the bootstrap certificate gets", f"{answer.status}, {refusal}")


STEPS = (
    Step(
        "credentials over mTLS",
        partial(credentials, Need.MTLS),
        frozenset({Need.FACTORY, Need.MTLS}),
        after=("first boot over mTLS",),
        spends={Act.BOOT: 1, Act.VEND: 8},
    ),
    Step(
        "credentials with signed proofs",
        partial(credentials, Need.PUBLIC),
        frozenset({Need.FACTORY, Need.PUBLIC}),
        after=("first boot with signed proofs",),
        spends={Act.BOOT: 1, Act.VEND: 8},
    ),
    Step(
        "no credentials for a bootstrap certificate",
        without_identity,
        frozenset({Need.FACTORY, Need.HTTPS}),
        spends={Act.BOOT: 1, Act.VEND: 1},
    ),
)
