"""Runs `console factory issue` again and again, and has it die at a later point each time.

A program of its own: it forks, and a process with threads, as a test runner may be, should not.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from functools import cache
from pathlib import Path

from console import fleet
from console.__main__ import app
from tests.device.crash import DIED, Fuse


def attempt(arguments: list[str], point: int = 0) -> int:
    """The exit code of the console; DIED if it got to `point`."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            with Fuse(point, kills=True).laid():
                app(arguments)
        except SystemExit as end:
            os._exit(int(end.code or 0))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: Path, arguments: list[str]) -> None:
    """Die at every point in turn and run once more, each time in a folder of its own (the point's
    number). Prints, a line a point, the exit codes of both and the certificates that death left.
    """
    fleet.load = cache(fleet.load)
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
        app([*arguments, "--out", str(folder / "0")])  # loads once what all deaths would load again
    point, code = 0, DIED
    while code == DIED:
        point += 1
        out = folder / str(point)
        code = attempt([*arguments, "--out", str(out)], point)
        left = {file.name: file.read_text() for file in out.glob("*.pem")}
        again = attempt([*arguments, "--out", str(out)])
        print(json.dumps({"point": point, "codes": [code, again], "left": left}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
