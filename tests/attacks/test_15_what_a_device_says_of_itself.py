"""A device, or the maker of its certificate, puts commands for terminals, markup and formulas into its texts.

The texts are claims, subjects of certificates, client ids and topics. An operator looks at them with every
command that shows them. No character may reach the terminal as a command, begin a line of its own, or hide.
"""

from __future__ import annotations

import json
from pathlib import Path

import boto3
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from typer.testing import Result

from console.visible import visible
from firstboot.runtime.guard import Guard
from tests import factories
from tests.aws.invoked import Run
from tests.aws.product import Product
from tests.fleets import group
from tests.production import Factory

FORGED = "gw-9  gateways  enrolled"
WORST = (
    f"\x1b]0;title\x07\x1b[2J\x9b31m\x7f\x00\r\n{FORGED}\n\u2028{FORGED}\u202e\u2066\u200b\ufeff"
    "<script>alert(1)</script>[bold]:skull:"
)
SUBJECT = "\x1b[2J\u202e\u200b\n<b>:skull:"


def check_clean(result: Result, expected: str = "") -> None:
    """Check that a terminal shows what was printed as it is, and that no line of it is forged."""
    assert result.exit_code in (0, 1), result.output
    for text in (result.stdout, result.stderr):
        assert [each for each in text if each != "\n" and not each.isprintable()] == []
        assert [line for line in text.splitlines() if line.startswith(FORGED)] == []
    assert expected in result.output
    assert "💀" not in result.output


def spoil(product: Product, **values: object) -> None:
    """Write values into the record of gw-1, as versions did that checked less."""
    names = {f"#{name}": name for name in values}
    boto3.client("dynamodb").update_item(
        TableName=product.table,
        Key={"pk": {"S": "DEV#gw-1"}},
        UpdateExpression="SET " + ", ".join(f"#{name} = :{name}" for name in values),
        ExpressionAttributeNames=names,
        ExpressionAttributeValues={f":{name}": value for name, value in values.items()},  # type: ignore[misc]
    )


@pytest.mark.parametrize(
    "name", ["\x1b[2J", "a\n", "a\nb", "\u202e", "a b", "=cmd", "ä", "<b>", "a" * 65, "", "\x7f"]
)
def test_a_claim_has_a_plain_name(product: Product, name: str) -> None:
    """The name of a claim with any other character is refused, and the answer has the rule."""
    answer = product.enroll(product.bootstrap("gw-1"), claims={name: "x"})
    assert (answer.status, answer.body["code"]) == (400, "malformed-request")
    assert "1 to 64 letters, digits, `_`, `.` or `-` of ASCII" in answer.body["detail"]
    assert product.rows() == []


def test_a_usual_name_is_accepted(product: Product) -> None:
    """Names of the kinds that firmware has are accepted."""
    claims = {"model": "x", "fw.version": "1", "boot-loader_2": 7, "9": True, "N" * 64: ""}
    assert product.enroll(product.bootstrap("gw-1"), claims=claims).status == 201
    assert product.operate("devices.show", deviceId="gw-1")["result"]["claims"] == claims


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_claims_do_not_reach_the_terminal(product: Product, run: Run, as_json: list[str]) -> None:
    """The values of claims are printed as text, and so are names and subjects in older records."""
    assert product.enroll(product.bootstrap("gw-1"), claims={"model": WORST}).status == 201
    for _ in range(2):
        for arguments in (["list"], ["show", "gw-1"], ["explain", "gw-1"]):
            check_clean(run("devices", *arguments, *as_json), "gw-1")
        spoilt = {"M": {WORST: {"S": WORST}}}
        spoil(product, claims=spoilt, attributes=spoilt, anchorSubject={"S": WORST})


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_client_ids_and_topics_do_not_reach_the_terminal(
    product: Product, run: Run, as_json: list[str]
) -> None:
    """`failures show` prints the members of dead letters as text."""
    sqs = boto3.client("sqs")
    letters = [
        {"topic": WORST, "clientId": WORST, "failures": [{"errorMessage": WORST}]},
        {
            "requestContext": {"condition": WORST, "requestId": WORST},
            "requestPayload": {"clientId": WORST, "topic": WORST},
        },
        {"deviceId": WORST},
        {"certificateId": WORST},
    ]
    for letter in letters:
        url = sqs.get_queue_url(QueueName="requests")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(letter))
    check_clean(run("failures", "show", "requests", *as_json), "clientId")


@pytest.fixture
def factory(tmp_path: Path) -> Factory:
    """Return the fleet folder and the files of a factory whose CA has a hostile subject."""
    return Factory.build(tmp_path / "factory", factories.authority(SUBJECT, days=10_950))


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_subjects_do_not_reach_the_terminal(
    product: Product, factory: Factory, run: Run, as_json: list[str]
) -> None:
    """Subjects of a bootstrap certificate, its CA and a trust anchor are printed as text."""
    product.publish(groups={"gateways": group("gateways", factory.ca)})
    attributes = {NameOID.COMMON_NAME: "gw-1", NameOID.ORGANIZATION_NAME: SUBJECT}
    subject = x509.Name([x509.NameAttribute(oid, text) for oid, text in attributes.items()])
    leaf = factory.ca.issue("gw-1", factories.ec_key(), subject=subject)
    assert product.enroll(leaf).status == 201
    check_clean(run("devices", "show", "gw-1", *as_json), "CN=")
    check_clean(run("groups", "show", "gateways", *as_json), "CN=")
    for number, certificate in enumerate((leaf, factory.ca.issue(SUBJECT, factories.ec_key()))):
        file = factory.folder / f"{number}.pem"
        file.write_text(factories.pem(certificate))
        options = ["--group", "gateways", f"--fleet={factory.folder / 'fleet'}"]
        check_clean(run("factory", "check", str(file), *options, *as_json))


def test_subjects_do_not_reach_the_page(factory: Factory, run: Run) -> None:
    """The reviewer's page has no markup and no invisible character of a trust anchor's subject."""
    written = factory.folder / "report.html"
    check_clean(run("fleet", "report", str(factory.folder / "fleet"), "--html", str(written)))
    page = written.read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert [each for each in page if each not in "\n\t" and not each.isprintable()] == []


def test_a_log_line_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """A log line that quotes a device is JSON in ASCII, which a terminal shows as it is."""
    Guard("attacked").warning("refused", reason=WORST)
    line = capsys.readouterr().out.removesuffix("\n")
    assert (line.isascii(), json.loads(line)["reason"]) == (True, WORST)
    assert line.isprintable()


@pytest.mark.parametrize("kept", ["", "\n\t"])
def test_visible_text_stays_as_it_is(kept: str) -> None:
    """Letters of all scripts stay, and each invisible character is written out."""
    assert visible(f"München 東京 {kept}", kept) == f"München 東京 {kept}"
    assert visible("a\x1bb\u202ec\x9b\u200b", kept) == "a[U+001B]b[U+202E]c[U+009B][U+200B]"
