"""A stand-in for the event source mappings: retry queue → redrive, ingest queue → ingest.

As a process of the stack it invokes a function whenever its queue has messages. `make redrive`
first moves the dead letters back to the queues they came from, then drains each once.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aws import REGION, client
from search import http
from tools import say

# As in template.yaml.
MAX_RECEIVE_COUNT = 1000


@dataclass(frozen=True)
class Source:
    """A queue, its dead-letter queue and the function that reads it."""

    function: str
    queue: str
    dead_letters: str
    # As in template.yaml, in seconds.
    visibility_timeout: int


REDRIVE = Source("redrive", "retry", "dead-letter", 360)
INGEST = Source("ingest", "ingest", "ingest-dead-letter", 365)
SOURCES = (REDRIVE, INGEST)

# What SQS returns at most at once. In AWS, ingest gathers a hundred times as many.
BATCH_SIZE = 10

# Much less than the visibility timeout, which AWS waits for: a local engine is back sooner.
RETRY_SECONDS = 10


class Mapping:
    """Passes messages of a queue to its function, and deletes those that it wrote."""

    def __init__(self, source: Source, moto_url: str, functions_url: str) -> None:
        self.source = source
        self.sqs = client("sqs", moto_url)
        self.queue = self.sqs.get_queue_url(QueueName=source.queue)["QueueUrl"]
        self.dead = self.sqs.get_queue_url(QueueName=source.dead_letters)["QueueUrl"]
        self._function = f"{functions_url}/2015-03-31/functions/{source.function}/invocations"

    def waiting(self, queue: str) -> int:
        """Returns the number of messages in the queue, including those in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def receive(self, queue: str) -> list[dict[str, Any]]:
        received = self.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=BATCH_SIZE, AttributeNames=["All"]
        )
        return received.get("Messages", [])

    def delete(self, queue: str, message: dict[str, Any]) -> None:
        self.sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    def once(self) -> tuple[int, int]:
        """Passes one batch to the function; returns how many messages were written and were not."""
        messages = self.receive(self.queue)
        failed = self._invoke(messages) if messages else set()
        for message in messages:
            if message["MessageId"] in failed:
                self.sqs.change_message_visibility(
                    QueueUrl=self.queue,
                    ReceiptHandle=message["ReceiptHandle"],
                    VisibilityTimeout=RETRY_SECONDS,
                )
            else:
                self.delete(self.queue, message)
        return len(messages) - len(failed), len(failed)

    def _invoke(self, messages: list[dict[str, Any]]) -> set[str]:
        """Returns the ids of the messages that were not written: all if the function fails."""
        every = {message["MessageId"] for message in messages}
        records = [_record(message, self.source.queue) for message in messages]
        payload = json.dumps({"Records": records}).encode()
        try:
            status, response = http("POST", self._function, payload, timeout=900)
            failures = json.loads(response)["batchItemFailures"] if status == 200 else None
            failed = {failure["itemIdentifier"] for failure in failures or []}
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"unexpected response of {self.source.function}: {error!r}")
            return every
        if failures is None or not failed <= every:
            say(f"{self.source.function} failed: {status} {response.decode(errors='replace')}")
            return every
        return failed

    def bring_back_dead_letters(self) -> int:
        """Moves the dead letters to the queue, like `aws sqs start-message-move-task`."""
        moved = 0
        while messages := self.receive(self.dead):
            for message in messages:
                self.sqs.send_message(QueueUrl=self.queue, MessageBody=message["Body"])
                self.delete(self.dead, message)
            moved += len(messages)
        return moved


def _record(message: dict[str, Any], queue: str) -> dict[str, Any]:
    """Returns a received message in the form that Lambda passes to a function."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(message["Body"].encode()).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{queue}",
        "awsRegion": REGION,
    }


def mappings(moto_url: str, functions_url: str) -> list[Mapping]:
    return [Mapping(source, moto_url, functions_url) for source in SOURCES]


def redrive_all(moto_url: str, functions_url: str) -> None:
    """Moves dead letters back to their queues, then writes every message that is due."""
    for mapping in mappings(moto_url, functions_url):
        moved = mapping.bring_back_dead_letters()
        written = failed = 0
        while True:
            done, left = mapping.once()
            written, failed = written + done, failed + left
            if done + left == 0:
                break
        waiting, dead = mapping.waiting(mapping.queue), mapping.waiting(mapping.dead)
        say(f"{mapping.source.queue} queue:")
        say(f"  dead letters moved back: {moved}, messages written: {written}, not: {failed}")
        say(f"  still waiting: {waiting}, dead letters: {dead}")


def main() -> None:
    moto_url, functions_url = sys.argv[1:]
    watched = mappings(moto_url, functions_url)
    say(f"watching {', '.join(mapping.source.queue for mapping in watched)}")
    while True:
        was_idle = True
        for mapping in watched:
            try:
                written, failed = mapping.once()
            except (BotoCoreError, ClientError) as error:
                say(f"the {mapping.source.queue} queue cannot be read: {error}")
                written = failed = 0
            if written or failed:
                was_idle = False
                say(f"{mapping.source.queue}: messages written: {written}, not written: {failed}")
        if was_idle:
            time.sleep(1)


if __name__ == "__main__":
    main()
