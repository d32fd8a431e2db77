"""The process of one measured Lambda, which runs with the standard library and the folders of its arguments.

    python -I -S -B driver.py MODULE.HANDLER FOLDER...

A line of the standard input is an event. The line that answers it has the handler's answer, the CPU seconds
and the process's greatest memory. The first line's CPU is that since the interpreter's start, and so of a
cold start; each later line's is that of its request. The handler `none` answers nothing, which measures the
interpreter and this program.
"""

import json
import os
import resource
import sys
import time


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
        return 9_000


def main() -> None:
    """Answer events until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    # The handlers log to the standard output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    target, sys.path[:0] = sys.argv[1], sys.argv[2:]
    event = json.loads(sys.stdin.readline())
    handler = None
    if target != "none":
        module, _, name = target.rpartition(".")
        __import__(module)
        handler = getattr(sys.modules[module], name)
    begun = 0.0
    while True:
        answer = handler(event, Context()) if handler else None
        cpu = (time.process_time() if begun else used()) - begun
        answers.write(json.dumps({"answer": answer, "cpu": cpu, "memory": peak()}) + "\n")
        answers.flush()
        line = sys.stdin.readline()
        if not line:
            return
        event = json.loads(line)
        begun = time.process_time()


if __name__ == "__main__":
    main()
