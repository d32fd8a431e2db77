"""The outcome of an order, and the slots that it took."""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.register.slots import TakeSlot

NONE: frozenset[str] = frozenset()


class RecordChanged(Exception):
    """The device record changed during the work on it, so the work starts again with the newer record."""


@dataclass(frozen=True)
class Outcome:
    """The changes that were made to a device in AWS IoT; certificates are given by id.

    `unnamed` says that AWS IoT takes no thing of this name, so that the device has no place there. `clash`
    says that the thing of this name is another's, or in too many groups, so that no certificate was
    registered. `lost` is the certificate in use if it is not in S3 any more. `excess` has a line for each
    certificate that AWS IoT's limits deny its policies; what it may no longer have was taken from it.

    Of a deleted device, `left` are certificates that are not ours to delete, and `thing_left` says that its
    thing stays because it has principals of others. `rest` is where the work on the device's former
    certificates continues; None if it is done.
    """

    activated: frozenset[str] = NONE
    retired: frozenset[str] = NONE
    revoked: frozenset[str] = NONE
    deleted: bool = False
    unnamed: bool = False
    clash: bool = False
    lost: frozenset[str] = NONE
    excess: tuple[str, ...] = ()
    left: frozenset[str] = NONE
    thing_left: bool = False
    rest: str | None = None


class Writes:
    """The slots of an order, one for each certificate that it writes to. Its handler has taken the first."""

    def __init__(self, take_slot: TakeSlot) -> None:
        self._take_slot = take_slot
        self._written: set[str] = set()

    def to(self, certificate_id: str) -> None:
        """Take the slot of a certificate if it has none yet. Raises Unavailable."""
        if certificate_id in self._written:
            return
        if self._written:
            self._take_slot()
        self._written.add(certificate_id)

    def in_time(self) -> bool:
        """Return whether there is time for further slots."""
        return self._take_slot.in_time()
