"""The stack's queues, and whether Lambda reads them."""

from __future__ import annotations

import json
from typing import Any

from local.cloud import STACK
from tests.deploy.conftest import Account
from tests.flows.conftest import until

Message = dict[str, Any]

PACED, URGENT, REGISTERED = "RegisterQueuesPaced", "RegisterQueuesUrgent", "NewcomersQueue"
"""The beginnings of the queues' logical ids."""


def set_delivery(account: Account, *, enabled: bool) -> None:
    """Have Lambda read the queues, or leave their messages there."""
    functions = account.client("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        if ":sqs:" in mapping["EventSourceArn"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def waiting(account: Account, name: str) -> list[Message]:
    """Return up to ten messages of the queue whose logical id begins with `name`. They stay in the queue."""
    url, sqs = _url(account, name), account.client("sqs")
    found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
    return [json.loads(each["Body"]) for each in found.get("Messages", [])]


def wait_for(account: Account, name: str, text: str) -> None:
    """Wait until a message that contains `text` is in a queue."""
    until(lambda: any(text in json.dumps(message) for message in waiting(account, name)))


def send(account: Account, name: str, message: Message) -> None:
    """Put a message into a queue."""
    account.client("sqs").send_message(QueueUrl=_url(account, name), MessageBody=json.dumps(message))


def left(account: Account) -> int:
    """Return how many messages all queues hold together, dead letters included."""
    sqs = account.client("sqs")
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    names.append("ApproximateNumberOfMessagesDelayed")
    found = 0
    for url in sqs.list_queues()["QueueUrls"]:
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        found += sum(map(int, attributes.values()))
    return found


def _url(account: Account, name: str) -> str:
    urls: list[str] = account.client("sqs").list_queues()["QueueUrls"]
    (url,) = (url for url in urls if url.rsplit("/", 1)[-1].startswith(f"{STACK}-{name}"))
    return url
