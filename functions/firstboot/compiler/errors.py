"""Errors of a fleet definition."""

from __future__ import annotations

from firstboot.domain.errors import OperatorError


class FleetInvalid(OperatorError):
    """A refused fleet definition. Each line of `problems` names its file and what to correct."""

    code = "fleet-invalid"
    title = "The fleet definition has errors"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
