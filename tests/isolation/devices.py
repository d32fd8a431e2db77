"""Device ids that a loose pattern would confuse, and texts that must not be accepted as ids."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.names import DeviceId, IdRule, device_id

WORDS = ("fleet", "data", "firstboot", "eu-central-1")
"""Words in the paths of templates and of Firstboot's own topics, which may also be names of devices."""

_SHORT = ["x", "_"]
_COLONS = [
    "DEVICE:dev1",
    "00:1B:44:11:3A:B7",
    "x:",
    "arn:aws:sqs:eu-central-1:123456789012:dev1",
    "dev1:x",
    "a:b",
]


def _bases(rule: IdRule) -> st.SearchStrategy[str]:
    known = [*WORDS, *_SHORT, "dev1", "a.b", "x-1", "10", "1e1", "a..b", "dev1-"]
    drawn = st.from_regex(rule.pattern, fullmatch=True).map(lambda text: text[:12])
    return st.sampled_from([*known, *(_COLONS if rule.colons else [])]) | drawn


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
    lambda text: f"{text}:x",
    lambda text: f"DEVICE:{text}",
    lambda text: f"fleet:{text}",
    lambda text: text[:1],
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
    ":dev1",
    "$aws",
    "dev1,dev2",
    '","Resource":"*',
    "%2e%2e",
]
_UNICODE = ["d\u00e9v1", "dev\uff11", "\uff44ev1", "dev1\u200b", "\u202edev1", "dev\u0661", "\u017fdev"]
_FORMS = [
    "",
    "a" * 65,
    " dev1",
    "dev1 ",
    "dev1\n",
    "dev1\x00",
    "-a1",
    ".a1",
    "boot-dev1",
    "firstboot",
    "aws:dev1",
]
HOSTILE_NAMES = _WILD + _PATHS + _UNICODE + _FORMS
"""Texts with a meaning in a policy, path or topic, or that look like another id; none may be an id."""

PLAIN, COLONS = IdRule(colons=False), IdRule(colons=True)
"""The rules of fleets without and with `colon_ids`."""


def accepted(text: str, rule: IdRule = COLONS) -> DeviceId | None:
    """Return the text as a device id, or None if it is none."""
    try:
        return device_id(text, rule)
    except DeviceIdInvalid:
        return None


@st.composite
def neighbours(draw: Any, rule: IdRule = PLAIN) -> tuple[DeviceId, ...]:
    """Draw some different device ids, most of them alike."""
    bases = _bases(rule)
    base = draw(bases)
    others = draw(st.lists(st.sampled_from(_NEIGHBOURS), min_size=1, max_size=2))
    texts = [base, *(other(base) for other in others), draw(st.sampled_from(WORDS)), draw(bases)]
    return tuple({found: None for text in texts if (found := accepted(text, rule))})
