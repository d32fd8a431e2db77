"""Two evaluators of policies that know nothing of Firstboot, and of each other.

They differ in two things, and in each AWS's documentation decides:

- A `*` in a *requested* resource. AWS: what is requested is text, a policy's resource the pattern ("IAM
  JSON policy elements: Resource"). ministack takes it so; iam-simulate takes it for a question about all
  that it matches, so it is not asked.
- A wildcard in a policy variable's *value*. iam-simulate takes it for text, as IAM does; ministack puts it
  into the pattern. AWS does not say what AWS IoT does, so the worse counts: no device id has one.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document
from ministack.services.iot import _parsed_iot_policy

from firstboot.policy.render import Place

ROOT = Path(__file__).parents[2]
_PACKAGES = ROOT / ".venv" / "package.json"

Context = dict[str, str | list[str]]
Document = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What a client asks of AWS: an action on a resource (ARN), and the condition keys there are."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class Rights:
    """The policies a client has at a place. With `session` (a session policy), the others are its
    role's. `variables` are AWS IoT's policy variables.
    """

    place: Place
    identity: tuple[Document, ...]
    session: Document | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def principal(self) -> str:
        """A session's ARN, or a certificate's."""
        if self.session is None:
            return f"arn:{self.place.partition}:iot:{self.place.region}:{self.place.account}:cert/{'0' * 64}"
        return f"arn:{self.place.partition}:sts::{self.place.account}:assumed-role/fleet/device"


class Evaluator(Protocol):
    """Whether each request is allowed."""

    def takes(self, request: Request, /) -> bool:
        """Whether the evaluator takes the request as AWS does."""

    def allowed(self, asked: Sequence[tuple[Rights, Request]]) -> list[bool]:
        """One answer for each of `asked`."""


class Ministack:
    """The emulator's own evaluator, called as its services call it, in this process."""

    def takes(self, _: Request, /) -> bool:
        """Every one."""
        return True

    def allowed(self, asked: Sequence[tuple[Rights, Request]]) -> list[bool]:
        """One answer for each of `asked`."""
        return [self._allows(rights, request) for rights, request in asked]

    def _allows(self, rights: Rights, request: Request) -> bool:
        context = {key.lower(): value for key, value in request.context.items()}
        variables = {key.lower(): value for key, value in rights.variables.items()}
        moment = EvalContext(
            principal_arn=rights.principal,
            principal_type="AssumedRole" if rights.session else "Certificate",
            principal_account=rights.place.account,
            action=request.action,
            resource_arn=request.resource,
            region=rights.place.region,
            source_ip="127.0.0.1",
            secure_transport=context.pop("aws:securetransport", "true") == "true",
            service_context=context | variables,
        )
        values = tuple(sorted(variables.items()))
        identity = [_parsed_iot_policy(json.dumps(document), values) for document in rights.identity]
        limits = [[parse_policy_document(rights.session)]] if rights.session else []
        return bool(evaluate(moment, identity, *limits).decision == "Allow")


class IamSimulate:
    """`@cloud-copilot/iam-simulate`, in one node process; a batch is a line."""

    def __init__(self) -> None:
        command = ["node", str(Path(__file__).with_name("simulate.mjs")), str(_PACKAGES)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def takes(self, request: Request, /) -> bool:
        """None for a text with a `*`; `"*"` alone is what actions without resources have."""
        return "*" not in request.resource or request.resource == "*"

    def allowed(self, asked: Sequence[tuple[Rights, Request]]) -> list[bool]:
        """One answer for each of `asked`."""
        rights = list({id(each): each for each, _ in asked}.values())
        numbers = {id(each): number for number, each in enumerate(rights)}
        cases = [
            (numbers[id(each)], request.action, request.resource, request.context | dict(each.variables))
            for each, request in asked
        ]
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"policies": _wire(rights), "cases": cases}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "iam-simulate refused a case: see its standard error"
        return [decision == "Allowed" for decision in json.loads(line)]


def _wire(rights: Iterable[Rights]) -> list[dict[str, Any]]:
    return [
        {
            "identity": each.identity,
            "session": each.session,
            "principal": each.principal,
            "account": each.place.account,
        }
        for each in rights
    ]
