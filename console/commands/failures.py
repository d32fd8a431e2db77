"""`console failures`: messages that could not be handled, and handling them again."""

from __future__ import annotations

from typing import Annotated

import typer

from console import output
from console.cloud import Operate
from console.options import Json, Options, Stack, command_group

app = command_group("Count messages that could not be handled, and handle them again.")

Name = Annotated[str, typer.Argument(metavar="FAILURES", help="A name that `failures show` prints.")]


@app.command()
def show(ctx: typer.Context, *, stack: Stack = None, as_json: Json = False) -> None:
    """Show how many failures of each kind there are."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        shown = Operate(options.stack_name).call("failures.show")
        output.result(shown, _describe, as_json=options.as_json)


@app.command()
def redrive(ctx: typer.Context, name: Name, *, stack: Stack = None, as_json: Json = False) -> None:
    """Handle all failures of a kind again. Correct their cause first, or they fail again."""
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)
        waiting = operate.call("failures.show")["failures"].get(name, 0)
        redriven = _redrive(operate, name, waiting)
        result = {"failures": name, "redriven": redriven}
        output.result(
            result, lambda _: [f"{redriven:,} {name} are being handled again"], as_json=options.as_json
        )


def _redrive(operate: Operate, name: str, waiting: int) -> int:
    """Redrive about as many messages as were waiting, and return how many.

    A message that fails again meanwhile returns to the queue. Without the limit it would go round for ever.
    """
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
