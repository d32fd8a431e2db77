"""The devices of a batch of the stream that `changes` failed on are reconciled without a sweep."""

from __future__ import annotations

import io
import json
from typing import Any

import boto3
import pytest

from firstboot.aws import clients
from firstboot.aws.dynamodb import stream
from tests.aws.product import CONTEXT, Product

Row = dict[str, Any]


@pytest.fixture
def arn(product: Product) -> str:
    """Give the table a stream, and return its ARN."""
    answer: Any = boto3.client("dynamodb").update_table(
        TableName=product.table,
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    return str(answer["TableDescription"]["LatestStreamArn"])


def shard(arn: str) -> str:
    """Return the id of the stream's one shard."""
    described: Any = clients.dynamodb_streams().describe_stream(StreamArn=arn)
    (found,) = described["StreamDescription"]["Shards"]
    return str(found["ShardId"])


def records(arn: str) -> list[Row]:
    """Return all records of the stream."""
    streams = clients.dynamodb_streams()
    iterator = streams.get_shard_iterator(
        StreamArn=arn, ShardId=shard(arn), ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    return [dict(each) for each in streams.get_records(ShardIterator=iterator)["Records"]]


def letter(arn: str, first: str, last: str, **changes: str) -> str:
    """Return Lambda's documented letter about the batch from one sequence number to another."""
    batch = {
        "shardId": shard(arn),
        "startSequenceNumber": first,
        "endSequenceNumber": last,
        "approximateArrivalOfFirstRecord": "2026-11-27T00:13:19Z",
        "approximateArrivalOfLastRecord": "2026-11-27T00:13:19Z",
        "batchSize": 1,
        "streamArn": arn,
    }
    return json.dumps(
        {
            "requestContext": {
                "requestId": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
                "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:changes",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 1,
            },
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": "Unhandled",
            },
            "version": "1.0",
            "timestamp": "2026-11-27T00:13:49.717Z",
            "DDBStreamBatchInfo": batch | changes,
        }
    )


def lost(product: Product, body: str) -> bool:
    """Deliver a letter, and return whether it was handled."""
    answer = product.lambdas.lost({"Records": [{"messageId": "m", "body": body}]}, CONTEXT)
    return bool(answer == {"batchItemFailures": []})


def ordered() -> list[Row]:
    """Take the orders from the urgent queue."""
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="urgent")["QueueUrl"]
    found: Any = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    return [json.loads(each["Body"]) for each in found.get("Messages", [])]


def sequence(record: Row) -> str:
    """Return a record's sequence number."""
    return str(record["dynamodb"]["SequenceNumber"])


def test_a_lost_revocation_is_ordered_at_once(product: Product, arn: str, logs: io.StringIO) -> None:
    """The letter about a batch with a revocation makes an urgent order for the device."""
    product.identity("gw-1")
    before = len(records(arn))
    product.operate("devices.revoke", deviceId="gw-1")
    changed = [each for each in records(arn)[before:] if each["dynamodb"]["Keys"]["pk"]["S"] == "DEV#gw-1"]
    assert lost(product, letter(arn, sequence(changed[0]), sequence(changed[-1])))
    (order,) = ordered()
    assert (order["deviceId"], order["priority"]) == ("gw-1", "revocation")
    (line,) = [
        each for each in map(json.loads, logs.getvalue().splitlines()) if each["message"] == "batch lost"
    ]
    assert line["devices"] == 1


def test_only_the_keys_of_the_batch_count(product: Product, arn: str) -> None:
    """Each device of the batch is ordered once, also one whose image can't be read, and no other device.

    Other rows and deleted devices are left out.
    """
    dynamodb = boto3.client("dynamodb")
    keys = ["DEV#gw-0", "DEV#gw-1", "KEY#k", "DEV#gw-2", "DEV#gw-1", "DEV#gw-3"]
    for number, key in enumerate(keys):
        dynamodb.put_item(TableName=product.table, Item={"pk": {"S": key}, "number": {"N": str(number)}})
    dynamodb.delete_item(TableName=product.table, Key={"pk": {"S": "DEV#gw-0"}})
    dynamodb.put_item(TableName=product.table, Item={"pk": {"S": "DEV#gw-4"}})
    made = [each for each in records(arn) if each["dynamodb"]["Keys"]["pk"]["S"] != "SWEEP"]
    assert len(made) == 8
    assert lost(product, letter(arn, sequence(made[1]), sequence(made[6])))
    assert sorted(order["deviceId"] for order in ordered()) == ["gw-1", "gw-2", "gw-3"]


def test_a_batch_is_read_page_by_page(product: Product, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch over several pages is read to its end, but no more than a hundred pages."""
    dynamodb, streams = boto3.client("dynamodb"), clients.dynamodb_streams()
    for number in range(5):
        dynamodb.put_item(TableName=product.table, Item={"pk": {"S": f"DEV#gw-{number}"}})
    made = records(arn)
    get_records = streams.get_records
    monkeypatch.setattr(streams, "get_records", lambda **known: get_records(Limit=1, **known))
    whole = letter(arn, sequence(made[0]), sequence(made[4]))
    assert lost(product, whole)
    assert len(ordered()) == 5
    monkeypatch.setattr(stream, "_PAGES", 4)
    assert not lost(product, whole)
    assert ordered() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("startSequenceNumber", "x"),
        ("endSequenceNumber", ""),
        ("shardId", "shardId-00000000000000000000-ffffffff"),
        ("streamArn", "arn:aws:dynamodb:us-east-1:123456789012:table/other/stream/2026-11-27T00:04:06.388"),
    ],
)
def test_a_letter_that_leads_nowhere_fails(product: Product, arn: str, name: str, value: str) -> None:
    """A letter about a batch that can't be found fails, so that it becomes a dead letter."""
    product.identity("gw-1")
    made = records(arn)
    try:
        handled = lost(product, letter(arn, sequence(made[0]), sequence(made[0]), **{name: value}))
    except Exception as error:  # noqa: BLE001 - moto fails in its own way
        pytest.fail(repr(error))
    assert not handled
    assert ordered() == []


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"DDBStreamBatchInfo": {}}'])
def test_an_unreadable_letter_fails(product: Product, arn: str, body: str) -> None:
    """A letter that can't be read fails, so that it becomes a dead letter."""
    assert not lost(product, body)


def test_a_trimmed_batch_fails(product: Product, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that DynamoDB has trimmed after 24 hours fails, so that its letter becomes a dead letter."""
    streams = clients.dynamodb_streams()
    product.identity("gw-1")
    made = records(arn)

    def trimmed(**_: Any) -> Any:
        error = {"Error": {"Code": "TrimmedDataAccessException", "Message": ""}}
        raise streams.exceptions.TrimmedDataAccessException(error, "GetRecords")

    monkeypatch.setattr(streams, "get_records", trimmed)
    assert not lost(product, letter(arn, sequence(made[0]), sequence(made[0])))
    assert ordered() == []
