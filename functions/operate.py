"""The operator's calls, by IAM-authorised Invoke.

Every operation that changes something leaves an `audit` log line. It can't say who called: Invoke
passes no caller on. CloudTrail's data event of that Invoke does, under the same request id.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from firstboot.aws import clients
from firstboot.aws.dynamodb.devices import DynamoRegistry
from firstboot.aws.dynamodb.rate_limiter import Pace
from firstboot.aws.dynamodb.sweeps import DynamoSweeps
from firstboot.aws.iot.certificates import IotCertificates
from firstboot.aws.iot.messages import IotMessages
from firstboot.aws.s3.certificates import S3CertificateStore
from firstboot.aws.s3.fleet import FleetSource, deployed
from firstboot.aws.sqs.dead_letters import Queues, SqsDeadLetters
from firstboot.domain.clock import utc_now
from firstboot.domain.errors import FirstbootError, InternalError, OperationUnknown, Unavailable
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import METRICS
from firstboot.operate import answers as operated
from firstboot.operate import deletion, groups, revocation
from firstboot.operate import device_import as adoption
from firstboot.operate import devices as inventory
from firstboot.operate import requests as operator
from firstboot.operate.explain import explain
from firstboot.operate.plan import plan
from firstboot.operate.publish import publish
from firstboot.operate.redrive import redrive
from firstboot.policy.render import Place
from firstboot.policy.rules import Rules
from firstboot.runtime import guard as refusals
from firstboot.runtime import http as web
from firstboot.runtime.settings import OperateSettings

logger = Logger(service="operate")
metrics = Metrics(namespace=METRICS, service="operate")

Json = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """What the operations work with, made once a process."""

    deployed: Fleet
    fleet: FleetSource
    registry: DynamoRegistry
    certificates: IotCertificates
    store: S3CertificateStore
    sweeps: DynamoSweeps
    pace: Pace
    place: Place
    dead_letters: dict[str, Queues]


@cache
def parts() -> Parts:
    """The parts, wired as the environment says. The fleet is read anew for every call: an operator
    must see what was published a moment ago.
    """
    settings, in_asset = OperateSettings.read(), deployed()
    return Parts(
        deployed=in_asset,
        fleet=FleetSource(clients.s3(), settings.bucket, in_asset, refresh_seconds=0),
        registry=DynamoRegistry(clients.dynamodb(), settings.table),
        certificates=IotCertificates(clients.iot()),
        store=S3CertificateStore(clients.s3(), settings.bucket),
        sweeps=DynamoSweeps(clients.dynamodb(), settings.table),
        pace=Pace(clients.dynamodb(), settings.table),
        place=Place(settings.partition, settings.region, settings.account),
        dead_letters={name: Queues(**urls) for name, urls in json.loads(settings.dead_letters).items()},
    )


def clock() -> datetime:
    """The time, for whoever must be told it."""
    return utc_now()


def devices_list(parameters: Json, _: datetime) -> Json:
    """A page of the devices, and the token of the next one."""
    devices, following = parts().registry.page(*operator.page(parameters))
    return {"devices": [operated.device(device) for device in devices], "next": following}


def devices_show(parameters: Json, _: datetime) -> Json:
    """A device's record."""
    return operated.device(inventory.show(operator.target(parameters), parts().registry))


def devices_revoke(parameters: Json, now: datetime) -> Json:
    """Revoke a device, for good."""
    device_id = operator.target(parameters)
    device = revocation.revoke(device_id, parts().registry, now)
    _audit("DeviceRevoked", deviceId=device_id)
    return operated.device(device)


def devices_delete(parameters: Json, now: datetime) -> Json:
    """Delete a device: its name is free once AWS IoT knows nothing of it any more."""
    device_id = operator.target(parameters)
    device = deletion.delete(device_id, parts().registry, now)
    _audit("DeviceDeleted", deviceId=device_id)
    return operated.device(device)


def devices_import(parameters: Json, now: datetime) -> Json:
    """Give devices that AWS IoT knows their records."""
    made, name = parts(), operator.group(parameters, "devices")
    devices, rules = operator.devices(parameters, operator.MAX_IMPORTED), Rules(made.fleet.current(now))
    ports = adoption.Ports(made.certificates, made.registry, made.store)
    adopted = adoption.adopt(name, devices, rules, ports, now)
    _audit("DevicesImported", group=name, devices=adopted.imported)
    return asdict(adopted)


def devices_set(parameters: Json, now: datetime) -> Json:
    """Set and remove a device's attributes."""
    device_id = operator.target(parameters, "attributes")
    changes, rules = operator.attribute_changes(parameters), Rules(parts().fleet.current(now))
    device = inventory.set_attributes(device_id, changes, rules, parts().registry, now)
    _audit("AttributesSet", deviceId=device_id, attributes=sorted(changes))
    return operated.device(device)


def devices_explain(parameters: Json, now: datetime) -> Json:
    """Why a device holds what it holds."""
    made, rules = parts(), Rules(parts().fleet.current(now))
    device = inventory.show(operator.target(parameters, "context"), made.registry)
    moments = operator.moments(parameters, rules.fleet)
    return operated.explanation(device, explain(device, moments, rules, made.place))


def groups_show(parameters: Json, now: datetime) -> Json:
    """A group, and what is left of its budget."""
    made, name = parts(), operator.group(parameters)
    return operated.group_state(groups.show(name, made.fleet.current(now), made.registry))


def groups_freeze(parameters: Json, now: datetime) -> Json:
    """Take no enrollments of a group."""
    made, name = parts(), operator.group(parameters)
    state = groups.freeze(name, made.fleet.current(now), made.registry, now)
    _audit("GroupFrozen", group=name)
    return operated.group_state(state)


def groups_thaw(parameters: Json, now: datetime) -> Json:
    """Take enrollments of a group again."""
    made, name = parts(), operator.group(parameters)
    state = groups.thaw(name, made.fleet.current(now), made.registry)
    _audit("GroupThawed", group=name)
    return operated.group_state(state)


def groups_expect(parameters: Json, now: datetime) -> Json:
    """Name devices of a group before they come."""
    name, rules = operator.group(parameters, "devices"), Rules(parts().fleet.current(now))
    devices = operator.devices(parameters, operator.MAX_EXPECTED)
    foreign = groups.expect(name, devices, rules, parts().registry, now)
    _audit("DevicesExpected", group=name, devices=len(devices) - len(foreign))
    return {"expected": len(devices) - len(foreign), "foreign": foreign}


def fleet_show(parameters: Json, now: datetime) -> Json:
    """The fleet definitions, deployed and in force."""
    operator.nothing(parameters)
    return operated.fleets(parts().deployed, parts().fleet.current(now))


def fleet_apply(parameters: Json, _: datetime) -> Json:
    """Publish a fleet definition on top of the deployed one."""
    fleet = operator.fleet(parameters)
    publish(fleet, parts().deployed, parts().fleet.publish)
    _audit("FleetPublished", fleetHash=fleet.hash)
    return {"hash": fleet.hash}


def failures_show(parameters: Json, now: datetime) -> Json:
    """How many letters each dead-letter queue holds."""
    operator.nothing(parameters)
    return {"failures": {name: _letters(name, now).waiting() for name in parts().dead_letters}}


def failures_redrive(parameters: Json, now: datetime) -> Json:
    """Take up some letters of a dead-letter queue; none are left when it says 0."""
    name = operator.failures(parameters, parts().dead_letters)
    redriven = redrive(_letters(name, now), to_source=parts().dead_letters[name].source is not None)
    if redriven:
        _audit("FailuresRedriven", failures=name, letters=redriven)
    return {"redriven": redriven}


def _letters(name: str, now: datetime) -> SqsDeadLetters:
    problem = web.problem_members(Unavailable(), "redrive", now)
    return SqsDeadLetters(
        clients.sqs(),
        clients.lambda_(),
        parts().dead_letters[name],
        lambda topic: IotMessages(clients.iot_data()).publish(topic, problem),
    )


def fleet_plan(parameters: Json, now: datetime) -> Json:
    """How many devices of a page of the registry a fleet definition would touch in AWS IoT."""
    fleet, after = operator.planned(parameters)
    return operated.found(plan(fleet, parts().registry, after, now))


def fleet_progress(parameters: Json, now: datetime) -> Json:
    """How far AWS IoT has been brought to the fleet definition in force."""
    operator.nothing(parameters)
    made = parts()
    backlog = made.pace.backlog_seconds(now)
    return operated.progress(made.sweeps.read(), made.fleet.current(now), backlog)


OPERATIONS: dict[str, Callable[[Json, datetime], Json]] = {
    "devices.list": devices_list,
    "devices.show": devices_show,
    "devices.revoke": devices_revoke,
    "devices.delete": devices_delete,
    "devices.import": devices_import,
    "devices.set": devices_set,
    "devices.explain": devices_explain,
    "groups.show": groups_show,
    "groups.freeze": groups_freeze,
    "groups.thaw": groups_thaw,
    "groups.expect": groups_expect,
    "fleet.show": fleet_show,
    "fleet.apply": fleet_apply,
    "failures.show": failures_show,
    "failures.redrive": failures_redrive,
    "fleet.plan": fleet_plan,
    "fleet.progress": fleet_progress,
}


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def invoke(event: object, context: LambdaContext) -> Json:
    """Lambda entry for a direct Invoke."""
    now = clock()
    metrics.add_metric("Request", MetricUnit.Count, 1)
    try:
        return {"result": _do(event, now)}
    except FirstbootError as error:
        refusals.count(error, logger, metrics)
        return {"problem": web.problem_members(error, context.aws_request_id, now)}
    except Exception:
        logger.exception("unhandled")
        metrics.add_metric("InternalError", MetricUnit.Count, 1)
        return {"problem": web.problem_members(InternalError(), context.aws_request_id, now)}


def _do(event: object, now: datetime) -> Json:
    call = operator.call(event)
    operation = OPERATIONS.get(call.operation)
    if operation is None:
        raise OperationUnknown(f"There are {', '.join(OPERATIONS)}")
    logger.append_keys(operation=call.operation)
    return operation(call.parameters, now)


def _audit(what: str, **about: object) -> None:
    logger.info("audit", extra={"change": what, **about})
    metrics.add_metric(what, MetricUnit.Count, 1)
