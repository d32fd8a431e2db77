"""Test whether two patterns match a common text."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstboot.compiler.globs import meet
from firstboot.policy.limits import IOT_POLICY

PATTERNS = st.text("ab*?", max_size=4)
TEXTS = ["".join(letters) for length in range(9) for letters in itertools.product("ab", repeat=length)]


def _matching(pattern: str) -> set[str]:
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    return {text for text in TEXTS if expression.fullmatch(text)}


@given(PATTERNS, PATTERNS)
def test_patterns_meet_if_a_text_matches_both(one: str, other: str) -> None:
    """Two patterns meet exactly if one of all short texts matches both."""
    assert meet(one, other) == bool(_matching(one) & _matching(other))


# Two characters each: the most that fit into a policy, and more than Python's limit of recursion.
@pytest.mark.parametrize("length", [IOT_POLICY // 2])
def test_long_patterns_are_compared_in_time(length: int) -> None:
    """Patterns as long as a policy may be are compared without recursion."""
    assert meet("a*" * length, "*a" * length)
    assert not meet("a*" * length + "b", "*a" * length)
