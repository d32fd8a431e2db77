"""`console registry restore`: put rows of a restored copy of the table back into the table.

Unlike the other commands, it reads and writes the table itself, because no Lambda function of the stack may
read a table that is not the stack's. docs/deploy.md has the permissions that it needs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from console import cloud, output
from console.options import Json, Options, Stack, Yes, command_group
from console.restoration import RESTORED, Fate, Row, fate, is_revoked, writes
from firstboot.domain.names import DEVICE_PREFIX, GONE_PREFIX

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

app = command_group("Look after the table of the device records.")

_PAGE = 100
"""Rows in one BatchGetItem, which is as many as it accepts."""

_AT_ONCE = 16

_LISTED = 250
"""Certificates in one ListCertificates, which is as many as it returns."""

_PAUSE_SECONDS = 0.1
"""The pause between two ListCertificates. AWS IoT accepts ten in a second (AWS IoT Core quotas)."""

Copy = Annotated[str, typer.Argument(metavar="TABLE", help="A table that was restored from a backup.")]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Also put back device records that differ, unless they were changed since the backup.",
    ),
]


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

    What was decided since the backup stays: revocations, deletions, changes of devices, counters and frozen
    groups. A device whose certificate is revoked in AWS IoT is put back as a revoked one. The command asks
    first; in a script, give --yes. After an interruption, run it again.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        tables = Tables(options.stack_name, copy)
        found = _counted(tables)
        wanted = sum(found[fate] for fate in _put_back(overwrite=overwrite))
        output.note(", ".join(f"{found[fate]:,} {fate}" for fate in Fate))
        if wanted and not yes:
            typer.confirm(f"Put {wanted:,} rows back into {tables.where}?", abort=True, err=True)
        done = Counter({"restored": 0, "revoked": 0})
        for page in tables.compared():
            done += tables.put_back(page, overwrite=overwrite)
        result = {fate.value: found[fate] for fate in Fate}
        result |= {"restored": done["restored"], "revoked": done["revoked"]}
        output.result(result, _described, as_json=options.as_json)


def _put_back(*, overwrite: bool) -> set[Fate]:
    return {Fate.MISSING, Fate.BEHIND} | ({Fate.DIFFERENT} if overwrite else set())


def _described(result: output.Record) -> list[str]:
    lines = [f"{result['restored']:,} rows put back"]
    if result["revoked"]:
        lines.append(f"{result['revoked']:,} of them as revoked devices, because AWS IoT says so")
    if result["deleted"]:
        lines.append(f"{result['deleted']:,} devices were deleted since and stay so")
    return lines


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
                old = {row["pk"]["S"]: row for row in page["Items"] if row["pk"]["S"].startswith(RESTORED)}
                now = self._now([*old])
                lost = [key for key in old if key.startswith(DEVICE_PREFIX) and key not in now]
                notes = self._now([_note(key) for key in lost])
                yield [
                    (row, now.get(key), fate(row, now.get(key), notes.get(_note(key))))
                    for key, row in old.items()
                ]
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

    def put_back(self, page: Compared, *, overwrite: bool) -> Counter[str]:
        """Put rows back where the table's row has not changed since it was read.

        Return how many were `restored`, and how many of them are `revoked` devices by what AWS IoT says.
        """
        wanted = _put_back(overwrite=overwrite)
        found = [(old, now) for old, now, one in page if one in wanted]
        if any(old["pk"]["S"].startswith(DEVICE_PREFIX) for old, _ in found):
            _ = self._revoked  # read once, before the threads begin
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            done = [
                pair
                for pair, put in zip(found, pool.map(lambda pair: self._put(*pair), found), strict=True)
                if put
            ]
        return Counter(restored=len(done), revoked=sum(self._is_revoked(old) for old, _ in done))

    def _put(self, old: Row, now: Row | None) -> bool:
        items = writes(self._table, old, now, revoked=self._is_revoked(old))
        try:
            self._client.transact_write_items(TransactItems=items)
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and _was_overtaken(error):
                return False
            raise cloud.unanswered(f"writing {old['pk']['S']} to {self._table}", error) from error
        return True

    def _is_revoked(self, old: Row) -> bool:
        return old["pk"]["S"].startswith(DEVICE_PREFIX) and is_revoked(old, self._revoked)

    @cached_property
    def _revoked(self) -> frozenset[str]:
        """Return the ids of all revoked certificates of AWS IoT."""
        pages = cloud.client("iot").get_paginator("list_certificates")
        revoked: set[str] = set()
        try:
            for page in output.counted("pages of certificates", pages.paginate(pageSize=_LISTED)):
                revoked |= {
                    each["certificateId"] for each in page["certificates"] if each["status"] == "REVOKED"
                }
                time.sleep(_PAUSE_SECONDS)
        except (BotoCoreError, ClientError) as error:
            raise cloud.unanswered("listing the certificates of AWS IoT", error) from error
        return frozenset(revoked)


def _note(key: str) -> str:
    """Return the key of the note that a device was deleted, for the key of its record."""
    return GONE_PREFIX + key.removeprefix(DEVICE_PREFIX)


def _was_overtaken(error: ClientError) -> bool:
    """Return whether the row was changed by another call before or during the transaction."""
    codes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
    return bool(codes) and codes <= {"None", "ConditionalCheckFailed", "TransactionConflict"}
