"""`console failures`: show messages that could not be handled, delete them, and send our own again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from console import describe, output
from console.cloud import Operate
from console.options import Json, Options, Stack, Yes, command_group

app = command_group("Show, delete and send again what could not be handled.")

_NAME = typer.Argument(metavar="FAILURES", help="A name that `failures show` prints.")
Name = Annotated[str, _NAME]


@app.command()
def show(
    ctx: typer.Context,
    name: Annotated[str | None, _NAME] = None,
    *,
    stack: Stack = None,
    as_json: Json = False,
) -> None:
    """Count the failures of each kind, or show some of one kind.

    Of a device's request it shows the client id, the call, the time and the reason, as the message has them.
    Nothing of that is verified. The messages stay; the other commands do not see them for five seconds.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)
        if name is None:
            output.result(operate.call("failures.show"), _counts, as_json=options.as_json)
            return
        shown = operate.call("failures.show", failures=name)
        output.result(shown, describe.letters, as_json=options.as_json)


@app.command()
def delete(
    ctx: typer.Context, name: Name, *, yes: Yes = False, stack: Stack = None, as_json: Json = False
) -> None:
    """Delete all failures of a kind.

    Devices repeat their requests themselves. The command asks first when standard input is a terminal.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)
        waiting = _waiting(operate, name)
        output.confirm(f"Delete {waiting:,} {name} for good? ({operate.where})", yes=yes)

        def batch() -> dict[str, int]:
            return operate.call("failures.delete", failures=name)

        result = {"failures": name} | _all(f"deleting {name}", waiting, batch, {"deleted": 0})
        output.result(result, lambda _: [f"{result['deleted']:,} {name} deleted"], as_json=options.as_json)


@app.command()
def redrive(ctx: typer.Context, name: Name, *, stack: Stack = None, as_json: Json = False) -> None:
    """Send all failures of a kind to their queue again. Correct their cause first, or they fail again.

    Requests of devices can't be sent again, because nothing in them proves which device sent them.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        operate = Operate(options.stack_name)

        def batch() -> dict[str, int]:
            return operate.call("failures.redrive", failures=name)

        counts = _all(f"redriving {name}", _waiting(operate, name), batch, {"redriven": 0, "failed": 0})
        lines = [f"{counts['redriven']:,} {name} are being handled again"]
        if counts["failed"]:
            lines.append(f"{counts['failed']:,} {name} could not be sent; repeat the command in a minute")
        output.result({"failures": name} | counts, lambda _: lines, as_json=options.as_json)
    if counts["failed"]:
        raise typer.Exit(output.UNREACHABLE)


def _waiting(operate: Operate, name: str) -> int:
    found: int = operate.call("failures.show")["failures"].get(name, 0)
    return found


def _all(
    what: str, waiting: int, batch: Callable[[], dict[str, int]], counts: dict[str, int]
) -> dict[str, int]:
    """Have batches handled until about as many messages as were waiting are done, and add up the counts.

    A message that fails again meanwhile returns to the queue. Without the limit it would go round for ever.
    """
    with output.progress(what, waiting) as advance:
        while True:
            done = batch()
            counts = {name: count + done[name] for name, count in counts.items()}
            advance(sum(done.values()))
            if not any(done.values()) or sum(counts.values()) >= waiting:
                return counts


def _counts(shown: output.Record) -> list[str]:
    return [f"{name:<16} {count:,}" for name, count in shown["failures"].items()]
