"""The process of one measured Lambda, which runs with the standard library and the folders of its arguments.

    python -I -S -B driver.py [--profile] MODULE.HANDLER FOLDER...

A line of the standard input is an event. The line that answers it has the handler's answer, the CPU seconds
and the process's greatest memory. The first line's CPU is that since the interpreter's start, and so of a
cold start; each later line's is that of its request. The handler `none` answers nothing, which measures the
interpreter and this program. With --profile a last line has the time in each module of the later requests.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

TYPE_CHECKING = False  # the import of typing would be measured
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Handler = Callable[[Any, "Context"], Any]


def used() -> float:
    """Return the CPU seconds that this process has used, in its own code and in the kernel."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak() -> float:
    """Return the greatest resident memory of this process in MB."""
    # Linux gives a new program the peak of its parent as `ru_maxrss`, but not as VmHWM.
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - pathlib would cost 10 ms
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


class Context:
    """The context object of an invocation, as Lambda's runtime makes it."""

    function_name = "bench"
    function_version = "$LATEST"
    memory_limit_in_mb = 1024
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"
    aws_request_id = "6ad53bd1-2ee5-4e5f-9a3e-3f9e3a0a7a10"

    def get_remaining_time_in_millis(self) -> int:
        """Return the time that is left of the function's time-out."""
        return 50_000


def handler_of(target: str) -> Handler:
    """Import a handler, and return it."""
    if target == "none":
        return lambda *_: None
    module, _, name = target.rpartition(".")
    __import__(module)
    found: Handler = getattr(sys.modules[module], name)
    return found


def profiled(handler: Handler) -> tuple[Handler, Callable[[], Any]]:
    """Return the handler with a profile, and a function that returns each function's place and own time."""
    import cProfile  # noqa: PLC0415 - only here, because it costs memory and time
    import pstats  # noqa: PLC0415

    # The CPU is counted, not the time in which a request waits for AWS.
    profile = cProfile.Profile(time.process_time)

    def found() -> list[Any]:
        stats: Any = pstats.Stats(profile)
        return [[*where, calls, own] for where, (_, calls, own, *_) in stats.stats.items()]

    return lambda *request: profile.runcall(handler, *request), found


def main() -> None:
    """Answer events until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w")

    def write(members: dict[str, Any]) -> None:
        answers.write(json.dumps(members) + "\n")
        answers.flush()

    # The handlers log to the standard output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    arguments = sys.argv[1:]
    is_profiled = arguments[0] == "--profile"
    target, sys.path[:0] = arguments[is_profiled], arguments[is_profiled + 1 :]
    line = sys.stdin.readline()
    if not line:
        return
    event = json.loads(line)
    handler = handler_of(target)
    imported = used()
    answer = handler(event, Context())
    write({"answer": answer, "cpu": used(), "imported": imported, "memory": peak()})
    found = None
    if is_profiled:
        handler, found = profiled(handler)
    while line := sys.stdin.readline():
        event = json.loads(line)
        begun = time.process_time()
        answer = handler(event, Context())
        write({"answer": answer, "cpu": time.process_time() - begun, "memory": peak()})
    if found:
        write({"profile": found()})


if __name__ == "__main__":
    main()
