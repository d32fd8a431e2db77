"""The audit runs its tools as processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit import tools
from audit.tools import Failed


def test_a_tool_that_fails_fails_the_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that exits with an error fails the audit, which would otherwise find nothing."""
    monkeypatch.setattr(tools, "_BIN", Path("/bin"))
    with pytest.raises(Failed):
        tools._run("false")
    with pytest.raises(Failed, match="cannot access"):
        tools._run("ls", "/nowhere")
