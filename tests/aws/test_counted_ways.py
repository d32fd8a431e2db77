"""Enrollments are counted by way, so that an operator can close a way."""

from __future__ import annotations

import io
import json

import boto3
import pytest

from firstboot.domain.names import SWEEP_KEY
from firstboot.register import sweep
from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.aws.sweeping import Sweeper
from tests.fleets import group

MTLS, PROOF = "gw-mtls", "gw-proof"


@pytest.fixture
def sweeper(product: Product) -> Sweeper:
    """Return a sweep, with a device that enrolled over mTLS and another by a signed proof."""
    made = Sweeper(product)
    product.lambdas.clock = lambda: made.now
    product.enroll(product.bootstrap(MTLS))
    prove(product)
    return made


def prove(product: Product) -> None:
    """Enroll a device by a signed proof."""
    leaf = product.bootstrap(PROOF)
    body = request()
    assert product.prove("POST", "/v1/certificates", product.boards[PROOF], leaf, body).status == 201


def request() -> str:
    """Return the body of a request for a certificate."""
    return json.dumps({"csr": factories.pem(factories.csr(factories.ec_key()))})


def shown(run: Run) -> tuple[str | None, dict[str | None, tuple[bool, int | None]]]:
    """Return when the group's ways were counted, and each with whether it is allowed and its devices."""
    state = json.loads(run("groups", "show", "gateways", "--json").stdout)
    return state["waysCountedAt"], {each["way"]: (each["allowed"], each["devices"]) for each in state["ways"]}


def test_a_group_shows_its_devices_by_way(sweeper: Sweeper, product: Product, run: Run) -> None:
    """The counts are those of the last complete sweep, and a closed way keeps its count."""
    before = dict.fromkeys(("mtls", "proof", "mqtt"), (True, None))
    assert shown(run) == (None, before)
    sweeper.run()
    at = f"{sweeper.now:%Y-%m-%dT%H:%M:%SZ}"
    assert shown(run) == (at, {"mtls": (True, 1), "proof": (True, 1), "mqtt": (True, 0)})
    product.publish(groups={"gateways": group("gateways", product.factory, ways=("mtls",))})
    assert shown(run) == (at, {"mtls": (True, 1), "proof": (False, 1)})
    lines = run("groups", "show", "gateways").stdout.splitlines()
    assert [line for line in lines if line.startswith("way ")] == [
        "way          mtls: 1",
        "way          proof: 1 (closed)",
    ]
    header, line = run("groups", "list").stdout.splitlines()
    assert header.split() == ["GROUP", "FROZEN", "DEVICES", "BY", "WAY"]
    assert line.split(maxsplit=2) == ["gateways", "-", "mtls: 1, proof: 1 (closed)"]
    (listed,) = json.loads(run("groups", "list", "--json").stdout)["groups"]
    assert listed == json.loads(run("groups", "show", "gateways", "--json").stdout)


def test_a_record_without_a_way_is_counted_under_none(sweeper: Sweeper, run: Run) -> None:
    """A device that an older version enrolled is counted, and one that never enrolled is not."""
    sweeper.device("gw-old", enrolledBy="f0")
    sweeper.device("gw-imported")
    sweeper.run()
    assert shown(run)[1][None] == (False, 1)
    assert "none recorded: 1" in run("groups", "show", "gateways").stdout


def test_a_sweep_that_an_older_version_began_counts_no_ways(
    sweeper: Sweeper, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that began without counting ways shows no number, and the next sweep shows all."""
    monkeypatch.setattr(sweep, "PAGE", 1)
    sweeper.run(pages=1)
    assert sweeper.row().finished_at is None
    key = {"pk": {"S": SWEEP_KEY}}
    boto3.client("dynamodb").update_item(
        TableName=sweeper.product.table, Key=key, UpdateExpression="REMOVE ways"
    )
    sweeper.next_minute()
    assert sweeper.row().finished_at
    assert shown(run) == (None, dict.fromkeys(("mtls", "proof", "mqtt"), (True, None)))
    sweeper.product.publish(rules=sweeper.product.fleet.rules + "\n", groups=sweeper.product.fleet.groups)
    sweeper.next_minute()
    assert shown(run)[1] == {"mtls": (True, 1), "proof": (True, 1), "mqtt": (True, 0)}


def test_the_logs_have_the_way(product: Product, logs: io.StringIO) -> None:
    """The log line of each issued certificate, also of a renewal, and of vended credentials has the way."""
    prove(product)
    leaf = product.identity("gw-1")
    assert product.enroll(leaf).status == 201
    assert product.call("GET", "/role-aliases/telemetry/credentials", leaf).status == 200
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    issued = [(each["by"], each["way"]) for each in lines if each["message"] == "certificate issued"]
    assert issued == [("enroll", "proof"), ("enroll", "mtls"), ("renew", "mtls")]
    (vended,) = [each for each in lines if each["message"] == "credentials vended"]
    assert vended["way"] == "mtls"


def test_a_record_shows_its_way(sweeper: Sweeper, product: Product, run: Run) -> None:
    """A device's record has the way of its last enrollment."""
    for name, way in {MTLS: "mtls", PROOF: "proof"}.items():
        assert product.operate("devices.show", deviceId=name)["result"]["way"] == way
        assert [f"way {way}"] == [
            " ".join(line.split())
            for line in run("devices", "show", name).stdout.splitlines()
            if line.startswith("way ")
        ]
