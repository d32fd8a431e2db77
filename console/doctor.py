"""`console doctor`: whether what is around a stack is as it must be. It only reads.

Unlike the other commands it calls AWS itself: no Lambda of the stack may read the account's quotas, and
what is wrong may be the Lambdas. docs/operations.md has the permissions that it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

import typer
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key
from rich.text import Text

from console import cloud, diagnosis, hosts, output
from console.cloud import Operate, Refused, Unreachable
from console.diagnosis import Level, Line
from console.options import Json, Options, Stack
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY
from firstboot.pki.certificate import parse_all

_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}
_URL_SECONDS = 60

Check = Callable[[], Iterable[Line]]


def doctor(ctx: typer.Context, *, stack: Stack = None, as_json: Json = False) -> None:
    """Look at quotas, hosts, the CA and the truststore of a stack; exit code 1 if something fails.

    It changes nothing. A warning is what may become a problem, or could not be found out.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        lines = Patient(options.stack_name).examined()
        found = {"lines": [asdict(line) for line in lines]}
        output.result(found, lambda _: [_shown(line) for line in lines], as_json=options.as_json)
        if any(line.level is Level.FAIL for line in lines):
            raise typer.Exit(output.REFUSED)


def _shown(line: Line) -> Text:
    return Text(f"{line.level:<5}", style=_STYLES[line.level]) + Text(f"{line.what}: {line.detail}")


class Patient:
    """A stack, and all that is asked about it.

    Raises Unreachable if there is no such stack.
    """

    def __init__(self, stack: str) -> None:
        self._stack = stack
        self._deployed = cloud.deployed(stack)
        self._outputs = self._deployed.outputs

    def examined(self) -> list[Line]:
        """Everything that was looked at. What can't be asked about is a warning of its own."""
        checks: dict[str, Check] = {
            "quotas": self._quotas,
            "CA key": self._ca_key,
            "CA certificate": lambda: [diagnosis.ca_days(self._ca, self._fleet, datetime.now(UTC))],
            "truststore": self._truststore,
            "hosts": self._hosts,
            "presigned URLs": self._presigned,
        }
        return [line for what, check in checks.items() for line in _done(what, check)]

    def _quotas(self) -> Iterable[Line]:
        client = cloud.client("service-quotas")
        for service, needs in groupby(diagnosis.needs(self._deployed.template), lambda need: need.service):
            quotas = _quotas_of(client, service)
            yield from (diagnosis.quota(need, quotas) for need in needs)

    def _ca_key(self) -> Iterable[Line]:
        function = cloud.client("lambda").get_function_configuration(
            FunctionName=self._outputs["ExchangeFunction"]
        )
        key, kms = function["Environment"]["Variables"]["FIRSTBOOT_CA_KEY"], cloud.client("kms")
        state = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
        if state != "Enabled":  # then it tells its public key to nobody
            return [diagnosis.ca_key(state, is_ours=True)]
        public = load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
        return [diagnosis.ca_key(state, is_ours=public == self._ca.public_key())]

    def _truststore(self) -> Iterable[Line]:
        stored = self._object(TRUSTSTORE_KEY)
        found = parse_all(stored["Body"].read().decode())
        yield diagnosis.truststore(found, self._fleet, self._ca)
        url = self._outputs.get("MtlsUrl")
        if url:
            name = urlsplit(url).hostname
            host = cloud.client("apigatewayv2").get_domain_name(DomainName=name)["MutualTlsAuthentication"]
            used, warnings = host["TruststoreVersion"], host.get("TruststoreWarnings", [])
            yield diagnosis.truststore_in_use(stored["VersionId"], used, warnings)

    def _hosts(self) -> Iterable[Line]:
        yield hosts.public(self._outputs["PublicUrl"])
        if "MtlsUrl" in self._outputs:
            yield hosts.mtls(self._outputs["MtlsUrl"], self._outputs["MtlsAlias"])

    def _presigned(self) -> Iterable[Line]:
        what = {"Bucket": self._outputs["CertificatesBucket"], "Key": AUTHORITY_KEY}
        url = cloud.client("s3").generate_presigned_url("get_object", Params=what, ExpiresIn=_URL_SECONDS)
        return [hosts.presigned(url)]

    @cached_property
    def _fleet(self) -> Fleet:
        """The fleet definition that is deployed."""
        return Operate(self._stack).fleets().deployed

    @cached_property
    def _ca(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self._object(AUTHORITY_KEY)["Body"].read())

    def _object(self, key: str) -> Any:  # noqa: ANN401 - boto3's answer
        return cloud.client("s3").get_object(Bucket=self._outputs["CertificatesBucket"], Key=key)


def _quotas_of(client: Any, service: str) -> dict[str, float]:  # noqa: ANN401 - a boto3 client
    """A service's quotas by name: AWS's defaults, and what this account has instead."""
    found: dict[str, float] = {}
    for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
        for page in client.get_paginator(operation).paginate(ServiceCode=service):
            found |= {each["QuotaName"]: each["Value"] for each in page["Quotas"]}
    return found


def _done(what: str, check: Check) -> list[Line]:
    """A check's lines. What AWS refuses to tell is not known to be wrong."""
    try:
        return list(check())
    except (BotoCoreError, ClientError, Unreachable, Refused) as error:
        return [Line(Level.WARN, what, f"could not be found out: {error}")]
