"""Two boards have certificates of one factory in the name of one device, with two keys.

The first board to enroll keeps the name. The other one is a mistake of the factory, or an attacker with the
factory CA's key. It gets the name only if an operator admits its key, once and for some days.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import boto3
import pytest
from cryptography import x509

from firstboot.domain import topics
from firstboot.domain.clock import iso
from firstboot.pki.certificate import parse_text
from tests import factories
from tests.attacks.test_17_a_restoration_forgives_nothing import later, lose
from tests.aws import test_console_restore as restoring
from tests.aws.invoked import Run
from tests.aws.mqtt import Client
from tests.aws.product import Answer, Product, make_policies
from tests.aws.registering import Registering
from tests.aws.test_console_restore import backed_up
from tests.aws.test_import import in_aws_iot
from tests.aws.test_jitr import admit, arrive, status
from tests.fleets import group

restore = restoring.restore

GATEWAY = "gw-1"
CHANGED = (409, "bootstrap-key-changed")
DAY = timedelta(days=1)
HOLD = timedelta(minutes=16)
"""More than the time for which a pending certificate blocks other keys."""


@dataclass
class Board:
    """A board with its bootstrap key, and a certificate of the factory in the name of GATEWAY."""

    product: Product
    key: factories.PrivateKey = field(default_factory=factories.ec_key)
    name: str = GATEWAY

    @property
    def leaf(self) -> x509.Certificate:
        """Return a new certificate of the board's key."""
        return self.product.factory.issue(self.name, self.key, days=3_000)

    @property
    def spki(self) -> str:
        """Return the SHA-256 (hex) of the board's key."""
        return parse_text(factories.pem(self.leaf)).spki_fingerprint()

    def enroll(self, key: factories.PrivateKey | None = None) -> Answer:
        """Ask for a certificate of a new key, or of this one."""
        return self.product.enroll(self.leaf, key)

    def boot(self) -> x509.Certificate:
        """Enroll and log in, and return the operational certificate."""
        answer = self.enroll()
        assert answer.status == 201, answer.body
        made = self.product.certificate(answer)
        assert self.product.call("POST", "/v1/certificates/commit", made, "{}").status == 200
        return made


def code(answer: Answer) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    return answer.status, answer.body.get("code", "")


def refusals(logs: io.StringIO) -> list[dict[str, Any]]:
    """Return the log lines about other bootstrap keys."""
    lines = map(json.loads, logs.getvalue().splitlines())
    return [line for line in lines if line.get("code") == "bootstrap-key-changed"]


def shown(product: Product) -> dict[str, Any]:
    """Return the record of GATEWAY as an operator sees it."""
    return dict(product.operate("devices.show", deviceId=GATEWAY)["result"])


def rebind(product: Product, board: Board, days: int = 0) -> dict[str, Any]:
    """Admit a board once, until the end of today or of a later day."""
    day = (product.lambdas.now() + days * DAY).date().isoformat()
    answer = product.operate("devices.rebind", deviceId=GATEWAY, key=board.spki, until=day)
    return dict(answer["result"])


def of(product: Product, **changes: Any) -> None:
    """Publish a fleet with the group of GATEWAY changed."""
    product.publish(groups={"gateways": group("gateways", product.factory, **changes)})


@pytest.fixture
def first(product: Product) -> Board:
    """Return a board that has enrolled and logged in."""
    board = Board(product)
    board.boot()
    product.lambdas.paused += HOLD
    return board


@pytest.fixture
def second(product: Product) -> Board:
    """Return another board with the same name."""
    return Board(product)


def test_the_second_board_is_refused(product: Product, first: Board, second: Board) -> None:
    """In a group that replaces, the second board gets no certificate, and the first one keeps its own."""
    before = product.objects()
    answer = second.enroll()
    assert (code(answer), answer.body["action"]) == (CHANGED, "stop")
    assert product.objects() == before
    assert shown(product)["pin"] == first.spki
    assert first.enroll().status == 201


def test_a_key_that_was_copied_too_does_not_help(product: Product, first: Board, second: Board) -> None:
    """A repeat of the first board's request, for the same operational key, is refused under another key."""
    key = factories.ec_key()
    assert first.enroll(key).status == 201
    assert code(second.enroll(key)) == CHANGED
    assert first.enroll(key).status == 201


def test_the_refusal_rings_and_is_noted(
    product: Product, first: Board, second: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    """The metric of the alarm, the log and the record have the refusal; the log has both keys."""
    capsys.readouterr()
    asked = product.lambdas.now()
    second.enroll()
    printed = capsys.readouterr().out
    assert '"BootstrapKeyChanged":[1' in printed.replace(" ", "")
    assert shown(product)["refusedKey"] == {"key": second.spki, "at": iso(asked.replace(microsecond=0))}
    row = boto3.client("dynamodb").get_item(TableName=product.table, Key={"pk": {"S": f"DEV#{GATEWAY}"}})
    assert row["Item"]["pin"] == {"S": first.spki}


def test_the_log_has_both_keys(first: Board, second: Board, logs: io.StringIO) -> None:
    """The log line of the refusal names the key that the device is bound to and the key that asked."""
    second.enroll()
    (line,) = refusals(logs)
    assert first.spki in line["reason"]
    assert second.spki in line["reason"]


def test_the_notes_are_few(product: Product, first: Board, second: Board) -> None:
    """Boards that ask again and again write to the record once a minute."""
    third = Board(product)
    for board in (second, third, second):
        assert code(board.enroll()) == CHANGED
    assert shown(product)["refusedKey"]["key"] == second.spki
    later(product)
    assert code(third.enroll()) == CHANGED
    assert shown(product)["refusedKey"]["key"] == third.spki


def test_a_factory_reset_and_a_new_factory_certificate_pass(product: Product, first: Board) -> None:
    """A board with the same bootstrap key enrolls again, also with another certificate of that key."""
    made = first.boot()
    assert product.call("GET", "/v1/device", made).status == 200


@pytest.mark.parametrize("reenroll", ["refuse", "replace"])
def test_a_rebinding_admits_one_other_key_once(
    product: Product, first: Board, second: Board, reenroll: str
) -> None:
    """The admitted board gets the name for good, and the first one has lost it. No third board gets in."""
    of(product, reenroll=reenroll)
    third = Board(product)
    assert rebind(product, second)["admission"]["key"] == second.spki
    assert code(third.enroll()) == CHANGED
    second.boot()
    record = shown(product)
    assert (record["pin"], record["admission"]) == (second.spki, None)
    product.lambdas.paused += HOLD
    assert code(first.enroll()) == CHANGED
    assert code(third.enroll()) == CHANGED
    refused = product.operate(
        "devices.rebind", deviceId=GATEWAY, key=second.spki, until=record["createdAt"][:10]
    )
    assert refused["problem"]["code"] == "malformed-request"


def test_the_first_board_cannot_use_the_admission_up(product: Product, first: Board, second: Board) -> None:
    """Until the admitted board comes, the first one goes on, and the admission stays."""
    rebind(product, second)
    first.boot()
    product.lambdas.paused += HOLD
    assert shown(product)["admission"]["key"] == second.spki
    second.boot()


def test_a_second_rebinding_replaces_the_first(product: Product, first: Board, second: Board) -> None:
    """Of two admissions, the earlier one admits no board any more."""
    third = Board(product)
    rebind(product, second)
    rebind(product, third)
    assert code(second.enroll()) == CHANGED
    third.boot()


def test_an_admission_ends_with_its_day(product: Product, first: Board, second: Board) -> None:
    """A board that comes after the last day of its admission is refused."""
    rebind(product, second, days=1)
    end = (product.lambdas.now() + 2 * DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    assert shown(product)["admission"]["until"] == iso(end)
    product.lambdas.paused = timedelta()
    product.lambdas.clock = lambda: end
    assert code(second.enroll()) == CHANGED
    product.lambdas.clock = lambda: end - timedelta(seconds=1)
    assert second.enroll().status == 201


def test_no_admission_where_it_would_not_count(product: Product, first: Board, second: Board) -> None:
    """An admission is refused for a day that is over, a bound key, an unbound group and a revoked device."""
    now = product.lambdas.now().date()
    said = {"deviceId": GATEWAY, "key": second.spki, "until": now.isoformat()}

    def problem(**changes: Any) -> str:
        return str(product.operate("devices.rebind", **said | changes)["problem"]["code"])

    assert problem(until=(now - DAY).isoformat()) == "malformed-request"
    assert problem(key=first.spki) == "malformed-request"
    assert problem(deviceId="gw-9") == "device-not-found"
    of(product, pin_bootstrap=False)
    assert problem() == "malformed-request"
    of(product)
    product.operate("devices.revoke", deviceId=GATEWAY)
    assert problem() == "device-revoked"


def test_the_console_rebinds(product: Product, run: Run, first: Board, second: Board) -> None:
    """`devices rebind` admits a key until a day, and `devices show` has the pin and the admission."""
    day = product.lambdas.now().date().isoformat()
    done = run("devices", "rebind", GATEWAY, "--key", second.spki.upper(), "--until", day, "--json")
    assert json.loads(done.stdout)["admission"]["key"] == second.spki
    lines = run("devices", "show", GATEWAY).stdout.splitlines()
    members = {line.split()[0]: line for line in lines}
    assert first.spki in members["pin"]
    assert second.spki in members["admission"]
    second.boot()


def test_a_revoked_device_keeps_its_pin(product: Product, first: Board, second: Board) -> None:
    """A revocation drops no pin."""
    product.operate("devices.revoke", deviceId=GATEWAY)
    assert shown(product)["pin"] == first.spki
    assert code(second.enroll()) == (403, "device-revoked")


def test_a_deletion_drops_the_pin(registering: Registering) -> None:
    """The name of a deleted device is free for any board of its factory."""
    product = registering.product
    Board(product).boot()
    product.operate("devices.delete", deviceId=GATEWAY)
    registering.work(GATEWAY)
    Board(product).boot()


def test_switching_pins_off_and_on_drops_none(product: Product, first: Board, second: Board) -> None:
    """While its group binds no names, a device keeps its pin, and it holds again afterwards."""
    of(product, pin_bootstrap=False)
    assert second.enroll().status == 201
    assert shown(product)["pin"] == first.spki
    of(product)
    product.lambdas.paused += HOLD
    assert code(second.enroll()) == CHANGED
    assert first.enroll().status == 201


def test_a_device_of_an_earlier_version_is_bound_at_its_next_enrollment(
    product: Product, first: Board, second: Board
) -> None:
    """A record without a pin takes the key of the next board that enrolls, and no other one after it."""
    boto3.client("dynamodb").update_item(
        TableName=product.table, Key={"pk": {"S": f"DEV#{GATEWAY}"}}, UpdateExpression="REMOVE pin"
    )
    assert shown(product)["pin"] is None
    first.boot()
    product.lambdas.paused += HOLD
    assert code(second.enroll()) == CHANGED


@pytest.mark.parametrize("pins", [True, False])
def test_an_imported_device_is_bound_at_its_first_renewal(
    product: Product, second: Board, *, pins: bool
) -> None:
    """The first renewal binds the name to the imported key, where the group binds names at all.

    A board of the factory with that key enrolls afterwards, and one with another key does not.
    """
    of(product, pin_bootstrap=pins)
    first = Board(product)
    (leaf,) = in_aws_iot(GATEWAY, "ACTIVE", key=first.key)
    product.operate("devices.import", group="gateways", devices={GATEWAY: {}})
    assert shown(product)["pin"] is None
    client = Client(product, GATEWAY, leaf)
    client.ask(topics.CERTIFICATES, csr=client.csr())
    assert shown(product)["pin"] == (first.spki if pins else None)
    product.lambdas.paused += HOLD
    client = Client(product, GATEWAY, leaf)
    client.ask(topics.CERTIFICATES, csr=client.csr())
    product.lambdas.paused += HOLD
    assert second.enroll().status == (409 if pins else 201)
    product.lambdas.paused += HOLD
    assert first.enroll().status == 201


@pytest.mark.parametrize("how", [("--yes",), ("--yes", "--overwrite")], ids=" ".join)
@pytest.mark.parametrize("damaged", [False, True])
def test_a_restoration_changes_no_pin_and_revives_no_admission(
    product: Product, first: Board, second: Board, restore: Any, how: tuple[str, ...], *, damaged: bool
) -> None:
    """A copy from before a board was replaced brings neither the first board nor its admission back."""
    rebind(product, second)
    backed_up(product)
    later(product)
    second.boot()
    if damaged:
        boto3.client("dynamodb").update_item(
            TableName=product.table,
            Key={"pk": {"S": f"DEV#{GATEWAY}"}},
            UpdateExpression="REMOVE updatedAt, generation",
        )
    assert restore(*how).exit_code == 0
    row = boto3.client("dynamodb").get_item(TableName=product.table, Key={"pk": {"S": f"DEV#{GATEWAY}"}})
    assert row["Item"]["pin"] == {"S": second.spki}
    assert "admission" not in row["Item"]


def test_a_lost_record_comes_back_without_its_admission(
    product: Product, first: Board, second: Board, restore: Any
) -> None:
    """The admission may have been used since the copy, so it is not put back."""
    rebind(product, second)
    backed_up(product)
    lose(product, f"DEV#{GATEWAY}")
    assert restore("--yes").exit_code == 0
    assert (shown(product)["pin"], shown(product)["admission"]) == (first.spki, None)
    assert code(second.enroll()) == CHANGED


def test_a_waiting_certificate_of_another_board_waits_on(
    product: Product,
    first: Board,
    second: Board,
    monkeypatch: pytest.MonkeyPatch,
    logs: io.StringIO,
    capsys: Any,
) -> None:
    """At the broker the second board's certificate waits on, also in an exclusive group, and it rings."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    of(product, jitr="exclusive")
    capsys.readouterr()
    certificate = arrive(second.leaf)
    admit(product, certificate)
    assert status(certificate) == "PENDING_ACTIVATION"
    printed = capsys.readouterr().out
    assert '"BootstrapKeyChanged":[1' in printed.replace(" ", "")
    (line,) = refusals(logs)
    assert first.spki in line["reason"]
    assert second.spki in line["reason"]


def test_an_admitted_board_is_admitted_at_the_broker_too(
    product: Product, first: Board, second: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rebinding the other board's certificate becomes ACTIVE, and the first one's waits on."""
    monkeypatch.setenv("FIRSTBOOT_STACK", "Firstboot")
    make_policies(product.fleet)
    rebind(product, second)
    of_second = arrive(second.leaf)
    admit(product, of_second)
    assert status(of_second) == "ACTIVE"
    second.boot()
    of_first = arrive(first.leaf)
    admit(product, of_first)
    assert status(of_first) == "PENDING_ACTIVATION"
