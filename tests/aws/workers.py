"""Workers on a virtual clock: each runs in its own thread, one at a time, and waiting costs no real time."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from datetime import datetime, timedelta

Work = Callable[[], None]


class World:
    """A virtual clock and the workers that wait on it. The one that is to continue first runs next."""

    def __init__(self, start: datetime) -> None:
        self.time = start
        self._count = 0
        self._waiting: list[tuple[datetime, int, threading.Semaphore]] = []
        self._back = threading.Semaphore(0)
        self._failures: list[BaseException] = []

    def now(self) -> datetime:
        """Return the virtual time."""
        return self.time

    def pause(self, seconds: float) -> None:
        """Wait in a worker: let the others run until the time has come."""
        turn = threading.Semaphore(0)
        self._enqueue(self.time + timedelta(seconds=seconds), turn)
        self._back.release()
        turn.acquire()

    def start(self, work: Work, at: datetime | None = None) -> None:
        """Add a worker that begins at a time."""
        turn = threading.Semaphore(0)

        def run() -> None:
            turn.acquire()
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - the test's thread raises it
                self._failures.append(failure)
            self._back.release()

        threading.Thread(target=run, daemon=True).start()
        self._enqueue(at or self.time, turn)

    def run(self, seconds: float) -> None:
        """Let the workers run for some virtual seconds. Raises what a worker raised."""
        end = self.time + timedelta(seconds=seconds)
        while self._waiting and self._waiting[0][0] <= end:
            self.time, _, turn = heapq.heappop(self._waiting)
            turn.release()
            self._back.acquire()
            if self._failures:
                raise self._failures[0]
        self.time = end

    def _enqueue(self, at: datetime, turn: threading.Semaphore) -> None:
        self._count += 1
        heapq.heappush(self._waiting, (at, self._count, turn))
