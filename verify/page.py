"""Write the result of a walk as a page in Markdown. The page holds no secret and not the whole account id."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from console.visible import visible
from firstboot.domain.clock import iso
from verify.spending import Act, dollars
from verify.step import Outcome, Result

_SECRETS = (
    re.compile(r"-----BEGIN.*?-----END[^-]*-----", re.DOTALL),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{8,}\b"),  # access key ids
    re.compile(r"\beyJ[\w-]+(?:\.[\w-]+)*"),  # JWTs
    re.compile(r"https?://\S+\?\S+"),  # the query of a presigned URL signs it
    re.compile(r"\b[A-Za-z0-9+/_=-]{100,}"),  # tokens, signatures and encoded keys
)
_HIDDEN = "(hidden)"


@dataclass(frozen=True)
class Head:
    """The head of the page, about the walk itself.

    `facts` are lines such as versions, by their name. `left` is what could not be removed. `cut` says why the
    walk ended early.
    """

    stack: str
    account: str
    region: str
    begun: datetime
    facts: Mapping[str, str]
    acts: Mapping[Act, int]
    left: Sequence[str] = ()
    cut: str = ""


def page(head: Head, results: Sequence[Result]) -> str:
    """Return the page."""
    return hidden("\n".join(_lines(head, results)) + "\n", head.account)


def hidden(text: str, account: str) -> str:
    """Return the text without secrets, and with the last four digits of the account only."""
    for pattern in _SECRETS:
        text = pattern.sub(_HIDDEN, text)
    return text.replace(account, f"…{account[-4:]}")


def count(results: Iterable[Result], outcome: Outcome) -> int:
    """Return how many steps ended so."""
    return sum(result.outcome is outcome for result in results)


def _lines(head: Head, results: Sequence[Result]) -> list[str]:
    counts = ", ".join(f"{count(results, each)} {each}" for each in Outcome)
    return [
        f"# Firstboot on AWS: stack {head.stack}",
        "",
        f"{counts}." + (f" The walk ended early: {head.cut}." if head.cut else ""),
        "",
        f"- Date: {iso(head.begun)}",
        f"- Account: {head.account}, {head.region}",
        *(f"- {name}: {_cell(value)}" for name, value in head.facts.items()),
        f"- Estimated cost: ${dollars(head.acts):.4f} ({_acts(head.acts)})",
        *(["- Left behind: nothing"] if not head.left else []),
        *_section("Left behind", [f"- {_cell(each)}" for each in head.left]),
        *_table(results),
        *_section("Failed", _reasons(results, Outcome.FAILED)),
        *_section("Skipped", _reasons(results, Outcome.SKIPPED)),
    ]


def _acts(acts: Mapping[Act, int]) -> str:
    return "; ".join(f"{act}: {number}" for act, number in acts.items())


def _table(results: Sequence[Result]) -> list[str]:
    rows = ["| step | result | seconds | measured |", "| --- | --- | --- | --- |"]
    for each in results:
        measured = "<br>".join(_cell(str(one)) for one in each.measurements)
        seconds = f"{each.seconds:.1f}" if each.outcome is not Outcome.SKIPPED else ""
        rows.append(f"| {each.step} | {each.outcome} | {seconds} | {measured} |")
    return _section("Steps", rows)


def _reasons(results: Sequence[Result], outcome: Outcome) -> list[str]:
    return [f"- {each.step}: {_cell(each.reason)}" for each in results if each.outcome is outcome]


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *lines] if lines else []


def _cell(text: str) -> str:
    """Return a text as one line that can't end a cell of a table or begin a tag."""
    return visible(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")
