"""A token of SoftHSM2, with the PKCS#11 module that the client and OpenSSL load."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from local.processes import ROOT
from tests.clients import encoders

PACKAGES = encoders.UNPACKED.parent / "python"
sys.path.append(str(PACKAGES))  # for tests of the client in this process
PIN = "the PIN, which no text shows"

# Python's OpenSSL, or a program's, finds the token's keys with pkcs11-provider.
_PROVIDER_CNF = """
openssl_conf = init
[init]
providers = providers
[providers]
default = active
pkcs11 = pkcs11
[active]
activate = 1
[pkcs11]
module = {provider}
pkcs11-module-path = {module}
pkcs11-module-quirks = no-deinit
activate = 1
"""


@dataclass(frozen=True)
class Token:
    """A token, and the folder with its files."""

    folder: Path
    label: str = "test"

    @property
    def module(self) -> Path:
        """Return the PKCS#11 module."""
        found = [
            path
            for root in (encoders.UNPACKED, Path("/"))
            for path in root.glob("usr/lib/**/softhsm/libsofthsm2.so")
        ]
        return found[0]

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables by which the module finds the token."""
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    def uri(self, label: str, **query: str) -> str:
        """Return the URI of the key with a label, by default with the PIN in a file."""
        query = {"module-path": str(self.module), **(query or {"pin-source": f"file:{self.folder / 'pin'}"})}
        return f"pkcs11:token={self.label};object={label}?" + "&".join(f"{n}={v}" for n, v in query.items())

    def provider(self) -> dict[str, str]:
        """Return the variables with which OpenSSL loads pkcs11-provider."""
        (provider,) = encoders.NEW_MBEDTLS.glob("usr/lib/*/ossl-modules/pkcs11.so")
        file = self.folder / "openssl.cnf"
        file.write_text(_PROVIDER_CNF.format(provider=provider, module=self.module))
        return {**self.environment, "OPENSSL_CONF": str(file)}

    def make(self, label: str) -> ec.EllipticCurvePublicKey:
        """Make a key as a factory does, and return its public key."""
        import pkcs11  # noqa: PLC0415 - an extra
        from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters  # noqa: PLC0415

        with self._session() as session:
            curve = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
            parameters = session.create_domain_parameters(pkcs11.KeyType.EC, curve, local=True)
            public, _ = parameters.generate_keypair(store=True, label=label, id=label.encode())
            key = load_der_public_key(encode_ec_public_key(public))
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return key

    def private_keys(self, label: str) -> list[dict[str, Any]]:
        """Return whether each private key with a label can leave the token, and its id."""
        import pkcs11  # noqa: PLC0415 - an extra

        wanted = {pkcs11.Attribute.LABEL: label, pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}
        with self._session() as session:
            return [
                {
                    "id": key[pkcs11.Attribute.ID].decode(),
                    "extractable": key[pkcs11.Attribute.EXTRACTABLE],
                    "sensitive": key[pkcs11.Attribute.SENSITIVE],
                }
                for key in session.get_objects(wanted)
            ]

    def destroy(self, identifier: str) -> None:
        """Destroy a key pair."""
        import pkcs11  # noqa: PLC0415 - an extra

        with self._session() as session:
            for found in list(session.get_objects({pkcs11.Attribute.ID: identifier.encode()})):
                found.destroy()

    def restore(self, saved: Path) -> None:
        """Give the token the files that it had."""
        import pkcs11  # noqa: PLC0415 - an extra

        pkcs11.unload(str(self.module))
        shutil.rmtree(self.folder / "tokens")
        shutil.copytree(saved, self.folder / "tokens")

    @contextmanager
    def _session(self) -> Iterator[Any]:
        import pkcs11  # noqa: PLC0415 - an extra

        pkcs11.unload(str(self.module))  # it may have an earlier test's token
        with mock.patch.dict(os.environ, self.environment):
            library = pkcs11.lib(str(self.module))
        with library.get_token(token_label=self.label).open(rw=True, user_pin=PIN) as session:
            yield session
        pkcs11.unload(str(self.module))


def new(folder: Path) -> Token:
    """Make a token with a PIN."""
    (folder / "tokens").mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    (folder / "pin").write_text(PIN)  # OpenSSL's engine takes a line end for a part of it
    token = Token(folder)
    pins = ["--pin", PIN, "--so-pin", PIN]
    command: list[str | Path] = [
        "--init-token",
        "--free",
        "--label",
        token.label,
        "--module",
        token.module,
        *pins,
    ]
    encoders.run(folder, "softhsm2-util", *command, extra=token.environment)
    return token


def client(*arguments: str | Path, extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the device's client as a program, with the libraries and packages of the extras."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PACKAGES)]), **extra}
    return subprocess.run(
        [sys.executable, "-m", "device", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
