"""Device ids that a loose pattern would confuse, and texts that must not be accepted as ids."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.names import DeviceId, device_id

WORDS = ("fleet", "data", "firstboot", "eu-central-1")
"""Words in the paths of templates and of Firstboot's own topics, which may also be names of devices."""

_BASES = st.sampled_from([*WORDS, "dev1", "a.b", "x-1", "10", "1e1", "a..b"]) | st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}[A-Za-z0-9]", fullmatch=True
)
_NEIGHBOURS = (
    lambda text: text + "0",
    lambda text: text[:-1],
    lambda text: text[1:],
    lambda text: text.swapcase(),
    lambda text: text.replace(".", "-"),
    lambda text: text.replace("-", "_"),
    lambda text: text + text,
    lambda text: f"{text}.{text}",
    lambda text: f"{text}-x",
    lambda text: f"x.{text}",
    lambda text: (text * 64)[:64],
    lambda text: (text * 64)[:63],
    lambda text: "0" + text,
    lambda text: text[::-1],
)

_WILD = [
    "*",
    "?",
    "dev*",
    "dev?",
    "*1",
    "#",
    "+",
    "dev1/#",
    "dev1/+",
    "${*}",
    "{deviceId}",
    "${iot:ClientId}",
]
_PATHS = [
    "..",
    "../dev1",
    "dev1/..",
    "/dev1",
    "dev1/",
    "dev1:x",
    "$aws",
    "dev1,dev2",
    '","Resource":"*',
    "%2e%2e",
]
_UNICODE = ["d\u00e9v1", "dev\uff11", "\uff44ev1", "dev1\u200b", "\u202edev1", "dev\u0661", "\u017fdev"]
_FORMS = [
    "",
    "a",
    "a" * 65,
    " dev1",
    "dev1 ",
    "dev1\n",
    "dev1\x00",
    "-a1",
    "a1-",
    ".a1",
    "boot-dev1",
    "firstboot",
]
HOSTILE_NAMES = _WILD + _PATHS + _UNICODE + _FORMS
"""Texts with a meaning in a policy, path or topic, or that look like another id; none may be an id."""


def accepted(text: str) -> DeviceId | None:
    """Return the text as a device id, or None if it is none."""
    try:
        return device_id(text)
    except DeviceIdInvalid:
        return None


@st.composite
def neighbours(draw: Any) -> tuple[DeviceId, ...]:
    """Draw some different device ids, most of them alike."""
    base = draw(_BASES)
    others = draw(st.lists(st.sampled_from(_NEIGHBOURS), min_size=1, max_size=2))
    texts = [base, *(other(base) for other in others), draw(st.sampled_from(WORDS)), draw(_BASES)]
    return tuple({found: None for text in texts if (found := accepted(text))})
