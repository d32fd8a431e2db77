"""Withdrawal: certificates lose their place in AWS IoT.

A certificate that is *over* becomes INACTIVE, loses our policies, and is the thing's no more. That is
the last step, so what a crash left half done is still the thing's, and found by that.

Of a *revoked* device every certificate, first, becomes REVOKED; then its connection ends, and cannot
come back; then our policies go.

Of a *deleted* device nothing is left: its certificates are REVOKED and no thing's, then deleted, then
its shadow and its thing; its row goes last, so that the same message again finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from firstboot.domain.device import Device
from firstboot.domain.fleet import Group
from firstboot.domain.ports import CertificateStore, RegisteringRegistry, Things
from firstboot.pki import chain

NONE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Ports:
    """What registration works on."""

    registry: RegisteringRegistry
    store: CertificateStore
    things: Things


@dataclass(frozen=True)
class Outcome:
    """What was done to a device in AWS IoT; certificates by id. `unnamed`: AWS IoT takes no thing of
    this name, so the device has no place there.
    """

    activated: frozenset[str] = NONE
    retired: frozenset[str] = NONE
    revoked: frozenset[str] = NONE
    deleted: bool = False
    unnamed: bool = False


def over(
    device: Device, there: AbstractSet[str], kept: AbstractSet[str], store: CertificateStore
) -> frozenset[str]:
    """The device's certificates that are to go: noted as registered, or still the thing's (`there`) and
    issued by us, and not among those that are `kept`. Certificates from elsewhere are not ours to take.
    """
    unknown = there - device.registered - kept
    ours = unknown & _issued(device, store) if unknown else NONE
    return frozenset((device.registered | ours) - kept)


def retire(device: Device, certificates: frozenset[str], things: Things) -> None:
    """Take their place from some of a device's certificates."""
    for certificate in sorted(certificates):
        things.set_status(certificate, "INACTIVE")
        things.set_policies(certificate, {})
        things.detach(device.device_id, certificate)


def revoke(device: Device, group: Group | None, ports: Ports) -> Outcome | None:
    """Take everything from a revoked device; None if its record changed meanwhile."""
    revoked = _revoked(device, group, ports)
    ports.things.disconnect(device.device_id)
    for certificate in sorted(revoked):
        ports.things.set_policies(certificate, {})
    return Outcome(revoked=revoked) if ports.registry.note(device, NONE, NONE) else None


def delete(device: Device, group: Group | None, ports: Ports) -> Outcome:
    """Leave nothing of a deleted device."""
    device_id, things = device.device_id, ports.things
    revoked = _revoked(device, group, ports)
    things.disconnect(device_id)
    for certificate in sorted(things.certificates(device_id) | revoked):
        things.detach(device_id, certificate)
    for certificate in sorted(revoked):
        things.set_policies(certificate, {})
        things.delete_certificate(certificate)
    things.delete(device_id)
    ports.registry.forget(device_id)
    return Outcome(revoked=revoked, deleted=True)


def _revoked(device: Device, group: Group | None, ports: Ports) -> frozenset[str]:
    """Every certificate that the device ever had from us, and its own bootstrap certificate: REVOKED."""
    certificates = device.registered | _issued(device, ports.store)
    if device.enrolled_by and group and not group.is_shared:
        certificates |= {device.enrolled_by}
    for certificate in sorted(certificates):
        ports.things.set_status(certificate, "REVOKED")
    return certificates


def _issued(device: Device, store: CertificateStore) -> frozenset[str]:
    leaves = [chain.parse(pem.decode()) for pem in store.issued(device.device_id)]
    return frozenset(map(chain.fingerprint, leaves))
