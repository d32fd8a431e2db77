"""The report as one HTML page: no script, nothing loaded, every value escaped. Pure.

Every value goes through `Markup.format`, which escapes what is not Markup itself; and characters that
can't be seen, or turn the direction of what follows, are written as their numbers: a rule must not read
otherwise than it is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

from markupsafe import Markup

from console.report import SAMPLE, Anchor, Cell, Policy, Report
from console.template import Role, Statement
from firstboot.domain.fleet import Group

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; margin: 2rem auto; padding: 0 1.5rem;
  max-width: 72rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.25rem; margin-top: 2.4rem; border-bottom: 1px solid #999; }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { border: 1px solid #bbb; padding: .3rem .5rem; text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
th { background: #eee; }
pre, code { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: #f6f6f6; border: 1px solid #ddd; padding: .6rem; white-space: pre-wrap;
  margin: .3rem 0; }
nav a { margin-right: 1rem; }
.bad { color: #a40000; font-weight: bold; }
.note { color: #444; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  nav { display: none; }
  pre, code { font-size: 8pt; }
  thead { display: table-header-group; }
  tr, h2, h3 { break-inside: avoid; break-after: avoid-page; }
  tr { break-after: auto; }
}
"""

# Even if a value got out of its place, nothing would run and nothing be fetched.
_POLICY = "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"

_PAGE = Markup("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p class="note">{lead}</p>
<nav>{navigation}</nav>
{sections}
</body>
</html>
""")

_LEAD = (
    "Fleet definition {hash}, made {made}, for partition {partition}, region {region}, account {account}. "
    "Rendered policies are those of a device named {device}; sizes are with the longest device id."
)

_NEW_DEVICE = (
    "A new device has no attributes and claims nothing. Whether a rule that could give or withhold a grant "
    "does depends on its conditions. Without a rule that could give it, no device of the group holds it."
)

_SIGNERS = (
    "<p>From the template of the stack {}. Its roles that kms:Sign is allowed to, by their own policies or a "
    "key's: <strong>{}</strong>.</p>\n"
)


def page(report: Report) -> str:
    """The page."""
    style = Markup(_STYLE)  # noqa: S704 - our own text
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    lead = _LEAD.format(
        hash=report.fleet.hash[:16],
        made=_moment(report.made),
        device=SAMPLE,
        **asdict(report.place),
    )
    sections = _sections(report)
    made = _PAGE.format(
        policy=_POLICY.format(digest),
        title="Firstboot: who may do what",
        style=style,
        lead=lead,
        navigation=_joined(_html('<a href="#{}">{}</a>', key, title) for key, title, _ in sections),
        sections=_joined(
            _html('<section id="{}"><h2>{}</h2>\n{}</section>\n', key, title, body)
            for key, title, body in sections
        ),
    )
    return str(made)  # no Markup: whoever works on it has text


def _sections(report: Report) -> list[tuple[str, str, Markup]]:
    return [
        ("holdings", "Groups and grants", _holdings(report.cells)),
        ("rules", "Rules", _rules(report)),
        ("policies", "Rendered policies", _joined(map(_policy, report.policies))),
        ("groups", "Groups", _groups(report)),
        ("anchors", "Trust anchors", _anchors(report.anchors)),
        ("issuers", "Token issuers", _issuers(report)),
        ("aliases", "Role aliases", _aliases(report)),
        ("roles", "Roles, and who may sign", _roles(report)),
        ("source", "The rules as they were written", _pre(report.fleet.rules)),
    ]


def _holdings(cells: list[Cell]) -> Markup:
    head = (
        "group",
        "grant",
        "a new device holds it",
        "rules that could give it",
        "rules that could withhold it",
    )
    rows = (
        (
            cell.group,
            cell.grant,
            _new(cell),
            ", ".join(cell.permits) or "none",
            ", ".join(cell.forbids) or "none",
        )
        for cell in cells
    )
    return _html("<p>{}</p>{}", _NEW_DEVICE, _table(head, rows))


def _new(cell: Cell) -> str:
    if not cell.permits:
        return "never"
    held = [f"{moment}, by {', '.join(rules)}" for moment, rules in cell.new.items()]
    return "; ".join(held) or "no"


def _rules(report: Report) -> Markup:
    rows = (
        (rule.id, rule.effect, ", ".join(rule.groups), ", ".join(rule.grants), _pre(rule.text))
        for rule in report.rules
    )
    return _table(("@id", "effect", "can concern groups", "can concern grants", "as Cedar reads it"), rows)


def _policy(policy: Policy) -> Markup:
    size = f"{policy.characters:,} of {policy.limit:,} characters"
    kind = "bad" if policy.characters > policy.limit else "note"
    text = _pre(json.dumps(policy.document, indent=2))
    return _html(
        '<h3>{}: {} <span class="{}">({})</span></h3>\n{}\n', policy.name, policy.kind, kind, size, text
    )


def _groups(report: Report) -> Markup:
    head = (
        "group",
        "device id from",
        "a second enrollment",
        "connects by",
        "certificates",
        "budget",
        "configuration",
    )
    return _table(head, map(_group, report.fleet.groups.values()))


def _group(group: Group) -> Sequence[object]:
    plan, budget = group.certificate, group.budget
    limit = "no limit"
    if budget:
        until = _moment(budget.until)
        freeze = f", frozen above {budget.freeze_per_hour:,} an hour" if budget.freeze_per_hour else ""
        limit = f"{budget.total:,} devices, {budget.per_minute:,} a minute{freeze}, until {until}"
    replaced = f"replaces, {group.reenroll_per_day:,} a day" if group.reenroll == "replace" else "refused"
    lives = f"{plan.days:,} days, renewed after {plan.renew_at:.0%}, {plan.grace_days:,} days of grace"
    shared = " (a certificate that many share)" if group.is_shared else ""
    configuration = _pre(json.dumps(group.configuration, indent=2)) if group.configuration else "none"
    return (group.name, group.device_id + shared, replaced, group.mqtt, lives, limit, configuration)


def _anchors(anchors: list[Anchor]) -> Markup:
    rows = (
        (
            anchor.group,
            anchor.subject,
            _html("<code>{}</code>", anchor.sha256),
            _moment(anchor.not_before),
            _moment(anchor.not_after),
            "valid" if anchor.is_valid else _html('<span class="bad">not valid now</span>'),
        )
        for anchor in anchors
    )
    return _table(("group", "subject", "SHA-256", "from", "until", "now"), rows)


def _issuers(report: Report) -> Markup:
    if not report.fleet.issuers:
        return _html("<p>None: no device connects by token.</p>")
    rows = (
        (each.name, each.issuer, each.jwks, ", ".join(each.algorithms), ", ".join(each.groups))
        for each in report.fleet.issuers.values()
    )
    return _table(("issuer", "iss", "keys (JWKS)", "algorithms", "speaks for groups"), rows)


def _aliases(report: Report) -> Markup:
    rows = ((each.name, f"{each.seconds:,} s") for each in report.fleet.role_aliases.values())
    return _table(("role alias", "a session lasts"), rows)


def _roles(report: Report) -> Markup:
    stack = report.stack
    if stack is None:
        return _html("<p>{}</p>", report.no_stack)
    signing = [role.name for role in stack.roles if role.signs]
    return _joined(
        [
            _html(
                _SIGNERS,
                stack.name,
                ", ".join(signing) or "none",
            ),
            _table(
                ("KMS key", "whom its policy lets sign"),
                ((key.name, "\n".join(key.signers) or "nobody") for key in stack.keys),
            )
            if stack.keys
            else Markup(
                "<p>The CA's key is none of the stack's: its own policy says whom else it lets sign.</p>"
            ),
            *map(_role, stack.roles),
        ]
    )


def _role(role: Role) -> Markup:
    rows = map(_statement, role.statements)
    return _html(
        "<h3>{}{}</h3>\n<p>Assumed by {}.{}</p>\n{}",
        role.name,
        _html(' <span class="bad">may sign</span>') if role.signs else "",
        ", ".join(role.assumed_by),
        f" Policies from elsewhere: {', '.join(role.managed)}." if role.managed else "",
        _table(("effect", "actions", "resources", "condition"), rows),
    )


def _statement(statement: Statement) -> Sequence[object]:
    actions, resources = "\n".join(statement.actions), "\n".join(statement.resources)
    return (statement.effect, _pre(actions), _pre(resources), statement.condition)


def _table(head: Iterable[str], rows: Iterable[Sequence[object]]) -> Markup:
    body = _joined(
        _html("<tr>{}</tr>\n", _joined(_html("<td>{}</td>", value) for value in row)) for row in rows
    )
    names = _joined(_html("<th>{}</th>", name) for name in head)
    return _html("<table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n", names, body)


def _pre(text: str) -> Markup:
    return _html("<pre>{}</pre>", text)


def _html(template: str, *values: object) -> Markup:
    """A piece of the page. `template` is ours; each value is escaped unless it is a piece itself."""
    shown = (value if isinstance(value, Markup) else _visible(str(value)) for value in values)
    return Markup(template).format(*shown)  # noqa: S704 - our own text


def _joined(pieces: Iterable[Markup]) -> Markup:
    return Markup("").join(pieces)


def _visible(text: str) -> str:
    """The text with everything that nobody sees written out (Unicode categories Cc, Cf and the like)."""
    return "".join(
        character
        if character in "\n\t" or not unicodedata.category(character).startswith(("C", "Zl", "Zp"))
        else f"[U+{ord(character):04X}]"
        for character in text
    )


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC"
