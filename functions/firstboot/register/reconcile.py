"""Registration: AWS IoT's registry is brought to what a device's record says.

1. The record is read. It says which certificates are current (pending or active, and issued), which
   may only ask for its successor (superseded, within the group's grace), and which are over.
2. What is over, or may only ask, loses rights before anything is given.
3. The thing: its type, attributes and group.
4. Before the first registration, the shadow: a device finds its group's configuration there.
5. New certificates are made known, INACTIVE, and the thing's. Every current one has the policies of
   the device's grants.
6. The record is read again. Only if it still is the same do new certificates become ACTIVE.
7. The row notes what was done, on the condition that the record still is what was read. If not, all
   starts again: what was revoked or deleted meanwhile loses its rights at once (withdrawal.py).

Every step may be repeated: whatever fails, the same message again ends in the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from firstboot.domain.device import Device, Status, is_within_grace
from firstboot.domain.errors import Unavailable
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId, is_thing_name
from firstboot.pki import chain
from firstboot.policy.attachment import grants_to_attach, policies_to_attach
from firstboot.policy.limits import thing_attributes
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.register import withdraw as withdrawal
from firstboot.register.withdraw import NONE, Outcome, Ports

_ATTEMPTS = 3
"""How often a record may change under our hands before the message has to come again."""


@dataclass(frozen=True)
class Account:
    """Where AWS IoT is, and what our names in it begin with."""

    stack: str
    place: Place


def register(device_id: DeviceId, rules: Rules, account: Account, ports: Ports, now: datetime) -> Outcome:
    """Bring AWS IoT to the record of a device.

    Raises PoliciesTooLarge, Unavailable.
    """
    if not is_thing_name(device_id):
        return Outcome(unnamed=True)
    before = None
    for _ in range(_ATTEMPTS):
        device = ports.registry.device(device_id) or _gone(before)  # 1
        if device is None:
            return Outcome()
        outcome = _follow(device, rules, account, ports, now)
        if outcome is not None:
            return outcome
        before = device
    raise Unavailable(log="the record changes faster than AWS IoT can follow")


def _gone(before: Device | None) -> Device | None:
    """A record that vanished under our hands was deleted, and what we gave meanwhile must go too."""
    return replace(before, status=Status.DELETED) if before else None


def _follow(device: Device, rules: Rules, account: Account, ports: Ports, now: datetime) -> Outcome | None:
    """What was done; None if the record changed meanwhile."""
    group = rules.fleet.groups.get(device.group)
    if device.status is Status.EXPECTED:
        return Outcome()
    if device.status is Status.REVOKED:
        return withdrawal.revoke(device, group, ports)
    if device.status is Status.DELETED:
        return withdrawal.delete(device, group, ports)
    return _bring(device, _target(device, rules, account, ports, now), ports)


@dataclass(frozen=True)
class _Target:
    """What AWS IoT is to have of an enrolled device. `current` are its certificates by id,
    of which `fresh` are not ACTIVE yet; `asking` are those that may only ask for their successor. The
    first have `policies` (name to document), the others `service`. `retired` are over.
    """

    group: Group | None
    current: dict[str, x509.Certificate]
    fresh: frozenset[str]
    asking: frozenset[str]
    retired: frozenset[str]
    grants: frozenset[str]
    policies: dict[str, str]
    service: dict[str, str]

    @property
    def registered(self) -> frozenset[str]:
        """All that is ACTIVE in the end."""
        return frozenset(self.current) | self.asking


def _target(device: Device, rules: Rules, account: Account, ports: Ports, now: datetime) -> _Target:
    group = rules.fleet.groups.get(device.group)
    if group and group.mqtt != "registry":
        group = None
    there = ports.things.certificates(device.device_id)
    current = _current(device, ports) if group else {}
    asking = _asking(device, group, now) & device.registered if group else NONE
    grants = grants_to_attach(rules, device) if current else NONE
    return _Target(
        group=group,
        current=current,
        # One that someone took from AWS IoT behind our back is no thing's any more: it is fresh again.
        fresh=frozenset(current) - (device.registered & there),
        asking=asking,
        retired=withdrawal.over(device, there, current.keys() | asking, ports.store),
        grants=grants,
        policies=policies_to_attach(rules.fleet, grants, account.stack, account.place),
        service=policies_to_attach(rules.fleet, NONE, account.stack, account.place),
    )


def _current(device: Device, ports: Ports) -> dict[str, x509.Certificate]:
    """The certificates that the device may log in with, by id: those that are issued."""
    records = [record for record in (device.active, device.pending) if record]
    chains = [ports.store.get(device.device_id, record.serial) for record in records]
    leaves = [chain.parse(pem.decode()) for pem in chains if pem]
    return {chain.fingerprint(leaf): leaf for leaf in leaves}


def _asking(device: Device, group: Group, now: datetime) -> frozenset[str]:
    """The superseded certificate, as long as it may ask for its successor."""
    old = device.superseded
    if old is None or old.certificate_id is None or not is_within_grace(old, group.certificate.grace, now):
        return NONE
    return frozenset({old.certificate_id})


def _bring(device: Device, target: _Target, ports: Ports) -> Outcome | None:
    device_id, things = device.device_id, ports.things
    withdrawal.retire(device, target.retired, things)  # 2
    for certificate in target.asking:
        things.set_policies(certificate, target.service)
    if target.group and target.current:
        things.ensure(device_id, device.group, thing_attributes(device.attributes))  # 3
        if target.group.configuration and not device.registered:
            things.begin_shadow(device_id, target.group.configuration)  # 4
    for certificate, leaf in target.current.items():  # 5
        if certificate in target.fresh:
            things.register(leaf)
            things.attach(device_id, certificate)
        things.set_policies(certificate, target.policies)
    if target.fresh and ports.registry.device(device_id) != device:  # 6
        return None
    for certificate in sorted(target.fresh):
        things.set_status(certificate, "ACTIVE")
    if not ports.registry.note(device, target.registered, target.grants):  # 7
        return None
    return Outcome(activated=target.fresh, retired=target.retired)
