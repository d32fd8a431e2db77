"""The console, with the `operate` Lambda function behind it in this process."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from typer.testing import Result

from tests.aws.product import CONTEXT, Product

Run = Callable[..., Result]


class InProcess:
    """The calls of boto3's CloudFormation and Lambda clients that the console makes.

    Two stacks exist, and their function runs in this process.
    """

    failure: dict[str, Any] | None = None

    def __init__(self, product: Product) -> None:
        self._product = product

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        """Return a stack whose output names the function, as DescribeStacks does."""
        if StackName not in {"Firstboot", "Other"}:
            message = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "DescribeStacks")
        return {"Stacks": [{"Outputs": [{"OutputKey": "OperateFunction", "OutputValue": "operate"}]}]}

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        """Call the function, as Invoke does."""
        assert FunctionName == "operate"
        if self.failure:
            return self.failure
        with contextlib.redirect_stdout(io.StringIO()):  # hides the metrics
            answer = self._product.lambdas.invoke(json.loads(Payload), CONTEXT)
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}
