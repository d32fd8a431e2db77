"""The step of credentials with session policies of growing size."""

from __future__ import annotations

import json
import time

from device.refusal import Refused
from firstboot.policy.limits import SESSION_POLICY
from verify import publishing
from verify.bench import Bench, Unit
from verify.spending import Act
from verify.step import Failed, Lacking, Measurement, Measurements, Need, Step
from verify.steps.vend import vended

_SIZES = (600, 1_000, 1_500, SESSION_POLICY)
_MARGIN_SECONDS, _EMULATOR_MARGIN_SECONDS = 2.0, 0.5
"""How much longer than `fleetRefresh` a function may take until it has a published fleet."""

_STATEMENT = 70
"""The characters that a statement takes beside its resources."""


def growing(bench: Bench) -> Measurements:
    """Measure session tokens with session policies up to the longest, and publish the former fleet again.

    STS packs policy and tags by a method that it does not tell, so a refusal of a policy that is short enough
    is measured and is no failure (STS API reference, AssumeRole, PackedPolicyTooLarge).
    """
    alias = next(iter(bench.fleet.role_aliases))
    unit, before = bench.unit(), bench.fleet
    unit.boot()
    least = _policy(bench, unit, alias)
    bench.at_end.append(("the published fleet", lambda: publishing.publish(bench.operate, before)))
    for size in _SIZES:
        names = publishing.resources(bench.deployed.place.partition, size - least - _STATEMENT)
        if not names:
            continue
        fleet = publishing.with_grant(before, bench.group.name, alias, names)
        publishing.publish(bench.operate, fleet)
        time.sleep(_refresh(bench))
        characters = _policy(bench, unit, alias)
        if characters <= least:
            raise Lacking("rules that let a new device hold another grant")
        yield _measured(bench, unit, alias, characters)
    publishing.publish(bench.operate, before)
    if bench.operate.fleets().in_force.grants != before.grants:
        raise Failed("the former fleet to be in force again", "another one")


def _measured(bench: Bench, unit: Unit, alias: str, characters: int) -> Measurement:
    what = f"session token with a policy of {characters:,} characters"
    try:
        found, size = vended(bench, unit, None, alias)
    except Refused as refused:
        return Measurement(what, f"refused, {refused.code}")
    if not found:
        raise Failed("credentials with the grant", "a refusal for want of grants")
    return Measurement(what, f"{len(found['sessionToken']):,} characters, in an answer of {size:,} bytes")


def _policy(bench: Bench, unit: Unit, alias: str) -> int:
    """Return how many characters the device's session policy has under a role alias."""
    shown = bench.operate.call("devices.explain", deviceId=unit.name)
    moment = next(each for each in shown["moments"] if each["roleAlias"] == alias)
    document = moment["sessionPolicy"]
    return len(json.dumps(document, separators=(",", ":"))) if document else 0


def _refresh(bench: Bench) -> float:
    """Return after how many seconds the functions have seen a published fleet."""
    function = bench.outputs("VendFunction")
    found = bench.client("lambda").get_function_configuration(FunctionName=function)
    margin = _EMULATOR_MARGIN_SECONDS if Need.AWS in bench.missing else _MARGIN_SECONDS
    return int(found["Environment"]["Variables"]["FIRSTBOOT_FLEET_REFRESH"]) + margin


STEPS = (
    Step(
        "credentials with growing policies",
        growing,
        frozenset({Need.FACTORY, Need.HTTPS, Need.PUBLISH}),
        spends={Act.BOOT: 1, Act.VEND: len(_SIZES), Act.OPERATE: 6 * len(_SIZES)},
    ),
)
