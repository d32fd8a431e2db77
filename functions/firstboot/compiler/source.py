"""Read the files that belong to a fleet definition from a fleet folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firstboot.compiler.errors import FleetInvalid

DEFINITION = "fleet.toml"
RULES = "rules.cedar"
SCHEMA = "schema.cedarschema"
GRANTS = "grants/*.json"
TRUST = "trust/*.pem"


@dataclass(frozen=True)
class Source:
    """The files of a fleet folder, unchecked: the path inside the folder, with `/`, and the content."""

    files: Mapping[str, bytes]


def read(folder: Path) -> Source:
    """Return the files of the fleet definition in `folder`, and ignore other files there.

    Raises FleetInvalid if a file can't be read.
    """
    problems: list[str] = []
    files: dict[str, bytes] = {}
    for pattern in (DEFINITION, RULES, SCHEMA, GRANTS, TRUST):
        for path in sorted(folder.glob(pattern)):
            name = path.relative_to(folder).as_posix()
            try:
                files[name] = path.read_bytes()
            except OSError as error:
                problems.append(f"{name}: {error.strerror}")
    if problems:
        raise FleetInvalid(problems)
    return Source(files)
