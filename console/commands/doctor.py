"""`console doctor`: check a stack's quotas, CA, truststore and hosts. It only reads.

Unlike the other commands it calls AWS itself, because no Lambda function of the stack may read the account's
quotas, and because the Lambda functions may be what is broken. docs/operations.md lists the permissions that
it needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from itertools import groupby, islice
from typing import Any
from urllib.parse import urlsplit

import typer
from botocore.exceptions import BotoCoreError, ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from console import account, cloud, diagnosis, hosts, output
from console.account import Reserved
from console.cloud import Fleets, Operate, Refused, Unreachable
from console.diagnosis import Level, Line
from console.options import Json, Options, Stack
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import AUTHORITY_KEY, TRUSTSTORE_KEY
from firstboot.pki.certificate import parse_all

_URL_SECONDS = 60
# AWS IoT answers ten calls of GetPolicy a second by default, and the account's other users need some of them.
_MOST_POLICIES, _MOST_PAGES = 200, 40

Check = Callable[[], Iterable[Line]]


def doctor(ctx: typer.Context, *, stack: Stack = None, as_json: Json = False) -> None:
    """Check quotas, hosts, the CA and the truststore of a stack. Exit code 1 if a check fails.

    It changes nothing. "warn" is what may become a problem. "unknown" is what AWS does not tell this
    caller, for example because a permission is missing.
    """
    options = Options.of(ctx, stack, as_json=as_json)
    with output.failures(as_json=options.as_json):
        lines = Patient(options.stack_name).examined()
        found = {"lines": [asdict(line) for line in lines]}
        output.result(found, lambda _: [output.judged(line) for line in lines], as_json=options.as_json)
        if any(line.level is Level.FAIL for line in lines):
            raise typer.Exit(output.REFUSED)


class Patient:
    """A deployed stack and the checks of it.

    Making one raises Unreachable if there is no such stack.
    """

    def __init__(self, stack: str) -> None:
        self._stack = stack
        self._deployed = cloud.deployed(stack)
        self._outputs = self._deployed.outputs

    def examined(self) -> list[Line]:
        """Run all checks and return their lines, with one line for each check that AWS did not answer."""
        checks: dict[str, Check] = {
            "quotas": self._quotas,
            "Lambda's concurrency": lambda: [account.concurrency(cloud.executions(), self._reserved)],
            diagnosis.MQTT_CONCURRENCY: lambda: [diagnosis.mqtt_concurrency(self._deployed.template)],
            diagnosis.PUBLIC_CONCURRENCY: lambda: diagnosis.public_concurrency(self._deployed.template),
            "CA key": self._ca_key,
            "CA certificate": lambda: [diagnosis.ca_days(self._ca, self._fleet, datetime.now(UTC))],
            "trust anchors": lambda: diagnosis.anchors(self._fleet, datetime.now(UTC)),
            "truststore": self._truststore,
            diagnosis.IN_USE: self._truststore_in_use,
            "hosts": self._hosts,
            "presigned URLs": self._presigned,
            diagnosis.POLICIES: self._policies,
        }
        return [line for what, check in checks.items() for line in _lines(what, check)]

    def _quotas(self) -> Iterable[Line]:
        client = cloud.client("service-quotas")
        for service, needs in groupby(diagnosis.needs(self._deployed.template), lambda need: need.service):
            quotas = {name: each["Value"] for name, each in quotas_of(client, service).items()}
            yield from (diagnosis.quota(need, quotas) for need in needs)

    @property
    def _reserved(self) -> Reserved:
        return Reserved(*diagnosis.reserved(self._deployed.template))

    def _ca_key(self) -> Iterable[Line]:
        function = cloud.client("lambda").get_function_configuration(
            FunctionName=self._outputs["ExchangeFunction"]
        )
        key, kms = function["Environment"]["Variables"]["FIRSTBOOT_CA_KEY"], cloud.client("kms")
        state = kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"]
        if state != "Enabled":  # then KMS refuses GetPublicKey
            return [diagnosis.ca_key(state, is_ours=True)]
        public = load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
        return [diagnosis.ca_key(state, is_ours=public == self._ca.public_key())]

    def _truststore(self) -> Iterable[Line]:
        found = parse_all(self._object(TRUSTSTORE_KEY)["Body"].read().decode())
        return [diagnosis.truststore(found, self._fleet, self._ca)]

    def _truststore_in_use(self) -> Iterable[Line]:
        url = self._outputs.get("MtlsUrl")
        if url is None:  # a stack without a domain has no mTLS host
            return []
        name = urlsplit(url).hostname
        host = cloud.client("apigatewayv2").get_domain_name(DomainName=name)["MutualTlsAuthentication"]
        used, warnings = host["TruststoreVersion"], host.get("TruststoreWarnings", [])
        return [diagnosis.truststore_in_use(self._object(TRUSTSTORE_KEY)["VersionId"], used, warnings)]

    def _hosts(self) -> Iterable[Line]:
        if "PublicUrl" in self._outputs:
            yield hosts.public(self._outputs["PublicUrl"])
        else:
            yield from diagnosis.no_public_host(self._fleets.in_force)
        if "MtlsUrl" in self._outputs:
            yield hosts.mtls(self._outputs["MtlsUrl"], self._outputs["MtlsAlias"])

    def _presigned(self) -> Iterable[Line]:
        what = {"Bucket": self._outputs["CertificatesBucket"], "Key": AUTHORITY_KEY}
        url = cloud.client("s3").generate_presigned_url("get_object", Params=what, ExpiresIn=_URL_SECONDS)
        return [hosts.presigned(url)]

    def _policies(self) -> Iterable[Line]:
        client = cloud.client("iot")
        pages = client.get_paginator("list_policies").paginate(PaginationConfig={"PageSize": 250})
        names = (each["policyName"] for page in islice(pages, _MOST_PAGES) for each in page["policies"])
        others = sorted(name for name in names if not diagnosis.is_own_policy(name, self._stack))
        documents = {
            name: json.loads(client.get_policy(policyName=name)["policyDocument"])
            for name in others[:_MOST_POLICIES]
        }
        return diagnosis.listeners(documents, len(others) - len(documents), self._deployed.place)

    @cached_property
    def _fleet(self) -> Fleet:
        """Return the deployed fleet definition."""
        return self._fleets.deployed

    @cached_property
    def _fleets(self) -> Fleets:
        return Operate(self._stack).fleets()

    @cached_property
    def _ca(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self._object(AUTHORITY_KEY)["Body"].read())

    def _object(self, key: str) -> Any:  # noqa: ANN401 - boto3's answer
        return cloud.client("s3").get_object(
            Bucket=self._outputs["CertificatesBucket"],
            Key=key,
            ExpectedBucketOwner=self._deployed.place.account,
        )


def quotas_of(client: Any, service: str) -> dict[str, Any]:  # noqa: ANN401 - a boto3 client
    """Return a service's quotas, each by its code and by its name. The account's own values replace AWS's
    defaults.
    """
    found: dict[str, Any] = {}
    for operation in ("list_aws_default_service_quotas", "list_service_quotas"):
        for page in client.get_paginator(operation).paginate(ServiceCode=service):
            for each in page["Quotas"]:
                found |= dict.fromkeys((each["QuotaName"], each["QuotaCode"]), each)
    return found


def _lines(what: str, check: Check) -> list[Line]:
    """Run a check and return its lines. A call that AWS refuses says nothing about the stack, so it is
    no failure of the check.
    """
    try:
        return list(check())
    except (BotoCoreError, ClientError, Unreachable, Refused) as error:
        return [diagnosis.unknown(what, error)]
