"""A one-time password is recognised with its key and for its device, and in no other case."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.clock import utc_now
from firstboot.pki import password
from firstboot.pki.password import LIFETIME, MAX_LENGTH

KEY = bytes(range(32))
NOW = utc_now()


@given(device=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}", fullmatch=True), size=st.integers(1, 64))
def test_a_password_is_read_as_it_was_made(device: str, size: int) -> None:
    """A password says its group and its end, and fits its bound for each group's name."""
    text, until = password.make(KEY, device, "g" * size, NOW)
    assert len(text) <= MAX_LENGTH
    assert ":" not in text
    found = password.read(text, device, KEY)
    assert found is not None
    assert (found.group, found.expires_at) == ("g" * size, until)
    assert timedelta(0) <= NOW + LIFETIME - until < timedelta(seconds=1)


def test_two_passwords_of_a_second_differ() -> None:
    """Two passwords for one device in one second are two, and each has its own digest."""
    made = [password.make(KEY, "gw-1", "gateways", NOW)[0] for _ in range(2)]
    found = [password.read(text, "gw-1", KEY) for text in made]
    assert len({each.digest for each in found if each}) == 2


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_changed_byte_is_noticed(position: int, bit: int) -> None:
    """A password with a changed bit is none."""
    text, _ = password.make(KEY, "gw-1", "gateways", NOW)
    raw = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    raw[position % len(raw)] ^= 1 << bit
    changed = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert password.read(changed, "gw-1", KEY) is None


def test_another_device_or_key_is_refused() -> None:
    """A password is for one device, and for the key that made it."""
    text, _ = password.make(KEY, "gw-1", "gateways", NOW)
    assert password.read(text, "gw-10", KEY) is None
    assert password.read(text, "gw-1", KEY[::-1]) is None
    # The end of the device's id does not move into the group's name.
    assert password.read(password.make(KEY, "a", "b-c", NOW)[0], "b-a", KEY) is None


@given(st.text(max_size=MAX_LENGTH + 8))
def test_any_other_text_is_none(text: str) -> None:
    """A text that was not made with the key is no password, in any characters and of any length."""
    assert password.read(text, "gw-1", KEY) is None


@pytest.mark.parametrize("group", ["", "g" * 65, "gruppe-ü"])
def test_a_group_s_name_is_bounded(group: str) -> None:
    """A password is made only for a name that a group may have."""
    with pytest.raises(ValueError, match=r"group|ascii"):
        password.make(KEY, "gw-1", group, NOW)
