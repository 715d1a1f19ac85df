"""Checks template.yaml without an AWS account: `make validate`.

1. The SAM linter.
2. The SAM transform, and cfn-lint on its result.
3. Our own rules: IAM statements name their resources, a queue takes messages of its own rule only,
   numbers agree, every alarm has a runbook.
4. A deployment of the transformed template into moto's CloudFormation, with the built zips. Each
   function is started with the environment it was given, and must accept it. An event of Auth0's
   event source arrives in the ingest queue.

moto does not support Secrets Manager, Scheduler, API Gateway v2, queue policy and alarm resources,
nor an event bus with a slash in its name, and would need Docker for the custom resource: only the
first three checks cover those.
"""

import argparse
import json
import logging
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
FUNCTIONS = {
    "WebhookFunction": "webhook",
    "IngestFunction": "ingest",
    "PollerFunction": "poller",
    "RedriveFunction": "redrive",
    "SetupFunction": "setup",
}
REGION = "eu-west-1"
ACCOUNT = "123456789012"
BUCKET = "artifacts"
EVENT_SOURCE = "aws.partner/auth0.com/example-0f1e2d3c/auth0.logs"

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


def rule_arn(rule):
    """Returns the text of the ARN of a rule on the bus of the event source."""
    name = text_of(rule["Properties"]["Name"])
    account = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}"
    return f"{account}:rule/${{EventSourceName}}/{name}"


def queue_policy_problems(template):
    """Returns a problem for each queue that takes messages of anything but a rule of the template.

    A queue without a policy takes those of the account's own roles only."""
    found = []
    resources = template["Resources"]
    rules = [r for r in resources.values() if r["Type"] == "AWS::Events::Rule"]
    needed = set()
    for rule in rules:
        for target in rule["Properties"]["Targets"]:
            for arn in (target["Arn"], target["DeadLetterConfig"]["Arn"]):
                needed.add(arn["Fn::GetAtt"][0])
    allowed = [{"ArnEquals": {"aws:SourceArn": {"Fn::Sub": rule_arn(rule)}}} for rule in rules]
    for name, resource in resources.items():
        if resource["Type"] != "AWS::SQS::QueuePolicy":
            continue
        queues = [queue["Ref"] for queue in resource["Properties"]["Queues"]]
        arns = [{"Fn::GetAtt": [queue, "Arn"]} for queue in queues]
        refuses_plain_http = False
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
            if statement["Resource"] not in arns:
                found.append(f"{name} is about {statement['Resource']}, not about its queue")
            if statement["Effect"] == "Deny":
                refuses_plain_http |= (
                    statement["Principal"] == "*"
                    and statement["Action"] == "sqs:*"
                    and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
                )
                continue
            if statement["Principal"] != {"Service": "events.amazonaws.com"}:
                found.append(f"{name} allows {statement['Principal']}")
            if statement["Action"] != "sqs:SendMessage":
                found.append(f"{name} allows {statement['Action']}")
            if statement.get("Condition") not in allowed:
                found.append(f"{name} allows other rules than ours")
            elif statement["Resource"] in arns:
                needed.discard(statement["Resource"]["Fn::GetAtt"][0])
        if not refuses_plain_http:
            found.append(f"{name} allows requests without TLS")
    return found + [f"EventBridge may not send to {queue}" for queue in sorted(needed)]


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
            check(where == "EventBridgeOn", f"{name} has the condition {where}")
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

    release = resources["IndexTemplate"]["Properties"]["Release"]
    version = re.search(
        r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE
    ).group(1)
    check(release == version, f"Release is {release} in the template, {version} in Cargo.toml")

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
            if metric["Namespace"] == "Auth0LogStreams":
                known = f'("{metric["MetricName"]}", ' in metrics
                check(known, f"{name} watches {metric['MetricName']}, which no code emits")

    check(
        "ReservedConcurrentExecutions" not in resources["PollerFunction"]["Properties"],
        "a backfill would take the poller's reserved concurrency from its ticks",
    )
    for name in ("CheckpointTable", *queues, "IngestQueue", "IngestDeadLetterQueue"):
        check(
            resources[name].get("DeletionPolicy") == "Retain", f"{name} is deleted with the stack"
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
    ):
        opened = text.replace(there, instead)
        check(opened != text, f"the template has no {there}, so this check is void")
        found = queue_policy_problems(json.loads(opened))
        check(found, f"the rule of queue policies accepts {instead}")


# --- the deployment --------------------------------------------------------------------------


class RuntimeApi(BaseHTTPRequestHandler):
    """The part of Lambda's runtime API that shows whether a function starts: polling for work.

    Setup reads its settings only when invoked. It gets a custom resource's request, with this
    server in the place of CloudFormation.
    """

    def do_GET(self):
        self.server.asked.set()
        if not self.server.work:
            # Never responds, as without events.
            threading.Event().wait()
        body = self.server.work.pop()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 20_000))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:checked")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.reason = json.loads(body)["Reason"]
        self.server.answered.set()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def refusal(binary, bootstrap, environment, endpoint):
    """Starts a function like Lambda; returns its complaint about its settings, or None."""
    api = ThreadingHTTPServer(("127.0.0.1", 0), RuntimeApi)
    api.daemon_threads = True
    api.asked, api.answered = threading.Event(), threading.Event()
    api.work = []
    address = f"127.0.0.1:{api.server_port}"
    if binary == "setup":
        request = {
            "RequestType": "Create",
            "ServiceToken": "arn:aws:lambda:checked",
            "RequestId": "1",
            "ResponseURL": f"http://{address}/",
            "StackId": "checked",
            "ResourceType": "Custom::Auth0IndexTemplate",
            "LogicalResourceId": "IndexTemplate",
            "ResourceProperties": {"ServiceToken": "arn:aws:lambda:checked"},
        }
        api.work.append(json.dumps(request).encode())
    threading.Thread(target=api.serve_forever, daemon=True).start()
    process = subprocess.Popen(
        [bootstrap],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment
        | {
            "AWS_LAMBDA_RUNTIME_API": address,
            "AWS_LAMBDA_FUNCTION_NAME": "checked",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": endpoint,
        },
    )
    ready = api.answered if binary == "setup" else api.asked
    try:
        for _ in range(300):
            if ready.wait(0.1):
                # Setup fails here in any case: there is no engine.
                reason = getattr(api, "reason", "")
                return reason if "cannot be used:" in reason else None
            if process.poll() is not None:
                return process.stdout.read()
        return "it neither polled for work nor exited within 30 s"
    finally:
        process.kill()
        process.wait()
        api.shutdown()


VARIANTS = {
    "webhook": {"Inputs": "webhook"},
    "poller": {
        "Inputs": "poller",
        "Auth0Url": "https://example.eu.auth0.com",
        "MaskUserData": "mask",
        "IncludeTypes": "Login - Failure, s",
        "ExcludeTypes": "fp,unknown",
    },
    "both": {"Inputs": "both", "Auth0Url": "https://example.eu.auth0.com"},
    "eventbridge": {"Inputs": "eventbridge", "EventSourceName": EVENT_SOURCE},
    "eventbridge and poller": {
        "Inputs": "eventbridge+poller",
        "EventSourceName": EVENT_SOURCE,
        "Auth0Url": "https://example.eu.auth0.com",
    },
    "both, signed": {
        "Inputs": "both",
        "Auth0Url": "https://example.eu.auth0.com",
        "SearchSignIn": "es",
        "SearchSecretArn": "",
        "SearchResourceArn": f"arn:aws:es:{REGION}:{ACCOUNT}:domain/logs",
        "MaskUserData": "hash",
        "MaskSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:mask-a1B2c3",
    },
}


def deploy(variant, changes, zips, bootstraps, endpoint):
    """Deploys one stack into moto and checks it."""
    import boto3

    def client(service):
        return boto3.client(service, endpoint_url=endpoint)

    def secret(name):
        return client("secretsmanager").create_secret(Name=name)["ARN"]

    stack = "auth0-" + re.sub(r"\W+", "-", variant)
    parameters = {
        "SearchEndpoint": "https://search.example.com:9200",
        "SearchSecretArn": secret(f"{stack}/search"),
        "WebhookSecretArn": secret(f"{stack}/webhook"),
        "Auth0SecretArn": secret(f"{stack}/auth0"),
        "InstallIndexTemplate": "false",
        "ExtraTags": "production,eu",
    } | changes
    template = transformed(parameters)
    # In moto, the rule is on the default bus.
    template["Resources"].pop("EventBus")
    template["Resources"]["EventRule"]["Properties"].pop("EventBusName")
    formation = client("cloudformation")
    formation.create_stack(
        StackName=stack,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    status = formation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    check(status == "CREATE_COMPLETE", f"{variant}: the stack is {status}")
    made = {
        r["LogicalResourceId"]: r["PhysicalResourceId"]
        for r in formation.describe_stack_resources(StackName=stack)["StackResources"]
        # Resources that moto does not support have none.
        if "LogicalResourceId" in r and "PhysicalResourceId" in r
    }
    expected = {"RedriveFunction", "SetupFunction", "RetryQueue", "DeadLetterQueue", "RedriveRole"}
    absent = set()
    webhook = {"WebhookFunction", "WebhookRole", "WebhookLogs"}
    poller = {"PollerFunction", "PollerRole", "PollerLogs", "CheckpointTable"}
    eventbridge = {"IngestFunction", "IngestRole", "IngestLogs", "EventRule"}
    eventbridge |= {"IngestQueue", "IngestDeadLetterQueue"}
    # moto leaves out the API itself.
    inputs = {"both": "webhook+poller"}.get(parameters["Inputs"], parameters["Inputs"]).split("+")
    for name, resources in (("webhook", webhook), ("poller", poller), ("eventbridge", eventbridge)):
        (expected if name in inputs else absent).update(resources)
    check(expected <= made.keys(), f"{variant}: missing {sorted(expected - made.keys())}")
    check(not absent & made.keys(), f"{variant}: unexpected {sorted(absent & made.keys())}")

    for name, binary in FUNCTIONS.items():
        if name not in made:
            continue
        function = client("lambda").get_function(FunctionName=made[name])
        settings = function["Configuration"]
        role = client("iam").get_role(RoleName=made[f"{binary.capitalize()}Role"])["Role"]
        check(settings["Role"] == role["Arn"], f"{variant}: {name} has the role {settings['Role']}")
        size = zips[binary].stat().st_size
        check(settings["CodeSize"] == size, f"{variant}: {name} has other code")
        environment = settings["Environment"]["Variables"]
        said = refusal(binary, bootstraps[binary], environment, endpoint)
        check(said is None, f"{variant}: {name} does not accept its environment:\n{said}")
        said = refusal(binary, bootstraps[binary], environment | {"SEARCH_ENDPOINT": ""}, endpoint)
        check(
            said is not None and "SEARCH_ENDPOINT is not set" in said,
            f"{variant}: {name} accepts a missing SEARCH_ENDPOINT, so this check is void: {said}",
        )

    sqs = client("sqs")
    for function, queue, dead_letter_queue in (
        ("RedriveFunction", "RetryQueue", "DeadLetterQueue"),
        ("IngestFunction", "IngestQueue", "IngestDeadLetterQueue"),
    ):
        if function not in made:
            continue
        attributes = sqs.get_queue_attributes(QueueUrl=made[queue], AttributeNames=["All"])
        attributes = attributes["Attributes"]
        target = json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"]
        dead_letters = made[dead_letter_queue].rsplit("/", 1)[1]
        check(target.endswith(dead_letters), f"{variant}: the dead letters go to {target}")
        sources = client("lambda").list_event_source_mappings(FunctionName=made[function])
        sources = [source["EventSourceArn"] for source in sources["EventSourceMappings"]]
        message = f"{variant}: {function} does not read {queue}"
        check(sources == [attributes["QueueArn"]], message)
    if "IngestQueue" in made:
        check_delivery(variant, client, made["IngestQueue"])
    if "CheckpointTable" in made:
        dynamodb = client("dynamodb")
        table = dynamodb.describe_table(TableName=made["CheckpointTable"])["Table"]
        key = [{"AttributeName": "id", "KeyType": "HASH"}]
        check(table["KeySchema"] == key, f"{variant}: table key")


def check_delivery(variant, client, queue):
    """Checks that the rule delivers Auth0's log events, and nothing else, into the queue."""
    # moto would invoke the function, in Docker.
    mappings = client("lambda").list_event_source_mappings()["EventSourceMappings"]
    for mapping in mappings:
        client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    entries = [
        {
            "Source": EVENT_SOURCE,
            "DetailType": detail_type,
            "Detail": json.dumps({"log_id": log_id}),
        }
        for log_id, detail_type in (("1", "Auth0 log"), ("2", "another one"))
    ]
    client("events").put_events(Entries=entries)
    received = client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    bodies = [json.loads(message["Body"]) for message in received.get("Messages", [])]
    # moto ignores the input path.
    ids = [body.get("detail", body)["log_id"] for body in bodies]
    check(ids == ["1"], f"{variant}: the rule delivered {bodies}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def deployments(folder):
    import boto3
    from botocore.config import Config

    zips = {binary: folder / binary / "bootstrap.zip" for binary in FUNCTIONS.values()}
    missing = [str(archive) for archive in zips.values() if not archive.exists()]
    if missing:
        check(False, f"not built: {', '.join(missing)} (make build)")
        return
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    moto = subprocess.Popen(
        [tool("moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with tempfile.TemporaryDirectory() as unpacked:
            retries = Config(retries={"max_attempts": 10, "mode": "standard"})
            s3 = boto3.client("s3", endpoint_url=endpoint, config=retries)
            s3.create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
            bootstraps = {}
            for binary, archive in zips.items():
                s3.upload_file(str(archive), BUCKET, f"{binary}.zip")
                with zipfile.ZipFile(archive) as opened:
                    bootstraps[binary] = opened.extract("bootstrap", f"{unpacked}/{binary}")
                os.chmod(bootstraps[binary], 0o755)
            for variant, changes in VARIANTS.items():
                print(f"  {variant}", flush=True)
                deploy(variant, changes, zips, bootstraps, endpoint)
    finally:
        moto.terminate()
        moto.wait()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    zips = ROOT / "target/lambda"
    parser.add_argument("--zips", type=Path, default=zips, help="has <function>/bootstrap.zip")
    parser.add_argument("--no-deployment", action="store_true", help="skip what needs the zips")
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
    step("template: IAM, matching numbers, runbooks")
    check_the_iam_rule()
    check_the_queue_policy_rule(template)
    own_rules(template)
    if not arguments.no_deployment:
        step("deployment into moto; functions started with their environment")
        deployments(arguments.zips)

    if problems:
        sys.exit(f"{len(problems)} problem(s)")
    print("template.yaml is valid")


if __name__ == "__main__":
    main()
