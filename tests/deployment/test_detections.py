"""Detections: an alert is written and published once."""

from __future__ import annotations

import json

from templates import REGION
from world import ACCOUNT, Cloud, Seen, Stack


def subscription(cloud: Cloud, topic: str, name: str) -> str:
    """Returns the URL of a queue that gets what is published."""
    endpoint = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
    allowed = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": endpoint,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    queue = cloud.sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"]
    cloud.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint)
    return queue


def test_alert_is_written_and_published_once(complete: Stack, cloud: Cloud, seen: Seen) -> None:
    queue = subscription(cloud, complete.resources["AlertTopic"], f"{complete.name}-subscribed")
    complete.ring()
    runs = [json.loads(complete.invoke("detect")[1]) for _ in range(2)]
    received = cloud.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    cloud.sqs.delete_queue(QueueUrl=queue)
    assert [run.get("published") for run in runs] == [1, 0], complete.log("detect")
    (message,) = received["Messages"]
    assert "Log stream paused or deleted" in message["Body"]
    assert complete.engine.count("logs-auth0.alerts-default") == 1
    seen(f"{runs[0]['rules']} rules run twice, one alert written and published once")
