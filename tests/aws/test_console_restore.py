"""`console registry restore` puts lost rows back and undoes no decision that was made since the backup."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner, Result

from console import cloud
from console.__main__ import app
from console.commands import restore as restoring
from console.commands.restore import Tables
from console.report import Deployed
from console.restoration import RESTORED, Fate, fate
from firstboot.policy.render import Place
from tests.aws.product import Product

COPY = "restored"
Row = dict[str, Any]


def row(key: str, **values: str) -> Row:
    """Return a row whose values are texts."""
    return {name: {"S": value} for name, value in {"pk": key, **values}.items()}


@pytest.mark.parametrize(
    ("old", "now", "expected"),
    [
        (row("DEV#a", status="enrolled"), None, Fate.MISSING),
        (row("DEV#a", status="revoked"), None, Fate.MISSING),
        (row("DEV#a", status="enrolled"), row("DEV#a", status="enrolled"), Fate.SAME),
        (row("DEV#a", status="enrolled", x="1"), row("DEV#a", status="enrolled", x="2"), Fate.DIFFERENT),
        (row("DEV#a", status="revoked"), row("DEV#a", status="enrolled"), Fate.DIFFERENT),
        (row("DEV#a", status="enrolled"), row("DEV#a"), Fate.DIFFERENT),
        (row("DEV#a", status="enrolled"), row("DEV#a", status="revoked"), Fate.KEPT),
        (row("DEV#a", status="enrolled"), row("DEV#a", status="deleted"), Fate.KEPT),
        (row("BUDGET#g#0", used="1"), row("BUDGET#g#0", used="2"), Fate.KEPT),
        (row("KEY#k", deviceId="a"), row("KEY#k", deviceId="b"), Fate.KEPT),
        (row("KEYCLAIM#k", deviceId="a"), row("KEYCLAIM#k", deviceId="b"), Fate.KEPT),
    ],
)
def test_what_becomes_of_a_row(old: Row, now: Row | None, expected: Fate) -> None:
    """Missing rows are put back, revoked and deleted devices stay so, and counters and keys are kept."""
    assert fate(old, now) is expected


@pytest.fixture
def restore(product: Product, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return the command, which restores from the table COPY."""
    deployed = Deployed("Firstboot", Place("aws", "us-east-1", "1"), {}, {"Table": product.table})
    monkeypatch.setattr(cloud, "deployed", lambda _: deployed)
    real: Any = boto3.client  # its stubs know each service by name
    monkeypatch.setattr(cloud, "client", real)
    # moto copies its tables in each transaction, which fails while another thread writes to them.
    monkeypatch.setattr(restoring, "_AT_ONCE", 1)

    def run(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(app, ["registry", "restore", COPY, "--json", *arguments], **options)

    return run


def backed_up(product: Product) -> None:
    """Make the table COPY by a backup and a restoration of the table."""
    client = boto3.client("dynamodb")
    arn = client.create_backup(TableName=product.table, BackupName="nightly")["BackupDetails"]["BackupArn"]
    client.restore_table_from_backup(TargetTableName=COPY, BackupArn=arn)


def counts(result: Result) -> dict[str, int]:
    """Return the numbers that the command prints, without the zeros."""
    assert result.exit_code == 0, result.output
    return {name: count for name, count in json.loads(result.stdout).items() if count}


def update(product: Product, key: str, expression: str, **values: Any) -> None:
    """Change a row directly in the table."""
    names = {"#s": "status"} if "#s" in expression else {}
    changes: Any = {"ExpressionAttributeNames": names} if names else {}
    if values:
        changes["ExpressionAttributeValues"] = {f":{name}": value for name, value in values.items()}
    boto3.client("dynamodb").update_item(
        TableName=product.table, Key={"pk": {"S": key}}, UpdateExpression=expression, **changes
    )


def test_lost_devices_are_served_again(product: Product, restore: Callable[..., Result]) -> None:
    """After a yes, lost devices are served again with their certificates. A second run finds no lost row."""
    leaves = [product.identity(f"gw-{n}") for n in range(3)]
    before = {each["pk"]["S"]: each for each in every_row(product)}
    backed_up(product)
    for each in every_row(product):
        if each["pk"]["S"] != "DEV#gw-0":
            boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": each["pk"]})
    assert product.call("GET", "/v1/device", leaves[1]).status == 403
    asked = restore(input="n\n")
    assert asked.exit_code == 1
    assert f"into table {product.table} in us-east-1, account 1?" in asked.stderr
    assert len(every_row(product)) == 1
    lost = len([key for key in before if key.startswith(RESTORED)]) - 1
    assert counts(restore("--yes")) == {"missing": lost, "same": 1, "restored": lost}
    assert counts(restore("--yes")) == {"same": lost + 1}
    assert product.call("GET", "/v1/device", leaves[1]).status == 200
    assert {each["pk"]["S"]: each for each in every_row(product)}["DEV#gw-2"] == before["DEV#gw-2"]


def test_what_was_spoilt_is_asked_for(product: Product, restore: Callable[..., Result]) -> None:
    """A row that differs stays as it is, and `--overwrite` puts the copy's row back."""
    leaf = product.identity("gw-1")
    update(product, "DEV#gw-1", "SET attached = :policies", policies={"SS": ["telemetry"]})
    backed_up(product)
    update(product, "DEV#gw-1", "REMOVE pending, updatedAt, #s")
    assert counts(restore("--yes")) == {"different": 1, "same": len(lasting(product)) - 1}
    assert counts(restore("--yes", "--overwrite"))["restored"] == 1
    assert product.call("GET", "/v1/device", leaf).status == 200
    # `register` finds out which policies are attached by now.
    assert "attached" not in lasting(product)["DEV#gw-1"]


def every_row(product: Product) -> list[Row]:
    """Return every row of the table, with that of the nonces' key."""
    return list(boto3.client("dynamodb").scan(TableName=product.table)["Items"])


def lasting(product: Product) -> dict[str, Row]:
    """Return the table's rows that a restoration compares, by key."""
    return {each["pk"]["S"]: each for each in every_row(product) if each["pk"]["S"].startswith(RESTORED)}


def test_a_revocation_is_not_undone(product: Product, restore: Callable[..., Result]) -> None:
    """A device that was revoked after the backup stays revoked, with `--overwrite` too."""
    leaf = product.identity("gw-1")
    backed_up(product)
    update(product, "DEV#gw-1", "SET #s = :revoked", revoked={"S": "revoked"})
    assert counts(restore("--yes", "--overwrite"))["kept"] == 1
    answer = product.call("GET", "/v1/device", leaf)
    assert (answer.status, answer.body["code"]) == (403, "device-revoked")


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_what_changes_meanwhile_wins(
    product: Product,
    restore: Callable[..., Result],
    overwrite: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that changes after it was compared is not overwritten."""
    for name in ("gw-1", "gw-2"):
        product.identity(name)
    backed_up(product)
    update(
        product,
        "DEV#gw-1",
        "SET claims = :spoilt",
        spoilt={
            "M": {},
        },
    )
    update(product, "DEV#gw-1", "REMOVE enrolledBy")
    boto3.client("dynamodb").delete_item(TableName=product.table, Key={"pk": {"S": "DEV#gw-2"}})
    put = Tables._put

    def overtaken(self: Tables, old: Row, now: Row | None) -> bool:
        update(product, old["pk"]["S"], "SET #s = :revoked", revoked={"S": "revoked"})
        return put(self, old, now)

    monkeypatch.setattr(Tables, "_put", overtaken)
    assert "restored" not in counts(restore("--yes", *overwrite))
    assert lasting(product)["DEV#gw-2"]["status"] == {"S": "revoked"}


def test_a_copy_that_is_not_there(product: Product, restore: Callable[..., Result]) -> None:
    """A missing copy ends with exit code 3."""
    result = restore("--yes")
    assert (result.exit_code, json.loads(result.stderr)["code"]) == (3, "unreachable")
