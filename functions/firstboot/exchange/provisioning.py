"""The wire format and the handler of the pre-provisioning hook.

Source: AWS IoT developer guide, "Pre-provisioning hooks". The answer is `allowProvisioning` and the values of
the template's parameters. A device learns nothing of a refusal but that it was refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from firstboot.domain.aws_iot import BrokerCertificate
from firstboot.domain.bounded import Bounded
from firstboot.domain.device import Attribute
from firstboot.exchange.messages import check_claims
from firstboot.exchange.provision import ClaimCertificates, Provision, ProvisioningRequest
from firstboot.pki.pem import MAX_PEM
from firstboot.runtime.errors import MalformedRequest
from firstboot.runtime.guard import Guard
from firstboot.runtime.messages import Json, convert

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

DEVICE_ID = "DeviceId"
"""The parameter of the provisioning template that the hook sets to the device's name."""

_NAMES = (DEVICE_ID, "SerialNumber")
"""The parameters in which a device says its name. AWS's examples call it `SerialNumber`."""

_OF_AWS = "AWS::"
_REMEMBERED = 64
"""How many claim certificates a process remembers. A fleet has one, or each device has its own."""

Id = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class HookEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The event of the hook. AWS IoT may add members to it, and they are ignored."""

    # AWS IoT leaves this member out for a client that did not connect with a certificate.
    claim_certificate_id: Id
    certificate_id: Id
    certificate_pem: Annotated[str, Meta(max_length=MAX_PEM)]
    # The device chooses the parameters.
    parameters: dict[str, Annotated[str, Meta(max_length=256)]] = {}


class Remembered:
    """The certificates of AWS IoT by id, each asked for once in a process.

    AWS IoT's quota for DescribeCertificate is 10 a second (AWS IoT endpoints and quotas), and `register` and
    JITR use it too. An id is the digest of the certificate, so what it names does not change.
    """

    def __init__(self, certificates: ClaimCertificates) -> None:
        self._certificates = certificates
        self._known: Bounded[str, BrokerCertificate] = Bounded(_REMEMBERED)

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None. Raises Unavailable."""
        known = self._known.get(certificate_id) or self._certificates.find(certificate_id)
        if known:
            self._known.put(certificate_id, known)
        return known


@dataclass(frozen=True)
class Hook:
    """The handler of the hook."""

    provision: Provision
    guard: Guard

    def __call__(self, event: Any, _: LambdaContext, now: datetime) -> Json:  # noqa: ANN401 - any JSON value
        """Answer an event. Raises what `requested` and Provision raise."""
        self.guard.count("Request")
        request = requested(convert(HookEvent, event))
        self.guard.about(certificateId=request.certificate_id)
        name = self.provision(request, now)
        self.guard.info("provisioned", deviceId=name)
        return {"allowProvisioning": True, "parameterOverrides": {DEVICE_ID: name}}


def requested(event: HookEvent) -> ProvisioningRequest:
    """Return the request in an event.

    Parameters that are neither a name nor AWS IoT's own are claims. Raises MalformedRequest.
    """
    said = {event.parameters[name] for name in _NAMES if name in event.parameters}
    if len(said) > 1:
        raise MalformedRequest(f"{' and '.join(_NAMES)} differ")
    return ProvisioningRequest(
        claim_certificate_id=event.claim_certificate_id,
        certificate_id=event.certificate_id,
        pem=event.certificate_pem,
        said=next(iter(said), None),
        claims=_claims(event.parameters),
    )


def _claims(parameters: Mapping[str, str]) -> dict[str, Attribute] | None:
    claims: dict[str, Attribute] = {
        name: value
        for name, value in parameters.items()
        if name not in _NAMES and not name.startswith(_OF_AWS)
    }
    try:
        check_claims(claims)
    except ValueError as error:
        raise MalformedRequest(str(error)) from error
    return claims or None
