"""Decide whether the identity in the state directory is this unit's own, and set it aside if it is another's.

A disk that is copied from a unit after its first boot holds that unit's identity. The bootstrap certificate
and `--device-id` at hand say which unit this is. What they don't decide for certain leaves the identity as it
is. A disk that is copied together with the bootstrap certificate can't be told apart here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from . import certificates
from .store import Identity, Store


@dataclass(frozen=True)
class Origin:
    """The bootstrap key and the `--device-id` that the keys in a state directory were made with.

    `bootstrap_key` is the SHA-256 (hex) of its SubjectPublicKeyInfo.
    """

    bootstrap_key: str
    device_id: str | None

    def differs_from(self, noted: Origin) -> bool:
        """Return whether this is certainly another unit's origin. A missing name decides nothing."""
        names = {self.device_id, noted.device_id} - {None}
        return self.bootstrap_key != noted.bootstrap_key or len(names) > 1

    def to_json(self) -> bytes:
        """Return the content of the file that keeps it."""
        return json.dumps(asdict(self)).encode()


def start(store: Store, bootstrap: Identity, device_id: str | None) -> str | None:
    """Set the identity aside if it is another unit's, and note what the next keys are made with.

    Return a line about the identity that was set aside, or None. It stays on the disk until this unit's own
    identity has logged in. Raises OSError or ValueError, and moves nothing, if the identity is another unit's
    and the bootstrap certificate can't be read: the unit could not enroll. The lock of `store` must be held.
    """
    store.settle()
    try:
        chain = bootstrap.certificate.read_bytes()
        at_hand = Origin(certificates.key_fingerprint(chain), device_id)
    except (OSError, ValueError):
        # A working device does not need the bootstrap certificate, which may be lost.
        if _is_other(store, None, None, device_id):
            raise
        return None
    told = None
    if _is_other(store, at_hand, _common_name(chain), device_id):
        told = f"The identity of {_described(store.names())} is another unit's: this unit enrolls anew"
        store.set_aside()
    else:
        noted = _noted(store)
        if noted and not device_id and not at_hand.differs_from(noted):
            at_hand = noted  # an omitted name is not forgotten
        if store.live():
            store.forget_other()
    store.keep_origin(at_hand.to_json())
    return told


def _is_other(store: Store, at_hand: Origin | None, name: str | None, device_id: str | None) -> bool:
    """Return whether the identity is certainly another unit's. `name` is the bootstrap certificate's."""
    names, noted = store.names(), _noted(store)
    if device_id and names - {device_id}:
        return True
    if at_hand and noted is None and store.has_other():
        return True  # a crash interrupted the move of an older client's state; the note is written last
    if not names:
        # The key that was never certified is no loss, and another unit may have a copy that is certified.
        return bool(noted and at_hand and at_hand.differs_from(noted) and store.next_key())
    if at_hand is None or (noted and noted.bootstrap_key == at_hand.bootstrap_key):
        return False
    # A new bootstrap key with the device's name is a unit whose key was replaced. Without a note, an older
    # version made the identity, and groups of that time took the name from the CN or from the request.
    return bool(names - {device_id, name})


def _noted(store: Store) -> Origin | None:
    try:
        return Origin(**json.loads(store.origin() or b""))
    except (ValueError, TypeError):  # none, or damaged
        return None


def _common_name(chain: bytes) -> str | None:
    try:
        return certificates.common_name(chain)
    except ValueError:
        return None


def _described(names: set[str]) -> str:
    return " and ".join(sorted(names)) or "an unfinished enrollment"
