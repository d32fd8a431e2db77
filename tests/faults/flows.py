"""The flows of the matrix: what is done before, what is disturbed, and how the run ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509

from firstboot.authority.settings import AuthoritySettings
from firstboot.exchange.provision import OWNERSHIP
from firstboot.pki import chain
from tests import factories
from tests.aws.deployed import ACCOUNT
from tests.aws.product import CONTEXT
from tests.aws.registering import RULES
from tests.faults import other_ways, provisioning
from tests.faults.clients import ASYNC_TRIES, Board
from tests.faults.wire import Kind
from tests.faults.world import World, device_key, direct, factories_other

NAME = "gw-1"
_RENEWED = 50  # the number of the key that another process of the device renews with

KEYS = [*range(10), _RENEWED]
"""The numbers of the keys that a run may need."""


@dataclass
class Stage:
    """A run of a flow: the world, the device in it, and what the flow keeps between its parts."""

    world: World
    board: Board
    kept: dict[str, Any] = field(default_factory=dict)

    def operate(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Make an operator's call, again as long as AWS does not answer, as a person does."""
        answer: Any = {}
        for _ in range(5):
            answer = self.world.invoke(lambda: self.world.product.operate(operation, **parameters))
            if isinstance(answer, dict) and not _is_to_repeat(answer):
                break
            self.world.wait(30)
        code = answer.get("problem", {}).get("code") if isinstance(answer, dict) else "died"
        if code:
            self.world.outcomes.append(f"{operation}: {code}")
        return answer if isinstance(answer, dict) else {}


def _is_to_repeat(answer: dict[str, Any]) -> bool:
    return answer.get("problem", {}).get("action") in ("retry", "wait")


Act = Callable[[Stage], object]


@dataclass(frozen=True)
class Flow:
    """A flow. `way` is how its device reaches the service."""

    prepare: Act
    act: Act
    actors: frozenset[Kind] = frozenset()
    way: str = "mtls"


def _nothing(_: Stage) -> None:
    """Do nothing."""


def enrolled(stage: Stage) -> None:
    """Boot the device, and let AWS IoT follow."""
    assert stage.board.boot()
    stage.world.pump()


def enrolled_only(stage: Stage) -> None:
    """Boot the device, with all its events still to come."""
    assert stage.board.boot()


def begun(stage: Stage) -> None:
    """Enroll the device without a log-in, and let AWS IoT follow."""
    answer = _ask(stage)
    assert answer.status == 201
    stage.kept["leaf"] = stage.world.product.certificate(answer)
    stage.world.pump()


def _ask(stage: Stage) -> Any:
    return stage.world.product.enroll(bootstrap(stage.board), device_key(1))


def then(*acts: Act) -> Act:
    """Return one act of several."""

    def all_of(stage: Stage) -> None:
        for act in acts:
            act(stage)

    return all_of


def operation(name: str, **parameters: Any) -> Act:
    """Return an operator's call about the device."""
    return lambda stage: stage.operate(name, **({"deviceId": NAME} | parameters))


def pump(stage: Stage) -> None:
    """Deliver all events."""
    stage.world.pump()


def _boot(stage: Stage) -> None:
    stage.board.boot()


def _renew(stage: Stage) -> None:
    stage.board.renew()


def _credentials(stage: Stage) -> None:
    stage.board.credentials()


def _repeat(stage: Stage) -> None:
    """Send the request again for the certificate that was issued, until there is an answer."""
    for _ in range(5):
        answer = stage.world.invoke(lambda: _ask(stage))
        if not isinstance(answer, type) and answer.status == 201:
            return
        stage.world.wait(60)
    stage.world.outcomes.append("no answer to the repeated request")


REVOKE, DELETE = operation("devices.revoke"), operation("devices.delete")
SET = operation("devices.set", attributes={"quarantined": True})


def published(**changes: Any) -> Callable[[Stage], dict[str, Any]]:
    """Return what makes a fleet definition that differs from the deployed one, as JSON."""

    def make(stage: Stage) -> dict[str, Any]:
        known = stage.world.product.fleet
        plain: dict[str, Any] = json.loads(replace(known, base=known.hash, **changes).to_json())
        return plain

    return make


def apply(make: Callable[[Stage], dict[str, Any]]) -> Act:
    """Return an operator's `fleet apply`, which reads the fleet in force before."""

    def act(stage: Stage) -> None:
        shown = stage.operate("fleet.show").get("result", {})
        stage.operate("fleet.apply", fleet=make(stage), inForce=shown.get("inForce", {}).get("hash"))

    return act


_TELEMETRY = 'permit (principal, action == Action::"hold", resource == Grant::"telemetry");'
# Neither definition has the rule of the hub's grant.
_LESS = published(rules=f'@id("less") {_TELEMETRY}')
_MORE = published(rules=f'{RULES}@id("more") {_TELEMETRY}')


def _renew_actor(stage: Stage) -> None:
    """Renew the device's certificate, and log in with the new one."""
    product = stage.world.product
    answer = product.enroll(stage.board.live_leaf(), device_key(_RENEWED))
    if answer.status == 201:
        product.call("POST", "/v1/certificates/commit", product.certificate(answer), "{}")


ACTORS: dict[Kind, Act] = {
    Kind.REVOKE: REVOKE,
    Kind.DELETE: DELETE,
    Kind.RENEW: _renew_actor,
    Kind.SET: SET,
    Kind.APPLY: apply(_MORE),
}


def _imports(stage: Stage) -> None:
    """Make a thing with an ACTIVE certificate of another CA."""
    iot = direct("iot")
    iot.create_thing(thingName=NAME)
    leaf = factories_other().issue("AWS IoT Certificate", factories.ec_key())
    made = iot.register_certificate_without_ca(certificatePem=factories.pem(leaf), status="ACTIVE")
    iot.attach_thing_principal(thingName=NAME, principal=made["certificateArn"])


def _arrives(stage: Stage) -> None:
    """Let AWS IoT register the bootstrap certificate, and publish its event."""
    leaf = bootstrap(stage.board)
    direct("iot").register_certificate_without_ca(
        certificatePem=factories.pem(leaf), status="PENDING_ACTIVATION"
    )
    stage.world.events.append({"certificateId": chain.fingerprint(leaf)})


def bootstrap(board: Board) -> x509.Certificate:
    """Return the device's bootstrap certificate."""
    return x509.load_pem_x509_certificates(board.bootstrap.certificate.read_bytes())[0]


def _import(stage: Stage) -> None:
    """Bring the device into the group."""
    stage.operate("devices.import", group="gateways", devices={NAME: {}})


def _expect(stage: Stage) -> None:
    """Name two devices of the group."""
    stage.operate("groups.expect", group="gateways", devices={"gw-7": {}, "gw-8": {}})


def _swept(stage: Stage) -> None:
    """Let the schedule start the sweep each minute, for four minutes, and AWS IoT follow."""
    context: Any = SimpleNamespace(**vars(CONTEXT), get_remaining_time_in_millis=lambda: 50_000)

    def sweep() -> None:
        # A failed run is not repeated: the next minute's is (infra/sweep.py).
        with suppress(Exception):
            stage.world.product.lambdas.sweep({}, context)

    for _ in range(4):
        stage.world.wait(60)
        stage.world.invoke(sweep)
    stage.world.pump()


def _signature(stage: Stage) -> None:
    """Ask for a signature with the certificate that has not been used, or the one in use."""
    leaf = stage.kept.get("leaf") or stage.board.live_leaf()
    other_ways.sign_for_hub(stage.world, leaf)


def _made_by_aws(stage: Stage) -> None:
    """Have AWS IoT make two certificates for devices with the device's claim certificate."""
    provisioning.prepare(bootstrap(stage.board), 1, 2)


def _abandoned(stage: Stage) -> None:
    """Provision the device with a certificate that it never connects with, and let its hour end."""
    assert provisioning.provision(stage.world, bootstrap(stage.board), 1)
    stage.world.pump()
    stage.world.wait(OWNERSHIP.total_seconds())
    # The process of the hook had remembered the claim certificate.
    stage.world.product.lambdas.restart()


def _provisioned(number: int) -> Act:
    """Return the act that provisions the device with one of the certificates, and lets it connect."""

    def act(stage: Stage) -> None:
        if provisioning.provision(stage.world, bootstrap(stage.board), number):
            provisioning.connect(stage.world, number)

    return act


def _deploys(stage: Stage) -> None:
    """Let CloudFormation create the custom resource, again if it fails, as a deployer does."""
    product = stage.world.product
    settings = AuthoritySettings(
        table=product.table,
        bucket=product.bucket,
        account=ACCOUNT,
        ca_key=os.environ["FIRSTBOOT_CA_KEY"],
        subject="Firstboot issuing CA",
        years="20",
    )
    os.environ.update(settings.environment())  # of this copy of the process
    # moto's endpoint of AWS IoT would change with every call.
    pytest.MonkeyPatch().setattr("moto.iot.models.random.get_random_string", lambda **_: "account")
    stage.world.invoke_event("resource", {"RequestType": "Create"}, 5)


def _presence(stage: Stage) -> None:
    """Let AWS IoT publish that the device has connected with its new certificate."""
    event = {"clientId": NAME, "principalIdentifier": chain.fingerprint(stage.kept["leaf"])}
    stage.world.invoke_event("presence", event, ASYNC_TRIES)


def _password(stage: Stage) -> None:
    """Make the device's one-time password."""
    made = stage.operate("devices.token", deviceId=NAME, group="gateways")["result"]
    stage.kept["password"] = made["password"]


def _enroll_by_password(stage: Stage) -> None:
    other_ways.enroll_by_password(stage.world, stage.kept["password"])


def _register_by_key(stage: Stage) -> None:
    other_ways.register_by_key(stage.world)


def _session(stage: Stage) -> None:
    other_ways.session(stage.world, stage.kept["leaf"], device_key(1))


_REBIND = operation("devices.rebind", key="a" * 64, until=f"{date.today() + timedelta(days=9)}")  # noqa: DTZ011
_ALL = frozenset(ACTORS)
_DEVICE = frozenset({Kind.REVOKE, Kind.DELETE, Kind.SET, Kind.APPLY})

FLOWS: dict[str, Flow] = {
    "enroll, mTLS": Flow(_nothing, _boot, _DEVICE),
    "enroll, proof": Flow(_nothing, _boot, _DEVICE, "proof"),
    "enroll, MQTT": Flow(_nothing, _boot, _DEVICE, "mqtt"),
    "repeat": Flow(begun, _repeat, _DEVICE),
    "log-in": Flow(enrolled, _boot, _ALL),
    "log-in by connecting": Flow(begun, _presence, _DEVICE),
    "renewal, mTLS": Flow(enrolled, _renew, _DEVICE),
    "renewal, proof": Flow(enrolled, _renew, _DEVICE, "proof"),
    "renewal, MQTT": Flow(enrolled, _renew, _DEVICE, "mqtt"),
    "credentials, provider": Flow(enrolled, _credentials, _ALL),
    "credentials, MQTT": Flow(enrolled, _credentials, _ALL, "mqtt"),
    "enroll, DPS": Flow(_nothing, _register_by_key, _DEVICE),
    "enroll, EST": Flow(_password, _enroll_by_password, _DEVICE),
    "session, Roles Anywhere": Flow(begun, _session, _DEVICE),
    "signature for an IoT hub": Flow(enrolled, _signature, _ALL),
    "signature as the log-in": Flow(begun, _signature, _DEVICE),
    "fleet provisioning": Flow(_made_by_aws, _provisioned(1), _DEVICE),
    "fleet provisioning, again": Flow(then(_made_by_aws, _abandoned), _provisioned(2), _DEVICE),
    "JITR": Flow(_arrives, pump, frozenset({Kind.APPLY})),
    "reconcile a new device": Flow(enrolled_only, pump, _ALL),
    "reconcile a renewed device": Flow(then(enrolled, _renew), pump, _ALL),
    "reconcile a changed device": Flow(then(enrolled, SET), pump, _ALL),
    "reconcile a revoked device": Flow(then(enrolled, REVOKE), pump, frozenset({Kind.DELETE, Kind.APPLY})),
    "reconcile a deleted device": Flow(then(enrolled, DELETE), pump, frozenset({Kind.APPLY})),
    "devices revoke": Flow(enrolled, REVOKE, frozenset({Kind.DELETE, Kind.SET, Kind.RENEW})),
    "devices delete": Flow(enrolled, DELETE, frozenset({Kind.REVOKE, Kind.SET, Kind.RENEW})),
    "devices set": Flow(enrolled, SET, frozenset({Kind.REVOKE, Kind.DELETE, Kind.RENEW})),
    "devices import": Flow(_imports, _import, frozenset({Kind.APPLY})),
    "devices rebind": Flow(enrolled, _REBIND, frozenset({Kind.REVOKE, Kind.DELETE, Kind.SET, Kind.RENEW})),
    "groups expect": Flow(_nothing, _expect, frozenset({Kind.APPLY})),
    "fleet apply": Flow(enrolled, apply(_LESS), frozenset({Kind.APPLY, Kind.SET})),
    "sweep after fleet apply": Flow(then(enrolled, apply(_LESS)), _swept, frozenset({Kind.REVOKE, Kind.SET})),
    "deployment": Flow(_nothing, _deploys),
}
