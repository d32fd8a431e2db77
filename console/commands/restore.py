"""`console registry restore`: rows from a copy of the table, back into the table.

Unlike the other commands it reads and writes the table itself: no Lambda of the stack may read a table
that is not the stack's. docs/deploy.md has the permissions that it takes.
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
from console.cloud import Unreachable
from console.options import Json, Options, Stack, Yes
from firstboot.domain.device import Status

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

app = typer.Typer(no_args_is_help=True, help="Look after the table of the device records.")

Row = dict[str, Any]

LASTING = ("DEV#", "KEY#", "CERT#", "BUDGET#")
"""What a restored table is for: devices, whose keys are whose, certificates by thumbprint, what is spent.
Everything else ends within days or is made anew.
"""

_PAGE = 100
"""Rows at a time: as many as one BatchGetItem takes."""

_AT_ONCE = 16

Copy = Annotated[
    str, typer.Argument(metavar="TABLE", help="The copy: a table that was restored from a backup.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Also put back devices that differ, but for revoked ones.")
]


class Fate(StrEnum):
    """What is to become of a row of the copy."""

    MISSING = "missing"  # put back
    DIFFERENT = "different"  # put back if that is asked for
    KEPT = "kept"  # differs, and stays as it is
    SAME = "same"


@app.callback()
def registry() -> None:
    """Keep `restore` a command of its own."""


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
    """Put back what the table has lost. What it has stays, and a revoked device stays revoked.

    Interrupted, it is started again.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        tables = Tables(options.stack_name, copy)
        found = _counted(tables)
        wanted = found[Fate.MISSING] + found[Fate.DIFFERENT] * overwrite
        output.note(", ".join(f"{found[fate]:,} {fate}" for fate in Fate))
        if wanted and not yes:
            typer.confirm(f"Put {wanted:,} rows back?", abort=True, err=True)
        restored = sum(tables.put_back(page, overwrite=overwrite) for page in tables.compared())
        result = {fate.value: found[fate] for fate in Fate} | {"restored": restored}
        output.result(result, lambda _: [f"{restored:,} rows put back"], as_json=options.as_json)


def fate(old: Row, now: Row | None) -> Fate:
    """What is to become of a row of the copy, `old`, where the table has `now` (None: nothing).

    A device that is revoked or deleted by now stays so, whatever the copy says. A counter or a key that
    differs stays: it has counted on, and no key changes hands.
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
    """A stack's table, and a copy of what it once was.

    Raises Unreachable: here if there is no such stack, from its methods if DynamoDB refuses.
    """

    def __init__(self, stack: str, copy: str) -> None:
        self._table, self._copy = cloud.deployed(stack).outputs["Table"], copy
        self._client: DynamoDBClient = cloud.client("dynamodb")

    def compared(self) -> Iterator[Compared]:
        """Each lasting row of the copy, the table's row of that key, and what to do; in pages."""
        scan = self._client.get_paginator("scan")
        try:
            for page in scan.paginate(TableName=self._copy, PaginationConfig={"PageSize": _PAGE}):
                old = [row for row in page["Items"] if row["pk"]["S"].startswith(LASTING)]
                now = self._now([row["pk"]["S"] for row in old])
                pairs = [(row, now.get(row["pk"]["S"])) for row in old]
                yield [(*pair, fate(*pair)) for pair in pairs]
        except (BotoCoreError, ClientError) as error:
            raise Unreachable(f"comparing {self._copy} with {self._table}: {error}") from error

    def _now(self, keys: list[str]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        wanted: Any = {self._table: {"Keys": [{"pk": {"S": key}} for key in keys], "ConsistentRead": True}}
        while wanted and keys:
            answer = self._client.batch_get_item(RequestItems=wanted)
            found |= {row["pk"]["S"]: row for row in answer["Responses"][self._table]}
            wanted = answer["UnprocessedKeys"]
        return found

    def put_back(self, page: Compared, *, overwrite: bool) -> int:
        """Put rows back, and return how many were: only where the table's row is still what was seen."""
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
            raise Unreachable(f"writing {old['pk']['S']} to {self._table}: {error}") from error
        return True


def _restored(old: Row) -> Row:
    """The row to put back. What AWS IoT was brought to then says nothing of now: `register` finds out."""
    return {name: value for name, value in old.items() if name != "attached"}


def _unless_changed(now: Row | None) -> dict[str, Any]:
    """The condition that a device's row is what it was: every change but `register`'s note is in these."""
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
