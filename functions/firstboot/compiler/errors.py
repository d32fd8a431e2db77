"""Errors of a fleet definition."""

from __future__ import annotations

from firstboot.domain.errors import OperatorError


class FleetInvalid(OperatorError):
    """`problems` are lines a person can act on, each naming its file."""

    code = "fleet-invalid"
    title = "The fleet definition has errors"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
