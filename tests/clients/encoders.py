"""The libraries and tools of `make .venv/encoders/ready`, and C programs built with them.

Without apt they are the machine's own, and so is the C compiler.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local.processes import ROOT
from tests.clients.programs import program

HERE = Path(__file__).parent
UNPACKED = ROOT / ".venv" / "encoders" / "root"
NEW_MBEDTLS = ROOT / ".venv" / "encoders" / "new" / "root"


def _libraries(root: Path) -> Path:
    """Return the folder of the libraries unpacked below `root`."""
    (folder,) = root.glob("usr/lib/*-linux-gnu")
    return folder


@dataclass(frozen=True)
class Library:
    """A C library: its program in this folder, the names that the linker takes, and where it is unpacked."""

    source: str
    names: tuple[str, ...]
    root: Path = UNPACKED

    def build(self, folder: Path) -> Path:
        """Compile the program; return its path."""
        made = folder / self.source
        names = [f"-l{name}" for name in self.names]
        command = [*self._compiler(), "-o", made, HERE / f"{self.source}.c", *names, *self._end()]
        # Debian's configuration of Mbed TLS warns of deprecated functions, for which its check wants GCC.
        subprocess.run([*command, "-DMBEDTLS_CHECK_CONFIG_H"], check=True)
        return made

    def environment(self) -> dict[str, str]:
        """Return the environment in which the program finds the library."""
        return {"LD_LIBRARY_PATH": str(_libraries(self.root))} if UNPACKED.exists() else {}

    def _compiler(self) -> list[str | Path]:
        if not UNPACKED.exists():
            return [program("cc")]
        base, own = _libraries(UNPACKED), _libraries(self.root)
        headers = [self.root / "usr/include", UNPACKED / "usr/include", UNPACKED / "usr/include" / base.name]
        # Nothing is taken from the machine but the C library that runs the program.
        return [
            *(UNPACKED / "usr/bin/tcc", f"-B{base}/tcc", "-nostdlib", "-nostdinc", f"-I{base}/tcc/include"),
            *(f"-I{folder}" for folder in headers),
            *(f"-L{own}", base / "crt1.o", base / "crti.o"),
        ]

    def _end(self) -> list[str | Path]:
        if not UNPACKED.exists():
            return []
        base = _libraries(UNPACKED)
        (libc,) = Path("/lib").glob("*-linux-gnu/libc.so.6")
        return [libc, base / "libc_nonshared.a", base / "tcc/libtcc1.a", base / "crtn.o"]


OLD_MBEDTLS = Library("mbedtls", ("mbedtls", "mbedx509", "mbedcrypto"))
LIBRARIES = {
    "mbedtls-old": OLD_MBEDTLS,
    "mbedtls-new": Library("mbedtls", OLD_MBEDTLS.names, NEW_MBEDTLS),
    "wolfssl": Library("wolfssl", ("wolfssl",)),
}


def environment() -> dict[str, str]:
    """Return the environment in which the unpacked tools run, and the scripts that call them."""
    if not UNPACKED.exists():
        return dict(os.environ)
    base = _libraries(UNPACKED)
    libraries = [base, UNPACKED / "lib" / base.name, base / "swtpm"]
    places = [UNPACKED / "usr/bin", UNPACKED / "usr/sbin"]
    return {
        "PATH": os.pathsep.join([*map(str, places), os.environ["PATH"]]),
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "OPENSSL_MODULES": str(base / "ossl-modules"),
    }


def run(folder: Path, *command: str | Path, extra: Mapping[str, str] | None = None) -> str:
    """Run an unpacked tool, or a script that calls some, in `folder`; return its output."""
    env = {**environment(), **(extra or {})}
    done = subprocess.run(
        ["env", *command], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
