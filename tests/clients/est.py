"""A device with clients of EST that are not ours: strongSwan's `pki`, and curl with openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tests import factories
from tests.clients.programs import program
from tests.flows.conftest import Cloud, factory, save
from tests.flows.devices import fresh_name, operate

GROUP = "est"


@dataclass(frozen=True)
class Client:
    """A device with an EST client and a folder for its files."""

    cloud: Cloud
    name: str
    folder: Path

    @classmethod
    def new(cls, cloud: Cloud, folder: Path) -> Client:
        """Return a device that has a bootstrap certificate."""
        name, key = fresh_name(), factories.ec_key()
        authority = factory(cloud.endpoints["factories"]["trust/est.pem"])
        save(folder, authority.issue(name, key), key)
        return cls(cloud, name, folder)

    def run(self, *command: str) -> str:
        """Run a program and return its output."""
        done = subprocess.run(
            [program(command[0]), *command[1:]],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def password(self) -> str:
        """Return the user name and a one-time password, as both clients take them."""
        made = operate(self.cloud, "devices.token", deviceId=self.name, group=GROUP)
        return f"{self.name}:{made['password']}"

    def est(self, host: str, file: str, *more: str) -> x509.Certificate:
        """Make a key and a CSR with strongSwan, and return the certificate that its EST client gets."""
        self.request(file)
        return self.certificate(self.run(*self.est_arguments(host, file), *more))

    def request(self, file: str) -> None:
        """Make a key and a CSR with strongSwan."""
        key = self.run("pki", "--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem")
        (self.folder / f"{file}.key").write_text(key)
        arguments = ["--type", "priv", "--in", f"{file}.key", "--dn", "CN=device", "--outform", "pem"]
        (self.folder / f"{file}.csr").write_text(self.run("pki", "--req", *arguments))

    def est_arguments(self, host: str, file: str) -> list[str]:
        """Return a command of strongSwan's EST client, which polls for a minute at most."""
        endpoints = self.cloud.endpoints
        trusted = ["--cacert", endpoints["api_ca"], "--cacert", endpoints["operational_ca"]]
        where = ["--url", endpoints[host], *trusted, "--in", f"{file}.csr", "--outform", "pem"]
        return ["pki", "--est", *where, "--maxpolltime", "60"]

    def certificate(self, pem: str) -> x509.Certificate:
        """Return a certificate that the issuing CA has signed for this device."""
        made = x509.load_pem_x509_certificate(pem.encode())
        ca = Path(self.cloud.endpoints["operational_ca"]).read_bytes()
        made.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))
        assert made.subject.rfc4514_string().startswith(f"CN={self.name}")
        return made

    def curl(self, host: str, call: str, *more: str) -> str:
        """Return the answer to a request of curl's."""
        endpoints = self.cloud.endpoints
        url = f"{endpoints[host]}/.well-known/est/{call}"
        return self.run("curl", "--silent", "--show-error", "--cacert", endpoints["api_ca"], *more, url)

    def decoded(self, answer: str) -> list[x509.Certificate]:
        """Return the certificates in an answer, which openssl decodes."""
        (self.folder / "answer.b64").write_text(answer)
        self.run("openssl", "base64", "-d", "-A", "-in", "answer.b64", "-out", "answer.p7")
        pem = self.run("openssl", "pkcs7", "-inform", "DER", "-in", "answer.p7", "-print_certs")
        return x509.load_pem_x509_certificates(pem.encode())

    def enroll_and_renew(self) -> None:
        """Enroll with a bootstrap certificate, and renew with a new key, by strongSwan."""
        first = self.est("mtls", "first", "--cert", "bootstrap.pem", "--key", "bootstrap.key")
        (self.folder / "first.pem").write_text(factories.pem(first))
        second = self.est("mtls", "second", "--cert", "first.pem", "--key", "first.key")
        assert second.serial_number != first.serial_number
        assert second.public_key() != first.public_key()
        record = operate(self.cloud, "devices.show", deviceId=self.name)
        assert int(record["active"]["serial"], 16) == first.serial_number

    def enroll_with_a_password(self) -> None:
        """Enroll with a one-time password by strongSwan, and with no other key again."""
        password = self.password()
        self.est("public", "first", "--userpass", password)
        self.request("second")
        again = subprocess.run(
            [program("pki"), *self.est_arguments("public", "second")[1:], "--userpass", password],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert again.returncode != 0
        assert "HTTP 401" in again.stderr

    def enroll_with_curl(self) -> None:
        """Read the CA's certificate, enroll with a password and renew by mTLS, with curl and openssl."""
        ca = Path(self.cloud.endpoints["operational_ca"]).read_bytes()
        assert self.decoded(self.curl("public", "cacerts")) == [x509.load_pem_x509_certificate(ca)]
        kind = ["--header", "Content-Type: application/pkcs10", "--data-binary"]
        bodies = {}
        for file in ("first", "second"):
            curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            made = ["-keyout", f"{file}.key", "-out", f"{file}.der", "-outform", "DER", "-subj", "/CN=device"]
            self.run("openssl", "req", "-new", *curve, *made)
            self.run("openssl", "base64", "-in", f"{file}.der", "-out", f"{file}.b64")
            bodies[file] = f"@{file}.b64"
        answer = self.curl("public", "simpleenroll", *kind, bodies["first"], "--user", self.password())
        (first,) = self.decoded(answer)
        (self.folder / "first.pem").write_text(factories.pem(first))
        proof = ["--cert", "first.pem", "--key", "first.key"]
        (second,) = self.decoded(self.curl("mtls", "simplereenroll", *kind, bodies["second"], *proof))
        assert self.certificate(factories.pem(second)).serial_number != first.serial_number
