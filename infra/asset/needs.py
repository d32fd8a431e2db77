"""Finds out what each Lambda file needs of the installed packages, and which files can share an asset."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, distributions
from pathlib import Path

from infra.asset.imports import reached

# No Lambda reads these. Each pattern is of a path in an asset.
_UNREAD = (
    # What type checkers, compilers and installers read. Licences stay, and so does the name and version.
    *("*.pyi", "*.pyx", "*.pxd", "*.h", "*/py.typed"),
    *(f"*.dist-info/{name}" for name in ("INSTALLER", "REQUESTED", "WHEEL", "top_level.txt")),
    # A framework for HTTP handlers, of which Powertools' other parts import one function when they are given
    # a Pydantic model.
    "aws_lambda_powertools/event_handler/*",
    # The primes of a check of keys that `firstboot/pki/signature.py` does not ask for.
    "badkeys/keydata/*.dat",
    # The time zones of the world. AWS's times are in UTC.
    "dateutil/zoneinfo/*.tar.gz",
)
_COMPILED = re.compile(r"\.so(\.[\d.]+)?$")


def remove_unread(folder: Path) -> None:
    """Delete from the folder of an installation the files that no Lambda reads.

    The lists of files stay, because `Installed` reads them. No asset has them.
    """
    for file in folder.rglob("*"):
        path = file.relative_to(folder).as_posix()
        if file.is_file() and any(fnmatch.fnmatchcase(path, pattern) for pattern in _UNREAD):
            file.unlink()


@dataclass(frozen=True)
class Package:
    """An installed distribution: its files by their paths, and the names of those that it requires."""

    name: str
    files: frozenset[str]
    requires: frozenset[str]

    @classmethod
    def of(cls, installed: Distribution) -> Package:
        """Return an installed distribution. What it requires for an extra is left out."""
        requires = (each for each in installed.requires or () if "extra" not in each.partition(";")[2])
        names = (re.match(r"[\w.-]+", each) for each in requires)
        return cls(
            _normal(installed.metadata["Name"]),
            frozenset(str(file) for file in installed.files or ()),
            frozenset(_normal(name[0]) for name in names if name),
        )

    @cached_property
    def compiled(self) -> frozenset[str]:
        """The compiled modules and the libraries below them."""
        return frozenset(file for file in self.files if _COMPILED.search(file))

    @property
    def modules(self) -> list[str]:
        """The names of the modules that are written in Python."""
        return [
            file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for file in self.files
            if file.endswith(".py")
        ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Installed:
    """A folder with Lambda files, the package `firstboot` and what requirements.txt installs."""

    folder: Path

    @cached_property
    def packages(self) -> dict[str, Package]:
        """The installed distributions by name."""
        found = (Package.of(each) for each in distributions(path=[str(self.folder)]))
        return {each.name: each for each in sorted(found, key=lambda each: each.name)}

    @cached_property
    def _owners(self) -> dict[str, str]:
        return {file: package.name for package in self.packages.values() for file in package.files}

    def needs(self, lambdas: Iterable[str]) -> Needs:
        """Return what the Lambda files of these names need.

        A module is needed if an import statement leads to it, also one in a function. What a compiled module
        imports can't be read, so its distribution is needed as a whole, with the compiled modules of those
        that it requires.
        """
        modules = set(lambdas)
        while True:
            paths = {self._path(file) for file in reached(self.folder, modules).values()}
            packages = {self._owners[path] for path in paths if path in self._owners}
            closed = {name for name in packages if self.packages[name].compiled}
            more = {module for name in closed for module in self.packages[name].modules}
            if more <= modules:
                break
            modules |= more
        below = {name for each in closed for name in self.packages[each].requires} & self.packages.keys()
        only = {name for name in below - packages if self.packages[name].compiled}
        for name in packages | only:
            paths |= self._beside(self.packages[name])
        size = sum((self.folder / path).stat().st_size for path in paths)
        return Needs(frozenset(packages | only), frozenset(paths), size)

    def _path(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def _beside(self, package: Package) -> set[str]:
        """Return the files in a distribution's folders that are no modules in Python."""
        # The folders count and not the list of files, because the models of botocore have been unpacked.
        tops = {file.partition("/")[0] for file in package.files} - {"..", "bin", "__pycache__"}
        found = (file for top in tops for file in [self.folder / top, *(self.folder / top).rglob("*")])
        return {
            self._path(file)
            for file in found
            if file.is_file() and file.suffix not in {".py", ".pyc"} and file.name != "RECORD"
        }


@dataclass(frozen=True)
class Needs:
    """Names of distributions, the paths of their files and of Firstboot's modules, and the files' bytes."""

    packages: frozenset[str]
    files: frozenset[str]
    size: int


def shared(needs: Mapping[str, Needs]) -> dict[str, tuple[str, ...]]:
    """Return for each Lambda file the files that share its asset, in the order of their names.

    A file joins the asset of another one that needs all of the same distributions, of several the smallest.
    """
    homes = {name: min(_homes(name, needs)) for name in needs}
    return {
        name: tuple(sorted(other for other in needs if homes[other] == homes[name])) for name in sorted(needs)
    }


def _homes(name: str, needs: Mapping[str, Needs]) -> Iterable[tuple[int, list[str]]]:
    """Yield the sets of distributions that have all that a file needs, with their size.

    A set that is part of another file's is left out, because it does not become an asset.
    """
    for each in needs.values():
        larger = any(each.packages < other.packages for other in needs.values())
        if not larger and needs[name].packages <= each.packages:
            yield each.size, sorted(each.packages)
