"""Installs the package as its users do, with the AWS CLI alone: steps of `make validate`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

import newcomer
import package
import tools
from deploy import FUNCTIONS, TARGETS
from search import http
from tools import ROOT, StackError

STACK = "packaged"
# Of the launch-stack URL.
PUBLIC_BUCKET = "releases"
PAUSED_AT = "2026-03-14T09:11:06.250Z"
NO_ACCESS = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
PASSWORD = 'pass"word\\ of the engine'
# Next to the AWS CLI, what deploy.sh calls: no cargo, no SAM, no Python.
COMMANDS = "cat dirname fold grep head od sed sh sleep sort stty tr"
# In addition, the commands that auth0-setup.sh and auth0-logs call.
MORE_COMMANDS = "awk curl date jq tail"


class Auth0:
    """The stand-in tenant, as its administrator."""

    def __init__(self, url: str) -> None:
        self.url = url
        body = {"grant_type": "client_credentials", "audience": f"{url}/api/v2/"}
        body |= {"client_id": "local-client", "client_secret": "local-client-secret"}
        self.token = ""
        self.token = self.send("POST", "oauth/token", body)["access_token"]

    def send(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.token}"}
        status, answer = http(method, f"{self.url}/{path}", data, headers)
        if status >= 300:
            raise StackError(f"{method} {path}: {status} {answer!r}")
        return json.loads(answer)

    def call(self, method: str, path: str, body: object = None) -> Any:
        return self.send(method, f"api/v2/{path}", body)

    def pause(self, stream: str) -> None:
        """Pauses the stream, as an administrator does, with the event that Auth0 logs."""
        change = {"status": "paused"}
        self.call("PATCH", f"log-streams/{stream}", change)
        event = json.loads((ROOT / "events/auth0/sapi.json").read_text())["data"]
        request = {"method": "patch", "path": f"/api/v2/log-streams/{stream}", "body": change}
        request["auth"] = {"user": {"email": "admin@example.com"}}
        event |= {"date": PAUSED_AT, "details": {"request": request}}
        self.send("POST", "_stand-in/events", [event])


class Installer:
    """A user who has unpacked the package."""

    def __init__(
        self, cloud: Any, engine: Any, archives: dict[str, Path], values: dict, home: Path
    ) -> None:
        self.cloud = cloud
        self.engine = engine
        self.values = values
        # MiniStack runs the functions of this machine's architecture under either name.
        zips = {(name, arch): archives[name] for name in FUNCTIONS for arch in TARGETS}
        archive = package.package(zips, newcomer.fitted(), home / "dist", PUBLIC_BUCKET)
        with tarfile.open(archive) as packed:
            packed.extractall(home / "unpacked", filter="data")
        self.folder = home / "unpacked" / archive.name.removesuffix(".tar.gz")
        tools.from_debian(("jq",), "jq")
        path, more = home / "bin", home / "more"
        for folder, names in ((path, COMMANDS), (more, MORE_COMMANDS)):
            folder.mkdir()
            for name in names.split():
                (folder / name).symlink_to(shutil.which(name))
        # Version 1 has an endpoint of its own for SQS, whatever AWS_ENDPOINT_URL says.
        aws = f'#!/bin/sh\nexec {tools.aws_cli()} --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n'
        (path / "aws").write_text(aws)
        (path / "aws").chmod(0o755)
        self.auth0 = Auth0(values["Auth0Url"])
        self.signed_in = {
            "PATH": f"{path}:{more}",
            "AUTH0_DOMAIN": values["Auth0Url"],
            "AUTH0_TOKEN": self.auth0.token,
        }
        self.env = {
            "PATH": str(path),
            "HOME": str(home),
            "AWS_ENDPOINT_URL": cloud.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": cloud.cloudformation.meta.region_name,
        }

    def command(self, script: str, *arguments: str) -> list[str]:
        return [str(self.folder / script), "--stack", STACK, *arguments]

    def run(self, code: int, *arguments: str, script: str = "deploy.sh", **env: str) -> str:
        """Runs a script without a terminal, and returns all that it printed."""
        done = subprocess.run(
            self.command(script, *arguments),
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        text = done.stdout + done.stderr
        if done.returncode != code:
            raise StackError(f"{script} ends with {done.returncode}, not {code}:\n{text}")
        return text

    def shell(self, command: str) -> None:
        done = subprocess.run(["sh", "-c", command], env=self.env, capture_output=True, check=False)
        if done.returncode:
            raise StackError(f"{command}: {done.stderr.decode()}")

    def expect(self, wanted: str) -> None:
        status = self.cloud.settled(STACK)
        if status != wanted:
            raise StackError(f"{STACK} is {status}, not {wanted}")

    def refusals(self) -> str:
        """Wrong parameters and a dry run, which change nothing."""
        endpoint = f"SearchEndpoint={self.engine.endpoint}"
        for arguments, reason in (
            (("SearchEndpoint=search.example.com",), "must be an https URL"),
            (("Input=both",), "there is no parameter Input"),
            (("SilenceHours=200",), "must be a number from 0 to 168"),
            (("PollRate=rate(3 minutes)",), "must be one of rate(1 minute), rate(2 minutes)"),
            ((endpoint, "SearchSignIn=none", "Inputs=both"), "The poller requires Auth0Url"),
            (("--change",), "needs a value"),
            (("--frob",), "unknown option"),
        ):
            if reason not in (text := self.run(2, *arguments)):
                raise StackError(f"{arguments}: {text}")
        if "there is no stack" not in (text := self.run(1, "--change", "Inputs=poller")):
            raise StackError(text)
        dry = self.run(0, "--dry-run", endpoint)
        wanted = ("would create the bucket", "would create the secret", "would create the stack")
        if missing := [text for text in wanted if text not in dry]:
            raise StackError(f"not said: {missing}: {dry}")
        if self.cloud.settled(STACK) != "DELETE_COMPLETE" or self.secret(f"{STACK}/search"):
            raise StackError("the dry run changed something")
        return "eight mistakes refused before anything is called; the dry run changes nothing"

    def secret(self, name: str) -> str:
        try:
            return self.cloud.secretsmanager.get_secret_value(SecretId=name)["SecretString"]
        except ClientError:
            return ""

    def engine_down(self) -> str:
        """A first deployment that fails, without a terminal."""
        self.engine.gate.close()
        arguments = ("--yes", f"SearchEndpoint={self.engine.endpoint}")
        env = {"SEARCH_USERNAME": "any", "SEARCH_PASSWORD": "wrong"}
        text = self.run(1, *arguments, **env)
        self.engine.gate.open()
        if "IndexTemplate: " not in text or "the engine is unavailable" not in text:
            raise StackError(f"the reason is missing: {text}")
        if "delete-stack" not in (text := self.run(1, *arguments[1:])):
            raise StackError(text)
        return "rolled back with the reason; asks before it deletes what is left"

    def install(self) -> str:
        """Answers in a terminal, and events are stored."""
        # Secrets of the stack's own would do in AWS; MiniStack lets nobody read those.
        arguments = [
            f"{name}={self.cloud.secretsmanager.create_secret(Name=f'{STACK}/{name}')['ARN']}"
            for name in ("WebhookSecretArn", "Auth0SecretArn")
        ]
        # No tick yet, whose events would be counted with those of the posts.
        arguments.append("PollState=DISABLED")
        terminal = newcomer.Terminal(self.command("deploy.sh", *arguments), self.env)
        terminal.sees("ROLLBACK_COMPLETE, from which AWS only lets it be deleted")
        terminal.sees(r"deploy again\? \[y/N\]: ")
        terminal.types("y")
        terminal.answers(SearchEndpoint="search.example.com")
        terminal.sees("must be an https URL")
        terminal.types(self.engine.endpoint)
        terminal.answers(SearchSignIn="", Inputs="both", MaskUserData="", AlarmTopicArn="")
        terminal.sees(r"credentials in the secret packaged/search\? \[y/N\]: ")
        terminal.types("n")
        terminal.sees("User name.*: ")
        terminal.types("any")
        terminal.sees("Password of any: ")
        terminal.types(PASSWORD)
        terminal.answers(Auth0Url=self.values["Auth0Url"])
        terminal.sees("Your bucket for the code.*: ")
        terminal.types("")
        terminal.sees(r"Deploy\? \[y/N\]: ")
        terminal.types("y")
        terminal.sees("Client ID .*: ", 240)
        terminal.types("")
        text = terminal.ends(0)
        if PASSWORD in text:
            raise StackError("the password is echoed")
        if (content := self.secret(f"{STACK}/search")) != json.dumps(
            {"username": "any", "password": PASSWORD}, separators=(",", ":")
        ):
            raise StackError(f"the engine's secret is {content}")
        self.expect("CREATE_COMPLETE")
        self.token = re.search(r"Authorization Token +(Bearer [0-9a-f]{64})\n", text)[1]
        return "wrong answer refused, secrets without an echo; Payload URL, token and steps printed"

    def setup(self, code: int, *arguments: str) -> str:
        return self.run(code, *arguments, script="auth0-setup.sh", **self.signed_in)

    def set_up_auth0(self) -> str:
        """Stream and application by one command, again, and after the stream was paused."""
        plan = ("create the log stream", "create the application", "grant it read:logs")
        for code, arguments in ((1, ["--check"]), (0, ["--dry-run"])):
            said = self.setup(code, *arguments)
            if missing := [step for step in plan if step not in said]:
                raise StackError(f"{arguments}: {missing} in {said}")
        if self.auth0.call("GET", "log-streams"):
            raise StackError("--check or --dry-run created a stream")
        self.setup(0, "--yes")
        (stream,) = self.auth0.call("GET", "log-streams")
        sink = {"httpContentType": "application/json", "httpContentFormat": "JSONLINES"}
        sink |= {"httpAuthorization": self.token, "httpEndpoint": stream["sink"]["httpEndpoint"]}
        if stream["sink"] != sink or not sink["httpEndpoint"].endswith("/auth0/logs"):
            raise StackError(f"the stream is {stream}")
        for arguments in ([], ["--check"]):
            if "everything is as it should be" not in (text := self.setup(0, *arguments)):
                raise StackError(text)
        self.auth0.pause(stream["id"])
        text = self.setup(1, "--check")
        if f"which is paused since {PAUSED_AT}, by admin@example.com" not in text:
            raise StackError(text)
        self.setup(0, "--yes")
        (stream,) = self.auth0.call("GET", "log-streams")
        grants = self.auth0.call("GET", "client-grants")
        if stream["status"] != "active" or len(grants) != 1:
            raise StackError(f"{stream}, {grants}")
        return "stream and application created once; paused: said by whom and when, and restarted"

    def logs(self, code: int) -> dict[str, dict]:
        """Returns what auth0-logs says, by check."""
        found = json.loads(self.run(code, "--json", script="auth0-logs", **self.signed_in))
        if found["working"] != (code == 0):
            raise StackError(str(found))
        return {check["check"]: check for check in found["checks"]}

    def stream(self, name: str = STACK) -> dict:
        return next(s for s in self.auth0.call("GET", "log-streams") if s["name"] == name)

    def look(self) -> str:
        """A stack that works, and then has a dead letter, a ringing alarm and a paused stream."""
        good = self.logs(0)
        if unseen := [name for name, check in good.items() if check["state"] != "ok"]:
            raise StackError(f"not ok: {unseen}: {good}")
        self.auth0.pause(self.stream()["id"])
        queue = self.cloud.resources(STACK)["DeadLetterQueue"]
        self.cloud.sqs.send_message(QueueUrl=queue, MessageBody="a dead letter")
        alarm = next(
            a["AlarmName"] for a in self.cloud.alarms() if "-DeadLetters-" in a["AlarmName"]
        )
        line = {"timestamp": PAUSED_AT, "level": "ERROR", "fields": {"message": "poll failed"}}
        log = {"logGroupName": f"/aws/lambda/{STACK}-poller", "logStreamName": "test"}
        self.cloud.logs.create_log_stream(**log)
        entry = {"timestamp": int(time.time() * 1000), "message": json.dumps(line)}
        self.cloud.logs.put_log_events(**log, logEvents=[entry])
        self.cloud.cloudwatch.set_alarm_state(
            AlarmName=alarm, StateValue="ALARM", StateReason="a test"
        )
        bad = self.logs(1)
        problems = {name: check["since"] for name, check in bad.items() if check["state"] != "ok"}
        seen = {"stream": PAUSED_AT, "poller function": PAUSED_AT, "dead letters": None}
        if not problems.pop("alarms", None) or problems != seen:
            raise StackError(f"seen: {bad}")
        text = self.run(1, script="auth0-logs", **self.signed_in)
        if not re.search(f"^stream +PROBLEM  since {PAUSED_AT}: ", text, re.MULTILINE):
            raise StackError(text)
        self.run(3, script="auth0-logs", **self.signed_in | NO_ACCESS)
        self.run(2, "--frob", script="auth0-logs")
        return f"{len(good)} checks, all ok; then four problems with the time since when"

    def changes(self) -> str:
        said = self.run(0, "--change", "MaskUserData=mask", "--change", "PollState=ENABLED")
        self.expect("UPDATE_COMPLETE")
        if self.token in said:
            raise StackError(f"the token is printed again: {said}")
        again = self.run(0)
        if "Nothing to change" not in again:
            raise StackError(again)
        return "two parameters changed without a question, the others kept; a second run: no change"

    def delete(self) -> str:
        if "nothing is deleted" not in (text := self.run(1, "--delete")):
            raise StackError(text)
        self.run(0, "--delete", "--yes")
        self.expect("DELETE_COMPLETE")
        return "asks first, then deletes"
