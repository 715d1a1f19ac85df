"""Checks template.yaml as far as that is possible without an AWS account.

In this order: the SAM linter; the SAM transform and cfn-lint on its result; rules of our own (IAM names
its resources, numbers that have to agree, a runbook for each alarm); a deployment of the transformed
template into moto's CloudFormation with the built zips; and each deployed function started with the
environment it was given, to see that its own configuration reader takes it.

moto leaves out Secrets Manager, Scheduler, API Gateway v2 and alarm resources, and would need Docker for
the custom resource: those are seen by the first three checks only.

Needs .tools/venv (make setup-validate) and the zips in target/lambda (make build).
"""

import argparse
import json
import logging
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
    "PollerFunction": "poller",
    "RedriveFunction": "redrive",
    "SetupFunction": "setup",
}
REGION = "eu-west-1"
ACCOUNT = "123456789012"
BUCKET = "artifacts"

# Read by the C library (mallopt(3)) instead of shared/src/start/config.rs.
GLIBC = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"}

# Actions of which AWS says that they take no resource.
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


# ---- The transform


def transformed(parameters):
    """The template as CloudFormation sees it, with the zips at their place in the bucket."""
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


# ---- Rules of our own


def every_branch(value):
    """Each value that an expression may have, whatever its conditions say."""
    if isinstance(value, list):
        return [branch for item in value for branch in every_branch(item)]
    if isinstance(value, dict) and set(value) == {"Fn::If"}:
        return every_branch(value["Fn::If"][1]) + every_branch(value["Fn::If"][2])
    if value == {"Ref": "AWS::NoValue"}:
        return []
    return [value]


def text_of(resource):
    """A resource as written, as far as a wildcard could stand in it."""
    if isinstance(resource, dict) and "Fn::Sub" in resource:
        return resource["Fn::Sub"]
    return resource if isinstance(resource, str) else ""


def iam_problems(template):
    """Statements that allow more than they name."""
    found = []

    def look_at(where, document):
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
                # What may stay open is the last part: the paths of a domain, the ids of interfaces.
                elif "*" in text.removesuffix("/*"):
                    found.append(f"{where} allows {actions} on {text}")

    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            look_at(name, properties["PolicyDocument"])
        if resource["Type"] == "AWS::IAM::Role":
            for policy in properties.get("Policies", []):
                look_at(name, policy["PolicyDocument"])
            for policy in every_branch(properties.get("ManagedPolicyArns", [])):
                if "Ref" not in policy:
                    found.append(f"{name} takes the policy {policy}, which is not of this template")
    return found


def own_rules(template):
    for problem in iam_problems(template):
        check(False, problem)

    resources = template["Resources"]
    redrive = resources["RedriveFunction"]["Properties"]["Timeout"]
    visibility = resources["RetryQueue"]["Properties"]["VisibilityTimeout"]
    check(visibility >= 6 * redrive, "the retry queue's visibility is under six redrive timeouts")
    check(
        resources["WebhookFunction"]["Properties"]["Timeout"] < 30,
        "the webhook may run longer than the gateway waits",
    )

    release = resources["IndexTemplate"]["Properties"]["Release"]
    version = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
    check(release == version, f"Release is {release} in the template, {version} in Cargo.toml")

    grouped = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in grouped for name in group["Parameters"]]
    check(sorted(grouped) == sorted(template["Parameters"]), "the form's groups miss a parameter")

    reader = (ROOT / "shared/src/start/config.rs").read_text()
    for name in FUNCTIONS:
        for variable in resources[name]["Properties"]["Environment"]["Variables"]:
            known = f'"{variable}"' in reader or variable in GLIBC
            check(known, f"{name} gets {variable}, which nothing reads")

    runbook = (ROOT / "docs/operations.md").read_text()
    metrics = (ROOT / "shared/src/metrics.rs").read_text()
    for name, resource in resources.items():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        check(f"### {name}\n" in runbook, f"docs/operations.md has no section for the alarm {name}")
        properties = resource["Properties"]
        used = [query["MetricStat"]["Metric"] for query in properties.get("Metrics", [])
                if "MetricStat" in query] or [properties]
        for metric in used:
            if metric["Namespace"] == "Auth0LogStreams":
                known = f'("{metric["MetricName"]}", ' in metrics
                check(known, f"{name} watches {metric['MetricName']}, which nothing emits")

    for name in ("CheckpointTable", "RetryQueue", "DeadLetterQueue"):
        check(resources[name].get("DeletionPolicy") == "Retain", f"{name} goes with the stack")
    table = resources["CheckpointTable"]["Properties"]
    check(
        table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True},
        "no point-in-time recovery for the checkpoint table",
    )

    access_log = resources["Stage"]["Properties"]["AccessLogSettings"]["Format"]
    check(json.loads(re.sub(r"\s*\n\s*", "", access_log)), "the access log is no JSON")
    for leak in ("query", "header", "authorizer"):
        check(leak not in access_log.lower(), f"the access log holds {leak}")


def the_iam_rule_finds_wildcards():
    """The rule has to be able to fail."""
    for statement in (
        {"Action": "sqs:*", "Resource": "arn:aws:sqs:eu-west-1:123456789012:q"},
        {"Action": "sqs:SendMessage", "Resource": "*"},
        {"Action": "sqs:SendMessage", "Resource": {"Fn::If": ["C", {"Ref": "Q"}, "*"]}},
        {"Action": "es:ESHttpPut", "Resource": {"Fn::Sub": "arn:aws:es:*:${AWS::AccountId}:domain/*"}},
    ):
        role = {
            "Type": "AWS::IAM::Role",
            "Properties": {"Policies": [{"PolicyDocument": {"Statement": [{"Effect": "Allow"} | statement]}}]},
        }
        check(iam_problems({"Resources": {"R": role}}), f"the IAM rule lets {statement} pass")


# ---- The deployment


class RuntimeApi(BaseHTTPRequestHandler):
    """As much of Lambda's runtime API as tells whether a function has come up: it asks for work.

    There is one piece of work, for setup only, which reads its settings when it is called: a custom
    resource's request, with this server in the place of CloudFormation.
    """

    def do_GET(self):
        self.server.asked.set()
        if not self.server.work:
            # Never answered: there is nothing to do.
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
    """Starts a function like Lambda does. What it says about its settings; None where it takes them."""
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
                # Setup cannot reach any engine here: what counts is that it gets that far.
                reason = getattr(api, "reason", "")
                return reason if "cannot be used:" in reason else None
            if process.poll() is not None:
                return process.stdout.read()
        return "it neither asked for work nor gave up in 30 s"
    finally:
        process.kill()
        process.wait()
        api.shutdown()


VARIANTS = {
    "webhook": {"Inputs": "webhook"},
    "poller": {"Inputs": "poller", "Auth0Url": "https://example.eu.auth0.com"},
    "both": {"Inputs": "both", "Auth0Url": "https://example.eu.auth0.com"},
    "both, signed": {
        "Inputs": "both",
        "Auth0Url": "https://example.eu.auth0.com",
        "SearchSignIn": "es",
        "SearchSecretArn": "",
        "SearchResourceArn": f"arn:aws:es:{REGION}:{ACCOUNT}:domain/logs",
        "ReservePollerConcurrency": "false",
    },
}


def deploy(variant, changes, zips, bootstraps, endpoint):
    """One stack in moto; checks what came of it."""
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
        # What moto does not know has none.
        if "LogicalResourceId" in r and "PhysicalResourceId" in r
    }
    expected = {"RedriveFunction", "SetupFunction", "RetryQueue", "DeadLetterQueue", "RedriveRole"}
    absent = set()
    webhook = {"WebhookFunction", "WebhookRole", "WebhookLogs"}
    poller = {"PollerFunction", "PollerRole", "PollerLogs", "CheckpointTable"}
    (expected if parameters["Inputs"] != "poller" else absent).update(webhook)
    (expected if parameters["Inputs"] != "webhook" else absent).update(poller)
    check(expected <= made.keys(), f"{variant}: missing {sorted(expected - made.keys())}")
    check(not absent & made.keys(), f"{variant}: not wanted {sorted(absent & made.keys())}")

    for name, binary in FUNCTIONS.items():
        if name not in made:
            continue
        function = client("lambda").get_function(FunctionName=made[name])
        settings = function["Configuration"]
        role = client("iam").get_role(RoleName=made[f"{binary.capitalize()}Role"])["Role"]
        check(settings["Role"] == role["Arn"], f"{variant}: {name} has the role {settings['Role']}")
        check(settings["CodeSize"] == zips[binary].stat().st_size, f"{variant}: {name} has other code")
        environment = settings["Environment"]["Variables"]
        said = refusal(binary, bootstraps[binary], environment, endpoint)
        check(said is None, f"{variant}: {name} does not take its environment:\n{said}")
        said = refusal(binary, bootstraps[binary], environment | {"SEARCH_ENDPOINT": ""}, endpoint)
        check(
            said is not None and "SEARCH_ENDPOINT is not set" in said,
            f"{variant}: {name} does not miss SEARCH_ENDPOINT, so this check proves nothing: {said}",
        )

    sqs = client("sqs")
    attributes = sqs.get_queue_attributes(QueueUrl=made["RetryQueue"], AttributeNames=["All"])["Attributes"]
    redrive = json.loads(attributes["RedrivePolicy"])
    check(redrive["deadLetterTargetArn"].endswith(made["DeadLetterQueue"].rsplit("/", 1)[1]),
          f"{variant}: the retry queue's dead letters go to {redrive['deadLetterTargetArn']}")
    sources = client("lambda").list_event_source_mappings(FunctionName=made["RedriveFunction"])
    sources = sources["EventSourceMappings"]
    check([s["EventSourceArn"] for s in sources] == [attributes["QueueArn"]],
          f"{variant}: redrive does not read the retry queue")
    if "CheckpointTable" in made:
        dynamodb = client("dynamodb")
        table = dynamodb.describe_table(TableName=made["CheckpointTable"])["Table"]
        check(table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}], f"{variant}: table key")


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zips", type=Path, default=ROOT / "target/lambda", help="where <function>/bootstrap.zip is")
    parser.add_argument("--no-deployment", action="store_true", help="leave out what needs the zips")
    arguments = parser.parse_args()

    step("template: sam validate --lint")
    run_linter([tool("sam"), "validate", "--lint", "--template", str(TEMPLATE), "--region", REGION], "sam validate")
    step("template: transform, cfn-lint on the result")
    template = transformed({"SearchEndpoint": "https://search.example.com"})
    with tempfile.NamedTemporaryFile("w", suffix=".json") as result:
        json.dump(template, result, indent=1)
        result.flush()
        run_linter([tool("cfn-lint"), "--regions", REGION, "--template", result.name], "cfn-lint")
    step("template: IAM, agreements, runbooks")
    the_iam_rule_finds_wildcards()
    own_rules(template)
    if not arguments.no_deployment:
        step("deployment into moto, functions started with the environment they got")
        deployments(arguments.zips)

    if problems:
        sys.exit(f"{len(problems)} problem(s)")
    print("template.yaml is good")


if __name__ == "__main__":
    main()
