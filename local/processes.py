"""Child processes that end with their context, and with them every process that they started."""

from __future__ import annotations

import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
"""The repository."""


class Failed(Exception):
    """An error whose message is for the person at the terminal."""


def failure(program: str, log: Path) -> Failed:
    """Return the error that `program` failed, with the end of its output."""
    return Failed("\n".join([f"{program} failed; {log} ends:", *log.read_text().splitlines()[-30:]]))


@asynccontextmanager
async def child(
    command: list[str], log: Path, folder: Path = ROOT, environment: dict[str, str] | None = None
) -> AsyncIterator[Process]:
    """Run a process in `folder` and append its output to `log`. When the context ends, the process and all
    that it started are killed.
    """
    with log.open("ab") as output:
        place: dict[str, Any] = {"cwd": folder, "env": environment, "start_new_session": True}
        process = await create_subprocess_exec(*command, **place, stdin=PIPE, stdout=output, stderr=STDOUT)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # no child has state that must be saved
        await process.wait()


async def run(command: list[str], log: Path, folder: Path = ROOT) -> None:
    """Run `command` to its end.

    Raises Failed if its exit code is not 0.
    """
    async with child(command, log, folder) as process:
        if await process.wait():
            raise failure(" ".join(command[:2]), log)
