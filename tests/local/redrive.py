"""A stand-in for the event source mapping between the retry queue and the redrive function.

As a process of the stack it invokes the function whenever the queue has messages. `make redrive`
first moves the dead letters back to the retry queue, then drains it once.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from typing import Any

from aws import REGION, Aws
from search import http
from tools import StackError, say

# As in template.yaml.
BATCH_SIZE = 10
MAX_RECEIVE_COUNT = 1000
VISIBILITY_TIMEOUT = 360

# Much less than the visibility timeout, which AWS waits for: a local engine is back sooner.
RETRY_SECONDS = 10


class Redrive:
    """Passes messages of the retry queue to the function, and deletes those that it wrote."""

    def __init__(self, moto_url: str, functions_url: str) -> None:
        self.sqs = Aws("sqs", moto_url)
        self.retry = self._url("retry")
        self.dead = self._url("dead-letter")
        self._function = f"{functions_url}/2015-03-31/functions/redrive/invocations"

    def _url(self, name: str) -> str:
        return self.sqs("GetQueueUrl", QueueName=name)["QueueUrl"]

    def waiting(self, queue: str) -> int:
        """Returns the number of messages in the queue, including those in flight."""
        counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
        response = self.sqs("GetQueueAttributes", QueueUrl=queue, AttributeNames=[*counts])
        return sum(int(response["Attributes"][name]) for name in counts)

    def receive(self, queue: str) -> list[dict[str, Any]]:
        response = self.sqs(
            "ReceiveMessage",
            QueueUrl=queue,
            MaxNumberOfMessages=BATCH_SIZE,
            AttributeNames=["All"],
        )
        return response.get("Messages", [])

    def delete(self, queue: str, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            self.sqs("DeleteMessage", QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    def once(self) -> tuple[int, int]:
        """Passes one batch to the function; returns how many messages were written and were not."""
        messages = self.receive(self.retry)
        if not messages:
            return 0, 0
        failed = self._invoke(messages)
        written = [m for m in messages if m["MessageId"] not in failed]
        self.delete(self.retry, written)
        for message in messages:
            if message["MessageId"] in failed:
                self.sqs(
                    "ChangeMessageVisibility",
                    QueueUrl=self.retry,
                    ReceiptHandle=message["ReceiptHandle"],
                    VisibilityTimeout=RETRY_SECONDS,
                )
        return len(written), len(messages) - len(written)

    def _invoke(self, messages: list[dict[str, Any]]) -> set[str]:
        """Returns the ids of the messages that were not written: all if the function fails."""
        every = {message["MessageId"] for message in messages}
        payload = json.dumps({"Records": [_record(message) for message in messages]}).encode()
        try:
            status, response = http("POST", self._function, payload, timeout=900)
            failures = json.loads(response)["batchItemFailures"] if status == 200 else None
            failed = {failure["itemIdentifier"] for failure in failures or []}
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"unexpected response of redrive: {error!r}")
            return every
        if failures is None or not failed <= every:
            say(f"redrive failed: {status} {response.decode(errors='replace')}")
            return every
        return failed

    def bring_back_dead_letters(self) -> int:
        """Moves the dead letters to the retry queue, like `aws sqs start-message-move-task`."""
        moved = 0
        while messages := self.receive(self.dead):
            for message in messages:
                self.sqs("SendMessage", QueueUrl=self.retry, MessageBody=message["Body"])
            self.delete(self.dead, messages)
            moved += len(messages)
        return moved


def _record(message: dict[str, Any]) -> dict[str, Any]:
    """Returns a received message in the form that Lambda passes to a function."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(message["Body"].encode()).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:retry",
        "awsRegion": REGION,
    }


def redrive_all(moto_url: str, functions_url: str) -> None:
    """Moves dead letters to the retry queue, then writes every message that is due."""
    redrive = Redrive(moto_url, functions_url)
    moved = redrive.bring_back_dead_letters()
    written = failed = 0
    while True:
        done, left = redrive.once()
        written, failed = written + done, failed + left
        if done + left == 0:
            break
    parked, dead = redrive.waiting(redrive.retry), redrive.waiting(redrive.dead)
    say(f"dead letters moved back: {moved}, messages written: {written}, not written: {failed}")
    say(f"still parked: {parked}, dead letters: {dead}")


def main() -> None:
    moto_url, functions_url = sys.argv[1:]
    redrive = Redrive(moto_url, functions_url)
    say("watching the retry queue")
    while True:
        try:
            written, failed = redrive.once()
        except (OSError, StackError) as error:
            say(f"the retry queue cannot be read: {error}")
            written = failed = 0
        if written or failed:
            say(f"messages written: {written}, not written: {failed}")
        else:
            time.sleep(1)


if __name__ == "__main__":
    main()
