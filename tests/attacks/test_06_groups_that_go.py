"""An operator renames or removes a group by mistake, or takes its trust anchor or budget away.

Every device of the group would lose its certificate's successor and its credentials within a minute. An
attacker gains by it as well: under another name, a group with a leaked claim certificate would enroll as many
devices again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from typer.testing import Result

from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.compiler import fleet as compiler
from firstboot.domain.fleet import Fleet
from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.fleets import SCHEMA, TELEMETRY

CREDENTIALS = "/role-aliases/telemetry/credentials"
GATEWAYS = """
[groups.gateways]
trust  = ["trust/factory.pem"]
budget = { total = 1000, per_minute = 1000, until = 2099-12-31 }
"""
METERS = """
[groups.meters]
trust = ["trust/meters.pem"]
"""
RULE = '@id("{name}") permit (principal in Group::"{name}", action, resource == Grant::"telemetry");\n'


@dataclass
class Makers:
    """A deployed fleet folder with gateways and meters, and three gateways that have enrolled."""

    product: Product
    run: Run
    folder: Path
    leaves: list[x509.Certificate]

    def write(self, definition: str, *groups: str) -> Fleet:
        """Write fleet.toml, and a rule for each of these groups; return the compiled fleet."""
        (self.folder / "fleet.toml").write_text(f"{definition}\n[role_aliases.telemetry]\n")
        (self.folder / "rules.cedar").write_text("".join(RULE.format(name=name) for name in groups))
        return compiler.load(self.folder)

    def apply(self, *options: str) -> Result:
        """Run `fleet apply`, and restart the functions that keep a fleet."""
        done = self.run("fleet", "apply", str(self.folder), "--no-wait", *options)
        self.product.lambdas.restart_readers()
        return done

    def diff(self) -> dict[str, Any]:
        """Return what `fleet diff` prints."""
        found: dict[str, Any] = json.loads(self.run("fleet", "diff", str(self.folder), "--json").stdout)
        return found

    def served(self) -> set[int]:
        """Ask for each device's credentials; return the statuses."""
        return {self.product.call("GET", CREDENTIALS, leaf).status for leaf in self.leaves}

    def is_published(self) -> bool:
        """Return whether another fleet than the deployed one is in force."""
        shown = self.product.operate("fleet.show")["result"]
        return bool(shown["inForce"] != shown["deployed"])


def code(result: Result) -> str:
    """Return the code of a refusal."""
    assert result.exit_code == 1, result.output
    return str(json.loads(result.stderr)["code"])


@pytest.fixture
def makers(product: Product, run: Run, tmp_path: Path) -> Makers:
    """Deploy the folder, and let three gateways enroll and log in."""
    folder = tmp_path / "maker"
    for part in ("trust", "grants"):
        (folder / part).mkdir(parents=True)
    (folder / "trust/factory.pem").write_text(factories.pem(product.factory.certificate))
    (folder / "trust/meters.pem").write_text(factories.pem(factories.authority("Meters").certificate))
    (folder / "grants/telemetry.json").write_text(json.dumps(TELEMETRY))
    (folder / "schema.cedarschema").write_text(SCHEMA)
    made = Makers(product, run, folder, [])
    aws_fleet._DEPLOYED.write_text(made.write(GATEWAYS + METERS, "gateways", "meters").to_json())
    product.lambdas.restart()
    made.leaves += [product.identity(f"gw-{number}") for number in range(3)]
    assert made.served() == {200}
    return made


RENAMED = GATEWAYS.replace("gateways", "hubs") + METERS
FORMERLY = GATEWAYS.replace("gateways]", 'hubs]\nformerly = ["gateways"]') + METERS


def renamed(makers: Makers) -> None:
    """Rename the gateways and say nothing of their former name."""
    makers.write(RENAMED, "hubs", "meters")


@pytest.mark.parametrize(
    "naming", ['device_id = "subject.serialNumber"', 'strip_prefix = "gw-"', 'pattern = "gw-(.+)"']
)
def test_other_ids_for_devices_are_counted_and_refused(makers: Makers, naming: str) -> None:
    """A definition that would give a group's devices other ids is refused, and their number is shown."""
    makers.write(GATEWAYS.replace("gateways]", f"gateways]\n{naming}") + METERS, "gateways", "meters")
    found = makers.diff()
    reason = "the devices of the group gateways would get other ids"
    assert found["needsDeployment"] == [reason]
    change = {"change": "the devices of gateways would get other ids at their next enrollment", "devices": 3}
    assert change in found["reach"]
    assert code(makers.apply("--json")) == "fleet-needs-deployment"
    assert not makers.is_published()


def removed(makers: Makers) -> None:
    """Remove the gateways."""
    makers.write(METERS, "meters")


@pytest.mark.parametrize("mistake", [renamed, removed])
def test_a_group_with_devices_does_not_go_by_mistake(
    makers: Makers, mistake: Callable[[Makers], None]
) -> None:
    """A renamed or removed group is refused, and its devices keep what they have."""
    mistake(makers)
    assert makers.diff()["orphans"] == {"gateways": 3}
    text = makers.run("fleet", "diff", str(makers.folder)).stdout
    assert "devices recorded in gateways lose their group: 3 devices" in text
    assert code(makers.apply("--json")) == "fleet-orphans-devices"
    assert code(makers.apply("--json", "--orphan", "2")) == "fleet-orphans-devices"
    assert not makers.is_published()
    assert makers.served() == {200}


@pytest.mark.parametrize("mistake", [renamed, removed])
def test_a_group_goes_if_the_operator_says_how_many_devices_it_has(
    makers: Makers, mistake: Callable[[Makers], None]
) -> None:
    """With the right number, the group goes and its devices get no credentials any more."""
    mistake(makers)
    assert makers.apply("--orphan", "3").exit_code == 0
    assert makers.is_published()
    assert makers.served() == {403}


def test_a_group_without_devices_goes_without_a_number(makers: Makers) -> None:
    """A group that has no device can be removed, because no device loses anything."""
    makers.write(GATEWAYS, "gateways")
    assert makers.apply().exit_code == 0
    assert makers.served() == {200}


@pytest.mark.parametrize("definition", [RENAMED, METERS], ids=["renamed", "removed"])
def test_operate_refuses_a_caller_that_states_no_number(makers: Makers, definition: str) -> None:
    """A caller without the console can't remove a group either, unless it states the number of devices."""
    fleet = makers.write(definition, "meters")
    deployed = makers.product.operate("fleet.show")["result"]["deployed"]["hash"]
    compiled = json.loads(replace(fleet, base=deployed).to_json())
    refused = makers.product.operate("fleet.apply", fleet=compiled)
    assert refused["problem"]["code"] == "fleet-orphans-devices"
    assert "gateways" in refused["problem"]["detail"]
    assert not makers.is_published()


def test_a_renamed_group_keeps_its_devices(makers: Makers) -> None:
    """Devices of a group with another name get credentials, renew, enroll again and show the new name."""
    makers.write(FORMERLY, "hubs", "meters")
    reach = {each["change"]: each["devices"] for each in makers.diff()["reach"]}
    assert reach["group gateways is now called hubs"] == 3
    assert makers.apply().exit_code == 0
    assert makers.served() == {200}
    product, (first, *_) = makers.product, makers.leaves
    assert product.call("GET", "/v1/device", first).body["group"] == "hubs"
    assert product.enroll(first).status == 201
    assert product.enroll(product.bootstrap("gw-1")).status == 201
    assert product.operate("devices.show", deviceId="gw-1")["result"]["group"] == "hubs"
    assert product.enroll(product.bootstrap("gw-9")).status == 201


def test_a_renamed_group_keeps_what_it_has_used_of_its_budget(makers: Makers) -> None:
    """The count of enrollments goes on, and a frozen group stays frozen."""
    operate = makers.product.operate
    assert operate("groups.show", group="gateways")["result"]["budget"]["spent"] == 3
    operate("groups.freeze", group="gateways")
    makers.write(FORMERLY, "hubs", "meters")
    assert makers.apply().exit_code == 0
    shown = operate("groups.show", group="hubs")["result"]
    assert (shown["budget"]["spent"], shown["frozenAt"] is None) == (3, False)
    refused = makers.product.enroll(makers.product.bootstrap("gw-9"))
    assert refused.body["code"] == "enrollment-frozen"


def test_a_rename_is_not_taken_back_under_its_devices(makers: Makers) -> None:
    """The old name alone is refused once a device is recorded under the new one."""
    makers.write(FORMERLY, "hubs", "meters")
    assert makers.apply().exit_code == 0
    assert makers.product.enroll(makers.product.bootstrap("gw-9")).status == 201
    makers.write(GATEWAYS + METERS, "gateways", "meters")
    assert makers.diff()["orphans"] == {"hubs": 1}
    assert code(makers.apply("--json")) == "fleet-orphans-devices"
    makers.write(GATEWAYS.replace("gateways]", 'gateways]\nformerly = ["hubs"]') + METERS, "gateways")
    assert code(makers.apply("--json")) == "fleet-needs-deployment"  # it would count from zero under hubs


def test_a_moved_anchor_and_a_lost_budget_need_a_deployment(makers: Makers) -> None:
    """A published fleet neither moves a trust anchor to another group nor takes a budget away."""
    both = METERS.replace('["', '["trust/factory.pem", "')
    swapped = GATEWAYS.replace("factory", "meters") + METERS.replace("trust/meters", "trust/factory")
    free = GATEWAYS.replace("budget", "# budget") + METERS
    (makers.folder / "trust/third.pem").write_text(factories.pem(factories.authority("Third").certificate))
    for definition in (GATEWAYS.replace("factory", "third") + both, swapped, free):
        makers.write(definition, "gateways", "meters")
        reach = makers.diff()["reach"]
        assert {each["devices"] for each in reach} & {3}, reach
        assert code(makers.apply("--json")) == "fleet-needs-deployment"
    assert not makers.is_published()
