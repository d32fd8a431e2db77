"""Check a fleet folder as a whole and compile it to a Fleet.

A problem is a line of text with the file, the line number where the parser gives one, and what is wrong.
All problems are found in one run. The compiler does not check whether a trust anchor has expired: the same
folder would compile on one day and not on the next, and the verifier checks it at every enrollment.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from firstboot.compiler import definition, rulebook, sizes, source, symmetric, templates, trust
from firstboot.compiler.errors import FleetInvalid
from firstboot.compiler.group_keys import NAME
from firstboot.compiler.keys import Definition
from firstboot.compiler.source import Source
from firstboot.domain.fleet import Fleet

Json = dict[str, Any]

# Takes the place of a grant that cannot be read. Rules that name the grant then cause no further problems.
_STAND_IN: Json = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Deny", "Action": "none:None", "Resource": "*"}],
}


def load(folder: Path) -> Fleet:
    """Read and compile the fleet definition in `folder`.

    Raises FleetInvalid.
    """
    return compile_fleet(source.read(folder))


def compile_fleet(files: Source) -> Fleet:
    """Return the fleet that `files` define.

    Raises FleetInvalid with every problem found.
    """
    problems: list[str] = []
    return _compile(_definition(files, problems), files, problems)


def check(fleet: Fleet) -> None:
    """Refuse a compiled fleet that this compiler would not have made.

    An operator sends a compiled fleet to `operate`, which must not trust that it was compiled.
    Raises FleetInvalid.
    """
    # `Fleet.from_json` does not check types, so any member may have any type of JSON's.
    try:
        values, files = _decompiled(fleet)
    except (TypeError, ValueError, AttributeError, OverflowError, OSError, RecursionError) as error:
        raise FleetInvalid(["the fleet holds a value of the wrong type"]) from error
    if _compile(values, files, []) != replace(fleet, base=None):
        raise FleetInvalid(["the compiler does not make this fleet from its own definition"])


def _compile(values: Json | None, files: Source, problems: list[str]) -> Fleet:
    defined = definition.read(values, problems) if values is not None else Definition({}, {}, {})
    rules, schema = (_text(files, name, problems) for name in (source.RULES, source.SCHEMA))
    grants = _grants(files, problems)
    fleet = Fleet(
        defined.groups,
        defined.role_aliases,
        grants,
        rules or "",
        schema or "",
        issuers=defined.issuers,
        services=defined.services,
        reserved=defined.reserved,
        terms=defined.grants,
        colon_ids=defined.colon_ids,
        id_scope=defined.id_scope,
    )
    problems += symmetric.problems(fleet)
    anchors = trust.anchors(files, fleet.groups, problems)
    many = sizes.grants(fleet)
    problems += many or templates.check(fleet)
    # Without one of these files the rules cannot be judged, and its absence is a problem already.
    if values is not None and rules is not None and schema is not None and not many:
        problems += rulebook.check(fleet)
    if problems:
        raise FleetInvalid(problems)
    whole = replace(
        fleet,
        groups={
            name: replace(group, trust=tuple(anchor.pem for anchor in anchors if anchor.group == name))
            for name, group in fleet.groups.items()
        },
    )
    if large := sizes.compiled(source.DEFINITION, whole):
        raise FleetInvalid(large)
    return whole


def _definition(files: Source, problems: list[str]) -> Json | None:
    text = _text(files, source.DEFINITION, problems)
    try:
        return None if text is None else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        problems.append(f"{source.DEFINITION}: {error}")
        return None


def _text(files: Source, name: str, problems: list[str]) -> str | None:
    if name not in files.files:
        problems.append(f"{name}: is missing")
        return None
    try:
        return files.files[name].decode()
    except UnicodeDecodeError as error:
        problems.append(f"{name}: is not UTF-8 (byte {error.start})")
        return None


def _grants(files: Source, problems: list[str]) -> dict[str, Json]:
    grants = {}
    for name in files.files:
        path = PurePosixPath(name)
        if not path.match(source.GRANTS):
            continue
        if not NAME.fullmatch(path.stem):
            problems.append(
                f"{name}: {path.stem!r} is not a valid grant name: a name must match {NAME.pattern}"
            )
        grants[path.stem] = _grant(name, _text(files, name, problems), problems)
    return grants


def _grant(name: str, text: str | None, problems: list[str]) -> Json:
    try:
        document: Json = _STAND_IN if text is None else json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        problems.append(f"{name}:{error.lineno}: {error.msg}")
    except (ValueError, RecursionError) as error:
        problems.append(f"{name}: {error}")
    else:
        return document
    return _STAND_IN


def _distinct(pairs: list[tuple[str, Any]]) -> Json:
    """Return the members of a JSON object, each name of which must be there once.

    JSON parsers use the last of several values, so in a policy the first would be hidden from a reader.
    Raises ValueError.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key is repeated in {{{', '.join(key for key, _ in pairs)}}}")
    return found


def _decompiled(fleet: Fleet) -> tuple[Json, Source]:
    """Return the values of `fleet.toml` and the other files that compile to `fleet`."""
    files = {source.RULES: fleet.rules.encode(), source.SCHEMA: fleet.schema.encode()}
    files |= {f"grants/{name}.json": json.dumps(grant).encode() for name, grant in fleet.grants.items()}
    groups = {}
    for name, group in fleet.groups.items():
        anchors = {f"trust/{name}-{n}.pem": pem.encode() for n, pem in enumerate(group.trust)}
        files |= anchors
        groups[name] = replace(group, trust=tuple(anchors))
    return definition.write(replace(fleet, groups=groups)), Source(files)
