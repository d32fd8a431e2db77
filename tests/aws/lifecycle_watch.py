"""The oracle of the lifecycle machine: how a device record may change, stated apart from the product."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.device import Attribute, CertificateRecord, Device, Status
from firstboot.domain.names import DeviceId

Claims = dict[str, Attribute]


@dataclass(frozen=True)
class Call:
    """A call to the service.

    `caller` is the serial of an operational certificate, or None for the bootstrap certificate. `key` is the
    SHA-256 of the key to certify, or None for a login. `claims` are those in the request, or None. `faulty`
    means that an AWS call may have failed.
    """

    caller: str | None
    key: str | None
    claims: Claims | None
    now: datetime
    faulty: bool


class Watch:
    """A check of the record after every call. `recorded` has every certificate that was in it, by serial."""

    def __init__(self, records: DynamoDevices, device_id: str, *, replaces: bool, grace: timedelta) -> None:
        self._records = records
        self._device_id = DeviceId(device_id)
        self._replaces = replaces
        self._grace = grace
        self.device: Device | None = None
        self.recorded: dict[str, CertificateRecord] = {}
        self._asked: dict[str, Claims | None] = {}
        self._claims: Claims = {}

    @property
    def active(self) -> CertificateRecord | None:
        """The active certificate."""
        return self.device.active if self.device else None

    @property
    def pending(self) -> CertificateRecord | None:
        """The pending certificate."""
        return self.device.pending if self.device else None

    def look(self) -> None:
        """Read the device record."""
        self.device = self._records.device(self._device_id)

    def called(self, call: Call, status: int, answer: dict[str, Any]) -> None:
        """Check the answer to `call` and the record's change against what is allowed."""
        before, waiting, is_new = self.active, self.pending, self.device is None
        good = [each.serial for each in (before, waiting) if each and each.not_after >= call.now]
        self.look()
        if self.device and self.device.status is Status.REVOKED:
            assert status >= 400, "a revoked device was not refused"
        elif call.key is None and call.caller in good and not call.faulty:
            assert status == 200, "a valid certificate was refused at its login"
        if self.active != before:
            assert waiting, "a certificate became active without having been pending"
            assert self.active
            assert call.caller == self.active.serial == waiting.serial, (
                "a certificate was committed by another certificate's call"
            )
            waiting = None
        if self.pending != waiting:
            self._claimed(call, waiting)
            self._asked[self.pending.serial] = call.claims  # type: ignore[union-attr] # _claimed checks it
        if is_new:
            self._claims = call.claims or {}
        self._check_claims(is_committed=self.active != before)
        if call.key is None and status == 200:
            assert self.active
            assert call.caller == self.active.serial, (
                "a login succeeded with a certificate that is not active"
            )
            assert call.caller in good, "a login succeeded with an expired certificate"
        if call.key is not None and status == 201:
            current = {each.serial: each.spki for each in (self.active, self.pending) if each}
            assert current.get(answer["serial"]) == call.key, (
                "an issued certificate is not in the record with its key"
            )

    def _check_claims(self, *, is_committed: bool) -> None:
        """Check that claims change at a commit only, or before the first one."""
        if is_committed and self.active and (said := self._asked[self.active.serial]) is not None:
            self._claims = said
        waiting = self._asked[self.pending.serial] if self.pending and not self.active else None
        expected = self._claims if waiting is None else waiting
        assert self.device is None or self.device.claims == expected, "claims changed at another moment"

    def _claimed(self, call: Call, replaced: CertificateRecord | None) -> None:
        """Check a new pending certificate."""
        new = self.pending
        assert new, "a pending certificate vanished without a commit or a new claim"
        assert new.serial not in self.recorded, "an ended certificate came back"
        assert new.spki == call.key
        until = replaced.held_until if replaced else None
        assert until is None or until <= call.now, "a pending certificate was replaced before its hold ended"
        for known in (replaced, self.active):
            assert known is None or known.spki != new.spki or known.renew_after <= call.now, (
                "a key got a second certificate before the first was due"
            )
        if call.caller:
            assert self.active
            assert call.caller == self.active.serial, "a certificate that is not active was renewed"
        elif self.active and not self._replaces:
            assert self.active.not_after + self._grace <= call.now, (
                "an active certificate was replaced before the end of its grace"
            )
        self.recorded[new.serial] = new
