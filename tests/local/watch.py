"""`make test-watch`: calls each function under `cargo lambda watch` with a payload of `events/`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import stack
import tools
from interrupts import exit_code
from services import free_ports, group_for
from tools import ROOT, StackError, say

PORTS = ("ENGINE", "DYNAMODB", "MOTO", "TENANT", "FUNCTIONS")

# Function, payload in `events/`, and what its response must say.
CALLS: tuple[tuple[str, str, Callable[[dict], bool]], ...] = (
    ("webhook", "webhook", lambda response: response["statusCode"] == 200),
    ("ingest", "ingest", lambda response: response["batchItemFailures"] == []),
    ("redrive", "redrive", lambda response: response["batchItemFailures"] == []),
    ("poller", "poll", lambda response: response["stored"] > 0),
    ("detect", "poll", lambda response: response["rules"] > 0),
)


def watch() -> None:
    tools.check_prerequisites()
    with group_for("watch") as group:
        ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        named = {f"{name}_PORT": str(port) for name, port in ports.items()}
        settings = stack.Settings.read(named)
        file = group.folder / "local.env"
        stack.write_environment(file, stack.start_services(settings, group))
        service = stack.functions_service(settings, dict(os.environ), "--env-file", str(file))
        group.start(service)
        group.wait(service)
        for function, payload, is_right in CALLS:
            invoke = ["cargo", "lambda", "invoke", function, "-P", str(settings.functions_port)]
            invoke += ["-A", "127.0.0.1", "--data-file", f"events/{payload}.json"]
            done = subprocess.run(
                invoke, cwd=ROOT, env=service.env, capture_output=True, text=True, check=False
            )
            say(f"{function}: {done.stdout.strip() or done.stderr.strip()}")
            if done.returncode != 0 or not is_right(json.loads(done.stdout)):
                raise StackError(f"{function} failed:\n{group.tail('functions')}")


if __name__ == "__main__":
    sys.exit(exit_code(watch))
