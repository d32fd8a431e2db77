"""Set the walk up: read the stack and the operator's keys, and find out what is missing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from console import cloud, factory_ca
from console.cloud import Operate, Refused
from console.report import Deployed
from firstboot.domain.fleet import Fleet
from firstboot.pki.profile import Issuer
from verify.bench import Addresses, Bench
from verify.step import Need

_DAYS = timedelta(days=1)
_OPTIONAL = {Need.LONG, Need.PUBLISH}


@dataclass(frozen=True)
class Given:
    """The settings that the operator gives.

    `factories` are the files of CAs and their keys. `mtls` replaces the stack's mTLS host, which an emulated
    stack does not know. `trusted` are files with CAs of hosts. `allowed` is what the operator permits.
    """

    stack: str
    factories: tuple[tuple[Path, Path], ...] = ()
    issuer_key: Path | None = None
    prefix: str = ""
    mtls: str | None = None
    trusted: tuple[Path, ...] = ()
    allowed: frozenset[Need] = frozenset()


def allowed(*, long: bool, publish: bool) -> frozenset[Need]:
    """Return what the operator permits beyond the usual."""
    return frozenset(need for need, is_given in {Need.LONG: long, Need.PUBLISH: publish}.items() if is_given)


def bench(given: Given, folder: Path) -> Bench:
    """Read the stack and return the walk's bench, whose files are in `folder`.

    Raises Refused, Unreachable, and OSError if a file can't be read.
    """
    deployed, operate = cloud.deployed(given.stack), Operate(given.stack)
    fleet = operate.fleets().in_force
    addresses = _addresses(given, deployed)
    factories = dict(_factory(fleet, *files) for files in given.factories)
    return Bench(
        operate=operate,
        deployed=deployed,
        fleet=fleet,
        addresses=addresses,
        factories=factories,
        folder=folder,
        missing=_missing(given, fleet, addresses, factories),
        prefix=given.prefix,
        issuer_key=given.issuer_key.read_bytes() if given.issuer_key else None,
    )


def _factory(fleet: Fleet, certificate: Path, key: Path) -> tuple[str, Issuer]:
    """Return the group that accepts certificates of a CA, and the CA. Raises Refused if no group does."""
    issuer = factory_ca.load(certificate, key, _no_password)
    now, refusals = datetime.now(UTC), list[str]()
    for group in fleet.groups.values():
        try:
            factory_ca.check(issuer, group, now, now + _DAYS)
        except Refused as refused:
            refusals.append(str(refused))
        else:
            return group.name, issuer
    raise factory_ca.unfit("; ".join(refusals))


def _no_password() -> bytes:
    raise factory_ca.unfit("the key is encrypted: give the walk a key of a factory that is only for trying")


def _addresses(given: Given, deployed: Deployed) -> Addresses:
    settings = cloud.client("lambda").get_function_configuration(
        FunctionName=deployed.outputs["ExchangeFunction"]
    )
    variables = settings["Environment"]["Variables"]
    # boto3 trusts this file for AWS's hosts. An emulator's other hosts have certificates of the same CA.
    bundle = os.environ.get("AWS_CA_BUNDLE")
    files = [*([Path(bundle)] if bundle else []), *given.trusted]
    return Addresses(
        mtls=given.mtls or deployed.outputs.get("MtlsUrl"),
        public=deployed.outputs.get("PublicUrl"),
        broker=f"{variables['FIRSTBOOT_MQTT_HOST']}:{variables['FIRSTBOOT_MQTT_PORT']}",
        ca="\n".join(file.read_text("ascii", errors="ignore") for file in files) or None,
    )


def _missing(
    given: Given, fleet: Fleet, addresses: Addresses, factories: dict[str, Issuer]
) -> frozenset[Need]:
    present = {
        Need.FACTORY: bool(factories),
        Need.MTLS: bool(addresses.mtls),
        Need.PUBLIC: bool(addresses.public),
        Need.HTTPS: bool(addresses.mtls or addresses.public),
        Need.BROKER: bool(addresses.broker),
        Need.ISSUER: bool(given.issuer_key and fleet.issuers),
        Need.AWS: _is_aws(),
        **{need: need in given.allowed for need in _OPTIONAL},
    }
    return frozenset(need for need, is_there in present.items() if not is_there)


def _is_aws() -> bool:
    """Return whether this machine's calls go to AWS and not to an emulator.

    Every endpoint of AWS is below one of these domains (AWS General Reference, "AWS service endpoints").
    """
    host = urlsplit(cloud.client("sts").meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".aws.eu"))
