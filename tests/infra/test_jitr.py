"""Just-in-time registration: the factories' CAs, the way of an event, and who may send on it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from firstboot.domain.fleet import Fleet
from infra.configuration import Configuration
from tests.infra.conftest import ROOT, Synthesised, spell, spelled, synthesise

# One worker, one synthesis.
pytestmark = pytest.mark.xdist_group("infra")

TRUST = {
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"aws:SourceAccount": "${AWS::AccountId}"}},
    "Effect": "Allow",
    "Principal": {"Service": "iot.amazonaws.com"},
}


def properties(stack: Synthesised, kind: str, name: str) -> Any:
    """The properties of a resource."""
    return stack.resources(kind)[name]["Properties"]


def test_every_factory_ca_is_registered(stack: Synthesised, fleet: Fleet) -> None:
    """AWS IoT registers what it signed by itself; devices send SNI, so no verification certificate."""
    made = [dict(each["Properties"]) for each in stack.resources("AWS::IoT::CACertificate").values()]
    anchors = {pem for group in fleet.groups.values() for pem in group.trust}
    assert {each.pop("CACertificatePem") for each in made} == anchors
    assert made == [
        {"AutoRegistrationStatus": "ENABLE", "CertificateMode": "SNI_ONLY", "Status": "ACTIVE"}
    ] * len(anchors)


def test_a_ca_goes_with_its_anchor(stack: Synthesised) -> None:
    """It is not retained: it would go on registering certificates that nobody admits."""
    for each in stack.resources("AWS::IoT::CACertificate").values():
        assert "DeletionPolicy" not in each


def test_a_ca_comes_after_all_that_judges_its_certificates(stack: Synthesised) -> None:
    """Rule, queue and a Lambda with this very fleet: else a certificate is lost, or decided by the
    fleet before.
    """
    for each in stack.resources("AWS::IoT::CACertificate").values():
        after = {spell(name) for name in each["DependsOn"]}
        assert {"Newcomers", "NewcomersRegistered"} <= after
        assert any(name.startswith("NewcomersSqsEventSource") for name in each["DependsOn"])


def test_groups_with_tokens_have_no_ca_there(tmp_path: Path, fleet: Fleet) -> None:
    """Their devices connect through the authorizer: no certificate of theirs is let in."""
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet")
    definition = tmp_path / "fleet" / "fleet.toml"
    definition.write_text(definition.read_text().replace('= "registry"', '= "token"'))
    stack = synthesise(tmp_path / "out", fleet=str(tmp_path / "fleet"))
    made = [dict(each["Properties"]) for each in stack.resources("AWS::IoT::CACertificate").values()]
    assert {each["CACertificatePem"] for each in made} == set(fleet.groups["sensors"].trust)


def test_cas_may_be_registered_by_others(tmp_path: Path) -> None:
    """AWS IoT takes a CA once an account and region; what comes through it is judged all the same."""
    stack = synthesise(tmp_path, registerFactoryCas="false")
    assert not stack.resources("AWS::IoT::CACertificate")
    assert stack.resources("AWS::IoT::TopicRule")


def test_a_switch_is_on_or_off(tmp_path: Path) -> None:
    """A word that is neither does not pass for one."""

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


def test_the_rule_hands_on_what_is_needed(stack: Synthesised) -> None:
    """Into the queue; where that fails, into the one that a person looks at."""
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
    """One action, one queue; for AWS IoT on this account's behalf alone."""
    policy = properties(stack, "AWS::IAM::Policy", f"{role}DefaultPolicy")["PolicyDocument"]
    assert spelled(policy["Statement"]) == [
        {"Action": "sqs:SendMessage", "Effect": "Allow", "Resource": f"${{{queue}.Arn}}"}
    ]
    trust = properties(stack, "AWS::IAM::Role", role)["AssumeRolePolicyDocument"]
    assert spelled(trust["Statement"]) == [TRUST]


def test_the_queue_brings_what_failed_again(stack: Synthesised) -> None:
    """Not while the Lambda may be at it, not for ever."""
    mappings = [each["Properties"] for each in stack.resources("AWS::Lambda::EventSourceMapping").values()]
    (made,) = [each for each in mappings if spell(each["FunctionName"]) == "${Newcomers}"]
    assert made["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert made["ScalingConfig"] == {"MaximumConcurrency": 5}
    assert made["BatchSize"] == 5
    queue = spelled(properties(stack, "AWS::SQS::Queue", "NewcomersQueue"))
    timeout = properties(stack, "AWS::Lambda::Function", "Newcomers")["Timeout"]
    assert queue["VisibilityTimeout"] == 6 * timeout
    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": "${NewcomersDeadLetters.Arn}",
        "maxReceiveCount": 10,
    }


def test_dead_letters_ring(stack: Synthesised) -> None:
    """A message that nobody could handle waits for 14 days, and an alarm says so at once."""
    alarm = spelled(properties(stack, "AWS::CloudWatch::Alarm", "AlarmsNewcomersDead"))
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "${NewcomersDeadLetters.QueueName}"}]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Maximum", 0)
    assert (
        properties(stack, "AWS::SQS::Queue", "NewcomersDeadLetters")["MessageRetentionPeriod"] == 14 * 86400
    )


def test_the_stack_has_no_policy_of_aws_iots(stack: Synthesised) -> None:
    """Certificates have them, and what a certificate has can't be deleted: nor could the stack."""
    assert not stack.resources("AWS::IoT::Policy")
