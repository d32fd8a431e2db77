"""An operator's mistake: grants that each pass every check and are too large together.

AWS limits a session policy to 2,048 characters. Before, a fleet with four good grants was published, and
within a minute no device that held all four got credentials. The same happened to one device by an attribute
that gave it one grant more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.compiler import fleet as compiler
from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.aws.test_import import in_aws_iot
from tests.unit.fleet_folders import OFFICE, large, permit, source

CREDENTIALS = "/role-aliases/telemetry/credentials"
GOOD = {name: large(name) for name in "abcd"}
ONE = permit("a")
FOUR = "".join(map(permit, GOOD))
BY_SITE = permit("a") + "".join(permit(name, "principal has site") for name in "bcd")


def write(folder: Path, product: Product, rules: str) -> Path:
    """Write a fleet folder with the four grants and these rules, and return it."""
    trust = {"factory.pem": factories.pem(product.factory.certificate).encode()}
    for name, content in source(grants=GOOD, rules=rules, trust=trust).files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(product: Product, tmp_path: Path) -> Path:
    """Deploy a fleet in which each device holds one of four grants, and return its folder."""
    folder = write(tmp_path / "fleet", product, ONE)
    deploy(product, folder)
    return folder


def deploy(product: Product, folder: Path) -> None:
    """Put a fleet folder into the Lambda functions' asset."""
    product.fleet = compiler.load(folder)
    aws_fleet._DEPLOYED.write_text(product.fleet.to_json())
    product.lambdas.restart()


@pytest.fixture
def leaf(folder: Path, product: Product) -> x509.Certificate:
    """Return the certificate of a device that gets credentials."""
    leaf = product.identity("gw-1")
    assert product.call("GET", CREDENTIALS, leaf).status == 200
    return leaf


def test_a_fleet_of_four_good_grants_is_not_published(
    product: Product, leaf: x509.Certificate, folder: Path, run: Run
) -> None:
    """Four grants that do not fit together are not published, and devices go on to get credentials."""
    write(folder, product, FOUR)
    checked = run("fleet", "check", str(folder))
    assert (checked.exit_code, "the grants a, b, c, d have" in checked.stdout) == (0, True)
    assert "1 device would hold more grants than fit" in run("fleet", "diff", str(folder)).stdout
    refused = run("fleet", "apply", str(folder), "--yes", "--json")
    problem = json.loads(refused.stderr)
    assert (refused.exit_code, problem["code"]) == (1, "session-policy-too-large")
    assert "gw-1: role alias telemetry: the grants a, b, c, d have" in problem["detail"]
    product.lambdas.restart_readers()
    assert product.call("GET", CREDENTIALS, leaf).status == 200


def test_another_program_does_not_publish_it(product: Product, leaf: x509.Certificate, folder: Path) -> None:
    """`operate` itself refuses a fleet whose new devices would hold more grants than fit."""
    fleet = json.loads(compiler.load(write(folder, product, FOUR)).to_json()) | {"base": product.fleet.hash}
    problem = product.operate("fleet.apply", fleet=fleet)["problem"]
    assert problem["code"] == "fleet-invalid"
    assert "a new device of group gateways would get too much" in problem["detail"]
    product.lambdas.restart_readers()
    assert product.call("GET", CREDENTIALS, leaf).status == 200


def test_the_attributes_of_existing_devices_count(
    product: Product, leaf: x509.Certificate, folder: Path, run: Run
) -> None:
    """Rules that are too generous for a device's attributes are not published, and the device is named."""
    product.operate("devices.set", deviceId="gw-1", attributes={"site": "berlin"})
    product.identity("gw-2")
    write(folder, product, BY_SITE)
    found = json.loads(run("fleet", "diff", str(folder), "--json").stdout)["excess"]
    assert [each["deviceId"] for each in found["certain"]["examples"]] == ["gw-1"]
    assert run("fleet", "apply", str(folder), "--yes").exit_code == 1
    product.operate("devices.set", deviceId="gw-1", attributes={"site": None})
    assert run("fleet", "apply", str(folder), "--yes", "--no-wait").exit_code == 0


def test_an_excess_from_some_addresses_is_a_warning(
    product: Product, leaf: x509.Certificate, folder: Path, run: Run
) -> None:
    """A fleet that is too generous to some addresses alone is published with a warning."""
    write(folder, product, ONE + permit("b") + "".join(permit(name, OFFICE) for name in "cd"))
    applied = run("fleet", "apply", str(folder), "--yes", "--no-wait")
    assert applied.exit_code == 0
    assert "warning: 1 device would hold more grants than fit for requests from some" in applied.stdout


@pytest.mark.parametrize("operation", ["devices.set", "groups.expect", "devices.import"])
def test_an_attribute_does_not_give_too_much(
    product: Product, leaf: x509.Certificate, folder: Path, operation: str
) -> None:
    """Each operation that sets attributes refuses one that would give a device more grants than fit."""
    deploy(product, write(folder, product, BY_SITE))
    in_aws_iot("gw-9", "ACTIVE")
    site = {"site": "berlin"}
    parameters: dict[str, Any] = {"group": "gateways", "devices": {"gw-9": site}}
    if operation == "devices.set":
        parameters = {"deviceId": "gw-1", "attributes": site}
    problem = product.operate(operation, **parameters)["problem"]
    assert problem["code"] == "attributes-invalid"
    assert "role alias telemetry: the grants a, b, c, d have" in problem["detail"]
    assert product.call("GET", CREDENTIALS, leaf).status == 200
    assert product.operate("devices.show", deviceId="gw-9")["problem"]["code"] == "device-not-found"


@pytest.mark.parametrize("command", [("groups", "expect"), ("devices", "import")])
def test_a_file_is_refused_as_a_whole(
    product: Product, folder: Path, run: Run, tmp_path: Path, command: tuple[str, str]
) -> None:
    """A file with a device at its end that would get too much is refused before a record is written."""
    write(folder, product, BY_SITE)
    assert run("fleet", "apply", str(folder), "--no-wait").exit_code == 0
    rows = [f"gw-{number}," for number in range(1_000, 1_600)] + ["gw-9999,berlin"]
    (file := tmp_path / "devices.csv").write_text("\n".join(["deviceId,site", *rows]))
    refused = run(*command, "gateways", str(file))
    assert (refused.exit_code, "line 602: device gw-9999" in refused.stderr) == (1, True)
    assert not [row for row in product.rows() if row["pk"]["S"].startswith("DEV#")]


def test_an_emergency_rule_is_published_all_the_same(
    product: Product, leaf: x509.Certificate, folder: Path, run: Run
) -> None:
    """A device that holds too much already does not stop a rule that must be published at once."""
    deploy(product, write(folder, product, FOUR))
    assert product.call("GET", CREDENTIALS, leaf).status == 400
    moment = product.operate("devices.explain", deviceId="gw-1")["result"]["moments"][0]
    assert moment["refusal"]["code"] == "session-policy-too-large"
    write(folder, product, FOUR + '@id("stop") forbid (principal == Device::"gw-7", action, resource);')
    applied = run("fleet", "apply", str(folder), "--yes", "--no-wait", "--json")
    assert applied.exit_code == 0
    assert json.loads(applied.stdout)["excess"]["known"]["devices"] == 1
    assert product.operate("devices.set", deviceId="gw-1", attributes={"quarantined": True})["result"][
        "warnings"
    ]
