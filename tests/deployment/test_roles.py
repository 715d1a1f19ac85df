"""Roles: each statement is needed, and a function that lacks one says so."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest

from search import http
from templates import REGION
from test_template import every_branch
from tools import ROOT
from world import ACCOUNT, STREAM, Cloud, Domain, Seen, Stack, StackOf, fresh_events

Use = Callable[[Stack], tuple[bool, str]]

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"

# AWS itself writes logs, polls the queue and follows the schedule (whose role's statement has no
# name), and MiniStack does so without a role: its policy simulator is the only witness.
SIMULATED = {"WriteOwnLog", "Trace", "UseKey", "TakeDeliveredEvents", "TakeParkedEvents", ""}
# For each statement of each role: the calls that need it.
EVERY = ("Setup", "Webhook", "Ingest", "Poller", "Redrive", "Detect")
OWN_LOG = ("logs:CreateLogStream", "logs:PutLogEvents")
SIGNED = ("es:ESHttpGet", "es:ESHttpPost")
PARKING = (("sqs:SendMessage", "RetryQueue"), ("sqs:SendMessage", "DeadLetterQueue"))
NEEDS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    **{
        (f"{name}Role", "WriteOwnLog"): tuple((action, f"{name}Logs") for action in OWN_LOG)
        for name in EVERY
    },
    **{
        (f"{name}Role", "Trace"): (
            ("xray:PutTraceSegments", "*"),
            ("xray:PutTelemetryRecords", "*"),
        )
        for name in EVERY
    },
    ("SetupRole", "UseKey"): (("kms:Decrypt", "KmsKeyArn"),),
    **{
        (f"{name}Role", "UseKey"): tuple(
            (f"kms:{action}", "KmsKeyArn") for action in ("Decrypt", "GenerateDataKey")
        )
        for name in ("Webhook", "Ingest", "Poller", "Redrive", "Detect")
    },
    ("SetupRole", "ReadSecret"): (("secretsmanager:GetSecretValue", "SearchSecretArn"),),
    ("SetupRole", "ManageIndexTemplate"): tuple(
        (action, "SearchResourceArn") for action in (*SIGNED, "es:ESHttpPut")
    ),
    ("WebhookRole", "ReadSecrets"): (
        ("secretsmanager:GetSecretValue", "WebhookSecretArn"),
        ("secretsmanager:GetSecretValue", "SearchSecretArn"),
        ("secretsmanager:GetSecretValue", "MaskSecretArn"),
    ),
    ("WebhookRole", "ParkEvents"): PARKING,
    ("PollerRole", "ReadSecrets"): (
        ("secretsmanager:GetSecretValue", "Auth0SecretArn"),
        ("secretsmanager:GetSecretValue", "SearchSecretArn"),
        ("secretsmanager:GetSecretValue", "MaskSecretArn"),
    ),
    ("DetectRole", "PublishAlerts"): (("sns:Publish", "AlertTopic"),),
    **{
        (f"{name}Role", "KeepCheckpoint"): (
            ("dynamodb:GetItem", "CheckpointTable"),
            ("dynamodb:PutItem", "CheckpointTable"),
        )
        for name in ("Poller", "Detect")
    },
    **{
        (f"{name}FunctionTickRole", ""): (("lambda:InvokeFunction", f"{name}Function"),)
        for name in ("Poller", "Detect")
    },
    **{
        (f"{name}Role", "ReadSecret"): (("secretsmanager:GetSecretValue", "SearchSecretArn"),)
        for name in ("Ingest", "Redrive", "Detect")
    },
    **{
        (f"{name}Role", "ReadMaskSecret"): (("secretsmanager:GetSecretValue", "MaskSecretArn"),)
        for name in ("Ingest", "Redrive")
    },
    **{
        (role, sid): tuple(
            (f"sqs:{action}", queue)
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        )
        for role, sid, queue in (
            ("IngestRole", "TakeDeliveredEvents", "IngestQueue"),
            ("RedriveRole", "TakeParkedEvents", "RetryQueue"),
        )
    },
    **{(f"{name}Role", "SendEvents"): PARKING for name in ("Ingest", "Poller", "Redrive")},
    **{
        (f"{name}Role", "WriteEvents"): tuple((action, "SearchResourceArn") for action in SIGNED)
        for name in ("Webhook", "Ingest", "Poller", "Redrive", "Detect")
    },
    **{
        (f"{name}Role", "CallCollection"): (("aoss:APIAccessAll", "SearchResourceArn"),)
        for name in EVERY
    },
}

# For each stack whose statements are taken away: its parameters.
STACKS = {
    f"{sign_in}-{inputs}": {
        "Inputs": inputs,
        "PollState": "DISABLED",
        "MaskUserData": "hash",
        "InstallIndexTemplate": "false",
        "Detections": "on",
        **values,
    }
    for sign_in, values in {
        "secret": {"KmsKeyArn": KEY, "Tracing": "Active"},
        "es": {
            "SearchSignIn": "es",
            "SearchResourceArn": f"arn:aws:es:{REGION}:{ACCOUNT}:domain/logs",
        },
        "aoss": {
            "SearchSignIn": "aoss",
            "SearchResourceArn": f"arn:aws:aoss:{REGION}:{ACCOUNT}:collection/logs",
        },
    }.items()
    # An event source has one bus, so only one stack at a time takes it.
    for inputs in ("both", "eventbridge")
}


def arn(stack: Stack, name: str) -> str:
    """Returns the ARN behind a parameter or a resource, as a call names it."""
    if name == "SearchResourceArn":
        resource = stack.parameters[name]
        return f"{resource}/_bulk" if ":es:" in resource else resource
    if name in stack.parameters or name == "*":
        return stack.parameters.get(name, name)
    physical = stack.resources[name]
    service, resource = {
        "Queue": ("sqs", physical.rpartition("/")[2]),
        "Table": ("dynamodb", f"table/{physical}"),
        "Function": ("lambda", f"function:{physical}"),
        "Topic": ("sns", physical.rpartition(":")[2]),
        "Logs": ("logs", f"log-group:{physical}:log-stream:2026/01/01/[$LATEST]1"),
    }[re.findall("[A-Z][a-z]+", name)[-1]]
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def statements(stack: Stack) -> list[tuple[str, str, set[str]]]:
    """Returns the statements of each role that the stack has, with the actions that they allow."""
    iam = stack.cloud.iam
    return [
        (name, statement.get("Sid", ""), {*every_branch([statement["Action"]])})
        for name, role in stack.resources.items()
        if name.endswith("Role")
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]
        for statement in iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"][
            "Statement"
        ]
    ]


def denied(stack: Stack, role: str, calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns those of the calls that the policy simulator denies to the role."""
    source = f"arn:aws:iam::{ACCOUNT}:role/{stack.resources[role]}"
    found = []
    for action, resource in calls:
        answer = stack.cloud.iam.simulate_principal_policy(
            PolicySourceArn=source, ActionNames=[action], ResourceArns=[resource]
        )
        if answer["EvaluationResults"][0]["EvalDecision"] != "allowed":
            found.append((action, resource))
    return found


def check_statements(stack: Stack) -> str:
    """Asks the policy simulator, with and without each statement."""
    # Whoever signs requests reads no secret of the engine.
    signs = stack.parameters.get("SearchSignIn", "secret") != "secret"
    hashes = stack.parameters.get("MaskUserData") == "hash"
    unread = {"SearchSecretArn"} if signs else set()
    unread |= set() if hashes else {"MaskSecretArn"}
    found = statements(stack)
    for role, sid, actions in found:
        assert actions == {action for action, _ in NEEDS[role, sid]}, f"{role}: {sid}"
        needs = [need for need in NEEDS[role, sid] if need[1] not in unread]
        calls = [(action, arn(stack, name)) for action, name in needs]
        assert not denied(stack, role, calls), f"{role}: {sid} has to allow this"
        with stack.without(role, sid):
            assert denied(stack, role, calls) == calls, f"{role} without {sid}"
    CHECKED.update((role, sid) for role, sid, _ in found)
    roles = {role for role, *_ in found}
    return f"{len(found)} statements of {len(roles)} roles: allowed with, denied without"


CHECKED: set[tuple[str, str]] = set()


def test_statement_is_needed(complete: Stack, seen: Seen) -> None:
    seen(check_statements(complete))


# --- what is taken away is missed ------------------------------------------------------------


# Each returns whether the function failed, and how.
def post(stack: Stack) -> tuple[bool, str]:
    status = stack.post(fresh_events(1))
    return status >= 500, f"POST gets {status}"


def park(stack: Stack) -> tuple[bool, str]:
    with stack.engine.away():
        return post(stack)


def poll(stack: Stack) -> tuple[bool, str]:
    good, result = stack.invoke("poller")
    return not good, f"poll fails: {result}"


def take(stack: Stack, function: str, body: str = "") -> tuple[bool, str]:
    """Has a function take a message of its queue, with this body instead of the sample's."""
    event = json.loads((ROOT / f"events/{function}.json").read_text())
    event["Records"][0]["body"] = body or event["Records"][0]["body"]
    good, result = stack.invoke(function, event)
    failed = not good or bool(json.loads(result)["batchItemFailures"])
    return failed, "message returns to the queue"


def redrive(stack: Stack) -> tuple[bool, str]:
    return take(stack, "redrive")


def ingest(stack: Stack) -> tuple[bool, str]:
    return take(stack, "ingest")


# Its error document is cut, so that all of it becomes a dead letter.
BROKEN = '{"log_id":"' + "x" * 200_000


def ingest_broken(stack: Stack) -> tuple[bool, str]:
    return take(stack, "ingest", BROKEN)


def poll_late(stack: Stack) -> tuple[bool, str]:
    """Has the poller read an event of before a rollover, which has to be looked at once more."""
    stack.post(fresh_events(1))
    stack.engine.call("POST", f"{STREAM}/_rollover")
    events = fresh_events(1)
    an_hour_ago = time.gmtime(time.time() - 3600)
    events[0]["data"]["date"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", an_hour_ago)
    url = f"{stack.parameters['Auth0Url']}/_stand-in/events"
    status, _ = http("POST", url, json.dumps(events).encode())
    assert status == HTTPStatus.CREATED
    return poll(stack)


def redrive_broken(stack: Stack) -> tuple[bool, str]:
    header = '{"version":1,"input":"http_endpoint","received_at":"2026-03-14T09:12:00Z"}'
    frames = f"{header}\n{len(BROKEN)}\n{BROKEN}\n".encode()
    return take(stack, "redrive", base64.b64encode(gzip.compress(frames)).decode())


def search(stack: Stack) -> tuple[bool, str]:
    good, result = stack.invoke("detect")
    return not good or json.loads(result)["failed"] > 0, f"detect fails: {result}"


def detect(stack: Stack) -> tuple[bool, str]:
    stack.ring()
    return search(stack)


def publish(stack: Stack) -> tuple[bool, str]:
    """MiniStack's own policy of a topic lets every role publish; this one leaves it to the role."""
    topic = stack.resources["AlertTopic"]
    owner = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
    owner |= {"Action": "sns:Publish", "Resource": topic}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [owner]})
    stack.cloud.sns.set_topic_attributes(
        TopicArn=topic, AttributeName="Policy", AttributeValue=policy
    )
    return detect(stack)


def update(stack: Stack) -> tuple[bool, str]:
    with stack.release("one that reads no secret"):
        status = stack.deploy()
    reason = stack.cloud.reason(stack.name)
    return status == "UPDATE_ROLLBACK_COMPLETE", f"update is rolled back\n{reason}"


MISSED: set[tuple[str, str]] = set()


def failure_without(stack: Stack, function: str, sid: str, use: Use) -> str:
    """Returns how the function fails without the statement."""
    with stack.without(f"{function.capitalize()}Role", sid):
        stack.cloud.restart(f"{stack.name}-{function}")
        since = time.time()
        failed, how = use(stack)
        log = stack.log(function, since) + how
    stack.cloud.restart(f"{stack.name}-{function}")
    assert failed, f"{function} without {sid}: {how}\n{log[-2000:]}"
    action = re.search(r"is not authorized to perform: ([\w:]+)", log)
    assert action, log[-2000:]
    MISSED.add((f"{function.capitalize()}Role", sid))
    return f"{how.splitlines()[0][:60]}; AccessDenied for {action[1]}"


@pytest.mark.parametrize(
    ("function", "sid", "use"),
    [
        ("webhook", "ReadSecrets", post),
        ("webhook", "ParkEvents", park),
        ("poller", "ReadSecrets", poll),
        ("poller", "KeepCheckpoint", poll),
        ("poller", "SendEvents", poll_late),
        ("redrive", "ReadSecret", redrive),
        ("redrive", "SendEvents", redrive_broken),
        ("detect", "ReadSecret", detect),
        ("detect", "KeepCheckpoint", detect),
        ("detect", "PublishAlerts", publish),
        ("setup", "ReadSecret", update),
    ],
)
def test_function_fails_without(
    function: str, sid: str, use: Use, complete: Stack, seen: Seen
) -> None:
    seen(failure_without(complete, function, sid, use))


def test_events_are_stored_with_all_statements_again(complete: Stack, seen: Seen) -> None:
    seen(complete.stores_events())


# --- other stacks ----------------------------------------------------------------------------


def post_parked(stack: Stack) -> tuple[bool, str]:
    status = stack.post(fresh_events(1))
    return stack.depth("RetryQueue") > 0, f"POST gets {status}, but is parked"


def install(stack: Stack) -> tuple[bool, str]:
    status = stack.deploy(InstallIndexTemplate="true")
    return status == "UPDATE_ROLLBACK_COMPLETE", stack.cloud.reason(stack.name)


# Of the stacks above: functions and statements that the main one lacks.
FAILURES: dict[str, tuple[tuple[str, str, Use], ...]] = {
    "secret-eventbridge": (
        ("ingest", "ReadSecret", ingest),
        ("ingest", "ReadMaskSecret", ingest),
        ("ingest", "SendEvents", ingest_broken),
        ("redrive", "ReadMaskSecret", redrive),
    ),
}
# Of the stacks that sign requests: what each function needs for that, by the value of Inputs.
SIGNING: dict[str, tuple[tuple[str, Use], ...]] = {
    "both": (
        ("webhook", post_parked),
        ("poller", poll),
        ("redrive", redrive),
        ("detect", search),
        ("setup", install),
    ),
    "eventbridge": (("ingest", ingest),),
}


def failures(stack: Stack) -> Iterator[tuple[str, str, Use]]:
    """Yields functions and statements, and has the domain ask for each function's role."""
    yield from FAILURES.get(stack.name, ())
    service = stack.parameters.get("SearchSignIn", "secret")
    for function, use in SIGNING[stack.parameters["Inputs"]] if service != "secret" else ():

        def refusal(method: str, signature: str, role: str = f"{function.capitalize()}Role") -> str:
            assert f"/{service}/aws4_request" in signature
            action = f"es:ESHttp{method.capitalize()}" if service == "es" else "aoss:APIAccessAll"
            is_denied = denied(stack, role, [(action, arn(stack, "SearchResourceArn"))])
            return f"User: {role} is not authorized to perform: {action}" if is_denied else ""

        stack.engine.refusal = refusal
        on_domain = "ManageIndexTemplate" if function == "setup" else "WriteEvents"
        yield function, on_domain if service == "es" else "CallCollection", use


@pytest.mark.parametrize("name", STACKS)
def test_statement_of_another_stack_is_needed(
    name: str, cloud: Cloud, domain: Domain, stack_of: StackOf, seen: Seen
) -> None:
    stack = stack_of(name, domain, **STACKS[name])
    stack.expect("CREATE_COMPLETE")
    told = [check_statements(stack)]
    told += [failure_without(stack, *failure) for failure in failures(stack)]
    seen("; ".join(told))
    cloud.delete(stack.name)


def test_each_statement_is_checked(seen: Seen) -> None:
    """Those of SIMULATED by the simulator only, all others by a function that fails as well."""
    assert set(NEEDS) == CHECKED
    assert {statement for statement in NEEDS if statement[1] not in SIMULATED} == MISSED
    seen(f"{len(NEEDS)} statements taken away in a stack; {len(MISSED)} are missed by a function")
