"""The folder of one running cloud: its files, its lock, its endpoints.json."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any, TextIO

from local.processes import Failed

_CERTIFICATES = ["factory-ca.pem", "factory-ca.key", "bootstrap.pem", "bootstrap.key", "operational-ca.pem"]
OURS = ["endpoints.json", "api-ca.pem", "mqtt-ca.pem", *_CERTIFICATES, "fleet", "run"]
"""All that is in the folder, but the logs and the lock."""
_STOP_SECONDS = 20


class State:
    """The folder `--state` names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def path(self, name: str) -> Path:
        """The absolute path of one of our files; those under `run/` are nobody else's business."""
        return self.folder / name

    def begin(self) -> TextIO:
        """Take the folder, for as long as the returned lock is open, and make it clean; what is not
        ours in it stays.

        Raises Failed when another process has its cloud here.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.path("lock").open("a+")
        if not _try_lock(lock):
            raise Failed(f"a cloud is already up in {self.folder}")
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        self.remove(*OURS, "deploy.log", "emulator.log")
        self.path("run").mkdir(mode=0o700)
        return lock

    def publish(self, endpoints: dict[str, Any]) -> None:
        """Write endpoints.json, whole or not at all. The operator's keys are in it."""
        draft = self.path("run/endpoints.json")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(endpoints, indent=2) + "\n")
        draft.rename(self.path("endpoints.json"))

    def stop(self) -> bool:
        """Have the process whose cloud is here end; False if there is none."""
        if not self.path("lock").exists():
            return False
        with self.path("lock").open() as lock:
            if _try_lock(lock):
                return False
            pid = int(lock.read())
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while not _try_lock(lock):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)  # its children notice and end too
                time.sleep(0.05)
            return True

    def remove(self, *names: str) -> None:
        """Remove some of our files and folders."""
        for path in map(self.path, names):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
