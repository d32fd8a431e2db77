"""The public host and the mTLS host: what each has for itself, and what a stack with one of them has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.configuration import Configuration, Domain
from tests import factories
from tests.infra.conftest import (
    DOMAIN,
    ROOT,
    Synthesised,
    run_app,
    spell,
    spelled,
    synthesise,
    without_public_host,
)
from tests.infra.test_stack import ROUTES

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

PUBLIC, MTLS = "${Api}", "${MtlsApi}"


def stages(stack: Synthesised) -> dict[str, dict[str, Any]]:
    """Return the properties of each API's stage, by API."""
    made = stack.resources("AWS::ApiGatewayV2::Stage").values()
    return {spell(each["Properties"]["ApiId"]): each["Properties"] for each in made}


def routes(stack: Synthesised) -> dict[str, dict[str, str]]:
    """Return the Lambda of each route, by API."""
    integrations = stack.resources("AWS::ApiGatewayV2::Integration")
    uris = {name: spell(made["Properties"]["IntegrationUri"]) for name, made in integrations.items()}
    found: dict[str, dict[str, str]] = {}
    for route in stack.resources("AWS::ApiGatewayV2::Route").values():
        made = route["Properties"]
        target = spell(made["Target"]).removeprefix("integrations/${").removesuffix("}")
        function = uris[target].removeprefix("${").removesuffix(".Arn}")
        found.setdefault(spell(made["ApiId"]), {})[made["RouteKey"]] = function
    return found


def functions(stack: Synthesised) -> dict[str, dict[str, Any]]:
    """Return the properties of each Lambda."""
    found = stack.resources("AWS::Lambda::Function")
    return {name: spelled(made["Properties"]) for name, made in found.items()}


def outputs(stack: Synthesised) -> dict[str, str]:
    """Return the stack's outputs."""
    return {name: spell(output["Value"]) for name, output in stack.template["Outputs"].items()}


def test_a_domain_gets_mtls(mtls_stack: Synthesised) -> None:
    """The mTLS host demands a certificate under the deployment's version of the truststore."""
    (host,) = mtls_stack.resources("AWS::ApiGatewayV2::DomainName").values()
    made = host["Properties"]
    assert made["DomainName"] == DOMAIN["name"]
    (configuration,) = made["DomainNameConfigurations"]
    assert configuration["CertificateArn"] == DOMAIN["certificateArn"]
    assert configuration["SecurityPolicy"] == "TLS_1_2"
    trust = made["MutualTlsAuthentication"]
    assert spell(trust["TruststoreUri"]) == "s3://${Store}/truststore/truststore.pem"
    assert spell(trust["TruststoreVersion"]) == "${AuthorityCertificate.TruststoreVersion}"


def test_the_domain_is_the_only_way_to_its_api(mtls_stack: Synthesised) -> None:
    """The domain maps to an API without an address of its own, where a client would need no certificate."""
    apis = mtls_stack.resources("AWS::ApiGatewayV2::Api")
    closed = {name: made["Properties"].get("DisableExecuteApiEndpoint") for name, made in apis.items()}
    assert closed == {"Api": None, "MtlsApi": True}
    (mapping,) = mtls_stack.resources("AWS::ApiGatewayV2::ApiMapping").values()
    found = spelled(mapping["Properties"])
    assert found == {"ApiId": MTLS, "DomainName": "${MtlsHost}", "Stage": "${MtlsApiStage}"}


def test_both_hosts_answer_the_same_calls(mtls_stack: Synthesised) -> None:
    """Each host has all routes. Those of the public host lead to functions that only it has."""
    assert routes(mtls_stack) == {
        MTLS: ROUTES,
        PUBLIC: {key: f"{function}Public" for key, function in ROUTES.items()},
    }


def test_the_public_host_has_its_own_concurrency(mtls_stack: Synthesised, stack: Synthesised) -> None:
    """The public host's functions differ from the others in a reserved concurrency only.

    They have the same role and log, so nothing may do more with a domain than without.
    """
    found = functions(mtls_stack)
    for name in ("Exchange", "Vend"):
        assert found[f"{name}Public"] == found[name] | {"ReservedConcurrentExecutions": 50}
        assert "ReservedConcurrentExecutions" not in found[name]
    for kind in ("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::KMS::Key"):
        assert mtls_stack.resources(kind) == stack.resources(kind)


def test_hosts_share_no_throttle(mtls_stack: Synthesised, stack: Synthesised) -> None:
    """Each host has throttles and an access log of its own.

    Both hosts together let in no more commits than KMS signs (1,000 a second), and no more requests for
    credentials than STS answers (600 a second).
    """
    hosts = stages(mtls_stack)
    assert set(hosts) == {PUBLIC, MTLS}
    for key, each in hosts[MTLS]["RouteSettings"].items():
        half = {name: limit // 2 for name, limit in each.items()}
        assert hosts[PUBLIC]["RouteSettings"][key] == half
    assert stages(stack)[PUBLIC]["RouteSettings"] == hosts[MTLS]["RouteSettings"]
    for key, quota in {
        "POST /v1/certificates/commit": 1_000,
        "GET /role-aliases/{alias}/credentials": 600,
    }.items():
        rates = [host["RouteSettings"][key]["ThrottlingRateLimit"] for host in hosts.values()]
        assert sum(rates) <= quota
    logs = {spell(host["AccessLogSettings"]["DestinationArn"]) for host in hosts.values()}
    assert logs == {"${ApiVendedLog.Arn}", "${MtlsApiVendedLog.Arn}"}


def test_access_logs_are_where_aws_needs_no_policy(mtls_stack: Synthesised) -> None:
    """Each access log is below `/aws/vendedlogs/`, under a name that no other stack has.

    A deployment that is rolled back leaves no log group, and every other end of the stack does.
    """
    stack_id = {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}
    unique = {"Fn::Select": [4, {"Fn::Split": ["-", {"Fn::Select": [2, stack_id]}]}]}
    groups = mtls_stack.resources("AWS::Logs::LogGroup")
    for name in ("Api", "MtlsApi"):
        made = groups[f"{name}VendedLog"]
        assert made["Properties"]["LogGroupName"] == {
            "Fn::Join": ["", ["/aws/vendedlogs/Firstboot-", unique, f"/{name}"]]
        }
        assert (made["DeletionPolicy"], made["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")


def test_an_imported_certificate_needs_a_proof_of_ownership(tmp_path: Path, mtls_stack: Synthesised) -> None:
    """The domain names a second certificate if the setting does, and otherwise none."""

    def host(stack: Synthesised) -> dict[str, Any]:
        (made,) = stack.resources("AWS::ApiGatewayV2::DomainName").values()
        (configuration,) = made["Properties"]["DomainNameConfigurations"]
        return dict(configuration)

    member = "OwnershipVerificationCertificateArn"
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/owned"
    domain = DOMAIN | {"ownershipVerificationCertificateArn": arn}
    assert host(synthesise(tmp_path, domain=domain))[member] == arn
    assert member not in host(mtls_stack)
    with pytest.raises(ValueError, match="unknown member ownershipArn"):
        Domain.of(DOMAIN | {"ownershipArn": arn})


def test_each_api_invokes_its_own_functions(mtls_stack: Synthesised) -> None:
    """Each API may invoke the functions of its routes, and no other."""
    permissions = [
        spelled(each["Properties"]) for each in mtls_stack.resources("AWS::Lambda::Permission").values()
    ]
    for api, lambdas in routes(mtls_stack).items():
        found = {
            (each["SourceArn"].rpartition("/*/*")[2], each["FunctionName"])
            for each in permissions
            if f":{api}/" in each["SourceArn"]
        }
        paths = {(key.partition(" ")[2], f"${{{name}.Arn}}") for key, name in lambdas.items()}
        assert found == paths


def test_a_route_leads_to_no_function_that_may_not_be_invoked(mtls_stack: Synthesised) -> None:
    """Each route is made or changed after the permission to invoke its function, so an update has no gap.

    The domain's mapping names the stage, which follows the routes.
    """
    permissions = mtls_stack.resources("AWS::Lambda::Permission")
    for name, route in mtls_stack.resources("AWS::ApiGatewayV2::Route").items():
        waits = {spell(each) for each in route["DependsOn"]}
        (permission,) = (each for each in permissions if each.startswith(name) and each in waits)
        invoking = spelled(permissions[permission]["Properties"])
        assert (
            invoking["SourceArn"].rpartition("/*/*")[2] == route["Properties"]["RouteKey"].partition(" ")[2]
        )
    for stage in mtls_stack.resources("AWS::ApiGatewayV2::Stage").values():
        api = spell(stage["Properties"]["ApiId"]).removeprefix("${").removesuffix("}")
        own = {
            name
            for name in mtls_stack.resources("AWS::ApiGatewayV2::Route")
            if name.startswith(f"{api}Route")
        }
        assert own <= set(map(spell, stage["DependsOn"]))


def test_each_host_alarms(mtls_stack: Synthesised) -> None:
    """Each host has an alarm on 5xx, and one on the calls with 429 that its access log has."""
    alarms = mtls_stack.resources("AWS::CloudWatch::Alarm")
    for name, api in {"": PUBLIC, "Mtls": MTLS}.items():
        failing = alarms[f"Alarms{name}ServerErrors"]["Properties"]
        assert spelled(failing["Dimensions"]) == [{"Name": "ApiId", "Value": api}]
    filters = mtls_stack.resources("AWS::Logs::MetricFilter")
    for name, host in {"Api": "Public", "MtlsApi": "Mtls"}.items():
        counting = spelled(filters[f"{name}Throttled"]["Properties"])
        assert counting["LogGroupName"] == f"${{{name}VendedLog}}"
        assert counting["FilterPattern"] == '{ $.status = "429" }'
        (counted,) = counting["MetricTransformations"]
        alarm = alarms[f"Alarms{host}HostThrottled"]["Properties"]
        assert (counted["MetricNamespace"], counted["MetricName"]) == ("Firstboot", f"{host}HostThrottled")
        assert (alarm["Namespace"], alarm["MetricName"]) == ("Firstboot", f"{host}HostThrottled")
    for function in ("ExchangePublic", "VendPublic"):
        assert {f"Alarms{function}Errors", f"Alarms{function}Throttles"} <= set(alarms)


def test_the_outputs_name_both_hosts(mtls_stack: Synthesised, stack: Synthesised) -> None:
    """A domain adds three outputs and changes none."""
    before, after = outputs(stack), outputs(mtls_stack)
    assert before.items() <= after.items()
    assert {name: after[name] for name in after.keys() - before.keys()} == {
        "MtlsUrl": "https://devices.example.com",
        "MtlsAlias": "${MtlsHost.RegionalDomainName}",
        "MtlsApiId": MTLS,
    }


def test_a_stack_may_have_the_mtls_host_only(mtls_only_stack: Synthesised, mtls_stack: Synthesised) -> None:
    """Without a public host there is one API, reached through the domain only, and the next steps use it."""
    assert routes(mtls_only_stack) == {MTLS: ROUTES}
    assert not {name for name in functions(mtls_only_stack) if name.endswith("Public")}
    found = outputs(mtls_only_stack)
    assert found.keys() - outputs(mtls_stack).keys() == set()
    assert outputs(mtls_stack).keys() - found.keys() == {"PublicUrl"}
    assert found["ApiId"] == found["MtlsApiId"] == MTLS
    boots = [text for name, text in found.items() if name.startswith("Next") and " device boot " in text]
    assert [re.findall(r"--(?:public|mtls) \S+", text) for text in boots] == [
        ["--mtls https://devices.example.com"]
    ]
    operate = functions(mtls_only_stack)["Operate"]["Environment"]["Variables"]
    assert operate["FIRSTBOOT_PUBLIC_HOST"] == "false"
    assert "AlarmsServerErrors" in mtls_only_stack.resources("AWS::CloudWatch::Alarm")


def test_no_host_at_all_is_refused() -> None:
    """A stack without a domain needs the public host, and no concurrency is negative."""
    with pytest.raises(ValueError, match="public is false and there is no domain"):
        Configuration(fleet=ROOT / "fleet", public=False)
    with pytest.raises(ValueError, match="publicConcurrency"):
        Configuration(fleet=ROOT / "fleet", public_concurrency=-1)


def test_a_fleet_that_needs_the_public_host_is_refused(tmp_path: Path) -> None:
    """The synth without a public host names each group whose expired certificates may renew."""
    done = run_app(tmp_path, {"aws:cdk:bundling-stacks": [], "domain": DOMAIN, "public": "false"})
    assert done.returncode == 1
    assert "fleet.toml: groups.gateways: certificate.grace_days is 90" in done.stderr
    assert "fleet.toml: groups.sensors: certificate.grace_days is 180" in done.stderr
    assert "Traceback" not in done.stderr


def test_anchors_with_cas_below_them_are_a_warning(tmp_path: Path, mtls_only_stack: Synthesised) -> None:
    """Without a public host, the synth warns of each anchor whose devices may need intermediate certificates.

    It can't refuse the anchor, because only a device's certificate shows what it needs.
    """

    def said(stack: Synthesised) -> str:
        return "".join(each.read_text() for each in stack.folder.glob("*.json"))

    anchor = factories.pem(factories.authority("Root CA").certificate)
    stack = without_public_host(tmp_path, acme_factory=anchor)
    assert "groups.gateways: CN=Root CA may have CAs below it" in said(stack)
    assert "may have CAs below it" not in said(mtls_only_stack)


def with_ways(folder: Path, *ways: str, **context: object) -> subprocess.CompletedProcess[str]:
    """Synthesise the stack into `folder`/out. Its first group has these ways, and no group has grace days."""
    shutil.copytree(ROOT / "fleet", folder / "fleet")
    definition = folder / "fleet/fleet.toml"
    text = re.sub(r"grace_days = \d+", "grace_days = 0", definition.read_text())
    definition.write_text(text.replace("\ntrust ", f"\nways = {list(ways)}\ntrust ", 1))
    options = {"aws:cdk:bundling-stacks": [], "fleet": str(folder / "fleet"), **context}
    return run_app(folder / "out", options)


def test_a_way_that_needs_the_public_host_is_refused(tmp_path: Path) -> None:
    """The synth without a public host names the group's way whose clients have no certificate in TLS."""
    done = with_ways(tmp_path, "mtls", "proof", domain=DOMAIN, public="false")
    assert done.returncode == 1
    assert "fleet.toml: groups.gateways: ways has proof, which needs the public host" in done.stderr


def test_a_way_that_needs_the_mtls_host_is_a_warning(tmp_path: Path) -> None:
    """The synth without a domain warns of a group's way that needs the mTLS host."""
    done = with_ways(tmp_path, "mtls", "mqtt")
    assert done.returncode == 0, done.stderr
    said = "".join(each.read_text() for each in (tmp_path / "out").glob("*.json"))
    assert "groups.gateways: ways has mtls, which needs the mTLS host" in said
