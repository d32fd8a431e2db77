"""The console with the `operate` Lambda in this process behind it."""

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
    """boto3's clients of CloudFormation and Lambda as far as the console uses them, with two stacks
    and their function in this process.
    """

    failure: dict[str, Any] | None = None

    def __init__(self, product: Product) -> None:
        self._product = product

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        """DescribeStacks."""
        if StackName not in {"Firstboot", "Other"}:
            message = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "DescribeStacks")
        return {"Stacks": [{"Outputs": [{"OutputKey": "OperateFunction", "OutputValue": "operate"}]}]}

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        """Invoke."""
        assert FunctionName == "operate"
        if self.failure:
            return self.failure
        with contextlib.redirect_stdout(io.StringIO()):  # metrics
            answer = self._product.lambdas.invoke(json.loads(Payload), CONTEXT)
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}
