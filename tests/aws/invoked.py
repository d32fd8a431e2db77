"""The console with the `operate` Lambda in this process behind it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from typer.testing import Result

import operate
from tests.aws.product import CONTEXT

Run = Callable[..., Result]


class InProcess:
    """boto3's clients of CloudFormation and Lambda as far as the console uses them, with two stacks
    and their function in this process.
    """

    failure: dict[str, Any] | None = None

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
            answer = operate.invoke(json.loads(Payload), CONTEXT)
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}
