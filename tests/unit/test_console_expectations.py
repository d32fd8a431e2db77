"""Test the tests of a fleet's rules, tests.toml: their form, and how a failed expectation reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from console import expectations
from console.__main__ import app
from console.expectations import Invalid
from firstboot.compiler import fleet as compiler
from firstboot.policy.rules import Rules
from tests.unit.fleet_folders import fleet, grant, statement

FLEET = fleet(
    grants={"telemetry": grant(), "logs": grant(statement(Action="s3:GetObject"))},
    rules="""
@id("send") permit (principal, action, resource == Grant::"telemetry");
@id("send-from-site") permit (principal, action, resource == Grant::"telemetry") when { principal has site };
@id("office") permit (principal, action, resource == Grant::"logs")
when { context has sourceIp && context.sourceIp.isInRange(ip("10.0.0.0/8")) };
@id("quarantine") forbid (principal, action, resource) when { principal.quarantined };
@id("old") forbid (principal, action, resource == Grant::"telemetry")
when { principal.claims has model && principal.claims.model == "x" };
""",
)
IDS = {"send", "send-from-site", "office", "quarantine", "old"}
GOOD = '[[test]]\nname = "t"\ngroup = "gateways"\nrole_alias = "telemetry"\n'


def failed(text: str) -> list[str]:
    """Return the failures of a test with these further lines."""
    (test,) = expectations.read(GOOD + text, FLEET, IDS)
    return [each.text for each in expectations.failures(test, Rules(FLEET))]


def problems(text: str) -> list[str]:
    """Return the problems of a file."""
    with pytest.raises(Invalid) as caught:
        expectations.read(text, FLEET, IDS)
    return caught.value.problems


@pytest.mark.parametrize(
    "text",
    [
        'holds = ["telemetry"]',
        'holds = { telemetry = "send" }',
        'holds = { telemetry = ["send-from-site", "send"] }\nattributes = { site = "berlin" }',
        'holds = ["logs", "telemetry"]\nsource_ip = "10.1.2.3"',
        "holds = []\nattributes = { quarantined = true }",
        'withheld = { telemetry = "quarantine", logs = "quarantine" }\nattributes = { quarantined = true }',
        'withheld = ["telemetry"]\nclaims = { model = "x" }',
        'withheld = ["logs"]\nsource_ip = "192.0.2.1"',
        'device_id = "gw-1"\nholds = ["telemetry"]',
    ],
)
def test_expectations_that_are_met(text: str) -> None:
    """A test passes if the device holds exactly the grants of `holds`, none of `withheld`, by these rules."""
    assert failed(text) == []


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("holds = []", "telemetry: expected not to be held, and it is held by rule send"),
        ('holds = ["telemetry", "logs"]', "logs: expected to be held, and it is given by no rule"),
        (
            'holds = { telemetry = "send-from-site" }',
            "telemetry: expected to be held by rule send-from-site, and it is held by rule send",
        ),
        (
            'holds = ["telemetry"]\nclaims = { model = "x" }',
            "telemetry: expected to be held, and it is withheld by rule old",
        ),
        (
            'withheld = { telemetry = "quarantine" }\nclaims = { model = "x" }',
            "telemetry: expected to be withheld by rule quarantine, and it is withheld by rule old",
        ),
        (
            'withheld = { logs = "quarantine" }',
            "logs: expected to be withheld by rule quarantine, and it is given by no rule",
        ),
        (
            'withheld = ["telemetry"]\nattributes = { site = "berlin" }',
            "telemetry: expected not to be held, and it is held by rules send, send-from-site",
        ),
    ],
)
def test_a_failure_says_what_came(text: str, failure: str) -> None:
    """A failed expectation names the grant, what was expected, what came, and the rules of both."""
    assert failed(text) == [failure]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no test"),
        ("test = []", "has no test"),
        ("x = [", "tests.toml: "),
        ("[[tests]]\n" + GOOD + "holds = []", "tests is not a key"),
        (GOOD, "expects nothing"),
        (GOOD + "holds = []\nhold = []", "unknown field `hold`"),
        (GOOD + "holds = 1", 'test "t": Expected'),
        ('[[test]]\ngroup = "gateways"\nholds = []', "test number 1: Object missing required field `name`"),
        (GOOD.replace("gateways", "gate") + "holds = []", "there is no group gate"),
        (GOOD.replace('"telemetry"', '"updates"') + "holds = []", "there is no role alias updates"),
        (GOOD + 'withheld = ["telemetri"]', "there is no grant telemetri"),
        (GOOD + 'holds = { telemetry = "sent" }', 'no rule has @id("sent")'),
        (GOOD + 'holds = []\nsource_ip = "10.0.0.0/8"', "is not an IP address"),
        (GOOD + 'holds = []\ndevice_id = "gw/1"', "A device id has 1 to 64 characters"),
        (GOOD + 'holds = []\nattributes = { sight = "x" }', "sight is not in the schema"),
        (GOOD + "holds = []\nattributes = { site = 1 }", "site must be a string"),
        (GOOD + "holds = []\nclaims = { model = 1 }", "the claim model is not in the schema"),
        (GOOD + "holds = []\n" + GOOD + "holds = []", "more than one test has the name"),
    ],
)
def test_a_meaningless_test_is_an_error(text: str, problem: str) -> None:
    """A test with an unknown key, a name that does not exist or a value of a wrong type is an error."""
    (found,) = problems(text)
    assert problem in found


def test_a_session_that_is_too_large_is_a_failure() -> None:
    """A test whose grants are too large for one session fails, and names the number of characters."""
    grants = {
        name: grant(
            *(
                statement(Resource=f"arn:{{partition}}:s3:::{name}{n}{'x' * 90}/{{deviceId}}/*")
                for n in range(4)
            )
        )
        for name in ("one", "two", "three")
    }
    text = '@id("all") permit (principal, action, resource);'
    large = fleet(grants=grants, rules=text)
    (test,) = expectations.read(GOOD + 'holds = ["one", "two", "three"]', large, {"all"})
    (failure,) = expectations.failures(test, Rules(large))
    assert "exceed the size of a session policy: session policy of 2" in failure.text


def run(*arguments: str) -> Result:
    """Run the console."""
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the example's fleet folder."""
    return Path(shutil.copytree("fleet", tmp_path / "fleet"))


def test_the_example_passes_its_tests() -> None:
    """The example's tests pass, and cover each of its rules."""
    done = run("fleet", "test", "fleet")
    assert (done.exit_code, done.stdout) == (0, "8 of 8 tests passed\n")
    text = Path("fleet/tests.toml").read_text()
    assert all(name in text for name in ("stable-firmware", "quarantine", "sensor-telemetry", '["mqtt"]'))


def test_a_failed_test_is_the_exit_code(folder: Path) -> None:
    """`fleet test` exits with 1 if a test fails, and prints a line for each failed expectation."""
    rules = folder / "rules.cedar"
    rules.write_text(
        rules.read_text().replace('principal.channel == "stable"', 'principal.channel != "stable"')
    )
    done = run("fleet", "test", str(folder))
    assert done.exit_code == 1
    assert "failed: a device on another channel may not: firmware: expected not to be held" in done.stdout
    assert done.stdout.endswith("6 of 8 tests passed\n")
    printed = json.loads(run("fleet", "test", str(folder), "--json").stdout)
    assert (printed["tests"], printed["passed"], printed["failed"]) == (8, 6, 2)
    assert {each["grant"] for each in printed["failures"]} == {"firmware"}


def test_without_tests_nothing_passes(folder: Path) -> None:
    """`fleet test` is refused where tests.toml is missing, or is not valid."""
    tests = folder / "tests.toml"
    tests.write_text("")
    refused = run("fleet", "test", str(folder), "--json")
    assert (refused.exit_code, json.loads(refused.stderr)["code"]) == (1, "tests-invalid")
    tests.write_bytes(b"\xff")
    assert "is not UTF-8" in run("fleet", "test", str(folder)).stderr
    tests.unlink()
    refused = run("fleet", "test", str(folder), "--json")
    assert (refused.exit_code, json.loads(refused.stderr)["code"]) == (1, "tests-missing")


def test_tests_are_no_part_of_the_fleet(folder: Path) -> None:
    """The compiled fleet is the same with and without tests.toml."""
    before = compiler.load(folder).hash
    (folder / "tests.toml").unlink()
    assert compiler.load(folder).hash == before


def test_explain_without_a_device() -> None:
    """`devices explain --group --fleet` explains for a supposed device, with attributes and claims."""
    arguments = ("devices", "explain", "--group", "sensors", "--fleet", "fleet", "--json")
    supposed = json.loads(run(*arguments, "site=berlin", "claims.firmware=1.4.2-rc1").stdout)
    assert (supposed["group"], supposed["attributes"]) == ("sensors", {"site": "berlin"})
    moments = {each["roleAlias"]: each for each in supposed["moments"]}
    assert moments["telemetry"]["withheld"] == [
        {"grant": "telemetry", "rules": ["no-telemetry-from-1-4-2-rc1"]}
    ]
    assert moments[None]["grants"] == [{"grant": "mqtt", "rules": ["own-topics"]}]
    text = run(*arguments[:-1], "site=berlin", "--context", "roleAlias=telemetry").stdout
    assert "any-device (enrolled, group sensors)" in text
    assert "acme-telemetry-{account}-{region}/any-device/*" in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--group", "gate"], "group-unknown"),
        (["--group", "sensors", "sight=x"], "attributes-invalid"),
        (["--group", "sensors", "claims.model2=x"], "attributes-invalid"),
        (["--group", "sensors", "--context", "sourceIp=here"], "malformed-request"),
    ],
)
def test_explain_refuses_what_does_not_exist(arguments: list[str], code: str) -> None:
    """`devices explain --group` refuses unknown groups, attributes, claims and addresses."""
    refused = run("devices", "explain", "--fleet", "fleet", "--json", *arguments)
    assert (refused.exit_code, json.loads(refused.stderr)["code"]) == (1, code)


@pytest.mark.parametrize("arguments", [[], ["gw-1", "gw-2"], ["gw-1", "--fleet", "fleet"]])
def test_explain_needs_one_device_or_a_group(arguments: list[str]) -> None:
    """`devices explain` is a usage error without exactly one device or a group."""
    assert run("devices", "explain", *arguments).exit_code == 2
