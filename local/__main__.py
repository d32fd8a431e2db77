"""`python -m local up|down|demo`: the whole product on one machine."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from local import demo as story
from local.cloud import Cloud, free_ports
from local.deployment import FLEET, serve
from local.processes import Failed
from local.state import State

app = typer.Typer(help=__doc__, no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--state", help="The folder of the emulated cloud.")]
Port = Annotated[int | None, typer.Option(help="A port of 127.0.0.1 (default: a free one).")]


@app.command()
def up(
    state: Folder = Path(".local"),
    fleet: Annotated[Path, typer.Option(help="The fleet folder.")] = FLEET,
    mtls_port: Port = None,
    public_port: Port = None,
    mqtt_port: Port = None,
    aws_port: Port = None,
) -> None:
    """Start the product and keep it running until Ctrl-C or `down`.

    When it is ready, the folder has env.sh, for a shell, and endpoints.json, for programs. Each trust anchor
    of the fleet is replaced by a new CA, whose key is in the folder too.
    """
    folder = State(state)
    try:
        with folder.begin():
            ports = free_ports(mtls_port, public_port, mqtt_port, aws_port)
            asyncio.run(_until_signalled(Cloud(folder, *ports), fleet))
    except (Failed, OSError) as problem:
        sys.exit(str(problem))


@app.command()
def down(state: Folder = Path(".local")) -> None:
    """Stop the product that `up` started in this folder."""
    print("stopped" if State(state).stop() else f"nothing runs in {state}")


@app.command()
def demo(state: Folder = Path(".local/demo")) -> None:
    """Show what the product does, step by step, and fail unless every step holds."""
    try:
        story.tell(state.resolve())
    except Failed as failed:
        sys.exit(f"\nThis did not hold: {failed}")


async def _until_signalled(cloud: Cloud, fleet: Path) -> None:
    serving, signalled = asyncio.create_task(serve(cloud, fleet, partial(print, flush=True))), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, signalled.set)
    stop = asyncio.create_task(signalled.wait())
    await asyncio.wait([serving, stop], return_when=asyncio.FIRST_COMPLETED)
    # The handlers stay, so that a second signal does not interrupt the cleaning up.
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


if __name__ == "__main__":
    app()
