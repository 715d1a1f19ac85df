"""Checks template.yaml without an AWS account: `make validate`.

1. The SAM linter.
2. The SAM transform, and cfn-lint on its result.
3. Our own rules: IAM statements name their resources, a queue takes messages of its own rule only,
   numbers agree, every alarm has a runbook and watches what there is,
   environments fit Lambda.
4. A deployment into MiniStack (deployment.py), in which everything is used once.
"""

import argparse
import itertools
import json
import logging
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import deployment
from deployment import BUCKET, REGION
from guided import holds
from services import exit_code
from tools import StackError

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
FUNCTIONS = {
    "WebhookFunction": "webhook",
    "IngestFunction": "ingest",
    "PollerFunction": "poller",
    "RedriveFunction": "redrive",
    "DetectFunction": "detect",
    "SetupFunction": "setup",
}

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

os.environ.update(
    SAM_CLI_TELEMETRY="0",
    AWS_DEFAULT_REGION=REGION,
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
)

problems = []


def check(good, message):
    if not good:
        problems.append(message)
        print(f"  FAILED: {message}")


def step(title):
    print(title, flush=True)


def tool(name):
    return str(Path(sys.executable).parent / name)


def run_linter(command, what):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"{what}:\n{done.stdout}{done.stderr}")


# --- the transform ---------------------------------------------------------------------------


def transformed(parameters):
    """Returns the template as CloudFormation gets it, with the zips in the bucket."""
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    from samcli.yamlhelper import yaml_parse
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator

    source = yaml_parse(TEMPLATE.read_text())
    source["Globals"]["Function"].pop("CodeUri")
    for name, binary in FUNCTIONS.items():
        source["Resources"][name]["Properties"]["CodeUri"] = f"s3://{BUCKET}/{binary}.zip"
    values = {name: p["Default"] for name, p in source["Parameters"].items() if "Default" in p}
    return Translator({}, Parser()).translate(source, values | parameters)


# --- our own rules ---------------------------------------------------------------------------


def every_branch(value):
    """Returns every value that an expression may have, whatever its conditions are."""
    if isinstance(value, list):
        return [branch for item in value for branch in every_branch(item)]
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        return every_branch(value["Fn::If"][1]) + every_branch(value["Fn::If"][2])
    if value == {"Ref": "AWS::NoValue"}:
        return []
    return [value]


def text_of(resource):
    """Returns the text of a resource in which a wildcard could be."""
    if isinstance(resource, dict) and "Fn::Sub" in resource:
        return resource["Fn::Sub"]
    return resource if isinstance(resource, str) else ""


def iam_problems(template):
    """Returns a problem for each statement that allows more than named resources."""
    found = []

    def check_policy(where, document):
        for statement in every_branch(document["Statement"]):
            if statement["Effect"] != "Allow" or "Principal" in statement:
                continue
            actions = every_branch(statement["Action"])
            for action in actions:
                if "*" in action:
                    found.append(f"{where} allows the action {action}")
            for resource in every_branch(statement["Resource"]):
                text = text_of(resource)
                if text == "*":
                    if not WITHOUT_RESOURCE.issuperset(actions):
                        found.append(f"{where} allows {actions} on every resource")
                # Only the last part may be open: paths of a domain, ids of interfaces.
                elif "*" in text.removesuffix("/*"):
                    found.append(f"{where} allows {actions} on {text}")

    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            check_policy(name, properties["PolicyDocument"])
        if resource["Type"] == "AWS::IAM::Role":
            for policy in properties.get("Policies", []):
                check_policy(name, policy["PolicyDocument"])
            for policy in every_branch(properties.get("ManagedPolicyArns", [])):
                if "Ref" not in policy:
                    found.append(f"{name} has the policy {policy}, which is not in this template")
    return found


def rule_arn(rule):
    """Returns the text of the ARN of a rule on the bus of the event source."""
    name = text_of(rule["Properties"]["Name"])
    account = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}"
    return f"{account}:rule/${{EventSourceName}}/{name}"


def queue_policy_problems(template):
    """Returns a problem for each queue that takes messages without TLS, or of anything but a rule.

    The account's own roles need no policy."""
    found = []
    resources = template["Resources"]
    rules = [r for r in resources.values() if r["Type"] == "AWS::Events::Rule"]
    needed = set()
    for rule in rules:
        for target in rule["Properties"]["Targets"]:
            for arn in (target["Arn"], target["DeadLetterConfig"]["Arn"]):
                needed.add(arn["Fn::GetAtt"][0])
    allowed = [{"ArnEquals": {"aws:SourceArn": {"Fn::Sub": rule_arn(rule)}}} for rule in rules]
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


def watched_dimensions(alarm, namespace):
    """Returns the dimensions that an alarm of this name may watch."""
    if namespace == "AWS/SQS":
        prefix = "Ingest" if alarm.startswith("Ingest") else ""
        queue = f"{prefix}DeadLetterQueue" if alarm.endswith("DeadLetters") else prefix + "Queue"
        queue = "RetryQueue" if queue == "Queue" else queue
        return [{"QueueName": {"Fn::GetAtt": [queue, "QueueName"]}}]
    if namespace == "AWS/ApiGateway":
        return [{"ApiId": {"Ref": "Api"}}]
    stack = {"Stack": {"Ref": "AWS::StackName"}}
    functions = ["webhook", "ingest", "poller", "redrive"]
    if alarm == "WebhookRefused":
        return [stack]
    if alarm == "PollerFillsIn":
        pass
    elif alarm.startswith("Webhook"):
        functions = ["webhook"]
    elif alarm.startswith("Ingest"):
        functions = ["ingest"]
    elif alarm.startswith(("Poller", "Checkpoint")):
        functions = ["poller"]
    elif alarm.startswith("Detections"):
        functions = ["detect"]
    return [stack | {"Function": function} for function in functions]


def longest(value, template, empty):
    """Returns the length of the longest value that an environment variable may have, as JSON.

    The parameters in `empty` are not set."""
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        return max(longest(branch, template, empty) for branch in value["Fn::If"][1:])
    if isinstance(value, str):
        return len(json.dumps(value)) - 2
    name = value["Ref"]
    if name in empty:
        return 0
    if name == "AWS::StackName":
        return STACK_NAME_BYTES
    if name in template["Resources"]:
        return REFERENCE_BYTES[template["Resources"][name]["Type"]]
    parameter = template["Parameters"][name]
    if "AllowedValues" in parameter:
        return max(map(len, parameter["AllowedValues"]))
    check("MaxLength" in parameter, f"{name} is in an environment and has no MaxLength")
    length = parameter.get("MaxLength", 0)
    if name == "DetectionsSettings":
        # JSON within JSON: a third of it are quotation marks, which take two bytes.
        return length * 4 // 3
    # A line break takes two bytes as JSON; a line of a certificate has 64 characters.
    return length + (length // 64 + 1 if name == "SearchCaCertificate" else 0)


def check_environments(template):
    """Checks that the longest values which the rules allow together fit Lambda's environment."""
    rule = template["Rules"]["EnvironmentIsLimited"]
    long = ("SearchCaCertificate", "AllowedSourceCidrs", "IncludeTypes", "ExcludeTypes")
    for name in FUNCTIONS:
        variables = template["Resources"][name]["Properties"]["Environment"]["Variables"]
        for given in itertools.product((False, True), repeat=len(long)):
            values = {
                p: "long" if is_given else "" for p, is_given in zip(long, given, strict=True)
            }
            if holds(rule["RuleCondition"], values) and not all(
                holds(assertion["Assert"], values) for assertion in rule["Assertions"]
            ):
                continue
            empty = {name for name, value in values.items() if not value}
            size = 1 + sum(
                len(f'"{variable}":"",') + longest(value, template, empty)
                for variable, value in variables.items()
            )
            check(
                size <= ENVIRONMENT_BYTES,
                f"{name}'s environment may have {size} bytes with {values}",
            )


def own_rules(template):
    for problem in iam_problems(template) + queue_policy_problems(template):
        check(False, problem)

    resources = template["Resources"]
    for function, event, queue in (
        ("RedriveFunction", "Parked", "RetryQueue"),
        ("IngestFunction", "Delivered", "IngestQueue"),
    ):
        mapping = resources[function + event]["Properties"]
        window = mapping.get("MaximumBatchingWindowInSeconds", 0)
        needed = 6 * resources[function]["Properties"]["Timeout"] + window
        visibility = resources[queue]["Properties"]["VisibilityTimeout"]
        check(visibility >= needed, f"{queue}'s visibility timeout is under {needed} s")
        check(
            mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"],
            f"{function} has to repeat the whole batch for one message",
        )
        check("ScalingConfig" in mapping, f"{function} may take all of the account's concurrency")
        check(
            mapping["BatchSize"] <= 10 or window > 0,
            f"{function}: Lambda requires a window for more than ten messages",
        )
    target = resources["EventRule"]["Properties"]["Targets"][0]
    check(target["InputPath"] == "$.detail", "EventBridge delivers more than the event")
    retries = {"MaximumEventAgeInSeconds": 86400, "MaximumRetryAttempts": 185}
    check(target["RetryPolicy"] == retries, "EventBridge gives up before its maximum")
    for name, resource in resources.items():
        inputs = {"EventBus", "EventRule"}
        if name.startswith("Ingest") or name in inputs:
            where = resource.get("Condition")
            wanted = "IngestSilenceRings" if name == "IngestSilence" else "EventBridgeOn"
            check(where == wanted, f"{name} has the condition {where}")
        if resource["Type"] in ENCRYPTED:
            encrypted = '["HasKey"' in (text := json.dumps(resource)) and '"KmsKeyArn"' in text
            check(encrypted, f"{name} is not encrypted with KmsKeyArn")
    alone = resources["Api"]["Properties"]["DisableExecuteApiEndpoint"]
    check(alone == {"Fn::If": ["HasDomain", True, False]}, "the own host name can be passed by")
    frames = (ROOT / "shared/src/delivery/frames.rs").read_text()
    limit = re.search(r"^const MAX_MESSAGE: usize = ([\d *]+);$", frames, re.MULTILINE)
    limit = limit and math.prod(map(int, limit.group(1).split("*")))
    queues = ("RetryQueue", "DeadLetterQueue")
    for queue in queues:
        size = resources[queue]["Properties"]["MaximumMessageSize"]
        check(
            size == limit,
            f"{queue} and shared/src/delivery/frames.rs differ about the size of a message",
        )
    check(
        resources["WebhookFunction"]["Properties"]["Timeout"] < 30,
        "the webhook may run longer than the gateway waits",
    )

    grouped = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in grouped for name in group["Parameters"]]
    check(sorted(grouped) == sorted(template["Parameters"]), "a parameter is in no group")

    check_environments(template)
    reader = (ROOT / "shared/src/start/config.rs").read_text()
    for name in FUNCTIONS:
        for variable in resources[name]["Properties"]["Environment"]["Variables"]:
            known = f'"{variable}"' in reader or variable in GLIBC
            check(known, f"{name} gets {variable}, which no code reads")

    runbook = (ROOT / "docs/operations.md").read_text()
    emitting = ("shared/src/metrics.rs", "functions/detect/src/handler.rs")
    metrics = "".join((ROOT / file).read_text() for file in emitting)
    refused = resources["RefusedPosts"]["Properties"]["MetricTransformations"][0]
    access_log = resources["Stage"]["Properties"]["AccessLogSettings"]["Format"]["Fn::Sub"]
    stack = json.loads(access_log).get("stack")
    check(
        (stack, refused["Dimensions"])
        == ("${AWS::StackName}", [{"Key": "Stack", "Value": "$.stack"}]),
        "refused posts are not counted by stack",
    )
    for name, resource in resources.items():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        check(f"### {name}\n" in runbook, f"docs/operations.md has no section for the alarm {name}")
        properties = resource["Properties"]
        queries = properties.get("Metrics", [])
        used = [query["MetricStat"]["Metric"] for query in queries if "MetricStat" in query]
        used = used or [properties]
        for metric in used:
            dimensions = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
            expected = watched_dimensions(name, metric["Namespace"])
            check(dimensions in expected, f"{name} watches {metric['MetricName']} of {dimensions}")
            if metric["Namespace"] == "Auth0LogStreams":
                known = f'("{metric["MetricName"]}", ' in metrics
                known |= metric["MetricName"] == refused["MetricName"]
                check(known, f"{name} watches {metric['MetricName']}, which no code emits")

    check(
        "ReservedConcurrentExecutions" not in resources["PollerFunction"]["Properties"],
        "a backfill would take the poller's reserved concurrency from its ticks",
    )
    for name in ("CheckpointTable", *queues, "IngestQueue", "IngestDeadLetterQueue"):
        check(
            resources[name].get("DeletionPolicy") == "RetainExceptOnCreate"
            and resources[name].get("UpdateReplacePolicy") == "Retain",
            f"{name} is deleted with the stack, or left behind by a first deployment that fails",
        )
    table = resources["CheckpointTable"]["Properties"]
    check(
        table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True},
        "no point-in-time recovery for the checkpoint table",
    )

    for leak in ("query", "header", "authorizer"):
        check(leak not in access_log.lower(), f"the access log contains {leak}")


def check_the_iam_rule():
    """Checks that the rule finds wildcards."""
    domains = "arn:aws:es:*:${AWS::AccountId}:domain/*"
    for statement in (
        {"Action": "sqs:*", "Resource": "arn:aws:sqs:eu-west-1:123456789012:q"},
        {"Action": "sqs:SendMessage", "Resource": "*"},
        {"Action": "sqs:SendMessage", "Resource": {"Fn::If": ["C", {"Ref": "Q"}, "*"]}},
        {"Action": "es:ESHttpPut", "Resource": {"Fn::Sub": domains}},
    ):
        document = {"Statement": [{"Effect": "Allow"} | statement]}
        policies = [{"PolicyDocument": document}]
        role = {"Type": "AWS::IAM::Role", "Properties": {"Policies": policies}}
        check(iam_problems({"Resources": {"R": role}}), f"the IAM rule accepts {statement}")


def check_the_queue_policy_rule(template):
    """Checks that the rule finds each way to open a queue."""
    text = json.dumps(template)
    ingest_queue = '"Resource": {"Fn::GetAtt": ["IngestQueue", "Arn"]}'
    for there, instead in (
        ('"events.amazonaws.com"', '"sns.amazonaws.com"'),
        ('{"Service": "events.amazonaws.com"}', '"*"'),
        (f'"Action": "sqs:SendMessage", {ingest_queue}', f'"Action": "sqs:*", {ingest_queue}'),
        ("rule/${EventSourceName}/${AWS::StackName}-ingest", "rule/*"),
        ('{"aws:SecureTransport": "false"}', '{"aws:SecureTransport": "true"}'),
        ('"Queues": [{"Ref": "IngestQueue"}]', '"Queues": [{"Ref": "RetryQueue"}]'),
        ('"Queues": [{"Ref": "RetryQueue"}, ', '"Queues": ['),
    ):
        opened = text.replace(there, instead)
        check(opened != text, f"the template has no {there}, so this check is void")
        found = queue_policy_problems(json.loads(opened))
        check(found, f"the rule of queue policies accepts {instead}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--zips", type=Path, help="has <function>/bootstrap.zip, as from make build"
    )
    parser.add_argument("--no-deployment", action="store_true", help="only what takes seconds")
    parser.add_argument(
        "--transformed", type=Path, help="only writes the transformed template there, for cdk-nag"
    )
    arguments = parser.parse_args()
    if arguments.transformed:
        found = transformed({"SearchEndpoint": "https://search.example.com"})
        arguments.transformed.write_text(json.dumps(found, indent=1))
        return

    step("template: sam validate --lint")
    sam = [tool("sam"), "validate", "--lint", "--template", str(TEMPLATE), "--region", REGION]
    run_linter(sam, "sam validate")
    step("template: transform, cfn-lint on the result")
    template = transformed({"SearchEndpoint": "https://search.example.com"})
    with tempfile.NamedTemporaryFile("w", suffix=".json") as result:
        json.dump(template, result, indent=1)
        result.flush()
        cfn_lint = [tool("cfn-lint"), "--regions", REGION, "--template", result.name]
        run_linter(cfn_lint, "cfn-lint")
    step("template: IAM, matching numbers, runbooks, alarms")
    check_the_iam_rule()
    check_the_queue_policy_rule(template)
    own_rules(template)
    if problems:
        raise StackError(f"{len(problems)} problem(s)")
    if not arguments.no_deployment:
        step("deployment into MiniStack")
        deployment.run(transformed, arguments.zips)
    print("template.yaml is valid")


if __name__ == "__main__":
    sys.exit(exit_code(main))
