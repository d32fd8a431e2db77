"""Lambda functions that are invoked by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from firstboot.aws.clients import answered
from firstboot.domain.dead_letters import Failed

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


class LambdaFunctions:
    """The functions that this role may invoke."""

    def __init__(self, client: LambdaClient) -> None:
        self._client = client

    def again(self, failed: Failed) -> None:
        """Invoke, asynchronously.

        The function's name comes from a letter in a queue of ours; the role lets no other function be
        reached by it. Raises Unavailable.
        """
        with answered():
            self._client.invoke(
                FunctionName=failed.function_arn,
                InvocationType="Event",
                Payload=json.dumps(failed.event).encode(),
            )
