"""Compiles the modules of an asset for the Python that will run them, if this machine has such a Python.

python -m infra.asset.bytecode    prints the path of a Python of Lambda's version, or ends with 1
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from infra.configuration import Target

LAMBDA_PYTHON = "3.13"
# What Python prints for _DESCRIBE. Bytecode is valid for one magic number: 3571 is that of all 3.13 since its
# release candidates (CPython, Include/internal/pycore_magic_number.h). No flag stands for a build with a GIL
# and without checks for debugging.
_EXPECTED = "cpython 3.13 final 3571 flags="
_DESCRIBE = """
import importlib.util, sys
magic = int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little")
version = ".".join(map(str, sys.version_info[:2]))
print(sys.implementation.name, version, sys.version_info.releaselevel, magic, "flags=" + sys.abiflags)
"""


def python(target: Target) -> Path | None:
    """Return a Python whose bytecode `target` can use, or None if this machine has none."""
    return Path(sys.executable) if target is Target.LOCAL else _lambda_python()


@cache
def _lambda_python() -> Path | None:
    return next((each for each in _candidates() if describe(each) == _EXPECTED), None)


def _candidates() -> list[Path]:
    """Return where a Python of Lambda's version may be: on the PATH, and as pyenv and uv install it."""
    name = f"python{LAMBDA_PYTHON}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    uv = [sys.executable, "-m", "uv", "python", "find", "--managed-python", "--no-python-downloads"]
    managed = _printed([*uv, "--quiet", "--no-config", LAMBDA_PYTHON])
    return [
        *(Path(folder) / name for folder in os.environ.get("PATH", "").split(os.pathsep) if folder),
        *sorted(pyenv.glob(f"versions/{LAMBDA_PYTHON}*/bin/{name}")),
        *([Path(managed)] if managed else []),
    ]


def describe(python: Path) -> str:
    """Return the implementation, the version and the magic number of a Python, or no text if it fails."""
    # pyenv puts a script of each name on the PATH, which fails when another version is chosen.
    return _printed([str(python), "-I", "-S", "-c", _DESCRIBE]) if python.is_file() else ""


def _printed(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - paths of Pythons
    return done.stdout.strip() if done.returncode == 0 else ""


def compile_modules(folder: Path, python: Path) -> None:
    """Write the bytecode of each module below `folder` beside it, the same at each time and in each place.

    Lambda can't write beside its code, so Python must not find the bytecode outdated: it is valid without a
    look at the source (PEP 552, unchecked hash). Raises subprocess.CalledProcessError.
    """
    command = [str(python), "-s", "-S", "-P", "-m", "compileall", "-q"]
    # The paths in tracebacks are those in Lambda (Lambda developer guide, "LAMBDA_TASK_ROOT").
    options = ["--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", "/var/task"]
    # The order of a set's members in bytecode follows from the hash seed. Other settings of a developer's
    # Python could put the bytecode elsewhere.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    subprocess.run([*command, *options, str(folder)], check=True, env=environment)  # noqa: S603 - own arguments


def of(module: Path) -> Path | None:
    """Return the file with the bytecode of a module, or None if it was not compiled."""
    return next(iter(sorted((module.parent / "__pycache__").glob(f"{module.stem}.cpython-*.pyc"))), None)


def main() -> int:
    """Print the path of a Python of Lambda's version, and return the exit code."""
    found = python(Target.LAMBDA)
    if found:
        print(found)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
