"""`console groups key`: the symmetric keys of a group, from which those of its devices are derived."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path
from typing import Annotated

import typer

from console import output
from console.cloud import Refused
from console.options import Json, Options, Stack, Yes, command_group
from console.stored_keys import StoredKeys, of_file
from firstboot.compiler.group_keys import NAME
from firstboot.domain.errors import DeviceIdInvalid
from firstboot.domain.hubs import HUB
from firstboot.domain.names import device_id
from firstboot.domain.secret_keys import GENERATED_BYTES, GROUPS, HUBS, KeyPair, encoded
from firstboot.pki import sas

app = command_group("Make, show, roll and delete the symmetric keys of a group.")
hubs = command_group("Keep the keys that sign for devices at an IoT hub.")


def _checked(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise typer.BadParameter(f"{text!r} must match {pattern.pattern}")
    return text


def _group(text: str) -> str:
    return _checked(NAME, text)


def _hub(text: str) -> str:
    return _checked(HUB, text)


Group = Annotated[
    str, typer.Argument(metavar="GROUP", callback=_group, help="The group's name in the fleet definition.")
]
Hub = Annotated[
    str, typer.Argument(metavar="HUB", callback=_hub, help="The hub's host name, NAME.azure-devices.net.")
]
Reveal = Annotated[bool, typer.Option("--reveal", help="Print the keys themselves, in Base64.")]
Keys = typer.Option(
    metavar="FILE",
    exists=True,
    dir_okay=False,
    help="JSON with the texts primary and secondary, or primaryKey and secondaryKey, in Base64.",
)


@app.command()
def make(
    ctx: typer.Context,
    group: Group,
    *,
    file: Annotated[Path | None, Keys] = None,
    copy: Annotated[
        str | None, typer.Option(metavar="GROUP", callback=lambda each: each and _group(each))
    ] = None,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Make a group's keys: two of 64 random bytes.

    With --file, the keys are those of another service, whose devices then keep theirs. With --copy, they are
    those of another group, which suits a group that is about to get another name.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    if file and copy:
        raise typer.BadParameter("--file and --copy exclude each other")
    with output.failures(as_json=options.as_json):
        stored = StoredKeys(options.stack_name, GROUPS)
        keys = of_file(file) if file else stored.read(copy).keys if copy else _generated()
        stored.make(group, keys)
        _print({"group": group}, keys, as_json=options.as_json)


@app.command()
def show(
    ctx: typer.Context, group: Group, *, reveal: Reveal = False, stack: Stack = None, as_json: Json = False
) -> None:
    """Show when a group's keys were made, and their fingerprints."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        stored = StoredKeys(options.stack_name, GROUPS).read(group)
        about = {"group": group, "made": stored.made}
        _print(about, stored.keys, as_json=options.as_json, reveal=reveal)


@app.command()
def derive(
    ctx: typer.Context,
    group: Group,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The devices' registration ids.")],
    *,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Print the keys of devices, which the factory writes into them. They derive from the primary key.

    A registration id is the device's id in lower case, as Azure's service takes it.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    try:
        names = [device_id(each.lower()) for each in ids]
    except DeviceIdInvalid as error:
        raise typer.BadParameter(error.log) from error
    with output.failures(as_json=options.as_json):
        primary = StoredKeys(options.stack_name, GROUPS).read(group).keys.primary
        derived = {name: encoded(sas.derived(primary, name)) for name in names}
        output.result(
            {"group": group, "keys": derived},
            lambda _: [f"{name} {key}" for name, key in derived.items()],
            as_json=options.as_json,
        )


@app.command()
def roll(
    ctx: typer.Context, group: Group, *, yes: Yes = False, stack: Stack = None, as_json: Json = False
) -> None:
    """Make a new primary key. The old one becomes the secondary key.

    Devices with a key of the primary one can enroll until the next roll. Keys of the secondary one end now.
    Write derived keys into devices five minutes later, when every function has read the new key.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    output.confirm(f"Roll the keys of {group}? Keys of the secondary one end now.", yes=yes)
    with output.failures(as_json=options.as_json):
        stored = StoredKeys(options.stack_name, GROUPS)
        found = stored.read(group)
        rolled = found.keys.rolled(secrets.token_bytes(GENERATED_BYTES))
        stored.replace(group, found, rolled)
        _print({"group": group}, rolled, as_json=options.as_json)


@app.command()
def delete(
    ctx: typer.Context, group: Group, *, yes: Yes = False, stack: Stack = None, as_json: Json = False
) -> None:
    """Delete a group's keys. They end within five minutes, and can be restored for 7 days."""
    options = Options.of(ctx, stack, as_json=as_json)
    _delete(options, GROUPS, group, yes=yes)


@hubs.command("set")
def set_keys(
    ctx: typer.Context,
    hub: Hub,
    file: Annotated[Path, Keys],
    *,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Keep the keys of a hub's shared access policy. The primary one makes the signatures.

    Keys that were set before are replaced. Functions use the new ones within five minutes.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        keys, stored = of_file(file), StoredKeys(options.stack_name, HUBS)
        try:
            found = stored.read(hub)
        except Refused as refused:
            if refused.problem["code"] != "keys-missing":
                raise
            stored.make(hub, keys)
        else:
            stored.replace(hub, found, keys)
        _print({"hub": hub}, keys, as_json=options.as_json)


@hubs.command("show")
def show_hub(ctx: typer.Context, hub: Hub, *, stack: Stack = None, as_json: Json = False) -> None:
    """Show when the keys of a hub were set, and their fingerprints."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        stored = StoredKeys(options.stack_name, HUBS).read(hub)
        _print({"hub": hub, "made": stored.made}, stored.keys, as_json=options.as_json)


@hubs.command("delete")
def delete_hub(
    ctx: typer.Context, hub: Hub, *, yes: Yes = False, stack: Stack = None, as_json: Json = False
) -> None:
    """Delete the keys of a hub. No signature for it is made five minutes later."""
    options = Options.of(ctx, stack, as_json=as_json)
    _delete(options, HUBS, hub, yes=yes)


def _delete(options: Options, kind: str, name: str, *, yes: bool) -> None:
    output.confirm(f"Delete the keys of {name}?", yes=yes)
    with output.failures(as_json=options.as_json):
        end = StoredKeys(options.stack_name, kind).delete(name)
        line = f"the keys of {name} are deleted, for good on {end}"
        output.result({"name": name, "deleted": end}, lambda _: [line], as_json=options.as_json)


def _generated() -> KeyPair:
    return KeyPair(secrets.token_bytes(GENERATED_BYTES), secrets.token_bytes(GENERATED_BYTES))


def _print(about: dict[str, str], keys: KeyPair, *, as_json: bool, reveal: bool = False) -> None:
    """Print what is said about keys, and their fingerprints or the keys themselves."""
    both = {"primary": keys.primary, "secondary": keys.secondary}
    shown = {name: encoded(key) if reveal else _fingerprint(key) for name, key in both.items()}
    result = {**about, **shown}
    output.result(
        result, lambda _: [f"{name:<12} {value}" for name, value in result.items()], as_json=as_json
    )


def _fingerprint(key: bytes) -> str:
    """Return the SHA-256 of a key, by which a person recognizes it."""
    return f"sha256:{hashlib.sha256(key).hexdigest()}"
