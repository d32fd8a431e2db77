"""Say whether a certificate would be admitted as a bootstrap certificate, by the product's own code. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from firstboot.domain.clock import iso
from firstboot.domain.errors import FirstbootError
from firstboot.domain.fleet import Fleet, Group
from firstboot.domain.proof_id import ProofId
from firstboot.identity.admission import VerifiedBootstrap, check_open, named, verify_bootstrap
from firstboot.identity.possession import OverTls, Proven
from firstboot.pki import bootstrap, certificate
from firstboot.pki.certificate import Certificate
from firstboot.pki.der import NotDer
from firstboot.pki.signature import KeyRefused

Json = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A certificate, with the CA certificates that come with it, on trial for a group at the time `at`."""

    leaf: Certificate
    intermediates: tuple[Certificate, ...]
    fleet: Fleet
    group: Group
    at: datetime

    def result(self) -> Json:
        """Return whether the certificate is admitted, as which device and by which rules, or why it is not.

        What only a stack knows is not examined: its device records, its counters and revoked certificates.
        """
        found = self._about()
        try:
            verified = self._verified()
            found |= self._path(verified)
            if verified.group.name != self.group.name:
                detail = f"{verified.anchor.subject.text()} is a trust anchor of group {verified.group.name}"
                return found | {"accepted": False, "code": "group-mismatch", "detail": detail}
            found |= self._device(verified)
            check_open(self.group, self.at)
        except FirstbootError as error:
            refusal = {"code": error.code, "reason": error.reason, "detail": error.log or error.detail}
            return found | {"accepted": False} | {name: text for name, text in refusal.items() if text}
        return found | {"accepted": True, "ways": self._ways()}

    def _about(self) -> Json:
        try:
            key = self.leaf.spki_fingerprint()
        except (KeyRefused, NotDer):
            key = None
        return {
            "group": self.group.name,
            "at": iso(self.at),
            "subject": self.leaf.subject.text(),
            "certificateId": self.leaf.fingerprint,
            "identifier": self.leaf.identifier,
            "key": key,
        }

    def _verified(self) -> VerifiedBootstrap:
        # The proof itself is not on trial. Nothing reads its id here.
        presented = Proven(self.leaf, self.intermediates, ProofId("", self.at, has_nonce=False))
        return verify_bootstrap(presented, self.fleet, self.at)

    def _path(self, verified: VerifiedBootstrap) -> Json:
        return {
            "path": [each.subject.text() for each in verified.path],
            "anchor": {
                "group": verified.group.name,
                "subject": verified.anchor.subject.text(),
                "key": verified.anchor.spki_fingerprint(),
            },
            "usage": _usage(self.leaf, verified.group),
        }

    def _device(self, verified: VerifiedBootstrap) -> Json:
        if self.group.is_shared:
            return {"deviceId": None, "deviceIdFrom": self.group.device_id}
        return {"deviceId": named(verified, None, self.fleet.ids), "deviceIdFrom": self.group.device_id}

    def _ways(self) -> list[str]:
        """Return the ways in which a device can present the certificate."""
        try:
            # Neither API Gateway nor AWS IoT hands over what comes with the certificate.
            verify_bootstrap(OverTls(self.leaf), self.fleet, self.at)
        except FirstbootError:
            return ["signed proof"]
        jitr = self.group.mqtt == "registry" and self.group.jitr != "off"
        return ["signed proof", "mTLS", *(["MQTT (JITR)"] if jitr else [])]


def read(content: bytes) -> list[Certificate]:
    """Return the certificates in a file: PEM, or one in DER.

    Raises CertificateMalformed.
    """
    if b"-----BEGIN" not in content:
        return [certificate.parse(content)]
    return certificate.parse_all(content.decode("latin-1"))


def _usage(leaf: Certificate, group: Group) -> str:
    if bootstrap.has_extended_key_usage(leaf):
        return "extendedKeyUsage allows clients"
    return f'no extendedKeyUsage, and the group has eku = "{group.eku}"'
