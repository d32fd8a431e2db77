"""What a deployer sets in cdk.json, or with `cdk --context`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from constructs import Node


class Target(StrEnum):
    """Where the Lambdas will run: in AWS, or in an emulator on this machine."""

    LAMBDA = "lambda"
    LOCAL = "local"


@dataclass(frozen=True)
class Domain:
    """The mTLS host. `certificate_arn` is its ACM certificate, in the stack's region."""

    name: str
    certificate_arn: str


@dataclass(frozen=True)
class Configuration:
    """`fleet` is the fleet folder; `fleet_refresh` seconds; `mqtt_host` takes the place of AWS
    IoT's own endpoint (a custom domain's name, an emulator's); `ca_subject` and `ca_years` are read
    once, when the CA is made. `iot_rate` is how many registrations a second AWS IoT is asked for: below
    its quotas, of which the tightest are 10 a second for RegisterCertificate… and UpdateCertificate, and
    15 for AttachPolicy, which a device with one grant takes twice (AWS IoT Core quotas).
    `register_factory_cas` is off where AWS IoT knows the factories' CAs
    already: it takes a CA once an account and region. `adopt` is on for `cdk import` alone, which takes
    back what a deleted stack has left.
    """

    fleet: Path
    target: Target
    stack: str
    domain: Domain | None
    ca_subject: str
    ca_years: int
    fleet_refresh: int
    mqtt_host: str | None
    mqtt_port: int
    iot_rate: float
    register_factory_cas: bool
    adopt: bool

    @classmethod
    def read(cls, node: Node, root: Path) -> Configuration:
        """The configuration in `node`'s context; a relative fleet folder is under `root`.

        Raises KeyError with the name of a value that is missing, ValueError for one that is wrong.
        """
        domain = node.try_get_context("domain")
        return cls(
            fleet=root / _required(node, "fleet"),
            target=Target(_required(node, "bundle")),
            stack=_required(node, "stack"),
            domain=Domain(domain["name"], domain["certificateArn"]) if domain else None,
            ca_subject=_required(node, "caSubject"),
            ca_years=int(_required(node, "caYears")),
            fleet_refresh=int(_required(node, "fleetRefresh")),
            mqtt_host=node.try_get_context("mqttHost"),
            mqtt_port=int(_required(node, "mqttPort")),
            iot_rate=float(_required(node, "iotRate")),
            register_factory_cas=_flag(_required(node, "registerFactoryCas")),
            adopt=_flag(_required(node, "adopt")),
        )


def _required(node: Node, name: str) -> Any:  # noqa: ANN401 - any JSON value
    value = node.try_get_context(name)
    if value is None:
        raise KeyError(name)
    return value


def _flag(value: object) -> bool:
    # JSON has Booleans, `--context` only text.
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise ValueError(f"{value!r} is neither true nor false")
    return found
