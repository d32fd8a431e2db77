"""AWS IoT ends with what a device's record says, when the record changes in the middle of the work on it.

Every call of four kinds of work is a point at which each of the changes happens, with and without the death
of the worker there. A test takes a sample of them, and all with FIRSTBOOT_INTERLEAVINGS=all
(`make interleavings`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from botocore.exceptions import ClientError

from tests import factories
from tests.aws.aws_iot import AwsIot
from tests.aws.interleaving import Subject
from tests.aws.registering import CONFIGURATION, Registering
from tests.fleets import group

Act = Callable[[Subject], None]

_SAMPLE = 8
_SEED = 13


def _then(*acts: Act) -> Act:
    def all_of(subject: Subject) -> None:
        for act in acts:
            act(subject)

    return all_of


def _operator(operation: str, **parameters: object) -> Act:
    return lambda subject: subject.operate(operation, deviceId=subject.name, **parameters)


def _transfer(subject: Subject) -> None:
    subject.operate("groups.expect", group="sensors", devices={subject.name: {}})


WORK = Subject.drain
RENEW = _then(Subject.commit, Subject.renew)
DELETE, REVOKE = _operator("devices.delete"), _operator("devices.revoke")
AGAIN = _then(DELETE, WORK, Subject.enroll)

CHANGES: dict[str, Act] = {
    "delete": DELETE,
    "revoke": REVOKE,
    "renew": RENEW,
    "renew-commit": _then(RENEW, Subject.commit),
    "renew-twice": _then(RENEW, RENEW, Subject.commit),
    "replace": Subject.enroll,
    "replace-commit": _then(Subject.enroll, Subject.commit),
    "transfer": _transfer,
    "quarantine": _operator("devices.set", attributes={"quarantined": True}),
    "enroll-again": AGAIN,
    "enroll-again-delete": _then(AGAIN, WORK, DELETE),
    "revoke-delete": _then(REVOKE, WORK, DELETE),
}
CHANGES |= {f"{name}-work": _then(act, WORK) for name, act in CHANGES.items()}

OTHER_WORKER = _then(Subject.order, WORK)
AFTER_DELETION: dict[str, Act] = {
    "work": OTHER_WORKER,
    "enroll": _then(OTHER_WORKER, Subject.enroll),
    "enroll-work": _then(OTHER_WORKER, Subject.enroll, WORK),
    "enroll-commit-work": _then(OTHER_WORKER, Subject.enroll, Subject.commit, WORK),
    "enroll-delete": _then(OTHER_WORKER, Subject.enroll, WORK, DELETE),
    "enroll-delete-work": _then(OTHER_WORKER, Subject.enroll, WORK, DELETE, WORK),
    "twice": _then(DELETE, OTHER_WORKER),
}
AFTER_REVOCATION: dict[str, Act] = {
    "work": OTHER_WORKER,
    "delete": DELETE,
    "delete-work": _then(DELETE, WORK),
    "delete-enroll": _then(DELETE, WORK, Subject.enroll),
    "delete-enroll-work": _then(DELETE, WORK, Subject.enroll, WORK),
}

REGISTERED = _then(Subject.enroll, WORK)
WORKS: dict[str, tuple[Act, dict[str, Act]]] = {
    "registration": (Subject.enroll, CHANGES),
    "renewal": (_then(REGISTERED, RENEW), CHANGES),
    "deletion": (_then(REGISTERED, Subject.commit, Subject.renew, WORK, DELETE), AFTER_DELETION),
    "revocation": (_then(REGISTERED, Subject.commit, Subject.renew, WORK, REVOKE), AFTER_REVOCATION),
}
MODES = ("lives", "dies", "lost")
_CALLS = {"registration": 17, "renewal": 21, "deletion": 34, "revocation": 20}
"""The calls of each kind of work."""

Case = tuple[str, int, str]

ALWAYS: dict[str, list[Case]] = {
    "registration": [
        ("renew-twice-work", 15, "lives"),
        ("renew-twice-work", 15, "lost"),
        ("delete-work", 9, "dies"),
        ("delete-work", 15, "lives"),
        ("enroll-again-work", 15, "dies"),
    ],
    "deletion": [("enroll-work", 1, "lives"), ("enroll-work", 11, "lives"), ("enroll-delete", 16, "dies")],
}
"""The cases that are always tried. They are about the note before the activation, the deletion of noted
certificates, and the look at the record after each list."""


def _cases() -> dict[tuple[str, str], list[Case]]:
    """Return the cases of each test by its names: all, or a sample."""
    every = {
        work: [
            (change, number, mode) for change in changes for number in range(_CALLS[work]) for mode in MODES
        ]
        for work, (_, changes) in WORKS.items()
    }
    if os.environ.get("FIRSTBOOT_INTERLEAVINGS") != "all":
        chosen = random.Random(_SEED)  # noqa: S311 - it keeps nothing secret
        return {
            (work, "sample"): ALWAYS.get(work, []) + chosen.sample(cases, _SAMPLE)
            for work, cases in every.items()
        }
    return {
        (work, change): [case for case in cases if case[0] == change]
        for work, cases in every.items()
        for change in WORKS[work][1]
    }


CASES = _cases()


@pytest.mark.parametrize("names", CASES, ids="-".join)
def test_a_change_at_any_point(registering: Registering, names: tuple[str, str]) -> None:
    """AWS IoT ends with what the record says when the record changes in the middle of the work."""
    gateways = replace(registering.product.fleet.groups["gateways"], configuration=CONFIGURATION)
    registering.publish_groups(gateways, group("sensors", factories.authority()))
    begin, changes = WORKS[names[0]]
    failed = []
    for change, number, mode in CASES[names]:
        registering.calls.rules = AwsIot(lag=9)
        subject = Subject(registering, f"gw-{change}-{number}-{mode}")
        begin(subject)
        body = subject.waiting.pop(0)
        subject.work_until(body, number, partial(changes[change], subject), mode)
        try:
            subject.drain()
            subject.check()
        except (AssertionError, ClientError) as error:
            failed.append((change, number, mode, registering.calls.names[:number], str(error)))
    assert failed == []
