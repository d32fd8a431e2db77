"""Call the `operate` Lambda functions of a stack: their names are outputs of the stack, the call is Invoke.

Region, credentials, endpoint and CA bundle come from the usual AWS variables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ReadTimeoutError,
    SSLError,
)
from botocore.session import get_session

from console import tls
from console.report import Deployed
from firstboot.domain.fleet import Fleet
from firstboot.policy.render import Place

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

OUTPUT, READ_OUTPUT = "OperateFunction", "ReadFunction"
READING = frozenset(
    {
        *("devices.list", "devices.show", "devices.explain", "groups.show"),
        *("fleet.show", "fleet.plan", "fleet.progress"),
    }
)
"""The operations that change nothing. The read-only operate function carries them out, so that a caller with
that function alone can use them."""

PAGE = 200
_CONFIG = Config(connect_timeout=5, read_timeout=65, retries={"mode": "standard", "total_max_attempts": 3})


class Refused(Exception):
    """The console or `operate` refused a call. `problem` has the members of RFC 9457."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or "refused")
        self.problem = problem


class Unreachable(Exception):
    """No answer came from the stack. `code` says why, for programs."""

    def __init__(self, detail: str, code: str = "unreachable") -> None:
        super().__init__(detail)
        self.code = code


def unanswered(what: str, error: Exception) -> Unreachable:
    """Return the failure of an AWS call, which the message calls `what`.

    TLS that fails and an answer that was lost have codes and messages of their own: the first is a setting of
    this machine and nothing was done; after the second, the call may have been carried out.
    """
    if isinstance(error, SSLError):
        reason = str(error.kwargs["error"])
        trusted = tls.trusted("AWS_CA_BUNDLE", get_session().get_config_variable("ca_bundle"))
        return Unreachable(f"{what}: TLS failed with {_endpoint(error)}: {reason}. {trusted}", "tls-failed")
    if isinstance(error, ReadTimeoutError | ConnectionClosedError):
        detail = f"{what}: {_endpoint(error)} got the call, but its answer was lost. The call may have been "
        return Unreachable(f"{detail}carried out: look before you repeat it", "answer-lost")
    return Unreachable(f"{what}: {error}")


def _endpoint(error: BotoCoreError) -> str:
    return str(error.kwargs["endpoint_url"])


@dataclass(frozen=True)
class Fleets:
    """The deployed fleet definition, and the one in force.

    `mark` is by what `operate` recognizes the one in force. If the published one can't be read, `readable` is
    False and the deployed one stands for it.
    """

    deployed: Fleet
    in_force: Fleet
    mark: str
    readable: bool


class Operate:
    """The `operate` Lambda functions of the stack named `stack`."""

    def __init__(self, stack: str) -> None:
        self._stack = stack

    def call(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Carry out an operation and return its result.

        Raises Refused, Unreachable.
        """
        event = json.dumps({"operation": operation, "parameters": parameters})
        try:
            function = self._function(READ_OUTPUT if operation in READING else OUTPUT)
            response = self._lambda.invoke(FunctionName=function, Payload=event.encode())
            answer = json.loads(response["Payload"].read())
        except (BotoCoreError, ClientError, ValueError) as error:
            raise unanswered(f"calling {operation} of stack {self._stack}", error) from error
        if "FunctionError" in response or not isinstance(answer, dict):
            raise Unreachable(f"{operation} failed; the log of the Lambda function {function} says why")
        if "problem" in answer:
            raise Refused(answer["problem"])
        result: dict[str, Any] = answer["result"]
        return result

    @property
    def where(self) -> str:
        """Return the stack's name, region and account, because stacks of the same name are easily confused.

        Raises Unreachable.
        """
        return f"stack {self._stack} in {self.place.region}, account {self.place.account}"

    @property
    def place(self) -> Place:
        """Return where the stack is.

        Raises Unreachable.
        """
        try:
            return _place(self._description)
        except (BotoCoreError, ClientError) as error:
            raise unanswered(f"describing stack {self._stack}", error) from error

    def devices(
        self, enrolled_by: str | None = None, anchor: str | None = None, *, suspect: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Return all device records, or those that the bootstrap certificate `enrolled_by` enrolled, those
        that enrolled under the trust anchor `anchor` (both SHA-256, hex), or those that are `suspect`. The
        first page is read by the call, each other page when it is needed.

        Raises Refused, Unreachable.
        """
        origin = {"enrolledBy": enrolled_by, "anchor": anchor, "suspect": suspect}
        wanted: dict[str, Any] = {"limit": PAGE} | {name: value for name, value in origin.items() if value}
        return self._devices(self.call("devices.list", **wanted), wanted)

    def _devices(self, page: dict[str, Any], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from page["devices"]
        while page["next"]:
            page = self.call("devices.list", **wanted, after=page["next"])
            yield from page["devices"]

    def fleets(self) -> Fleets:
        """Return the stack's fleet definitions.

        Raises Refused, Unreachable.
        """
        shown = self.call("fleet.show")
        deployed, found = shown["deployed"], shown["inForce"]
        readable = found["fleet"] is not None
        known, in_force = (
            Fleet.from_json(json.dumps(each["fleet"] or deployed["fleet"])) for each in (deployed, found)
        )
        return Fleets(known, in_force, found["hash"], readable)

    def plan(self, fleet: Fleet) -> Iterator[dict[str, Any]]:
        """Yield what `fleet` would change in AWS IoT, one page of device records at a time.

        Raises Refused, Unreachable.
        """
        compiled = json.loads(fleet.to_json())
        after: dict[str, str] = {}
        while True:
            page = self.call("fleet.plan", fleet=compiled, **after)
            yield page
            if not page["next"]:
                return
            after = {"after": page["next"]}

    @cached_property
    def _lambda(self) -> LambdaClient:
        made: LambdaClient = client("lambda")
        return made

    @cached_property
    def _description(self) -> dict[str, Any]:
        found: dict[str, Any] = _described(client("cloudformation"), self._stack)
        return found

    def _function(self, name: str) -> str:
        for output in self._description.get("Outputs", []):
            if output["OutputKey"] == name:
                return str(output["OutputValue"])
        raise Unreachable(
            f"stack {self._stack} has no output {name}: is it a Firstboot stack of this version?"
        )


def deployed(stack: str) -> Deployed:
    """Return where the stack named `stack` is, the template it was deployed with, and its outputs.

    Raises Unreachable.
    """
    try:
        formation = client("cloudformation")
        found = _described(formation, stack)
        body = formation.get_template(StackName=stack, TemplateStage="Original")["TemplateBody"]
    except (BotoCoreError, ClientError) as error:
        raise unanswered(f"reading the template of stack {stack}", error) from error
    # boto3 parses a template that is JSON, as CDK's templates are.
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    return Deployed(stack, _place(found), json.loads(json.dumps(body)), outputs)


def _place(description: Any) -> Place:  # noqa: ANN401 - boto3's answer
    """Return where a stack is, which its ARN says."""
    _, partition, _, region, account, _ = description["StackId"].split(":", 5)
    return Place(partition, region, account)


def _described(formation: Any, stack: str) -> Any:  # noqa: ANN401 - boto3's client and answer
    """Return CloudFormation's description of a stack.

    Raises Unreachable if there is no stack of that name, and what boto3 raises.
    """
    try:
        (found,) = formation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if not error.response["Error"]["Message"].endswith("does not exist"):
            raise
        detail = f"there is no stack named {stack} in {formation.meta.region_name}, in the account of these"
        detail += " credentials: --stack names another stack, AWS_REGION another region"
        raise Unreachable(detail, "stack-not-found") from error
    return found


def executions() -> int:
    """Return how many Lambda executions the account may have at a time in the region.

    Raises what boto3 raises.
    """
    return int(client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"])


def bootstrap_version(qualifier: str) -> str | None:
    """Return the version of CDK's bootstrap stack, or None if there is none.

    Raises what boto3 raises.
    """
    parameters = client("ssm")
    try:
        found = parameters.get_parameter(Name=f"/cdk-bootstrap/{qualifier}/version")
    except parameters.exceptions.ParameterNotFound:
        return None
    return str(found["Parameter"]["Value"])


def client(service: str) -> Any:  # noqa: ANN401 - a boto3 client
    """Return a client of an AWS service."""
    # The AWS CLI reads AWS_REGION too, but boto3 reads AWS_DEFAULT_REGION only.
    make: Callable[..., Any] = boto3.client  # its stubs know each service by name
    return make(service, region_name=os.environ.get("AWS_REGION"), config=_CONFIG)
