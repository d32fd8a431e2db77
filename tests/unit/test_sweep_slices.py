"""A slice of a page ends when its time is over, and gives one device at least."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from firstboot.domain.device import Device
from firstboot.domain.sweep import Slice
from tests.unit.fleet_folders import device


def key(each: Device) -> str:
    """Return the key of a device."""
    return f"key of {each.device_id}"


def sliced(devices: list[Device], following: str | None, times: Iterator[bool]) -> tuple[Slice, list[Device]]:
    """Return a slice and the devices that it gave. Each of `times` says whether the time is over then."""
    part = Slice(devices, following, key, lambda: next(times, False))
    return part, list(part)


@given(st.integers(0, 6), st.lists(st.booleans()), st.sampled_from([None, "next"]))
def test_slices_give_each_device_of_a_page_once(size: int, times: list[bool], following: str | None) -> None:
    """Slices that begin where the last one ended give every device of a page once, in order."""
    page = [device(device_id=f"dev-{number}") for number in range(size)]
    left, seen, times_over = page, list[Device](), iter(times)
    while True:
        part, given_ = sliced(left, following, times_over)
        assert part.looked == given_
        assert given_ or not left
        seen += given_
        left = left[len(given_) :]
        if not left:
            break
        assert part.following == key(given_[-1])
    assert part.following == following
    assert seen == page


def test_a_slice_ends_when_its_time_is_over() -> None:
    """No device follows after the time is over, and the next page starts after the last device."""
    page = [device(device_id=f"dev-{number}") for number in range(4)]
    part, found = sliced(page, None, iter([False, True]))
    assert (found, part.following) == (page[:2], "key of dev-1")
    part, found = sliced(page, None, iter([True]))
    assert (found, part.following) == (page[:1], "key of dev-0")
    part, found = sliced(page[:1], None, iter([True]))
    assert (found, part.following) == (page[:1], None)
