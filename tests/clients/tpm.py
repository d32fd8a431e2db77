"""A software TPM (swtpm) behind its resource manager, and OpenSSL's provider for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from local.cloud import free_ports
from local.processes import ROOT
from tests.clients import encoders, hsm
from tests.flows.conftest import until

# Each program that uses OpenSSL makes its keys in the TPM and signs with them there. Random numbers stay the
# system's, because curl wants them before it has loaded the provider.
_OPENSSL_CNF = """
openssl_conf = init
[init]
providers = providers
alg_section = algorithms
random = random
[providers]
default = active
tpm2 = active
[active]
activate = 1
[algorithms]
default_properties = ?provider=tpm2
[random]
random = CTR-DRBG
properties = provider=default
seed = SEED-SRC
seed_properties = provider=default
"""

# The TPM takes one connection, and a pipe of two programs needs two. So the resource manager is before it.
_SESSION = """
tpm2-abrmd --session --allow-root --tcti=swtpm:port=$TPM_PORT > abrmd.log 2>&1 &
manager=$!
trap 'kill $manager; wait $manager' EXIT
export TPM2OPENSSL_TCTI=tabrmd:bus_type=session
until openssl rand -provider tpm2 -out /dev/null 1 2> /dev/null; do kill -0 $manager || exit 1; done
OPENSSL_CONF=$PWD/tpm.cnf "$@"
"""


@dataclass(frozen=True)
class Tpm:
    """A running TPM; `folder` has its files and is where programs run."""

    folder: Path
    port: int

    def run(self, *command: str | Path) -> str:
        """Run a program whose OpenSSL has the TPM; return its output."""
        bus: list[str | Path] = ["dbus-run-session"]
        if (configuration := encoders.UNPACKED / "usr/share/dbus-1/session.conf").exists():
            bus += [
                "--dbus-daemon",
                encoders.UNPACKED / "usr/bin/dbus-daemon",
                "--config-file",
                configuration,
            ]
        session = ["--", "sh", "-eu", "session.sh", *command]
        return encoders.run(self.folder, *bus, *session, extra={"TPM_PORT": str(self.port)})

    def client(self, *arguments: str | Path) -> str:
        """Run the device's client with the TPM and without OpenSSL's provider; return its output."""
        settings = [f"PYTHONPATH={ROOT}{os.pathsep}{hsm.PACKAGES}", f"OPENSSL_CONF={os.devnull}"]
        return self.run("env", *settings, sys.executable, "-m", "device", *arguments)

    def new_key(self, name: str) -> str:
        """Make a P-256 key in the TPM and return its public key; only this TPM can use the file `name`."""
        self.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "group:P-256", "-out", name)
        assert "TSS2 PRIVATE KEY" in (self.folder / name).read_text()
        return self.run("openssl", "pkey", "-in", name, "-pubout")


@contextmanager
def running(folder: Path) -> Iterator[Tpm]:
    """Run a new TPM."""
    (folder / "state").mkdir(parents=True)
    (folder / "tpm.cnf").write_text(_OPENSSL_CNF)
    (folder / "session.sh").write_text(_SESSION)
    port, control = _neighbours()
    where = ["--tpmstate", f"dir={folder}/state", "--server", f"type=tcp,port={port},disconnect"]
    options = ["--ctrl", f"type=tcp,port={control}", "--flags", "not-need-init,startup-clear"]
    command = ["env", "swtpm", "socket", "--tpm2", *where, *options]
    process = subprocess.Popen(command, env=encoders.environment(), stdout=subprocess.DEVNULL)
    try:
        until(lambda: _listens(control), process)
        yield Tpm(folder, port)
    finally:
        process.terminate()
        process.wait()


def _neighbours() -> tuple[int, int]:
    """Return two free ports, since the client takes the next port for the TPM's control channel."""
    while True:
        (port,) = free_ports(None)
        with suppress(OSError):
            free_ports(port, port + 1)
            return port, port + 1


def _listens(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
