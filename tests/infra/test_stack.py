"""The resources around the Lambdas (storage, API, topic rules, alarms, outputs), and what linters find in
them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from console.account import BOOTSTRAP_VERSION
from firstboot.compiler.fleet import load
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import CERTIFICATES_PREFIX
from infra.steps import steps
from tests.infra.conftest import ROOT, Resource, Synthesised, run_app, spell, spelled

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

STATEFUL = {"AWS::DynamoDB::GlobalTable", "AWS::KMS::Key", "AWS::Logs::LogGroup", "AWS::S3::Bucket"}
STATELESS = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Integration",
    "AWS::ApiGatewayV2::Route",
    "AWS::ApiGatewayV2::Stage",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::InsightRule",
    "AWS::Events::Rule",
    "AWS::IAM::Policy",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::IoT::CACertificate",
    "AWS::IoT::TopicRule",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
    "AWS::Logs::MetricFilter",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::SSM::Parameter",
    "Custom::FirstbootAuthority",
    "Custom::FirstbootPublication",
}
ROUTES = {
    "POST /v1/certificates": "Exchange",
    "POST /v1/certificates/commit": "Exchange",
    "GET /v1/device": "Vend",
    "GET /role-aliases/{alias}/credentials": "Vend",
    "GET /v1/nonce": "Exchange",
    "GET /healthz": "Exchange",
    "$default": "Exchange",
}


SELECT = (
    "SELECT encode(*, 'base64') AS payload, clientid() AS clientId, principal() AS principal, "
    "topic() AS topic FROM '{}' WHERE clientid() = topic(2)"
)
RULES = {
    "CertificatesRequest": ("ExchangeMqtt", SELECT.format("firstboot/+/certificates/request")),
    "CertificatesCommit": ("ExchangeMqtt", SELECT.format("firstboot/+/certificates/commit")),
    "CredentialsRequest": ("VendMqtt", SELECT.format("firstboot/+/credentials/request")),
    "Connected": (
        "Presence",
        "SELECT clientId, principalIdentifier FROM '$aws/events/presence/connected/+'",
    ),
}


def one(stack: Synthesised, kind: str) -> Any:
    """Return the properties of the only resource of a type."""
    (resource,) = stack.resources(kind).values()
    return resource["Properties"]


def test_everything_stateful_is_retained(stack: Synthesised) -> None:
    """Deleting the stack or replacing a resource deletes no records, keys, certificates or logs."""
    resources: list[Resource] = list(stack.template["Resources"].values())
    assert {resource["Type"] for resource in resources} == STATEFUL | STATELESS
    for resource in resources:
        if resource["Type"] in STATEFUL:
            # A group with a name of its own must not stand in the way of the next attempt to make it.
            named = "LogGroupName" in resource.get("Properties", {})
            kept = "RetainExceptOnCreate" if named else "Retain"
            assert resource["DeletionPolicy"] == kept, resource
            assert resource["UpdateReplacePolicy"] == "Retain", resource


def test_a_second_stack_fails_before_it_makes_anything(stack: Synthesised, mtls_stack: Synthesised) -> None:
    """Every resource is made after the parameter whose name is taken if there is another stack."""
    for variant in (stack, mtls_stack):
        (only,) = variant.resources("AWS::SSM::Parameter").values()
        assert only["Properties"]["Name"] == "/firstboot/one-stack-per-account-and-region"
        assert only["Properties"]["Value"] == "Firstboot"
        # CloudFormation deletes it with the stack, so that the next stack can be deployed.
        assert "DeletionPolicy" not in only
        (name,) = (
            each for each, made in variant.template["Resources"].items() if made["Type"] == only["Type"]
        )
        others = {each: made for each, made in variant.template["Resources"].items() if each != name}
        assert {each for each, made in others.items() if name not in made.get("DependsOn", [])} == set()
        assert "DependsOn" not in only


def test_logs_expire(stack: Synthesised) -> None:
    """CloudWatch keeps each log for 90 days."""
    groups = stack.resources("AWS::Logs::LogGroup")
    assert {group["Properties"]["RetentionInDays"] for group in groups.values()} == {90}


def test_the_table(stack: Synthesised) -> None:
    """The table is billed on demand, has point-in-time recovery and a time to live, and refuses deletion."""
    table = one(stack, "AWS::DynamoDB::GlobalTable")
    assert table["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    (replica,) = table["Replicas"]
    assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert replica["DeletionProtectionEnabled"]


def test_the_bucket(stack: Synthesised) -> None:
    """The bucket is versioned, and closed to the public."""
    bucket = one(stack, "AWS::S3::Bucket")
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4


def test_certificates_are_kept_for_good(stack: Synthesised, mtls_stack: Synthesised) -> None:
    """No lifecycle rule touches the stored certificates, and no role may delete an object."""
    for each in (stack, mtls_stack):
        bucket = one(each, "AWS::S3::Bucket")
        for rule in bucket.get("LifecycleConfiguration", {"Rules": []})["Rules"]:
            prefix = rule.get("Prefix", "")
            assert prefix
            assert not prefix.startswith(CERTIFICATES_PREFIX)
            assert not CERTIFICATES_PREFIX.startswith(prefix)
        assert "s3:Delete" not in json.dumps(each.resources("AWS::IAM::Policy"))


def test_the_key_signs_p256(stack: Synthesised) -> None:
    """The CA's key is for signatures on P-256."""
    key = one(stack, "AWS::KMS::Key")
    assert (key["KeySpec"], key["KeyUsage"]) == ("ECC_NIST_P256", "SIGN_VERIFY")


def test_the_authority_runs_again_for_other_anchors(stack: Synthesised, mtls_stack: Synthesised) -> None:
    """The custom resource has a property for the table and for each input of the CA and the truststore."""
    properties = one(stack, "Custom::FirstbootAuthority")
    assert set(properties) == {"ServiceToken", "Anchors", "Key", "Subject", "Table", "Years"}
    assert one(mtls_stack, "Custom::FirstbootAuthority")["Anchors"] == properties["Anchors"]


def test_the_routes(stack: Synthesised) -> None:
    """Each route, and the default one, invokes its Lambda with events of payload format 2.0."""
    integrations = stack.resources("AWS::ApiGatewayV2::Integration")
    lambdas = {name: spell(made["Properties"]["IntegrationUri"]) for name, made in integrations.items()}
    found = {}
    for route in stack.resources("AWS::ApiGatewayV2::Route").values():
        target = spell(route["Properties"]["Target"]).removeprefix("integrations/${").removesuffix("}")
        found[route["Properties"]["RouteKey"]] = lambdas[target].removeprefix("${").removesuffix(".Arn}")
    assert found == ROUTES
    payloads = {made["Properties"]["PayloadFormatVersion"] for made in integrations.values()}
    assert payloads == {"2.0"}


def test_every_route_is_throttled(stack: Synthesised) -> None:
    """The gateway throttles each route, and also requests that match none."""
    stage = one(stack, "AWS::ApiGatewayV2::Stage")
    assert stage["StageName"] == "$default"
    assert set(stage["RouteSettings"]) == set(ROUTES)
    for limits in (stage["DefaultRouteSettings"], *stage["RouteSettings"].values()):
        assert 0 < limits["ThrottlingBurstLimit"] <= 2 * limits["ThrottlingRateLimit"] < 4_000


def test_the_stage_waits_for_its_routes(stack: Synthesised) -> None:
    """The stage, which sets the limits of routes, is deployed after the routes."""
    (stage,) = stack.resources("AWS::ApiGatewayV2::Stage").values()
    assert set(stack.resources("AWS::ApiGatewayV2::Route")) <= set(map(spell, stage["DependsOn"]))


def test_the_access_log_keeps_no_secret(stack: Synthesised) -> None:
    """The access log has no header, query, raw path, authorizer or PEM field."""
    settings = one(stack, "AWS::ApiGatewayV2::Stage")["AccessLogSettings"]
    assert spell(settings["DestinationArn"]) == "${ApiVendedLog.Arn}"
    values = set(json.loads(settings["Format"]).values())
    assert {"$context.requestId", "$context.routeKey", "$context.status"} <= values
    assert not any(word in settings["Format"] for word in ("header", "query", "path", "authorizer", "Pem"))


def test_only_our_api_and_schedule_invoke(stack: Synthesised) -> None:
    """Each permission to invoke is bound to its source's ARN."""
    allowed = set()
    for permission in stack.resources("AWS::Lambda::Permission").values():
        made = permission["Properties"]
        assert made["Action"] == "lambda:InvokeFunction"
        source = spell(made["SourceArn"]).rpartition(":${Api}")[2]
        allowed.add((made["Principal"].partition(".")[0], source, spell(made["FunctionName"])))
    paths = {key: f"/*/*{key.partition(' ')[2]}" for key in ROUTES}
    gateway = {("apigateway", paths[key], f"${{{name}.Arn}}") for key, name in ROUTES.items()}
    rules = {("iot", f"${{Mqtt{rule}.Arn}}", f"${{{function}.Arn}}") for rule, (function, _) in RULES.items()}
    schedules = {
        ("events", "${AuthorityHourly.Arn}", "${AuthorityWatch.Arn}"),
        ("events", "${SweepEveryMinute.Arn}", "${Sweep.Arn}"),
        ("events", "${SweepPublished.Arn}", "${Sweep.Arn}"),
    }
    assert allowed == gateway | rules | schedules


def test_the_watch_is_hourly(stack: Synthesised) -> None:
    """A rule invokes the CA's watch once an hour."""
    rule = stack.resources("AWS::Events::Rule")["AuthorityHourly"]
    assert rule["Properties"]["ScheduleExpression"] == "rate(1 hour)"


def test_the_alarms(stack: Synthesised) -> None:
    """The stack has exactly the listed alarms, and each of them notifies the topic."""
    alarms = stack.resources("AWS::CloudWatch::Alarm")
    lambdas = ["Exchange", "ExchangeMqtt", "Presence", "Vend", "VendMqtt", "Operate", "Authority", "Watch"]
    lambdas += ["OperateRead", "RegisterWork", "RegisterChanges", "RegisterLost", "Newcomers", "Sweep"]
    expected = {f"Alarms{name}{kind}" for name in lambdas for kind in ("Errors", "Throttles")}
    other = {"ServerErrors", "SessionPolicyTooLarge", "AnswerTooLarge", "EnrollmentFrozen", "CaExpiry"}
    other |= {
        "CertificateDelayed",
        "CertificateForgedExchange",
        "CertificateForgedVend",
        "BootstrapKeyChangedExchange",
        "BootstrapKeyChangedRegister",
        "RenewalRateExceeded",
        "ReenrollmentRateExceeded",
        "NameGuessLimit",
        "Undelivered",
        "RegistrationsDead",
        "RegistrationAge",
        "RegisterFailures",
        "ThingClash",
        "RegisterPoliciesTooLarge",
        "CertificateLost",
        "NewcomersDead",
        "StreamDead",
        "PublicHostThrottled",
        "SweepUnavailable",
        "FleetUnreadable",
        "SessionTokenUtilization",
        "PackedPolicySize",
        "AnswerUtilization",
        "CaKeyUnusable",
        "CaKeyGrants",
        "CaKeyPolicyChanged",
    }
    assert set(alarms) == expected | {f"Alarms{name}" for name in other}
    for alarm in alarms.values():
        assert [spell(action) for action in alarm["Properties"]["AlarmActions"]] == ["${AlarmsTopic}"]


@pytest.mark.parametrize(
    ("name", "metric", "service"),
    [
        ("SessionPolicyTooLarge", "SessionPolicyTooLarge", "vend"),
        ("AnswerTooLarge", "AnswerTooLarge", "vend"),
        ("EnrollmentFrozen", "EnrollmentFrozen", "exchange"),
        ("CertificateDelayed", "CertificateDelayed", "exchange"),
        ("RenewalRateExceeded", "RenewalRateExceeded", "exchange"),
        ("ReenrollmentRateExceeded", "ReenrollmentRateExceeded", "exchange"),
        ("NameGuessLimit", "NameGuessLimit", "exchange"),
        ("CertificateForgedExchange", "CertificateForged", "exchange"),
        ("CertificateForgedVend", "CertificateForged", "vend"),
        ("BootstrapKeyChangedExchange", "BootstrapKeyChanged", "exchange"),
        ("BootstrapKeyChangedRegister", "BootstrapKeyChanged", "register"),
        ("RegisterPoliciesTooLarge", "PoliciesTooLarge", "register"),
    ],
)
def test_a_refusal_that_an_operator_must_see_alarms(
    stack: Synthesised, name: str, metric: str, service: str
) -> None:
    """The alarm watches the namespace, name and dimension under which the Lambda counts."""
    alarm = stack.resources("AWS::CloudWatch::Alarm")[f"Alarms{name}"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("Firstboot", metric)
    assert alarm["Dimensions"] == [{"Name": "service", "Value": service}]


@pytest.mark.parametrize("name", ["SessionTokenUtilization", "PackedPolicySize", "AnswerUtilization"])
def test_an_alarm_rings_before_a_session_is_too_large(stack: Synthesised, name: str) -> None:
    """The largest session of five minutes rings above 80 % of a limit, until a smaller one is the largest."""
    alarm = stack.resources("AWS::CloudWatch::Alarm")[f"Alarms{name}"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("Firstboot", name)
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "vend"}]
    assert (alarm["Statistic"], alarm["Threshold"], alarm["Period"]) == ("Maximum", 80, 300)
    assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == ("GreaterThanThreshold", "ignore")


def test_the_ca_alarm_goes_off_in_time(stack: Synthesised, fleet: Fleet) -> None:
    """The alarm rings while the CA can still issue the longest certificate, and when data is missing."""
    alarm = stack.resources("AWS::CloudWatch::Alarm")["AlarmsCaExpiry"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("Firstboot", "CaDaysLeft")
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "authority"}]
    assert alarm["ComparisonOperator"] == "LessThanThreshold"
    assert alarm["Threshold"] == max(group.certificate.days for group in fleet.groups.values()) + 90
    assert alarm["TreatMissingData"] == "breaching"


@pytest.mark.parametrize("name", ["CaKeyUnusable", "CaKeyGrants", "CaKeyPolicyChanged"])
def test_an_alarm_about_the_key_rings_at_the_first_look(stack: Synthesised, name: str) -> None:
    """The first look that finds something starts the alarm, which lasts until a look finds nothing."""
    alarm = stack.resources("AWS::CloudWatch::Alarm")[f"Alarms{name}"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("Firstboot", name)
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "authority"}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    assert (alarm["Statistic"], alarm["EvaluationPeriods"]) == ("Maximum", 1)
    assert alarm["TreatMissingData"] == "ignore"


def test_the_outputs(stack: Synthesised, fleet: Fleet) -> None:
    """The stack has exactly the listed outputs, and those with the next steps for a new user."""
    outputs = {name: spell(output["Value"]) for name, output in stack.template["Outputs"].items()}
    next_steps = [outputs.pop(name) for name in list(outputs) if name.startswith("Next")]
    assert next_steps == [step.command for step in steps(fleet, "Firstboot", "--public ${Api.ApiEndpoint}")]
    assert outputs == {
        "PublicUrl": "${Api.ApiEndpoint}",
        "ApiId": "${Api}",
        "OperateFunction": "${Operate}",
        "ReadFunction": "${OperateRead}",
        "ExchangeFunction": "${Exchange}",
        "VendFunction": "${Vend}",
        "CertificatesBucket": "${Store}",
        "Table": "${Registry}",
        "CaKey": "${AuthorityKey}",
        "RegistrationQueue": "${RegisterQueuesChanges}",
        "DeadQueue": "${RegisterQueuesDead}",
        "AlarmTopic": "${AlarmsTopic}",
    }


def _but_the_last(resources: dict[str, Resource]) -> dict[str, Resource]:
    """Return the resources without the one that is made after all others."""
    return {name: each for name, each in resources.items() if each["Type"] != "Custom::FirstbootPublication"}


def test_a_publication_ends_after_everything_else(stack: Synthesised, mtls_stack: Synthesised) -> None:
    """The resource that ends publications is made after every other one, so that a failure ends none."""
    for variant in (stack, mtls_stack):
        (last,) = variant.resources("Custom::FirstbootPublication").values()
        assert last["Properties"]["FleetHash"] == load(ROOT / "fleet").hash
        others = {
            name
            for name in _but_the_last(variant.template["Resources"])
            if not name.startswith(("Authority", "CDKMetadata"))
        }
        assert others - set(last["DependsOn"]) == set()


def test_cfn_lint_finds_nothing(mtls_stack: Synthesised) -> None:
    """cfn-lint accepts the template with a domain, which has resources of all types."""
    command = [Path(sys.executable).with_name("cfn-lint"), mtls_stack.folder / "Firstboot.template.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    # A check is silenced on functions only, so that the other resources of an app keep their findings.
    silenced = {"cfn-lint": {"config": {"ignore_checks": ["W3005"]}}}
    assert "Metadata" not in mtls_stack.template
    for resource in mtls_stack.template["Resources"].values():
        expected = silenced if resource["Type"] == "AWS::Lambda::Function" else None
        assert resource.get("Metadata") == expected


def test_a_finding_fails_the_synth(tmp_path: Path) -> None:
    """The synth fails on a finding of cdk-nag that is not acknowledged, and on one by CloudFormation's own
    rules.
    """
    program = (
        "from pathlib import Path\n"
        "from infra.app import application\n"
        "from aws_cdk import aws_sqs\n"
        "app = application(Path())\n"
        "aws_sqs.Queue(app.node.find_child('Firstboot'), 'Careless')\n"
        "aws_sqs.CfnQueue(app.node.find_child('Firstboot'), 'Wrong', delay_seconds=100_000)\n"
        "app.synth()\n"
    )
    done = run_app(tmp_path, {"aws:cdk:bundling-stacks": []}, "-c", program, CDK_VALIDATION="true")
    assert done.returncode != 0
    assert "AwsSolutions-SQS3" in done.stdout + done.stderr
    assert "Serverless-SQSRedrivePolicy" in done.stdout + done.stderr
    assert "DelaySeconds: 100000 is greater than the maximum of 900" in done.stdout + done.stderr
    assert "Firstboot/Default/" not in done.stdout + done.stderr


def test_the_bootstrap_version_is_the_preflights(stack: Synthesised) -> None:
    """`console preflight` asks for the version of CDK's bootstrap stack that the assembly needs."""
    artifacts = json.loads((stack.folder / "manifest.json").read_text())["artifacts"]
    assert artifacts["Firstboot"]["properties"]["requiresBootstrapStackVersion"] == BOOTSTRAP_VERSION


def test_a_broken_fleet_fails_the_synth(tmp_path: Path) -> None:
    """The deployer reads what is wrong with the fleet, without a traceback."""
    (tmp_path / "fleet").mkdir()
    done = run_app(tmp_path / "out", {"aws:cdk:bundling-stacks": [], "fleet": str(tmp_path / "fleet")})
    assert done.returncode == 1
    assert "fleet.toml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", RULES)
def test_a_topic_rule(stack: Synthesised, name: str) -> None:
    """A rule encodes the payload, keeps each client to its own topics, and sends failures to the queue."""
    function, sql = RULES[name]
    (rule,) = [
        spelled(found["Properties"]["TopicRulePayload"])
        for logical, found in stack.resources("AWS::IoT::TopicRule").items()
        if logical == f"Mqtt{name}"
    ]
    assert (rule["Sql"], rule["AwsIotSqlVersion"]) == (sql, "2016-03-23")
    assert rule["Actions"] == [{"Lambda": {"FunctionArn": f"${{{function}.Arn}}"}}]
    assert rule["ErrorAction"]["Sqs"]["QueueUrl"] == "${MqttUndelivered}"
    invoking = {
        spell(each["Properties"]["FunctionName"]): spelled(each["Properties"])
        for each in stack.resources("AWS::Lambda::EventInvokeConfig").values()
    }[f"${{{function}}}"]
    assert invoking["DestinationConfig"] == {"OnFailure": {"Destination": "${MqttUndelivered.Arn}"}}


def test_undelivered_requests_are_kept_for_two_weeks(stack: Synthesised) -> None:
    """SQS keeps undelivered requests for 14 days, the longest time that it offers."""
    queue = stack.resources("AWS::SQS::Queue")["MqttUndelivered"]["Properties"]
    assert queue["MessageRetentionPeriod"] == 1_209_600


def test_the_cost_at_rest_is_that_of_the_template(stack: Synthesised) -> None:
    """docs/deploy.md counts as many idle queues as the stack has, and no fewer alarms."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    found = re.search(r"\| alarms \(at most\) \| 0\.10 \| (\d+) \|", text)
    assert found
    assert len(stack.resources("AWS::CloudWatch::Alarm")) <= int(found[1])
    sources = stack.resources("AWS::Lambda::EventSourceMapping").values()
    queues = [each for each in sources if "StartingPosition" not in each["Properties"]]
    assert len(queues) == 6
    assert "| SQS requests of six idle queues (millions) |" in text
