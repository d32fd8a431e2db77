"""The settings of a deployment, which come from cdk.json, `cdk --context` or a construct's properties."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from constructs import Node


class Target(StrEnum):
    """The place where the Lambdas will run: AWS, or an emulator on this machine."""

    LAMBDA = "lambda"
    LOCAL = "local"


@dataclass(frozen=True)
class Domain:
    """The name of the mTLS host, and the ARN of its ACM certificate in the stack's region.

    If that certificate was imported into ACM or is a private CA's, `ownership_certificate_arn` is the ARN of
    a public certificate of ACM's for the name, which proves that it is the deployer's.
    """

    name: str
    certificate_arn: str
    ownership_certificate_arn: str | None = None

    @classmethod
    def of(cls, value: dict[str, str]) -> Domain:
        """Return the domain that the setting `domain` is.

        Raises KeyError for a member that is missing, ValueError for an unknown one.
        """
        known = {"name", "certificateArn", "ownershipVerificationCertificateArn"}
        if unknown := value.keys() - known:
            raise ValueError(f"domain has the unknown member {min(unknown)}")
        ownership = value.get("ownershipVerificationCertificateArn")
        return cls(value["name"], value["certificateArn"], ownership)


@dataclass(frozen=True)
class ColdStart:
    """The feature of Lambda that shortens the cold starts of the functions for which devices wait.

    With `snap_start` Lambda restores a snapshot of an initialised function. Otherwise it keeps `provisioned`
    environments of each of these functions initialised.

    Raises ValueError unless it is exactly one of them.
    """

    snap_start: bool = False
    provisioned: int = 0

    def __post_init__(self) -> None:
        # Lambda developer guide, "Improving startup performance with Lambda SnapStart": SnapStart does not
        # support provisioned concurrency.
        if self.snap_start == (self.provisioned > 0) or self.provisioned < 0:
            raise ValueError("coldStart has either SnapStart or a provisioned concurrency of at least 1")

    @classmethod
    def of(cls, value: object) -> ColdStart:
        """Return what the setting `coldStart` is, which is not null.

        Raises ValueError.
        """
        match value:
            case "snapStart":
                return cls(snap_start=True)
            case {"provisioned": int(count), **rest} if not rest and not isinstance(count, bool):
                return cls(provisioned=count)
        raise ValueError(f'{value!r} of coldStart is neither null, "snapStart" nor {{"provisioned": N}}')


@dataclass(frozen=True)
class Configuration:
    """The settings that a deployer chooses.

    `fleet` is the fleet folder. `fleet_refresh` is for how many seconds a process uses the fleet that it has
    read. `mqtt_host` replaces the account's AWS IoT endpoint (a custom domain, an emulator). `ca_subject` and
    `ca_years` can't be changed after the first deployment. `ca_key` is the ARN of a KMS key (ECC_NIST_P256,
    SIGN_VERIFY) for the CA; without it the stack makes one. `iot_rate` is how many slots a second the rate
    limiter gives. `register_factory_cas` is False where the factory CAs are registered in AWS IoT already,
    which registers a CA once in an account and region. `mqtt_concurrency` is the reserved concurrency of each
    of the three Lambdas behind topic rules; 0 reserves none. `public` is False for a stack without a public
    host. `public_concurrency` is the reserved concurrency of each of the two Lambdas that the public host has
    for itself beside an mTLS host; 0 reserves none.

    `kms_rate`, `sts_rate` and `api_rate` are the account's quotas in a second, from which the hosts'
    throttles follow: signatures with ECC keys, sessions, and requests to all APIs. Without `api_rate` it is
    AWS's default in the stack's region. `cold_start` shortens cold starts, for money.

    A permissions boundary is not among the settings. CDK's own context sets it, and so reaches also the roles
    that CDK's framework and the rest of a stack make.

    Raises ValueError when `ca_key` is not the ARN of a key (IAM permits nothing on an alias), when a
    concurrency is negative or more is provisioned than reserved, and when there would be no host.
    """

    fleet: Path
    domain: Domain | None = None
    ca_key: str | None = None
    ca_subject: str = "Firstboot Issuing CA"
    ca_years: int = 20
    fleet_refresh: int = 60
    mqtt_host: str | None = None
    mqtt_port: int = 8883
    # A device with one grant takes two AttachPolicy calls, of which AWS IoT allows 15 a second by default,
    # and one call each of RegisterCertificateWithoutCA and UpdateCertificate, of which it allows 10. 7 is
    # below all three.
    iot_rate: float = 7
    register_factory_cas: bool = True
    # AWS IoT takes 100 publishes a second from a connection. A request takes about 0.1 s, so one noisy device
    # takes 10 executions of its function: a fifth of 50, and none of the other functions'. 50 handle about
    # 350 requests a second of 0.15 s each: a million devices that ask for credentials every hour.
    mqtt_concurrency: int = 50
    public: bool = True
    # At 0.15 s a call, 50 executions handle 333 calls a second.
    public_concurrency: int = 50
    # AWS KMS developer guide, "Request quotas": cryptographic operations with ECC keys. IAM user guide, "IAM
    # and AWS STS quotas": requests to STS in a region. API Gateway: `infra/throttles.py`.
    kms_rate: int = 1_000
    sts_rate: int = 600
    api_rate: int | None = None
    cold_start: ColdStart | None = None
    target: Target = Target.LAMBDA

    def __post_init__(self) -> None:
        if self.ca_key and not re.fullmatch(r"arn:[^:]+:kms:[^:]+:\d+:key/[\w-]+", self.ca_key):
            raise ValueError(f"{self.ca_key!r} is not the ARN of a KMS key")
        if self.mqtt_concurrency < 0:
            raise ValueError(f"mqttConcurrency is {self.mqtt_concurrency}, and can't be below 0")
        if self.public_concurrency < 0:
            raise ValueError(f"publicConcurrency is {self.public_concurrency}, and can't be below 0")
        self._check_provisioned()
        if min(self.kms_rate, self.sts_rate) < 1 or (self.api_rate is not None and self.api_rate < 1):
            raise ValueError("kmsRate, stsRate and apiRate are quotas, and must be above 0")
        if not self.public and not self.domain:
            raise ValueError("public is false and there is no domain, so that devices would have no host")

    def _check_provisioned(self) -> None:
        # Lambda developer guide, "Configuring provisioned concurrency for a function": no more than the
        # function's reserved concurrency.
        reserved = {"mqttConcurrency": self.mqtt_concurrency}
        if self.domain and self.public:
            reserved["publicConcurrency"] = self.public_concurrency
        provisioned = self.cold_start.provisioned if self.cold_start else 0
        for name, count in reserved.items():
            if 0 < count < provisioned:
                raise ValueError(f"coldStart provisions {provisioned}, and {name} reserves only {count}")

    @classmethod
    def read(cls, node: Node, root: Path) -> Configuration:
        """Return the configuration in `node`'s context. A relative fleet folder is under `root`.

        Raises KeyError with the name of a value that is missing, ValueError for a wrong value.
        """
        # Values with a default are required too. Otherwise a name that is misspelled in cdk.json would
        # silently select the default.
        domain, cold_start = node.try_get_context("domain"), node.try_get_context("coldStart")
        return cls(
            fleet=root / required(node, "fleet"),
            domain=Domain.of(domain) if domain else None,
            ca_key=node.try_get_context("caKey"),
            target=Target(required(node, "bundle")),
            ca_subject=required(node, "caSubject"),
            ca_years=int(required(node, "caYears")),
            fleet_refresh=int(required(node, "fleetRefresh")),
            mqtt_host=node.try_get_context("mqttHost"),
            mqtt_port=int(required(node, "mqttPort")),
            iot_rate=float(required(node, "iotRate")),
            register_factory_cas=flag(required(node, "registerFactoryCas")),
            mqtt_concurrency=int(required(node, "mqttConcurrency")),
            public=flag(required(node, "public")),
            public_concurrency=int(required(node, "publicConcurrency")),
            kms_rate=int(required(node, "kmsRate")),
            sts_rate=int(required(node, "stsRate")),
            api_rate=int(node.try_get_context("apiRate") or 0) or None,
            cold_start=None if cold_start is None else ColdStart.of(cold_start),
        )


def required(node: Node, name: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of `name` in the context.

    Raises KeyError with the name when it is missing.
    """
    value = node.try_get_context(name)
    if value is None:
        raise KeyError(name)
    return value


def flag(value: object) -> bool:
    """Return the Boolean that `value` is or spells. cdk.json has Booleans, `--context` only text.

    Raises ValueError.
    """
    found = {"true": True, "false": False}.get(str(value).lower())
    if found is None:
        raise ValueError(f"{value!r} is neither true nor false")
    return found
