"""Lambda functions that are invoked by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from firstboot.aws.clients import answered
from firstboot.domain.dead_letters import Failed

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


class LambdaFunctions:
    """The Lambda functions that this role may invoke."""

    def __init__(self, client: LambdaClient) -> None:
        self._client = client

    def again(self, failed: Failed) -> None:
        """Invoke a function again with the event that it failed on (Invoke, asynchronous).

        When the reply is lost, the function may run twice, which its use cases allow. Raises Unavailable.
        """
        # The function's name comes from a message, but the role may invoke only functions whose failures
        # reach our queues.
        with answered():
            self._client.invoke(
                FunctionName=failed.function_arn,
                InvocationType="Event",
                Payload=json.dumps(failed.event).encode(),
            )
