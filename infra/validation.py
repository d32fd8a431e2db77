"""Fails a synth whose template exceeds a limit of AWS, in any app that has a Firstboot."""

from __future__ import annotations

import json
from pathlib import Path

import jsii
from aws_cdk import (
    IPolicyValidationContext,
    IPolicyValidationPlugin,
    PolicyValidationPluginReport,
    PolicyViolatingResource,
    PolicyViolation,
    Stack,
    Stage,
    Validations,
)
from constructs import IConstruct

from infra.limits import Excess, Template, exceeded


@jsii.implements(IPolicyValidationPlugin)
class _Limits:
    """The plugin that CDK calls with the templates of a stage. It looks at the stack of one Firstboot."""

    def __init__(self, stack: Stack) -> None:
        self._file, self._stack = stack.template_file, stack.stack_name

    @property
    def name(self) -> str:
        """The heading of the report."""
        return f"AWS limits of {self._stack}"

    def validate(self, context: IPolicyValidationContext) -> PolicyValidationPluginReport:
        """Return a violation for each limit that the stack's template exceeds."""
        found = [
            _violation(excess, path)
            for path in context.template_paths
            if Path(path).name == self._file
            for excess in exceeded(self._template(Path(path)))
        ]
        return PolicyValidationPluginReport(success=not found, violations=found)

    def _template(self, path: Path) -> Template:
        text = path.read_bytes()
        return Template(json.loads(text), len(text), self._stack)


def _violation(excess: Excess, path: str) -> PolicyViolation:
    where = PolicyViolatingResource(
        locations=[excess.limit.name], resource_logical_id=excess.resource, template_path=path
    )
    return PolicyViolation(
        rule_name=excess.limit.name.replace(" ", "-"),
        description=str(excess),
        severity="error",
        violating_resources=[where],
    )


def check_limits(scope: IConstruct) -> None:
    """Have the synth fail if the template of `scope`'s stack exceeds a limit of AWS."""
    plugin = _Limits(Stack.of(scope))
    stage = Stage.of(scope)
    if stage:  # a stack alone, as some unit tests have it, is not validated
        Validations.of(stage).add_plugins(plugin)  # type: ignore[arg-type]  # jsii adds the interface
