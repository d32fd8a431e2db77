"""Child processes that never outlive us."""

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
    """What could not be done, for a person."""


def failure(program: str, log: Path) -> Failed:
    """That `program` did not do its part, with its last output."""
    return Failed("\n".join([f"{program} failed; {log} ends:", *log.read_text().splitlines()[-30:]]))


@asynccontextmanager
async def child(
    command: list[str], log: Path, folder: Path = ROOT, environment: dict[str, str] | None = None
) -> AsyncIterator[Process]:
    """A process in `folder`, its output added to `log`. It and all it started end with the context."""
    with log.open("ab") as output:
        place: dict[str, Any] = {"cwd": folder, "env": environment, "start_new_session": True}
        process = await create_subprocess_exec(*command, **place, stdin=PIPE, stdout=output, stderr=STDOUT)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # nothing here has state worth saving
        await process.wait()


async def run(command: list[str], log: Path, folder: Path = ROOT) -> None:
    """Run `command` to its end.

    Raises Failed.
    """
    async with child(command, log, folder) as process:
        if await process.wait():
            raise failure(" ".join(command[:2]), log)
