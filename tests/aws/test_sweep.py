"""The sweep: which devices `register` is told of, once a fleet, whatever fails on the way."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError

from firstboot.aws import clients
from firstboot.aws.dynamodb import rows
from firstboot.aws.iot.policies import IotPolicies
from firstboot.aws.sqs.queue import SqsQueue
from firstboot.compiler.errors import FleetInvalid
from firstboot.domain.clock import epoch
from firstboot.domain.errors import Unavailable
from firstboot.domain.names import DeviceId
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy
from firstboot.register import build, sweep
from firstboot.register.settings import SweepSettings
from firstboot.runtime.guard import Guard
from tests.aws.product import TELEMETRY, Product
from tests.aws.sweeping import GRANTS, MQTT, RULES, Sweeper


@pytest.fixture
def sweeper(product: Product, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    """A sweeper of two rows a page; five devices, of which AWS IoT has two as they should be."""
    made = Sweeper(product)
    monkeypatch.setattr(sweep, "PAGE", 2)
    monkeypatch.setenv("FIRSTBOOT_FLEET_REFRESH", "0")  # messages come at once
    product.lambdas.clock = lambda: made.now
    product.publish(grants=GRANTS, rules=RULES)
    for number in range(5):
        made.device(f"gw-{number}", {"mqtt"} if number < 2 else set())
    make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]
    ours = [clients.dynamodb(), clients.s3(), clients.sqs(), clients.iot()]

    def call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        if client not in ours:
            return make(client, operation, parameters)
        made.calls.append(operation)
        made.on_call(operation)
        answer = make(client, operation, parameters)
        made.after_call(operation)
        return answer

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", call)
    return made


NEEDING = ["gw-2", "gw-3", "gw-4"]


def failing_at(number: int) -> Callable[[str], None]:
    """AWS does not do its part at one call."""
    left = iter(range(number))

    def call(operation: str) -> None:
        if next(left, None) is None:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, operation)

    return call


def test_every_device_that_needs_it_is_told_once(sweeper: Sweeper) -> None:
    """All pages, no other device; and the next minutes have nothing to do."""
    sweeper.run()
    assert sweeper.told() == NEEDING
    row = sweeper.row()
    assert (row.scanned, row.touched, row.finished_at, row.held_until) == (5, 3, sweeper.now, None)
    sweeper.calls.clear()
    sweeper.next_minute()
    assert sweeper.told() == []
    assert sweeper.calls == ["GetItem", "GetObject"]


def test_policies_say_what_the_fleet_says_before_devices_are_told(sweeper: Sweeper) -> None:
    """One policy for each grant about AWS IoT, made before the first message goes out."""
    sweeper.run()
    place = json.loads(
        json.dumps(MQTT)
        .replace("{partition}:iot:{region}:{account}", "aws:iot:us-east-1:123456789012")
        .replace("{deviceId}", "${iot:Connection.Thing.ThingName}")
    )
    assert sweeper.policies() == {"Firstboot-grant-mqtt": place}
    assert sweeper.calls.index("CreatePolicy") < sweeper.calls.index("SendMessageBatch")


@pytest.mark.parametrize("versions", [0, 1, 5])
def test_a_new_version_brings_its_own_policies(sweeper: Sweeper, versions: int) -> None:
    """Where there are none, or another version's, each with as many versions as AWS IoT takes; once a
    process, a fleet that has been swept for notwithstanding.
    """
    sweeper.run()
    iot = boto3.client("iot")
    for policy in ServicePolicy:
        name = policy.policy_name("Firstboot")
        if not versions:
            iot.delete_policy(policyName=name)
        for number in range(1, versions):
            iot.create_policy_version(
                policyName=name, policyDocument=json.dumps({"Version": str(number)}), setAsDefault=True
            )
    sweeper.product.lambdas.restart()
    sweeper.next_minute()
    place = Place("aws", "us-east-1", "123456789012")
    said = sweeper.all_policies()
    assert {name: said[name] for name in said.keys() - sweeper.policies().keys()} == {
        policy.policy_name("Firstboot"): policy.document(place) for policy in ServicePolicy
    }
    sweeper.calls.clear()
    sweeper.next_minute()
    assert sweeper.calls == ["GetItem", "GetObject"]


def test_a_changed_grant_touches_no_device(sweeper: Sweeper) -> None:
    """Its policy gets a new version, which serves everyone."""
    sweeper.run()
    for number in range(5):
        sweeper.device(f"gw-{number}", {"mqtt"})
    sweeper.told()
    other = json.loads(json.dumps(MQTT).replace("iot:Connect", "iot:Publish").replace(":client/", ":topic/"))
    sweeper.product.publish(grants=GRANTS | {"mqtt": other}, rules=RULES)
    sweeper.next_minute()
    assert sweeper.told() == []
    (document,) = sweeper.policies().values()
    assert document["Statement"][0]["Action"] == "iot:Publish"


def test_a_run_stops_in_time_and_the_next_goes_on(sweeper: Sweeper) -> None:
    """A page a run: in the end each device was looked at once."""
    runs = 0
    sweeper.run(pages=1)
    while sweeper.row().finished_at is None:
        assert sweeper.row().held_until is None
        sweeper.next_minute(pages=1)
        runs += 1
    assert runs >= 2
    assert sweeper.told() == NEEDING
    assert (sweeper.row().scanned, sweeper.row().touched) == (5, 3)


@pytest.mark.parametrize("lost", [False, True])
def test_a_failure_at_any_call_loses_no_device(sweeper: Sweeper, *, lost: bool) -> None:
    """Not done, or done and the answer lost: later runs finish, and count each device once."""
    sweeper.run()
    sweeper.told()
    for number in range(40):
        sweeper.product.publish(grants=GRANTS, rules=f"{RULES} // {number}")
        sweeper.now += timedelta(minutes=1)
        setattr(sweeper, "after_call" if lost else "on_call", failing_at(number))
        sweeper.calls.clear()
        sweeper.run()
        if number > len(sweeper.calls):
            break
        sweeper.on_call = sweeper.after_call = lambda _: None
        sweeper.next_minute()
        sweeper.next_minute()
        row = sweeper.row()
        assert (row.scanned, row.touched) == (5, 3), number
        assert row.finished_at is not None, number
        assert set(sweeper.told()) == set(NEEDING), number
    assert 15 < number < 39


def test_a_message_that_is_not_taken_is_repeated(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQS may refuse one message of a batch and say so in an answer that is no error."""
    refused = {"Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": False}]}
    with monkeypatch.context() as patch:
        patch.setattr(clients.sqs(), "send_message_batch", lambda **_: refused)
        with pytest.raises(Unavailable):
            SqsQueue(clients.sqs(), SweepSettings.read().queue).send_all(["gw-1"], 0)
        sweeper.run()
        assert sweeper.row().finished_at is None
    sweeper.next_minute()
    assert sweeper.told() == NEEDING


def test_messages_go_out_by_tens(sweeper: Sweeper) -> None:
    """A page of any size fits SQS's batches."""
    devices = [f"gw-{number:03}" for number in range(25)]
    queue = SqsQueue(clients.sqs(), SweepSettings.read().queue)
    queue.send_all((json.dumps({"deviceId": device}) for device in devices), 0)
    assert sweeper.calls == ["SendMessageBatch"] * 3
    assert sweeper.told() == sorted(devices)


def test_messages_wait_until_register_has_the_fleet(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that came before would be worked off under the older fleet; SQS waits 15 minutes at most."""
    sent: list[Any] = []

    def send(**given: Any) -> dict[str, Any]:
        sent.append(given)
        return {}

    monkeypatch.setattr(clients.sqs(), "send_message_batch", send)
    for refresh in ("60", "3600"):
        monkeypatch.setenv("FIRSTBOOT_FLEET_REFRESH", refresh)
        build.sweep(SweepSettings.read(), Guard("register")).run.order([DeviceId("gw-1")])
    assert [given["Entries"][0]["DelaySeconds"] for given in sent] == [60, 900]


@pytest.mark.parametrize("at", ["PutItem", "SendMessageBatch"])
def test_of_two_runs_at_once_one_works(sweeper: Sweeper, at: str) -> None:
    """Whether the second has read the same row and is faster, or comes while the first is at work."""
    inside: list[str] = []

    def second(operation: str) -> None:
        if operation == at and not inside:
            inside.append(operation)
            sweeper.beside()

    sweeper.on_call = second
    sweeper.run()
    assert inside
    assert sweeper.told() == NEEDING
    assert sweeper.row().touched == 3


def test_a_run_that_lost_its_hold_stops(sweeper: Sweeper) -> None:
    """A run that slept past its time writes nothing over what another has done since."""
    slept: list[str] = []

    def sleep(operation: str) -> None:
        if operation == "SendMessageBatch" and not slept:
            slept.append(operation)
            sweeper.now += timedelta(minutes=1)
            sweeper.beside()

    sweeper.on_call = sleep
    sweeper.run()
    row = sweeper.row()
    assert (row.scanned, row.touched, row.finished_at) == (5, 3, sweeper.now)


def test_a_newer_fleet_in_the_middle_begins_a_new_sweep(sweeper: Sweeper) -> None:
    """What was told before is told again by the newer rules; the older sweep is not finished."""
    sweeper.run(pages=2)
    sweeper.told()
    sweeper.product.publish(grants=GRANTS, rules=f"{RULES} // newer")
    sweeper.next_minute()
    assert sweeper.told() == NEEDING
    assert (sweeper.row().scanned, sweeper.row().started_at) == (5, sweeper.now)


def test_a_newer_fleet_is_noticed_by_the_run_at_work(sweeper: Sweeper) -> None:
    """It looks before every page, and does not wait for the next minute."""
    published: list[str] = []

    def publish(operation: str) -> None:
        if operation == "SendMessageBatch" and not published:
            published.append(operation)
            sweeper.product.publish(grants={"telemetry": TELEMETRY}, rules=RULES)

    sweeper.on_call = publish
    sweeper.run()
    row, in_force = sweeper.row(), sweeper.product.operate("fleet.show")["result"]["inForce"]
    assert (row.fleet_hash, row.scanned, row.touched) == (in_force["hash"], 5, 2)
    assert {"gw-0", "gw-1"} <= set(sweeper.told())
    assert sweeper.policies() == {}


@pytest.mark.parametrize("at", ["GetItem", "GetObject", "PutItem"])
def test_a_run_with_an_older_fleet_does_not_go_back(sweeper: Sweeper, at: str) -> None:
    """One that slept, wherever, and was overtaken by a newer fleet's run begins no older sweep."""
    slept: list[str] = []

    def sleep(operation: str) -> None:
        if operation == at and not slept:
            slept.append(operation)
            sweeper.product.publish(grants=GRANTS, rules=f"{RULES} // newer")
            sweeper.beside()

    sweeper.on_call = sleep
    sweeper.run()
    sweeper.on_call = lambda _: None
    sweeper.calls.clear()
    sweeper.next_minute()
    assert sweeper.calls == ["GetItem", "GetObject"]


def test_every_day_has_its_sweep(sweeper: Sweeper) -> None:
    """Time takes rights too: a superseded certificate's grace ends, and nothing else tells of it."""
    sweeper.run()
    sweeper.told()
    for name in NEEDING:
        sweeper.device(name, {"mqtt"})
    grace = sweeper.product.fleet.groups["gateways"].certificate.grace
    old = {"serial": "1", "spki": "2", "notBefore": 0, "notAfter": 1, "renewAfter": 1, "heldUntil": 0}
    over = old | {"certificateId": "old", "supersededAt": epoch(sweeper.now - grace) + 60}
    sweeper.device("gw-1", {"mqtt"}, superseded=over, registered={"old"})
    sweeper.now += timedelta(hours=24, seconds=-1)
    sweeper.run()
    assert sweeper.told() == []
    sweeper.now += timedelta(seconds=1)
    sweeper.run()
    assert sweeper.told() == ["gw-1"]
    assert (sweeper.row().started_at, sweeper.row().touched) == (sweeper.now, 1)


def test_a_removed_grants_policy_goes_when_nobody_has_it(sweeper: Sweeper) -> None:
    """Not while a certificate has it; then with all its versions; and nobody else's policy ever."""
    iot = boto3.client("iot")
    for number in range(2):
        IotPolicies(iot).ensure("Firstboot-grant-old", json.dumps({"Version": str(number)}))
    for other in ("Other-grant-old", "x-Firstboot-grant-old"):
        IotPolicies(iot).ensure(other, "{}")
    certificate = iot.create_keys_and_certificate()["certificateArn"]
    iot.attach_policy(policyName="Firstboot-grant-old", target=certificate)
    sweeper.run()
    assert len(iot.list_policy_versions(policyName="Firstboot-grant-old")["policyVersions"]) == 2
    iot.detach_policy(policyName="Firstboot-grant-old", target=certificate)
    sweeper.now += timedelta(days=1)
    sweeper.run()
    kept = {"Firstboot-grant-mqtt", "Other-grant-old", "x-Firstboot-grant-old"}
    assert sweeper.policies().keys() == kept


def test_a_policy_that_someone_takes_meanwhile_stays(sweeper: Sweeper) -> None:
    """AWS IoT does not delete what is attached, and takes a while to forget a detachment."""
    iot = boto3.client("iot")
    IotPolicies(iot).ensure("Firstboot-grant-old", "{}")
    certificate = iot.create_keys_and_certificate()["certificateArn"]

    def attach(operation: str) -> None:
        if operation == "DeletePolicy":
            iot.attach_policy(policyName="Firstboot-grant-old", target=certificate)

    sweeper.on_call = attach
    sweeper.run()
    assert "Firstboot-grant-old" in sweeper.policies()
    assert sweeper.row().finished_at == sweeper.now


def test_the_log_tells_how_far_it_got(sweeper: Sweeper, logs: io.StringIO) -> None:
    """Numbers of a run that did something; and what AWS did not do is told, not raised."""
    sweeper.run()
    sweeper.next_minute()
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert [(line["scanned"], line["touched"]) for line in lines if line["message"] == "swept"] == [(5, 3)]
    boto3.client("dynamodb").delete_table(TableName=sweeper.product.table)
    sweeper.run()
    assert "ResourceNotFoundException" in logs.getvalue()


def whole_plan(product: Product, **changes: Any) -> tuple[int, int]:
    """fleet.plan of the fleet in force with `changes`, added up."""
    fleet = product.operate("fleet.show")["result"]["inForce"]["fleet"] | changes
    scanned = touched = 0
    after: str | None = None
    while True:
        page = product.operate("fleet.plan", fleet=fleet, after=after)["result"]
        scanned, touched, after = scanned + page["scanned"], touched + page["touched"], page["next"]
        if after is None:
            return scanned, touched


def test_a_plan_is_what_the_sweep_then_does(sweeper: Sweeper) -> None:
    """Page by page, and nothing is written."""
    before = sweeper.product.rows()
    assert whole_plan(sweeper.product) == (5, 3)
    assert whole_plan(sweeper.product, rules="") == (5, 2)
    assert sweeper.product.rows() == before
    sweeper.product.publish(grants=GRANTS, rules="")
    sweeper.run()
    assert (sweeper.row().scanned, sweeper.row().touched) == (5, 2)


def test_a_plan_is_of_a_fleet_that_compiles(product: Product) -> None:
    """Rules that Cedar can't read are a refusal."""
    fleet = json.loads(product.fleet.to_json()) | {"rules": "permit"}
    assert product.operate("fleet.plan", fleet=fleet)["problem"]["code"] == FleetInvalid.code


@pytest.mark.parametrize("after", ["", 3])
def test_a_plans_page_has_a_token(product: Product, after: object) -> None:
    """What no page gave is refused."""
    fleet = json.loads(product.fleet.to_json())
    answer = product.operate("fleet.plan", fleet=fleet, after=after)
    assert answer["problem"]["code"] == "malformed-request"


def test_progress_tells_of_the_fleet_in_force(sweeper: Sweeper) -> None:
    """Nothing yet, under way, finished, and another fleet's again."""
    states = []
    steps: list[Callable[[], None]] = [lambda: None, lambda: sweeper.run(pages=1), sweeper.next_minute]
    for step in steps:
        step()
        states.append(sweeper.product.operate("fleet.progress")["result"])
    sweeper.product.publish(grants=GRANTS, rules="")
    states.append(sweeper.product.operate("fleet.progress")["result"])
    assert [(state["inForce"], state["finished"]) for state in states] == [
        (False, False),
        (True, False),
        (True, True),
        (False, True),
    ]
    assert [state["scanned"] for state in states][2:] == [5, 5]
    assert [state["touched"] for state in states][2:] == [3, 3]
    assert states[2]["fleetHash"] == sweeper.row().fleet_hash
    assert states[0]["startedAt"] is None


def test_progress_tells_when_aws_iot_has_caught_up(sweeper: Sweeper) -> None:
    """The seconds until the last slot that was taken; 0 when that slot is in the past."""
    epoch = int(datetime.now(UTC).timestamp())
    for ahead, least in ((-60, 0), (3_600, 3_500)):
        row = {"pk": "PACE#iot", "next": (epoch + ahead) * 1_000}
        boto3.client("dynamodb").put_item(TableName=sweeper.product.table, Item=rows.values(row))
        sweeper.product.lambdas.restart()
        assert least <= sweeper.product.operate("fleet.progress")["result"]["backlog"] <= least * 2
