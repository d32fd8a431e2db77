"""Tables of `fleet.toml`. A table is declared as a list of its keys; any other key in it is a problem."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Generic, TypeVar

from firstboot.compiler.kinds import Json, Kind, Reading, Toml, Value

Model = TypeVar("Model")

REQUIRED: Final = object()
"""Takes the place of a default. The key must be given."""

SAME: Final = object()
"""Takes the place of the default in a shared group. The default is the same as in other groups."""


@dataclass(frozen=True)
class Key:
    """A key of a table. `text` describes it in a sentence; `unit` is the unit of a number.

    `default` is a TOML value, REQUIRED, or None if the model holds None for a missing key. `shared` is the
    default in a shared group, whose devices share a bootstrap certificate.
    """

    name: str
    kind: Kind
    text: str
    unit: str = ""
    default: Toml = REQUIRED
    shared: Toml = SAME

    def default_in(self, *, shared: bool) -> Toml:
        """Return the default in a shared group or in another one."""
        return self.shared if shared and self.shared is not SAME else self.default

    def read(self, path: str, table: Json, reading: Reading) -> Value:
        """Return the model's value of the key in `table`, or of its default if the table lacks the key."""
        if self.name in table:
            return self.kind.read(path, table[self.name], reading)
        default = self.default_in(shared=reading.shared)
        if default is REQUIRED:
            reading.problem(path, f"is missing: it must be {self.kind.text}")
            return self.kind.stand_in
        return None if default is None else self.kind.read(path, default, reading)


@dataclass(frozen=True)
class Record(Kind, Generic[Model]):
    """A table with these keys and no others. `model` is called with their values by name.

    A table in which the key `shared_if[0]` has the value `shared_if[1]` is a shared group.
    """

    model: Callable[..., Model]
    keys: tuple[Key, ...]
    shared_if: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        """Return a description with the keys."""
        return f"a table of {', '.join(key.name for key in self.keys)}"

    @property
    def stand_in(self) -> Model:
        """Return a model made of the stand-ins of the keys."""
        return self.model(**self._stand_ins())

    def read(self, path: str, value: Toml, reading: Reading) -> Model:
        """Convert the table to the model."""
        return self.model(**self.values(path, value, reading))

    def values(self, path: str, value: Toml, reading: Reading) -> dict[str, Value]:
        """Return the arguments of the model by name. A key that is not declared is a problem."""
        if not isinstance(value, dict):
            reading.problem(path, "must be a table")
            return self._stand_ins()
        if self.shared_if and value.get(self.shared_if[0]) == self.shared_if[1]:
            reading = replace(reading, shared=True)
        declared = {key.name for key in self.keys}
        for name in value:
            if name not in declared:
                reading.problem(below(path, name), "is not a key of a fleet definition")
        return {key.name: key.read(below(path, key.name), value, reading) for key in self.keys}

    def _stand_ins(self) -> dict[str, Value]:
        return {key.name: key.kind.stand_in for key in self.keys}

    def write(self, value: Value) -> Json:
        """Return the table that `read` converts to the model, without the keys of members that are None."""
        members = ((key, getattr(value, key.name)) for key in self.keys)
        return {key.name: key.kind.write(member) for key, member in members if member is not None}


@dataclass(frozen=True)
class Tables(Kind):
    """A table of `least` or more tables. The whole name of each matches `names`.

    Each table has the keys of `record`, whose model is called with the table's name as well.
    """

    record: Record[Value]
    names: re.Pattern[str]
    least: int
    stand_in: ClassVar[Json] = {}

    @property
    def text(self) -> str:
        """Return a description with the least number of tables."""
        return f"a table of {self.least} or more tables"

    def read(self, path: str, value: Toml, reading: Reading) -> dict[str, Value]:
        """Convert every table. The result has them by name, in the order of the file."""
        if not isinstance(value, dict):
            reading.problem(path, "must be a table")
            return {}
        if len(value) < self.least:
            reading.problem(path, f"is empty: it must be {self.text}")
        return {name: self._read(below(path, name), name, table, reading) for name, table in value.items()}

    def _read(self, path: str, name: str, table: Toml, reading: Reading) -> Value:
        if not self.names.fullmatch(name):
            reading.problem(path, f"is not a valid name: a name must match {self.names.pattern}")
        return self.record.model(name=name, **self.record.values(path, table, reading))

    def write(self, value: Value) -> Json:
        """Return the tables that `read` converts to the models."""
        return {name: self.record.write(member) for name, member in value.items()}


def below(path: str, name: str) -> str:
    """Return the path of the member `name` of the table at `path`."""
    return f"{path}.{name}" if path else name
