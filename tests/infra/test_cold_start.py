"""The setting `coldStart`: which functions get a published version, and that every caller names its alias."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from firstboot.domain.clock import utc_now
from infra.bundling import Asset
from infra.configuration import ColdStart, Configuration, Domain
from tests.infra.conftest import DOMAIN, ROOT, Synthesised, alone, run_app, spell, spelled, synthesise
from tests.infra.test_assign import ISSUER
from tests.infra.test_stack import ROUTES, RULES

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

WAITED_FOR = {"Exchange", "ExchangeMqtt", "ExchangePublic", "Vend", "VendMqtt", "VendPublic", "Assign"}
RESERVED = {"ExchangeMqtt": 50, "VendMqtt": 50, "Presence": 50, "ExchangePublic": 40, "VendPublic": 40}
SETTINGS: dict[str, object] = {"snapStart": "snapStart", "provisioned": {"provisioned": 40}}
FUNCTION, ALIAS, VERSION = "AWS::Lambda::Function", "AWS::Lambda::Alias", "AWS::Lambda::Version"


def context(folder: Path, setting: object) -> dict[str, Any]:
    """Return the context of a stack with both hosts and with token issuers."""
    fleet = folder / "fleet"
    if not fleet.exists():
        shutil.copytree(ROOT / "fleet", fleet)
        definition = fleet / "fleet.toml"
        definition.write_text(definition.read_text().replace('= "registry"', '= "token"') + ISSUER)
    return {"domain": DOMAIN, "fleet": str(fleet), "publicConcurrency": 40, "coldStart": setting}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of this module's fleet and stacks."""
    return tmp_path_factory.mktemp("cold")


@pytest.fixture(scope="module", params=sorted(SETTINGS))
def faster(request: pytest.FixtureRequest, folder: Path) -> Synthesised:
    """Return the stack with each value of the setting."""
    return synthesise(folder / request.param, **context(folder, SETTINGS[request.param]))


def provisioned(stack: Synthesised) -> bool:
    """Return whether the stack has a provisioned concurrency."""
    return "ProvisionedConcurrencyConfig" in json.dumps(stack.template)


def test_nothing_is_published_by_default(stack: Synthesised, mtls_stack: Synthesised) -> None:
    """Without the setting the stack has no version, no alias and no SnapStart."""
    for each in (stack, mtls_stack):
        assert not each.resources(ALIAS)
        assert not each.resources(VERSION)
        assert "SnapStart" not in json.dumps(each.template)


def test_what_devices_wait_for_has_an_alias(faster: Synthesised) -> None:
    """Each function for which a device waits, and no other one, has the alias `live` of its version."""
    aliases = faster.resources(ALIAS)
    assert set(aliases) == {f"{name}Live" for name in WAITED_FOR}
    versions = {
        name: spell(made["Properties"]["FunctionName"])
        for name, made in faster.template["Resources"].items()
        if made["Type"] == VERSION
    }
    assert set(versions.values()) == {f"${{{name}}}" for name in WAITED_FOR}
    for name in WAITED_FOR:
        made = aliases[f"{name}Live"]["Properties"]
        assert (spell(made["FunctionName"]), made["Name"]) == (f"${{{name}}}", "live")
        version, attribute = made["FunctionVersion"]["Fn::GetAtt"]
        assert (versions[version], attribute) == (f"${{{name}}}", "Version")


def test_it_is_snap_start_or_provisioned(faster: Synthesised) -> None:
    """The same functions have either SnapStart or the setting's provisioned concurrency."""
    functions = faster.resources(FUNCTION)
    snapped = {name for name, each in functions.items() if "SnapStart" in each["Properties"]}
    kept = {
        each["Properties"]["ProvisionedConcurrencyConfig"]["ProvisionedConcurrentExecutions"]
        for each in faster.resources(ALIAS).values()
        if "ProvisionedConcurrencyConfig" in each["Properties"]
    }
    assert (snapped, kept) == ((set(), {40}) if provisioned(faster) else (WAITED_FOR, set()))
    for name in snapped:
        assert functions[name]["Properties"]["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    reserved = {
        name: each["Properties"]["ReservedConcurrentExecutions"]
        for name, each in functions.items()
        if "ReservedConcurrentExecutions" in each["Properties"]
    }
    assert reserved == RESERVED  # of the function, which AWS shares among its versions


def test_the_routes_lead_to_the_aliases(faster: Synthesised) -> None:
    """Each route of both hosts invokes the alias of its host's function, which it may."""
    integrations = faster.resources("AWS::ApiGatewayV2::Integration")
    uris = {
        f"${{{name}}}": spell(each["Properties"]["IntegrationUri"]) for name, each in integrations.items()
    }
    found: dict[str, dict[str, str]] = {"MtlsApi": {}, "Api": {}}
    for route in faster.resources("AWS::ApiGatewayV2::Route").values():
        made = spelled(route["Properties"])
        host = made["ApiId"].strip("${}")
        found[host][made["RouteKey"]] = uris[made["Target"].removeprefix("integrations/")]
        # The permission exists before the route leads to the alias.
        assert any("Permission" in each for each in route["DependsOn"])
    assert found["MtlsApi"] == {key: f"${{{name}Live}}" for key, name in ROUTES.items()}
    assert found["Api"] == {key: f"${{{name}PublicLive}}" for key, name in ROUTES.items()}


def test_the_rules_and_the_authorizer_name_the_aliases(faster: Synthesised) -> None:
    """Topic rules and the authorizer invoke aliases. `presence`, for which no device waits, has none."""
    rules = faster.resources("AWS::IoT::TopicRule")
    for rule, (function, _) in RULES.items():
        (action,) = spelled(rules[f"Mqtt{rule}"]["Properties"]["TopicRulePayload"]["Actions"])
        named = "${Presence.Arn}" if function == "Presence" else f"${{{function}Live}}"
        assert action == {"Lambda": {"FunctionArn": named}}
    (authorizer,) = faster.resources("AWS::IoT::Authorizer").values()
    assert spell(authorizer["Properties"]["AuthorizerFunctionArn"]) == "${AssignLive}"


def test_the_permissions_are_the_aliases(faster: Synthesised) -> None:
    """Each permission is bound to its source's ARN. None is left on a function that has an alias."""
    allowed = set()
    for permission in faster.resources("AWS::Lambda::Permission").values():
        made = spelled(permission["Properties"])
        assert made["Action"] == "lambda:InvokeFunction"
        allowed.add((made["Principal"].partition(".")[0], made["SourceArn"], made["FunctionName"]))
    requests = {rule: name for rule, (name, _) in RULES.items() if name != "Presence"}
    assert {(source, who) for by, source, who in allowed if by == "iot"} == {
        *((f"${{Mqtt{rule}.Arn}}", f"${{{name}Live}}") for rule, name in requests.items()),
        ("${MqttConnected.Arn}", "${Presence.Arn}"),
        ("${AssignAuthorizer.Arn}", "${AssignLive}"),
    }
    calls = {(source.rpartition(":${")[2], who) for by, source, who in allowed if by == "apigateway"}
    paths = {key: f"/*/*{key.partition(' ')[2]}" for key in ROUTES}
    assert calls == {
        (f"{host}}}{paths[key]}", f"${{{name}{suffix}}}")
        for host, suffix in (("MtlsApi", "Live"), ("Api", "PublicLive"))
        for key, name in ROUTES.items()
    }
    assert not {f"${{{name}.Arn}}" for name in WAITED_FOR} & {who for *_, who in allowed}


def test_failures_of_an_alias_are_kept(faster: Synthesised) -> None:
    """The maximum age, the one retry and the queue are those of the alias that a topic rule invokes."""
    found = {}
    for each in faster.resources("AWS::Lambda::EventInvokeConfig").values():
        made = each["Properties"]
        qualifier = made["Qualifier"]
        if isinstance(qualifier, dict):  # the last part of the alias's ARN
            number, (separator, of) = qualifier["Fn::Select"][0], qualifier["Fn::Select"][1]["Fn::Split"]
            assert (number, separator) == (7, ":")
            qualifier = spell(of)
        assert (made["MaximumEventAgeInSeconds"], made["MaximumRetryAttempts"]) == (120, 1)
        assert spelled(made["DestinationConfig"]) == {"OnFailure": {"Destination": "${MqttUndelivered.Arn}"}}
        found[spell(made["FunctionName"])] = qualifier
    assert found == {
        "${ExchangeMqtt}": "${ExchangeMqttLive}",
        "${VendMqtt}": "${VendMqttLive}",
        "${Presence}": "$LATEST",
    }


def test_the_alarms_count_all_versions(faster: Synthesised) -> None:
    """An alarm names a function alone, under which Lambda counts the calls of all its versions and aliases.

    Lambda developer guide, "Types of metrics for Lambda functions".
    """
    alarms = faster.resources("AWS::CloudWatch::Alarm")
    for name in WAITED_FOR:
        for kind in ("Errors", "Throttles"):
            made = spelled(alarms[f"Alarms{name}{kind}"]["Properties"]["Dimensions"])
            assert made == [{"Name": "FunctionName", "Value": f"${{{name}}}"}]


def test_a_version_follows_the_code_and_the_configuration(faster: Synthesised, folder: Path) -> None:
    """A function with another setting is another version. A version before is not retained."""

    def versions(stack: Synthesised) -> dict[str, Any]:
        made = stack.template["Resources"]
        return {name: each for name, each in made.items() if each["Type"] == VERSION}

    before = versions(faster)
    assert not any("DeletionPolicy" in each for each in before.values())
    name = "provisioned" if provisioned(faster) else "snapStart"
    other = synthesise(folder / f"{name}-changed", **context(folder, SETTINGS[name]), fleetRefresh=61)
    assert not before.keys() & versions(other).keys()


def test_cfn_lint_finds_nothing(faster: Synthesised) -> None:
    """cfn-lint accepts the template with aliases and versions."""
    command = [Path(sys.executable).with_name("cfn-lint"), faster.folder / "Firstboot.template.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_synth_accepts_it(folder: Path) -> None:
    """CDK's rules, cdk-nag and the check of AWS's limits find nothing with the setting on."""
    done = run_app(
        folder / "validated",
        {"aws:cdk:bundling-stacks": [], **context(folder, "snapStart")},
        CDK_VALIDATION="true",
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "value",
    [
        *("provisioned", "", True, 5, {}, {"snapStart": True}),
        *({"provisioned": count} for count in (0, -1, True, "5")),
        {"provisioned": 5, "snapStart": True},
    ],
)
def test_another_value_is_refused(value: object) -> None:
    """The setting is null, "snapStart", or a provisioned concurrency of at least 1."""
    with pytest.raises(ValueError, match="coldStart"):
        ColdStart.of(value)


def test_not_more_is_provisioned_than_reserved() -> None:
    """AWS refuses to provision more than is reserved, and so does the configuration. 0 reserves nothing."""
    fleet, keeping = ROOT / "fleet", ColdStart(provisioned=51)
    with pytest.raises(ValueError, match="mqttConcurrency reserves only 50"):
        Configuration(fleet=fleet, cold_start=keeping)
    with pytest.raises(ValueError, match="publicConcurrency reserves only 50"):
        Configuration(fleet=fleet, cold_start=keeping, mqtt_concurrency=0, domain=Domain("d", "arn"))
    for domain, public in ((None, True), (Domain("d", "arn"), False)):
        Configuration(fleet=fleet, cold_start=keeping, mqtt_concurrency=0, domain=domain, public=public)
    Configuration(fleet=fleet, cold_start=ColdStart(provisioned=50))
    Configuration(fleet=fleet, cold_start=ColdStart(snap_start=True), mqtt_concurrency=1)


# The program below imports the Lambda files as Lambda does before a snapshot. It fails if an import draws a
# random number that all restored environments would share, makes a socket or a TLS context, or looks for
# credentials.
SNAPSHOT = """
import random, socket, ssl, sys
begun = random.getstate()
def refuse(*arguments, **named):
    raise AssertionError("made before the snapshot")
socket.socket.__init__ = ssl.SSLContext.__new__ = refuse
"""

UNMADE = """
from firstboot.aws import client, connections
assert random.getstate() == begun
made = [client.loader, connections.connections]
assert all(each.cache_info().currsize == 0 for each in made), made
found = {"botocore.credentials", "botocore.session", "firstboot.aws.local_host"} & sys.modules.keys()
assert not found, found
"""

# The program below makes an AWS client as the first request does, and prints a random number after it.
FIRST_REQUEST = """
import random
from firstboot.aws import clients
random.seed(1)
clients.kms()
print(random.random())
"""

# The program below is restored from a snapshot: the environment learns where the credentials are after the
# imports. It prints what signs each of three requests.
RESTORED = """
import os
from firstboot.aws import clients
os.environ |= {restored}
def send(client, operation, request):
    key = request.headers["Authorization"].split("/")[0].split("=")[1]
    print(key, request.headers["X-Amz-Security-Token"])
    raise KeyboardInterrupt
clients.Client.send = send
for _ in range(3):
    try:
        clients.kms().sign(KeyId="k", Message=b"m", SigningAlgorithm="ECDSA_SHA_256")
    except KeyboardInterrupt:
        pass
"""


def test_a_snapshot_holds_imports_only(assets: dict[str, Asset]) -> None:
    """The imports of what devices call make no socket, TLS context or random number.

    They do not look for credentials. No setting or credential is in the environment, as if the snapshot were
    taken without them.
    """
    for name in ("exchange", "vend", "assign"):
        done = alone(assets[name].folder, SNAPSHOT + f"import {name}\n" + UNMADE)
        assert done.returncode == 0, done.stderr


def test_restored_environments_wait_for_different_times(asset: Path) -> None:
    """The first request begins another sequence of random numbers than that of the snapshot."""
    first, second = (alone(asset, FIRST_REQUEST, AWS_REGION="us-east-1").stdout for _ in range(2))
    assert first != second
    assert float(first)
    assert float(second)


class Credentials(BaseHTTPRequestHandler):
    """The local host from which a restored environment gets its credentials."""

    minutes = 360
    answered = 0

    def do_GET(self) -> None:
        """Answer with credentials, if the request has the token."""
        assert self.headers["Authorization"] == "a token"
        body = {"AccessKeyId": "AKIARESTORED", "SecretAccessKey": "secret", "Token": "t"}
        type(self).answered += 1
        end = utc_now() + timedelta(minutes=self.minutes)
        text = json.dumps(body | {"Expiration": f"{end:%Y-%m-%dT%H:%M:%SZ}"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def local_credentials() -> Iterator[str]:
    """Return the URL of a server of credentials on this machine."""
    server = HTTPServer(("127.0.0.1", 0), Credentials)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/credentials"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("minutes", "is_soon"), [(360, False), (5, True)])
def test_a_restored_environment_finds_its_credentials(
    asset: Path, local_credentials: str, monkeypatch: pytest.MonkeyPatch, minutes: int, *, is_soon: bool
) -> None:
    """The asset's AWS client signs with the local host's credentials, and fetches them again before they end.

    Lambda developer guide, "Activating and managing Lambda SnapStart", "Using SnapStart with AWS SDKs".
    """
    monkeypatch.setattr(Credentials, "minutes", minutes)
    monkeypatch.setattr(Credentials, "answered", 0)
    restored = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": local_credentials,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "a token",
    }
    done = alone(asset, RESTORED.format(restored=restored), AWS_REGION="us-east-1")
    assert done.stdout.splitlines() == ["AKIARESTORED t"] * 3, done.stderr
    assert (Credentials.answered > 2) == is_soon
