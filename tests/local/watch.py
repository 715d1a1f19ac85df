"""`make test-watch`: calls each function under `cargo lambda watch`, as docs/local.md says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import stack
import tools
from aws import client
from interrupts import exit_code
from services import Group, free_ports, group_for
from tools import ROOT, StackError, say

PORTS = ("ENGINE", "DYNAMODB", "MOTO", "TENANT", "FUNCTIONS")

# Function, payload in `events/`, and what its response must say.
CALLS: tuple[tuple[str, str, Callable[[dict], bool]], ...] = (
    ("webhook", "webhook", lambda response: response["statusCode"] == 200),
    ("ingest", "ingest", lambda response: response["batchItemFailures"] == []),
    ("redrive", "redrive", lambda response: response["batchItemFailures"] == []),
    ("poller", "poll", lambda response: response["stored"] > 0),
    ("detect", "poll", lambda response: response["rules"] > 0),
    # It answers at the ResponseURL.
    ("setup", "setup", lambda response: response is None),
)


def make(target: str, env: dict[str, str]) -> None:
    if subprocess.run(["make", target], cwd=ROOT, env=env, check=False).returncode != 0:
        raise StackError(f"make {target} failed")


def watch() -> None:
    tools.check_prerequisites()
    if running := Group(stack.RUN / "dev").running():
        raise StackError(f"a local stack is running ({', '.join(running)}): make down")
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    named = {f"{name}_PORT": str(port) for name, port in ports.items()}
    try:
        make("services", os.environ | named)
        with group_for("watch") as group:
            call_all(stack.Settings.read(named), group)
    finally:
        make("down", dict(os.environ))


def call_all(settings: stack.Settings, group: Group) -> None:
    env_file = ("--env-file", str(stack.LOCAL_ENV))
    service = stack.functions_service(settings, dict(os.environ), *env_file)
    group.start(service)
    group.wait(service)
    for function, payload, is_right in CALLS:
        event = (ROOT / f"events/{payload}.json").read_text()
        # The file has the port that `make services` takes by default.
        event = event.replace("http://127.0.0.1:9400", settings.moto_url)
        invoke = ["cargo", "lambda", "invoke", function, "-P", str(settings.functions_port)]
        invoke += ["-A", "127.0.0.1", "--data-ascii", event]
        done = subprocess.run(
            invoke, cwd=ROOT, env=service.env, capture_output=True, text=True, check=False
        )
        say(f"{function}: {done.stdout.strip() or done.stderr.strip()}")
        if done.returncode != 0 or not is_right(json.loads(done.stdout)):
            raise StackError(f"{function} failed:\n{group.tail('functions')}")
    place = {"Bucket": "cloudformation", "Key": "response"}
    answer = client("s3", settings.moto_url).get_object(**place)["Body"].read()
    if json.loads(answer)["Status"] != "SUCCESS":
        raise StackError(f"setup answers {answer!r}")


if __name__ == "__main__":
    sys.exit(exit_code(watch))
