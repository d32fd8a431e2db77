"""Microsoft's client of Azure's Device Provisioning Service, unmodified, in a process of Node.js."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from firstboot.domain.secret_keys import GROUPS, KeyPair, prefix
from firstboot.pki import sas
from local.processes import ROOT
from tests import factories
from tests.clients.relay import relaying
from tests.flows.conftest import DPS_GROUP, ID_SCOPE, Cloud
from tests.flows.devices import client, fresh_name

SCRIPT = ROOT / "tests/clients/azure/register.js"
MODULES = ROOT / ".venv/dps/node_modules"
NODE = Path(sys.prefix) / "bin/node"


def group_keys(cloud: Cloud) -> KeyPair:
    """Return the keys of the group whose devices have symmetric keys, and set them first if needed."""
    return secret_keys(cloud, f"{prefix(cloud.endpoints['stack'], GROUPS)}/{DPS_GROUP}")


def secret_keys(cloud: Cloud, name: str) -> KeyPair:
    """Return the keys of a secret, which is made if it does not exist."""
    secrets = client(cloud, "secretsmanager")
    made = KeyPair(os.urandom(64), os.urandom(64))
    try:
        secrets.create_secret(Name=name, SecretString=made.to_json())
    except secrets.exceptions.ResourceExistsException:
        return KeyPair.from_json(secrets.get_secret_value(SecretId=name)["SecretString"])
    return made


@dataclass(frozen=True)
class Azure:
    """A device with Microsoft's client, which knows a host, an id scope and its key."""

    cloud: Cloud
    folder: Path
    host: str

    def register(self, name: str, **evidence: str) -> subprocess.CompletedProcess[str]:
        """Register the device with a CSR, and return the ended process."""
        url = urlsplit(self.cloud.endpoints[self.host])
        asked = self.folder / "asked.json"
        key = factories.ec_key()
        (self.folder / "device.key").write_text(factories.key_pem(key))
        payload = {"csr": factories.pem(factories.csr(key))}
        asked.write_text(
            json.dumps(
                {"host": url.hostname, "idScope": ID_SCOPE, "name": name, "payload": payload, **evidence}
            )
        )
        with relaying("localhost", url.port or 443) as port:
            environment = {
                "PATH": os.environ["PATH"],
                "NODE_PATH": str(MODULES),
                "NODE_USE_ENV_PROXY": "1",
                "HTTPS_PROXY": f"http://127.0.0.1:{port}",
                "NODE_EXTRA_CA_CERTS": self.cloud.endpoints["api_ca"],
            }
            return subprocess.run(
                [NODE, SCRIPT, asked], env=environment, capture_output=True, text=True, check=False
            )

    def log_in(self, state: dict[str, Any]) -> dict[str, Any]:
        """Log in with the certificate of a registration's state, and return the answer."""
        chain = [state["payload"]["certificate"], *state["payload"]["chain"]]
        leaf = self.folder / "certificate.pem"
        leaf.write_text(
            "".join(factories.pem(x509.load_der_x509_certificate(base64.b64decode(each))) for each in chain)
        )
        return call(self.cloud, "POST", "/v1/certificates/commit", leaf, self.folder / "device.key")

    def boot(self, name: str, **evidence: str) -> None:
        """Register the device, which must succeed, and log in with its certificate."""
        done = self.register(name, **evidence)
        assert done.returncode == 0, done.stderr
        state = json.loads(done.stdout)
        assert (state["status"], state["deviceId"], state["registrationId"]) == ("assigned", name, name)
        assert state["assignedHub"] == self.cloud.endpoints["mqtt"]["host"]
        assert self.log_in(state)["status"] == "active"


def call(cloud: Cloud, method: str, path: str, leaf: Path, key: Path) -> dict[str, Any]:
    """Make a call over mTLS, and return the answer's members."""
    context = ssl.create_default_context(cafile=cloud.endpoints["api_ca"])
    context.load_cert_chain(leaf, key)
    url = urlsplit(cloud.endpoints["mtls"])
    connection = HTTPSConnection(url.hostname or "", url.port, context=context)
    body = b"{}" if method == "POST" else None
    connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    found: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return found


def by_key(cloud: Cloud, folder: Path, which: str) -> str:
    """Boot a new device with its key under one of the group's keys, and return its id."""
    name = fresh_name()
    key = sas.derived(getattr(group_keys(cloud), which), name)
    Azure(cloud, folder, "public").boot(name, key=base64.b64encode(key).decode())
    return name


def by_certificate(cloud: Cloud, folder: Path) -> str:
    """Boot a new device with a bootstrap certificate, and return its id."""
    name = fresh_name()
    leaf, key = cloud.bootstrap(name, folder)
    Azure(cloud, folder, "mtls").boot(name, certificate=leaf.read_text(), certificateKey=key.read_text())
    return name
