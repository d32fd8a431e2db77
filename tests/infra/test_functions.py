"""The Lambdas' settings and roles: each may do exactly what the tables in this module list."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from firstboot.authority.settings import AuthoritySettings, WatchSettings
from firstboot.aws.sqs.dead_letters import Queues
from firstboot.compiler.fleet import load
from firstboot.domain.fleet import Fleet
from firstboot.domain.names import FLEET_ROLE_PATH, fleet_role
from firstboot.exchange.settings import ExchangeSettings
from firstboot.operate.settings import OperateSettings, ReadSettings
from firstboot.policy.render import Place, ceiling
from firstboot.register.settings import JitrSettings, QueuesSettings, SweepSettings, WorkSettings
from firstboot.runtime.settings import Settings
from firstboot.vend.settings import VendSettings
from infra.limits import Template, exceeded
from infra.measure import Measure
from tests.infra.conftest import ROOT, Resource, Synthesised, run_app, spell, spelled, synthesise

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

SETTINGS: dict[str, type[Settings]] = {
    "Exchange": ExchangeSettings,
    "ExchangeMqtt": ExchangeSettings,
    "Presence": ExchangeSettings,
    "Vend": VendSettings,
    "VendMqtt": VendSettings,
    "Operate": OperateSettings,
    "OperateRead": ReadSettings,
    "Sweep": SweepSettings,
    "RegisterWork": WorkSettings,
    "RegisterChanges": QueuesSettings,
    "RegisterLost": QueuesSettings,
    "AuthorityFunction": AuthoritySettings,
    "AuthorityWatch": WatchSettings,
    "Newcomers": JitrSettings,
}
SESSION = ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")
ECDSA = {"StringEqualsIfExists": {"kms:SigningAlgorithm": "ECDSA_SHA_256"}}
FLEET = "${Store.Arn}/fleet/published.json"
CA, TRUSTSTORE = "${Store.Arn}/authority/ca.pem", "${Store.Arn}/truststore/truststore.pem"
FLEET_ROLES = {alias: f"${{VendSessions{alias}.Arn}}" for alias in load(ROOT / "fleet").role_aliases}
GRANTS = "arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}:policy/Firstboot-grant-*"
CERTIFICATES = "${Store.Arn}/certificates/*"
IOT_CERTIFICATES = "arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}:cert/*"
# All that Lambda needs to read a queue (developer guide, "Using Lambda with Amazon SQS").
CONSUMING = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
# All that Lambda needs to read a table's stream (developer guide, "Using AWS Lambda with Amazon DynamoDB").
READING = ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")

UNDELIVERED = "${MqttUndelivered.Arn}"


# All that Lambda needs to send failures to a queue (developer guide, "Capturing records of Lambda
# asynchronous invocations").
ON_FAILURE = {("sqs:SendMessage", UNDELIVERED)}


def topic(name: str) -> tuple[str, str]:
    """Return the right to publish to a topic of all clients."""
    place = "arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}"
    return "iot:Publish", f"{place}:topic/firstboot/*/{name}"


EXCHANGE = {
    ("dynamodb:GetItem", "${Registry.Arn}"),
    ("dynamodb:UpdateItem", "${Registry.Arn}"),
    ("dynamodb:ConditionCheckItem", "${Registry.Arn}"),
    ("s3:GetObject", CERTIFICATES),
    ("s3:GetObject", FLEET),
    ("s3:ListBucket", "${Store.Arn}"),
    ("s3:PutObject", CERTIFICATES),
}
VEND = {
    ("dynamodb:GetItem", "${Registry.Arn}"),
    ("dynamodb:UpdateItem", "${Registry.Arn}"),
    ("s3:GetObject", CERTIFICATES),
    ("s3:GetObject", FLEET),
    ("s3:ListBucket", "${Store.Arn}"),
    *((action, f"${{VendSessions{alias}.Arn}}") for action in SESSION for alias in ("telemetry", "updates")),
}
IOT = "arn:${AWS::Partition}:iot:${AWS::Region}:${AWS::AccountId}:"
REGISTRATIONS, URGENT = "${RegisterQueuesPaced.Arn}", "${RegisterQueuesUrgent.Arn}"
CHANGES = "${RegisterQueuesChanges.Arn}"
ORDERS = (URGENT, CHANGES, REGISTRATIONS)
DEAD, STREAM = "${RegisterQueuesDead.Arn}", "${Registry.StreamArn}"
LOST, LOST_DEAD = "${RegisterQueuesLost.Arn}", "${RegisterQueuesLostDead.Arn}"


def on(resource: str, *actions: str) -> set[tuple[str, str]]:
    """Return the rights to AWS IoT's `actions` on a resource of this account."""
    return {(f"iot:{action}", f"{IOT}{resource}") for action in actions}


MEMBERSHIP = ("AddThingToThingGroup", "RemoveThingFromThingGroup")
PRINCIPALS = ("AttachThingPrincipal", "DetachThingPrincipal")

# The rights of each Lambda besides those to write its log and its traces.
PERMISSIONS = {
    "Exchange": EXCHANGE,
    "ExchangeMqtt": EXCHANGE
    | {
        topic("certificates/accepted"),
        topic("certificates/rejected"),
        topic("certificates/commit/accepted"),
        topic("certificates/commit/rejected"),
        *ON_FAILURE,
    },
    "Presence": {
        ("dynamodb:GetItem", "${Registry.Arn}"),
        ("dynamodb:UpdateItem", "${Registry.Arn}"),
        ("s3:GetObject", CERTIFICATES),
        ("s3:ListBucket", "${Store.Arn}"),
        *ON_FAILURE,
    },
    "Vend": VEND,
    "VendMqtt": VEND
    | {
        topic("credentials/accepted"),
        topic("credentials/rejected"),
        *ON_FAILURE,
    },
    "Operate": {
        *(
            (f"sqs:{action}", queue)
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
            for queue in (UNDELIVERED, DEAD, LOST_DEAD, "${NewcomersDeadLetters.Arn}")
        ),
        ("sqs:SendMessage", "${NewcomersPassed.Arn}"),
        ("sqs:SendMessage", LOST),
        ("sqs:SendMessage", CHANGES),
        ("iot:DescribeCertificate", IOT_CERTIFICATES),
        ("iot:UpdateCertificate", IOT_CERTIFICATES),
        ("iot:ListThingPrincipals", IOT_CERTIFICATES.replace("cert/", "thing/")),
        ("iot:ListThingGroupsForThing", IOT_CERTIFICATES.replace("cert/", "thing/")),
        ("iot:ListAttachedPolicies", "*"),
        ("s3:GetObject", CERTIFICATES),
        ("s3:GetObjectVersion", CERTIFICATES),
        ("s3:ListBucketVersions", "${Store.Arn}"),
        ("s3:PutObject", CERTIFICATES),
        ("dynamodb:ConditionCheckItem", "${Registry.Arn}"),
        ("dynamodb:GetItem", "${Registry.Arn}"),
        ("dynamodb:Scan", "${Registry.Arn}"),
        ("dynamodb:UpdateItem", "${Registry.Arn}"),
        ("s3:GetObject", FLEET),
        ("s3:ListBucket", "${Store.Arn}"),
        ("s3:PutObject", FLEET),
    },
    "OperateRead": {
        ("dynamodb:GetItem", "${Registry.Arn}"),
        ("dynamodb:Scan", "${Registry.Arn}"),
        ("s3:GetObject", FLEET),
        ("s3:ListBucket", "${Store.Arn}"),
    },
    "Sweep": {
        ("dynamodb:GetItem", "${Registry.Arn}"),
        ("dynamodb:PutItem", "${Registry.Arn}"),
        ("dynamodb:Scan", "${Registry.Arn}"),
        *on("policy/Firstboot-*", "CreatePolicy", "GetPolicy"),
        *on("policy/Firstboot-*", "CreatePolicyVersion", "DeletePolicyVersion", "ListPolicyVersions"),
        *on("policy/Firstboot-grant-*", "DeletePolicy", "ListTargetsForPolicy"),
        ("iot:ListPolicies", "*"),
        ("s3:GetObject", FLEET),
        ("s3:ListBucket", "${Store.Arn}"),
        *(("sqs:SendMessage", queue) for queue in (URGENT, CHANGES)),
    },
    "RegisterWork": {
        ("dynamodb:DeleteItem", "${Registry.Arn}"),
        ("dynamodb:GetItem", "${Registry.Arn}"),
        ("dynamodb:UpdateItem", "${Registry.Arn}"),
        ("s3:GetObject", CERTIFICATES),
        ("s3:GetObject", FLEET),
        ("s3:ListBucket", "${Store.Arn}"),
        *(("sqs:SendMessage", queue) for queue in (URGENT, CHANGES)),
        *((f"sqs:{action}", queue) for action in CONSUMING for queue in ORDERS),
        ("iot:ListAttachedPolicies", "*"),
        ("iot:ListPrincipalThings", "*"),
        ("iot:RegisterCertificateWithoutCA", "*"),
        *on(
            "thing/*", "CreateThing", "DeleteThing", "DescribeThing", "UpdateThing", *PRINCIPALS, *MEMBERSHIP
        ),
        *on("thing/*", "DeleteThingShadow", "GetThingShadow", "UpdateThingShadow"),
        *on("thing/*", "ListThingGroupsForThing", "ListThingPrincipals"),
        *on("cert/*", "AttachPolicy", "DetachPolicy", *PRINCIPALS),
        *on("cert/*", "DeleteCertificate", "DescribeCertificate", "UpdateCertificate"),
        *on("client/*", "DeleteConnection"),
        *on("thinggroup/Firstboot-*", "CreateThingGroup", *MEMBERSHIP),
        *on("thingtype/Firstboot", "CreateThingType"),
    },
    "RegisterChanges": {
        *((f"dynamodb:{action}", STREAM) for action in READING),
        *(("sqs:SendMessage", queue) for queue in (URGENT, CHANGES, LOST)),
    },
    "RegisterLost": {
        ("dynamodb:GetRecords", STREAM),
        ("dynamodb:GetShardIterator", STREAM),
        ("sqs:SendMessage", URGENT),
        *((f"sqs:{action}", LOST) for action in CONSUMING),
    },
    "AuthorityFunction": {
        ("dynamodb:UpdateItem", "${Registry.Arn}"),
        ("iot:DescribeEndpoint", "*"),
        ("kms:GetPublicKey", "${AuthorityKey.Arn}"),
        ("s3:GetObject", CA),
        ("s3:GetObject", TRUSTSTORE),
        ("s3:GetObject", FLEET),
        ("s3:ListBucket", "${Store.Arn}"),
        ("s3:PutObject", CA),
        ("s3:PutObject", TRUSTSTORE),
        ("s3:PutObject", FLEET),
    },
    "AuthorityWatch": {
        ("kms:DescribeKey", "${AuthorityKey.Arn}"),
        ("kms:GetKeyPolicy", "${AuthorityKey.Arn}"),
        ("kms:ListGrants", "${AuthorityKey.Arn}"),
    },
    "Newcomers": {
        ("dynamodb:GetItem", "${Registry.Arn}"),
        ("dynamodb:UpdateItem", "${Registry.Arn}"),
        ("s3:GetObject", FLEET),
        ("s3:ListBucket", "${Store.Arn}"),
        ("iot:AttachPolicy", IOT_CERTIFICATES),
        ("iot:DescribeCertificate", IOT_CERTIFICATES),
        ("iot:UpdateCertificate", IOT_CERTIFICATES),
        ("sqs:SendMessage", "${NewcomersPassed.Arn}"),
        *(
            (f"sqs:{action}", f"${{Newcomers{name}.Arn}}")
            for action in CONSUMING
            for name in ("Queue", "Passed")
        ),
    },
}


def listed(value: Any) -> list[Any]:
    """Return a value that CloudFormation writes as one item or as a list, as a list."""
    return value if isinstance(value, list) else [value]


def statements(stack: Synthesised, name: str) -> list[Resource]:
    """Return the statements of a Lambda's role."""
    policy: Resource = stack.resources("AWS::IAM::Policy")[f"{name}RoleDefaultPolicy"]
    return list(policy["Properties"]["PolicyDocument"]["Statement"])


def pairs(document: list[Resource]) -> set[tuple[str, str]]:
    """Return each action that the statements allow with each of its resources."""
    return {
        (action, spell(resource))
        for statement in document
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def ours(stack: Synthesised) -> dict[str, Resource]:
    """Return the properties of all Lambdas but those of CDK's framework."""
    found = stack.resources("AWS::Lambda::Function")
    return {name: function["Properties"] for name, function in found.items() if "framework" not in name}


def test_every_lambda_has_settings(stack: Synthesised) -> None:
    """The tables of settings and permissions in this module list all Lambdas."""
    assert set(ours(stack)) == set(SETTINGS) == set(PERMISSIONS)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_environment_round_trips_through_its_settings(stack: Synthesised, name: str) -> None:
    """A Lambda's environment has exactly the settings that its settings class reads."""
    variables = ours(stack)[name]["Environment"]["Variables"]
    environment = {variable: json.dumps(value) for variable, value in variables.items()}
    assert SETTINGS[name].read(environment).environment() == environment


@pytest.mark.parametrize("alias", FLEET_ROLES)
def test_a_fleet_role_has_the_name_that_vend_asks_for(stack: Synthesised, alias: str) -> None:
    """A fleet role's name and path are those from which `vend` makes the ARN."""
    role = stack.resources("AWS::IAM::Role")[f"VendSessions{alias}"]["Properties"]
    assert spell(role["RoleName"]) == fleet_role("${AWS::Region}", alias)
    assert role["Path"] == FLEET_ROLE_PATH


@pytest.mark.parametrize("alias", FLEET_ROLES)
def test_a_fleet_role_that_gets_a_name_is_kept(stack: Synthesised, alias: str) -> None:
    """The update that names a fleet role leaves the role before, so that its sessions go on."""
    role = stack.resources("AWS::IAM::Role")[f"VendSessions{alias}"]
    assert role["UpdateReplacePolicy"] == "Retain"
    assert role["DeletionPolicy"] == "Delete"


def test_a_fleet_may_have_many_role_aliases(tmp_path: Path) -> None:
    """Forty role aliases with the longest names fit: roles, `vend`'s rights and its environment."""
    aliases = [f"{'a' * 126}{number:02}" for number in range(40)]
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet")
    definition = tmp_path / "fleet" / "fleet.toml"
    more = "".join(f"\n[role_aliases.{alias}]\nseconds = 3600\n" for alias in aliases)
    definition.write_text(definition.read_text() + more)
    stack = synthesise(tmp_path / "out", fleet=str(tmp_path / "fleet"))
    names = {
        spell(role["Properties"]["RoleName"])
        for role in stack.resources("AWS::IAM::Role").values()
        if "RoleName" in role["Properties"]
    }
    assert names >= {fleet_role("${AWS::Region}", alias) for alias in aliases}
    path = stack.folder / "Firstboot.template.json"
    assert exceeded(Template(stack.template, path.stat().st_size, "Firstboot")) == []
    measure = Measure(stack.template, "Firstboot")
    assert max(measure.size(each["Environment"]["Variables"]) for each in ours(stack).values()) < 3_000


def test_operate_knows_every_dead_letter_queue(stack: Synthesised) -> None:
    """The settings of `operate` name all dead-letter queues in the form that it reads."""
    text = spell(ours(stack)["Operate"]["Environment"]["Variables"]["FIRSTBOOT_DEAD_LETTERS"])
    assert {name: Queues(**urls) for name, urls in json.loads(text).items()} == {
        "requests": Queues("${MqttUndelivered}", None),
        "registrations": Queues("${RegisterQueuesDead}", "${RegisterQueuesChanges}"),
        "stream": Queues("${RegisterQueuesLostDead}", "${RegisterQueuesLost}"),
        "newcomers": Queues("${NewcomersDeadLetters}", "${NewcomersPassed}"),
    }


@pytest.mark.parametrize("name", PERMISSIONS)
def test_a_role_may_do_exactly_this(stack: Synthesised, name: str) -> None:
    """A Lambda's role has exactly the listed rights, and those to write its log and traces."""
    common = {
        ("logs:CreateLogStream", f"${{{name}Logs.Arn}}"),
        ("logs:PutLogEvents", f"${{{name}Logs.Arn}}"),
        ("xray:PutTelemetryRecords", "*"),
        ("xray:PutTraceSegments", "*"),
    }
    assert pairs(statements(stack, name)) == PERMISSIONS[name] | common
    assert all(statement["Effect"] == "Allow" for statement in statements(stack, name))


def test_authority_writes_one_row(stack: Synthesised) -> None:
    """The role of `authority` may write the row of the nonces' key in the table, and no other row."""
    (writing,) = [
        each for each in statements(stack, "AuthorityFunction") if "dynamodb" in json.dumps(each["Action"])
    ]
    assert writing["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["SECRET#nonces"]}}


def test_every_role_is_accounted_for(stack: Synthesised) -> None:
    """The stack has no role and no policy that these tests do not check."""
    lambdas = {f"{name}Role" for name in (*PERMISSIONS, "AuthorityProvider")}
    lambdas |= {"MqttErrorRole"}
    roles = stack.resources("AWS::IAM::Role")
    rules = {"NewcomersRuleRole", "NewcomersRuleErrorRole"}
    assert set(roles) == lambdas | rules | {f"VendSessions{alias}" for alias in FLEET_ROLES}
    policies = {f"{role}DefaultPolicy" for role in lambdas | rules}
    assert set(stack.resources("AWS::IAM::Policy")) == policies
    (managed,) = stack.resources("AWS::IAM::ManagedPolicy")
    for name, role in roles.items():
        attached = [spell(arn) for arn in role["Properties"].get("ManagedPolicyArns", [])]
        assert attached == ([] if name in lambdas | rules else [f"${{{managed}}}"]), name
        assert ("Policies" in role["Properties"]) == (name not in lambdas | rules), name


@pytest.mark.parametrize("name", [*PERMISSIONS, "AuthorityProvider"])
def test_a_lambda_role_is_for_lambda(stack: Synthesised, name: str) -> None:
    """Only the Lambda service may assume a Lambda's role."""
    role = stack.resources("AWS::IAM::Role")[f"{name}Role"]["Properties"]
    assert role["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    ]


def test_the_framework_may_only_invoke_authority(stack: Synthesised) -> None:
    """CDK's framework Lambda may invoke `authority` and write its log, and nothing else."""
    assert pairs(statements(stack, "AuthorityProvider")) == {
        ("lambda:InvokeFunction", "${AuthorityFunction.Arn}"),
        ("lambda:GetFunction", "${AuthorityFunction.Arn}"),
        ("logs:CreateLogStream", "${AuthorityProviderLogs.Arn}"),
        ("logs:PutLogEvents", "${AuthorityProviderLogs.Arn}"),
    }


def test_a_fleet_may_vend_nothing(tmp_path: Path) -> None:
    """A fleet without role aliases has a stack without fleet roles, whose `vend` may assume none."""
    shutil.copytree(ROOT / "fleet", tmp_path / "fleet")
    definition = tmp_path / "fleet" / "fleet.toml"
    definition.write_text(definition.read_text().partition("[role_aliases.")[0])
    stack = synthesise(tmp_path / "out", fleet=str(tmp_path / "fleet"))
    assert not {action for action, _ in pairs(statements(stack, "Vend")) if action.startswith("sts:")}
    assert not [name for name in stack.resources("AWS::IAM::Role") if name.startswith("VendSessions")]


@pytest.mark.parametrize("alias", FLEET_ROLES)
def test_a_fleet_role_trusts_vend_alone(stack: Synthesised, alias: str) -> None:
    """Only `vend` may assume a fleet role, with a source identity and tags."""
    role = stack.resources("AWS::IAM::Role")[f"VendSessions{alias}"]["Properties"]
    (trust,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Effect"] == "Allow"
    assert [*trust["Principal"]] == ["AWS"]
    assert {spell(arn) for arn in trust["Principal"]["AWS"]} == {"${VendRole.Arn}", "${VendMqttRole.Arn}"}
    assert tuple(trust["Action"]) == SESSION
    assert role["Path"] == "/firstboot/"
    assert role["MaxSessionDuration"] == 3600


@pytest.mark.parametrize("alias", FLEET_ROLES)
def test_a_fleet_role_is_the_fleets_ceiling(stack: Synthesised, fleet: Fleet, alias: str) -> None:
    """A fleet role's policy allows what the grants allow, with `*` for the device, and nothing more."""
    role = stack.resources("AWS::IAM::Role")[f"VendSessions{alias}"]["Properties"]
    (policy,) = role["Policies"]
    place = Place(partition="${AWS::Partition}", region="${AWS::Region}", account="${AWS::AccountId}")
    assert spelled(policy["PolicyDocument"]) == ceiling(fleet, place)
    assert not any(resource == "*" for _, resource in pairs(policy["PolicyDocument"]["Statement"]))


def test_a_fleet_role_is_denied_what_is_firstboots(stack: Synthesised) -> None:
    """No grant reaches the table, bucket, key, functions, queues, topics or metrics of Firstboot itself."""
    (policy,) = stack.resources("AWS::IAM::ManagedPolicy").values()
    statement, metrics = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"], set(statement)) == (
        *("Deny", "*"),
        {"Effect", "Action", "Resource"},
    )
    assert metrics == {
        "Effect": "Deny",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": "Firstboot"}},
    }
    here = "*:${AWS::AccountId}"
    named = {
        f"arn:${{AWS::Partition}}:{service}:{here}:{name}"
        for service, name in {
            "dynamodb": "table/Firstboot-*",
            "lambda": "function:Firstboot-*",
            "sqs": "Firstboot-*",
            "sns": "Firstboot-*",
            "logs": "log-group:Firstboot-*",
            "ssm": "parameter/firstboot/*",
            "secretsmanager": "secret:Firstboot/*",
        }.items()
    }
    named.add(f"arn:${{AWS::Partition}}:logs:{here}:log-group:/aws/vendedlogs/Firstboot-*")
    topics = {f"arn:${{AWS::Partition}}:iot:{here}:{kind}/firstboot/*" for kind in ("topic", "topicfilter")}
    roles = {f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{name}/*" for name in ("firstboot",)}
    roles.add("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/Firstboot-*")
    own = {"${Registry.Arn}", "${Registry.Arn}/*", "${Store.Arn}", "${Store.Arn}/*", "${AuthorityKey.Arn}"}
    assert {spell(each) for each in statement["Resource"]} == named | topics | roles | own


def test_a_long_name_of_a_stack_is_denied_as_it_is_cut(tmp_path: Path) -> None:
    """The Deny names the beginning that CloudFormation keeps of a long stack's name."""
    name = "A-stack-with-a-name-of-too-many-characters"
    done = run_app(tmp_path, {"aws:cdk:bundling-stacks": [], "stack": name})
    assert done.returncode == 0, done.stderr
    template = json.loads((tmp_path / f"{name}.template.json").read_text())
    (policy,) = Synthesised(tmp_path, template).resources("AWS::IAM::ManagedPolicy").values()
    resources = {spell(each) for each in policy["Properties"]["PolicyDocument"]["Statement"][0]["Resource"]}
    assert "arn:${AWS::Partition}:lambda:*:${AWS::AccountId}:function:A-stack-with-a-name-of-t*" in resources


def test_no_role_signs_by_its_own_policy(stack: Synthesised) -> None:
    """No role's policy allows signing with the CA's key, because the key's policy does."""
    assert not [name for name in PERMISSIONS if "kms:Sign" in dict(pairs(statements(stack, name)))]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_lambda_is_made_as_all_are(stack: Synthesised, name: str) -> None:
    """Each Lambda runs Python 3.13 on arm64, is traced, logs JSON to its own group and has its asset."""
    function = ours(stack)[name]
    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == ["arm64"]
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert spell(function["LoggingConfig"]["LogGroup"]) == f"${{{name}Logs}}"
    of_the_file = {
        json.dumps(each["Code"])
        for each in ours(stack).values()
        if each["Handler"].partition(".")[0] == function["Handler"].partition(".")[0]
    }
    assert of_the_file == {json.dumps(function["Code"])}


@pytest.mark.parametrize("name", ["Exchange", "Vend"])
def test_a_lambda_times_out_before_the_gateway(stack: Synthesised, name: str) -> None:
    """A Lambda behind the API times out before the gateway stops waiting for it."""
    integrations = stack.resources("AWS::ApiGatewayV2::Integration").values()
    (patience,) = {integration["Properties"]["TimeoutInMillis"] for integration in integrations}
    assert ours(stack)[name]["Timeout"] * 1000 < patience <= 10_000


HANDLERS = {
    "Exchange": "exchange.http",
    "ExchangeMqtt": "exchange.mqtt",
    "Presence": "exchange.presence",
    "Vend": "vend.http",
    "VendMqtt": "vend.mqtt",
    "Operate": "operate.invoke",
    "OperateRead": "operate.read",
    "Sweep": "register.sweep",
    "RegisterWork": "register.work",
    "RegisterChanges": "register.changes",
    "RegisterLost": "register.lost",
    "AuthorityFunction": "authority.resource",
    "AuthorityWatch": "authority.watch",
    "Newcomers": "register.jitr",
}
"""The handler of each function of a stack without tokens, by the function's name."""


@pytest.mark.parametrize(("name", "handler"), HANDLERS.items())
def test_a_handler_exists(stack: Synthesised, name: str, handler: str) -> None:
    """The handler that the template names exists in the code."""
    module, function = handler.split(".")
    assert ours(stack)[name]["Handler"] == handler
    assert callable(getattr(__import__(module), function))
