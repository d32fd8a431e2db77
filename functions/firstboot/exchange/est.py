"""EST (RFC 7030) over the same use cases as `POST /v1/certificates`.

A device proves itself with a TLS client certificate on the mTLS host, or with a one-time password (HTTP
Basic) on the public host. Bodies are base64 of DER. RFC 8951 says that Content-Transfer-Encoding means
nothing. It is sent all the same, because older clients look for it. Refusals are text for a person.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from firstboot.domain.errors import Action, AuthenticationError, FirstbootError, InternalError
from firstboot.exchange.certifying import certify
from firstboot.exchange.errors import EstNotOffered, UnsupportedMediaType
from firstboot.exchange.exchange import Exchange
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issued
from firstboot.exchange.messages import PKCS10, any_csr
from firstboot.identity.errors import DeviceIdRequired, PasswordUsed, ProofReplayed
from firstboot.identity.password import AdmitByPassword, for_key
from firstboot.identity.possession import OverTls
from firstboot.pki import certificate, csr, der
from firstboot.runtime.guard import Guard
from firstboot.runtime.http import HttpRequest, HttpResponse, media_type
from firstboot.runtime.problem import RETRY_SECONDS, spread, waiting_time

CERTIFICATES = "application/pkcs7-mime; smime-type=certs-only"
"""The content type of certificates (RFC 7030 section 4.2.3)."""

_PLAIN = "text/plain; charset=us-ascii"
_BASE64 = {"Content-Transfer-Encoding": "base64"}
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Firstboot"'}

# id-ecPublicKey with secp256r1 (RFC 5480 section 2.1.1), and ecdsa-with-SHA256 (RFC 5758 section 3.2).
_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_P256 = bytes.fromhex("06082a8648ce3d030107")
_ECDSA_SHA256 = bytes.fromhex("06082a8648ce3d040302")
ATTRIBUTES = der.encode(
    der.SEQUENCE, der.encode(der.SEQUENCE, _EC_KEY, der.encode(der.SET, _P256)), _ECDSA_SHA256
)
"""What a CSR should have, as CsrAttrs (RFC 7030 section 4.5.2): a key on P-256 and a signature with SHA-256.
Other keys that Firstboot certifies are accepted too. No subject is asked for, because none is used."""


@dataclass(frozen=True)
class Est:
    """The endpoints of EST. `ca` is the issuing CA."""

    exchange: Exchange
    admit: AdmitByPassword
    ca: x509.Certificate
    guard: Guard

    def ca_certificates(self, _: HttpRequest, __: datetime) -> HttpResponse:
        """Return the issuing CA's certificate (RFC 7030 section 4.1). A device trusts it by its own means."""
        return _certificates(self.ca)

    def attributes(self, _: HttpRequest, __: datetime) -> HttpResponse:
        """Return what a CSR should have (RFC 7030 section 4.5)."""
        return HttpResponse(HTTPStatus.OK, "application/csrattrs", _base64(ATTRIBUTES), _BASE64)

    def enroll(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Certify the key in the CSR (RFC 7030 section 4.2).

        The evidence decides whether the device enrolls or renews, and the path does not: strongSwan's client
        asks for a re-enrollment whenever it has a certificate.
        """
        try:
            outcome = certify(lambda: self._certified(request, now), "est", self.guard)
        except FirstbootError as error:
            self.guard.refusal(error)
            return _refusal(error, request)
        if isinstance(outcome, Claimed):
            seconds = outcome.slot or spread(RETRY_SECONDS, outcome.device_id)
            return _later("The certificate is not issued yet", seconds)
        return _certificates(outcome.certificates[0])

    def server_keys(self, request: HttpRequest, _: datetime) -> HttpResponse:
        """Refuse to make a key for a device (RFC 7030 section 4.4, which is optional)."""
        detail = "No private key is made or sent here: the device makes its key and calls simpleenroll"
        return self._not_offered(detail, request)

    def cmc(self, request: HttpRequest, _: datetime) -> HttpResponse:
        """Refuse Full CMC (RFC 7030 section 4.3, which is optional)."""
        return self._not_offered("Full CMC is not offered: call simpleenroll or simplereenroll", request)

    def _not_offered(self, detail: str, request: HttpRequest) -> HttpResponse:
        error = EstNotOffered(detail)
        self.guard.refusal(error)
        return _refusal(error, request)

    def _certified(self, request: HttpRequest, now: datetime) -> Issued | Claimed:
        if request.client_certificate:
            self.exchange.refuse_early(request.client_certificate, lambda: None, now)
            leaf = certificate.parse_text(request.client_certificate)
            return self._by_certificate(OverTls(leaf, way="est"), ExchangeRequest(_csr(request)), now)
        fleet = self.exchange.fleet.current(now)
        admission = self.admit(request.headers.get("authorization", ""), fleet, now)
        wanted = ExchangeRequest(_csr(request), admission.device_id)
        try:
            return self.exchange.admitted(for_key(admission, wanted.csr.spki), wanted, now)
        except ProofReplayed as error:
            raise PasswordUsed from error

    def _by_certificate(self, presented: OverTls, wanted: ExchangeRequest, now: datetime) -> Issued | Claimed:
        try:
            return self.exchange(presented, wanted, now)
        except DeviceIdRequired:
            # EST has no place for a device's id but the CSR's subject. Only a shared certificate needs it.
            name = csr.common_name(wanted.csr)
            if name is None:
                raise
            return self.exchange(presented, replace(wanted, device_id=name), now)


def _csr(request: HttpRequest) -> csr.UnverifiedCsr:
    kind = media_type(request.headers.get("content-type", ""))
    if kind not in ("", PKCS10):
        raise UnsupportedMediaType(f"An EST request is {PKCS10}")
    return any_csr(request.body)


def _certificates(*certificates: x509.Certificate) -> HttpResponse:
    encoded = pkcs7.serialize_certificates(list(certificates), Encoding.DER)
    return HttpResponse(HTTPStatus.OK, CERTIFICATES, _base64(encoded), _BASE64)


def _base64(encoded: bytes) -> str:
    # One line: strongSwan's decoder fails at a line break.
    return base64.b64encode(encoded).decode()


def _refusal(error: FirstbootError, request: HttpRequest) -> HttpResponse:
    text = f"{error.detail}\ncode: {error.code}\nrequest: {request.request_id}"
    if _passes(error):
        return _later(text, waiting_time(error, request.request_id))
    if error.status != HTTPStatus.UNAUTHORIZED:
        return _plain(error.status, text)
    # A 401 must have a challenge (RFC 9110 section 15.5.2), and no password repairs a certificate.
    if request.client_certificate:
        return _plain(HTTPStatus.FORBIDDEN, text)
    return _plain(HTTPStatus.UNAUTHORIZED, text, _CHALLENGE)


def _passes(error: FirstbootError) -> bool:
    """Return whether the same request of an authenticated caller may have success later.

    EST's clients come again after a 202 with Retry-After, and give up after a 429 or 503 (RFC 7030 section
    4.2.3). The standard means a 202 for a request that a person must allow first, too.
    """
    waits = error.action in (Action.WAIT, Action.RETRY)
    return waits and not isinstance(error, AuthenticationError | InternalError)


def _later(text: str, seconds: int) -> HttpResponse:
    return _plain(HTTPStatus.ACCEPTED, text, {"Retry-After": str(seconds)})


def _plain(status: int, text: str, headers: dict[str, str] | None = None) -> HttpResponse:
    body = text.encode("ascii", "backslashreplace").decode()
    return HttpResponse(status, _PLAIN, f"{body}\n", headers or {})
