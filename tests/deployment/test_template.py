"""template.yaml itself, without a deployment: linters, and our own rules."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guided import holds
from templates import REGION, TEMPLATE, functions, transformed
from tools import ROOT

# Read by the C library (mallopt(3)), not by shared/src/start/config.rs.
GLIBC = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"}

# Actions that AWS documents as taking no resource.
WITHOUT_RESOURCE = {
    *("ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"),
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
}

# Lambda's limit for a function's environment, measured as JSON.
ENVIRONMENT_BYTES = 4096
# Upper bounds of what an environment refers to. CloudFormation cuts the names that it makes up, and
# a function named after the stack leaves 56 characters for it.
STACK_NAME_BYTES = 56
REFERENCE_BYTES = {
    "AWS::SQS::Queue": len("https://sqs.ap-southeast-1.amazonaws.com/123456789012/") + 80,
    "AWS::DynamoDB::Table": 90,
    "AWS::SecretsManager::Secret": 130,
    "AWS::SNS::Topic": len("arn:aws:sns:ap-southeast-1:123456789012:") + STACK_NAME_BYTES + 7,
}

# What has to be encrypted with KmsKeyArn.
ENCRYPTED = {
    *("AWS::SQS::Queue", "AWS::SecretsManager::Secret"),
    *("AWS::DynamoDB::Table", "AWS::Logs::LogGroup", "AWS::SNS::Topic"),
}
QUEUES = ("RetryQueue", "DeadLetterQueue")

TRANSFORMED = transformed(SearchEndpoint="https://search.example.com")
RESOURCES: dict[str, Any] = TRANSFORMED["Resources"]


def of_type(kind: str) -> dict[str, dict]:
    """Returns the properties of the resources of a type, by name."""
    return {
        name: resource["Properties"]
        for name, resource in RESOURCES.items()
        if resource["Type"] == f"AWS::{kind}"
    }


# --- linters ---------------------------------------------------------------------------------


def lint(*command: str) -> None:
    tool = Path(sys.executable).with_name(command[0])
    env = os.environ | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": REGION}
    env |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    done = subprocess.run(
        [tool, *command[1:]], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_sam_finds_nothing() -> None:
    lint("sam", "validate", "--lint", "--template", str(TEMPLATE), "--region", REGION)


def test_cfn_lint_finds_nothing_in_the_transformed_template(tmp_path: Path) -> None:
    result = tmp_path / "transformed.json"
    result.write_text(json.dumps(TRANSFORMED, indent=1))
    lint("cfn-lint", "--regions", REGION, "--template", str(result))


# --- permissions -----------------------------------------------------------------------------


def every_branch(value: Any) -> list:
    """Returns every value that an expression may have, whatever its conditions are."""
    if isinstance(value, list):
        return [branch for item in value for branch in every_branch(item)]
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        return every_branch(value["Fn::If"][1]) + every_branch(value["Fn::If"][2])
    if value == {"Ref": "AWS::NoValue"}:
        return []
    return [value]


def text_of(resource: Any) -> str:
    """Returns the text of a resource in which a wildcard could be."""
    if isinstance(resource, dict) and "Fn::Sub" in resource:
        return resource["Fn::Sub"]
    return resource if isinstance(resource, str) else ""


def policy_problems(document: dict) -> Iterator[str]:
    """Yields a problem for each statement that allows more than named resources."""
    for statement in every_branch(document["Statement"]):
        if statement["Effect"] != "Allow" or "Principal" in statement:
            continue
        actions = every_branch(statement["Action"])
        yield from (f"allows the action {action}" for action in actions if "*" in action)
        for resource in every_branch(statement["Resource"]):
            text = text_of(resource)
            if text == "*":
                if not WITHOUT_RESOURCE.issuperset(actions):
                    yield f"allows {actions} on every resource"
            # Only the last part may be open: paths of a domain, ids of interfaces.
            elif "*" in text.removesuffix("/*"):
                yield f"allows {actions} on {text}"


def test_statement_names_its_resources() -> None:
    documents = [(n, p["PolicyDocument"]) for n, p in of_type("IAM::ManagedPolicy").items()]
    for name, role in of_type("IAM::Role").items():
        documents += [(name, policy["PolicyDocument"]) for policy in role.get("Policies", [])]
        for policy in every_branch(role.get("ManagedPolicyArns", [])):
            assert "Ref" in policy, f"{name} has the policy {policy}, which is not in this template"
    assert not [(name, said) for name, document in documents for said in policy_problems(document)]


@pytest.mark.parametrize(
    "statement",
    [
        {"Action": "sqs:*", "Resource": "arn:aws:sqs:eu-west-1:123456789012:q"},
        {"Action": "sqs:SendMessage", "Resource": "*"},
        {"Action": "sqs:SendMessage", "Resource": {"Fn::If": ["C", {"Ref": "Q"}, "*"]}},
        {
            "Action": "es:ESHttpPut",
            "Resource": {"Fn::Sub": "arn:aws:es:*:${AWS::AccountId}:domain/*"},
        },
    ],
    ids=["action", "resource", "branch", "region"],
)
def test_wildcard_is_found(statement: dict) -> None:
    assert [*policy_problems({"Statement": [{"Effect": "Allow"} | statement]})]


def rule_arn(rule: dict) -> dict[str, str]:
    """Returns the ARN of a rule on the bus of the event source."""
    account = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}"
    return {"Fn::Sub": f"{account}:rule/${{EventSourceName}}/{text_of(rule['Name'])}"}


def queue_policy_problems(resources: dict) -> list[str]:
    """Returns a problem for each queue that takes messages without TLS, or of anything but a rule.

    The account's own roles need no policy."""
    found = []
    rules = [r["Properties"] for r in resources.values() if r["Type"] == "AWS::Events::Rule"]
    needed = set()
    for rule in rules:
        for target in rule["Targets"]:
            for arn in (target["Arn"], target["DeadLetterConfig"]["Arn"]):
                needed.add(arn["Fn::GetAtt"][0])
    allowed = [{"ArnEquals": {"aws:SourceArn": rule_arn(rule)}} for rule in rules]
    plain = {name for name, resource in resources.items() if resource["Type"] == "AWS::SQS::Queue"}
    for name, resource in resources.items():
        if resource["Type"] != "AWS::SQS::QueuePolicy":
            continue
        queues = [queue["Ref"] for queue in resource["Properties"]["Queues"]]
        arns = [{"Fn::GetAtt": [queue, "Arn"]} for queue in queues]
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Deny":
                if (
                    statement["Principal"] == statement["Resource"] == "*"
                    and statement["Action"] == "sqs:*"
                    and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
                ):
                    plain -= set(queues)
                continue
            if statement["Resource"] not in arns:
                found.append(f"{name} is about {statement['Resource']}, not about its queue")
            if statement["Principal"] != {"Service": "events.amazonaws.com"}:
                found.append(f"{name} allows {statement['Principal']}")
            if statement["Action"] != "sqs:SendMessage":
                found.append(f"{name} allows {statement['Action']}")
            if statement.get("Condition") not in allowed:
                found.append(f"{name} allows other rules than ours")
            elif statement["Resource"] in arns:
                needed.discard(statement["Resource"]["Fn::GetAtt"][0])
    found += [f"{queue} takes requests without TLS" for queue in sorted(plain)]
    return found + [f"EventBridge may not send to {queue}" for queue in sorted(needed)]


def test_queue_takes_messages_of_its_rule_only() -> None:
    assert not queue_policy_problems(RESOURCES)


INGEST_QUEUE = '"Resource": {"Fn::GetAtt": ["IngestQueue", "Arn"]}'


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ('"events.amazonaws.com"', '"sns.amazonaws.com"'),
        ('{"Service": "events.amazonaws.com"}', '"*"'),
        (f'"Action": "sqs:SendMessage", {INGEST_QUEUE}', f'"Action": "sqs:*", {INGEST_QUEUE}'),
        ("rule/${EventSourceName}/${AWS::StackName}-ingest", "rule/*"),
        ('{"aws:SecureTransport": "false"}', '{"aws:SecureTransport": "true"}'),
        ('"Queues": [{"Ref": "IngestQueue"}]', '"Queues": [{"Ref": "RetryQueue"}]'),
        ('"Queues": [{"Ref": "RetryQueue"}, ', '"Queues": ['),
    ],
    ids=["service", "anybody", "action", "rule", "plain", "other-queue", "no-policy"],
)
def test_open_queue_is_found(there: str, instead: str) -> None:
    text = json.dumps(RESOURCES)
    assert there in text
    assert queue_policy_problems(json.loads(text.replace(there, instead)))


# --- queues and functions --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "event", "queue"),
    [
        ("RedriveFunction", "Parked", "RetryQueue"),
        ("IngestFunction", "Delivered", "IngestQueue"),
    ],
)
def test_function_has_time_for_a_batch_of_its_queue(function: str, event: str, queue: str) -> None:
    mapping = RESOURCES[function + event]["Properties"]
    window = mapping.get("MaximumBatchingWindowInSeconds", 0)
    needed = 6 * RESOURCES[function]["Properties"]["Timeout"] + window
    assert RESOURCES[queue]["Properties"]["VisibilityTimeout"] >= needed
    # Otherwise one message has the whole batch repeated.
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    # Otherwise it may take all of the account's concurrency.
    assert "ScalingConfig" in mapping
    assert mapping["BatchSize"] <= 10 or window > 0, "more than ten messages require a window"


def test_eventbridge_delivers_the_event_alone_for_a_day() -> None:
    target = RESOURCES["EventRule"]["Properties"]["Targets"][0]
    assert target["InputPath"] == "$.detail"
    retries = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    assert target["RetryPolicy"] == retries


def test_ingest_is_there_with_eventbridge_only() -> None:
    for name, resource in RESOURCES.items():
        if name.startswith("Ingest") or name in ("EventBus", "EventRule"):
            wanted = "IngestSilenceRings" if name == "IngestSilence" else "EventBridgeOn"
            assert resource.get("Condition") == wanted, name


def test_data_is_encrypted_with_the_key() -> None:
    for name, resource in RESOURCES.items():
        if resource["Type"] in ENCRYPTED:
            text = json.dumps(resource)
            assert '["HasKey"' in text and '"KmsKeyArn"' in text, name


def test_message_fits_the_queues() -> None:
    frames = (ROOT / "shared/src/delivery/frames.rs").read_text()
    limit = re.search(r"^const MAX_MESSAGE: usize = ([\d *]+);$", frames, re.MULTILINE)
    limit = math.prod(map(int, limit[1].split("*")))
    for queue in QUEUES:
        assert RESOURCES[queue]["Properties"]["MaximumMessageSize"] == limit, queue


def test_function_in_a_vpc_may_attach_to_it() -> None:
    """MiniStack has no VPC: these statements are checked here alone."""
    (policy,) = of_type("IAM::ManagedPolicy")
    for function in functions():
        properties = RESOURCES[function]["Properties"]
        assert properties["VpcConfig"]["Fn::If"][0] == "InVpc", function
        role = RESOURCES[properties["Role"]["Fn::GetAtt"][0]]["Properties"]
        assert {"Ref": policy} in every_branch(role["ManagedPolicyArns"]), function
    statements = RESOURCES[policy]["Properties"]["PolicyDocument"]["Statement"]
    allowed = {action for one in statements for action in every_branch([one["Action"]])}
    interface = ("CreateNetworkInterface", "DeleteNetworkInterface", "DescribeNetworkInterfaces")
    assert allowed >= {f"ec2:{action}" for action in interface}


def test_webhook_answers_before_the_gateway_gives_up() -> None:
    assert RESOURCES["WebhookFunction"]["Properties"]["Timeout"] < 30


def test_own_host_name_cannot_be_bypassed() -> None:
    alone = RESOURCES["Api"]["Properties"]["DisableExecuteApiEndpoint"]
    assert alone == {"Fn::If": ["HasDomain", True, False]}


def test_backfill_takes_no_reserved_concurrency_from_ticks() -> None:
    assert "ReservedConcurrentExecutions" not in RESOURCES["PollerFunction"]["Properties"]


def test_state_is_kept_unless_a_first_deployment_fails() -> None:
    for name in ("CheckpointTable", *QUEUES, "IngestQueue", "IngestDeadLetterQueue"):
        kept = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
        assert RESOURCES[name].items() >= kept.items(), name
    recovery = RESOURCES["CheckpointTable"]["Properties"]["PointInTimeRecoverySpecification"]
    assert recovery == {"PointInTimeRecoveryEnabled": True}


# --- parameters and environments -------------------------------------------------------------


def test_parameter_is_in_a_group() -> None:
    groups = TRANSFORMED["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(TRANSFORMED["Parameters"])


def environment(function: str) -> dict[str, Any]:
    return RESOURCES[function]["Properties"]["Environment"]["Variables"]


@pytest.mark.parametrize("function", functions())
def test_variable_is_read(function: str) -> None:
    reader = (ROOT / "shared/src/start/config.rs").read_text()
    for variable in environment(function):
        assert f'"{variable}"' in reader or variable in GLIBC


def longest(value: Any, empty: set[str]) -> int:
    """Returns the length of the longest value that an environment variable may have, as JSON.

    The parameters in `empty` are not set."""
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        return max(longest(branch, empty) for branch in value["Fn::If"][1:])
    if isinstance(value, str):
        return len(json.dumps(value)) - 2
    name = value["Ref"]
    if name in empty:
        return 0
    if name == "AWS::StackName":
        return STACK_NAME_BYTES
    if name in RESOURCES:
        return REFERENCE_BYTES[RESOURCES[name]["Type"]]
    parameter = TRANSFORMED["Parameters"][name]
    if "AllowedValues" in parameter:
        return max(map(len, parameter["AllowedValues"]))
    length = parameter["MaxLength"]
    if name == "DetectionsSettings":
        # JSON within JSON: a third of it are quotation marks, which take two bytes.
        return length * 4 // 3
    # A line break takes two bytes as JSON; a line of a certificate has 64 characters.
    return length + (length // 64 + 1 if name == "SearchCaCertificate" else 0)


@pytest.mark.parametrize("function", functions())
def test_longest_values_fit_the_environment(function: str) -> None:
    """Those which the rules allow together."""
    rule = TRANSFORMED["Rules"]["EnvironmentIsLimited"]
    long = ("SearchCaCertificate", "AllowedSourceCidrs", "IncludeTypes", "ExcludeTypes")
    for given in itertools.product(("", "long"), repeat=len(long)):
        values = dict(zip(long, given, strict=True))
        refused = [not holds(assertion["Assert"], values) for assertion in rule["Assertions"]]
        if holds(rule["RuleCondition"], values) and any(refused):
            continue
        empty = {name for name, value in values.items() if not value}
        size = 1 + sum(
            len(f'"{variable}":"",') + longest(value, empty)
            for variable, value in environment(function).items()
        )
        assert size <= ENVIRONMENT_BYTES, values


# --- alarms ----------------------------------------------------------------------------------


def test_alarm_has_a_runbook() -> None:
    runbook = (ROOT / "docs/operations.md").read_text()
    for name in of_type("CloudWatch::Alarm"):
        assert f"### {name}\n" in runbook


# For the start of an alarm's name: the functions that it may watch.
WATCHED = {
    "PollerFillsIn": ("webhook", "ingest", "poller", "redrive"),
    "Webhook": ("webhook",),
    "Ingest": ("ingest",),
    "Poller": ("poller",),
    "Checkpoint": ("poller",),
    "Detections": ("detect",),
    "": ("webhook", "ingest", "poller", "redrive"),
}
# Of metric math: whose metric a query is that is not named after its function.
QUERIES = {"stored": "poller", "read": "poller"}


def watched_dimensions(alarm: str, namespace: str, query: str) -> list[dict]:
    """Returns the dimensions that an alarm of this name may watch, in a query of its math."""
    if namespace == "AWS/SQS":
        prefix = "Ingest" if alarm.startswith("Ingest") else ""
        queue = f"{prefix}DeadLetterQueue" if alarm.endswith("DeadLetters") else prefix + "Queue"
        queue = "RetryQueue" if queue == "Queue" else queue
        return [{"QueueName": {"Fn::GetAtt": [queue, "QueueName"]}}]
    if namespace == "AWS/ApiGateway":
        return [{"ApiId": {"Ref": "Api"}}]
    stack = {"Stack": {"Ref": "AWS::StackName"}}
    if alarm == "WebhookRefused":
        return [stack]
    functions = next(names for prefix, names in WATCHED.items() if alarm.startswith(prefix))
    named = QUERIES.get(query, query)
    return [stack | {"Function": one} for one in ([named] if named in functions else functions)]


def watched(alarm: dict) -> list[tuple[str, dict]]:
    """Returns the metrics of an alarm: its own, or those of its math, by the ids of the queries."""
    queries = [q for q in alarm.get("Metrics", []) if "MetricStat" in q]
    return [(q["Id"], q["MetricStat"]["Metric"]) for q in queries] or [("", alarm)]


def alarm_problems(resources: dict) -> list[str]:
    """Returns a problem for each metric of an alarm that nothing of this stack emits."""
    emitting = ("shared/src/metrics.rs", "functions/detect/src/handler.rs")
    code = "".join((ROOT / file).read_text() for file in emitting)
    (refused,) = resources["RefusedPosts"]["Properties"]["MetricTransformations"]
    found = []
    if refused["Dimensions"] != [{"Key": "Stack", "Value": "$.stack"}]:
        found.append("RefusedPosts has other dimensions")
    for name, resource in resources.items():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        for query, metric in watched(resource["Properties"]):
            dimensions = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
            if dimensions not in watched_dimensions(name, metric["Namespace"], query):
                found.append(f"{name} {query} watches {dimensions}")
            if metric["Namespace"] == "Auth0LogStreams":
                known = f'(key!("{metric["MetricName"]}"), ' in code
                if not known and metric["MetricName"] != refused["MetricName"]:
                    found.append(f"{name} watches {metric['MetricName']}, which nothing emits")
    return found


def test_alarm_watches_what_there_is() -> None:
    assert not alarm_problems(RESOURCES)


@pytest.mark.parametrize(
    ("alarm", "there", "instead"),
    [
        ("DetectionsBehind", '{"Ref": "AWS::StackName"}', '"auth0-log-streams"'),
        ("EngineMisconfigured", '"Value": "redrive"', '"Value": "webhook"'),
        ("PollerFillsIn", '"Value": "poller"', '"Value": "ingest"'),
        ("DeadLetters", '"DeadLetterQueue"', '"RetryQueue"'),
        ("WebhookSilence", '"EventsReceived"', '"EventsTaken"'),
    ],
)
def test_wrong_alarm_is_found(alarm: str, there: str, instead: str) -> None:
    text = json.dumps(RESOURCES[alarm])
    assert there in text
    assert alarm_problems(RESOURCES | {alarm: json.loads(text.replace(there, instead))})


def test_access_log_names_the_stack_and_no_secret() -> None:
    access_log = RESOURCES["Stage"]["Properties"]["AccessLogSettings"]["Format"]["Fn::Sub"]
    assert json.loads(access_log)["stack"] == "${AWS::StackName}"
    for leak in ("query", "header", "authorizer"):
        assert leak not in access_log.lower()
