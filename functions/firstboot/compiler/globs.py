"""Patterns with `*` (any text) and `?` (one character), as IAM matches resources and condition values."""

from __future__ import annotations


def meet(one: str, other: str) -> bool:
    """Return whether a text exists that both patterns match.

    The time is the product of their lengths.
    """
    # `reached` holds the lengths of those beginnings of `other` that meet the part of `one` read so far.
    reached = _skipped({0}, other)
    for character in one:
        if character == "*":
            reached = set(range(min(reached, default=len(other) + 1), len(other) + 1))
        else:
            stars = {at for at in reached if other[at : at + 1] == "*"}
            steps = {at + 1 for at in reached if _equal(character, other[at : at + 1])}
            reached = _skipped(stars | steps, other)
    return len(other) in reached


def _equal(one: str, other: str) -> bool:
    return other not in ("", "*") and (one == other or "?" in (one, other))


def _skipped(reached: set[int], other: str) -> set[int]:
    """Return also the places behind the stars at which `reached` stands. A star matches nothing, too."""
    found = set(reached)
    for at in reached:
        while other[at : at + 1] == "*":
            at += 1  # noqa: PLW2901 - the walk over the stars
            found.add(at)
    return found
