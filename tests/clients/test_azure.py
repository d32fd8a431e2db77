"""Microsoft's own client of Azure's Device Provisioning Service gets an identity, unmodified."""

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

import pytest
from cryptography import x509

from firstboot.domain.secret_keys import KeyPair
from firstboot.pki import sas
from local.processes import ROOT
from tests import factories
from tests.clients.relay import relaying
from tests.flows.conftest import DPS_GROUP, ID_SCOPE, Cloud
from tests.flows.devices import client, fresh_name

SCRIPT = ROOT / "tests/clients/azure/register.js"
MODULES = ROOT / ".venv/dps/node_modules"
NODE = Path(sys.prefix) / "bin/node"
KEYS = KeyPair(os.urandom(64), os.urandom(64))


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
        context = ssl.create_default_context(cafile=self.cloud.endpoints["api_ca"])
        context.load_cert_chain(leaf, self.folder / "device.key")
        url = urlsplit(self.cloud.endpoints["mtls"])
        connection = HTTPSConnection(url.hostname or "", url.port, context=context)
        connection.request("POST", "/v1/certificates/commit", b"{}", {"Content-Type": "application/json"})
        found: dict[str, Any] = json.load(connection.getresponse())
        connection.close()
        return found


@pytest.fixture(scope="module")
def keys(cloud: Cloud) -> KeyPair:
    """Set the keys of the group whose devices have symmetric keys."""
    client(cloud, "secretsmanager").create_secret(
        Name=f"{cloud.endpoints['stack']}/groups/{DPS_GROUP}", SecretString=KEYS.to_json()
    )
    return KEYS


@pytest.mark.parametrize("which", ["primary", "secondary"])
def test_a_symmetric_key_gets_an_identity(cloud: Cloud, keys: KeyPair, tmp_path: Path, which: str) -> None:
    """Microsoft's client registers by a symmetric key, and the device logs in with its certificate."""
    device, name = Azure(cloud, tmp_path, "public"), fresh_name()
    key = base64.b64encode(sas.derived(getattr(keys, which), name)).decode()
    done = device.register(name, key=key)
    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    assert (state["status"], state["deviceId"], state["registrationId"]) == ("assigned", name, name)
    assert state["assignedHub"] == cloud.endpoints["mqtt"]["host"]
    assert device.log_in(state)["status"] == "active"


def test_a_certificate_gets_an_identity(cloud: Cloud, tmp_path: Path) -> None:
    """Microsoft's client registers by a certificate, and the device logs in with its new one."""
    device, name = Azure(cloud, tmp_path, "mtls"), fresh_name()
    leaf, key = cloud.bootstrap(name, tmp_path)
    done = device.register(name, certificate=leaf.read_text(), certificateKey=key.read_text())
    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    assert (state["status"], state["deviceId"]) == ("assigned", name)
    assert device.log_in(state)["status"] == "active"


def test_another_key_is_refused_as_by_azure(cloud: Cloud, keys: KeyPair, tmp_path: Path) -> None:
    """Microsoft's client reads a refusal, and does not repeat it."""
    device = Azure(cloud, tmp_path, "public")
    done = device.register(fresh_name(), key=base64.b64encode(keys.primary).decode())
    assert done.returncode == 1
    assert "Unauthorized" in done.stderr
    assert '"errorCode":401002' in done.stderr
