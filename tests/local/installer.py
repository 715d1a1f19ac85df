"""Installs the package of `make package` as its users do, with the AWS CLI alone: steps of `make validate`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

import newcomer
import package
import tools
from deploy import FUNCTIONS, TARGETS
from tools import StackError

STACK = "packaged"
PASSWORD = 'pass"word\\ of the engine'
# Beside the AWS CLI, what deploy.sh calls: no cargo, no SAM, no Python.
COMMANDS = "cat dirname fold grep head od sed sh sleep sort stty tr"


class Installer:
    """A user who has unpacked the package."""

    def __init__(self, cloud: Any, engine: Any, archives: dict[str, Path], values: dict) -> None:
        self.cloud = cloud
        self.engine = engine
        self.values = values
        home = next(iter(archives.values())).parent
        # MiniStack runs the functions of this machine's architecture under either name.
        zips = {(name, arch): archives[name] for name in FUNCTIONS for arch in TARGETS}
        archive = package.package(zips, newcomer.fitted(), home / "dist")
        with tarfile.open(archive) as packed:
            packed.extractall(home / "unpacked", filter="data")
        self.folder = home / "unpacked" / archive.name.removesuffix(".tar.gz")
        path = home / "bin"
        path.mkdir()
        for name in COMMANDS.split():
            (path / name).symlink_to(shutil.which(name))
        (path / "aws").symlink_to(tools.aws_cli())
        self.env = {
            "PATH": str(path),
            "HOME": str(home),
            "AWS_ENDPOINT_URL": cloud.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": cloud.cloudformation.meta.region_name,
        }

    def command(self, *arguments: str) -> list[str]:
        return [str(self.folder / "deploy.sh"), "--stack", STACK, *arguments]

    def run(self, code: int, *arguments: str, **env: str) -> str:
        """Runs deploy.sh without a terminal, and returns all that it printed."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        text = done.stdout + done.stderr
        if done.returncode != code:
            raise StackError(f"deploy.sh ends with {done.returncode}, not {code}:\n{text}")
        return text

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
        terminal = newcomer.Terminal(self.command(), self.env)
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
        terminal.types("local-client")
        terminal.sees("Client secret: ")
        terminal.types("local-client-secret")
        text = terminal.ends(0)
        if PASSWORD in text or "local-client-secret" in text:
            raise StackError("a secret is echoed")
        if (content := self.secret(f"{STACK}/search")) != package.json.dumps(
            {"username": "any", "password": PASSWORD}, separators=(",", ":")
        ):
            raise StackError(f"the engine's secret is {content}")
        self.expect("CREATE_COMPLETE")
        self.token = re.search(r"Authorization Token +(Bearer [0-9a-f]{64})\n", text)[1]
        return "wrong answer refused, secrets without an echo; Payload URL, token and steps printed"

    def changes(self) -> str:
        said = self.run(0, "--change", "MaskUserData=mask", "--change", "PollState=DISABLED")
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
