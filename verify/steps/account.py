"""Steps that read the account and the stack, and change nothing."""

from __future__ import annotations

import io
import re
import urllib.request
import zipfile
from http.client import HTTPException

from console.commands.doctor import Patient, quotas_of
from console.diagnosis import Level, needs
from verify.bench import Bench
from verify.step import Failed, Measurement, Measurements, Need, Step

_VERSION = re.compile(rb"__version__ = ['\"]([\d.]+)")


def doctor(bench: Bench) -> Measurements:
    """Run the doctor, each line of which is a measurement."""
    lines = Patient(bench.deployed.stack).examined()
    yield from (Measurement(f"{line.level}, {line.what}", line.detail) for line in lines)
    if failed := [line.what for line in lines if line.level is Level.FAIL]:
        raise Failed("no failing check of `console doctor`", ", ".join(failed))


def quotas(bench: Bench) -> Measurements:
    """Measure the quotas that the doctor judges: their codes and the values of this account."""
    wanted = needs(bench.deployed.template)
    for service in sorted({need.service for need in wanted}):
        found = quotas_of(bench.client("service-quotas"), service)
        for need in sorted({need for need in wanted if need.service == service}, key=lambda need: need.quota):
            quota = found.get(need.code) or found.get(need.quota)
            if not quota:
                raise Failed(f"the quota {need.code} {need.quota!r} of {service}", f"{len(found)} others")
            yield Measurement(f"{service} {quota['QuotaCode']} {quota['QuotaName']}", quota["Value"])


def runtimes(bench: Bench) -> Measurements:
    """Measure what the functions run on: Lambda's runtime, and the AWS client that the asset has or lacks."""
    function = bench.outputs("ExchangeFunction")
    found = bench.client("lambda").get_function(FunctionName=function)
    settings = found["Configuration"]
    yield Measurement("runtime", settings.get("Runtime", "-"))
    yield Measurement("architecture", ", ".join(settings.get("Architectures", ["-"])))
    yield Measurement("memory", settings.get("MemorySize", 0), "MB")
    version = settings.get("RuntimeVersionConfig", {}).get("RuntimeVersionArn", "not told")
    yield Measurement("runtime version", version.rpartition(":")[2])
    yield Measurement("asset", settings.get("CodeSize", 0), "bytes")
    yield Measurement("botocore", _botocore(found["Code"]["Location"], bench))


def _botocore(url: str, bench: Bench) -> str:
    context = bench.transport.context(None)
    try:
        with urllib.request.urlopen(url, timeout=60, context=context) as answer:  # noqa: S310 - Lambda's URL
            return client_in(answer.read())
    except (OSError, HTTPException) as error:
        return f"unknown: the asset can't be read from here ({type(error).__name__})"


def client_in(asset: bytes) -> str:
    """Return the version of botocore in the asset of a function."""
    try:
        found = _VERSION.search(zipfile.ZipFile(io.BytesIO(asset)).read("botocore/__init__.py"))
    except KeyError:
        return "the runtime's own: the asset has none"
    return found[1].decode() if found else "of an unknown version"


STEPS = (
    Step("doctor", doctor),
    Step("quotas", quotas, frozenset({Need.AWS})),
    Step("runtimes", runtimes),
)
