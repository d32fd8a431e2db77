"""What a deployer sets: in cdk.json, with `cdk --context`, or as a construct's properties."""

from __future__ import annotations

import re
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
    """What a deployer chooses.

    `fleet` is the fleet folder; `fleet_refresh` is in seconds; `mqtt_host` replaces the account's AWS IoT
    endpoint (a custom domain, an emulator). `ca_subject` and `ca_years` can't be changed later. `ca_key` is
    the ARN of a KMS key (ECC_NIST_P256, SIGN_VERIFY) that the CA uses; without it the stack makes one.
    `iot_rate` is how many slots a second the rate limiter gives. It stays below the quotas of AWS IoT Core:
    10 a second for RegisterCertificateWithoutCA and UpdateCertificate, 15 for AttachPolicy, which a device
    with one grant takes twice. `register_factory_cas` is off where the factory CAs are registered in AWS
    IoT already: it takes a CA once in an account and region.

    Raises ValueError when `ca_key` is no key's ARN: IAM permits nothing on an alias.
    """

    fleet: Path
    domain: Domain | None = None
    ca_key: str | None = None
    ca_subject: str = "Firstboot Issuing CA"
    ca_years: int = 20
    fleet_refresh: int = 60
    mqtt_host: str | None = None
    mqtt_port: int = 8883
    iot_rate: float = 7
    register_factory_cas: bool = True
    target: Target = Target.LAMBDA

    def __post_init__(self) -> None:
        if self.ca_key and not re.fullmatch(r"arn:[^:]+:kms:[^:]+:\d+:key/[\w-]+", self.ca_key):
            raise ValueError(f"{self.ca_key!r} is not the ARN of a KMS key")

    @classmethod
    def read(cls, node: Node, root: Path) -> Configuration:
        """The configuration in `node`'s context; a relative fleet folder is under `root`.

        Whatever has a default must be there too: a name that is spelled wrong in cdk.json must not pass
        for the default. Raises KeyError with the name of a value that is missing, ValueError for one that
        is wrong.
        """
        domain = node.try_get_context("domain")
        return cls(
            fleet=root / required(node, "fleet"),
            domain=Domain(domain["name"], domain["certificateArn"]) if domain else None,
            ca_key=node.try_get_context("caKey"),
            target=Target(required(node, "bundle")),
            ca_subject=required(node, "caSubject"),
            ca_years=int(required(node, "caYears")),
            fleet_refresh=int(required(node, "fleetRefresh")),
            mqtt_host=node.try_get_context("mqttHost"),
            mqtt_port=int(required(node, "mqttPort")),
            iot_rate=float(required(node, "iotRate")),
            register_factory_cas=flag(required(node, "registerFactoryCas")),
        )


def required(node: Node, name: str) -> Any:  # noqa: ANN401 - any JSON value
    """A value of the context.

    Raises KeyError with its name when it is missing.
    """
    value = node.try_get_context(name)
    if value is None:
        raise KeyError(name)
    return value


def flag(value: object) -> bool:
    """A Boolean, which JSON has, or a text for one: `--context` has nothing else.

    Raises ValueError.
    """
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise ValueError(f"{value!r} is neither true nor false")
    return found
