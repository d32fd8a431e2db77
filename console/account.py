"""Judge an AWS account and region before a deployment: its concurrency and CDK's bootstrap stack. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from console.diagnosis import Level, Line

Json = dict[str, Any]

BOOTSTRAP_VERSION = 6
"""The version of CDK's bootstrap stack that the template needs. It is in the assembly's manifest."""

QUALIFIER = "hnb659fds"
"""CDK's default name for a bootstrap stack, in its parameter's name."""

_UNRESERVED = 100
"""The executions that Lambda never lets functions reserve (Lambda developer guide, "Configuring reserved
concurrency for a function")."""

_WANTED = 50
"""The reserved concurrency of a function by default. More is never advised."""

_MQTT, _PUBLIC = 3, 2
"""How many functions have `mqttConcurrency`, and how many `publicConcurrency`."""


@dataclass(frozen=True)
class Reserved:
    """The reserved concurrency of each function behind topic rules, and of each of the public host's.

    `public` is None if the public host has no functions of its own.
    """

    mqtt: int
    public: int | None

    @classmethod
    def of_settings(cls, context: Json) -> Reserved:
        """Return what a cdk.json's context reserves."""
        beside = context.get("domain") and context.get("public", True)
        mqtt, public = context.get("mqttConcurrency", _WANTED), context.get("publicConcurrency", _WANTED)
        return cls(int(mqtt), int(public) if beside else None)

    @property
    def total(self) -> int:
        """The executions that are reserved in all."""
        return _MQTT * self.mqtt + _PUBLIC * (self.public or 0)

    @property
    def settings(self) -> str:
        """The settings that decide it."""
        return "mqttConcurrency" if self.public is None else "mqttConcurrency and publicConcurrency"

    def most(self, executions: int) -> int:
        """Return what each function may reserve of an account's concurrency."""
        functions = _MQTT if self.public is None else _MQTT + _PUBLIC
        return min(_WANTED, max(0, executions - _UNRESERVED) // functions)


def concurrency(executions: int, reserved: Reserved) -> Line:
    """Judge whether an account's concurrency suffices for what is reserved; name the value to set if not.

    What other stacks reserve is not counted.
    """
    what, most = "Lambda's concurrency", reserved.most(executions)
    detail = f"the account has {executions:,}, and {reserved.total} are reserved"
    if reserved.total and reserved.total + _UNRESERVED > executions:
        advice = f"set {reserved.settings} to {most}, or have the quota raised"
        reason = f"AWS keeps {_UNRESERVED} unreserved and refuses the deployment"
        return Line(Level.FAIL, what, f"{detail}; {reason}: {advice}")
    lacks = reserved.mqtt == 0 or reserved.public == 0
    if lacks and not most:
        return Line(Level.WARN, what, f"{detail}; no more can be: have the quota raised to 1,000")
    if lacks:
        return Line(Level.WARN, what, f"{detail}; it allows {most} for {reserved.settings}")
    return Line(Level.OK, what, detail)


def bootstrap(version: str | None) -> Line:
    """Judge the version of CDK's bootstrap stack, which is None where there is none."""
    what, needed = "CDK's bootstrap stack", f"version {BOOTSTRAP_VERSION} is needed"
    if version is None or not re.fullmatch(r"\d+", version):
        return Line(Level.FAIL, what, f"there is none; {needed}: run cdk bootstrap")
    if int(version) < BOOTSTRAP_VERSION:
        return Line(Level.FAIL, what, f"version {version}; {needed}: run cdk bootstrap again")
    return Line(Level.OK, what, f"version {version}; {needed}")
