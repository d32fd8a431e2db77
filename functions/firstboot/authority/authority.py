"""The issuing CA, which is made once and then only read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.authority.errors import AuthorityKeyChanged, AuthorityTermsChanged
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.pki import chain, profile
from firstboot.pki.certificate import Certificate, parse_text


class Store(Protocol):
    """The store of the CA's certificate. Every method raises Unavailable when AWS does not answer."""

    def certificate(self) -> bytes | None:
        """Return the CA certificate (PEM), or None before there is one."""

    def put_certificate(self, pem: bytes) -> bool:
        """Store the CA certificate unless there is one; return whether this call stored it."""


@dataclass(frozen=True)
class Authority:
    """The one CA of a deployment. `subject` is its common name, `years` its lifetime."""

    store: Store
    key: ec.EllipticCurvePrivateKey
    subject: str
    years: int

    def __call__(self, now: datetime) -> x509.Certificate:
        """Return the CA certificate, and make it if there is none.

        Of two calls at the same time, the first one to store its certificate wins, and both return that one.
        A repeat returns the stored certificate. Raises AuthorityKeyChanged if the stored certificate is not
        `key`'s, AuthorityTermsChanged if it has another name or lifetime, and Unavailable.
        """
        if self.store.certificate() is None:
            made = profile.authority_certificate(self.key, self.subject, now, self.years)
            self.store.put_certificate(pem(made).encode())
        stored = self.store.certificate()
        if stored is None:
            raise Unavailable(log="the stored CA certificate is not there")
        ca = chain.parse(stored.decode())
        # A second CA would leave the fleet's certificates without their issuer, so a change of key, name or
        # lifetime fails the deployment.
        if ca.public_key() != self.key.public_key():
            raise AuthorityKeyChanged(log=ca.subject.rfc4514_string())
        if found := profile.authority_differs(ca, self.subject, self.years):
            raise AuthorityTermsChanged(log=f"it has {found}; set caSubject and caYears in cdk.json to that")
        return ca


def trust_anchors(fleet: Fleet) -> list[Certificate]:
    """Return every trust anchor of every group once.

    The order depends on the anchors only, so that the same fleet always makes the same truststore.
    """
    texts = {pem for group in fleet.groups.values() for pem in group.trust}
    return sorted(map(parse_text, texts), key=lambda anchor: anchor.fingerprint)


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()
