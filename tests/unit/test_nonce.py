"""Test which nonces are good: those made with the key, as long as they are young."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest

from firstboot.domain.clock import from_epoch
from firstboot.pki import nonce

KEY = bytes(range(32))
NOW = from_epoch(1_700_000_000)
MADE = nonce.make(KEY, NOW)
SECOND = timedelta(seconds=1)


def test_a_nonce_has_one_form() -> None:
    """A nonce is 32 characters of base64url: the time in 8 bytes, and 16 bytes of HMAC-SHA-256."""
    assert MADE == "AAAAAGVT8QCn5rQ8d_CDm03YjbHBnT_M"
    assert nonce.made_at(MADE) == NOW


@pytest.mark.parametrize(
    ("age", "good"),
    [
        (timedelta(0), True),
        (timedelta(milliseconds=999), True),
        (nonce.LIFETIME, True),
        (nonce.LIFETIME + timedelta(milliseconds=999), True),
        (nonce.LIFETIME + SECOND, False),
        (-timedelta(hours=1), False),
    ],
)
def test_a_nonce_lives_five_minutes(age: timedelta, *, good: bool) -> None:
    """A nonce is good until five minutes after it was made, in whole seconds, and not long before."""
    assert nonce.is_good(MADE, KEY, NOW + age) is good
    assert timedelta(minutes=5) == nonce.LIFETIME


def test_a_nonce_of_another_key_is_not_good() -> None:
    """A nonce that another key made is not good."""
    assert not nonce.is_good(MADE, bytes(32), NOW)


@pytest.mark.parametrize("byte", range(24))
def test_no_byte_of_a_nonce_can_be_changed(byte: int) -> None:
    """A nonce with a changed byte is not good, wherever the byte is."""
    raw = bytearray(base64.urlsafe_b64decode(MADE))
    raw[byte] ^= 1
    assert not nonce.is_good(base64.urlsafe_b64encode(raw).decode(), KEY, NOW)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "AAAA",
        MADE[:-4],
        MADE + "AAAA",
        MADE[:-1] + "!",
        MADE[:-1] + "é",
        "/" * 32,
        "_" * 32,
        f"{MADE[:4]} {MADE[4:]}",
    ],
    ids=["empty", "short", "cut", "long", "alphabet", "not-ascii", "plain-base64", "year", "space"],
)
def test_what_cannot_be_a_nonce_has_no_time(given: str) -> None:
    """A text that is no nonce has no time and is not good."""
    assert nonce.made_at(given) is None
    assert not nonce.is_good(given, KEY, NOW)
