"""Two evaluators of policies that are independent of Firstboot and of each other.

They differ in three cases, and in each the documentation of AWS decides:

- A `*` in a *requested* resource. AWS takes the request as text and the policy's resource as the pattern
  ("IAM JSON policy elements: Resource"), and so does ministack. iam-simulate takes the request as a question
  about all that it matches, so such a request is not put to it.
- A `:` in the name of a queue, which SQS does not allow. iam-simulate takes it for no queue at all and fails.
- A wildcard in the *value* of a policy variable. iam-simulate takes it as text, as IAM does; ministack puts
  it into the pattern. AWS does not document what AWS IoT does, so the worse case counts, and no device id has
  a wildcard.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ministack.core.iam_evaluator import EvalContext, evaluate, parse_policy_document
from ministack.services.iot import _parsed_iot_policy

from firstboot.policy.render import Place

ROOT = Path(__file__).parents[2]
_QUEUE_WITH_COLON = re.compile(r"arn:[^:]*:sqs:[^:]*:[^:]*:[^:]*:")
_PACKAGES = ROOT / ".venv" / "package.json"

Context = dict[str, str | list[str]]
Document = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """A client's request to AWS: an action on a resource (ARN), with condition keys."""

    action: str
    resource: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class Rights:
    """The policies of a client at a place.

    If there is a `session` policy, the identity policies are those of its role. `variables` are AWS IoT's
    policy variables.
    """

    place: Place
    identity: tuple[Document, ...]
    session: Document | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def principal(self) -> str:
        """The ARN of the session, or of the certificate if there is no session."""
        if self.session is None:
            return f"arn:{self.place.partition}:iot:{self.place.region}:{self.place.account}:cert/{'0' * 64}"
        return f"arn:{self.place.partition}:sts::{self.place.account}:assumed-role/fleet/device"


class Evaluator(Protocol):
    """An evaluator that decides whether requests are allowed."""

    def takes(self, request: Request, /) -> bool:
        """Return whether the evaluator interprets the request as AWS does."""

    def allowed(self, asked: Sequence[tuple[Rights, Request]]) -> list[bool]:
        """Return the decision for each request of `asked`."""


class Ministack:
    """The emulator's own evaluator, called in this process as its services call it."""

    def takes(self, _: Request, /) -> bool:
        """Return True, because it interprets every request as AWS does."""
        return True

    def allowed(self, asked: Sequence[tuple[Rights, Request]]) -> list[bool]:
        """Return the decision for each request of `asked`."""
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
    """`@cloud-copilot/iam-simulate` in a node process, which reads one batch of requests a line."""

    def __init__(self) -> None:
        command = ["node", str(Path(__file__).with_name("simulate.mjs")), str(_PACKAGES)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def takes(self, request: Request, /) -> bool:
        """Return whether it interprets the request as AWS does; see the module."""
        if request.resource == "*":  # actions without resources have it
            return True
        return "*" not in request.resource and not _QUEUE_WITH_COLON.match(request.resource)

    def allowed(self, asked: Sequence[tuple[Rights, Request]]) -> list[bool]:
        """Return the decision for each request of `asked`."""
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
