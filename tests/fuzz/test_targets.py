"""Each fuzz target with its own seeds and a few changes of them, without Atheris."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests.fuzz.target import Target, run
from tests.fuzz.targets import TARGETS

CHANGES = 200
COSTLY = {"fleet-folder": 20}
"""Changes of a target whose input takes long."""

REFUSALS = {"device-refusal"}
"""Targets that read a refusal, and raise it."""

_INSERTED = [
    b"\0",
    b"\xff",
    b"\x80",
    b'"',
    b"[" * 5_000,
    b"{}",
    b"null",
    b"9" * 4_300,
    b"\\ud800",
    b"-----BEGIN",
]


def changed(seeds: list[bytes], count: int, chance: random.Random) -> Iterator[bytes]:
    """Yield changed seeds: an octet is replaced, a part is cut or doubled, or something is inserted."""
    for _ in range(count):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(data))
            end = min(len(data), at + chance.randint(1, 8))
            new = chance.choice(
                [chance.randbytes(end - at), b"", bytes(data[at:end]) * 2, chance.choice(_INSERTED)]
            )
            data[at:end] = new
        yield bytes(data)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_ends_without_an_unexpected_error(name: str) -> None:
    """A parser of bytes from outside ends in a value or in an error of its own for each input."""
    target: Target = TARGETS[name]
    seeds = list(target.seeds())
    for data in [*seeds, *changed(seeds, COSTLY.get(name, CHANGES), random.Random(name))]:  # noqa: S311
        run(target, data)


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in REFUSALS])
def test_a_target_takes_a_seed(name: str) -> None:
    """At least one seed of each target is read to the end, so that changes begin behind the first check."""
    target = TARGETS[name]
    assert any(_is_read(target, seed) for seed in target.seeds())


def _is_read(target: Target, seed: bytes) -> bool:
    try:
        target.run(seed)
    except target.errors:
        return False
    return True
