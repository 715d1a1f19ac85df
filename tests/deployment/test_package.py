"""The package, installed as its users do it: with the AWS CLI alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import aws_cli
import package
import templates
import tools
from deploy import FUNCTIONS
from neighbor import PUBLIC_BUCKET, Neighbor
from search import http
from services import Group, Service
from templates import REGION
from tools import ROOT
from world import Cloud, Engine, Seen, Stack, Terminal, eventually

STACK = "packaged"
PAUSED_AT = "2026-03-14T09:11:06.250Z"
NO_ACCESS = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
PASSWORD = 'pass"word\\ of the engine'
# Next to the AWS CLI and sleep, what deploy.sh calls: no cargo, no SAM, no Python.
COMMANDS = "cat dirname fold grep head od sed sh sort stty tr"
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
        assert status < 300, f"{method} {path}: {status} {answer!r}"
        return json.loads(answer)

    def streams(self) -> list[dict]:
        return self.send("GET", "api/v2/log-streams")

    def stream(self, name: str) -> dict:
        return next(stream for stream in self.streams() if stream["name"] == name)

    def pause(self, stream: str) -> None:
        """Pauses the stream, as an administrator does, with the event that Auth0 logs."""
        change = {"status": "paused"}
        self.send("PATCH", f"api/v2/log-streams/{stream}", change)
        event = json.loads((ROOT / "events/auth0/sapi.json").read_text())["data"]
        request = {"method": "patch", "path": f"/api/v2/log-streams/{stream}", "body": change}
        request["auth"] = {"user": {"email": "admin@example.com"}}
        event |= {"date": PAUSED_AT, "details": {"request": request}}
        self.send("POST", "_stand-in/events", [event])


class User:
    """A user who has unpacked the package."""

    def __init__(self, cloud: Cloud, auth0: Auth0, unpacked: Path, home: Path) -> None:
        self.cloud = cloud
        self.unpacked = unpacked
        tools.from_debian(("jq",), "jq")
        path, more = home / "bin", home / "more"
        for folder, names in ((path, COMMANDS), (more, MORE_COMMANDS)):
            folder.mkdir()
            for name in names.split():
                (folder / name).symlink_to(shutil.which(name))
        scripts = {
            "aws": aws_cli.command(home / "aws.socket"),
            # MiniStack takes a second where AWS takes a minute.
            "sleep": f'#!/bin/sh\nexec {shutil.which("sleep")} "0.$1"\n',
        }
        for name, script in scripts.items():
            (path / name).write_text(script)
            (path / name).chmod(0o755)
        self.env = {
            "PATH": str(path),
            "HOME": str(home),
            "AWS_ENDPOINT_URL": cloud.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
        }
        self.signed_in = {
            "PATH": f"{path}:{more}",
            "AUTH0_DOMAIN": auth0.url,
            "AUTH0_TOKEN": auth0.token,
        }

    def command(self, script: str, *arguments: str) -> list[str]:
        return [str(self.unpacked / script), "--stack", STACK, *arguments]

    def run(self, code: int, script: str, *arguments: str, **env: str) -> str:
        """Runs a script without a terminal, and returns all that it printed."""
        done = subprocess.run(
            self.command(script, *arguments),
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def deploy(self, code: int, *arguments: str, **env: str) -> str:
        return self.run(code, "deploy.sh", *arguments, **env)

    def setup(self, code: int, *arguments: str) -> str:
        return self.run(code, "auth0-setup.sh", *arguments, **self.signed_in)

    def logs(self, code: int) -> dict[str, dict]:
        """Returns what auth0-logs says, by check."""
        found = json.loads(self.run(code, "auth0-logs", "--json", **self.signed_in))
        assert found["working"] == (code == 0)
        return {check["check"]: check for check in found["checks"]}

    def secret(self, name: str) -> str:
        try:
            return self.cloud.secretsmanager.get_secret_value(SecretId=name)["SecretString"]
        except ClientError:
            return ""


@pytest.fixture(scope="module")
def auth0(values: dict[str, str]) -> Auth0:
    return Auth0(values["Auth0Url"])


@pytest.fixture(scope="module")
def user(cloud: Cloud, auth0: Auth0, archives: dict[str, Path], folder: Path, group: Group) -> User:
    # MiniStack runs the functions of this machine's architecture under either name.
    zips = {(name, "arm64"): archives[name] for name in FUNCTIONS}
    package.COMPRESSION = 1
    archive = package.package(zips, templates.source(), folder / "dist", PUBLIC_BUCKET)
    (folder / "unpacked").mkdir()
    subprocess.run(["tar", "xzf", archive, "-C", folder / "unpacked"], check=True)
    unpacked = folder / "unpacked" / archive.name.removesuffix(".tar.gz")
    user = User(cloud, auth0, unpacked, folder)
    python = str(Path(tools.program("aws")).with_name("python"))
    server = folder / "aws.socket"
    service = Service("aws", [python, aws_cli.__file__, str(server)], server.exists, user.env)
    group.start(service)
    group.wait(service)
    return user


@pytest.fixture(scope="module")
def failed(user: User, opensearch: Engine) -> str:
    """Returns what deploy.sh says of a first deployment that fails, without a terminal."""
    arguments = ("--yes", f"SearchEndpoint={opensearch.endpoint}")
    with opensearch.away():
        said = user.deploy(1, *arguments, SEARCH_USERNAME="any", SEARCH_PASSWORD="wrong")
    assert "delete-stack" in user.deploy(1, arguments[1])
    return said


@pytest.fixture(scope="module")
def installed(
    user: User, failed: str, cloud: Cloud, opensearch: Engine, auth0: Auth0
) -> Iterator[Stack]:
    """Returns the stack that was installed by answers in a terminal, with its token."""
    # Secrets of the stack's own would do in AWS; MiniStack lets nobody read those.
    arguments = [
        f"{name}={cloud.secretsmanager.create_secret(Name=f'{STACK}/{name}')['ARN']}"
        for name in ("WebhookSecretArn", "Auth0SecretArn")
    ]
    # No tick yet, whose events would be counted with those of the posts.
    arguments.append("PollState=DISABLED")
    terminal = Terminal(user.command("deploy.sh", *arguments), user.env)
    terminal.sees("ROLLBACK_COMPLETE, from which AWS only lets it be deleted")
    terminal.sees(r"deploy again\? \[y/N\]: ")
    terminal.types("y")
    terminal.answers(SearchEndpoint="search.example.com")
    terminal.sees("must be an https URL")
    terminal.types(opensearch.endpoint)
    terminal.answers(SearchSignIn="", Inputs="both", MaskUserData="", AlarmTopicArn="")
    for question, answer in (
        (r"credentials in the secret packaged/search\? \[y/N\]: ", "n"),
        ("User name.*: ", "any"),
        ("Password of any: ", PASSWORD),
        (r"\nAuth0Url \[.*\]: ", auth0.url),
        ("Your bucket for the code.*: ", ""),
        (r"Deploy\? \[y/N\]: ", "y"),
        ("Client ID .*: ", ""),
    ):
        terminal.sees(question, 240)
        terminal.types(answer)
    text = terminal.ends(0)
    assert PASSWORD not in text, "it is echoed"
    stack = Stack(cloud, opensearch, STACK, {}, {})
    stack.token = re.search(r"Authorization Token +(Bearer [0-9a-f]{64})\n", text)[1]
    yield stack
    cloud.delete(STACK)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["SearchEndpoint=search.example.com"], "must be an https URL"),
        (["Input=both"], "there is no parameter Input"),
        (["SilenceHours=200"], "must be a number from 0 to 168"),
        (["PollRate=rate(3 minutes)"], "must be one of rate(1 minute), rate(2 minutes)"),
        (
            ["SearchEndpoint=https://search", "SearchSignIn=none", "Inputs=both"],
            "The poller requires Auth0Url",
        ),
        (["--change"], "needs a value"),
        (["--frob"], "unknown option"),
    ],
)
def test_mistake_is_refused(arguments: list[str], reason: str, user: User) -> None:
    assert reason in user.deploy(2, *arguments)


def test_dry_run_changes_nothing(user: User, opensearch: Engine) -> None:
    assert "there is no stack" in user.deploy(1, "--change", "Inputs=poller")
    said = user.deploy(0, "--dry-run", f"SearchEndpoint={opensearch.endpoint}")
    for wanted in ("the bucket", "the secret", "the stack"):
        assert f"would create {wanted}" in said
    assert user.cloud.status(STACK) == "DELETE_COMPLETE"
    assert not user.secret(f"{STACK}/search")


def test_failed_deployment_says_why_and_asks_before_it_deletes(failed: str) -> None:
    assert "IndexTemplate: " in failed
    assert "the engine is unavailable" in failed


def test_package_is_installed(installed: Stack, user: User, seen: Seen) -> None:
    secret = json.loads(user.secret(f"{STACK}/search"))
    assert secret == {"username": "any", "password": PASSWORD}
    assert user.cloud.status(STACK) == "CREATE_COMPLETE"
    seen("wrong answer refused, secrets without an echo; Payload URL, token and steps printed")


def test_auth0_is_set_up_once(installed: Stack, user: User, auth0: Auth0, seen: Seen) -> None:
    """Stream and application by one command, again, and after the stream was paused."""
    for code, argument in ((1, "--check"), (0, "--dry-run")):
        said = user.setup(code, argument)
        for step in ("create the log stream", "create the application", "grant it read:logs"):
            assert step in said
    assert not auth0.streams()
    user.setup(0, "--yes")
    (stream,) = auth0.streams()
    endpoint = stream["sink"].pop("httpEndpoint")
    assert endpoint.endswith("/auth0/logs")
    assert stream["sink"] == {
        "httpContentType": "application/json",
        "httpContentFormat": "JSONLINES",
        "httpAuthorization": installed.token,
    }
    for arguments in ([], ["--check"]):
        assert "everything is as it should be" in user.setup(0, *arguments)
    auth0.pause(stream["id"])
    paused = f"which is paused since {PAUSED_AT}, by admin@example.com"
    assert paused in user.setup(1, "--check")
    user.setup(0, "--yes")
    (stream,) = auth0.streams()
    assert stream["status"] == "active"
    assert len(auth0.send("GET", "api/v2/client-grants")) == 1
    seen("stream and application created once; paused: said by whom and when, and restarted")


def test_package_stores_events(installed: Stack, seen: Seen) -> None:
    seen(f"{installed.stores_events(installed.token)}; {installed.polls()}")


@pytest.fixture(scope="module")
def scheduled(installed: Stack, user: User) -> float:
    """Switches the schedule on; returns since when."""
    since = time.time()
    said = user.deploy(0, "--change", "MaskUserData=mask", "--change", "PollState=ENABLED")
    assert user.cloud.status(STACK) == "UPDATE_COMPLETE"
    assert installed.token not in said
    return since


def test_parameters_are_changed_without_a_question(
    scheduled: float, user: User, seen: Seen
) -> None:
    assert "Nothing to change" in user.deploy(0)
    seen("two parameters changed, the others kept; a second run: no change")


@pytest.fixture(scope="module")
def neighbor(installed: Stack, user: User, auth0: Auth0, opensearch: Engine) -> Neighbor:
    return Neighbor(user, auth0, opensearch)


@pytest.mark.parametrize(
    "step",
    [
        *("install", "look", "next_release", "existing_application", "permissions", "delete"),
        *("without_stack", "launch"),
    ],
)
def test_second_stack(step: str, neighbor: Neighbor, seen: Seen) -> None:
    seen(getattr(neighbor, step)())


def test_schedule_invokes_the_poller(scheduled: float, installed: Stack) -> None:
    """After the tests of the second stack, which take longer than the minute until a tick."""
    eventually("a tick", lambda: "REPORT" in installed.log("poller", scheduled), 80)


def test_auth0_logs_says_since_when_it_does_not_work(
    installed: Stack, user: User, cloud: Cloud, auth0: Auth0, seen: Seen
) -> None:
    """A stack that works; then a dead letter, an alarm, a paused stream, and the engine away."""
    good = user.logs(0)
    assert {check["state"] for check in good.values()} == {"ok"}, good
    auth0.pause(auth0.stream(STACK)["id"])
    dead_letters = installed.resources["DeadLetterQueue"]
    cloud.sqs.send_message(QueueUrl=dead_letters, MessageBody="a dead letter")
    line = {"timestamp": PAUSED_AT, "level": "ERROR", "fields": {"message": "poll failed"}}
    log = {"logGroupName": f"/aws/lambda/{STACK}-poller", "logStreamName": "test"}
    cloud.logs.create_log_stream(**log)
    entry = {"timestamp": int(time.time() * 1000), "message": json.dumps(line)}
    cloud.logs.put_log_events(**log, logEvents=[entry])
    alarms = [alarm["AlarmName"] for alarm in cloud.alarms()]
    ringing = next(name for name in alarms if name.startswith(f"{STACK}-DeadLetters-"))
    cloud.cloudwatch.set_alarm_state(AlarmName=ringing, StateValue="ALARM", StateReason="a test")
    with installed.engine.away():
        bad = user.logs(1)
    problems = {name: check["since"] for name, check in bad.items() if check["state"] != "ok"}
    assert problems.pop("alarms")
    assert bad["engine"]["state"] == "unknown"
    seen_since = {"stream": PAUSED_AT, "poller function": PAUSED_AT}
    seen_since |= {"dead letters": None, "engine": None}
    assert problems == seen_since, bad
    text = user.run(1, "auth0-logs", **user.signed_in)
    assert re.search(f"^stream +PROBLEM  since {PAUSED_AT}: ", text, re.MULTILINE), text
    user.run(3, "auth0-logs", **user.signed_in | NO_ACCESS)
    user.run(2, "auth0-logs", "--frob")
    seen(f"{len(good)} checks, all ok; then four problems with the time since when")


def test_deletion_is_asked_for(installed: Stack, user: User) -> None:
    assert "nothing is deleted" in user.deploy(1, "--delete")
    user.deploy(0, "--delete", "--yes")
    assert user.cloud.status(STACK) == "DELETE_COMPLETE"
