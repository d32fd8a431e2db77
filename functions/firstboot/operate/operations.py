"""All operations of the operator's calls, each declared once.

`operate.build` binds each one to its function, and the table in docs/operations.md is generated from this
list. Showing failures does not count as reading: SQS hides a message from others after it was received.
"""

from __future__ import annotations

from typing import Any

from firstboot.operate import requests
from firstboot.runtime.invoke import Operation
from firstboot.runtime.messages import NoMembers

DEVICES_LIST = Operation("devices.list", requests.ListDevices, "List devices, one page a call", reads=True)
DEVICES_SHOW = Operation("devices.show", requests.OneDevice, "Show a device's record", reads=True)
DEVICES_REVOKE = Operation("devices.revoke", requests.OneDevice, "Revoke a device for good")
DEVICES_DELETE = Operation("devices.delete", requests.OneDevice, "Delete a device and free its name")
DEVICES_IMPORT = Operation(
    "devices.import", requests.ImportDevices, "Bring devices that AWS IoT knows into a group"
)
DEVICES_REPAIR = Operation(
    "devices.repair", requests.OneDevice, "Bring the lost object of a device's certificate back"
)
DEVICES_REBIND = Operation(
    "devices.rebind", requests.RebindDevice, "Admit another bootstrap key of a device once"
)
DEVICES_TOKEN = Operation(
    "devices.token", requests.AdmitDevice, "Make a one-time password that admits a device by EST"
)
DEVICES_SET = Operation("devices.set", requests.SetAttributes, "Set or remove attributes of a device")
DEVICES_EXPLAIN = Operation(
    "devices.explain", requests.ExplainDevice, "Explain which grants a device holds, and why", reads=True
)
GROUPS_SHOW = Operation(
    "groups.show", requests.OneGroup, "Show a group's budget and whether it is frozen", reads=True
)
GROUPS_FREEZE = Operation("groups.freeze", requests.OneGroup, "Stop a group's enrollments")
GROUPS_THAW = Operation("groups.thaw", requests.OneGroup, "Resume a group's enrollments")
GROUPS_EXPECT = Operation(
    "groups.expect", requests.ExpectDevices, "Name the devices that a group may enroll, with attributes"
)
FACTORY_REVOKE = Operation(
    "factory.revoke", requests.RevokeBootstrap, "Revoke a bootstrap certificate for good"
)
FLEET_SHOW = Operation(
    "fleet.show", NoMembers, "Show the fleet definitions, deployed and in force", reads=True
)
FLEET_APPLY = Operation("fleet.apply", requests.ApplyFleet, "Publish a fleet definition")
FLEET_PLAN = Operation(
    "fleet.plan",
    requests.PlanFleet,
    "Count the devices that a fleet definition changes, one page a call",
    reads=True,
)
FLEET_PROGRESS = Operation(
    "fleet.progress", NoMembers, "Show how far AWS IoT follows the fleet definition", reads=True
)
FAILURES_SHOW = Operation(
    "failures.show",
    requests.ShowFailures,
    "Count the messages in the dead-letter queues, or show some of one",
)
FAILURES_DELETE = Operation(
    "failures.delete", requests.OneKindOfFailures, "Delete messages of a dead-letter queue, a batch a call"
)
FAILURES_REDRIVE = Operation(
    "failures.redrive",
    requests.OneKindOfFailures,
    "Send our own messages of a dead-letter queue to their queue again, a batch a call",
)

OPERATIONS: tuple[Operation[Any], ...] = (
    *(DEVICES_LIST, DEVICES_SHOW, DEVICES_REVOKE, DEVICES_DELETE, DEVICES_IMPORT),
    *(DEVICES_REPAIR, DEVICES_REBIND, DEVICES_TOKEN, DEVICES_SET, DEVICES_EXPLAIN),
    *(GROUPS_SHOW, GROUPS_FREEZE, GROUPS_THAW, GROUPS_EXPECT),
    FACTORY_REVOKE,
    *(FLEET_SHOW, FLEET_APPLY, FLEET_PLAN, FLEET_PROGRESS),
    *(FAILURES_SHOW, FAILURES_DELETE, FAILURES_REDRIVE),
)

READING: tuple[Operation[Any], ...] = tuple(each for each in OPERATIONS if each.reads)
"""The operations of the read-only operate function."""
