"""Run the operator's command line: `python -m console`, or `console` where `make` has installed it.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no answer from the stack, 130 interrupted.
Results go to standard output, problems and progress to standard error.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from console import output
from console.commands import devices, doctor, factory, failures, fleet, groups, keys, preflight, restore
from console.options import PLAIN, Json, Options, Stack

COMMAND = "console"
_PROJECT = Path(__file__).parents[1] / "pyproject.toml"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=PLAIN,
    pretty_exceptions_show_locals=False,
    help="Look after the devices and the fleet definition of a Firstboot stack.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no answer from the stack, 130 interrupted.",
)
app.add_typer(devices.app, name="devices")
app.add_typer(factory.app, name="factory")
app.add_typer(groups.app, name="groups")
app.add_typer(fleet.app, name="fleet")
app.add_typer(keys.hubs, name="hubs")
app.add_typer(failures.app, name="failures")
app.add_typer(restore.app, name="registry")
app.command(short_help="Look at what a stack depends on.")(doctor.doctor)
app.command(short_help="Look at an account before a deployment.")(preflight.preflight)


def version() -> str:
    """Return the version of this checkout, which pyproject.toml alone declares."""
    return str(tomllib.loads(_PROJECT.read_text())["project"]["version"])


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer passes the option's value
    if asked:
        output.line(f"firstboot {version()}")
        raise typer.Exit


@app.callback()
def common(
    ctx: typer.Context,
    *,
    stack: Stack = None,
    as_json: Json = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keep the options that were given before the command."""
    ctx.obj = Options(stack=stack, as_json=as_json)


def main() -> None:
    """Run the command of this process's arguments."""
    try:
        app(prog_name=_program())
    finally:
        output.flush()


def _program() -> str:
    """Return the name of the program, as in its usage line.

    A shell completes a command by its first word, so a completion script is always one for `console`.
    """
    completes = any(word.startswith(("--show-completion", "--install-completion")) for word in sys.argv)
    is_module = Path(sys.argv[0]).name == Path(__file__).name
    return f"python -m {COMMAND}" if is_module and not completes else COMMAND


if __name__ == "__main__":
    main()
