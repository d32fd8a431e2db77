"""The folder of one emulated cloud: its files, its lock, its endpoints.json and its env.sh."""

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
_README = ["aws-config", "devices"]  # what the README's commands write: it means nothing to the next cloud
_FOLDERS = ["fleet", "factories", "run"]
OURS = ["endpoints.json", "env.sh", "api-ca.pem", "mqtt-ca.pem", *_CERTIFICATES, *_README, *_FOLDERS]
"""The names in the folder that belong to one run of the cloud: all but the logs and the lock."""
_STOP_SECONDS = 20


class State:
    """The folder that `--state` names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def path(self, name: str) -> Path:
        """Return the absolute path of a file. Only this package reads the files under `run/`."""
        return self.folder / name

    def begin(self) -> TextIO:
        """Lock the folder and remove what an earlier cloud left. Files of other names stay.

        Returns the lock, which holds as long as it is open. Raises Failed when another process has its
        cloud in this folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.path("lock").open("a+")
        if not _try_lock(lock):
            raise Failed(f"a cloud already runs in {self.folder}")
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        self.remove(*OURS, "deploy.log", "emulator.log")
        self.path("run").mkdir(mode=0o700)
        return lock

    def publish(self, endpoints: dict[str, Any], environment: str) -> None:
        """Write env.sh, then endpoints.json, each in one step. Only the owner can read them, because they
        have the operator's keys.
        """
        for name, text in {"env.sh": environment, "endpoints.json": json.dumps(endpoints, indent=2)}.items():
            draft = self.path(f"run/{name}")
            draft.touch(mode=0o600)
            draft.write_text(f"{text}\n")
            draft.rename(self.path(name))

    def stop(self) -> bool:
        """End the process whose cloud is in this folder, and return whether there was one."""
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
        """Remove these files and folders where they exist."""
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
