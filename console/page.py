"""Render the report of `console fleet report --html` as one HTML page.

The page has no script and loads nothing. Its text and markup are in report.html.jinja. This module prepares
the values that the template shows. jinja2 escapes each of them (`autoescape`) and stops at a name that does
not exist (`StrictUndefined`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from console.describe import last_day
from console.report import SAMPLE, Cell, Policy, Report
from console.visible import visible
from firstboot.domain.fleet import Group
from firstboot.domain.plans import Budget

_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class _Holding:
    """A row of the table "Groups and grants", as text."""

    group: str
    grant: str
    new: str
    permits: str
    forbids: str


@dataclass(frozen=True)
class _Document:
    """A rendered policy, as text. `is_too_large` is true if the policy exceeds the limit of AWS."""

    title: str
    size: str
    is_too_large: bool
    text: str


@dataclass(frozen=True)
class _Enrollment:
    """A row of the table "Groups", as text. `configuration` is JSON, or empty if the group has none."""

    name: str
    device_id: str
    reenroll: str
    mqtt: str
    certificates: str
    budget: str
    configuration: str


def page(report: Report) -> str:
    """Return the HTML document for `report`."""
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            report=report,
            sample=SAMPLE,
            holdings=[_holding(cell, report.fleet.shared_grants) for cell in report.cells],
            policies=[_document(policy) for policy in report.policies],
            enrollments=[_enrollment(group) for group in report.fleet.groups.values()],
        )
    )


def _environment() -> Environment:
    """Return the jinja2 environment of the template, with its two filters `moment` and `sha256`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"moment": _moment, "sha256": _sha256}
    return environment


def _holding(cell: Cell, shared: list[str]) -> _Holding:
    """Describe which rules can give a grant to a group, or withhold it. `shared` are the shared grants."""
    return _Holding(
        group=cell.group,
        grant=f"{cell.grant} (shared: its devices write the same)" if cell.grant in shared else cell.grant,
        new=_new(cell),
        permits=", ".join(cell.permits) or "none",
        forbids=", ".join(cell.forbids) or "none",
    )


def _new(cell: Cell) -> str:
    """Describe when a new device of the group holds the grant."""
    if not cell.permits:
        return "never"
    held = [f"{context}, by {', '.join(rules)}" for context, rules in cell.new.items()]
    return "; ".join(held) or "no"


def _document(policy: Policy) -> _Document:
    """Describe a rendered policy and its size."""
    return _Document(
        title=f"{policy.name}: {policy.kind}",
        size=f"{policy.characters:,} of {policy.limit:,} characters",
        is_too_large=policy.characters > policy.limit,
        text=json.dumps(policy.document, indent=2),
    )


def _enrollment(group: Group) -> _Enrollment:
    """Describe how devices of a group enroll, connect and renew."""
    plan = group.certificate
    return _Enrollment(
        name=group.name,
        device_id=_source(group),
        reenroll=f"replaces, {group.reenroll_per_day:,} a day" if group.reenroll == "replace" else "refused",
        mqtt=group.mqtt,
        certificates=(
            f"{plan.days:,} days, renewed after {plan.renew_at:.0%}, {plan.grace_days:,} days of grace"
        ),
        budget=_budget(group.budget) if group.budget else "no limit",
        configuration=json.dumps(group.configuration, indent=2) if group.configuration else "",
    )


def _source(group: Group) -> str:
    """Describe where the ids of a group's devices come from, and which there may be."""
    parts = [
        "many devices share the certificate" if group.is_shared else "",
        f"without the prefix {group.strip_prefix}" if group.strip_prefix else "",
        f"without the suffix {group.strip_suffix}" if group.strip_suffix else "",
        f"the group of the pattern {group.pattern}" if group.pattern else "",
        f"ids {group.ids}" if group.ids != "*" else "",
    ]
    said = ", ".join(filter(None, parts))
    return f"{group.device_id} ({said})" if said else group.device_id


def _budget(budget: Budget) -> str:
    """Describe how many enrollments a group may have, and until which day."""
    freeze = f", frozen above {budget.freeze_per_hour:,} an hour" if budget.freeze_per_hour else ""
    until = f"until {last_day(budget.until)} (UTC)"
    return f"{budget.total:,} enrollments, {budget.per_minute:,} a minute{freeze}, {until}"


def _finalize(value: Any) -> Any:  # noqa: ANN401 - jinja2 passes the value of every expression
    """Return a value of the template as visible text. What is HTML already (a macro's result) stays as it is.

    jinja2 escapes what this returns, so the text is still escaped.
    """
    return value if hasattr(value, "__html__") else visible(str(value), "\n\t")


def _moment(value: datetime) -> str:
    """Return a UTC time to the minute."""
    return f"{value:%Y-%m-%d %H:%M} UTC"


def _sha256(text: str) -> str:
    """Return the SHA-256 of a text in base64: how a Content-Security-Policy names an inline style.

    Source: Content Security Policy Level 3, section 2.3.1 (`hash-source`).
    """
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
