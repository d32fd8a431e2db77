"""The way to the `operate` Lambda: its name from the stack's outputs, then Invoke.

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
from botocore.exceptions import BotoCoreError, ClientError

from console.report import Deployed
from firstboot.domain.fleet import Fleet
from firstboot.policy.render import Place

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

OUTPUT = "OperateFunction"
PAGE = 200
_CONFIG = Config(connect_timeout=5, read_timeout=65, retries={"mode": "standard", "total_max_attempts": 3})


class Refused(Exception):
    """`operate` understood the call and said no; `problem` is its answer (RFC 9457 members)."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or "refused")
        self.problem = problem


class Unreachable(Exception):
    """The call did not get to `operate`, or came to no end there."""


@dataclass(frozen=True)
class Fleets:
    """The fleet definition that is deployed, and the one in force."""

    deployed: Fleet
    in_force: Fleet


class Operate:
    """The `operate` Lambda of the stack named `stack`."""

    def __init__(self, stack: str) -> None:
        self._stack = stack

    def call(self, operation: str, **parameters: object) -> dict[str, Any]:
        """Have `operation` done and return its result.

        Raises Refused, Unreachable.
        """
        event = json.dumps({"operation": operation, "parameters": parameters})
        try:
            response = self._lambda.invoke(FunctionName=self._function, Payload=event.encode())
            answer = json.loads(response["Payload"].read())
        except (BotoCoreError, ClientError, ValueError) as error:
            raise Unreachable(f"calling {self._stack}'s operate function: {error}") from error
        if "FunctionError" in response or not isinstance(answer, dict):
            raise Unreachable(f"{self._stack}'s operate function failed; its log says why")
        if "problem" in answer:
            raise Refused(answer["problem"])
        result: dict[str, Any] = answer["result"]
        return result

    def devices(self, enrolled_by: str | None = None) -> Iterator[dict[str, Any]]:
        """Return all device records, or those that the bootstrap certificate `enrolled_by` (SHA-256, hex)
        enrolled. The first page is read by the call, each other page when it is needed.

        Raises Refused, Unreachable.
        """
        wanted: dict[str, Any] = {"limit": PAGE} | ({"enrolledBy": enrolled_by} if enrolled_by else {})
        return self._devices(self.call("devices.list", **wanted), wanted)

    def _devices(self, page: dict[str, Any], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield from page["devices"]
        while page["next"]:
            page = self.call("devices.list", **wanted, after=page["next"])
            yield from page["devices"]

    def fleets(self) -> Fleets:
        """The stack's fleet definitions.

        Raises Refused, Unreachable.
        """
        shown = self.call("fleet.show")
        return Fleets(
            *(Fleet.from_json(json.dumps(shown[name]["fleet"])) for name in ("deployed", "inForce"))
        )

    def plan(self, fleet: Fleet) -> Iterator[dict[str, Any]]:
        """What `fleet` would touch in AWS IoT, one page of device records at a time.

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
    def _function(self) -> str:
        stacks = client("cloudformation").describe_stacks(StackName=self._stack)
        for output in stacks["Stacks"][0].get("Outputs", []):
            if output["OutputKey"] == OUTPUT:
                return str(output["OutputValue"])
        raise Unreachable(f"stack {self._stack} has no output {OUTPUT}: is it a Firstboot stack?")


def deployed(stack: str) -> Deployed:
    """Where the stack named `stack` is, the template it was deployed with, and its outputs.

    Raises Unreachable.
    """
    try:
        formation = client("cloudformation")
        (found,) = formation.describe_stacks(StackName=stack)["Stacks"]
        body = formation.get_template(StackName=stack, TemplateStage="Original")["TemplateBody"]
    except (BotoCoreError, ClientError) as error:
        raise Unreachable(f"reading the template of {stack}: {error}") from error
    _, partition, _, region, account, _ = found["StackId"].split(":", 5)
    # boto3 parses a template that is JSON; CDK's are.
    outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])}
    return Deployed(stack, Place(partition, region, account), json.loads(json.dumps(body)), outputs)


def client(service: str) -> Any:  # noqa: ANN401 - a boto3 client
    """A client of a service."""
    # Like the AWS CLI; boto3 itself reads AWS_DEFAULT_REGION only.
    make: Callable[..., Any] = boto3.client  # its stubs know each service by name
    return make(service, region_name=os.environ.get("AWS_REGION"), config=_CONFIG)
