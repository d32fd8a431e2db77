"""The page of a walk has each step, and no secret."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from typing import Any

import pytest

from verify.page import Head, hidden, page
from verify.spending import Act
from verify.step import Measurement, Outcome, Result
from verify.steps.account import client_in

_ACCOUNT = "123456789012"


def head(**more: Any) -> Head:
    """Return the head of a page."""
    begun = datetime(2026, 11, 27, 12, tzinfo=UTC)
    return Head("Firstboot", _ACCOUNT, "us-east-1", begun, {"Firstboot": "0.1.0"}, {Act.BOOT: 9}, **more)


def test_the_page_has_each_step() -> None:
    """The page has the outcome, measurements and reason of each step, and its head."""
    text = page(
        head(left=["device x"], cut="interrupted after 3 steps"),
        [
            Result("one", Outcome.PASSED, 1.25, (Measurement("token", 1234, "characters"),)),
            Result("two", Outcome.FAILED, 2.0, reason="expected a, saw b"),
            Result("three", Outcome.SKIPPED, reason="it needs c"),
        ],
    )
    for line in (
        "1 passed, 1 failed, 1 skipped. The walk ended early: interrupted after 3 steps.",
        "- Date: 2026-11-27T12:00:00Z",
        "- Account: …9012, us-east-1",
        "- Firstboot: 0.1.0",
        "- Estimated cost: $0.0008 (first boot or renewal, with its deletion: 9)",
        "- device x",
        "| one | passed | 1.2 | token: 1,234 characters |",
        "| two | failed | 2.0 |  |",
        "| three | skipped |  |  |",
        "- two: expected a, saw b",
        "- three: it needs c",
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize(
    "secret",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
        "https://bucket.s3.amazonaws.com/certificates/a/1.pem?X-Amz-Signature=abc",
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----",
        "IQoJb3JpZ2luX2VjEJr" + "x" * 100,
    ],
    ids=["key", "session key", "JWT", "URL", "private key", "token"],
)
def test_no_secret_is_shown(secret: str) -> None:
    """Keys, tokens and presigned URLs are hidden, wherever a step may have put them."""
    one = Result("one", Outcome.PASSED, 1.0, (Measurement("a", secret),))
    other = Result("two", Outcome.FAILED, 1.0, reason=f"saw {secret}")
    text = page(head(left=[secret]), [one, other])
    assert secret not in text
    assert not any(part in text for part in secret.splitlines() if len(part) > 30)


def test_the_account_is_masked() -> None:
    """The page has the last four digits of the account alone, also within an ARN."""
    assert hidden(f"arn:aws:iam::{_ACCOUNT}:role/x", _ACCOUNT) == "arn:aws:iam::…9012:role/x"


def test_no_text_ends_a_cell() -> None:
    """A measured text can neither end its cell nor begin a line or a tag."""
    found = Measurement("a", "b | c\n## d <script>")
    text = page(head(), [Result("one", Outcome.PASSED, 1.0, (found,))])
    assert "| one | passed | 1.0 | a: b \\| c ## d &lt;script> |" in text.splitlines()


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"botocore/__init__.py": "__version__ = '1.43.106'\n"}, "1.43.106"),
        ({"botocore/__init__.py": ""}, "of an unknown version"),
        ({"vend.py": ""}, "the runtime's own: the asset has none"),
    ],
    ids=["pinned", "unknown", "none"],
)
def test_the_client_in_an_asset_is_found(files: dict[str, str], version: str) -> None:
    """The version of botocore is read from the asset, or the runtime's own is meant."""
    asset = io.BytesIO()
    with zipfile.ZipFile(asset, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    assert client_in(asset.getvalue()) == version
