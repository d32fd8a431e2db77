"""`console failures`: what could not be handled, and taking it up again."""

from __future__ import annotations

from typing import Annotated

import typer

from console import output
from console.cloud import Operate
from console.options import Json, Options, Stack

app = typer.Typer(no_args_is_help=True, help="Look at what could not be handled, and take it up again.")

Name = Annotated[str, typer.Argument(metavar="FAILURES", help="As `failures show` names them.")]


@app.command()
def show(ctx: typer.Context, *, stack: Stack = None, as_json: Json = False) -> None:
    """Say how many failures there are of each kind."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        shown = Operate(options.stack_name).call("failures.show")
        output.result(shown, _describe, as_json=options.as_json)


@app.command()
def redrive(ctx: typer.Context, name: Name, *, stack: Stack = None, as_json: Json = False) -> None:
    """Take up all failures of a kind. Mend their cause first, or they come back."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)
        waiting = operate.call("failures.show")["failures"].get(name, 0)
        redriven = _redrive(operate, name, waiting)
        result = {"failures": name, "redriven": redriven}
        output.result(result, lambda _: [f"{redriven:,} taken up"], as_json=options.as_json)


def _redrive(operate: Operate, name: str, waiting: int) -> int:
    """No more than were waiting: what fails again meanwhile must not go round for ever."""
    done = 0
    with output.progress(f"redriving {name}", waiting) as advance:
        while batch := operate.call("failures.redrive", failures=name)["redriven"]:
            done += batch
            advance(batch)
            if done >= waiting:
                break
    return done


def _describe(shown: output.Record) -> list[str]:
    return [f"{name:<16} {count:,}" for name, count in shown["failures"].items()]
