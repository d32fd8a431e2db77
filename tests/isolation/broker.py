"""The MQTT broker as an evaluator: devices with certificates and policies connect on real sockets.

A right counts if its effect is observed. A watcher with every right receives what a device may publish, and
publishes what a device may receive. To receive it, the device may also subscribe to every topic, by an added
policy.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from firstboot.policy.limits import thing_attributes
from firstboot.policy.render import Place, compact
from local import cloud, deployment
from local.cloud import ACCOUNT, REGION
from local.state import State
from tests import factories
from tests.flows import conftest as flows
from tests.flows.devices import client
from tests.isolation.evaluators import Document, Request, Rights
from tests.isolation.mqtt import Connection, Login, connected
from tests.isolation.pairs import CLIENT, COMMON_NAME, SERIAL_NUMBER, THING, URI

PLACE = Place("aws", REGION, ACCOUNT)
"""The place of the broker."""

_TOPIC_BYTES = 256  # AWS IoT Core endpoints and quotas, "Topic"
EVERYTHING = ("#", "$aws/things/#")
"""Filters of all topics."""


def _allowing(*actions: str) -> Document:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": "*"}],
    }


_ATTRIBUTES = thing_attributes({"site": "../#", "deviceId": "dev1", "line": "dev1/#", "model": "x"})
_WATCHER = _allowing("iot:*")
_HELP = _allowing("iot:Subscribe", "iot:Publish")
_HELPED = {"iot:Receive", "iot:RetainPublish"}
_ORDER = ("iot:Subscribe", "iot:Publish", *sorted(_HELPED))
"""The order in which actions are tried. The later ones have no effect without another right.

The device gets that right just before them, and gets the right to connect after its own connections were
tried.
"""


class Broker:
    """A broker with IAM enforced, whose things, certificates and policies are made when they are needed."""

    def __init__(self, account: flows.Cloud, folder: Path, stack: ExitStack) -> None:
        self._iot = client(account, "iot")
        self._endpoint = account.endpoints["mqtt"]
        self._folder = folder
        self._factory = factories.authority("Broker test CA")
        self._numbers = count()
        self._policies: set[str] = set()
        watcher = stack.enter_context(connected(self.login("watcher", [_WATCHER]), "watcher"))
        assert watcher
        assert all(watcher.subscribe(EVERYTHING))
        self._watcher = watcher

    def takes(self, request: Request, /) -> bool:
        """Return whether the request can be made to this broker over MQTT, and a policy decides it."""
        kind, _, name = _asked(request).partition("/")
        match kind:
            case "client":
                return "\0" not in name
            case "topic":
                return not set(name) & {"+", "#"} and _is_judged(name)
            case "topicfilter":
                return _is_filter(name) and _is_judged(name)
        return False

    def allowed(self, asked: Sequence[tuple[Rights, Request]]) -> list[bool]:
        """Return the decision for each request of `asked`."""
        answers: dict[tuple[int, str], bool] = {}
        for rights in {id(each): each for each, _ in asked}.values():
            requests = [request for each, request in asked if each is rights]
            answers |= {(id(rights), str(each)): is_so for each, is_so in self._decided(rights, requests)}
        return [answers[id(rights), str(request)] for rights, request in asked]

    def login(
        self, common_name: str, policies: Sequence[Document], thing: str = "", serial: str = "", uri: str = ""
    ) -> Login:
        """Return a new certificate with these policies, attached to a new thing if one is named.

        `serial` is its subject's serialNumber and `uri` its alternative name, where there is one.
        """
        key = factories.ec_key()
        names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        if serial:  # not each id is a PrintableString, which cryptography would make
            names.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial, _ASN1Type.UTF8String))
        alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        extra: list[tuple[x509.ExtensionType, bool]] = [(alternative, False)] if uri else []
        leaf = self._factory.issue(common_name, key, subject=x509.Name(names), extra=extra)
        made = self._iot.register_certificate_without_ca(certificatePem=factories.pem(leaf), status="ACTIVE")
        files = flows.save(self._folder / made["certificateId"], leaf, key)
        login = Login(self._endpoint, made["certificateArn"], *files)
        for document in policies:
            self._attach(document, login)
        if thing:
            self._iot.create_thing(thingName=thing, attributePayload={"attributes": _ATTRIBUTES})
            self._iot.attach_thing_principal(thingName=thing, principal=login.principal)
        return login

    def _attach(self, document: Document, login: Login) -> None:
        text = compact(document)
        name = hashlib.sha256(text.encode()).hexdigest()
        if name not in self._policies:
            self._iot.create_policy(policyName=name, policyDocument=text)
            self._policies.add(name)
        self._iot.attach_policy(policyName=name, target=login.principal)

    def _decided(self, rights: Rights, requests: Sequence[Request]) -> Iterator[tuple[Request, bool]]:
        own = rights.variables[CLIENT]
        common_name = rights.variables.get(COMMON_NAME, "unnamed")
        thing, serial, uri = (rights.variables.get(each, "") for each in (THING, SERIAL_NUMBER, URI))
        login = self.login(common_name, rights.identity, thing, serial, uri)
        by_action = {each.action: [r for r in requests if r.action == each.action] for each in requests}
        for request in by_action.pop("iot:Connect", []):
            with connected(login, _name(request)) as connection:
                yield request, connection is not None
        self._attach(_allowing("iot:Connect"), login)
        with connected(login, own) as device:
            assert device
            for action in sorted(by_action, key=_ORDER.index):
                if action in _HELPED:
                    self._attach(_HELP, login)
                names = [_name(request) for request in by_action[action]]
                yield from zip(by_action[action], self._tried(device, action, names), strict=True)

    def _tried(self, device: Connection, action: str, names: list[str]) -> list[bool]:
        messages = [(name, str(next(self._numbers))) for name in names]
        match action:
            case "iot:Subscribe":
                return device.subscribe(names)
            case "iot:Receive":
                assert all(device.subscribe(EVERYTHING))
                assert all(self._watcher.publish(messages))
                device.settle()
                return [message in device.received for message in messages]
        retain = action == "iot:RetainPublish"
        taken = device.publish(messages, retain=retain)
        self._watcher.settle()
        received = [message in self._watcher.received for message in messages]
        assert taken == received, "the broker's answers differ from what it delivered"
        if retain:  # an empty message deletes the retained one
            assert all(self._watcher.publish([(name, "") for name in names], retain=True))
        return received


def _asked(request: Request) -> str:
    """Return the resource of a request to this broker without the ARN's beginning, or "" for another."""
    ours = f"arn:{PLACE.partition}:iot:{PLACE.region}:{PLACE.account}:"
    return request.resource.removeprefix(ours) if request.resource.startswith(ours) else ""


def _name(request: Request) -> str:
    return _asked(request).partition("/")[2]


def _is_judged(topic: str) -> bool:
    """Return whether a policy decides on the topic, and not MQTT or AWS's reserved topics."""
    reserved = topic.startswith("$") and not topic.startswith(("$aws/things/", "$share/"))
    return not reserved and "\0" not in topic and len(topic.encode()) <= _TOPIC_BYTES


def _is_filter(text: str) -> bool:
    """Return whether a topic filter is well formed (MQTT 5, "4.7.1 Topic wildcards")."""
    levels = text.split("/")
    return "#" not in levels[:-1] and all(len(each) == 1 or not set(each) & {"+", "#"} for each in levels)


@contextmanager
def running(folder: Path) -> Iterator[Broker]:
    """Run a broker in an account without anything else, with its files in `folder`."""
    state = State(folder)
    with state.begin(), asyncio.Runner() as runner, ExitStack() as stack:
        here = cloud.Cloud(state, *cloud.free_ports(None, None, None, None))
        endpoints = here.endpoints(*deployment.prepare(state))
        emulator = cloud.running(here)
        runner.run(emulator.__aenter__())
        stack.callback(lambda: runner.run(emulator.__aexit__(None, None, None)))
        yield Broker(flows.Cloud(endpoints, flows.factory(endpoints["factory"])), folder, stack)
