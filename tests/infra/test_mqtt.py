"""The limits of requests over MQTT: their age, their concurrency, and the ranking of their clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firstboot.runtime.mqtt import REQUEST_LOGGED
from infra.configuration import Configuration
from tests.infra.conftest import ROOT, Synthesised, spell, spelled, synthesise

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")


def behind_rules(stack: Synthesised) -> dict[str, Any]:
    """Return the properties of the Lambdas behind topic rules."""
    functions = stack.resources("AWS::Lambda::Function")
    return {name: functions[name]["Properties"] for name in ("ExchangeMqtt", "Presence", "VendMqtt")}


def test_a_stale_request_is_dropped(stack: Synthesised) -> None:
    """Lambda keeps an event of a topic rule for two minutes at most, and repeats it once."""
    configured = {
        spell(each["Properties"]["FunctionName"]): each["Properties"]
        for each in stack.resources("AWS::Lambda::EventInvokeConfig").values()
    }
    assert set(configured) >= {f"${{{name}}}" for name in behind_rules(stack)}
    for name in behind_rules(stack):
        made = configured[f"${{{name}}}"]
        assert (made["MaximumEventAgeInSeconds"], made["MaximumRetryAttempts"]) == (120, 1)


def test_requests_over_mqtt_have_a_concurrency_of_their_own(
    stack: Synthesised, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each Lambda behind topic rules has a reserved concurrency, no other has one, and 0 reserves none.

    One connection publishes 100 times a second at most. At 0.1 s a request these are 10 executions, so that
    no single client takes what is reserved.
    """
    reserved = {name: made["ReservedConcurrentExecutions"] for name, made in behind_rules(stack).items()}
    assert reserved == dict.fromkeys(("ExchangeMqtt", "Presence", "VendMqtt"), 50)
    for variant, count in (stack, 3), (synthesise(tmp_path_factory.mktemp("off"), mqttConcurrency=0), 0):
        functions = variant.resources("AWS::Lambda::Function").values()
        assert sum("ReservedConcurrentExecutions" in each["Properties"] for each in functions) == count


def test_the_setting_is_not_negative() -> None:
    """A negative reserved concurrency is refused."""
    with pytest.raises(ValueError, match="mqttConcurrency"):
        Configuration(fleet=ROOT / "fleet", mqtt_concurrency=-1)


def test_the_clients_are_ranked_by_their_requests(stack: Synthesised) -> None:
    """A Contributor Insights rule counts the one line of each request by its client id."""
    (rule,) = stack.resources("AWS::CloudWatch::InsightRule").values()
    made = spelled(rule["Properties"])
    assert (made["RuleName"], made["RuleState"]) == ("Firstboot-mqtt-clients", "ENABLED")
    body = json.loads(made["RuleBody"])
    assert body["LogGroupNames"] == ["${ExchangeMqttLogs}", "${VendMqttLogs}"]
    assert (body["LogFormat"], body["AggregateOn"]) == ("JSON", "Count")
    assert body["Contribution"] == {
        "Keys": ["$.clientId"],
        "Filters": [{"Match": "$.message", "In": [REQUEST_LOGGED]}],
    }
