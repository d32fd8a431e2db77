"""The options that commands share, and how a group of commands is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STACK = "Firstboot"

# The boxes that typer draws with rich cut long options at 80 columns, and break a file's path over two lines.
PLAIN = None
"""The markup of help and usage errors: none."""

Stack = Annotated[
    str | None,
    typer.Option(metavar="NAME", help=f"The CloudFormation stack of the devices (default: {DEFAULT_STACK})."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="The fleet folder.")
]
FleetFolder = Annotated[
    Path, typer.Option("--fleet", metavar="FOLDER", exists=True, file_okay=False, help="The fleet folder.")
]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]


def command_group(text: str) -> typer.Typer:
    """Return a group of commands whose help begins with `text`."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=PLAIN)


@dataclass(frozen=True)
class Options:
    """The values of `--stack` and `--json`. `stack` is None if the option was not given."""

    stack: str | None
    as_json: bool

    @classmethod
    def of(cls, ctx: typer.Context, stack: str | None, *, as_json: bool) -> Options:
        """Return the options given before and after the command. Those after it win."""
        before = ctx.find_object(cls) or cls(stack=None, as_json=False)
        return cls(stack=stack or before.stack, as_json=as_json or before.as_json)

    @property
    def stack_name(self) -> str:
        """Return the name of the stack: the option's value, or the default."""
        return self.stack or DEFAULT_STACK
