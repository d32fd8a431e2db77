"""Random grants that the compiler accepts, each with requests on resources that belong to a device.

The generator decides which device a resource belongs to. It uses the texts of the template and fills them in
by plain replacement, without any code of render.py. Some drawn grants are traps (a listing by a prefix that
ends in the id, a comparison that holds for a missing key), which the compiler must refuse.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from firstboot.compiler import templates
from firstboot.domain.fleet import Fleet, GrantTerms
from firstboot.policy.render import Place
from tests.isolation.devices import WORDS
from tests.isolation.evaluators import Context, Request

Statement = dict[str, Any]

ARN = "arn:{partition}:%s:{region}:{account}:"
_SECURE = {"aws:SecureTransport": "true"}
OWNED = "the owner may, and no other device"
LOCKED = "no device may: a Deny is on it"
OTHERS = "no other device may"
SHARED = "each device that holds the grant may"


@dataclass(frozen=True)
class Touch:
    """A request on a device's own resource. `{deviceId}` is the owner, `{asker}` the device that asks."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)
    whose: str = OWNED
    within: str = ""

    def request(self, owner: str, asker: str, place: Place) -> Request | None:
        """Return the request with its variables filled in.

        Return None for a listing by a prefix with which `within`, a key of the owner, does not begin.
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
    """A grant's statements, and requests on a device's own resources in it.

    The other fields are what fleet.toml says: whether the grant is shared, the words and services that the
    fleet reserves and opens, and whether device ids may have colons.
    """

    statements: tuple[Statement, ...]
    touches: tuple[Touch, ...] = ()
    shared: bool = False
    reserved: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    colons: bool = False

    @property
    def template(self) -> dict[str, Any]:
        """The document of grants/NAME.json."""
        return {"Version": "2012-10-17", "Statement": list(self.statements)}


def bare(grants: dict[str, dict[str, Any]]) -> Fleet:
    """Return a fleet with these grants; rendering needs no other part of one."""
    return Fleet({}, {}, grants, "", "")


def whole(grants: dict[str, Grant]) -> Fleet:
    """Return a fleet with these grants and with what fleet.toml says of them."""
    return replace(
        bare({name: grant.template for name, grant in grants.items()}),
        reserved=tuple(sorted(reserved(grants))),
        services=tuple(sorted({each for grant in grants.values() for each in grant.services})),
        terms={name: GrantTerms(name, shared=True) for name, grant in grants.items() if grant.shared},
        colon_ids=any(grant.colons for grant in grants.values()),
    )


def reserved(grants: dict[str, Grant]) -> set[str]:
    """Return the words that no device of the fleet has as its id."""
    return {word for grant in grants.values() for word in grant.reserved}


def allow(action: str | list[str], resource: str | list[str], condition: Any = None) -> Statement:
    """Return an Allow statement."""
    conditioned = {"Condition": condition} if condition else {}
    return {"Effect": "Allow", "Action": action, "Resource": resource} | conditioned


# The place of the id: texts before it, and for each pattern behind it texts that it matches.
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
# Texts that are not the id, but that a careless pattern would match in its place.
_INSTEAD = ("?", "+", "#", "**", "${iot:Connection.Thing.ThingName}", "*")


@st.composite
def _path(draw: Any, leads: st.SearchStrategy[str] = _LEADS) -> Path:
    """Draw a pattern with the id, the owner's texts that it matches, and texts of no device.

    The last value says whether a part of the pattern is to be denied.
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
    """Return a grant of resources below paths of each device; a part may be denied to all devices."""
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
    """Draw a grant to list by prefix. Any prefix of an owner's key would list that key in S3."""
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
    """Draw a grant of items in a DynamoDB table by partition key.

    A request may have several keys, and a scan has none.
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
    """Draw a grant of an action without resources, limited by a condition key alone."""
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
    """Draw a grant of resources that have the id in their names."""
    grant = Grant(())
    # No grant of a log group compiles where ids have colons, so half of the grants have none.
    without = sorted(_EXACT.keys() - {"logs:PutLogEvents"})
    actions = draw(st.sampled_from([sorted(_EXACT), without]))
    for action in sorted(draw(st.sets(st.sampled_from(actions), min_size=2))):
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
    """Draw a grant of topic filters. A wildcard at or before the id would match every owner's topics."""
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


_BESIDE = {
    "arn:{partition}:s3:::beside-{account}/": ("s3:PutObject", "s3:GetObject"),
    ARN % "iot" + "topic/b=/": ("iot:Publish", "iot:Receive"),
}
"""Places with devices' own parts and shared ones, and the actions by which devices write and read there."""


@st.composite
def _beside(draw: Any) -> Grant:
    """Draw a grant in which devices write below their ids, and read below a word in the same place.

    If a device could have the word as its id, it would write what all devices read.
    """
    place, (write, read) = draw(st.sampled_from(sorted(_BESIDE.items())))
    word = draw(st.sampled_from(WORDS))
    texts = [f"{word}/*", f"{word}/x", f"{word[:-1]}*", f"{word[:-1]}?/x", "*"]
    spelled = draw(st.sampled_from([place, place.replace("{partition}", "aws")]))
    statements = allow(write, f"{place}{{deviceId}}/*"), allow(read, spelled + draw(st.sampled_from(texts)))
    touches = (
        *_touches(write, place, ["{deviceId}/x"]),
        *_touches(write, place, [f"{word}/x"], LOCKED),
        *_touches(read, place, ["{deviceId}/x"], OTHERS),
    )
    return Grant(statements, touches, reserved=draw(st.sampled_from([(), (word,), (word,)])))


@st.composite
def _common(draw: Any) -> Grant:
    """Draw a grant whose devices write to one place. No device may, unless the grant is shared."""
    action, resource = draw(
        st.sampled_from(
            [
                ("s3:PutObject", "arn:{partition}:s3:::common-{account}/x"),
                ("sqs:SendMessage", ARN % "sqs" + "common"),
                ("sqs:ReceiveMessage", ARN % "sqs" + "common"),
                ("dynamodb:PutItem", ARN % "dynamodb" + "table/common"),
            ]
        )
    )
    shared = draw(st.booleans())
    touch = Touch(action, resource, whose=SHARED if shared else LOCKED)
    return Grant((allow(action, resource),), (touch,), shared=shared)


@st.composite
def _opened(draw: Any) -> Grant:
    """Draw a grant of a service that the fleet may open. No device may use one of its actions in any case."""
    opened = draw(st.sampled_from([(), ("athena",), ("athena",)]))
    arn, whose = ARN % "athena" + "workgroup/", OWNED if opened else LOCKED
    action = draw(st.sampled_from(["athena:GetQueryResults", "athena:Get*", "athena:*", "athena:List*"]))
    touch = "athena:ListQueryExecutions" if action == "athena:List*" else "athena:GetQueryResults"
    touches = _touches(touch, arn, ["{deviceId}"], whose)
    touches += _touches("athena:TagResource", arn, ["{deviceId}"], LOCKED)
    return Grant((allow(action, f"{arn}{{deviceId}}"),), touches, services=opened)


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
"""Grants without resources of a single device: for all devices, or a Deny that no request over TLS meets."""

GRANTS = st.one_of(
    # Twice, because it has the grants of six services.
    *(_named(), _named()),
    *(_objects(), _listings(), _items(), _metrics(), _topics(), _filters(), st.just(_CLIENTS)),
    *(_beside(), _common(), _opened(), _SHARED),
)
"""A grant as it may be written, before the compiler has checked it."""

BROKER_GRANTS = st.one_of(_topics(), _filters(), st.just(_CLIENTS))
"""A grant that the MQTT broker evaluates."""


def is_taken(*grants: Grant) -> bool:
    """Return whether the compiler accepts the grants together."""
    return not templates.check(whole({f"g{number}": each for number, each in enumerate(grants)}))


@st.composite
def fleets(draw: Any, grants: st.SearchStrategy[Grant] = GRANTS, *, colons: bool = False) -> dict[str, Grant]:
    """Draw grants that the compiler accepts, by name. With `colons`, device ids may have colons."""
    said = grants.map(lambda grant: replace(grant, colons=colons))
    found = draw(st.lists(said.filter(is_taken), min_size=1, max_size=4))
    assume(is_taken(*found))
    return {f"g{number}": each for number, each in enumerate(found)}
