"""Measures how the work on many devices grows, with the shipped Lambdas over canned tables.

moto would take more CPU than the product. The tables have one device many times, and what the operations
write is answered and not kept. The time that AWS takes, and the rates that it allows, are not in the figures.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product as pairs
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from bench.aws import ACCOUNT, REGION, Aws, Row
from bench.speed import Process
from bench.world import BUCKET, ROOT, TABLE, Event, Key, World, record
from firstboot.operate.requests import MAX_EXPECTED, MAX_IMPORTED, MAX_PAGE
from firstboot.operate.settings import OperateSettings
from firstboot.register.settings import SweepSettings

STACK = "Firstboot"
MOST_MEASURED = {"list": 100_000, "sweep": 100_000, "expect": 10_000, "import": 1_000, "restore": 1_000}
"""Up to how many devices an operation is run whole. Each page costs the same, so the rest is calculated."""

_RESTORE = "from console.__main__ import main; main()"
_STACKS = f"""<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">
<DescribeStacksResult><Stacks><member>
<StackId>arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/1</StackId><StackName>{STACK}</StackName>
<CreationTime>2026-11-28T00:00:00Z</CreationTime><StackStatus>UPDATE_COMPLETE</StackStatus>
<Outputs><member><OutputKey>Table</OutputKey><OutputValue>{TABLE}</OutputValue></member></Outputs>
</member></Stacks></DescribeStacksResult></DescribeStacksResponse>"""
_TEMPLATE = """<GetTemplateResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">
<GetTemplateResult><TemplateBody>{}</TemplateBody></GetTemplateResult></GetTemplateResponse>"""


@dataclass(frozen=True)
class Grown:
    """The CPU seconds and AWS calls of an operation on `devices` devices.

    `measured` is how many of the devices were worked on; the figures of the others are calculated.
    """

    operation: str
    devices: int
    measured: int
    cpu: float
    calls: int


def row_of(number: int, one: str) -> Row:
    """Return the row of a device. `one` is the JSON of the first device's."""
    found: Row = json.loads(one.replace("gw-0000000", name_of(number)))
    return found


def name_of(number: int) -> str:
    """Return the id of a device."""
    return f"gw-{number:07}"


@dataclass
class Table(Aws):
    """AWS with a table of `devices` records and their certificates in AWS IoT. `one` is the first's JSON."""

    one: str = ""
    pem: str = ""
    devices: int = 0

    def members(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a call of DynamoDB or SQS."""
        match name:
            case "Scan":
                return self._page(asked)
            case "BatchGetItem":
                return {"Responses": {TABLE: []}, "UnprocessedKeys": {}}
            case "SendMessageBatch":
                return {"Successful": [{"Id": each["Id"]} for each in asked["Entries"]], "Failed": []}
        return super().members(name, asked)

    def _page(self, asked: dict[str, Any]) -> dict[str, Any]:
        start = int(asked["ExclusiveStartKey"]["pk"]["S"][-7:]) + 1 if "ExclusiveStartKey" in asked else 0
        end = min(start + asked["Limit"], self.devices)
        items = [row_of(number, self.one) for number in range(start, end)]
        page = {"Items": items, "Count": len(items), "ScannedCount": len(items)}
        return page | ({"LastEvaluatedKey": {"pk": items[-1]["pk"]}} if end < self.devices else {})

    def xml(self, name: str) -> str:
        """Return the answer to a call of CloudFormation or STS."""
        answers = {"DescribeStacks": _STACKS, "GetTemplate": _TEMPLATE.format("{}")}
        return answers.get(name) or super().xml(name)

    def rest(self, method: str, path: str) -> dict[str, Any] | None:
        """Return the answer to a call of AWS IoT."""
        _, kind, *rest = path.partition("?")[0].split("/")
        arn = f"arn:aws:iot:{REGION}:{ACCOUNT}:cert/{'0' * 64}"
        certificate = {"certificateId": "0" * 64, "certificateArn": arn, "status": "ACTIVE"}
        answers: dict[str, dict[str, Any]] = {
            "policies": {"policies": []} if not rest else {"policyName": "p", "policyArn": "a"},
            "things": {"principals": [arn]} if rest[-1:] == ["principals"] else {"thingGroups": []},
            "certificates": {"certificateDescription": certificate | {"certificatePem": self.pem}},
            "attached-policies": {"policies": []},
        }
        if kind == "certificates" and not rest:
            found: dict[str, Any] | None = {"certificates": []}
        else:
            found = answers.get(kind)
        if found is not None:
            self.calls.append(f"{method} {kind}")
        return found


def measure(
    world: World,
    python: str,
    product: dict[str, Path],
    sizes: tuple[int, ...],
    most: Mapping[str, int] = MOST_MEASURED,
) -> list[Grown]:
    """Return what each operation takes at each number of devices. `most` is as MOST_MEASURED."""
    leaf = world.certificate(world.ca, name_of(0), ec.generate_private_key(ec.SECP256R1()))
    table, before = (
        Table(
            cast("Key", world.ca.key),
            *world.files,
            one=json.dumps(record(name_of(0), leaf)),
            pem=leaf.public_bytes(Encoding.PEM).decode(),
        ),
        world.aws,
    )
    world.aws = table
    found: dict[tuple[str, int], Grown] = {}
    try:
        for operation, devices in pairs(most, sizes):
            measured = min(devices, most[operation])
            if (operation, measured) not in found:
                found[operation, measured] = _grown(world, python, product, operation, measured)
            found[operation, devices] = _scaled(found[operation, measured], devices)
    finally:
        world.aws = before
        table.close()
    return list(found.values())


def _grown(world: World, python: str, product: dict[str, Path], operation: str, devices: int) -> Grown:
    table = cast("Table", world.aws)
    table.devices = devices
    table.calls.clear()
    cpu = _cpu(world, python, product, operation, devices)
    return Grown(operation, devices, devices, cpu, len(table.calls))


def _scaled(one: Grown, devices: int) -> Grown:
    times = devices / one.devices
    return replace(one, devices=devices, cpu=one.cpu * times, calls=round(one.calls * times))


def _cpu(world: World, python: str, product: dict[str, Path], operation: str, devices: int) -> float:
    """Return the CPU seconds of an operation, without the start of its process."""
    if operation == "restore":
        return _restored(world)
    file = {"sweep": "register"}.get(operation, "operate")
    handler = {"sweep": "register.sweep"}.get(operation, "operate.invoke")
    process = Process(python, handler, [product[file]], world.environment() | _settings(world))
    try:
        _warm(process, operation, cast("Table", world.aws))
        return sum(_run(process, operation, devices))
    finally:
        process.close()


def _warm(process: Process, operation: str, table: Table) -> None:
    """Let a process import and make everything that its first request needs."""
    if operation == "sweep":
        devices, table.devices = table.devices, 1
        process.answer({})
        table.devices = devices
    else:
        _answered(process, {"operation": "fleet.show", "parameters": {}})
    table.calls.clear()


def _run(process: Process, operation: str, devices: int) -> Iterator[float]:
    match operation:
        case "sweep":
            yield process.answer({})["cpu"]
        case "list":
            after: dict[str, str] = {}
            while True:
                parameters: dict[str, Any] = {"limit": MAX_PAGE} | after
                found = _answered(process, {"operation": "devices.list", "parameters": parameters})
                yield found["cpu"]
                following = found["answer"]["result"]["next"]
                if following is None:
                    return
                after = {"after": following}
        case _:
            most = {"expect": MAX_EXPECTED, "import": MAX_IMPORTED}[operation]
            called = {"expect": "groups.expect", "import": "devices.import"}[operation]
            for start in range(0, devices, most):
                named: dict[str, Any] = {
                    f"new-{number:07}": {} for number in range(start, min(start + most, devices))
                }
                parameters = {"group": "gateways", "devices": named}
                found = _answered(process, {"operation": called, "parameters": parameters})
                yield found["cpu"]


def _answered(process: Process, event: Event) -> dict[str, Any]:
    found = process.answer(event)
    if "result" not in found["answer"]:
        raise ValueError(f"{event['operation']}: {found['answer']}")
    return found


def _restored(world: World) -> float:
    """Return the CPU seconds of a restoration of all devices, less those of the same without a device."""
    table = cast("Table", world.aws)
    devices, table.devices = table.devices, 0
    empty = _console(world)
    table.calls.clear()
    table.devices = devices
    return _console(world) - empty


def _console(world: World) -> float:
    """Return the CPU seconds of `registry restore`."""
    environment = world.environment() | {"AWS_CA_BUNDLE": str(world.files[0]), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _RESTORE, "registry", "restore", "copy"]
    command += ["--stack", STACK, "--yes", "--json"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("registry restore failed; its error is above")
    return used.ru_utime + used.ru_stime


def _settings(world: World) -> dict[str, str]:
    place = {"table": TABLE, "bucket": BUCKET, "partition": "aws", "region": REGION, "account": ACCOUNT}
    queue = f"{world.aws.url}/{ACCOUNT}/"
    operate = OperateSettings(
        **place, ca_certificate=world.ca.pem.decode(), dead_letters="{}", stack=STACK, public_host="true"
    )
    sweep = SweepSettings(
        **place,
        stack=STACK,
        urgent_queue=queue + "urgent",
        changes_queue=queue + "changes",
        fleet_refresh="60",
    )
    return operate.environment() | sweep.environment()


def rules() -> list[dict[str, Any]]:
    """Return the rows of bench/growth_rules.py, which measures growth with rules and grants."""
    if importlib.util.find_spec("bench.growth_rules") is None:
        return []
    found: list[dict[str, Any]] = importlib.import_module("bench.growth_rules").measure()
    return found
