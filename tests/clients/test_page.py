"""The page for the security reviewer, in a real browser where the test is about the browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from typer.testing import CliRunner

from console.__main__ import app
from console.page import _environment, page
from console.report import Deployed, Report, gather
from firstboot.compiler.fleet import load
from firstboot.domain.fleet import Fleet, RoleAlias
from firstboot.domain.token_issuer import TokenIssuer
from firstboot.policy.render import Place
from tests import factories
from tests.clients.browser import Opened, open_page

PLACE = Place("aws", "us-east-1", "123456789012")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
HOSTILE = (
    """</pre></style>"'><script>document.title='ran'</script><img src="http://127.0.0.1:9/x" onerror=x>"""
)


@pytest.fixture(scope="module")
def example() -> Fleet:
    """The example fleet."""
    return load(Path("fleet"))


def report(fleet: Fleet, deployed: Deployed | None = None) -> Report:
    """Return the report on a fleet."""
    return gather(fleet, PLACE, NOW, deployed, "no stack was asked")


def opened(text: str, folder: Path) -> Opened:
    """Open a page in the browser."""
    (folder / "page.html").write_text(text, encoding="utf-8")
    return open_page(folder / "page.html", folder)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """The page of the example fleet, as the command writes it, opened in the browser."""
    folder = tmp_path_factory.mktemp("page")
    written = folder / "report.html"
    done = CliRunner().invoke(app, ["fleet", "report", "--html", str(written)])
    assert (done.exit_code, done.stderr) == (0, "")
    return open_page(written, folder)


def test_the_page_asks_the_network_for_nothing(shown: Opened) -> None:
    """The page can be read offline, and reading it sends nothing."""
    assert shown.asked == []


def test_the_browser_would_tell(tmp_path: Path) -> None:
    """A page that does load something is detected, so the test above can fail."""
    asking = opened('<!DOCTYPE html><img src="http://127.0.0.1:9/x">', tmp_path)
    assert asking.asked == ["http://127.0.0.1:9/x"]


def test_groups_grants_and_rules_are_on_the_page(shown: Opened, example: Fleet) -> None:
    """The page has each group, each grant and each rule; a rule stands with its @id, as Cedar reads it."""
    cells = shown.texts("td")
    for name in (*example.groups, *example.grants):
        assert name in cells
    assert "telemetry, by gateway-telemetry" in cells
    rules = [text for text in shown.texts("pre") if text.startswith('@id("quarantine")\nforbid (')]
    assert len(rules) == 1


def test_policies_are_on_the_page(shown: Opened, example: Fleet) -> None:
    """The page has every rendered policy in full, with its size and its limit."""
    texts = shown.texts("pre")
    for policy in report(example).policies:
        assert json.dumps(policy.document, indent=2) in texts
        heading = f"{policy.name}: {policy.kind} ({policy.characters:,} of {policy.limit:,} characters)"
        assert heading in shown.texts("h3")


def test_anchors_budgets_and_plans_are_on_the_page(shown: Opened, example: Fleet) -> None:
    """The page has each trust anchor, each budget and how long certificates last."""
    text = "\n".join(shown.texts("td"))
    for anchor in report(example).anchors:
        assert anchor.subject in text
        assert anchor.sha256 in text
    assert "50,000 enrollments, 200 a minute, until 2036-12-31 (UTC)" in text
    assert "730 days, renewed after 50%, 180 days of grace" in text


def test_what_was_left_out_is_said(shown: Opened) -> None:
    """Without a stack the roles are unknown, and the page says that they are left out."""
    assert any(text.startswith("Left out: the roles") for text in shown.texts("p"))


def test_a_key_that_is_not_the_stacks_is_said(example: Fleet) -> None:
    """If the CA's key is outside the stack, its policy is not in the template, and the page says so.

    Without that sentence a reviewer would conclude that only the stack's roles may sign.
    """
    key = {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Statement": []}}}
    theirs, ours = (
        page(report(example, Deployed("Mine", PLACE, {"Resources": resources})))
        for resources in ({}, {"Key": key})
    )
    said = "own policy says who else may sign"
    assert (said in theirs, said in ours) == (True, False)


def test_nothing_on_the_page_is_a_script_or_a_link_elsewhere(shown: Opened) -> None:
    """The page has no script, form or image, and each link leads to a section of the page."""
    assert {element.tag for element in shown.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "nav", "a", "section"),
        *("table", "thead", "tbody", "tr", "th", "td", "pre", "code", "span", "strong", "br"),
    }
    assert all(str(each.attributes["href"]).startswith("#") for each in shown.elements if each.tag == "a")


@pytest.fixture(scope="module")
def hostile(example: Fleet) -> Report:
    """A report in which every name and text contains markup."""
    group = replace(
        example.groups["gateways"],
        name=HOSTILE,
        trust=(factories.pem(factories.authority(HOSTILE[:60]).certificate),),
        configuration={HOSTILE: HOSTILE},
    )
    issuer = TokenIssuer(HOSTILE, HOSTILE, HOSTILE, ("ES256",), (HOSTILE,))
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": HOSTILE.replace("{", "")}
    rule = f"// {HOSTILE}\n@id({json.dumps(HOSTILE)})\npermit (principal, action, resource)\n"
    rule += f"when {{ principal.deviceId != {json.dumps(HOSTILE)} }};\n"
    fleet = Fleet(
        groups={HOSTILE: group},
        role_aliases={HOSTILE: RoleAlias(HOSTILE, 900)},
        grants={HOSTILE: {"Version": "2012-10-17", "Statement": [statement]}},
        rules=rule,
        schema=example.schema,
        issuers={HOSTILE: issuer},
    )
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": HOSTILE}, "Action": "kms:Sign"}]}
    policies = {"PolicyDocument": {"Statement": statement | {"Condition": {HOSTILE: HOSTILE}}}}
    template = {
        "Resources": {
            HOSTILE: {
                "Type": "AWS::IAM::Role",
                "Properties": {"AssumeRolePolicyDocument": trust, "Policies": [policies]},
            },
            f"{HOSTILE}Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": trust}},
        }
    }
    return report(fleet, Deployed(HOSTILE, PLACE, template))


def test_a_value_adds_no_markup_to_the_page(hostile: Report, shown: Opened, tmp_path: Path) -> None:
    """Names, rules, comments, attributes, subjects, statements and resources stay text, in their place.

    They add no element, and no attribute or URL contains one of them.
    """
    found = opened(page(hostile), tmp_path)
    assert found.texts("title") == shown.texts("title")
    assert {each.tag for each in found.elements} <= {each.tag for each in shown.elements} | {"strong"}
    fixed = {each for element in shown.elements for each in element.attributes.items()}
    assert {each for element in found.elements for each in element.attributes.items()} <= fixed | {
        ("class", "bad")
    }
    assert found.asked == []
    assert sum(text == HOSTILE for text in found.texts("td")) >= 8
    assert f"// {HOSTILE}" in found.texts("pre")[-1]


def test_jinja2_escapes_every_value(hostile: Report) -> None:
    """With `autoescape` off, the page would contain the markup of the names."""
    text = page(hostile)
    assert HOSTILE not in text
    assert "<script" not in text
    assert html.unescape(text).count(HOSTILE) >= 20


def test_a_value_in_an_attribute_or_a_url_is_escaped() -> None:
    """The page has no such value yet; the environment escapes it, so that a later one is safe."""
    source = '<a title="{{ name }}" href="#{{ name }}">{{ name }}</a>'
    text = _environment().from_string(source).render(name=HOSTILE)
    assert re.fullmatch('<a title="[^"<>]*" href="#[^"<>]*">[^"<>]*</a>', text)
    assert html.unescape(text) == source.replace("{{ name }}", HOSTILE)


@pytest.mark.parametrize("expression", ["missing", "report.missing", "report.fleet.missing"])
def test_a_name_that_does_not_exist_is_an_error(example: Fleet, expression: str) -> None:
    """A reviewer must not get a page with an empty cell because the template has a spelling mistake."""
    template = _environment().from_string("{{ " + expression + " }}")
    with pytest.raises(UndefinedError, match="missing"):
        template.render(report=report(example))


def test_the_policy_allows_the_style_of_the_page_and_no_other(example: Fleet) -> None:
    """The hash in the Content-Security-Policy is that of the one style element."""
    text = page(report(example))
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'" in text


def test_without_escaping_still_nothing_runs(hostile: Report, tmp_path: Path) -> None:
    """The Content-Security-Policy is the second defence.

    In a page whose escapes are undone, no script runs and nothing is loaded.
    """
    broken = (
        page(hostile).replace("&lt;", "<").replace("&gt;", ">").replace("&#34;", '"').replace("&#39;", "'")
    )
    found = opened(broken, tmp_path)
    assert "script" in {each.tag for each in found.elements}
    assert found.texts("title") == ["Firstboot: who may do what"]
    assert found.asked == []


def test_what_cannot_be_seen_is_written_out(example: Fleet) -> None:
    """Invisible characters, and those that reverse the reading direction, could disguise what a rule says."""
    text = page(report(replace(example, rules=example.rules + "// \u202e\u200bpermit\x00\n")))
    assert "// [U+202E][U+200B]permit[U+0000]" in text
