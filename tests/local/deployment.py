"""Deploys template.yaml into MiniStack, a stand-in for AWS, and uses it: `make validate`.

MiniStack runs the functions as processes and enforces their roles. The engines are real, behind a
gate that takes them away. The deployed copy of the template differs in four places: alarms with
metric math are left out, which MiniStack lacks; SearchEndpoint and Auth0Url take http:// URLs; the
policy that refuses queries of the retry queue without TLS, which MiniStack does not speak, is left
out; and the code is in a bucket.
"""

from __future__ import annotations

import contextlib
import copy
import json
import platform
import re
import socket
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

import installer
import neighbor
import newcomer
import tools
from search import http
from services import Group, Service, free_ports, responds
from stack import build, engine_service, plain_environment, target_folder, tenant_service
from tools import ROOT, StackError, say

REGION = "eu-west-1"
ACCOUNT = "123456789012"
BUCKET = "artifacts"
TOKEN = "Bearer deployed-token"
FUNCTIONS = ("webhook", "ingest", "poller", "redrive", "detect", "setup")
STREAM = "logs-auth0.logs-default"
INDEX_TEMPLATE = "_index_template/auth0-log-streams-default"
EVENTS = 12
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
EVENT_SOURCE = "aws.partner/auth0.com/example-0f1e2d3c/auth0.logs"
# What each value of Inputs switches on.
INPUTS = {
    "webhook": {"Webhook"},
    "poller": {"Poller"},
    "both": {"Webhook", "Poller"},
    "eventbridge": {"Ingest"},
    "eventbridge+poller": {"Ingest", "Poller"},
}

# For each statement of each role: the calls that need it. AWS itself writes logs, polls the queue
# and follows the schedule, and MiniStack does so without a role: for those, its policy simulator is
# the only witness.
OWN_LOG = ("logs:CreateLogStream", "logs:PutLogEvents")
SIGNED = ("es:ESHttpGet", "es:ESHttpPost")
PARKING = (("sqs:SendMessage", "RetryQueue"), ("sqs:SendMessage", "DeadLetterQueue"))
NEEDS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    **{
        (f"{name}Role", "WriteOwnLog"): tuple((action, f"{name}Logs") for action in OWN_LOG)
        for name in ("Setup", "Webhook", "Ingest", "Poller", "Redrive", "Detect")
    },
    **{
        (f"{name}Role", "Trace"): (
            ("xray:PutTraceSegments", "*"),
            ("xray:PutTelemetryRecords", "*"),
        )
        for name in ("Setup", "Webhook", "Ingest", "Poller", "Redrive", "Detect")
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
        for name in ("Setup", "Webhook", "Ingest", "Poller", "Redrive", "Detect")
    },
}

# Of a metric: names and values, sorted.
Dimensions = tuple[tuple[str, str], ...]

# How long something that is not waited for by a call may take.
PATIENCE_SECONDS = 40

# For each rule of the template: what breaks it, and the parameters that its text has to name.
RULES: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "SecretOfTheEngine": (
        {"SearchSecretArn": ""},
        ("SearchSecretArn", "InstallIndexTemplate=false"),
    ),
    "SignedRequests": (
        {"SearchSignIn": "es", "InstallIndexTemplate": "false"},
        ("SearchResourceArn", "SearchSignIn=es"),
    ),
    "PollerNeedsTenant": ({"Inputs": "poller", "Auth0Url": ""}, ("poller", "Auth0Url")),
    "EventBridgeNeedsSource": (
        {"Inputs": "eventbridge", "EventSourceName": ""},
        ("EventBridge", "EventSourceName"),
    ),
    "DomainNeedsCertificate": (
        {"DomainName": "logs.example.com"},
        ("DomainName", "DomainCertificateArn"),
    ),
    "EnvironmentIsLimited": (
        {"SearchCaCertificate": "…", "IncludeTypes": "s", "ExcludeTypes": "f"},
        ("SearchCaCertificate", "IncludeTypes", "ExcludeTypes", "AllowedSourceCidrs"),
    ),
}


class Gate:
    """A port in front of an engine, which can be closed."""

    def __init__(self, target: int) -> None:
        self.target = target
        (self.port,) = free_ports(1)
        self.listener: socket.socket | None = None
        self.open_connections: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self) -> None:
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for connection in self.open_connections:
            connection.close()
        self.open_connections = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.open_connections += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Engine:
    """An engine, reached past its gate."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.gate = Gate(port)
        self.endpoint = f"http://127.0.0.1:{self.gate.port}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        status, answer = http(
            method, f"{self.url}/{path}", data, {"Content-Type": "application/json"}
        )
        if status >= 300 and status != 404:
            raise StackError(f"{self.name}: {method} {path}: {status} {answer!r}")
        return json.loads(answer)

    def count(self, stream: str = STREAM) -> int:
        http("POST", f"{self.url}/{stream}/_refresh")
        return self.call("GET", f"{stream}/_count?ignore_unavailable=true").get("count", 0)

    def indices(self, stream: str = STREAM) -> list[str]:
        return sorted(self.call("GET", f"{stream}/_mapping"))

    def make_older(self) -> None:
        """Gives the data stream a write index as an older release would have created it."""
        path = INDEX_TEMPLATE
        body = self.call("GET", path)["index_templates"][0]["index_template"]
        for name in [name for name in body if name.startswith(("created_date", "modified_date"))]:
            del body[name]
        mappings = body["template"]["mappings"]
        mappings["_meta"]["hash"] = "older"
        mappings["properties"].pop("event")
        self.call("PUT", path, body)
        self.call("POST", f"{STREAM}/_rollover")


def eventually(what: str, test: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """Returns the first true result of `test`."""
    deadline = time.monotonic() + seconds
    while not (result := test()):
        if time.monotonic() > deadline:
            raise StackError(f"not within {seconds} s: {what}")
        time.sleep(0.3)
    return result


class Cloud:
    """MiniStack, as the person who deploys."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://localhost:{port}"
        config = Config(retries={"max_attempts": 10, "mode": "standard"}, read_timeout=300)
        services = (
            *("cloudformation", "s3", "secretsmanager", "sqs", "lambda", "iam", "logs"),
            *("dynamodb", "cloudwatch", "scheduler", "apigatewayv2", "events", "sns"),
        )
        self.clients = {
            name: boto3.client(
                name,
                endpoint_url=self.url,
                region_name=REGION,
                config=config,
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )
            for name in services
        }
        self.uploads = 0

    def __getattr__(self, name: str) -> Any:
        return self.clients["lambda" if name == "lambda_" else name]

    def secret(self, name: str, content: dict[str, str]) -> str:
        made = self.secretsmanager.create_secret(Name=name, SecretString=json.dumps(content))
        return made["ARN"]

    def upload(self, template: dict) -> str:
        self.uploads += 1
        key = f"template-{self.uploads}.json"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(template).encode())
        return f"{self.url}/{BUCKET}/{key}"

    def deploy(self, stack: str, template: dict, parameters: dict[str, str], update: bool) -> str:
        """Creates or updates; returns the status of the stack."""
        call = self.cloudformation.update_stack if update else self.cloudformation.create_stack
        call(
            StackName=stack,
            TemplateURL=self.upload(template),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
        return self.settled(stack)

    def settled(self, stack: str) -> str:
        def status() -> str | None:
            try:
                found = self.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
            except ClientError:
                return "DELETE_COMPLETE"
            now = found["StackStatus"]
            return None if now.endswith("_IN_PROGRESS") else now

        return eventually(f"{stack} is deployed", status, 240)

    def reasons(self, stack: str) -> list[str]:
        """Returns why resources of the stack failed, newest first."""
        events = self.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        return [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED")
        ]

    def resources(self, stack: str) -> dict[str, str]:
        pages = self.cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
        return {
            resource["LogicalResourceId"]: resource.get("PhysicalResourceId", "")
            for page in pages
            for resource in page["StackResourceSummaries"]
            if resource["ResourceStatus"] != "DELETE_COMPLETE"
        }

    def log(self, group: str, since: float = 0) -> str:
        try:
            found = self.logs.filter_log_events(
                logGroupName=group, startTime=int(since * 1000), limit=10_000
            )
        except ClientError:
            return ""
        return "\n".join(event["message"] for event in found["events"])

    def deploying_user(self, stack: str) -> dict[str, str]:
        """Returns the access key of a user with the policy of docs/deploying-user.json alone."""
        user = {"UserName": "deployer"}
        document = json.dumps(deploying_policy(stack))
        self.iam.create_user(**user)
        self.iam.put_user_policy(**user, PolicyName="deploy", PolicyDocument=document)
        return self.iam.create_access_key(**user)["AccessKey"]

    def restart(self, function: str, timeout: int = 20) -> None:
        """Ends the function's processes, and with them what they remember."""
        found = self.lambda_.get_function_configuration(FunctionName=function)
        variables = found["Environment"]["Variables"] | {"RESTARTED": str(time.time())}
        self.lambda_.update_function_configuration(
            FunctionName=function, Environment={"Variables": variables}, Timeout=timeout
        )

    def invoke(self, function: str, payload: dict) -> tuple[bool, str]:
        """Returns whether the invocation succeeded, and its result."""
        answer = self.lambda_.invoke(FunctionName=function, Payload=json.dumps(payload))
        return "FunctionError" not in answer, answer["Payload"].read().decode()

    def alarms(self) -> list[dict]:
        pages = self.cloudwatch.get_paginator("describe_alarms").paginate()
        return [alarm for page in pages for alarm in page["MetricAlarms"]]

    def left(self) -> dict[str, list[str]]:
        """Returns all that costs or confuses if it is left behind."""
        groups = self.logs.describe_log_groups()["logGroups"]
        return {
            "queues": self.sqs.list_queues().get("QueueUrls", []),
            "tables": self.dynamodb.list_tables()["TableNames"],
            "functions": [f["FunctionName"] for f in self.lambda_.list_functions()["Functions"]],
            "roles": [
                r["RoleName"] for r in self.iam.list_roles()["Roles"] if "AWS" not in r["RoleName"]
            ],
            "log groups": [group["logGroupName"] for group in groups],
            "alarms": [alarm["AlarmName"] for alarm in self.alarms()],
            "gateways": [api["ApiId"] for api in self.apigatewayv2.get_apis()["Items"]],
        }


class Deployed:
    """One stack, and what it has to do."""

    def __init__(
        self, cloud: Cloud, engine: Engine, stack: str, template: dict, **values: str
    ) -> None:
        self.cloud = cloud
        self.engine = engine
        self.stack = stack
        self.template = template
        self.parameters = values
        self.exists = False

    def deploy(self, **changes: str) -> str:
        self.parameters |= changes
        status = self.cloud.deploy(self.stack, self.template, self.parameters, self.exists)
        self.exists = status != "ROLLBACK_COMPLETE"
        return status

    def expect(self, wanted: str, **changes: str) -> None:
        status = self.deploy(**changes)
        if status != wanted:
            reasons = "\n".join(self.cloud.reasons(self.stack)[:5])
            raise StackError(f"{self.stack} is {status}, not {wanted}:\n{reasons}")

    @property
    def resources(self) -> dict[str, str]:
        return self.cloud.resources(self.stack)

    def log(self, function: str, since: float = 0) -> str:
        return self.cloud.log(f"/aws/lambda/{self.stack}-{function}", since)

    def post(self, events: list[dict], token: str = TOKEN) -> int:
        api = self.resources["Api"]
        headers = {
            "Host": f"{api}.execute-api.localhost:{self.cloud.port}",
            "Authorization": token,
            "Content-Type": "application/json",
        }
        body = "\n".join(map(json.dumps, events)).encode()
        return http("POST", f"http://127.0.0.1:{self.cloud.port}/auth0/logs", body, headers, 60)[0]

    def depth(self, queue: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.cloud.sqs.get_queue_attributes(
            QueueUrl=self.resources[queue], AttributeNames=names
        )["Attributes"]
        return sum(int(found[name]) for name in names)

    def await_count(self, wanted: int) -> None:
        """Waits for documents that may have been parked for a moment."""
        try:
            eventually("", lambda: self.depth("RetryQueue") == 0 and self.engine.count() == wanted)
        except StackError:
            found, parked = self.engine.count(), self.depth("RetryQueue")
            raise StackError(
                f"{found} documents instead of {wanted}, {parked} messages parked"
            ) from None

    def without(self, role: str, sid: str) -> Callable[[], None]:
        """Takes a statement away from a role; returns what puts it back."""
        iam = self.cloud.iam
        name = self.resources[role]
        (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        left = copy.deepcopy(document)
        left["Statement"] = [s for s in document["Statement"] if s.get("Sid", "") != sid]
        if len(left["Statement"]) != len(document["Statement"]) - 1:
            raise StackError(f"{role} has no statement {sid}")

        def put(statements: dict) -> None:
            if not statements["Statement"]:
                iam.delete_role_policy(RoleName=name, PolicyName=policy)
                return
            iam.put_role_policy(
                RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(statements)
            )

        put(left)
        return lambda: put(document)

    def allows(self, role: str, action: str, resource: str) -> bool:
        name = self.resources[role]
        found = self.cloud.iam.simulate_principal_policy(
            PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/{name}",
            ActionNames=[action],
            ResourceArns=[resource],
        )
        return found["EvaluationResults"][0]["EvalDecision"] == "allowed"

    def arn(self, name: str) -> str:
        """Returns the ARN behind a parameter or a resource, as a call names it."""
        if name == "SearchResourceArn":
            arn = self.parameters[name]
            return f"{arn}/_bulk" if ":es:" in arn else arn
        if name in self.parameters or name == "*":
            return self.parameters.get(name, name)
        physical = self.resources[name]
        service, resource = {
            "Queue": ("sqs", physical.rpartition("/")[2]),
            "Table": ("dynamodb", f"table/{physical}"),
            "Function": ("lambda", f"function:{physical}"),
            "Topic": ("sns", physical.rpartition(":")[2]),
            "Logs": ("logs", f"log-group:{physical}:log-stream:2026/01/01/[$LATEST]1"),
        }[re.findall("[A-Z][a-z]+", name)[-1]]
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"

    def statements(self) -> dict[str, list[str]]:
        """Returns the statements of each role that the stack has."""
        found = {}
        for name, role in self.resources.items():
            if not name.endswith("Role"):
                continue
            for policy in self.cloud.iam.list_role_policies(RoleName=role)["PolicyNames"]:
                document = self.cloud.iam.get_role_policy(RoleName=role, PolicyName=policy)
                statements = document["PolicyDocument"]["Statement"]
                found[name] = [statement.get("Sid", "") for statement in statements]
        return found


def deploying_policy(stack: str) -> dict:
    text = (ROOT / "docs/deploying-user.json").read_text()
    for name, value in (("REGION", REGION), ("ACCOUNT", ACCOUNT), ("STACK", stack)):
        text = text.replace(name, value)
    return json.loads(text)


def fresh_events(count: int) -> list[dict]:
    """Returns events that no other call returns."""
    sample = json.loads((ROOT / "events/auth0/s.json").read_text())
    events = []
    for number in range(count):
        event = copy.deepcopy(sample)
        log_id = f"9002026{time.time_ns()}{number:06}"
        event["log_id"] = event["data"]["log_id"] = log_id
        event["data"]["date"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        events.append(event)
    return events


def zipped_functions(zips: Path | None, folder: Path) -> dict[str, Path]:
    """Returns the zips of `make build`; without these, of the unoptimized functions."""
    if zips:
        found = {name: zips / name / "bootstrap.zip" for name in FUNCTIONS}
        if missing := [str(path) for path in found.values() if not path.exists()]:
            raise StackError(f"not built: {', '.join(missing)} (make build)")
        return found
    # The same as for `make e2e`, so that `make test` builds them once.
    build("the functions", "--workspace", "--bins", "--tests", "--locked")
    found = {}
    for name in FUNCTIONS:
        program = folder / name
        subprocess.run(["strip", "-o", program, target_folder() / name], check=True)
        found[name] = folder / f"{name}.zip"
        with zipfile.ZipFile(found[name], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            about = zipfile.ZipInfo("bootstrap")
            about.external_attr = 0o755 << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(about, program.read_bytes())
    return found


def ministack_service(port: int, folder: Path) -> Service:
    return Service(
        name="ministack",
        argv=[str(tools.ministack() / "ministack")],
        port=port,
        port_variable="",
        ready=lambda: responds(f"http://127.0.0.1:{port}/_ministack/health", 200),
        env=plain_environment()
        | {
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": "localhost",
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "AWS_ENDPOINT_URL": f"http://localhost:{port}",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AUTH": "true",
            "PYTHONPATH": "",
        },
        timeout_seconds=90,
    )


def deployable(template: dict) -> dict:
    """Returns the copy that MiniStack takes: see the top of this file."""
    changed = copy.deepcopy(template)
    for url in ("Auth0Url", "SearchEndpoint"):
        changed["Parameters"][url].pop("AllowedPattern")
    newcomer.drop_what_ministack_lacks(changed)
    return changed


class Run:
    """The steps, and the table of what was done and seen."""

    def __init__(
        self,
        cloud: Cloud,
        engines: dict[str, Engine],
        render: Callable,
        values: dict,
        typist: newcomer.Newcomer,
        installer: installer.Installer,
    ) -> None:
        self.typist = typist
        self.installer = installer
        self.cloud = cloud
        self.engines = engines
        self.render = render
        self.values = values
        self.rows: list[tuple[str, str, float]] = []
        self.checked: set[tuple[str, str]] = set()
        # Metric → the dimensions that it was emitted with.
        self.emitted: dict[str, set[Dimensions]] = {}

    def step(self, title: str, work: Callable[..., str], *arguments: Any) -> None:
        say(f"  {title}")
        started = time.monotonic()
        try:
            seen = work(*arguments)
        except (StackError, ClientError) as error:
            raise StackError(f"{title}: {error}") from error
        self.rows.append((title, seen, time.monotonic() - started))

    def table(self) -> str:
        width = max(len(title) for title, _, _ in self.rows)
        return "\n".join(
            f"  {title.ljust(width)}  {seconds:5.1f} s  {seen}"
            for title, seen, seconds in self.rows
        )

    def stack(self, name: str, engine: Engine, **values: str) -> Deployed:
        parameters = self.values | {"SearchEndpoint": engine.endpoint} | values
        return Deployed(self.cloud, engine, name, deployable(self.render(parameters)), **parameters)

    # --- a newcomer's mistakes

    def rules(self) -> str:
        template = deployable(self.render(self.values))
        if set(template["Rules"]) != set(RULES):
            raise StackError(f"the rules are {sorted(template['Rules'])}")
        for name, (changes, named) in RULES.items():
            parameters = self.values | changes
            try:
                status = self.cloud.deploy(f"rule-{name}", template, parameters, False)
            except ClientError as error:
                said = str(error)
            else:
                raise StackError(f"{name} lets {changes} through: {status}")
            if missing := [word for word in named if word not in said]:
                raise StackError(f"{name} does not name {', '.join(missing)}: {said}")
        return f"{len(RULES)} wrong settings refused, each by a text that names the parameter"

    def nothing_is_left(self) -> str:
        before = self.cloud.left()
        engine = self.engines["opensearch"]
        engine.gate.close()
        stack = self.stack("failed", engine, Inputs="both")
        stack.expect("ROLLBACK_COMPLETE")
        engine.gate.open()
        reason = next(r for r in self.cloud.reasons("failed") if r.startswith("IndexTemplate"))
        if "the engine is unavailable (check SEARCH_ENDPOINT" not in reason:
            raise StackError(f"the reason does not help: {reason}")
        self.cloud.cloudformation.delete_stack(StackName="failed")
        self.cloud.settled("failed")
        after = self.cloud.left()
        left = {what: sorted(set(after[what]) - set(before[what])) for what in after}
        if any(left.values()):
            raise StackError(f"left behind: {left}")
        return "rolled back with the reason; no queue, table, role or log group left"

    # --- what the functions do

    def post(self, stack: Deployed, token: str = TOKEN) -> str:
        before = stack.engine.count()
        events = fresh_events(EVENTS)
        answers = [stack.post(events, used) for used in (token, token, "Bearer wrong")]
        if answers != [200, 200, 401]:
            raise StackError(f"the answers are {answers}\n{stack.log('webhook')}")
        stack.await_count(before + EVENTS)
        return f"{EVENTS} events posted twice, {EVENTS} documents; a wrong token gets 401"

    def inputs(self, stack: Deployed, value: str) -> str:
        stack.expect("UPDATE_COMPLETE", Inputs=value)
        names = stack.resources
        for prefix in ("Webhook", "Ingest", "Poller"):
            for kind in ("Function", "Role", "Logs"):
                if (prefix + kind in names) != (prefix in INPUTS[value]):
                    raise StackError(f"{prefix}{kind}: {sorted(names)}")
        return "updated, and the functions are those of this value"

    def poll(self, stack: Deployed) -> str:
        before = stack.engine.count()
        good, result = self.cloud.invoke(f"{stack.stack}-poller", {})
        if not good:
            raise StackError(f"the poll failed: {result}")
        new = stack.engine.count() - before
        table = stack.resources["CheckpointTable"]
        checkpoints = self.cloud.dynamodb.scan(TableName=table)["Count"]
        counts = json.loads(result)
        # The package's stack may have stored them before.
        known = counts["stored"] + counts["duplicates"]
        if not 0 < counts["received"] == known or new != counts["stored"] or checkpoints != 1:
            raise StackError(f"{new} documents, {checkpoints} checkpoints: {result}")
        return f"{known} events of the tenant stored, checkpoint written"

    def deliver(self, stack: Deployed) -> str:
        """Sends events as Auth0's event source does, and one that is none of its log events."""
        before = stack.engine.count()
        events = fresh_events(EVENTS)
        kinds = ["Auth0 log"] * EVENTS + ["another one"]
        entries = [
            {
                # Only AWS and its partners may name the real source, and the rule does not ask.
                "Source": "auth0",
                "DetailType": kind,
                "Detail": json.dumps(event),
                "EventBusName": EVENT_SOURCE,
            }
            for kind, event in zip(kinds, [*events, events[0]], strict=True)
        ]
        for start in (0, 10):
            put = self.cloud.events.put_events(Entries=entries[start : start + 10])
            if put["FailedEntryCount"]:
                raise StackError(f"not taken: {put}")
        stack.await_count(before + EVENTS)
        self.note_metrics(stack)
        for queue in ("IngestQueue", "IngestDeadLetterQueue"):
            try:
                stack.depth(queue)
            except ClientError:
                continue
            raise StackError(f"{queue} may be read without TLS")
        return f"{EVENTS} events of the bus stored, by way of rule and queue; no reader without TLS"

    def tick(self, stack: Deployed) -> str:
        """Waits for the schedule's own invocation, which has been running since the update."""
        since = time.time()
        eventually("a tick of the schedule", lambda: "REPORT" in stack.log("poller", since), 80)
        return "the schedule has invoked the poller"

    def outage(self, stack: Deployed) -> str:
        queue = stack.resources["RetryQueue"]
        # A message that redrive could not write is back after 3 s instead of 6 minutes.
        visibility = {"VisibilityTimeout": "3"}
        self.cloud.sqs.set_queue_attributes(QueueUrl=queue, Attributes=visibility)
        before = stack.engine.count()
        stack.engine.gate.close()
        answers = [stack.post(fresh_events(EVENTS)) for _ in range(2)]
        parked = stack.depth("RetryQueue")
        stack.engine.gate.open()
        if answers != [200, 200] or parked == 0:
            log = stack.log("webhook")[-1500:]
            raise StackError(f"the answers are {answers}, {parked} messages are parked\n{log}")
        stack.await_count(before + 2 * EVENTS)
        if stack.depth("DeadLetterQueue"):
            raise StackError("there are dead letters")
        return f"engine away: {parked} messages parked with 200; back: redrive stored all of them"

    # --- upgrades

    def changed(self, stack: Deployed, content: str) -> None:
        stack.template["Resources"]["IndexTemplate"]["Properties"]["ContentHash"] = content

    def upgrade(self, stack: Deployed) -> str:
        documents = stack.engine.count() + 2 * EVENTS
        stack.post(fresh_events(EVENTS))
        stack.engine.make_older()
        stack.post(fresh_events(EVENTS))
        stack.await_count(documents)
        indices = stack.engine.indices()
        since = time.time()
        for content in ("newer", "newer still"):
            self.changed(stack, content)
            stack.expect("UPDATE_COMPLETE")
        now = stack.engine.indices()
        said = stack.log("setup", since).count("is rolled over, because")
        if len(now) != len(indices) + 1 or said != 1:
            raise StackError(f"{indices} became {now}, said {said} times")
        if stack.engine.count() != documents:
            raise StackError(f"{documents} documents became {stack.engine.count()}")
        self.post(stack)
        return f"over {documents} documents: rolled over once, said once, all kept"

    def roll_back(self, stack: Deployed) -> str:
        """An upgrade that fails after setup, which has to go back too."""
        good = stack.template
        stack.template = copy.deepcopy(good)
        self.changed(stack, "one that fails later")
        stack.template["Resources"]["Broken"] = {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {"AlarmName": {"Fn::Sub": "${IndexTemplate}"}, "Metrics": [{"Id": "m"}]},
        }
        stack.expect("UPDATE_ROLLBACK_COMPLETE")
        stack.template = good
        self.post(stack)
        return "UPDATE_ROLLBACK_COMPLETE, and events are stored"

    def roll_back_without_engine(self, stack: Deployed) -> str:
        good = stack.template
        stack.template = copy.deepcopy(good)
        self.changed(stack, "one that meets no engine")
        stack.engine.gate.close()
        stack.expect("UPDATE_ROLLBACK_COMPLETE")
        stack.engine.gate.open()
        stack.template = good
        self.post(stack)
        return "UPDATE_ROLLBACK_COMPLETE, and events are stored once it is back"

    # --- permissions: what is taken away has to be missed

    def permissions(self, stack: Deployed) -> str:
        """Asks the policy simulator, with and without each statement."""
        count = 0
        for role, sids in stack.statements().items():
            for sid in sids:
                needs = NEEDS.get((role, sid))
                if needs is None:
                    raise StackError(f"{role} has a statement {sid!r} that nothing here needs")
                self.missed(stack, role, sid, needs)
                self.checked.add((role, sid))
                count += 1
        return (
            f"{count} statements of {len(stack.statements())} roles: allowed with, denied without"
        )

    def missed(self, stack: Deployed, role: str, sid: str, needs: tuple) -> None:
        # Whoever signs requests reads no secret of the engine.
        signs = stack.parameters.get("SearchSignIn", "secret") != "secret"
        hashes = stack.parameters.get("MaskUserData") == "hash"
        unread = {"SearchSecretArn"} if signs else set()
        unread |= set() if hashes else {"MaskSecretArn"}
        needs = [need for need in needs if need[1] not in unread]
        calls = [(action, stack.arn(name)) for action, name in needs]
        for action, arn in calls:
            if not stack.allows(role, action, arn):
                raise StackError(f"{role} may not {action} on {arn}, which {sid} has to allow")
        put_back = stack.without(role, sid)
        for action, arn in calls:
            if stack.allows(role, action, arn):
                raise StackError(f"{role} may {action} on {arn} without {sid}")
        put_back()

    def permissions_alone(self, stack: Deployed) -> str:
        """Like `permissions`, in a stack for this alone: an event source has one bus."""
        stack.expect("CREATE_COMPLETE")
        seen = self.permissions(stack)
        self.cloud.cloudformation.delete_stack(StackName=stack.stack)
        self.cloud.settled(stack.stack)
        return seen

    def every_role_is_used(self) -> str:
        """Checks that the table above names no statement that no stack has."""
        if lost := sorted(set(NEEDS) - self.checked):
            raise StackError(f"in no stack: {lost}")
        return f"{len(NEEDS)} statements, each taken away in a stack"

    def fails_without(
        self, stack: Deployed, function: str, sid: str, use: Callable[[], tuple[bool, str]]
    ) -> str:
        """Takes a statement away; `use` returns whether the function failed, and how."""
        role, name = f"{function.capitalize()}Role", f"{stack.stack}-{function}"
        put_back = stack.without(role, sid)
        self.cloud.restart(name)
        since = time.time()
        failed, how = use()
        log = stack.log(function, since)
        put_back()
        self.cloud.restart(name)
        if not failed or "is not authorized to perform" not in log + how:
            raise StackError(f"{role} without {sid}: {how}\n{log[-2000:]}")
        action = re.search(r"not authorized to perform: (\S+)", log + how)
        return f"{how.splitlines()[0][:60]}; AccessDenied for {action[1] if action else '?'}"

    def post_is_refused(self, stack: Deployed, engine_is_away: bool) -> tuple[bool, str]:
        if engine_is_away:
            stack.engine.gate.close()
        status = stack.post(fresh_events(1))
        if engine_is_away:
            stack.engine.gate.open()
        return status >= 500, f"POST gets {status}"

    def poll_fails(self, stack: Deployed) -> tuple[bool, str]:
        good, result = self.cloud.invoke(f"{stack.stack}-poller", {})
        return not good, f"poll fails: {result}"

    def detect(self, stack: Deployed) -> str:
        """Turns the detections on, and has one ring."""
        stack.expect("UPDATE_COMPLETE", Detections="on")
        topic = stack.resources["AlertTopic"]
        name = f"{stack.stack}-subscribed"
        endpoint = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": endpoint,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        attributes = {"Policy": policy}
        queue = self.cloud.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.cloud.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=endpoint)
        self.ring(stack)
        results = [self.cloud.invoke(f"{stack.stack}-detect", {}) for _ in range(2)]
        runs = [json.loads(result) for good, result in results if good]
        received = self.cloud.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
        self.cloud.sqs.delete_queue(QueueUrl=queue)
        messages = received.get("Messages", [])
        if [run.get("published") for run in runs] != [1, 0] or len(messages) != 1:
            raise StackError(f"{results}, {len(messages)} messages\n{stack.log('detect')}")
        alerts = stack.engine.count("logs-auth0.alerts-default")
        if alerts != 1 or "Log stream paused or deleted" not in messages[0]["Body"]:
            raise StackError(f"{alerts} alerts: {messages[0]}")
        self.note_metrics(stack)
        return f"{runs[0]['rules']} rules run twice, one alert written and published once"

    def ring(self, stack: Deployed) -> None:
        """Posts an event that a detection finds."""
        (event,) = fresh_events(1)
        request = {"method": "delete", "path": "/api/v2/log-streams/lst_1"}
        event["data"] |= {"type": "sapi", "details": {"request": request}}
        before = stack.engine.count()
        stack.post([event])
        stack.await_count(before + 1)

    def detect_fails(self, stack: Deployed) -> tuple[bool, str]:
        self.ring(stack)
        good, result = self.cloud.invoke(f"{stack.stack}-detect", {})
        return not good or json.loads(result)["failed"] > 0, f"detect fails: {result}"

    def redrive_fails(self, stack: Deployed) -> tuple[bool, str]:
        event = json.loads((ROOT / "events/redrive.json").read_text())
        good, result = self.cloud.invoke(f"{stack.stack}-redrive", event)
        failed = not good or bool(json.loads(result)["batchItemFailures"])
        return failed, "message returns to the queue"

    def update_fails(self, stack: Deployed) -> tuple[bool, str]:
        good = stack.template
        stack.template = copy.deepcopy(good)
        self.changed(stack, "one that reads no secret")
        status = stack.deploy()
        stack.template = good
        reason = next(r for r in self.cloud.reasons(stack.stack) if r.startswith("IndexTemplate"))
        return status == "UPDATE_ROLLBACK_COMPLETE", f"update is rolled back\n{reason}"

    # --- alarms

    def metrics(self, stack: Deployed, since: float = 0) -> Iterator[tuple[str, Dimensions, float]]:
        """Returns what CloudWatch makes of the functions' log lines: name, dimensions, value."""
        for function in FUNCTIONS:
            for line in stack.log(function, since).splitlines():
                if not line.startswith("{") or '"_aws"' not in line:
                    continue
                record = json.loads(line)
                for directive in record["_aws"]["CloudWatchMetrics"]:
                    for names in directive["Dimensions"]:
                        dimensions = tuple((name, record[name]) for name in sorted(names))
                        for metric in directive["Metrics"]:
                            yield metric["Name"], dimensions, record[metric["Name"]]

    def note_metrics(self, stack: Deployed) -> None:
        """Notes what was emitted, before an update deletes the log groups."""
        for name, dimensions, _ in self.metrics(stack):
            self.emitted.setdefault(name, set()).add(dimensions)

    def neighbors(self, alive: Deployed, dead: Deployed) -> str:
        """Two stacks in one account: what one does must not keep the other's alarms quiet."""
        dead.expect("CREATE_COMPLETE")
        since = time.time()
        dead.without("PollerRole", "ReadSecrets")
        if self.cloud.invoke(f"{dead.stack}-poller", {})[0]:
            raise StackError("the dead stack polls")
        self.post(alive)
        if not self.cloud.invoke(f"{alive.stack}-poller", {})[0]:
            raise StackError(f"{alive.stack} does not poll")
        emitted = [*self.metrics(alive, since), *self.metrics(dead, since)]
        ringing = {}
        for alarm in self.cloud.alarms():
            stack, _, name = alarm["AlarmName"].partition("-")
            if name.startswith(("PollerNoProgress-", "WebhookSilence-")):
                watched = tuple(sorted((d["Name"], d["Value"]) for d in alarm["Dimensions"]))
                value = sum(v for n, d, v in emitted if (n, d) == (alarm["MetricName"], watched))
                if value < alarm["Threshold"]:
                    ringing.setdefault(stack, []).append(name.partition("-")[0])
        expected = {dead.stack: ["PollerNoProgress", "WebhookSilence"]}
        ringing = {stack: sorted(names) for stack, names in ringing.items()}
        if {s: ringing.get(s) for s in (alive.stack, dead.stack) if s in ringing} != expected:
            raise StackError(f"these would ring: {ringing}")
        self.cloud.cloudformation.delete_stack(StackName=dead.stack)
        self.cloud.settled(dead.stack)
        return "a stack that polls and receives nothing would ring next to one that does"

    def alarms(self, stack: Deployed) -> str:
        """Compares what alarms watch with what the functions emit."""
        self.note_metrics(stack)
        emitted = self.emitted
        every = set().union(*emitted.values())
        template = self.render(stack.parameters)
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Logs::MetricFilter":
                every.add((("Stack", stack.stack),))
        seen = 0
        for name, resource in template["Resources"].items():
            if resource["Type"] != "AWS::CloudWatch::Alarm":
                continue
            properties = resource["Properties"]
            queries = [
                q["MetricStat"]["Metric"]
                for q in properties.get("Metrics", [])
                if "MetricStat" in q
            ]
            for metric in queries or [properties]:
                if metric["Namespace"] != "Auth0LogStreams":
                    continue
                watched = tuple(
                    sorted(
                        (
                            d["Name"],
                            stack.stack if d["Value"] == {"Ref": "AWS::StackName"} else d["Value"],
                        )
                        for d in metric["Dimensions"]
                    )
                )
                if watched not in every:
                    raise StackError(
                        f"{name} watches {metric['MetricName']} with {watched}, which nobody emits"
                    )
                seen += watched in emitted.get(metric["MetricName"], ())
        queues = {
            q: stack.resources[q].rpartition("/")[2] for q in ("RetryQueue", "DeadLetterQueue")
        }
        for alarm in self.cloud.alarms():
            if alarm["AlarmName"].startswith(f"{stack.stack}-") and alarm["Namespace"] == "AWS/SQS":
                watched = [d["Value"] for d in alarm["Dimensions"]]
                queue = "DeadLetterQueue" if "-DeadLetters-" in alarm["AlarmName"] else "RetryQueue"
                if watched != [queues[queue]]:
                    raise StackError(f"{alarm['AlarmName']} watches {watched}")
        return f"{len(emitted)} metrics emitted; {seen} of them, as emitted, are watched by alarms"

    def delete(self, stack: Deployed) -> str:
        names = stack.resources
        self.cloud.cloudformation.delete_stack(StackName=stack.stack)
        status = self.cloud.settled(stack.stack)
        left = self.cloud.left()
        mine = {
            what: [n for n in found if f"{stack.stack}-" in n or n in names.values()]
            for what, found in left.items()
        }
        kept = {what for what, found in mine.items() if found}
        if status != "DELETE_COMPLETE" or kept != {"queues", "tables"}:
            raise StackError(f"{status}, left: {mine}")
        if not stack.engine.call("GET", INDEX_TEMPLATE).get("index_templates"):
            raise StackError("the index template is gone")
        return "queues, checkpoint table, index template and documents are kept, nothing else"


def run(render: Callable[[dict[str, str]], dict], zips: Path | None) -> None:
    """Deploys, and prints the table; raises StackError at the first step that fails.

    `render` returns the transformed template for parameters."""
    tools.check_prerequisites()
    tools.set_up(["opensearch", "elasticsearch"])
    started = time.monotonic()
    group = Group(tools.TOOLS / "run/validate")
    with tools.exclusive("validate", wait=True), tempfile.TemporaryDirectory() as folder:
        group.stop()
        try:
            steps = prepare(group, Path(folder), render, zips)
            use(steps)
        except StackError:
            if group.alive("ministack"):
                say(group.tail("ministack", 5))
            raise
        finally:
            group.stop()
    say(f"{steps.table()}\n  all of it in {time.monotonic() - started:.0f} s")


def prepare(group: Group, folder: Path, render: Callable, zips: Path | None) -> Run:
    cloud_port, tenant_port, *engine_ports = free_ports(4)
    parts = [ministack_service(cloud_port, group.folder)]
    names = ("opensearch", "elasticsearch")
    parts += [
        engine_service(n, port, group.folder) for n, port in zip(names, engine_ports, strict=True)
    ]
    for part in parts:
        group.start(part)
    archives = zipped_functions(zips, folder)
    build("the stand-in Auth0 tenant", "--workspace", "--bin", "tenant", "--locked")
    client = {"client_id": "local-client", "client_secret": "local-client-secret"}
    parts.append(
        tenant_service(tenant_port, client["client_id"], client["client_secret"], target_folder())
    )
    group.start(parts[-1])
    for part in parts:
        group.wait(part)
    cloud = Cloud(cloud_port)
    engines = {n: Engine(n, port) for n, port in zip(names, engine_ports, strict=True)}
    location = {"LocationConstraint": REGION}
    cloud.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=location)
    for name, archive in archives.items():
        cloud.s3.upload_file(str(archive), BUCKET, f"{name}.zip")
    values = {
        "Inputs": "webhook",
        # That of this machine, which runs the functions.
        "Architecture": {"aarch64": "arm64"}.get(platform.machine(), "x86_64"),
        "SearchEndpoint": "https://search.example.com",
        "SearchSecretArn": cloud.secret("search", {"username": "any", "password": "any"}),
        "WebhookSecretArn": cloud.secret("webhook", {"token": TOKEN}),
        "Auth0SecretArn": cloud.secret("auth0", client),
        "Auth0Url": f"http://127.0.0.1:{tenant_port}",
        "EventSourceName": EVENT_SOURCE,
        "MaskSecretArn": cloud.secret("mask", {"key": "k" * 64}),
        "ExtraTags": "production,eu",
    }
    built = newcomer.template(folder, archives)
    typist = newcomer.Newcomer(cloud, engines["opensearch"], built, values["SearchSecretArn"])
    user = installer.Installer(cloud, engines["opensearch"], archives, values, folder)
    return Run(cloud, engines, render, values, typist, user)


def use_package(run: Run) -> None:
    """Takes the steps of a user of the package."""
    user = run.installer
    run.step("deploy.sh: wrong parameters, dry run", user.refusals)
    run.step("deploy.sh: engine down at first", user.engine_down)
    run.step("deploy.sh: install", user.install)
    stack = Deployed(run.cloud, user.engine, installer.STACK, {})
    run.step("auth0-setup.sh", user.set_up_auth0)
    run.step("post, package", run.post, stack, user.token)
    run.step("poll, package", run.poll, stack)
    run.step("deploy.sh: change", user.changes)
    other = neighbor.Neighbor(user)
    run.step("deploy.sh: EventBridge, own bucket", other.install)
    run.step("auth0-logs: EventBridge, neighbor", other.look)
    run.step("deploy.sh: second package", other.upgrade)
    run.step("auth0-setup.sh: existing application", other.existing_application)
    run.step("auth0-setup.sh: missing permissions", other.permissions)
    run.step("deploy.sh: delete, EventBridge", other.delete)
    run.step("auth0-setup.sh: changed URL or token", other.without_stack)
    run.step("launch-stack URL", other.launch)
    run.step("auth0-logs", user.look)
    run.step("deploy.sh: delete", user.delete)


def use(run: Run) -> None:
    """Takes every step."""
    opensearch, elasticsearch = run.engines["opensearch"], run.engines["elasticsearch"]

    def created(stack: Deployed) -> str:
        stack.expect("CREATE_COMPLETE")
        return f"{len(stack.resources)} resources"

    policy = deploying_policy(newcomer.STACK)
    types = {r["Type"] for r in run.render(run.values)["Resources"].values()}
    run.step("deploying user's policy", run.typist.policy, types, policy, REGION, ACCOUNT)
    run.step("make deploy: wrong answers, wrong URL", run.typist.mistakes)
    run.step("make deploy: engine down at first", run.typist.engine_down)
    run.step("make deploy: upgrade, engine away", run.typist.upgrade)
    run.step("make deploy: one parameter later", run.typist.change)
    run.typist.delete()
    use_package(run)
    run.step("wrong settings", run.rules)
    run.step("first deployment, engine away", run.nothing_is_left)
    main = run.stack("main", opensearch)
    run.step("first deployment, OpenSearch", created, main)
    run.step("post", run.post, main)
    for value in ("eventbridge+poller", "poller", "webhook", "eventbridge"):
        run.step(f"update to Inputs={value}", run.inputs, main, value)
    run.step("EventBridge", run.deliver, main)
    run.step("update to Inputs=both", run.inputs, main, "both")
    run.step("poll", run.poll, main)
    run.step("outage", run.outage, main)
    run.step("upgrade", run.upgrade, main)
    run.step("failed upgrade, engine up", run.roll_back, main)
    run.step("failed upgrade, engine away", run.roll_back_without_engine, main)
    run.step("schedule", run.tick, main)
    run.step("detections", run.detect, main)
    run.step("alarms", run.alarms, main)
    dead = run.stack("dead", opensearch, Inputs="both", InstallIndexTemplate="false")
    run.step("two stacks, one of them dead", run.neighbors, main, dead)

    run.step("permissions", run.permissions, main)
    for sign_in, kind in (("secret", ""), ("es", "domain"), ("aoss", "collection")):
        for value in ("both", "eventbridge"):
            values = {"Inputs": value, "PollState": "DISABLED", "MaskUserData": "hash"}
            values |= {"InstallIndexTemplate": "false", "Detections": "on"}
            if not kind:
                values |= {"KmsKeyArn": KEY, "Tracing": "Active"}
            else:
                arn = f"arn:aws:{sign_in}:{REGION}:{ACCOUNT}:{kind}/logs"
                values |= {"SearchSignIn": sign_in, "SearchResourceArn": arn}
            stack = run.stack(f"{sign_in}-{value}", opensearch, **values)
            title = f"permissions, SearchSignIn={sign_in}, Inputs={value}"
            run.step(title, run.permissions_alone, stack)
    run.step("permissions, all", run.every_role_is_used)
    # MiniStack publishes to a topic for any role, so that PublishAlerts is left to the simulator.
    for function, sid, use_it in (
        ("webhook", "ReadSecrets", lambda: run.post_is_refused(main, False)),
        ("webhook", "ParkEvents", lambda: run.post_is_refused(main, True)),
        ("poller", "ReadSecrets", lambda: run.poll_fails(main)),
        ("poller", "KeepCheckpoint", lambda: run.poll_fails(main)),
        ("redrive", "ReadSecret", lambda: run.redrive_fails(main)),
        ("detect", "ReadSecret", lambda: run.detect_fails(main)),
        ("detect", "KeepCheckpoint", lambda: run.detect_fails(main)),
        ("setup", "ReadSecret", lambda: run.update_fails(main)),
    ):
        run.step(f"{function} without {sid}", run.fails_without, main, function, sid, use_it)
    run.step("post with all permissions", run.post, main)

    other = run.stack("other", elasticsearch, Inputs="both", PollState="DISABLED")
    run.step("first deployment, Elasticsearch", created, other)
    run.step("post, Elasticsearch", run.post, other)
    run.step("upgrade, Elasticsearch", run.upgrade, other)
    run.step("failed upgrade, Elasticsearch up", run.roll_back, other)
    run.step("failed upgrade, Elasticsearch away", run.roll_back_without_engine, other)
    run.step("delete", run.delete, main)
    run.step("delete, Elasticsearch", run.delete, other)
