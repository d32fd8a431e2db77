"""The issuing CA's life: made once, then only read."""

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
    """Where the CA's certificate is. Every method raises Unavailable when AWS does not answer."""

    def certificate(self) -> bytes | None:
        """Return the CA certificate (PEM), None before there is one."""

    def put_certificate(self, pem: bytes) -> bool:
        """Store the CA certificate unless there is one; True if this call stored it."""


@dataclass(frozen=True)
class Authority:
    """The one CA of a deployment: `subject` is its common name, `years` its lifetime."""

    store: Store
    key: ec.EllipticCurvePrivateKey
    subject: str
    years: int

    def __call__(self, now: datetime) -> x509.Certificate:
        """Return the CA certificate, made now if there is none.

        Of two calls that make one at the same time, the first to store it wins; both return that one.
        Raises AuthorityKeyChanged when the stored certificate is not `key`'s, AuthorityTermsChanged when it
        has another name or lifetime: a deployer who asks for another CA must hear that there is none.
        """
        if self.store.certificate() is None:
            made = profile.authority_certificate(self.key, self.subject, now, self.years)
            self.store.put_certificate(pem(made).encode())
        stored = self.store.certificate()
        if stored is None:
            raise Unavailable(log="the CA certificate was stored and is not there")
        ca = chain.parse(stored.decode())
        if ca.public_key() != self.key.public_key():
            raise AuthorityKeyChanged(log=ca.subject.rfc4514_string())
        if found := profile.authority_differs(ca, self.subject, self.years):
            raise AuthorityTermsChanged(log=f"it is {found}; caSubject and caYears in cdk.json must say so")
        return ca


def trust_anchors(fleet: Fleet) -> list[Certificate]:
    """Return every trust anchor of every group, once, in an order that depends on nothing but them."""
    texts = {pem for group in fleet.groups.values() for pem in group.trust}
    return sorted(map(parse_text, texts), key=lambda anchor: anchor.fingerprint)


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM).decode()
