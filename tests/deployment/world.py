"""MiniStack, a stand-in for AWS that runs the functions and enforces their roles, and real engines.

The engines are behind gates that take them away. The copy of the template that MiniStack takes is
that of templates.py.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pexpect
from botocore.config import Config
from botocore.exceptions import ClientError, WaiterError

import search
import tools
from search import http
from services import Service, free_ports, responds
from stack import build, plain_environment, target_folder
from templates import BUCKET, REGION, functions
from tools import ROOT

ACCOUNT = "123456789012"
TOKEN = "Bearer deployed-token"
STREAM = "logs-auth0.logs-default"
INDEX_TEMPLATE = "_index_template/auth0-log-streams-default"
EVENTS = 12
# Of `make deploy`.
DEFAULT_STACK = "auth0-log-streams"
EVENT_SOURCE = "aws.partner/auth0.com/example-0f1e2d3c/auth0.logs"

# How long something that is not waited for by a call may take.
PATIENCE_SECONDS = 40

# Of a metric: names and values, sorted.
Dimensions = tuple[tuple[str, str], ...]


def eventually(what: str, test: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)


# --- engines ---------------------------------------------------------------------------------


class Gate:
    """A port in front of an engine, which can be closed."""

    def __init__(self, target: int) -> None:
        self.target = target
        (self.port,) = free_ports(1)
        self.connections: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            connection.close()
        self.connections = []

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self.connections += [client, server]
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
    """An engine, which the tests reach past its gate, and the functions through it."""

    def __init__(self, port: int) -> None:
        self.call = search.Engine(f"http://127.0.0.1:{port}").request
        self.gate = Gate(port)
        self.endpoint = f"http://127.0.0.1:{self.gate.port}"

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        self.gate.close()
        try:
            yield
        finally:
            self.gate.open()

    def count(self, stream: str = STREAM) -> int:
        """Returns the number of documents; of a stream that is not there yet, 0."""
        self.call("POST", f"{stream}/_refresh?ignore_unavailable=true")
        return self.call("GET", f"{stream}/_count?ignore_unavailable=true")["count"]

    def indices(self, stream: str = STREAM) -> list[str]:
        return sorted(self.call("GET", f"{stream}/_mapping"))

    def make_older(self) -> None:
        """Gives the data stream a write index as an older release would have created it."""
        body = self.call("GET", INDEX_TEMPLATE)["index_templates"][0]["index_template"]
        for name in [name for name in body if name.startswith(("created_date", "modified_date"))]:
            del body[name]
        mappings = body["template"]["mappings"]
        mappings["_meta"]["hash"] = "older"
        mappings["properties"].pop("event")
        self.call("PUT", INDEX_TEMPLATE, body)
        self.call("POST", f"{STREAM}/_rollover")


class Domain(Engine):
    """An engine that has IAM asked about each request, as a domain or collection of AWS has."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        behind = self.endpoint
        # Returns why IAM refuses a request of this method and signature, or nothing.
        self.refusal: Callable[[str, str], str] = lambda _method, _signature: ""

        def answer(request: BaseHTTPRequestHandler) -> None:
            body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
            if reason := self.refusal(request.command, request.headers["Authorization"]):
                status, text = 403, json.dumps({"Message": reason}).encode()
            else:
                url, headers = behind + request.path, dict(request.headers)
                status, text = http(request.command, url, body, headers)
            request.send_response(status)
            request.send_header("Content-Type", "application/json")
            request.send_header("Content-Length", str(len(text)))
            request.end_headers()
            request.wfile.write(text)

        methods = dict.fromkeys(("do_GET", "do_POST", "do_PUT"), answer)
        methods |= {"protocol_version": "HTTP/1.1", "log_message": lambda *_: None}
        handler = type("Handler", (BaseHTTPRequestHandler,), methods)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{server.server_port}"


# --- AWS -------------------------------------------------------------------------------------


def ministack_service(port: int) -> Service:
    env = {
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
    }
    return Service(
        name="ministack",
        argv=[str(tools.ministack() / "ministack")],
        ready=lambda: responds(f"http://127.0.0.1:{port}/_ministack/health", 200),
        env=plain_environment() | env,
        timeout_seconds=90,
    )


class Cloud:
    """MiniStack, as the person who deploys. Its attributes are boto3's clients, by service."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://localhost:{port}"
        self.uploads = 0

    def __getattr__(self, service: str) -> Any:
        client = boto3.client(
            service.removesuffix("_"),
            endpoint_url=self.url,
            region_name=REGION,
            config=Config(retries={"max_attempts": 10, "mode": "standard"}, read_timeout=300),
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        setattr(self, service, client)
        return client

    def secret(self, name: str, content: dict[str, str]) -> str:
        text = json.dumps(content)
        return self.secretsmanager.create_secret(Name=name, SecretString=text)["ARN"]

    def status(self, stack: str) -> str:
        try:
            return self.cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
        except ClientError:
            return "DELETE_COMPLETE"

    def settled(self, stack: str, operation: str) -> str:
        """Returns the status once the operation is over: create, update or delete."""
        waiter = self.cloudformation.get_waiter(f"stack_{operation}_complete")
        # What failed is a status, too.
        with contextlib.suppress(WaiterError):
            waiter.wait(StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 240})
        return self.status(stack)

    def deploy(self, stack: str, template: dict, parameters: dict[str, str], update: bool) -> str:
        """Creates or updates; returns the status of the stack."""
        self.uploads += 1
        key = f"template-{self.uploads}.json"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(template).encode())
        operation = "update" if update else "create"
        getattr(self.cloudformation, f"{operation}_stack")(
            StackName=stack,
            TemplateURL=f"{self.url}/{BUCKET}/{key}",
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        )
        return self.settled(stack, operation)

    def delete(self, stack: str) -> str:
        self.cloudformation.delete_stack(StackName=stack)
        return self.settled(stack, "delete")

    def reasons(self, stack: str) -> list[str]:
        """Returns why resources of the stack failed, newest first."""
        events = self.cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
        return [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED")
        ]

    def reason(self, stack: str) -> str:
        """Returns why the index template was not installed the last time."""
        return next(text for text in self.reasons(stack) if text.startswith("IndexTemplate"))

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

    def depth(self, queue_url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)
        return sum(int(found["Attributes"][name]) for name in names)

    def restart(self, function: str) -> None:
        """Ends the function's processes, and with them what they remember."""
        found = self.lambda_.get_function_configuration(FunctionName=function)
        variables = found["Environment"]["Variables"] | {"RESTARTED": str(time.time())}
        # Redrive tries until its time is up, which is soon.
        self.lambda_.update_function_configuration(
            FunctionName=function, Environment={"Variables": variables}, Timeout=10
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
        roles = [role["RoleName"] for role in self.iam.list_roles()["Roles"]]
        secrets = self.secretsmanager.get_paginator("list_secrets").paginate()
        buses = [bus["Name"] for bus in self.events.list_event_buses()["EventBuses"]]
        return {
            "queues": self.sqs.list_queues().get("QueueUrls", []),
            "tables": self.dynamodb.list_tables()["TableNames"],
            "functions": [f["FunctionName"] for f in self.lambda_.list_functions()["Functions"]],
            "roles": [role for role in roles if "AWS" not in role],
            "log groups": [group["logGroupName"] for group in groups],
            "alarms": [alarm["AlarmName"] for alarm in self.alarms()],
            "gateways": [api["ApiId"] for api in self.apigatewayv2.get_apis()["Items"]],
            "secrets": [secret["Name"] for page in secrets for secret in page["SecretList"]],
            "topics": [topic["TopicArn"] for topic in self.sns.list_topics()["Topics"]],
            "event buses": buses,
            "schedules": [s["Name"] for s in self.scheduler.list_schedules()["Schedules"]],
        }


# --- a stack ---------------------------------------------------------------------------------


class Stack:
    """A deployed stack, and what it has to do."""

    def __init__(
        self, cloud: Cloud, engine: Engine, name: str, template: dict, parameters: dict[str, str]
    ) -> None:
        self.cloud = cloud
        self.engine = engine
        self.name = name
        self.template = template
        self.parameters = parameters
        self.exists = False
        # Metric → the dimensions that it was emitted with.
        self.emitted: dict[str, set[Dimensions]] = {}

    def deploy(self, **changes: str) -> str:
        if self.exists:
            # An update may delete log groups.
            self.note_metrics()
        self.parameters |= changes
        status = self.cloud.deploy(self.name, self.template, self.parameters, self.exists)
        self.exists = status != "ROLLBACK_COMPLETE"
        return status

    def expect(self, wanted: str, **changes: str) -> None:
        status = self.deploy(**changes)
        assert status == wanted, self.cloud.reasons(self.name)[:5]

    def ensure(self, **changes: str) -> Stack:
        """Updates the stack if its parameters are others."""
        if not changes.items() <= self.parameters.items():
            self.expect("UPDATE_COMPLETE", **changes)
        return self

    @contextlib.contextmanager
    def release(self, content: str, **resources: dict) -> Iterator[None]:
        """A release with another index template, and with further resources, within the block."""
        kept = self.template
        self.template = copy.deepcopy(kept)
        self.template["Resources"]["IndexTemplate"]["Properties"]["ContentHash"] = content
        self.template["Resources"] |= resources
        yield
        self.template = kept

    @property
    def resources(self) -> dict[str, str]:
        return self.cloud.resources(self.name)

    def log(self, function: str, since: float = 0) -> str:
        return self.cloud.log(f"/aws/lambda/{self.name}-{function}", since)

    def depth(self, queue: str) -> int:
        return self.cloud.depth(self.resources[queue])

    def invoke(self, function: str, payload: dict | None = None) -> tuple[bool, str]:
        return self.cloud.invoke(f"{self.name}-{function}", payload or {})

    def post(self, events: list[dict], token: str = TOKEN) -> int:
        headers = {
            "Host": f"{self.resources['Api']}.execute-api.localhost:{self.cloud.port}",
            "Authorization": token,
            "Content-Type": "application/json",
        }
        body = "\n".join(map(json.dumps, events)).encode()
        return http("POST", f"http://127.0.0.1:{self.cloud.port}/auth0/logs", body, headers, 60)[0]

    def ring(self) -> None:
        """Posts an event that a detection finds."""
        (event,) = fresh_events(1)
        request = {"method": "delete", "path": "/api/v2/log-streams/lst_1"}
        event["data"] |= {"type": "sapi", "details": {"request": request}}
        before = self.engine.count()
        self.post([event])
        self.await_count(before + 1)

    def await_count(self, wanted: int) -> None:
        """Waits for documents that may have been parked for a moment."""

        def found() -> tuple[int, int]:
            return self.engine.count(), self.depth("RetryQueue")

        with contextlib.suppress(AssertionError):
            eventually("", lambda: found() == (wanted, 0))
        assert found() == (wanted, 0), "documents, parked messages"

    def stores_events(self, token: str = TOKEN) -> str:
        """Checks that what is posted is stored once, and nothing without the token."""
        before = self.engine.count()
        events = fresh_events(EVENTS)
        answers = [self.post(events, used) for used in (token, token, "Bearer wrong")]
        assert answers == [200, 200, 401], self.log("webhook")
        self.await_count(before + EVENTS)
        return f"{EVENTS} events posted twice, {EVENTS} documents; a wrong token gets 401"

    def polls(self) -> str:
        """Checks that a poll stores the tenant's events, and notes how far it is."""
        before = self.engine.count()
        good, result = self.invoke("poller")
        assert good, result
        counts = json.loads(result)
        # The package's stack may have stored them before.
        known = counts["stored"] + counts["duplicates"]
        assert 0 < counts["received"] == known
        assert self.engine.count() - before == counts["stored"]
        assert self.cloud.dynamodb.scan(TableName=self.resources["CheckpointTable"])["Count"] == 1
        return f"{known} events of the tenant stored, checkpoint written"

    def metrics(self, since: float = 0) -> Iterator[tuple[str, Dimensions, float]]:
        """Yields what CloudWatch makes of the functions' log lines: name, dimensions, value."""
        for function in functions().values():
            for line in self.log(function, since).splitlines():
                if not line.startswith("{") or '"_aws"' not in line:
                    continue
                record = json.loads(line)
                for directive in record["_aws"]["CloudWatchMetrics"]:
                    for names in directive["Dimensions"]:
                        dimensions = tuple((name, record[name]) for name in sorted(names))
                        for metric in directive["Metrics"]:
                            yield metric["Name"], dimensions, record[metric["Name"]]

    def note_metrics(self) -> None:
        for name, dimensions, _ in self.metrics():
            self.emitted.setdefault(name, set()).add(dimensions)

    @contextlib.contextmanager
    def without(self, role: str, sid: str) -> Iterator[None]:
        """Takes a statement away from a role within the block."""
        iam = self.cloud.iam
        name = self.resources[role]
        (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        left = [s for s in document["Statement"] if s.get("Sid", "") != sid]
        assert len(left) == len(document["Statement"]) - 1, f"{role} has no statement {sid}"

        def put(statements: list[dict]) -> None:
            text = json.dumps(document | {"Statement": statements})
            iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=text)

        if left:
            put(left)
        else:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        yield
        put(document["Statement"])


def deploying_policy() -> dict:
    """Returns docs/deploying-user.json, with the names that it leaves open."""
    text = (ROOT / "docs/deploying-user.json").read_text()
    for name, value in (("REGION", REGION), ("ACCOUNT", ACCOUNT), ("STACK", DEFAULT_STACK)):
        text = text.replace(name, value)
    return json.loads(text)


# Fixtures: what notes what was seen, and what returns a stack to deploy.
Seen = Callable[[str], None]
StackOf = Callable[..., Stack]


# --- events, zips, terminals -----------------------------------------------------------------


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


def zipped_functions(folder: Path) -> dict[str, Path]:
    """Returns the zips of `make build` in ZIPS; without these, of the unoptimized functions.

    Builds the stand-in tenant, too."""
    if zips := os.environ.get("ZIPS"):
        found = {name: ROOT / zips / name / "bootstrap.zip" for name in functions().values()}
        missing = [str(path) for path in found.values() if not path.exists()]
        assert not missing, "not built (make build)"
        build("the stand-in Auth0 tenant", "--workspace", "--bin", "tenant", "--locked")
        return found
    # The same as for `make e2e`, so that `make test` builds them once.
    build("the functions", "--workspace", "--bins", "--tests", "--examples", "--locked")
    found = {}
    for name in functions().values():
        program = folder / name
        subprocess.run(["strip", "-o", program, target_folder() / name], check=True)
        found[name] = folder / f"{name}.zip"
        with zipfile.ZipFile(found[name], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.write(program, "bootstrap")
    return found


class Terminal:
    """A command in a terminal."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.child = pexpect.spawn(
            command[0],
            command[1:],
            cwd=str(ROOT),
            env=env,
            dimensions=(50, 200),
            encoding="utf-8",
            codec_errors="replace",
        )
        self.text = ""

    def sees(self, wanted: str, seconds: float = 120) -> None:
        """Waits for a text."""
        self.child.expect(re.compile(wanted), timeout=seconds)
        self.text += self.child.before + self.child.after

    def answers(self, **answers: str) -> None:
        for name, answer in answers.items():
            self.sees(rf"\n{name} \[.*\]: ")
            self.types(answer)

    def types(self, answer: str) -> None:
        self.child.sendline(answer)

    def ends(self, wanted: int) -> str:
        """Reads to the end; returns everything shown."""
        self.child.expect(pexpect.EOF, timeout=120)
        text = (self.text + self.child.before).replace("\r\n", "\n")
        self.child.close()
        assert self.child.exitstatus == wanted, text[-3000:]
        return text
