"""Device ids are safe in every place where they are used."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import names
from firstboot.domain.errors import DeviceIdInvalid


@given(st.text(max_size=70))
def test_an_accepted_id_fits_everywhere(text: str) -> None:
    """An accepted id fits a CN, a thing name, every STS name and one segment of an ARN or topic."""
    try:
        accepted = names.device_id(text)
    except DeviceIdInvalid:
        return
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", accepted, re.ASCII)
    assert re.fullmatch(r"[a-zA-Z0-9:_-]{1,128}", accepted.replace(".", "_"))
    assert not set(accepted) & set("*?/$#+{}")
    assert not accepted.startswith(names.RESERVED_PREFIX)


@pytest.mark.parametrize("text", ["gw-0001", "a1", "A.b_c-9", "x" * 64])
def test_good_ids(text: str) -> None:
    """Ordinary ids are accepted."""
    assert names.device_id(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "x" * 65, "-a1", "a1-", "..", "gw/1", "gw*", "gw 1", "gw\n", "ß9", "${a}", "boot-1", "g\uff11"],
)
def test_bad_ids(text: str) -> None:
    """An id is refused if it is too short, too long or reserved, or has a character with special meaning."""
    with pytest.raises(DeviceIdInvalid):
        names.device_id(text)


def test_no_device_is_named_like_our_topics() -> None:
    """`firstboot` is no device id, because topics under `firstboot/` are Firstboot's own."""
    with pytest.raises(DeviceIdInvalid):
        names.device_id("firstboot")
