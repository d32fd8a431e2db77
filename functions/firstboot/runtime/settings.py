"""The settings of a Lambda function, read from its environment. No other module reads the environment.

Each Lambda function's package declares its own classes. `infra/` builds the same classes with the stack's
values and writes `environment()` into the template, so the names on both sides are always the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True)
class Settings:
    """A set of environment variables. The field `table` is the variable `FIRSTBOOT_TABLE`."""

    def environment(self) -> dict[str, str]:
        """Return the variables that carry these settings."""
        return {_variable(f.name): str(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Return the settings in `environment`, by default that of the process.

        Raises KeyError with the name of a missing variable.
        """
        source = os.environ if environment is None else environment
        return cls(**{f.name: source[_variable(f.name)] for f in fields(cls)})


def _variable(name: str) -> str:
    return f"FIRSTBOOT_{name.upper()}"
