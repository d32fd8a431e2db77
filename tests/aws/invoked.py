"""Run the console with the `operate` Lambda function in this process."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from typer.testing import Result

from tests.aws.product import CONTEXT, Product

Run = Callable[..., Result]


class InProcess:
    """boto3's clients of CloudFormation and Lambda, as far as the console uses them.

    There are two stacks, Firstboot and Other. The functions of both run in this process.
    """

    failure: dict[str, Any] | None = None
    meta = SimpleNamespace(region_name="us-east-1", events=SimpleNamespace(register=lambda *_: None))

    def __init__(self, product: Product) -> None:
        self._product = product

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        """DescribeStacks."""
        if StackName not in {"Firstboot", "Other"}:
            message = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "DescribeStacks")
        names = {"OperateFunction": "operate", "ReadFunction": "read"}
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in names.items()]
        arn = f"arn:aws:cloudformation:us-east-1:123456789012:stack/{StackName}/0"
        return {"Stacks": [{"StackId": arn, "Outputs": outputs}]}

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        """Invoke."""
        lambdas = self._product.lambdas
        function = {"operate": lambdas.invoke, "read": lambdas.read}[FunctionName]
        if self.failure:
            return self.failure
        with contextlib.redirect_stdout(io.StringIO()):  # metrics
            answer = function(json.loads(Payload), CONTEXT)
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}
