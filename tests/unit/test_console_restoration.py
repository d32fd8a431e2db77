"""Nothing that was decided since a backup is taken back when its rows are restored."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from console.commands.restore import _was_overtaken
from console.restoration import Fate, Row, fate, is_revoked, writes

OLD: Row = {
    "pk": {"S": "DEV#gw-1"},
    "status": {"S": "enrolled"},
    "createdAt": {"N": "100"},
    "updatedAt": {"N": "200"},
    "generation": {"N": "1"},
    "registered": {"SS": ["a"]},
    "active": {"M": {"certificateId": {"S": "a"}}},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Fate.SAME),
        ({"registered": {"SS": ["b"]}, "attached": {"SS": ["x"]}, "activating": {"SS": ["c"]}}, Fate.SAME),
        ({"refusedKey": {"M": {"spki": {"S": "k"}}}}, Fate.SAME),
        ({"claims": {"M": {}}}, Fate.DIFFERENT),
        ({"updatedAt": None}, Fate.DIFFERENT),
        ({"updatedAt": {"S": "damaged"}}, Fate.DIFFERENT),
        ({"updatedAt": {"N": "199"}, "status": None}, Fate.DIFFERENT),
        ({"updatedAt": {"N": "201"}}, Fate.KEPT),
        ({"updatedAt": {"N": "201"}, "status": None}, Fate.KEPT),
        ({"generation": {"N": "2"}}, Fate.KEPT),
        ({"status": {"S": "revoked"}, "updatedAt": None}, Fate.KEPT),
        ({"status": {"S": "deleted"}}, Fate.KEPT),
    ],
)
def test_a_newer_record_is_never_overwritten(changes: Row, expected: Fate) -> None:
    """A record differs in a way that `--overwrite` corrects only if nothing was decided since the copy."""
    now = {name: value for name, value in (OLD | changes).items() if value is not None}
    assert fate(OLD, now) is expected


def test_a_record_without_a_time_overwrites_none_that_has_one() -> None:
    """A record of the copy whose own time is lost can't be the newer one."""
    old = {name: value for name, value in OLD.items() if name != "updatedAt"}
    assert fate(old, OLD) is Fate.KEPT


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        (None, Fate.MISSING),
        ({"goneAt": {"N": "99"}}, Fate.MISSING),
        ({"goneAt": {"N": "100"}}, Fate.DELETED),
        ({"goneAt": {"N": "300"}}, Fate.DELETED),
        ({}, Fate.DELETED),
    ],
)
def test_a_deleted_device_stays_away(note: Row | None, expected: Fate) -> None:
    """A record that was made before the deletion, or in the same second, is not put back."""
    assert fate(OLD, None, note if note is None else {"pk": {"S": "GONE#gw-1"}} | note) is expected


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (None, Fate.MISSING),
        ({"used": {"N": "5"}}, Fate.SAME),
        ({"used": {"N": "4"}}, Fate.BEHIND),
        ({"frozenAt": {"N": "1"}}, Fate.BEHIND),
        ({"used": {"N": "6"}}, Fate.KEPT),
        ({"used": {"N": "5"}, "frozenAt": {"N": "1"}}, Fate.KEPT),
    ],
)
def test_a_counter_only_grows(now: Row | None, expected: Fate) -> None:
    """A counter that is smaller than the copy's began again, and any other one stays."""
    key = {"pk": {"S": "BUDGET#g#0"}}
    assert fate(key | {"used": {"N": "5"}}, now if now is None else key | now) is expected


@pytest.mark.parametrize("prefix", ["KEY#", "KEYCLAIM#", "CERT#", "BOOTSTRAP#", "GONE#"])
def test_a_row_that_is_written_once_stays(prefix: str) -> None:
    """A lost row is put back, and the table's row is kept."""
    old, now = ({"pk": {"S": f"{prefix}x"}, "value": {"S": value}} for value in "ab")
    assert [fate(old, None), fate(old, old), fate(old, now)] == [Fate.MISSING, Fate.SAME, Fate.KEPT]


@pytest.mark.parametrize("name", ["active", "pending", "superseded", "registered", "activating"])
def test_each_operational_certificate_counts(name: str) -> None:
    """A device is revoked if AWS IoT has any of its operational certificates as revoked."""
    noted = name in ("registered", "activating")
    held: Any = {"SS": ["x", "y"]} if noted else {"M": {"certificateId": {"S": "x"}}}
    assert is_revoked({"pk": {"S": "DEV#a"}, name: held}, {"x"})
    assert not is_revoked({"pk": {"S": "DEV#a"}, name: held, "bootstrapIds": {"SS": ["z"]}}, {"z"})


@pytest.mark.parametrize("status", ["revoked", "deleted"])
def test_a_device_that_is_taken_out_stays_so(status: str) -> None:
    """A record of a deletion that had begun stays one, so that `register` ends the deletion."""
    assert not is_revoked(OLD | {"status": {"S": status}}, {"a"})


def test_a_record_keeps_what_register_notes() -> None:
    """Certificates that either record notes are in the restored one, so that a revocation finds them."""
    now = OLD | {"registered": {"SS": ["b"]}, "activating": {"SS": ["c"]}, "claims": {"M": {}}}
    put: Any = writes("table", OLD | {"attached": {"SS": ["p"]}}, now, revoked=True)[0]["Put"]["Item"]
    assert put == OLD | {
        "registered": {"SS": ["a", "b"]},
        "activating": {"SS": ["c"]},
        "status": {"S": "revoked"},
    }


@pytest.mark.parametrize("name", ["pin", "admission"])
@pytest.mark.parametrize(
    ("old", "now", "expected"),
    [(None, "b", "b"), ("a", "b", "b"), ("a", None, {"pin": "a", "admission": None})],
)
def test_a_copy_changes_no_pin_and_revives_no_admission(
    name: str, old: str | None, now: str | None, expected: Any
) -> None:
    """A restored record has the pin and the admission of the table's row, or else the copy's pin.

    The write demands that the row still has what it had.
    """
    copy, row = (OLD | ({name: {"S": value}} if value else {}) for value in (old, now))
    put: Any = writes("table", copy, row, revoked=False)[0]["Put"]
    kept = expected[name] if isinstance(expected, dict) else expected
    assert put["Item"].get(name) == (kept and {"S": kept})
    short = f"#{name[0]}"
    assert put["ExpressionAttributeNames"][short] == name
    demanded = f"{short} = :{name[0]}" if now else f"attribute_not_exists({short})"
    assert demanded in put["ConditionExpression"].split(" AND ")


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (["ConditionalCheckFailed", "None"], True),
        (["None", "TransactionConflict"], True),
        (["ConditionalCheckFailed", "ThrottlingError"], False),
        ([], False),
    ],
)
def test_only_a_changed_row_is_left_out(codes: list[str], expected: bool) -> None:  # noqa: FBT001
    """A transaction that DynamoDB cancels for another reason than a change ends the restoration."""
    answer: Any = {"Error": {}, "CancellationReasons": [{"Code": code} for code in codes]}
    assert _was_overtaken(ClientError(answer, "TransactWriteItems")) is expected
