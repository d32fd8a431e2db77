"""The options every command takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STACK = "Firstboot"

Stack = Annotated[
    str | None, typer.Option(help=f"The CloudFormation stack to look after (default: {DEFAULT_STACK}).")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="The fleet folder.")
]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


@dataclass(frozen=True)
class Options:
    """What was said before the command (`stack` None: nothing)."""

    stack: str | None
    as_json: bool

    @classmethod
    def of(cls, ctx: typer.Context, stack: str | None, *, as_json: bool) -> Options:
        """What was said before the command and after it, taken together; after wins."""
        before = ctx.find_object(cls) or cls(stack=None, as_json=False)
        return cls(stack=stack or before.stack, as_json=as_json or before.as_json)

    @property
    def stack_name(self) -> str:
        """The stack to look after."""
        return self.stack or DEFAULT_STACK
