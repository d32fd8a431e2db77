"""A step of the walk over MQTT fails if AWS IoT's broker or the product does not do what it promises.

The broker is a fake here. tests/verify has the walk against the emulator.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509

from device.patience import Patience
from device.refusal import Action, Refused
from device.store import FileIdentity, Identity
from firstboot.domain import topics
from firstboot.pki import chain
from tests import factories
from verify import mqtt, observer
from verify.bench import Bench
from verify.broker import ACCEPTED, CLOSED, V311, Login, Message
from verify.mqtt import Attempts, Narration
from verify.step import Failed, Lacking, Measurement, Need
from verify.steps import connections, isolation, jitr, live, naming

OWN, OTHER, UNKNOWN = "gw-1", "gw-2", "gw-3"
GROUP = SimpleNamespace(
    name="gateways", device_id="subject.CN", strip_prefix="", strip_suffix="", pattern=None
)
CA = factories.authority("factory")


@dataclass
class Connection:
    """A connection with fixed answers."""

    broker: Broker
    outcome: str
    is_gone: bool = False

    @property
    def is_accepted(self) -> bool:
        """Return whether the broker accepted the connection."""
        return self.outcome == ACCEPTED

    def subscribe(self, topic_filter: str, _qos: int = 1) -> str:
        """Return the answer to a subscription."""
        return self.broker.allows(topic_filter)

    def publish(self, topic: str, _payload: str) -> str:
        """Return the answer to a message."""
        return self.broker.allows(topic)

    def message(self, _seconds: float) -> Message | None:
        """Return the next message."""
        return next(self.broker.messages, None)

    def messages(self) -> list[Message]:
        """Return all messages."""
        return list(self.broker.messages)

    def ended(self, _seconds: float) -> tuple[str, float] | None:
        """Return the end of the connection."""
        return self.broker.end


@dataclass
class Broker:
    """A broker with fixed answers: to a connection, to a topic, and what it sends."""

    admits: Callable[[Login], str] = lambda login: ACCEPTED if login.client_id == OWN else CLOSED
    allows: Callable[[str], str] = lambda topic: ACCEPTED if f"/{OWN}/" in topic else "Not authorized"
    messages: Iterator[Message] = field(default_factory=lambda: iter(()))
    end: tuple[str, float] | None = None

    def outcome(self, login: Login, _protocol: object = None) -> str:
        """Return the answer to a connection."""
        return self.admits(login)

    @contextmanager
    def connected(
        self, login: Login, protocol: object = None, *, clean_session: bool = True
    ) -> Iterator[Connection]:
        """Yield a connection."""
        assert clean_session or protocol is V311
        yield Connection(self, self.admits(login))


class Iot:
    """AWS IoT's control plane, which takes each call."""

    status = "PENDING_ACTIVATION"

    def describe_certificate(self, **_: str) -> dict[str, dict[str, str]]:
        """Return a certificate."""
        return {"certificateDescription": {"certificateArn": "arn", "status": self.status}}

    def detach_thing_principal(self, **_: str) -> None:
        """Detach nothing."""

    attach_thing_principal = detach_thing_principal


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    """A certificate and its key."""
    key = factories.ec_key()
    files = FileIdentity(tmp_path / "certificate.pem", tmp_path / "device.key")
    files.certificate.write_text(factories.pem(CA.issue(OWN, key)))
    files.key.write_text(factories.key_pem(key))
    return files


class World:
    """A bench with a fake broker, whose first device is OWN."""

    def __init__(self, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        names = iter((UNKNOWN, OTHER))
        unit = SimpleNamespace(name=OWN, live=identity, bootstrap=identity)
        others = iter((unit, SimpleNamespace(name=OTHER, live=identity)))
        self.broker, self.iot, self.called = Broker(), Iot(), list[str]()
        self.row: dict[str, Any] = {"attempts": {"N": "1"}, "decidedAt": {"N": "1"}}
        self.bench: Any = SimpleNamespace(
            name=lambda: next(names),
            group_with=lambda *_: GROUP,
            bootstrap=lambda *_, **__: identity,
            client=lambda service: self.iot if service == "iot" else self._table(),
            outputs=lambda _: "table",
            operate=SimpleNamespace(call=lambda operation, **_: self.called.append(operation)),
            fleet=SimpleNamespace(role_aliases={"telemetry": None}),
            addresses=SimpleNamespace(broker="localhost:1"),
            at_end=[],
        )
        for name in ("connected", "over_https"):
            monkeypatch.setattr(mqtt, name, lambda *_: next(others))
        monkeypatch.setattr(mqtt, "broker", lambda _: self.broker)
        monkeypatch.setattr(mqtt, "_PATIENCE", Patience(tries=3, sleep=lambda _: None))
        monkeypatch.setattr(observer, "observing", self._observing)

    def _table(self) -> Any:
        return SimpleNamespace(get_item=lambda **_: {"Item": self.row})

    @contextmanager
    def _observing(self, *_: object) -> Iterator[Connection]:
        yield Connection(self.broker, ACCEPTED)

    def takes(self, step: Callable[[Bench], Iterator[Measurement]]) -> dict[str, str | float]:
        """Take a step and return what it measures."""
        return {each.what: each.value for each in step(self.bench)}


@pytest.fixture
def world(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> World:
    """A bench with a fake broker."""
    return World(identity, monkeypatch)


def revoked(bench: Bench) -> Iterator[Measurement]:
    """Take the step of a revocation."""
    return live.ended("devices.revoke", bench)


def test_a_foreign_client_id_is_refused(world: World) -> None:
    """The step measures the broker's answers to other client ids by each version of MQTT."""
    found = world.takes(isolation.client_ids)
    assert set(found.values()) == {CLOSED}
    assert len(found) == 4


@pytest.mark.parametrize(
    "admits",
    [lambda _: ACCEPTED, lambda _: CLOSED, lambda who: CLOSED if who.client_id == OTHER else ACCEPTED],
)
def test_a_foreign_client_id_that_connects_is_a_failure(world: World, admits: Any) -> None:
    """The step fails if the broker accepts another's or an unknown client id, or refuses the device's own."""
    world.broker.admits = admits
    with pytest.raises(Failed):
        world.takes(isolation.client_ids)


def test_another_device_s_topics_are_refused(world: World) -> None:
    """The step counts the refusals by the broker's answer, by each version of MQTT."""
    found = world.takes(isolation.topic_rights)
    assert found == {
        f"{verb}, {protocol}: {count} refused": "Not authorized"
        for protocol in ("MQTT 3.1.1", "MQTT 5")
        for verb, count in (("publish", 3), ("subscribe", 7))
    }


@pytest.mark.parametrize(
    "topic", ["#", "$aws/events/#", *(each.request_topic(UNKNOWN) for each in topics.CALLS)]
)
def test_a_topic_of_another_device_is_a_failure(world: World, topic: str) -> None:
    """The step fails if the broker allows one topic of another device, or one wildcard."""
    own = world.broker.allows
    world.broker.allows = lambda asked: ACCEPTED if asked == topic else own(asked)
    with pytest.raises(Failed, match="no leave"):
        world.takes(isolation.topic_rights)


def test_a_refused_topic_of_its_own_is_a_failure(world: World) -> None:
    """The step fails if the broker refuses each topic, because then its refusals say nothing."""
    world.broker.allows = lambda _: CLOSED
    with pytest.raises(Failed, match="leave for publish"):
        world.takes(isolation.topic_rights)


def test_a_revoked_device_that_stays_connected_is_a_failure(world: World) -> None:
    """The step fails if the connection stays open."""
    with pytest.raises(Failed, match="the connection to end"):
        world.takes(revoked)
    assert world.called == ["devices.revoke"]


def test_a_revoked_device_that_connects_again_is_a_failure(world: World) -> None:
    """The step fails if the device can connect again and again."""
    world.broker.end = ("closed", 1.0)
    with pytest.raises(Failed, match="no connection any more"):
        world.takes(revoked)


def test_connections_after_a_revocation_are_counted(world: World) -> None:
    """The step counts the connections that the broker still accepts."""
    answers = iter((ACCEPTED, ACCEPTED, CLOSED))
    world.broker.end, world.broker.admits = ("closed", 1.0), lambda _: next(answers)
    assert world.takes(revoked)["connections that were accepted after that"] == 1


def test_a_connection_without_its_thing_is_a_failure(world: World) -> None:
    """The step fails if the broker accepts a certificate whose thing is detached."""
    with pytest.raises(Failed, match="no connection any more"):
        world.takes(connections.unattached)


def test_two_connections_of_one_client_id_are_a_failure(world: World) -> None:
    """The step fails if the older connection stays open beside the newer one."""
    with pytest.raises(Failed, match="the first connection to end"):
        world.takes(connections.takeover)


def answer(call: topics.Call, *, qos: int, expiry: int | None = 120) -> Message:
    """Return an answer to a call."""
    return Message(call.accepted_topic(OWN), b"{}", qos, expiry, 0.0)


def test_the_answers_qos_and_expiry_are_measured(world: World) -> None:
    """The step measures the QoS and the expiry of each answer."""
    world.broker.messages = iter([answer(topics.COMMIT, qos=1), answer(topics.CREDENTIALS, qos=0)])
    assert list(world.takes(connections.answers).values()) == ["QoS 1", 120, "QoS 0", 120]


@pytest.mark.parametrize(
    ("qos", "expiry"), [(1, 120), (0, None), (0, 121)], ids=["stored", "never expires", "expires late"]
)
def test_credentials_that_could_be_stored_are_a_failure(world: World, qos: int, expiry: int | None) -> None:
    """The step fails if an answer with credentials has QoS 1 or does not expire in time."""
    world.broker.messages = iter(
        [answer(topics.COMMIT, qos=1), answer(topics.CREDENTIALS, qos=qos, expiry=expiry)]
    )
    with pytest.raises(Failed):
        world.takes(connections.answers)


def event(kind: str, version: int) -> Message:
    """Return an event about a connection."""
    body = json.dumps({"eventType": kind, "versionNumber": version})
    return Message("topic", body.encode(), 0, None, 0.0)


def test_events_that_come_again_or_too_late_are_counted(world: World) -> None:
    """The step counts events that are repeated, and those that come after a later one."""
    order = [
        ("connected", 0),
        ("connected", 1),
        ("disconnected", 0),
        ("disconnected", 1),
        ("disconnected", 1),
    ]
    world.broker.messages = iter([event(*each) for each in order])
    found = world.takes(connections.presence)
    assert found["events that came again"] == 1
    assert found["events that came after a later one"] == 1
    assert (found["connected events"], found["disconnected events"]) == (2, 3)


def registration(identity: Identity, earlier: str | None) -> Message:
    """Return an event about the registration of a certificate."""
    body = {"certificateId": jitr.certificate_id(identity), "certificateRegistrationTimestamp": earlier}
    return Message("topic", json.dumps(body).encode(), 0, None, 0.0)


def test_events_of_a_waiting_certificate_are_counted(world: World, identity: Identity) -> None:
    """The step counts the events about its own certificate only, and those after its registration."""
    world.broker.admits = lambda _: CLOSED
    other = Message("topic", b'{"certificateId": "another"}', 0, None, 0.0)
    world.broker.messages = iter([registration(identity, None), other, registration(identity, "1")])
    found = world.takes(jitr.waiting)
    assert found["events about its registration"] == 2
    assert found["of these, events that name an earlier registration"] == 1
    assert found["decisions of Firstboot on it"] == 1


def test_a_certificate_that_can_never_enroll_and_connects_is_a_failure(world: World) -> None:
    """The step fails if the broker lets in a certificate whose name is no device id."""
    world.broker.admits = lambda _: ACCEPTED
    with pytest.raises(Failed, match="no connection"):
        world.takes(jitr.waiting)


def test_a_certificate_that_can_never_enroll_and_is_active_is_a_failure(world: World) -> None:
    """The step fails if Firstboot activates a certificate whose name is no device id."""
    world.broker.admits, world.iot.status = lambda _: CLOSED, "ACTIVE"
    with pytest.raises(Failed, match="PENDING_ACTIVATION"):
        world.takes(jitr.waiting)


def test_a_certificate_s_id_is_the_digest_of_its_der(identity: Identity) -> None:
    """AWS IoT's id of a certificate is the SHA-256 of its DER."""
    made = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    assert jitr.certificate_id(identity) == chain.fingerprint(made)


def test_the_client_s_lines_count_its_connections() -> None:
    """The connections before a request and after the request before it are counted."""
    lines = ["Connecting to x", "Connecting to x", "Waiting for the certificate", "Connecting to x"]
    narration = Narration(
        [(float(at), line) for at, line in enumerate([*lines, "Waiting for the credentials"])]
    )
    assert narration.connections("the certificate") == (2, 2.0)
    assert narration.connections("the credentials") == (1, 4.0)
    with pytest.raises(LookupError):
        narration.connections("nothing")


def test_refusals_before_a_connection_are_described() -> None:
    """The refusals are counted without the last answer, and each kind is named once."""
    assert Attempts([CLOSED, "Not authorized", CLOSED, ACCEPTED], 1.0).refused == "3 (Not authorized, closed)"
    assert Attempts([ACCEPTED], 1.0).refused == "0"


@dataclass
class Service:
    """A service that refuses an enrollment with a code."""

    code: str

    def enroll(self, *_: object) -> None:
        """Refuse."""
        raise Refused(Action.STOP, "no", code=self.code)


def patterned(world: World, code: str) -> dict[str, str | float]:
    """Take the step of a pattern with a service that refuses with `code`."""
    group = SimpleNamespace(name="labels", pattern="x", device_id="subject.CN")
    world.bench.group_with, world.bench.factories = lambda *_: group, {"labels": None}
    world.bench.certified = world.bench.bootstrap
    world.bench.service = lambda *_, **__: Service(code)
    return world.takes(naming.pattern)


def test_a_name_outside_a_pattern_is_refused_by_its_code(world: World) -> None:
    """The refusal of a name that the pattern does not match is a measurement."""
    assert patterned(world, "device-id-invalid") == {
        "the answer to a name that the pattern does not match": "device-id-invalid"
    }


def test_a_pattern_that_cannot_be_matched_is_a_failure(world: World) -> None:
    """The step fails if the service answers with another code, as it would without RE2's library."""
    with pytest.raises(Refused):
        patterned(world, "internal-error")


def test_a_walk_without_a_broker_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker's address, what needs the broker says so."""
    bench: Any = SimpleNamespace(addresses=SimpleNamespace(broker=None))
    with pytest.raises(Lacking, match="broker"):
        mqtt.broker(bench)


@pytest.mark.parametrize(("missing", "waits"), [(set(), (1.1, 5.0)), ({Need.AWS}, (0.0, 1.0))])
def test_the_walk_waits_longer_for_aws_than_for_an_emulator(
    missing: set[Need], waits: tuple[float, float]
) -> None:
    """Connections of one client begin a second apart at AWS alone, where messages may also come later."""
    bench: Any = SimpleNamespace(
        addresses=SimpleNamespace(broker="localhost:1"), missing=missing, transport=None
    )
    broker = mqtt.broker(bench)
    assert (broker.apart_seconds, broker.quiet_seconds) == waits


def resuming(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arrived: topics.Call) -> Any:
    """Take the step of a resumed session, in which these answers arrive."""
    answers = iter(("Not authorized", ACCEPTED, ACCEPTED))  # the old certificate's, and the device's own
    world.broker.allows = lambda _: next(answers)
    world.broker.messages = iter([answer(call, qos=1) for call in arrived])
    unit: Any = mqtt.connected(world.bench)
    unit.renew = lambda: None
    monkeypatch.setattr(mqtt, "connected", lambda _: unit)
    world.bench.folder = tmp_path
    data = SimpleNamespace(publish=lambda **_: None)
    monkeypatch.setattr(world.bench, "client", lambda _: data)
    return world.takes(connections.resumed)


def test_a_resumed_session_without_credentials_is_measured(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step counts the stored answers that arrive for a superseded certificate."""
    found = resuming(world, tmp_path, monkeypatch, topics.CERTIFICATES)
    assert list(found.values()) == [1, 0]


def test_credentials_in_a_resumed_session_are_a_failure(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step fails if an answer with credentials arrives for a superseded certificate."""
    with pytest.raises(Failed, match="no answer with credentials"):
        resuming(world, tmp_path, monkeypatch, topics.CERTIFICATES, topics.CREDENTIALS)


@pytest.mark.parametrize(("mqtt_login", "jitr_of"), [("token", "shared"), ("registry", "off")])
def test_a_group_without_certificates_at_aws_iot_is_lacking(mqtt_login: str, jitr_of: str) -> None:
    """A group is not used if its devices connect with tokens or its bootstrap certificates can't connect."""
    asked = SimpleNamespace(mqtt=mqtt_login, jitr=jitr_of)
    bench: Any = SimpleNamespace(group_with=lambda condition, _: condition(asked))
    assert not mqtt.group(bench)
    fit = SimpleNamespace(mqtt="registry", jitr="exclusive")
    bench.group_with = lambda condition, _: condition(fit)
    assert mqtt.group(bench)
