"""Just-in-time registration: the factory CAs, the topic rule, the queue and the rights to send to it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from firstboot.domain.fleet import Fleet
from infra.configuration import Configuration
from tests import factories
from tests.infra.conftest import ROOT, Synthesised, spell, spelled, synthesise

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

TRUST = {
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}},
    "Effect": "Allow",
    "Principal": {"Service": "iot.amazonaws.com"},
}


def properties(stack: Synthesised, kind: str, name: str) -> Any:
    """Return the properties of a resource."""
    return stack.resources(kind)[name]["Properties"]


def test_every_factory_ca_is_registered(stack: Synthesised, fleet: Fleet) -> None:
    """All trust anchors are registered for automatic registration, in the mode that needs no verification
    certificate.
    """
    made = [dict(each["Properties"]) for each in stack.resources("AWS::IoT::CACertificate").values()]
    anchors = {pem for group in fleet.groups.values() for pem in group.trust}
    assert {each.pop("CACertificatePem") for each in made} == anchors
    assert made == [
        {"AutoRegistrationStatus": "ENABLE", "CertificateMode": "SNI_ONLY", "Status": "ACTIVE"}
    ] * len(anchors)


def test_a_ca_is_deleted_with_its_anchor(stack: Synthesised) -> None:
    """A factory CA is not retained, so that AWS IoT stops registering its certificates."""
    for each in stack.resources("AWS::IoT::CACertificate").values():
        assert "DeletionPolicy" not in each


def test_a_ca_is_registered_last(stack: Synthesised) -> None:
    """A factory CA is registered after the rule, the queue and the Lambda that has the new fleet."""
    for each in stack.resources("AWS::IoT::CACertificate").values():
        after = {spell(name) for name in each["DependsOn"]}
        assert {"Newcomers", "NewcomersRegistered"} <= after
        assert any(name.startswith("NewcomersSqsEventSource") for name in each["DependsOn"])


def test_groups_with_tokens_have_no_ca_there(tmp_path: Path, fleet: Fleet) -> None:
    """The factory CA of a group whose devices connect with tokens is not registered in AWS IoT."""
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet")
    definition = tmp_path / "fleet" / "fleet.toml"
    definition.write_text(definition.read_text().replace('= "registry"', '= "token"'))
    stack = synthesise(tmp_path / "out", fleet=str(tmp_path / "fleet"))
    made = [dict(each["Properties"]) for each in stack.resources("AWS::IoT::CACertificate").values()]
    assert {each["CACertificatePem"] for each in made} == set(fleet.groups["sensors"].trust)


def test_groups_without_jitr_have_no_ca_there(tmp_path: Path, fleet: Fleet) -> None:
    """The factory CA of a group whose JITR is off is not registered in AWS IoT."""
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet")
    definition = tmp_path / "fleet" / "fleet.toml"
    definition.write_text(definition.read_text().replace('= "shared"', '= "off"', 1))
    stack = synthesise(tmp_path / "out", fleet=str(tmp_path / "fleet"))
    made = [dict(each["Properties"]) for each in stack.resources("AWS::IoT::CACertificate").values()]
    assert {each["CACertificatePem"] for each in made} == set(fleet.groups["sensors"].trust)


def test_an_expired_anchor_is_a_warning_of_the_synth(tmp_path: Path) -> None:
    """A trust anchor that has ended is a warning of the synth, which succeeds."""
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet")
    expired = factories.pem(factories.authority("Old CA", days=0.5).certificate)
    (tmp_path / "fleet/trust/acme-factory.pem").write_text(expired)
    synthesise(tmp_path / "out", fleet=str(tmp_path / "fleet"))
    assembly = "".join(each.read_text() for each in (tmp_path / "out").glob("*.json"))
    assert "groups.gateways: no certificate under CN=Old CA is accepted" in assembly


def test_cas_may_be_registered_by_others(tmp_path: Path) -> None:
    """With `registerFactoryCas` off, the stack registers no CA and has the topic rule all the same."""
    stack = synthesise(tmp_path, registerFactoryCas="false")
    assert not stack.resources("AWS::IoT::CACertificate")
    assert stack.resources("AWS::IoT::TopicRule")


def test_a_switch_is_on_or_off(tmp_path: Path) -> None:
    """A setting that must be a Boolean refuses any other word."""

    class Node:
        def try_get_context(self, name: str) -> Any:
            values = {"fleet": "fleet", "bundle": "local", "stack": "S", "caSubject": "CA", "caYears": 1}
            return {
                "fleetRefresh": 1,
                "mqttPort": 1,
                "iotRate": 1,
                "registerFactoryCas": "off",
                **values,
            }.get(name)

    with pytest.raises(ValueError, match="off"):
        Configuration.read(Node(), tmp_path)  # type: ignore[arg-type]


def test_the_rule_sends_events_to_the_queue(stack: Synthesised) -> None:
    """The rule sends three fields of the event to the queue, and to the dead-letter queue when that fails."""
    rule = spelled(properties(stack, "AWS::IoT::TopicRule", "NewcomersRegistered"))["TopicRulePayload"]
    assert rule["Sql"] == (
        "SELECT certificateId, caCertificateId, certificateStatus"
        " FROM '$aws/events/certificates/registered/+'"
    )
    (action,) = rule["Actions"]
    assert action == {"Sqs": {"QueueUrl": "${NewcomersQueue}", "RoleArn": "${NewcomersRuleRole.Arn}"}}
    assert rule["ErrorAction"] == {
        "Sqs": {"QueueUrl": "${NewcomersDeadLetters}", "RoleArn": "${NewcomersRuleErrorRole.Arn}"}
    }


@pytest.mark.parametrize(
    ("role", "queue"),
    [("NewcomersRuleRole", "NewcomersQueue"), ("NewcomersRuleErrorRole", "NewcomersDeadLetters")],
)
def test_a_rule_may_only_send_to_its_queue(stack: Synthesised, role: str, queue: str) -> None:
    """A rule's role may send to one queue, and AWS IoT may assume it for this account only."""
    policy = properties(stack, "AWS::IAM::Policy", f"{role}DefaultPolicy")["PolicyDocument"]
    assert spelled(policy["Statement"]) == [
        {"Action": "sqs:SendMessage", "Effect": "Allow", "Resource": f"${{{queue}.Arn}}"}
    ]
    trust = properties(stack, "AWS::IAM::Role", role)["AssumeRolePolicyDocument"]
    assert spelled(trust["Statement"]) == [TRUST]


@pytest.mark.parametrize(
    ("name", "batch", "workers"), [("NewcomersQueue", 10, 10), ("NewcomersPassed", 1, 4)]
)
def test_a_queue_repeats_failed_messages(stack: Synthesised, name: str, batch: int, workers: int) -> None:
    """A queue hides a message while the Lambda may work on it, and gives up after ten attempts.

    Events are handled in batches. An event that passed is handled alone, because it waits for its turn.
    """
    mappings = [each["Properties"] for each in stack.resources("AWS::Lambda::EventSourceMapping").values()]
    (made,) = [each for each in mappings if spell(each["EventSourceArn"]) == f"${{{name}.Arn}}"]
    assert spell(made["FunctionName"]) == "${Newcomers}"
    assert made["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert made["ScalingConfig"] == {"MaximumConcurrency": workers}
    assert made["BatchSize"] == batch
    queue = spelled(properties(stack, "AWS::SQS::Queue", name))
    timeout = properties(stack, "AWS::Lambda::Function", "Newcomers")["Timeout"]
    assert queue["VisibilityTimeout"] == 6 * timeout
    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": "${NewcomersDeadLetters.Arn}",
        "maxReceiveCount": 10,
    }


def test_jitr_writes_no_device_record(stack: Synthesised) -> None:
    """The Lambda may update the rate limiter's row and those of waiting certificates, and no other row."""
    policy = properties(stack, "AWS::IAM::Policy", "NewcomersRoleDefaultPolicy")["PolicyDocument"]
    (statement,) = [each for each in policy["Statement"] if each["Action"] == "dynamodb:UpdateItem"]
    assert statement["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["JITR#*", "PACE#iot"]}
    }


def test_jitr_may_send_messages_again(stack: Synthesised) -> None:
    """Lambda's recursion detection is off, because the code bounds how often a message is sent again."""
    assert properties(stack, "AWS::Lambda::Function", "Newcomers")["RecursiveLoop"] == "Allow"


def test_dead_letters_ring(stack: Synthesised) -> None:
    """Dead letters are kept for 14 days, and the first one rings the alarm."""
    alarm = spelled(properties(stack, "AWS::CloudWatch::Alarm", "AlarmsNewcomersDead"))
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "${NewcomersDeadLetters.QueueName}"}]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Maximum", 0)
    assert (
        properties(stack, "AWS::SQS::Queue", "NewcomersDeadLetters")["MessageRetentionPeriod"] == 14 * 86400
    )


def test_the_stack_has_no_policy_of_aws_iots(stack: Synthesised) -> None:
    """The stack makes no AWS IoT policy, which it could not delete while a certificate has it."""
    assert not stack.resources("AWS::IoT::Policy")
