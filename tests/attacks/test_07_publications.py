"""A publication that can't be read, that a deployment has ended, or that two operators make at once.

The attacker is a device that lost its rights by an emergency rule, and uses them again as soon as a mistake
takes the rule out of force: a damaged object in the bucket, an older folder that is deployed again, or a
second operator who publishes without having seen the rule.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography import x509
from typer.testing import Result

from console import rollout
from firstboot.authority.settings import AuthoritySettings
from firstboot.aws import clients
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.domain.clock import from_epoch
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import PUBLISHED_FLEET_KEY
from firstboot.domain.plans import Budget
from tests.aws import test_console
from tests.aws.deployed import ACCOUNT
from tests.aws.invoked import Run
from tests.aws.product import CONTEXT, Product
from tests.aws.sweeping import Sweeper

folder = test_console.folder

STOP = '@id("stop") forbid (principal, action, resource);'
CREDENTIALS = "/role-aliases/telemetry/credentials"
MINUTE = timedelta(minutes=1)


@dataclass
class Emergency:
    """A product whose device gw-1 lost every grant, and whose group was closed, by a publication."""

    product: Product
    leaf: x509.Certificate
    now: datetime

    def publish(self, product: Product) -> None:
        """Publish the fleet that closes the group and forbids every grant."""
        known = product.fleet.groups["gateways"]
        closed = replace(known, budget=Budget(total=1, per_minute=1, until=from_epoch(86_400)))
        groups = json.loads(replace(product.fleet, groups={"gateways": closed}).to_json())["groups"]
        rules = f"{product.fleet.rules} {STOP}"
        fleet = json.loads(product.fleet.to_json()) | {"groups": groups, "rules": rules}
        answer = product.operate("fleet.apply", fleet=fleet | {"base": product.fleet.hash})
        assert "result" in answer, answer

    def later(self) -> None:
        """Let a minute pass, after which every function reads the publication again."""
        self.now += MINUTE

    def vend(self) -> int:
        """Ask for credentials; return the status."""
        return self.product.call("GET", CREDENTIALS, self.leaf).status

    def enroll(self) -> int:
        """Ask for the first certificate of another device; return the status."""
        return self.product.enroll(self.product.bootstrap("gw-2")).status

    def explain(self) -> int:
        """Ask `operate` what the device holds; return 403 for nothing, and the status of a refusal."""
        answer = self.product.operate("devices.explain", deviceId="gw-1")
        if "problem" in answer:
            return int(answer["problem"]["status"])
        moments = answer["result"]["moments"]
        return 200 if any(each["grants"] for each in moments) else 403


@pytest.fixture
def emergency(product: Product) -> Emergency:
    """Return a product under an emergency rule."""
    made = Emergency(product, product.identity("gw-1"), product.lambdas.now())
    product.lambdas.clock = lambda: made.now
    made.publish(product)
    product.lambdas.restart()
    return made


def damage(product: Product, text: bytes) -> None:
    """Overwrite the publication."""
    boto3.client("s3").put_object(Bucket=product.bucket, Key=PUBLISHED_FLEET_KEY, Body=text)


def unknown(product: Product) -> bytes:
    """Return a publication with a member that only a later version knows."""
    return json.dumps(json.loads(product.fleet.to_json()) | {"base": product.fleet.hash, "later": 1}).encode()


DAMAGED: dict[str, Callable[[Product], bytes]] = {
    "no JSON": lambda _: b"{",
    "empty": lambda _: b"",
    "no base": lambda _: b'{"rules":""}',
    "a base of another type": lambda _: b'{"base":7}',
    "no fleet": lambda product: json.dumps({"base": product.fleet.hash, "groups": {}}).encode(),
    "an unknown member": unknown,
}


@pytest.mark.parametrize("reader", ["vend", "enroll", "explain"])
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_publication_gives_no_rights_back(emergency: Emergency, kind: str, reader: str) -> None:
    """A process that knows the emergency rule keeps it, and any other one answers 503 at each request."""
    ask: Callable[[], int] = getattr(emergency, reader)
    refused = ask()
    assert refused == 403
    damage(emergency.product, DAMAGED[kind](emergency.product))
    for _ in range(3):
        emergency.later()
        assert ask() == refused
    emergency.product.lambdas.restart()
    for _ in range(3):
        emergency.later()
        assert ask() == 503


def test_a_damaged_publication_starts_no_sweep_with_the_deployed_fleet(emergency: Emergency) -> None:
    """A sweep never brings AWS IoT to the deployed fleet while the publication can't be read."""
    sweeper = Sweeper(emergency.product)
    damage(emergency.product, b"{")
    for _ in range(2):
        sweeper.run()
    assert [row for row in emergency.product.rows() if row["pk"]["S"] == "SWEEP"] == []


def test_a_damaged_publication_is_counted(emergency: Emergency, capsys: pytest.CaptureFixture[str]) -> None:
    """Each reading of a damaged publication is counted in the metric that has an alarm."""
    emergency.vend()
    damage(emergency.product, b"{")
    capsys.readouterr()
    emergency.later()
    emergency.vend()
    assert '"FleetUnreadable":[1.0]' in capsys.readouterr().out.replace(" ", "")


def add_rule(folder: Path, rule: str) -> None:
    """Add a rule to the folder."""
    rules = folder / "rules.cedar"
    rules.write_text(f"{rules.read_text()}\n{rule}\n")


def test_an_operator_publishes_over_a_damaged_publication(product: Product, folder: Path, run: Run) -> None:
    """`fleet diff` says that the publication can't be read, and `fleet apply` replaces it."""
    damage(product, b"{")
    assert "the published fleet can't be read" in run("fleet", "diff", str(folder)).stdout
    add_rule(folder, STOP)
    applied = run("fleet", "apply", str(folder), "--json")
    assert (applied.exit_code, json.loads(applied.stdout)["readable"]) == (0, False)
    shown = product.operate("fleet.show")["result"]["inForce"]
    assert STOP in shown["fleet"]["rules"]


def test_the_deployed_fleet_can_be_published_over_a_damaged_publication(
    product: Product, folder: Path, run: Run
) -> None:
    """An unchanged folder is published over a damaged publication, although it differs from nothing."""
    damage(product, b"{")
    assert run("fleet", "apply", str(folder)).exit_code == 0
    product.lambdas.restart()
    assert product.operate("devices.list")["result"] == {"devices": [], "next": None}
    assert product.operate("fleet.show")["result"]["inForce"]["fleet"] is not None


@dataclass
class Deployments:
    """The steps of CloudFormation: new code for the functions, and the event of the custom resource."""

    product: Product
    deployed: Fleet

    def code(self, fleet: Fleet) -> None:
        """Replace the functions by those of a deployment with this fleet."""
        aws_fleet._DEPLOYED.write_text(fleet.to_json())
        self.product.lambdas.restart()

    def __call__(self, fleet: Fleet) -> None:
        """Deploy. CloudFormation sends the event last, and only if the property differs."""
        self.code(fleet)
        if fleet.hash != self.deployed.hash:
            event = {"RequestType": "Update", "ResourceType": "Custom::FirstbootPublication"}
            properties = {"ResourceProperties": {"FleetHash": fleet.hash}}
            about = {"PhysicalResourceId": "publication"}
            self.product.lambdas.resource(event | properties | about, CONTEXT)
        self.deployed = fleet


@pytest.fixture
def deploy(emergency: Emergency, monkeypatch: pytest.MonkeyPatch) -> Deployments:
    """Return a function that deploys a fleet over the emergency rule."""
    product = emergency.product
    settings = AuthoritySettings(
        table=product.table, account=ACCOUNT, bucket=product.bucket, ca_key="unused", subject="CA", years="20"
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    return Deployments(product, product.fleet)


def test_an_older_folder_brings_no_old_publication_back(emergency: Emergency, deploy: Deployments) -> None:
    """After a deployment of another fleet, the first one is in force as it was deployed."""
    assert emergency.vend() == 403
    other = replace(deploy.deployed, rules=deploy.deployed.rules.replace("every-device", "each-device"))
    first = deploy.deployed
    deploy(other)
    assert emergency.vend() == 200
    deploy(first)
    assert emergency.vend() == 200
    shown = emergency.product.operate("fleet.show")["result"]
    assert shown["inForce"] == shown["deployed"]


def test_a_deployment_of_code_alone_keeps_an_emergency_rule(
    emergency: Emergency, deploy: Deployments
) -> None:
    """A deployment with the same fleet leaves the publication in force."""
    deploy(deploy.deployed)
    assert emergency.vend() == 403


def test_a_deployment_that_fails_keeps_an_emergency_rule(emergency: Emergency, deploy: Deployments) -> None:
    """A deployment of another fleet that is rolled back before its end leaves the publication in force."""
    other = replace(deploy.deployed, rules=deploy.deployed.rules.replace("every-device", "each-device"))
    deploy.code(other)
    deploy.code(deploy.deployed)
    assert emergency.vend() == 403


def test_a_rule_that_was_published_since_the_comparison_is_not_taken_back(
    product: Product, folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two operators who apply at once is refused, and the first one's rule stays."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    add_rule(folder, STOP)
    add_rule(other, '@id("other") forbid (principal, action, resource) when { principal has site };')
    plan, firsts = rollout.plan, list[Result]()

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(rollout, "plan", plan)
        firsts.append(run("fleet", "apply", str(folder), "--no-wait"))
        return plan(*arguments)

    monkeypatch.setattr(rollout, "plan", meanwhile)
    second = run("fleet", "apply", str(other), "--no-wait", "--json")
    assert [each.exit_code for each in firsts] == [0]
    assert (second.exit_code, json.loads(second.stderr)["code"]) == (1, "fleet-changed")
    assert STOP in product.operate("fleet.show")["result"]["inForce"]["fleet"]["rules"]


def test_a_rule_that_is_published_during_the_call_is_not_taken_back(product: Product) -> None:
    """A fleet that another call publishes between reading and writing is not overwritten."""
    emergency = replace(product.fleet, base=product.fleet.hash, rules=f"{product.fleet.rules} {STOP}")
    again = replace(product.fleet, base=product.fleet.hash, schema=f"{product.fleet.schema}\n")
    boto3.client("s3")  # its model is read before the call
    todo = [emergency]

    def meanwhile(**_: Any) -> None:
        if todo:
            damage(product, todo.pop().to_json().encode())

    clients.s3(ACCOUNT).meta.events.register("before-call.s3.PutObject", meanwhile)
    answer = product.operate("fleet.apply", fleet=json.loads(again.to_json()))
    assert not todo
    assert answer["problem"]["code"] == "fleet-changed"
    assert STOP in product.operate("fleet.show")["result"]["inForce"]["fleet"]["rules"]
