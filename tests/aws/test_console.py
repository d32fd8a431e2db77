"""The console's commands, with the `operate` Lambda over moto behind them."""

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
    """The example fleet, deployed, in a folder of its own."""
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
    """The problem of a refusal: exit code 1, the problem on standard error, nothing else."""
    assert (result.exit_code, result.stdout) == (1, "")
    found: dict[str, Any] = json.loads(result.stderr)
    return found


def test_list_shows_every_device(product: Product, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages come out, as one JSON document or a line a device."""
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
    """At a terminal, with the result going elsewhere, devices are counted as they come."""
    product.identity("gw-1")
    terminal = io.StringIO()
    monkeypatch.setattr(output, "_err", Console(file=terminal, force_terminal=True))
    assert len(json.loads(run("devices", "list", "--json").stdout)["devices"]) == 1
    assert "devices" in terminal.getvalue()


def test_list_of_nothing_is_a_document_too(run: Run) -> None:
    """A program reads a list of no devices like any other list."""
    assert json.loads(run("devices", "list", "--json").stdout) == {"devices": []}


def test_show_shows_the_record(product: Product, run: Run) -> None:
    """`show` has what `operate` says, as JSON and in words."""
    product.identity("gw-1")
    shown = json.loads(run("devices", "show", "gw-1", "--json").stdout)
    assert shown == product.operate("devices.show", deviceId="gw-1")["result"]
    assert "gateways" in run("devices", "show", "gw-1").stdout


def test_a_refusal_is_exit_code_1(run: Run) -> None:
    """A problem goes to standard error, as JSON for programs and in words for people."""
    assert refused(run("devices", "show", "nobody", "--json"))["code"] == "device-not-found"
    result = run("devices", "show", "nobody")
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
    """What can't be a command is not sent."""
    assert run(*arguments).exit_code == 2


def test_a_stack_that_is_not_there_is_exit_code_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stack, a stack without the output, a function that fails: neither done nor refused."""
    result = run("devices", "list", "--stack", "Nowhere", "--json")
    assert (result.exit_code, json.loads(result.stderr)["code"]) == (3, "unreachable")
    monkeypatch.setattr(cloud, "OUTPUT", "Elsewhere")
    assert "no output Elsewhere" in run("devices", "show", "gw-1").stderr
    monkeypatch.setattr(cloud, "OUTPUT", "OperateFunction")
    failure = {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "x"}')}
    monkeypatch.setattr(InProcess, "failure", failure)
    assert run("devices", "show", "gw-1").exit_code == 3


def test_options_may_stand_before_the_command(product: Product, run: Run) -> None:
    """`--json` and `--stack` mean the same before and after the command; after wins."""
    product.identity("gw-1")
    after = run("devices", "show", "gw-1", "--json", "--stack", "Other")
    assert run("--json", "--stack", "Other", "devices", "show", "gw-1").stdout == after.stdout
    assert run("--stack", "Nowhere", "devices", "show", "gw-1").exit_code == 3
    assert run("--stack", "Nowhere", "devices", "show", "gw-1", "--stack", "Other").exit_code == 0


def test_set_gives_a_value_the_schemas_type(product: Product, run: Run) -> None:
    """Digits stay text where the schema wants a string; `key=` and `--unset` remove."""
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


def test_set_refuses_what_the_schema_does_not_take(product: Product, run: Run) -> None:
    """The refusal names the attribute, and nothing is written."""
    product.identity("gw-1")
    before = product.rows()
    problem = refused(run("devices", "set", "gw-1", "site=berlin", "quarantined=perhaps", "--json"))
    assert problem["code"] == "attributes-invalid"
    assert "quarantined" in problem["detail"]
    assert product.rows() == before


def test_revoke_does_not_ask_a_script(product: Product, run: Run) -> None:
    """Without a terminal there is nobody to ask."""
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
    """At a terminal, only a yes revokes or deletes, unless it was said before."""
    product.identity("gw-1")
    monkeypatch.setattr(output, "someone_can_answer", lambda: True)
    run("devices", command, "gw-1", *arguments, input=answer)
    status = product.operate("devices.show", deviceId="gw-1")["result"]["status"]
    assert status == (done if happens else "enrolled")


def test_explain_names_rules_and_policy(product: Product, run: Run) -> None:
    """The words name role alias, grant and rule, and show the policy with literal ids."""
    product.identity("gw-1")
    text = run("devices", "explain", "gw-1").stdout
    assert "role alias telemetry\n  telemetry                 by every-device" in text
    assert "MQTT (no role alias)" in text
    assert "arn:aws:s3:::data-123456789012/gw-1/*" in text
    document = json.loads(run("devices", "explain", "gw-1", "--json").stdout)
    assert document == product.operate("devices.explain", deviceId="gw-1")["result"]


def test_explain_answers_what_if(product: Product, run: Run) -> None:
    """A context asks what would be; a refusal is shown with its code, and is no failure."""
    product.identity("gw-1")
    result = run("devices", "explain", "gw-1", "--context", "roleAlias=no-such", "--context", "sourceIp=::1")
    assert result.exit_code == 0
    assert "refused, role-alias-not-found" in result.stdout
    assert "MQTT" not in result.stdout


def test_a_device_can_not_write_to_the_operators_terminal(product: Product, run: Run) -> None:
    """Claims are a device's own words: control characters in them are shown, not obeyed."""
    answer = product.enroll(product.bootstrap("gw-1"), claims={"model": "\x1b[2Jx [bold]\u202e"})
    assert answer.status == 201
    for arguments in (["list"], ["show", "gw-1"], ["explain", "gw-1"], ["show", "gw-1", "--json"]):
        text = run("devices", *arguments).stdout
        assert text.replace("\n", "").isprintable()
        assert text.isascii()
    assert "[bold]" in run("devices", "show", "gw-1").stdout


def test_check_needs_no_cloud(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good folder passes, and a bad one is told by file, without a call to AWS."""
    monkeypatch.setattr(cloud, "client", None)
    good = CliRunner().invoke(app, ["fleet", "check", str(folder), "--json"])
    verdict = json.loads(good.stdout)
    assert (good.exit_code, verdict["valid"], verdict["problems"]) == (0, True, [])
    assert verdict["hash"] == compiler.load(folder).hash
    edit(folder, "rules.cedar", "principal has site", "principal has sight")
    bad = CliRunner().invoke(app, ["fleet", "check", str(folder)])
    assert bad.exit_code == 1
    assert "rules.cedar" in bad.stdout


def test_diff_tells_what_would_change(folder: Path, run: Run) -> None:
    """The deployed folder differs in nothing; an edited one by the lines edited."""
    assert "nothing differs" in run("fleet", "diff", str(folder)).stdout
    edit(folder, "rules.cedar", '@id("own-topics")', '@id("their-topics")')
    text = run("fleet", "diff", str(folder)).stdout
    assert "rules: changed" in text
    assert '  -@id("own-topics")' in text
    assert '  +@id("their-topics")' in text


def test_diff_tells_what_a_deployment_must_bring(folder: Path, run: Run) -> None:
    """Role aliases need a deployment, and so does what a grant allows beyond the fleet roles."""
    edit(folder, "fleet.toml", "seconds = 900", "seconds = 1800")
    edit(folder, "grants/telemetry.json", "s3:PutObject", "s3:GetObject")
    document = json.loads(run("fleet", "diff", str(folder), "--json").stdout)
    assert document["needsDeployment"] == ["role aliases differ from the deployed ones"]
    assert document["beyondRoles"] == ["telemetry"]
    assert [change["part"] for change in document["changes"]] == ["role alias updates", "grant telemetry"]


def test_apply_publishes_and_the_next_diff_is_empty(folder: Path, run: Run) -> None:
    """What was applied is in force; applying it again publishes nothing; and it can be taken back."""
    original = (folder / "rules.cedar").read_text()
    edit(folder, "rules.cedar", '@id("own-topics")', '@id("their-topics")')
    assert "published" in run("fleet", "apply", str(folder)).stdout
    assert "nothing differs" in run("fleet", "diff", str(folder)).stdout
    assert "nothing was published" in run("fleet", "apply", str(folder)).stdout
    (folder / "rules.cedar").write_text(original)
    assert json.loads(run("fleet", "apply", str(folder), "--json").stdout)["changes"]
    assert "nothing differs" in run("fleet", "diff", str(folder)).stdout


def test_apply_refuses_what_needs_a_deployment(folder: Path, run: Run) -> None:
    """A role alias can't be published, nor can a folder that does not compile."""
    edit(folder, "fleet.toml", "seconds = 900", "seconds = 1800")
    assert refused(run("fleet", "apply", str(folder), "--json"))["code"] == "fleet-needs-deployment"
    (folder / "schema.cedarschema").unlink()
    problem = refused(run("fleet", "apply", str(folder), "--json"))
    assert problem["code"] == "fleet-invalid"
    assert any("schema.cedarschema" in line for line in problem["problems"])
