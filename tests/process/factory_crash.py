"""Runs `console factory issue` repeatedly and kills it at a later point each time.

It is a program of its own because it forks, which a process with threads, such as a test runner, should not
do.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from functools import cache
from pathlib import Path

from console import fleet_folder
from console.__main__ import app
from tests.device.crash import DIED, Fuse


def attempt(arguments: list[str], point: int = 0) -> int:
    """Return the console's exit code, which is DIED if it reached `point`."""
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
    """Die at each point in turn and run once more, in a folder named after the point's number.

    Prints one line a point: the exit codes of both runs, and the certificates that the killed run left.
    """
    fleet_folder.load = cache(fleet_folder.load)
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
        app([*arguments, "--out", str(folder / "0")])  # fills caches that each child would fill again
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
