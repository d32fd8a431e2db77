"""What a device's record may become, said once more and from outside: the state machine's oracle."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from firstboot.aws.dynamodb.devices import DynamoDevices
from firstboot.domain.device import CertificateRecord, Device, Status
from firstboot.domain.names import DeviceId


@dataclass(frozen=True)
class Call:
    """A call to the service. `caller` is an operational certificate's serial, None for the
    bootstrap certificate; `key` the SHA-256 of the key to certify, None for a login;
    `faulty`: an AWS call may have failed.
    """

    caller: str | None
    key: str | None
    now: datetime
    faulty: bool


class Watch:
    """Looks at the record after every call. `recorded` are all certificates it ever named, by serial."""

    def __init__(self, records: DynamoDevices, device_id: str, *, replaces: bool, grace: timedelta) -> None:
        self._records = records
        self._device_id = DeviceId(device_id)
        self._replaces = replaces
        self._grace = grace
        self.device: Device | None = None
        self.recorded: dict[str, CertificateRecord] = {}

    @property
    def active(self) -> CertificateRecord | None:
        """The active certificate."""
        return self.device.active if self.device else None

    @property
    def pending(self) -> CertificateRecord | None:
        """The pending certificate."""
        return self.device.pending if self.device else None

    def look(self) -> None:
        """Read the record."""
        self.device = self._records.device(self._device_id)

    def called(self, call: Call, status: int, answer: dict[str, Any]) -> None:
        """Hold the answer to `call`, and what became of the record, against what may be."""
        before, waiting = self.active, self.pending
        good = [each.serial for each in (before, waiting) if each and each.not_after >= call.now]
        self.look()
        if self.device and self.device.status is Status.REVOKED:
            assert status >= 400, "a revoked device gets nothing"
        elif call.key is None and call.caller in good and not call.faulty:
            assert status == 200, "an identity that is good is not locked out"
        if self.active != before:
            assert waiting, "what becomes active was pending"
            assert self.active
            assert call.caller == self.active.serial == waiting.serial, "only its own login commits it"
            waiting = None
        if self.pending != waiting:
            self._claimed(call, waiting)
        if call.key is None and status == 200:
            assert self.active
            assert call.caller == self.active.serial, "who is logged in is the active one"
            assert call.caller in good, "and has not expired"
        if call.key is not None and status == 201:
            current = {each.serial: each.spki for each in (self.active, self.pending) if each}
            assert current.get(answer["serial"]) == call.key, "what is issued is on record, for that key"

    def _claimed(self, call: Call, replaced: CertificateRecord | None) -> None:
        """A new certificate is pending."""
        new = self.pending
        assert new, "what is pending goes by its commit, or by the next claim"
        assert new.serial not in self.recorded, "what has ended does not come back"
        assert new.spki == call.key
        until = replaced.held_until if replaced else None
        assert until is None or until <= call.now, "a pending certificate is held"
        for known in (replaced, self.active):
            assert known is None or known.spki != new.spki or known.renew_after <= call.now, (
                "one key has one certificate until that is due"
            )
        if call.caller:
            assert self.active
            assert call.caller == self.active.serial, "only the active one renews"
        elif self.active and not self._replaces:
            assert self.active.not_after + self._grace <= call.now, "what is not over is not replaced"
        self.recorded[new.serial] = new
