"""Checks template.yaml without an AWS account: `make validate`.

1. The SAM linter.
2. The SAM transform, and cfn-lint on its result.
3. Our own rules: IAM statements name their resources, numbers agree, every alarm has a runbook and
   watches what there is.
4. A deployment into MiniStack (deployment.py), in which everything is used once.
"""

import argparse
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
from services import exit_code
from tools import StackError

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
FUNCTIONS = {
    "WebhookFunction": "webhook",
    "PollerFunction": "poller",
    "RedriveFunction": "redrive",
    "SetupFunction": "setup",
}

# Read by the C library (mallopt(3)), not by shared/src/start/config.rs.
GLIBC = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"}

# Actions that AWS documents as taking no resource.
WITHOUT_RESOURCE = {"ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"}

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


def watched_dimensions(alarm, namespace):
    """Returns the dimensions that an alarm of this name may watch."""
    if namespace == "AWS/SQS":
        queue = "DeadLetterQueue" if alarm == "DeadLetters" else "RetryQueue"
        return [{"QueueName": {"Fn::GetAtt": [queue, "QueueName"]}}]
    if namespace == "AWS/ApiGateway":
        return [{"ApiId": {"Ref": "Api"}}]
    functions = ["webhook", "poller", "redrive"]
    if alarm.startswith("Webhook"):
        functions = ["webhook"]
    elif alarm.startswith(("Poller", "Checkpoint")):
        functions = ["poller"]
    return [{"Function": function} for function in functions]


def own_rules(template):
    for problem in iam_problems(template):
        check(False, problem)

    resources = template["Resources"]
    redrive = resources["RedriveFunction"]["Properties"]["Timeout"]
    visibility = resources["RetryQueue"]["Properties"]["VisibilityTimeout"]
    check(visibility >= 6 * redrive, "the retry queue's visibility is under six redrive timeouts")
    frames = (ROOT / "shared/src/delivery/frames.rs").read_text()
    limit = re.search(r"^const MAX_MESSAGE: usize = ([\d* ]+);$", frames, re.MULTILINE)
    largest = math.prod(map(int, limit.group(1).split("*"))) if limit else 0
    for queue in ("RetryQueue", "DeadLetterQueue"):
        fits = resources[queue]["Properties"]["MaximumMessageSize"] == largest
        check(fits, f"{queue} and shared/src/delivery/frames.rs differ about the size of a message")
    check(
        resources["WebhookFunction"]["Properties"]["Timeout"] < 30,
        "the webhook may run longer than the gateway waits",
    )

    grouped = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in grouped for name in group["Parameters"]]
    check(sorted(grouped) == sorted(template["Parameters"]), "a parameter is in no group")

    reader = (ROOT / "shared/src/start/config.rs").read_text()
    for name in FUNCTIONS:
        for variable in resources[name]["Properties"]["Environment"]["Variables"]:
            known = f'"{variable}"' in reader or variable in GLIBC
            check(known, f"{name} gets {variable}, which no code reads")

    runbook = (ROOT / "docs/operations.md").read_text()
    metrics = (ROOT / "shared/src/metrics.rs").read_text()
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
                check(known, f"{name} watches {metric['MetricName']}, which no code emits")

    check(
        "ReservedConcurrentExecutions" not in resources["PollerFunction"]["Properties"],
        "a backfill would take the poller's reserved concurrency from its ticks",
    )
    for name in ("CheckpointTable", "RetryQueue", "DeadLetterQueue"):
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

    access_log = resources["Stage"]["Properties"]["AccessLogSettings"]["Format"]
    check(json.loads(re.sub(r"\s*\n\s*", "", access_log)), "the access log is not JSON")
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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--zips", type=Path, help="has <function>/bootstrap.zip, as from make build"
    )
    parser.add_argument("--no-deployment", action="store_true", help="only what takes seconds")
    arguments = parser.parse_args()

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
    own_rules(template)
    if problems:
        raise StackError(f"{len(problems)} problem(s)")
    if not arguments.no_deployment:
        step("deployment into MiniStack")
        deployment.run(transformed, arguments.zips)
    print("template.yaml is valid")


if __name__ == "__main__":
    sys.exit(exit_code(main))
