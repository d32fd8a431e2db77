"""Random grants that the compiler takes, each with what of it is whose.

What is a device's is told by the generator, from the same texts as the template but filled here, by
plain replacement: nothing of render.py's is asked. Some of what is drawn is a trap (a listing by a
prefix that ends in the id, a comparison that holds for a missing key); the compiler must refuse it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from firstboot.compiler import templates
from firstboot.domain.fleet import Fleet
from firstboot.policy.render import Place
from tests.isolation.evaluators import Context, Request

Statement = dict[str, Any]

ARN = "arn:{partition}:%s:{region}:{account}:"
_SECURE = {"aws:SecureTransport": "true"}
OWNED = "the owner may, and nobody else"
LOCKED = "nobody may: a Deny is on it"
OTHERS = "nobody else may"


@dataclass(frozen=True)
class Touch:
    """A request about a device's own. `{deviceId}` is the owner, `{asker}` who asks."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)
    whose: str = OWNED
    within: str = ""

    def request(self, owner: str, asker: str, place: Place) -> Request | None:
        """The request, filled; None if it lists by a prefix that `within`, a key of the owner's, does
        not begin with.
        """

        def filled(text: str) -> str:
            values = {"deviceId": owner, "asker": asker, "region": place.region}
            values |= {"account": place.account, "partition": place.partition}
            for name, value in values.items():
                text = text.replace(f"{{{name}}}", value)
            return text

        context: Context = {
            key: filled(value) if isinstance(value, str) else [filled(each) for each in value]
            for key, value in (_SECURE | self.context).items()
        }
        if self.within and not filled(self.within).startswith(str(context["s3:prefix"])):
            return None
        return Request(self.action, filled(self.resource), context)


@dataclass(frozen=True)
class Grant:
    """A grant's statements, and what touches a device's own there."""

    statements: tuple[Statement, ...]
    touches: tuple[Touch, ...] = ()

    @property
    def template(self) -> dict[str, Any]:
        """The document of grants/NAME.json."""
        return {"Version": "2012-10-17", "Statement": list(self.statements)}


def bare(grants: dict[str, dict[str, Any]]) -> Fleet:
    """A fleet of these grants; rendering needs nothing else of one."""
    return Fleet({}, {}, grants, "", "")


def allow(action: str | list[str], resource: str | list[str], condition: Any = None) -> Statement:
    """An Allow statement."""
    conditioned = {"Condition": condition} if condition else {}
    return {"Effect": "Allow", "Action": action, "Resource": resource} | conditioned


# Where an id stands. What comes before it, and after: a pattern, and texts that it matches.
_OFTEN = ["", "", "fleet/"]
_LEADS = st.sampled_from([*_OFTEN, "fleet/data/", "device=", "a:b#", "{region}/", "{account}:", "fl-eet/é/"])
_TOPIC_LEADS = st.sampled_from([*_OFTEN, "fleet/data/", "$aws/things/", "device=", "{region}/"])
_TAILS: dict[str, list[str]] = {
    "": [""],
    "/*": ["/", "/x", "/{asker}/x", "/../{asker}", "/../../x", "/{deviceId}", "/${aws:username}", "/ü"],
    "/data-?": ["/data-1", "/data-é"],
    "/*/log": ["/a/log", "/{asker}/log", "//log"],
    ":x*": [":x", ":x/{asker}"],
    "#*": ["#1", "#{asker}"],
    "=v": ["=v"],
    "/{deviceId}/*": ["/{deviceId}/x"],
}
_FILLERS = st.text("ab0/-.:#=+é$ ", max_size=6)
Path = tuple[str, list[str], list[str], bool]
# Not the id, but what a careless matcher takes for it.
_INSTEAD = ("?", "+", "#", "**", "${iot:Connection.Thing.ThingName}", "*")


@st.composite
def _path(draw: Any, leads: st.SearchStrategy[str] = _LEADS) -> Path:
    """A pattern with the id in it, texts of the owner's that it matches, texts of nobody's, and
    whether a part of it is to be denied.
    """
    lead, tail = draw(leads), draw(st.just("/*") | st.sampled_from(sorted(_TAILS)))
    ends = [draw(st.sampled_from(_TAILS[tail]))]
    ends += [f"/{draw(_FILLERS)}"] if tail == "/*" else []
    odd = [lead + each + ends[0] for each in draw(st.sets(st.sampled_from(_INSTEAD), max_size=2))]
    own = [f"{lead}{{deviceId}}{end}" for end in ends]
    return f"{lead}{{deviceId}}{tail}", own, odd, draw(st.booleans())


def _touches(action: str, arn: str, texts: list[str], whose: str = OWNED) -> tuple[Touch, ...]:
    return tuple(Touch(action, arn + text, whose=whose) for text in texts)


def _below(arn: str, touched: str, actions: list[str], denied: list[str], paths: list[Path]) -> Grant:
    """What is below paths of each device's own; some of it may be denied to all."""
    grant = Grant(())
    for pattern, own, odd, locked in paths:
        statements = [allow(actions, arn + pattern)]
        touches = _touches(touched, arn, own) + _touches(touched, arn, odd, OTHERS)
        if locked and pattern.endswith("{deviceId}/*"):
            # No device has a name like this.
            shut = pattern.removesuffix("*") + "_locked"
            statements.append({"Effect": "Deny", "Action": denied, "Resource": f"{arn}{shut}*"})
            touches += _touches(touched, arn, [f"{shut}/x"], LOCKED)
        grant = Grant((*grant.statements, *statements), grant.touches + touches)
    return grant


@st.composite
def _objects(draw: Any) -> Grant:
    actions = draw(st.sampled_from([["s3:GetObject"], ["s3:PutObject", "s3:GetObject"], ["s3:Get*"]]))
    paths = draw(st.lists(_path(), min_size=1, max_size=2))
    return _below("arn:{partition}:s3:::own-{account}-{region}/", "s3:GetObject", actions, ["s3:*"], paths)


@st.composite
def _listings(draw: Any) -> Grant:
    """Listing by prefix. S3 lists all keys that begin with it, so that every beginning of a key of the
    owner's reaches it.
    """
    bucket = "arn:{partition}:s3:::list-{account}"
    lead, tail = draw(_LEADS), draw(st.sampled_from(["", "/", "/*", "/x"]))
    operator = "StringLike" if "*" in tail else draw(st.sampled_from(["StringLike", "StringEquals"]))
    own = f"{lead}{{deviceId}}{tail.replace('*', '')}"
    others = [own[:-1], f"{lead}{{asker}}", f"{lead}{{asker}}/", lead, ""]

    def touch(prefix: str, whose: str) -> Touch:
        return Touch("s3:ListBucket", bucket, {"s3:prefix": prefix}, whose, f"{lead}{{deviceId}}/x")

    touches = (touch(own, OWNED), *(touch(each, OTHERS) for each in others))
    unnamed = Touch("s3:ListBucket", bucket, whose=OTHERS)
    condition = {operator: {"s3:prefix": f"{lead}{{deviceId}}{tail}"}}
    return Grant((allow("s3:ListBucket", bucket, condition),), (*touches, unnamed))


_COMPARISONS = st.sampled_from(
    [
        "ForAllValues:StringEquals",
        "ForAllValues:StringLike",
        "ForAnyValue:StringEquals",
        "StringNotEquals",
        "ForAllValues:StringEqualsIfExists",
        "ForAllValues:StringNotEquals",
        "ForAllValues:NumericEquals",
    ]
)


@st.composite
def _items(draw: Any) -> Grant:
    """Items of a DynamoDB table by their partition keys; a request may be about several, and a scan
    has no key.
    """
    table = ARN % "dynamodb" + "table/" + draw(st.sampled_from(["own", "items"]))
    lead = draw(st.sampled_from(["", "DEVICE#", "fleet#"]))
    operator = draw(_COMPARISONS)
    condition: Any = {operator: {"dynamodb:LeadingKeys": [f"{lead}{{deviceId}}"]}}
    if draw(st.booleans()):
        condition["Null"] = {"dynamodb:LeadingKeys": "false"}
    actions = ["dynamodb:GetItem", "dynamodb:Query", "dynamodb:BatchGetItem", "dynamodb:Scan"]

    def touch(action: str, keys: list[str], whose: str) -> Touch:
        return Touch(
            f"dynamodb:{action}", table, {"dynamodb:LeadingKeys": [lead + key for key in keys]}, whose
        )

    touches = (
        touch("GetItem", ["{deviceId}"], OWNED),
        touch("BatchGetItem", ["{deviceId}", "{deviceId}"], OWNED),
        touch("BatchGetItem", ["{asker}", "{deviceId}"], OTHERS),
        touch("Query", ["{deviceId}", "x"], OTHERS),
        Touch("dynamodb:Scan", table, whose=OTHERS),
    )
    return Grant((allow(actions, table, condition),), touches)


@st.composite
def _metrics(draw: Any) -> Grant:
    """An action that has no resources, by a condition key alone."""
    lead = draw(st.sampled_from(["", "fleet/", "Fleet#"]))
    operator = draw(
        st.sampled_from(
            ["StringEquals", "StringLike", "StringEqualsIfExists", "NumericEquals", "StringNotLike"]
        )
    )
    condition = {operator: {"cloudwatch:namespace": f"{lead}{{deviceId}}"}}
    own = Touch("cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": f"{lead}{{deviceId}}"})
    nameless = Touch("cloudwatch:PutMetricData", "*", whose=OTHERS)
    return Grant((allow("cloudwatch:PutMetricData", "*", condition),), (own, nameless))


_EXACT = {
    "sqs:SendMessage": (ARN % "sqs", "", ""),
    "kinesis:PutRecord": (ARN % "kinesis" + "stream/", "", ""),
    "ssm:GetParameter": (ARN % "ssm" + "parameter/own/", "/*", "/{asker}"),
    "logs:PutLogEvents": (ARN % "logs" + "log-group:/own:log-stream:", "", ""),
    "secretsmanager:GetSecretValue": (ARN % "secretsmanager" + "secret:own/", "/key-??????", "/key-abcDEF"),
    "execute-api:Invoke": (ARN % "execute-api" + "abcdefghij/prod/GET/", "/*", "/x"),
}


@st.composite
def _named(draw: Any) -> Grant:
    """Resources that have the id in their names."""
    grant = Grant(())
    for action in sorted(draw(st.sets(st.sampled_from(sorted(_EXACT)), min_size=2))):
        arn, tail, end = _EXACT[action]
        touches = _touches(action, arn, [f"{{deviceId}}{end}"]) + _touches(action, arn, [f"?{end}"], OTHERS)
        statement = allow(action, f"{arn}{{deviceId}}{tail}")
        grant = Grant((*grant.statements, statement), grant.touches + touches)
    return grant


@st.composite
def _topics(draw: Any) -> Grant:
    actions = sorted(
        draw(st.sets(st.sampled_from(["iot:Publish", "iot:Receive", "iot:RetainPublish"]), min_size=1))
    )
    paths = draw(st.lists(_path(_TOPIC_LEADS), min_size=1, max_size=2))
    return _below(ARN % "iot" + "topic/", actions[0], actions, actions, paths)


@st.composite
def _filters(draw: Any) -> Grant:
    """Topic filters. A wildcard of MQTT's in the id's place, or before it, hears every owner."""
    pattern, own, odd, _ = draw(_path(_TOPIC_LEADS))
    arn = ARN % "iot" + "topicfilter/"
    lead = pattern.partition("{deviceId}")[0]
    over = {own[0].replace("{deviceId}", "+"), f"{lead}#", "#", "+/#", f"$share/{{asker}}/{own[0]}"}
    own += [f"{own[0]}/#", f"{own[0]}/+"] if pattern.endswith("/*") else []
    touches = _touches("iot:Subscribe", arn, own) + _touches("iot:Subscribe", arn, [*odd, *over], OTHERS)
    return Grant((allow("iot:Subscribe", arn + pattern),), touches)


_CLIENTS = Grant(
    (allow("iot:Connect", ARN % "iot" + "client/{deviceId}"),),
    _touches("iot:Connect", ARN % "iot" + "client/", ["{deviceId}"])
    + _touches(
        "iot:Connect", ARN % "iot" + "client/", ["*", "?", "+", "{deviceId}/x", "{deviceId}*"], OTHERS
    ),
)


_SHARED = st.sampled_from(
    [
        Grant((allow("iot:Receive", ARN % "iot" + "topic/*"),)),
        Grant((allow("s3:GetObject", "arn:{partition}:s3:::shared-{account}/*"),)),
        Grant((allow("iot:Receive", ARN % "iot" + "topic/announcements/*"),)),
        Grant(
            (
                {
                    "Effect": "Deny",
                    "Action": ["s3:*", "dynamodb:*", "sqs:*"],
                    "Resource": "*",
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
            )
        ),
    ]
)
"""Grants that have nobody's own: for all alike, or a Deny that a request over TLS never meets."""

GRANTS = st.one_of(
    _objects(), _listings(), _items(), _metrics(), _named(), _topics(), _filters(), st.just(_CLIENTS), _SHARED
)
"""A grant, as it may be written: the compiler has not seen it."""

BROKER_GRANTS = st.one_of(_topics(), _filters(), st.just(_CLIENTS))
"""A grant of what the MQTT broker judges."""


def is_taken(*grants: Grant) -> bool:
    """Whether the compiler takes grants beside one another."""
    return not templates.check(bare({f"g{number}": each.template for number, each in enumerate(grants)}))


@st.composite
def fleets(draw: Any, grants: st.SearchStrategy[Grant] = GRANTS) -> dict[str, Grant]:
    """Grants by name, that the compiler takes."""
    found = draw(st.lists(grants.filter(is_taken), min_size=1, max_size=4))
    assume(is_taken(*found))
    return {f"g{number}": each for number, each in enumerate(found)}
