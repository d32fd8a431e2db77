"""strongSwan's client of EST reads the CA's certificate, and waits after a 202.

tests/clients/ways.py has enrollment and renewal.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from tests.clients.est import GROUP, Client
from tests.clients.programs import program
from tests.flows.conftest import Cloud
from tests.flows.devices import operate


@pytest.fixture
def client(cloud: Cloud, tmp_path: Path) -> Client:
    """Return a device that has a bootstrap certificate."""
    return Client.new(cloud, tmp_path)


def test_strongswan_gets_the_ca_certificate(client: Client) -> None:
    """A device with strongSwan reads the issuing CA's certificate on the public host."""
    where = ["--url", client.cloud.endpoints["public"], "--cacert", client.cloud.endpoints["api_ca"]]
    client.run("pki", "--estca", *where, "--caout", "ca.pem", "--outform", "pem")
    fetched = x509.load_pem_x509_certificate((client.folder / "ca.pem").read_bytes())
    own = Path(client.cloud.endpoints["operational_ca"]).read_bytes()
    assert fetched == x509.load_pem_x509_certificate(own)


def test_strongswan_waits_after_a_202(client: Client) -> None:
    """The 202 of a frozen group is a pending request for strongSwan, which then sleeps as long as it says."""
    operate(client.cloud, "groups.freeze", group=GROUP)
    client.request("first")
    arguments = [*client.est_arguments("mtls", "first")[1:], "--cert", "bootstrap.pem"]
    waiting = subprocess.Popen(
        [program("pki"), *arguments, "--key", "bootstrap.key"],
        cwd=client.folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert waiting.stderr is not None
        sleeps = (re.search(r"going to sleep for (\d+) seconds", line) for line in waiting.stderr)
        found = next(filter(None, sleeps), None)
    finally:
        if waiting.poll() is None:
            os.killpg(waiting.pid, signal.SIGKILL)
        waiting.communicate()
        operate(client.cloud, "groups.thaw", group=GROUP)
    assert found is not None
    assert int(found[1]) >= 3600
