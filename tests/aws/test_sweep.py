"""The sweep orders each device that needs it, once for each fleet, also when calls fail."""

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
from firstboot.policy.render import Place
from firstboot.policy.service import ServicePolicy
from firstboot.register import build, sweep
from firstboot.register.settings import SweepSettings
from firstboot.runtime.guard import Guard
from tests.aws.deployed import ACCOUNT
from tests.aws.product import Product
from tests.aws.sweeping import GRANTS, MQTT, RULES, Sweeper
from tests.fleets import TELEMETRY
from tests.unit.fleet_folders import device


@pytest.fixture
def sweeper(product: Product, monkeypatch: pytest.MonkeyPatch) -> Sweeper:
    """Return a sweeper with two rows a page and five devices, of which AWS IoT has two as it should."""
    made = Sweeper(product)
    monkeypatch.setattr(sweep, "PAGE", 2)
    monkeypatch.setenv("FIRSTBOOT_FLEET_REFRESH", "0")  # messages are visible at once
    product.lambdas.clock = lambda: made.now
    product.publish(grants=GRANTS, rules=RULES)
    for number in range(5):
        made.device(f"gw-{number}", {"mqtt"} if number < 2 else set())
    make = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]
    ours = [clients.dynamodb(), clients.s3(ACCOUNT), clients.sqs(), clients.iot()]

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
    """Return a hook that makes AWS fail at this call."""
    left = iter(range(number))

    def call(operation: str) -> None:
        if next(left, None) is None:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, operation)

    return call


def test_every_device_that_needs_it_is_ordered_once(sweeper: Sweeper) -> None:
    """Every device that needs a reconciliation is ordered once, and no other; later runs find no work."""
    sweeper.run()
    assert sweeper.ordered() == NEEDING
    row = sweeper.row()
    assert (row.scanned, row.touched, row.finished_at, row.held_until) == (5, 3, sweeper.now, None)
    sweeper.calls.clear()
    sweeper.next_minute()
    assert sweeper.ordered() == []
    assert sweeper.calls == ["GetItem", "GetObject", "ListPolicies"]


def test_policies_follow_the_fleet_before_devices_are_ordered(sweeper: Sweeper) -> None:
    """The policy of each grant about AWS IoT is up to date before the first device is ordered."""
    sweeper.run()
    place = json.loads(
        json.dumps(MQTT)
        .replace("{partition}:iot:{region}:{account}", "aws:iot:us-east-1:123456789012")
        .replace("{deviceId}", "${iot:Connection.Thing.ThingName}")
    )
    place["Statement"][0]["Condition"] = {"Bool": {"iot:Connection.Thing.IsAttached": "true"}}
    assert sweeper.policies() == {"Firstboot-grant-mqtt": place}
    assert sweeper.calls.index("CreatePolicy") < sweeper.calls.index("SendMessageBatch")


@pytest.mark.parametrize("versions", [0, 1, 5])
def test_a_new_version_brings_its_own_policies(sweeper: Sweeper, versions: int) -> None:
    """A new version's process brings the service policies up to date once, even for a swept fleet.

    The policies may be missing or another version's, with as many versions as AWS IoT allows.
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
    assert sweeper.calls == ["GetItem", "GetObject", "ListPolicies"]


def test_a_deleted_policy_is_made_again(sweeper: Sweeper) -> None:
    """A minute after an operator has deleted policies they exist again, although the sweep is complete."""
    sweeper.run()
    whole, iot = sweeper.all_policies(), boto3.client("iot")
    for name in ("Firstboot-claim", "Firstboot-grant-mqtt"):
        iot.delete_policy(policyName=name)
    sweeper.next_minute()
    assert sweeper.all_policies() == whole


def test_a_changed_grant_orders_no_device(sweeper: Sweeper) -> None:
    """A change of a grant's template orders no device: its policy's new version serves all devices."""
    sweeper.run()
    for number in range(5):
        sweeper.device(f"gw-{number}", {"mqtt"})
    sweeper.ordered()
    other = json.loads(json.dumps(MQTT).replace("iot:Connect", "iot:Publish").replace(":client/", ":topic/"))
    sweeper.product.publish(grants=GRANTS | {"mqtt": other}, rules=RULES)
    sweeper.next_minute()
    assert sweeper.ordered() == []
    (document,) = sweeper.policies().values()
    assert document["Statement"][0]["Action"] == "iot:Publish"


def test_a_run_stops_in_time_and_the_next_goes_on(sweeper: Sweeper) -> None:
    """A run stops when its time is over, and later runs continue until each device was read once."""
    runs = 0
    sweeper.run(pages=1)
    while sweeper.row().finished_at is None:
        assert sweeper.row().held_until is None
        sweeper.next_minute(pages=1)
        runs += 1
    assert runs >= 2
    assert sweeper.ordered() == NEEDING
    assert (sweeper.row().scanned, sweeper.row().touched) == (5, 3)


@pytest.mark.parametrize("lost", [False, True])
def test_a_failure_at_any_call_loses_no_device(sweeper: Sweeper, *, lost: bool) -> None:
    """After a failure of any call, or of its answer, later runs finish and count each device once."""
    sweeper.run()
    sweeper.ordered()
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
        assert (row.scanned, row.touched) == (5, 3), f"after a failure at call {number}"
        assert row.finished_at is not None, f"after a failure at call {number}"
        assert set(sweeper.ordered()) == set(NEEDING), f"after a failure at call {number}"
    assert 15 < number < 39


def test_a_refused_message_is_repeated(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that SQS refuses in a successful answer is sent again."""
    refused = {"Failed": [{"Id": "0", "Code": "InternalError", "SenderFault": False}]}
    with monkeypatch.context() as patch:
        patch.setattr(clients.sqs(), "send_message_batch", lambda **_: refused)
        with pytest.raises(Unavailable):
            SqsQueue(clients.sqs(), SweepSettings.read().changes_queue).send_all(["gw-1"], 0)
        sweeper.run()
        assert sweeper.row().finished_at is None
    sweeper.next_minute()
    assert sweeper.ordered() == NEEDING


def test_messages_go_out_by_tens(sweeper: Sweeper) -> None:
    """Messages are sent in SQS's batches of ten, for any number of devices."""
    devices = [f"gw-{number:03}" for number in range(25)]
    queue = SqsQueue(clients.sqs(), SweepSettings.read().changes_queue)
    queue.send_all((json.dumps({"deviceId": device}) for device in devices), 0)
    assert sweeper.calls == ["SendMessageBatch"] * 3
    assert sweeper.ordered() == sorted(devices)


def test_messages_wait_until_register_has_the_fleet(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages are delayed until `register` has read the fleet, up to SQS's limit of 15 minutes."""
    sent: list[Any] = []

    def send(**given: Any) -> dict[str, Any]:
        sent.append(given)
        return {"Successful": given["Entries"]}

    monkeypatch.setattr(clients.sqs(), "send_message_batch", send)
    for refresh in ("60", "3600"):
        monkeypatch.setenv("FIRSTBOOT_FLEET_REFRESH", refresh)
        build.sweep(SweepSettings.read(), Guard("register")).run.order([device()])
    assert [given["Entries"][0]["DelaySeconds"] for given in sent] == [60, 900]


@pytest.mark.parametrize("at", ["PutItem", "SendMessageBatch"])
def test_of_two_concurrent_runs_one_works(sweeper: Sweeper, at: str) -> None:
    """Of two concurrent runs only one does the work, wherever the second one starts."""
    inside: list[str] = []

    def second(operation: str) -> None:
        if operation == at and not inside:
            inside.append(operation)
            sweeper.beside()

    sweeper.on_call = second
    sweeper.run()
    assert inside
    assert sweeper.ordered() == NEEDING
    assert sweeper.row().touched == 3


def test_a_run_that_lost_its_hold_stops(sweeper: Sweeper) -> None:
    """A run that was suspended past its time changes nothing of the run that replaced it."""
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
    """A fleet published during a sweep starts a new one, which orders devices again by the newer rules."""
    sweeper.run(pages=2)
    sweeper.ordered()
    sweeper.product.publish(grants=GRANTS, rules=f"{RULES} // newer")
    sweeper.next_minute()
    assert sweeper.ordered() == NEEDING
    assert (sweeper.row().scanned, sweeper.row().started_at) == (5, sweeper.now)


def test_a_newer_fleet_is_noticed_by_the_run_at_work(sweeper: Sweeper) -> None:
    """A run notices a newer fleet before its next page, and not only in the next minute."""
    published: list[str] = []

    def publish(operation: str) -> None:
        if operation == "SendMessageBatch" and not published:
            published.append(operation)
            sweeper.product.publish(grants={"telemetry": TELEMETRY}, rules=RULES)

    sweeper.on_call = publish
    sweeper.run()
    row, in_force = sweeper.row(), sweeper.product.operate("fleet.show")["result"]["inForce"]
    assert (row.fleet_hash, row.scanned, row.touched) == (in_force["hash"], 5, 2)
    assert {"gw-0", "gw-1"} <= set(sweeper.ordered())
    assert sweeper.policies() == {}


@pytest.mark.parametrize("at", ["GetItem", "GetObject", "PutItem"])
def test_a_run_with_an_older_fleet_does_not_go_back(sweeper: Sweeper, at: str) -> None:
    """A run with an older fleet that was suspended does not start an older sweep after a newer one."""
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
    assert sweeper.calls == ["GetItem", "GetObject", "ListPolicies"]


def test_every_day_has_its_sweep(sweeper: Sweeper) -> None:
    """A sweep runs every day, because a grace that ends causes no event."""
    sweeper.run()
    sweeper.ordered()
    for name in NEEDING:
        sweeper.device(name, {"mqtt"})
    grace = sweeper.product.fleet.groups["gateways"].certificate.grace
    old = {"serial": "1", "spki": "2", "notBefore": 0, "notAfter": 1, "renewAfter": 1, "heldUntil": 0}
    over = old | {"certificateId": "old", "supersededAt": epoch(sweeper.now - grace) + 60}
    sweeper.device("gw-1", {"mqtt", "superseded:old"}, superseded=over, registered={"old"})
    sweeper.now += timedelta(hours=24, seconds=-1)
    sweeper.run()
    assert sweeper.ordered() == []
    sweeper.now += timedelta(seconds=1)
    sweeper.run()
    assert sweeper.ordered() == ["gw-1"]
    assert (sweeper.row().started_at, sweeper.row().touched) == (sweeper.now, 1)


def test_a_superseded_certificate_with_the_device_s_policy_is_found(sweeper: Sweeper) -> None:
    """The sweep orders a device if its superseded certificate is not noted to have its own policy."""
    sweeper.run()
    sweeper.ordered()
    for name in NEEDING:
        sweeper.device(name, {"mqtt"})
    times = {"notBefore": 0, "notAfter": 1, "renewAfter": 1, "heldUntil": 0}
    old = times | {"serial": "1", "spki": "2", "certificateId": "old", "supersededAt": epoch(sweeper.now)}
    sweeper.device("gw-1", {"mqtt"}, superseded=old, registered={"old"})
    sweeper.device("gw-2", {"mqtt", "superseded:old"}, superseded=old, registered={"old"})
    sweeper.now += timedelta(days=1)
    sweeper.run()
    assert sweeper.ordered() == ["gw-1"]


def test_a_removed_grants_policy_is_deleted_once_unused(sweeper: Sweeper) -> None:
    """The policy of a removed grant is deleted once no certificate has it; foreign policies are kept."""
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


def test_a_policy_that_is_attached_meanwhile_stays(sweeper: Sweeper) -> None:
    """A policy that is attached while the sweep deletes it stays, and the sweep continues."""
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


def test_the_log_has_the_progress(sweeper: Sweeper, logs: io.StringIO) -> None:
    """The log has the numbers of each run that did something, and an AWS error is logged and not raised."""
    sweeper.run()
    sweeper.next_minute()
    lines = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert [(line["scanned"], line["touched"]) for line in lines if line["message"] == "swept"] == [(5, 3)]
    boto3.client("dynamodb").delete_table(TableName=sweeper.product.table)
    sweeper.run()
    assert "ResourceNotFoundException" in logs.getvalue()


def whole_plan(product: Product, **changes: Any) -> tuple[int, int]:
    """Return the sums of all pages of fleet.plan, for the fleet in force with `changes`."""
    fleet = product.operate("fleet.show")["result"]["inForce"]["fleet"] | changes
    scanned = touched = 0
    after: str | None = None
    while True:
        page = product.operate("fleet.plan", fleet=fleet, after=after)["result"]
        scanned, touched, after = scanned + page["scanned"], touched + page["touched"], page["next"]
        if after is None:
            return scanned, touched


def test_a_plan_has_the_numbers_of_the_sweep(sweeper: Sweeper) -> None:
    """A plan has the numbers of the sweep that would follow, and writes nothing."""
    before = sweeper.product.rows()
    assert whole_plan(sweeper.product) == (5, 3)
    assert whole_plan(sweeper.product, rules="") == (5, 2)
    assert sweeper.product.rows() == before
    sweeper.product.publish(grants=GRANTS, rules="")
    sweeper.run()
    assert (sweeper.row().scanned, sweeper.row().touched) == (5, 2)


def test_a_plan_needs_a_fleet_that_compiles(product: Product) -> None:
    """A plan of a fleet that does not compile is refused."""
    fleet = json.loads(product.fleet.to_json()) | {"rules": "permit"}
    assert product.operate("fleet.plan", fleet=fleet)["problem"]["code"] == FleetInvalid.code


@pytest.mark.parametrize("after", ["", 3])
def test_a_plans_page_has_a_token(product: Product, after: object) -> None:
    """A plan refuses a page token that no page gave."""
    fleet = json.loads(product.fleet.to_json())
    answer = product.operate("fleet.plan", fleet=fleet, after=after)
    assert answer["problem"]["code"] == "malformed-request"


def test_progress_is_that_of_the_fleet_in_force(sweeper: Sweeper) -> None:
    """The progress shows whether the sweep of the fleet in force is not begun, under way or finished."""
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


def test_progress_has_the_backlog(sweeper: Sweeper) -> None:
    """The progress has the seconds until all waiting orders are handled, or 0 if that is in the past."""
    epoch = int(datetime.now(UTC).timestamp())
    for ahead, least in ((-60, 0), (3_600, 3_500)):
        row = {"pk": "PACE#iot", "backlogUntil": (epoch + ahead) * 1_000}
        boto3.client("dynamodb").put_item(TableName=sweeper.product.table, Item=rows.values(row))
        sweeper.product.lambdas.restart()
        assert least <= sweeper.product.operate("fleet.progress")["result"]["backlog"] <= least * 2
