"""Starts each built function once, on a stand-in for Lambda's runtime API: `make smoke`.

RUN starts what is built for another machine: RUN="qemu-aarch64 -L /usr/aarch64-linux-gnu".
Nothing but the runtime API and the secret is there: a function has passed once it has mapped its
event and said what it could not reach.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from interrupts import exit_code
from tools import ROOT, StackError, say

SECONDS = 120
WEBHOOK = json.loads((ROOT / "events/webhook.json").read_text())
MESSAGE = {"messageId": "m", "receiptHandle": "r", "body": "{}", "attributes": {}}
MESSAGE |= {"eventSource": "aws:sqs", "awsRegion": "eu-west-1", "messageAttributes": {}}
RESOURCE = {"RequestType": "Delete", "ResponseURL": "@/response", "PhysicalResourceId": "id"}
RESOURCE |= dict.fromkeys(("ServiceToken", "StackId", "RequestId", "LogicalResourceId"), "s")
RESOURCE |= {"ResourceType": "Custom::Auth0IndexTemplate", "ResourceProperties": {}}
# What each function is given, and what its result or error says.
CASES = {
    "webhook": (WEBHOOK, "events cannot be stored"),
    "ingest": ({"Records": [MESSAGE]}, '"itemIdentifier":"m"'),
    "poller": ({}, "CheckpointUnusable"),
    "redrive": (json.loads((ROOT / "events/redrive.json").read_text()), "itemIdentifier"),
    "detect": ({}, "CheckpointUnusable"),
    "setup": (RESOURCE, "null"),
}


def server(event: dict, results: list[str]) -> ThreadingHTTPServer:
    """Returns a runtime API with one event, which is also an AWS that refuses all but a secret."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: str = "{}", **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_GET(self) -> None:
            if not self.path.endswith("/invocation/next"):
                return self.answer(404)
            if results:
                time.sleep(SECONDS)
            url = f"http://{self.headers['Host']}"
            return self.answer(
                200,
                json.dumps(event).replace("@/", f"{url}/"),
                Lambda_Runtime_Aws_Request_Id="1",
                Lambda_Runtime_Deadline_Ms=str(int(time.time() * 1000) + 29_000),
            )

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            if "/runtime/" in self.path:
                results.append(body)
                self.answer(202)
            elif "GetSecretValue" in self.headers.get("X-Amz-Target", ""):
                secret = json.dumps({"token": WEBHOOK["headers"]["authorization"]})
                self.answer(200, json.dumps({"ARN": "a", "Name": "n", "SecretString": secret}))
            else:
                self.answer(400, '{"__type":"Refused"}')

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(200)

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def smoke(name: str, program: Path, runner: list[str]) -> None:
    event, wanted = CASES[name]
    results: list[str] = []
    api = server(event, results)
    threading.Thread(target=api.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{api.server_port}"
    url = f"http://{address}"
    named = ("WEBHOOK_SECRET_ID", "AUTH0_SECRET_ID", "CHECKPOINT_TABLE", "AWS_ACCESS_KEY_ID")
    named = (*named, "ALERT_TOPIC_ARN")
    urls = ("SEARCH_ENDPOINT", "AUTH0_URL", "AWS_ENDPOINT_URL", "RETRY_QUEUE_URL")
    env = dict.fromkeys((*named, "AWS_SECRET_ACCESS_KEY"), "name")
    env |= dict.fromkeys((*urls, "DEAD_LETTER_QUEUE_URL"), url)
    env |= {"AWS_LAMBDA_RUNTIME_API": address, "AWS_REGION": "eu-west-1"}
    env |= {"AWS_LAMBDA_FUNCTION_NAME": name, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
    env |= {"AWS_LAMBDA_FUNCTION_VERSION": "1", "PATH": os.environ["PATH"]}
    env |= {"AWS_LAMBDA_LOG_GROUP_NAME": name, "AWS_LAMBDA_LOG_STREAM_NAME": name}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [*runner, str(program)], env=env, stdout=log, stderr=subprocess.STDOUT
        )
        started = time.monotonic()
        while not results and process.poll() is None and time.monotonic() - started < SECONDS:
            time.sleep(0.1)
        process.kill()
        process.wait()
        log.seek(0)
        said = log.read()[-2000:]
    if not results or wanted not in results[0].replace('\\"', '"'):
        raise StackError(f"{name} does not say {wanted}: {results}\n{said}")
    say(f"  {name}: {time.monotonic() - started:.1f} s, {results[0][:90]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zips", type=Path, default=os.environ.get("ZIPS") or "target/lambda")
    parser.add_argument("--run", default=os.environ.get("RUN", ""))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in CASES:
            with zipfile.ZipFile(arguments.zips / name / "bootstrap.zip") as archive:
                program = Path(archive.extract("bootstrap", Path(folder) / name))
            program.chmod(0o755)
            smoke(name, program, shlex.split(arguments.run))


if __name__ == "__main__":
    sys.exit(exit_code(main))
