"""Test the commands of docs/deploy.md that restore certificates, against S3's own model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import get_session

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"
_BLOCKS = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_COMMAND = re.compile(r"aws s3api ([a-z0-9-]+)([^\n|;]*)")
_OPTION = re.compile(r"(?<=\s)--([a-z-]+)")
GLOBAL = {"query", "output"}


def commands() -> list[tuple[str, list[str]]]:
    """Return each command of S3's API in the page, with its options."""
    blocks = "\n".join(_BLOCKS.findall(DEPLOY.read_text())).replace("\\\n", " ")
    return [(name, sorted(_OPTION.findall(rest))) for name, rest in _COMMAND.findall(blocks)]


@pytest.mark.parametrize(("name", "options"), commands(), ids=str)
def test_s3_has_each_command_and_option(name: str, options: list[str]) -> None:
    """Each command is an operation of S3, and each of its options a parameter of it."""
    model = get_session().get_service_model("s3")
    operations = {xform_name(each, "-"): each for each in model.operation_names}
    shape = model.operation_model(operations[name]).input_shape
    assert shape
    known = shape.members
    assert set(options) - GLOBAL <= {xform_name(each, "-") for each in known}


def test_what_writes_a_certificate_replaces_none() -> None:
    """The commands that restore certificates copy with If-None-Match, or delete one version."""
    found = dict(commands())
    assert found["copy-object"] == ["bucket", "copy-source", "if-none-match", "key"]
    assert found["delete-object"] == ["bucket", "key", "version-id"]
    assert "`put-object --if-none-match '*'`" in DEPLOY.read_text()
