"""Name the file in errors of writing, and find out how a disk compares the names of files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the path to an OSError that has none, as if a disk is full. Errors of opening a file have one."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def ignores_case(folder: Path) -> bool:
    """Return whether `a` and `A` are one file in `folder`, which need not exist yet.

    A platform does not tell: each disk, and on some disks each folder, has a rule of its own. So a folder is
    made for a moment and looked for in upper case.
    """
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    with TemporaryDirectory(prefix=".case-", dir=place) as made:
        return Path(made).with_name(Path(made).name.upper()).exists()
