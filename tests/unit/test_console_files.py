"""The console names a file that it cannot use, in one line and without a traceback."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from console.__main__ import app
from tests.production import Factory

ROOT = Path(__file__).parents[2]
BINARY = b"\xff\xfe\x00\x80"
FILES = ["--ca-cert", "--ca-key", "--ca-key-password-file", "--manifest", "devices import", "groups expect"]
FOLDERS = ["--fleet", "fleet check", "fleet diff", "fleet apply", "fleet report", "factory ca --fleet"]


@pytest.fixture
def line(tmp_path: Path) -> Factory:
    """Return a factory whose CA is the group's trust anchor."""
    return Factory.build(tmp_path)


def said(*arguments: str | Path, code: int) -> str:
    """Return what the console prints, which must end with the exit code and no other exception."""
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    return done.output


def using(line: Factory, option: str, path: Path) -> list[str | Path]:
    """Return a command that uses the path, as the value of an option or as the argument of a command."""
    if option == "factory ca --fleet":
        return ["factory", "ca", "--group", "gateways", "--out", line.folder / "bench", "--fleet", path]
    if not option.startswith("--"):
        group = ["gateways"] if option in {"devices import", "groups expect"} else []
        return [*option.split(), *group, path]
    more = [] if option == "--manifest" else ["--count", "1"]
    return [*line.command(*more), option, path]


def one_line_names(output: str, path: Path) -> bool:
    """Return whether one line of the output has the whole path."""
    return any(str(path) in each for each in output.splitlines())


@pytest.mark.parametrize("option", [*FILES, *FOLDERS])
def test_a_missing_path_is_named(line: Factory, option: str) -> None:
    """A file or folder that does not exist is wrong usage."""
    path = line.folder / ("missing" * 15)  # longer than a line of a terminal
    assert one_line_names(said(*using(line, option, path), code=2), path)


@pytest.mark.parametrize("option", [*FILES, *FOLDERS])
def test_a_path_of_the_wrong_kind_is_named(line: Factory, option: str) -> None:
    """A folder in place of a file, and a file in place of a folder, is wrong usage."""
    path = line.folder / ("fleet" if option in FILES else "ca.pem")
    assert one_line_names(said(*using(line, option, path), code=2), path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every file")
@pytest.mark.parametrize("option", FILES)
def test_an_unreadable_file_is_named(line: Factory, option: str) -> None:
    """A file that may not be read is wrong usage."""
    path = line.folder / "secret"
    path.touch(mode=0o000)
    assert one_line_names(said(*using(line, option, path), code=2), path)


@pytest.mark.parametrize("content", [b"", b"text\n", BINARY], ids=["empty", "text", "binary"])
@pytest.mark.parametrize("option", [each for each in FILES if each != "--ca-key-password-file"])
def test_a_file_of_the_wrong_form_is_named(line: Factory, option: str, content: bytes) -> None:
    """A file that is not PEM or CSV is refused."""
    path = line.folder / "wrong"
    path.write_bytes(content)
    assert one_line_names(said(*using(line, option, path), code=1), path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (file, content)
        for file in (
            "fleet.toml",
            "grants/telemetry.json",
            "rules.cedar",
            "schema.cedarschema",
            "trust/acme-factory.pem",
        )
        for content in (None, b"", b"text\n", BINARY)
        if (file, content) != ("rules.cedar", b"")  # a fleet may have no rules
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["fleet check", "factory issue"])
def test_a_wrong_file_of_the_fleet_folder_is_named(
    line: Factory, command: str, file: str, content: bytes | None
) -> None:
    """A file of the fleet folder that is not what its name says is refused."""
    path = line.folder / "fleet" / file
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    arguments = using(line, command, line.folder / "fleet")
    assert file in said(*(line.command("--count", "1") if command == "factory issue" else arguments), code=1)


@pytest.mark.parametrize("below", ["ca.pem/run", "ca.pem"], ids=["below-a-file", "a-file"])
@pytest.mark.parametrize("command", ["factory issue", "factory ca"])
def test_an_output_folder_that_cannot_be_made_is_named(line: Factory, command: str, below: str) -> None:
    """A folder that cannot be made is refused, or wrong usage if it is a file."""
    path = line.folder / below
    code = 2 if below == "ca.pem" else 1
    if command == "factory issue":
        arguments: list[str | Path] = [*line.command("--count", "1"), "--out", path]
    else:
        shutil.copytree(ROOT / "fleet", line.folder / "example")
        arguments = [
            "factory",
            "ca",
            "--group",
            "gateways",
            "--fleet",
            line.folder / "example",
            "--out",
            path,
        ]
    assert one_line_names(said(*arguments, code=code), path)


@pytest.mark.parametrize("content", [b"deviceId", b"-----BEGIN"], ids=["manifest", "certificate"])
def test_a_full_disk_names_the_file(line: Factory, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """A file that cannot be written to the end is named, and so is the reason."""
    sync = os.fsync

    def full(descriptor: int) -> None:
        opened = Path(f"/proc/self/fd/{descriptor}")
        if opened.is_file() and opened.read_bytes().startswith(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    file = line.out / ("manifest.csv" if content == b"deviceId" else "gateways-000001.key.part")
    assert f"{file}: No space left on device" in said(*line.command("--count", "1"), code=1)


@pytest.mark.parametrize(("file", "code"), [("fleet", 2), ("missing/report.html", 1), ("ca.pem/x.html", 1)])
def test_a_page_that_cannot_be_written_is_named(line: Factory, file: str, code: int) -> None:
    """A file for the report that cannot be written is refused, or wrong usage if it is a folder."""
    path = line.folder / file
    assert one_line_names(said("fleet", "report", ROOT / "fleet", "--html", path, code=code), path)
