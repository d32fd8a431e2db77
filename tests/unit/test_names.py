"""Names that are safe wherever they go."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain import names
from firstboot.domain.errors import DeviceIdInvalid


@given(st.text(max_size=70))
def test_an_accepted_id_fits_everywhere(text: str) -> None:
    """What passes fits a CN, a thing name, every STS name and one segment of an ARN or topic."""
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
    """Ordinary names pass."""
    assert names.device_id(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "x" * 65, "-a1", "a1-", "..", "gw/1", "gw*", "gw 1", "gw\n", "ß9", "${a}", "boot-1", "g\uff11"],
)
def test_bad_ids(text: str) -> None:
    """Too short, too long, or with a character that could act somewhere."""
    with pytest.raises(DeviceIdInvalid):
        names.device_id(text)


def test_no_device_is_named_like_our_topics() -> None:
    """What is under `{deviceId}/` must not be what is under `firstboot/`."""
    with pytest.raises(DeviceIdInvalid):
        names.device_id("firstboot")
