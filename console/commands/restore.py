"""`console registry restore`: put rows of a restored copy of the table back into the table.

Unlike the other commands, it reads and writes the table itself, because no Lambda function of the stack may
read a table that is not the stack's. docs/deploy.md has the permissions that it needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from console import cloud, output
from console.options import Json, Options, Stack, Yes, command_group
from firstboot.domain.device import Status

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

app = command_group("Look after the table of the device records.")

Row = dict[str, Any]

LASTING = ("DEV#", "KEY#", "KEYCLAIM#", "CERT#", "BUDGET#", "BOOTSTRAP#")
"""How the keys of rows to restore begin: device records, owners of keys, claims of keys, devices by
certificate, budgets, and revoked bootstrap certificates. Every other row expires within days or is made
again.
"""

_PAGE = 100
"""Rows in one BatchGetItem, which is as many as it accepts."""

_AT_ONCE = 16

Copy = Annotated[str, typer.Argument(metavar="TABLE", help="A table that was restored from a backup.")]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Also put back device records that differ, except of revoked or deleted devices."
    ),
]


class Fate(StrEnum):
    """The decision about a row of the copy."""

    MISSING = "missing"  # it is put back
    DIFFERENT = "different"  # it is put back with `--overwrite`
    KEPT = "kept"  # it differs, and the table's row stays as it is
    SAME = "same"


@app.callback()
def registry() -> None:
    """Make `restore` a subcommand, although it is the only one."""


@app.command()
def restore(
    ctx: typer.Context,
    copy: Copy,
    *,
    overwrite: Overwrite = False,
    yes: Yes = False,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Put back rows that the table has lost.

    Rows that the table has stay as they are, and a revoked device stays revoked. The command asks first; in
    a script, give --yes. After an interruption, run it again.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        tables = Tables(options.stack_name, copy)
        found = _counted(tables)
        wanted = found[Fate.MISSING] + found[Fate.DIFFERENT] * overwrite
        output.note(", ".join(f"{found[fate]:,} {fate}" for fate in Fate))
        if wanted and not yes:
            typer.confirm(f"Put {wanted:,} rows back into {tables.where}?", abort=True, err=True)
        restored = sum(tables.put_back(page, overwrite=overwrite) for page in tables.compared())
        result = {fate.value: found[fate] for fate in Fate} | {"restored": restored}
        output.result(result, lambda _: [f"{restored:,} rows put back"], as_json=options.as_json)


def fate(old: Row, now: Row | None) -> Fate:
    """Return what to do with the row `old` of the copy, where the table has the row `now`, or None.

    A device that has been revoked or deleted since stays so. A counter that differs stays, because it has
    counted further since. The owner of a key stays, because a key never passes from one device to another.
    """
    if now is None:
        return Fate.MISSING
    if old == now:
        return Fate.SAME
    is_device = old["pk"]["S"].startswith("DEV#")
    return Fate.DIFFERENT if is_device and not _is_taken_out(now) else Fate.KEPT


def _is_taken_out(row: Row) -> bool:
    return row.get("status", {}).get("S") in (Status.REVOKED.value, Status.DELETED.value)


def _counted(tables: Tables) -> Counter[Fate]:
    every = (compared for page in tables.compared() for compared in page)
    return Counter(one for _, _, one in output.counted("rows compared", every))


Compared = list[tuple[Row, Row | None, Fate]]


class Tables:
    """A stack's table, and a copy of an earlier state of it.

    Raises Unreachable: the constructor if there is no such stack, the methods if DynamoDB refuses.
    """

    def __init__(self, stack: str, copy: str) -> None:
        deployed = cloud.deployed(stack)
        self._table, self._copy = deployed.outputs["Table"], copy
        self.where = f"table {self._table} in {deployed.place.region}, account {deployed.place.account}"
        self._client: DynamoDBClient = cloud.client("dynamodb")

    def compared(self) -> Iterator[Compared]:
        """Yield, in pages, each row of the copy to restore, the table's row of that key, and what to do."""
        scan = self._client.get_paginator("scan")
        try:
            for page in scan.paginate(TableName=self._copy, PaginationConfig={"PageSize": _PAGE}):
                old = [row for row in page["Items"] if row["pk"]["S"].startswith(LASTING)]
                now = self._now([row["pk"]["S"] for row in old])
                pairs = [(row, now.get(row["pk"]["S"])) for row in old]
                yield [(*pair, fate(*pair)) for pair in pairs]
        except (BotoCoreError, ClientError) as error:
            raise cloud.unanswered(f"comparing {self._copy} with {self._table}", error) from error

    def _now(self, keys: list[str]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        wanted: Any = {self._table: {"Keys": [{"pk": {"S": key}} for key in keys], "ConsistentRead": True}}
        while wanted and keys:
            answer = self._client.batch_get_item(RequestItems=wanted)
            found |= {row["pk"]["S"]: row for row in answer["Responses"][self._table]}
            wanted = answer["UnprocessedKeys"]
        return found

    def put_back(self, page: Compared, *, overwrite: bool) -> int:
        """Put rows back where the table's row has not changed since it was read. Return how many."""
        wanted = {Fate.MISSING, Fate.DIFFERENT} if overwrite else {Fate.MISSING}
        found = [(old, now) for old, now, one in page if one in wanted]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return sum(pool.map(lambda pair: self._put(*pair), found))

    def _put(self, old: Row, now: Row | None) -> bool:
        try:
            self._client.put_item(TableName=self._table, Item=_restored(old), **_unless_changed(now))
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        except (BotoCoreError, ClientError) as error:
            raise cloud.unanswered(f"writing {old['pk']['S']} to {self._table}", error) from error
        return True


def _restored(old: Row) -> Row:
    """Return the row to put back, without `attached`: `register` finds out what AWS IoT has by now."""
    return {name: value for name, value in old.items() if name != "attached"}


def _unless_changed(now: Row | None) -> dict[str, Any]:
    """Return the condition that a device's row has not changed since it was read as `now`.

    Every write changes one of these attributes, except a write of `attached` by `register`.
    """
    if now is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    names = {"#s": "status", "#u": "updatedAt", "#g": "generation"}
    equal = [f"{short} = :{short[1:]}" for short, name in names.items() if name in now]
    absent = [f"attribute_not_exists({short})" for short, name in names.items() if name not in now]
    values = {f":{short[1:]}": now[name] for short, name in names.items() if name in now}
    condition: dict[str, Any] = {
        "ConditionExpression": " AND ".join(["attribute_exists(pk)", *equal, *absent]),
        "ExpressionAttributeNames": names,
    }
    return condition | ({"ExpressionAttributeValues": values} if values else {})
