"""Write the generated files and the generated parts of documents; with --check, only compare them.

Each output is a function that takes the present text of a file and returns its wanted text. OUTPUTS lists
them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from docs import fleet_reference, openapi, wire_tables
from firstboot.exchange.messages import CertificateAnswer, CertificateRequest
from firstboot.vend.record import DeviceAnswer

ROOT = Path(__file__).parents[1]


def between(text: str, name: str, content: str) -> str:
    """Return `text` with `content` between the markers of the generated part `name`.

    Raises ValueError unless the text has exactly one pair of these markers.
    """
    begin, end = f"<!-- generated: {name} -->\n", f"<!-- end of generated: {name} -->\n"
    parts = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    text, found = parts.subn(lambda markers: f"{markers[1]}\n{content}\n{markers[2]}", text)
    if found != 1:
        raise ValueError(f"{found} parts between the markers of {name}")
    return text


def fleet_page(text: str) -> str:
    """Return docs/fleet.md with its tables of keys."""
    return between(text, "keys", fleet_reference.tables())


def fleet_schema(_: str) -> str:
    """Return the JSON schema of fleet.toml."""
    return fleet_reference.schema_text()


def protocol_page(text: str) -> str:
    """Return docs/protocol.md with its tables of calls, topics and members."""
    text = between(text, "calls", wire_tables.http_calls(text))
    text = between(text, "request", wire_tables.members(CertificateRequest))
    text = between(text, "answer", wire_tables.members(CertificateAnswer))
    text = between(text, "device", wire_tables.members(DeviceAnswer))
    return between(text, "topics", wire_tables.mqtt_calls())


def operations_page(text: str) -> str:
    """Return docs/operations.md with its table of operations."""
    return between(text, "operations", wire_tables.operations())


def openapi_document(_: str) -> str:
    """Return the OpenAPI document of the HTTPS calls."""
    return openapi.text()


OUTPUTS: Mapping[str, Callable[[str], str]] = {
    "docs/fleet.md": fleet_page,
    "docs/operations.md": operations_page,
    "docs/protocol.md": protocol_page,
    "docs/openapi.json": openapi_document,
    "fleet/fleet.schema.json": fleet_schema,
}


def stale(root: Path, outputs: Mapping[str, Callable[[str], str]] = OUTPUTS) -> dict[Path, str]:
    """Return the files whose text is not the wanted one, with the wanted text."""
    found = {}
    for name, make in outputs.items():
        file = root / name
        present = file.read_text(encoding="utf-8") if file.exists() else ""
        if (wanted := make(present)) != present:
            found[file] = wanted
    return found


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write every stale file, or print its name with --check. Return the exit status."""
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    files = stale(root)
    for file, wanted in files.items():
        if arguments:
            print(f"{file.relative_to(root)} is stale: run `make docs`", file=sys.stderr)
        else:
            file.write_text(wanted, encoding="utf-8")
            print(f"wrote {file.relative_to(root)}")
    return 1 if files and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
