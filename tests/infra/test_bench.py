"""`make bench` measures the shipped Lambdas and a reference that does the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from bench import assets, growth, speed
from bench.report import CALLS, FLOWS, OURS, PLAIN
from bench.run import variants_of
from bench.speed import Process, Variant
from bench.world import Event, World, authority


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, list[Variant], dict[str, Path]]:
    """Return a world with the variants, built for this Python, and the folders of the product."""
    world = World(tmp_path_factory.mktemp("bench"))
    variants, product = variants_of(world, sys.executable)
    return world, variants, product


Built = tuple[World, list[Variant], dict[str, Path]]


def test_a_request_costs_as_many_calls_as_the_target_says(built: Built) -> None:
    """An enrollment takes three AWS calls and a vend two, in the product and in the reference."""
    world, variants, _ = built
    found = speed.run(world, sys.executable, variants, rounds=2, requests=3)
    assert found.keys() == {(each.name, each.flow) for each in variants}
    for (_, flow), measured in found.items():
        assert measured.usual_calls.total() == CALLS[flow]
        assert len(measured.cold) == len(measured.warm) == 2
    enrolled = {name: sorted(found[name, "enroll"].usual_calls) for name in (OURS, PLAIN)}
    assert enrolled == {
        OURS: ["PutObject", "Sign", "TransactWriteItems"],
        PLAIN: ["PutItem", "PutObject", "Sign"],
    }


def test_a_refusal_in_a_storm_is_measured(built: Built) -> None:
    """A process enrolls devices, and then refuses others because the minute is full."""
    world, variants, _ = built
    variant = next(each for each in variants if (each.name, each.flow) == (OURS, "enroll"))
    found = speed.refusals(world, sys.executable, variant, rounds=2, requests=3)
    assert 0 < found.low <= found.high
    assert not world.aws.is_full


def ask(built: Built, name: str, flow: str, event: Event) -> tuple[int, dict[str, object]]:
    """Return a variant's answer to an event."""
    world, variants, _ = built
    (variant,) = (each for each in variants if (each.name, each.flow) == (name, flow))
    process = Process(sys.executable, variant.handler, variant.folders, world.environment())
    try:
        answer = process.answer(event)["answer"]
    finally:
        process.close()
    return answer["statusCode"], json.loads(answer["body"])


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("name", [OURS, PLAIN])
def test_a_stranger_is_refused(built: Built, name: str, flow: str) -> None:
    """The product and the reference refuse a device with a certificate of another CA."""
    world, _, _ = built
    stranger = World.certificate(authority("Foreign CA"), "gw-1", ec.generate_private_key(ec.SECP256R1()))
    event = world.enrollment() if flow == "enroll" else world.credentials()
    presented = event["requestContext"]["authentication"]["clientCert"]
    presented["clientCertPem"] = stranger.public_bytes(Encoding.PEM).decode()
    status, _ = ask(built, name, flow, event)
    assert status in (401, 403)


def test_every_list_of_cas_gets_the_certificate(tmp_path: Path) -> None:
    """A list of CAs that is a hard link to a cache's is replaced, so that the cache stays as it was."""
    cached, linked = tmp_path / "cache.pem", tmp_path / "asset" / "cacert.pem"
    cached.write_text("public CAs\n")
    linked.parent.mkdir()
    linked.hardlink_to(cached)
    assets.trust(linked.parent, b"ours\n")
    assert cached.read_text() == "public CAs\n"
    assert linked.read_text() == "public CAs\n\nours\n"


def test_growth_is_measured_over_all_devices(built: Built) -> None:
    """Each operation works on every device, and figures above its largest run are calculated."""
    world, _, product = built
    most = dict.fromkeys(growth.MOST_MEASURED, 30)
    grown = growth.measure(world, sys.executable, product, (30, 90), most)
    found = {(each.operation, each.devices): each for each in grown}
    assert {operation for operation, _ in found} == {"list", "sweep", "expect", "import", "restore"}
    for (operation, devices), each in found.items():
        assert each.measured == 30
        assert each.calls == found[operation, 30].calls * devices / 30
    # Each restored row is one transaction, and each imported device eight or fewer calls.
    assert found["restore", 30].calls >= 30
    assert found["import", 30].calls >= 30 * 5
