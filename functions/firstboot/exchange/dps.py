"""The protocol of Azure's Device Provisioning Service (DPS) over HTTPS; docs/protocol-dps.md has a trace.

1. `register` attests the device, certifies the key of its CSR, and answers with the id of an operation.
2. `operation` attests the device again, and answers with the certificate.

The certificate is issued in step 1. The operation's id is the certificate's serial, and step 2 finds all else
in the device's record and among the stored certificates, so the protocol keeps no state of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote

import msgspec
from msgspec import UNSET

from firstboot.domain.clock import iso
from firstboot.domain.device import CertificateRecord, Device, check_admissible
from firstboot.domain.errors import FirstbootError, Unavailable
from firstboot.domain.names import DeviceId
from firstboot.exchange.answers import Answers
from firstboot.exchange.certifying import certify
from firstboot.exchange.dps_messages import (
    DpsLookup,
    DpsOperation,
    DpsRequest,
    DpsState,
    check_version,
    read,
    refuse,
    respond,
)
from firstboot.exchange.errors import OperationNotFound
from firstboot.exchange.exchange import Exchange
from firstboot.exchange.issue import Claimed, ExchangeRequest, Issued
from firstboot.identity.admission import Admission
from firstboot.identity.dps import Attest, Attestation
from firstboot.identity.errors import DeviceIdMismatch
from firstboot.pki import csr
from firstboot.runtime.guard import Guard
from firstboot.runtime.http import HttpRequest, HttpResponse
from firstboot.runtime.messages import stamped

_POLL_SECONDS = 1
"""When a device asks for the result. It is there already, so a device need not wait as long as for Azure."""


class Records(Protocol):
    """The device records."""

    def device(self, device_id: DeviceId) -> Device | None:
        """Return the record, read consistently. Raises Unavailable."""


class Stored(Protocol):
    """The issued certificates."""

    def get(self, device_id: DeviceId, serial: str) -> bytes | None:
        """Return the stored chain (PEM), or None if it has not been issued. Raises Unavailable."""


@dataclass(frozen=True)
class Dps:
    """The endpoints of the protocol. Refusals have DPS's form."""

    attest: Attest
    exchange: Exchange
    records: Records
    store: Stored
    answers: Answers
    guard: Guard

    def register(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Register a device: certify the key in its CSR."""
        return self._answered(self._register, request, now)

    def operation(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Return the result of a registration."""
        return self._answered(self._operation, request, now)

    def state(self, request: HttpRequest, now: datetime) -> HttpResponse:
        """Return the state of the device's last registration."""
        return self._answered(self._state, request, now)

    def _answered(
        self,
        answer: Callable[[HttpRequest, datetime], HttpResponse],
        request: HttpRequest,
        now: datetime,
    ) -> HttpResponse:
        try:
            check_version(request.query)
            return answer(request, now)
        except FirstbootError as error:
            self.guard.refusal(error)
            return refuse(error, request.request_id, now)

    def _register(self, request: HttpRequest, now: datetime) -> HttpResponse:
        if request.client_certificate:
            self.exchange.refuse_early(request.client_certificate, lambda: None, now)
        admission = self._admitted(request, now)
        asked = read(DpsRequest, request)
        _check_name(asked.name, request)
        claims = None if asked.payload.claims is UNSET else asked.payload.claims
        wanted = ExchangeRequest(csr.parse(asked.payload.csr), admission.device_id, claims)
        outcome = certify(lambda: self.exchange.admitted(admission, wanted, now), admission.way, self.guard)
        if isinstance(outcome, Claimed):
            # Only the same request, with the CSR, can complete what is recorded.
            raise Unavailable(log=outcome.reason or "", slot=outcome.slot)
        answer = DpsOperation(operation_id=outcome.record.serial, status="assigning")
        return respond(HTTPStatus.ACCEPTED, answer, _POLL_SECONDS)

    def _operation(self, request: HttpRequest, now: datetime) -> HttpResponse:
        admission = self._admitted(request, now)
        device = self._device(admission)
        serial = request.parameters["operationId"]
        record = next((each for each in _records(device) if each.serial == serial), None)
        if record is None:
            raise OperationNotFound
        state = self._described(device, record, admission, now)
        answer = DpsOperation(operation_id=serial, status=state.status, state=state)
        if state.status == "assigning":
            return respond(HTTPStatus.ACCEPTED, answer, _POLL_SECONDS)
        return respond(HTTPStatus.OK, answer)

    def _state(self, request: HttpRequest, now: datetime) -> HttpResponse:
        admission = self._admitted(request, now)
        _check_name(read(DpsLookup, request).name, request)
        # Every holder of a claim certificate can send any name, and must not learn which names exist. An
        # operation's id is a random serial, so only the device that registered has it.
        if admission.path and admission.group.is_shared:
            raise OperationNotFound
        device = self._device(admission)
        record = next(iter(_records(device)), None)
        if record is None:
            raise OperationNotFound
        return respond(HTTPStatus.OK, self._described(device, record, admission, now))

    def _admitted(self, request: HttpRequest, now: datetime) -> Admission:
        shown = Attestation(
            id_scope=unquote(request.parameters["idScope"]),
            name=unquote(request.parameters["registrationId"]),
            certificate=request.client_certificate,
            authorization=request.headers.get("authorization", ""),
        )
        admission = self.attest(shown, now)
        self.guard.about(deviceId=admission.device_id)
        return admission

    def _device(self, admission: Admission) -> Device:
        """Return the record of a device that enrolled with the evidence that it shows now.

        Raises OperationNotFound, DeviceRevoked, Unavailable.
        """
        device = self.records.device(admission.device_id)
        if device is None or device.enrolled_by != admission.by.identifier:
            raise OperationNotFound
        check_admissible(device, admission.group.names)
        return device

    def _described(
        self, device: Device, record: CertificateRecord, admission: Admission, now: datetime
    ) -> DpsState:
        pem = self.store.get(device.device_id, record.serial)
        state = DpsState(
            name=device.device_id.lower(),
            status="assigning",
            created=iso(device.created_at),
            updated=iso(device.updated_at),
            etag=record.serial,
        )
        if pem is None:
            return state
        issued = Issued(
            device.device_id, record, pem, admission.group, device.registered, "enroll", admission.by.anchor
        )
        return msgspec.structs.replace(
            state,
            status="assigned",
            device_id=device.device_id,
            assigned_hub=self.answers.mqtt_host,
            substatus="reprovisionedToInitialAssignment" if device.enrolled else "initialAssignment",
            payload=stamped(self.answers.inline(issued, now), now),
        )


def _records(device: Device) -> list[CertificateRecord]:
    """Return the device's certificates that it may still log in with, the newest first."""
    return [each for each in (device.pending, device.active) if each]


def _check_name(said: str | None, request: HttpRequest) -> None:
    """Refuse a body that names another device than the path. Raises DeviceIdMismatch."""
    if said is not None and said.lower() != unquote(request.parameters["registrationId"]).lower():
        raise DeviceIdMismatch("The body and the path name different registrations")
