"""`python -m console`: the operator's command line.

Exit codes: 0 done · 1 refused · 2 wrong usage · 3 no answer from the stack · 130 interrupted.
Results go to standard output, problems and progress to standard error.
"""

from __future__ import annotations

import typer

from console.commands import devices, doctor, factory, failures, fleet, groups, restore
from console.options import Json, Options, Stack

app = typer.Typer(
    name="console",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
    help="Look after the devices and the fleet definition of a Firstboot stack.",
    epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no answer from the stack, 130 interrupted.",
)
app.add_typer(devices.app, name="devices")
app.add_typer(factory.app, name="factory")
app.add_typer(groups.app, name="groups")
app.add_typer(fleet.app, name="fleet")
app.add_typer(failures.app, name="failures")
app.add_typer(restore.app, name="registry")
app.command()(doctor.doctor)


@app.callback()
def common(ctx: typer.Context, *, stack: Stack = None, as_json: Json = False) -> None:
    """Keep the options that may stand before the command as well as after it."""
    ctx.obj = Options(stack=stack, as_json=as_json)


if __name__ == "__main__":
    app(prog_name="python -m console")
