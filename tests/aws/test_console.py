"""The console's commands, which call the `operate` Lambda function over moto."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from console import cloud, output
from console.__main__ import app
from firstboot.aws.s3 import fleet as aws_fleet
from firstboot.compiler import fleet as compiler
from tests.aws.invoked import InProcess, Run
from tests.aws.product import Product


@pytest.fixture
def folder(product: Product, tmp_path: Path) -> Path:
    """Deploy the example fleet, and return a copy of its folder."""
    copy = tmp_path / "fleet"
    shutil.copytree("fleet", copy)
    aws_fleet._DEPLOYED.write_text(compiler.load(copy).to_json())
    product.lambdas.restart()
    return copy


def edit(folder: Path, file: str, old: str, new: str) -> None:
    """Replace text in a file of the fleet folder."""
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


def refused(result: Result) -> dict[str, Any]:
    """Return the problem of a refusal, which is all that the command prints. The exit code is 1."""
    assert (result.exit_code, result.stdout) == (1, "")
    found: dict[str, Any] = json.loads(result.stderr)
    return found


def test_list_shows_every_device(product: Product, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`list` prints the devices of all pages, as one JSON document or one line for each device."""
    monkeypatch.setattr(cloud, "PAGE", 2)
    names = [f"gw-{n}" for n in range(3)]
    for name in names:
        product.identity(name)
    listed = json.loads(run("devices", "list", "--json").stdout)
    assert sorted(device["deviceId"] for device in listed["devices"]) == names
    header, *lines = run("devices", "list").stdout.splitlines()
    assert header.startswith("DEVICE")
    assert sorted(line.split()[0] for line in lines) == names


def test_long_work_shows_its_progress(product: Product, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If standard error is a terminal and standard output is not, the terminal counts the devices."""
    product.identity("gw-1")
    terminal = io.StringIO()
    monkeypatch.setattr(output, "_err", Console(file=terminal, force_terminal=True))
    assert len(json.loads(run("devices", "list", "--json").stdout)["devices"]) == 1
    assert "devices" in terminal.getvalue()


def test_list_of_nothing_is_a_document_too(run: Run) -> None:
    """A list of no devices is a JSON document with an empty list."""
    assert json.loads(run("devices", "list", "--json").stdout) == {"devices": []}


def test_show_shows_the_record(product: Product, run: Run) -> None:
    """`show` prints the answer of `operate`, as JSON and in words."""
    product.identity("gw-1")
    shown = json.loads(run("devices", "show", "gw-1", "--json").stdout)
    assert shown == product.operate("devices.show", deviceId="gw-1")["result"]
    assert "gateways" in run("devices", "show", "gw-1").stdout


def test_a_refusal_is_exit_code_1(run: Run) -> None:
    """A refusal is printed to standard error, as JSON for programs and in words for people."""
    assert refused(run("devices", "show", "gw-9", "--json"))["code"] == "device-not-found"
    result = run("devices", "show", "gw-9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "device-not-found: There is no such device" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["devices", "set", "gw-1"],
        ["devices", "set", "gw-1", "site"],
        ["devices", "explain", "gw-1", "--context", "roleAlias"],
        ["devices", "revoke"],
        ["devices", "delete"],
        ["fleet", "check", "no-such-folder"],
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    """A command that is used wrongly ends with exit code 2."""
    assert run(*arguments).exit_code == 2


def test_a_stack_that_is_not_there_is_exit_code_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing stack, a stack without the output and a function that fails all end with exit code 3."""
    result = run("devices", "list", "--stack", "Nowhere", "--json")
    problem = json.loads(result.stderr)
    assert (result.exit_code, problem["code"]) == (3, "stack-not-found")
    assert "no stack named Nowhere in us-east-1" in problem["detail"]
    monkeypatch.setattr(cloud, "READ_OUTPUT", "Elsewhere")
    assert "no output Elsewhere" in run("devices", "show", "gw-1").stderr
    monkeypatch.setattr(cloud, "READ_OUTPUT", "ReadFunction")
    failure = {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "x"}')}
    monkeypatch.setattr(InProcess, "failure", failure)
    failed = run("devices", "show", "gw-1")
    assert failed.exit_code == 3
    assert "the log of the Lambda function read" in failed.stderr


def test_options_may_stand_before_the_command(product: Product, run: Run) -> None:
    """`--json` and `--stack` mean the same before and after the command. The one after the command wins."""
    product.identity("gw-1")
    after = run("devices", "show", "gw-1", "--json", "--stack", "Other")
    assert run("--json", "--stack", "Other", "devices", "show", "gw-1").stdout == after.stdout
    assert run("--stack", "Nowhere", "devices", "show", "gw-1").exit_code == 3
    assert run("--stack", "Nowhere", "devices", "show", "gw-1", "--stack", "Other").exit_code == 0


def test_set_gives_a_value_the_schemas_type(product: Product, run: Run) -> None:
    """A value gets the schema's type, also if it is digits. `key=` and `--unset` remove the attribute."""
    product.identity("gw-1")
    done = run("devices", "set", "gw-1", "site=7", "quarantined=true", "--json")
    assert json.loads(done.stdout)["attributes"] == {"site": "7", "quarantined": True}
    assert json.loads(run("devices", "set", "gw-1", "site=", "--json").stdout)["attributes"] == {
        "quarantined": True
    }
    assert (
        json.loads(run("devices", "set", "gw-1", "--unset", "quarantined", "--json").stdout)["attributes"]
        == {}
    )


def test_set_names_attribute_type_and_what_is_allowed(product: Product, run: Run) -> None:
    """A value of another type is refused with the attribute, its type and the value; nothing is written."""
    product.identity("gw-1")
    before = product.rows()
    problem = refused(run("devices", "set", "gw-1", "sight=berlin", "quarantined=perhaps", "--json"))
    assert problem["code"] == "attributes-invalid"
    assert problem["problems"] == [
        "'sight' is no attribute that can be set; the schema has quarantined (true or false), site (text)",
        "attribute quarantined must be true or false, not 'perhaps'",
    ]
    assert product.rows() == before


def test_an_attribute_that_the_schema_has_no_more_can_be_removed(product: Product, run: Run) -> None:
    """`--unset` removes an attribute that is in no schema any more."""
    product.identity("gw-1")
    assert run("devices", "set", "gw-1", "--unset", "colour").exit_code == 0


def test_revoke_does_not_ask_a_script(product: Product, run: Run) -> None:
    """Without a terminal, `revoke` does not ask."""
    product.identity("gw-1")
    assert json.loads(run("devices", "revoke", "gw-1", "--json").stdout)["status"] == "revoked"


@pytest.mark.parametrize(("command", "done"), [("revoke", "revoked"), ("delete", "deleted")])
@pytest.mark.parametrize(
    ("arguments", "answer", "happens"),
    [([], "n\n", False), ([], "y\n", True), (["--yes"], "", True), (["-y"], "", True)],
)
def test_what_can_not_be_undone_asks_a_person(
    product: Product,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    done: str,
    arguments: list[str],
    answer: str,
    *,
    happens: bool,
) -> None:
    """At a terminal, `revoke` and `delete` need a yes, and the question names device, stack and account."""
    product.identity("gw-1")
    monkeypatch.setattr(output, "can_ask", lambda: True)
    asked = run("devices", command, "gw-1", *arguments, input=answer).stderr
    assert ("device gw-1" in asked) == (not arguments)
    assert ("(stack Firstboot in us-east-1, account 123456789012)" in asked) == (not arguments)
    status = product.operate("devices.show", deviceId="gw-1")["result"]["status"]
    assert status == (done if happens else "enrolled")


def test_explain_names_rules_and_policy(product: Product, run: Run) -> None:
    """`explain` names role alias, grant and rule, and shows the policy with the device's id."""
    product.identity("gw-1")
    explanation = product.operate("devices.explain", deviceId="gw-1")["result"]
    (rule,) = explanation["moments"][-1]["grants"][0]["rules"]
    text = run("devices", "explain", "gw-1").stdout
    assert f"role alias telemetry\n  telemetry                 by {rule}" in text
    assert "MQTT (no role alias)" in text
    assert "arn:aws:s3:::data-123456789012/gw-1/*" in text
    assert json.loads(run("devices", "explain", "gw-1", "--json").stdout) == explanation


def test_explain_answers_what_if(product: Product, run: Run) -> None:
    """`--context` supposes a call; its refusal is printed with the code, and the exit code is 0."""
    product.identity("gw-1")
    result = run("devices", "explain", "gw-1", "--context", "roleAlias=no-such", "--context", "sourceIp=::1")
    assert result.exit_code == 0
    assert "refused, role-alias-not-found" in result.stdout
    assert "MQTT" not in result.stdout


def test_a_device_can_not_write_to_the_operators_terminal(product: Product, run: Run) -> None:
    """Control characters in a device's claims are printed as escapes, which no terminal obeys."""
    answer = product.enroll(product.bootstrap("gw-1"), claims={"model": "\x1b[2Jx [bold]\u202e"})
    assert answer.status == 201
    for arguments in (["list"], ["show", "gw-1"], ["explain", "gw-1"], ["show", "gw-1", "--json"]):
        text = run("devices", *arguments).stdout
        assert text.replace("\n", "").isprintable()
        assert text.isascii()
    assert "[bold]" in run("devices", "show", "gw-1").stdout


def test_check_needs_no_cloud(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` accepts a good folder and names the file of a bad one, without a call to AWS."""
    monkeypatch.setattr(cloud, "client", None)
    good = CliRunner().invoke(app, ["fleet", "check", str(folder), "--json"])
    verdict = json.loads(good.stdout)
    assert (good.exit_code, verdict["valid"], verdict["problems"]) == (0, True, [])
    assert verdict["hash"] == compiler.load(folder).hash
    edit(folder, "rules.cedar", "principal has site", "principal has sight")
    bad = CliRunner().invoke(app, ["fleet", "check", str(folder)])
    assert bad.exit_code == 1
    assert "rules.cedar" in bad.stdout


def test_diff_shows_what_would_change(folder: Path, run: Run) -> None:
    """The deployed folder differs in nothing, and an edited one in the edited lines."""
    assert "nothing differs" in run("fleet", "diff", str(folder)).stdout
    edit(folder, "rules.cedar", '@id("own-topics")', '@id("their-topics")')
    text = run("fleet", "diff", str(folder)).stdout
    assert "rules: changed" in text
    assert '  -@id("own-topics")' in text
    assert '  +@id("their-topics")' in text


def test_diff_shows_the_last_day_of_a_budget(folder: Path, run: Run) -> None:
    """A changed `until` is shown as the days that fleet.toml has."""
    edit(folder, "fleet.toml", "until = 2036-12-31", "until = 2037-12-31")
    text = run("fleet", "diff", str(folder)).stdout
    assert '-    "until": "2036-12-31"' in text
    assert '+    "until": "2037-12-31"' in text


def test_diff_shows_what_needs_a_deployment(folder: Path, run: Run) -> None:
    """Changed role aliases and grants that allow more than the fleet roles are listed."""
    edit(folder, "fleet.toml", "seconds = 900", "seconds = 1800")
    edit(folder, "grants/telemetry.json", "s3:PutObject", "s3:GetObject")
    document = json.loads(run("fleet", "diff", str(folder), "--json").stdout)
    assert document["needsDeployment"] == ["role aliases differ from the deployed ones"]
    assert document["beyondRoles"] == ["telemetry"]
    assert [change["part"] for change in document["changes"]] == ["role alias updates", "grant telemetry"]


def test_apply_publishes_and_the_next_diff_is_empty(folder: Path, run: Run) -> None:
    """An applied folder is in force, a second `apply` publishes nothing, and the original can be applied."""
    original = (folder / "rules.cedar").read_text()
    edit(folder, "rules.cedar", '@id("own-topics")', '@id("their-topics")')
    assert "published" in run("fleet", "apply", str(folder)).stdout
    assert "nothing differs" in run("fleet", "diff", str(folder)).stdout
    assert "nothing was published" in run("fleet", "apply", str(folder)).stdout
    (folder / "rules.cedar").write_text(original)
    assert json.loads(run("fleet", "apply", str(folder), "--json").stdout)["changes"]
    assert "nothing differs" in run("fleet", "diff", str(folder)).stdout


def test_apply_refuses_what_needs_a_deployment(folder: Path, run: Run) -> None:
    """A changed role alias and a folder that does not compile are refused."""
    edit(folder, "fleet.toml", "seconds = 900", "seconds = 1800")
    assert refused(run("fleet", "apply", str(folder), "--json"))["code"] == "fleet-needs-deployment"
    (folder / "schema.cedarschema").unlink()
    problem = refused(run("fleet", "apply", str(folder), "--json"))
    assert problem["code"] == "fleet-invalid"
    assert any("schema.cedarschema" in line for line in problem["problems"])
