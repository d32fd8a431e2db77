"""The emulator unpacks the code of a Lambda function once (`local/shared_code.py`)."""

from __future__ import annotations

import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local import shared_code


def _archive(folder: Path, code: str) -> Path:
    """Write an archive with a package in `folder`, and make the empty folder for its files beside it."""
    (folder / "code").mkdir(parents=True)
    with zipfile.ZipFile(folder / "code.zip", "w") as made:
        made.writestr("package/handler.py", code)
    return folder / "code.zip"


def _unpacked(archive: Path) -> Path:
    """Unpack an archive as ministack does, and return the file in it."""
    place = archive.with_name("code")
    with shared_code.Archive(archive) as opened:
        opened.extractall(str(place))
    return place / "package/handler.py"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_processes_of_one_function_share_its_files(temporary: Path, tmp_path: Path) -> None:
    """Archives with the same content are unpacked once, also at the same time."""
    archives = [_archive(tmp_path / str(number), "code = 1") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        files = list(pool.map(_unpacked, archives))
    assert {file.read_text() for file in files} == {"code = 1"}
    assert len({file.resolve() for file in files}) == len(list(temporary.iterdir())) == 1


def test_other_code_has_other_files(temporary: Path, tmp_path: Path) -> None:
    """An archive with other content gets files of its own."""
    files = [_unpacked(_archive(tmp_path / name, f"code = {name!r}")) for name in ("old", "new")]
    assert [file.read_text() for file in files] == ["code = 'old'", "code = 'new'"]
    assert len(list(temporary.iterdir())) == 2
