"""The bench that all steps share: the stack, the factory, and throw-away devices."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from console import cloud
from console.cloud import Operate
from console.report import Deployed
from device.boot import Device
from device.hosts import Host, MutualTls, SignedProofs
from device.mqtt import Broker
from device.patience import Patience
from device.service import Service
from device.store import FileIdentity, Identity, Store
from device.transport import Transport
from firstboot.domain.fleet import Fleet, Group
from firstboot.pki import profile
from firstboot.pki.profile import Issuer
from verify.step import Lacking, Need

OURS = re.compile(r".*verify-[0-9a-f]{8}-[0-9]+")
"""The ids of all walks' devices. A later walk removes what a walk that was killed has left."""

_DAYS = timedelta(days=1)
_NO_PATIENCE = Patience(tries=1)


@dataclass(frozen=True)
class Addresses:
    """The addresses that devices call: URLs of the hosts, the broker as HOST:PORT; and more CAs (PEM)."""

    mtls: str | None
    public: str | None
    broker: str | None
    ca: str | None


@dataclass(frozen=True)
class Unit:
    """A throw-away device: its id, its bootstrap identity, its state directory and its service."""

    name: str
    bootstrap: Identity
    store: Store
    service: Service
    patience: Patience = field(default_factory=Patience)

    def boot(self) -> dict[str, Any]:
        """Boot as the reference client does, and return the answer to the log-in. Raises Refused."""
        with self.store.locked():
            return Device(self.store, self.service, self.patience).boot(self.bootstrap)

    def renew(self, *, same_key: bool = False) -> dict[str, Any]:
        """Get the next certificate and log in with it. Raises Refused."""
        with self.store.locked():
            return Device(self.store, self.service, self.patience).renew(same_key=same_key)

    @property
    def live(self) -> FileIdentity:
        """Return the live identity. Raises LookupError before the first boot."""
        live = self.store.live()
        if live and isinstance(live.key, Path):
            return FileIdentity(live.certificate, live.key)
        raise LookupError(f"{self.name} has no identity yet")


@dataclass
class Bench:
    """The walk's stack, factory and devices.

    `factories` has the CA of each group whose key the operator gave. `issuer_key` is the key of a token
    issuer (PEM). `missing` is what the walk can't have here. `folder` is removed after the walk. `at_end` has
    what else must be removed then: a description, and a function that removes it and may raise any error of
    AWS.
    """

    operate: Operate
    deployed: Deployed
    fleet: Fleet
    addresses: Addresses
    factories: dict[str, Issuer]
    folder: Path
    missing: frozenset[Need] = frozenset()
    prefix: str = ""
    issuer_key: bytes | None = None
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    at_end: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def group(self) -> Group:
        """Return the group of the throw-away devices. Raises Lacking."""
        return self.group_with(lambda _: True, "a group whose devices have certificates of their own")

    def group_with(self, condition: Callable[[Group], bool], what: str) -> Group:
        """Return the first group that the operator gave a factory of and for which `condition` holds.

        Raises Lacking, which says `what` the group must be.
        """
        for name in self.factories:
            group = self.fleet.groups[name]
            if not group.is_shared and condition(group):
                return group
        raise Lacking(f"{what}, with the key of its CA")

    def name(self) -> str:
        """Return the id of another throw-away device."""
        return f"{self.prefix}verify-{self.run}-{next(self._numbers)}"

    def bootstrap(
        self,
        name: str,
        group: Group | None = None,
        issuer: Issuer | None = None,
        common_name: str | None = None,
    ) -> Identity:
        """Make a bootstrap certificate for the id `name`, in a group or of a CA of no group.

        The group is that of the throw-away devices by default, and the common name is the id. Raises Lacking
        if no certificate can have the name where the group reads it.
        """
        chosen = group or self.group
        placed = profile.placed(chosen, name)
        if placed is None or not chosen.may_name(name):
            raise Lacking(f"a group whose ids may be {name}: --prefix, or another --ca-cert")
        return self.certified(common_name or name, placed, issuer or self.factories[chosen.name])

    def certified(self, common_name: str, placed: Mapping[str, str], signed_by: Issuer) -> Identity:
        """Make a bootstrap certificate with these values (see profile.bootstrap_certificate)."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        made = profile.bootstrap_certificate(
            signed_by, common_name, key.public_key(), now, now + _DAYS, placed
        )
        # Two devices of one name, as two boards have it, have files of their own.
        place = self.folder / f"{common_name}-{made.serial_number:x}"
        place.mkdir(mode=0o700, parents=True)
        identity = FileIdentity(place / "bootstrap.crt", place / "bootstrap.key")
        above = b"" if signed_by.certificate.issuer == signed_by.certificate.subject else signed_by.pem
        identity.certificate.write_bytes(made.public_bytes(Encoding.PEM) + above)
        identity.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return identity

    def foreign_ca(self) -> Issuer:
        """Make a CA that no fleet trusts."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Issuer(profile.authority_certificate(key, "Foreign CA", datetime.now(UTC), 1), key)

    def unit(self, way: Need | None = None, *, inline: bool = False, name: str | None = None) -> Unit:
        """Make a device that calls over MTLS, PUBLIC or BROKER; over HTTPS by default.

        Raises Lacking.
        """
        named = name or self.name()
        bootstrap = self.bootstrap(named)
        return self.unit_of(named, bootstrap, way, inline=inline)

    def unit_of(
        self, name: str, bootstrap: Identity, way: Need | None = None, *, inline: bool = False
    ) -> Unit:
        """Make a device with this bootstrap identity. It has a state directory of its own each time."""
        state = bootstrap.certificate.parent / f"state-{secrets.token_hex(4)}"
        patience = Patience(tries=10) if way is Need.BROKER else Patience()
        return Unit(name, bootstrap, Store(state), self.service(way, bootstrap, inline=inline), patience)

    def service(
        self, way: Need | None, bootstrap: Identity | None = None, *, inline: bool = False
    ) -> Service:
        """Return the service over MTLS, PUBLIC or BROKER; over HTTPS by default. Raises Lacking."""
        return Service(self.host(way, bootstrap), self.transport, inline=inline)

    def host(self, way: Need | None, bootstrap: Identity | None = None) -> Host:
        """Return the host for the service's calls. Raises Lacking."""
        known = self.addresses
        if way is Need.BROKER and known.broker:
            return Broker(known.broker, self.transport, bootstrap)
        if way in (Need.MTLS, None) and known.mtls:
            return MutualTls(known.mtls, self.transport)
        if way in (Need.PUBLIC, None) and known.public:
            return SignedProofs(known.public, self.transport)
        raise Lacking(str(way or Need.HTTPS))

    @property
    def ways(self) -> list[Need]:
        """Return the ways in that this stack has."""
        known = {Need.MTLS: self.addresses.mtls, Need.PUBLIC: self.addresses.public}
        return [way for way, address in (known | {Need.BROKER: self.addresses.broker}).items() if address]

    @cached_property
    def transport(self) -> Transport:
        """Return the connections of all devices."""
        return Transport(self.addresses.ca)

    def client(self, service: str) -> Any:  # noqa: ANN401 - a boto3 client
        """Return the operator's client of an AWS service."""
        return cloud.client(service)

    def outputs(self, name: str) -> str:
        """Return an output of the stack. Raises LookupError."""
        return self.deployed.outputs[name]


def once(unit: Unit) -> Unit:
    """Return the same device, which makes each call once."""
    return Unit(unit.name, unit.bootstrap, unit.store, unit.service, _NO_PATIENCE)
