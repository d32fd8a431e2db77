"""Unpack the code of a Lambda function once, for all processes that run it.

ministack unpacks it for each process. One copy has about 1,100 files and 40 MB, so that each cold start took
half a second of CPU, and the end of a cloud took up to a second for each process that had run in it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

from ministack.core import lambda_runtime

_lock = threading.Lock()


class Archive(zipfile.ZipFile):
    """An archive that is unpacked once. Its files stay in the folder for temporary files."""

    def extractall(
        self,
        path: str | os.PathLike[str] | None = None,
        members: Iterable[str | zipfile.ZipInfo] | None = None,
        pwd: bytes | None = None,
    ) -> None:
        """Make `path`, an empty folder, a link to the files."""
        place, digest = Path(path or "."), hashlib.sha256(Path(str(self.filename)).read_bytes())
        with _lock:
            unpacked = Path(tempfile.gettempdir()) / f"code-{digest.hexdigest()}"
            if not unpacked.exists():
                draft = unpacked.with_suffix(".draft")
                super().extractall(draft, members, pwd)
                draft.rename(unpacked)
        place.rmdir()
        place.symlink_to(unpacked)


def install() -> None:
    """Have ministack's processes of one function share its code."""
    lambda_runtime.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": Archive})
