"""What a newcomer types into `make deploy`, with the policy of docs/deploying-user.json alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import templates
from templates import REGION
from tools import ROOT
from world import DEFAULT_STACK, Cloud, Engine, Seen, Terminal, deploying_policy

DELETE = "Delete what is left of it, and deploy again"


class Newcomer:
    """The user, and their checkout."""

    def __init__(self, cloud: Cloud, built: Path) -> None:
        self.cloud = cloud
        self.built = built
        self.config = built.with_name("samconfig.toml")
        user = {"UserName": "deployer"}
        document = json.dumps(deploying_policy())
        cloud.iam.create_user(**user)
        cloud.iam.put_user_policy(**user, PolicyName="deploy", PolicyDocument=document)
        key = cloud.iam.create_access_key(**user)["AccessKey"]
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and name != "STACK_NAME"
        } | {
            "AWS_ENDPOINT_URL": cloud.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "SAM_CLI_POLL_DELAY": "0.5",
        }
        self.make_bucket()

    def make_bucket(self) -> None:
        """Makes SAM's own bucket, which then has to take uploads by plain HTTP."""
        make = f"from samcli.lib.bootstrap.bootstrap import manage_stack as m; m(None, {REGION!r})"
        subprocess.run([sys.executable, "-c", make], env=self.env, check=True)
        bucket = self.cloud.resources("aws-sam-cli-managed-default")["SamCliSourceBucket"]
        self.cloud.s3.delete_bucket_policy(Bucket=bucket)

    def make_deploy(self, **settings: str) -> Terminal:
        command = [sys.executable, str(ROOT / "docs/deploy/guided.py")]
        options = ["--template", str(self.built), "--config", str(self.config)]
        return Terminal([*command, *options], self.env | settings)

    def settles(self, terminal: Terminal, wanted: str, code: int = 0) -> str:
        """Agrees to the change set, and reads to the end."""
        change_set(terminal, "y")
        text = terminal.ends(code)
        assert self.cloud.status(DEFAULT_STACK) == wanted, text[-3000:]
        return text


def change_set(terminal: Terminal, answer: str) -> None:
    terminal.sees(r"Deploy this changeset\? \[y/N\]: ")
    terminal.types(answer)


@pytest.fixture(scope="module")
def newcomer(cloud: Cloud, archives: dict[str, Path], folder: Path) -> Iterator[Newcomer]:
    newcomer = Newcomer(cloud, templates.built(folder, archives))
    yield newcomer
    cloud.delete(DEFAULT_STACK)


@pytest.fixture(scope="module")
def deployed(newcomer: Newcomer, opensearch: Engine, values: dict[str, str]) -> Newcomer:
    """Returns a newcomer whose engine was down at first, and who came back later."""
    newcomer.cloud.delete(DEFAULT_STACK)
    newcomer.config.unlink(missing_ok=True)
    terminal = newcomer.make_deploy()
    with opensearch.away():
        terminal.answers(SearchEndpoint=opensearch.endpoint, SearchSignIn="")
        terminal.answers(SearchSecretArn=values["SearchSecretArn"])
        terminal.answers(Inputs="", MaskUserData="", AlarmTopicArn="")
        change_set(terminal, "y")
        terminal.sees(DELETE)
        terminal.types("n")
        terminal.sees("the way out is: aws cloudformation delete-stack")
        terminal.ends(1)
    terminal = newcomer.make_deploy()
    terminal.sees("is in ROLLBACK_COMPLETE")
    terminal.sees(DELETE)
    terminal.types("y")
    terminal.answers(SearchEndpoint="", SearchSignIn="", SearchSecretArn="")
    terminal.answers(Inputs="", MaskUserData="", AlarmTopicArn="")
    newcomer.settles(terminal, "CREATE_COMPLETE")
    return newcomer


def test_wrong_answers_are_refused_at_once(
    newcomer: Newcomer, opensearch: Engine, values: dict[str, str], seen: Seen
) -> None:
    """Then a URL at which no engine is; and then the right one."""
    terminal = newcomer.make_deploy()
    secret = values["SearchSecretArn"]
    wrong_answers = (
        ("SearchEndpoint", "search.example.com", "must be an https URL", "http://127.0.0.1:9"),
        ("SearchSignIn", "password", "must be one of secret, es, aoss, none", ""),
        ("SearchSecretArn", "", "cannot be installed with an empty secret", secret),
        ("Inputs", "webhooks", "must be one of webhook, poller", "both"),
        ("Auth0Url", "https://example.eu.auth0.com/api", "must be a URL such as", "-"),
    )
    for name, wrong, reason, right in wrong_answers:
        terminal.answers(**{name: wrong})
        terminal.sees(reason)
        terminal.answers(**{name: right})
    terminal.sees("The poller requires Auth0Url")
    terminal.answers(Auth0Url="https://example.eu.auth0.com", MaskUserData="", AlarmTopicArn="")
    change_set(terminal, "y")
    terminal.sees("IndexTemplate: .*the engine is unavailable")
    terminal.sees(DELETE)
    assert not newcomer.config.exists()
    terminal.types("")
    terminal.answers(SearchEndpoint=opensearch.endpoint, SearchSignIn="", SearchSecretArn="")
    terminal.answers(Inputs="webhook", MaskUserData="", AlarmTopicArn="")
    newcomer.settles(terminal, "CREATE_COMPLETE")
    refused = len(wrong_answers) + 1
    seen(f"{refused} answers refused at once; wrong URL: rolled back; right URL: deployed")


def test_answers_are_remembered_when_the_engine_is_down(deployed: Newcomer, seen: Seen) -> None:
    assert deployed.config.exists()
    seen("ROLLBACK_COMPLETE with the reason; later deleted and deployed with Enter alone")


def test_upgrade_without_the_engine_keeps_the_settings(
    deployed: Newcomer, opensearch: Engine, seen: Seen
) -> None:
    """A release with another index template, and again when the engine is back."""
    found = json.loads(deployed.built.read_text())
    found["Resources"]["IndexTemplate"]["Properties"]["ContentHash"] = "newer"
    deployed.built.write_text(json.dumps(found))
    saved = deployed.config.read_text()
    with opensearch.away():
        text = deployed.settles(deployed.make_deploy(), "UPDATE_ROLLBACK_COMPLETE", 1)
    assert "the engine is unavailable" in text
    assert deployed.config.read_text() == saved
    deployed.settles(deployed.make_deploy(), "UPDATE_COMPLETE")
    seen("rolled back with the reason, settings kept; engine back: upgraded, no question")


def test_one_parameter_is_changed(deployed: Newcomer, seen: Seen) -> None:
    """Later; a wrong value, and one that requires another parameter."""
    saved = deployed.config.read_text()
    text = deployed.make_deploy(Inputs="pollers").ends(1)
    assert "Inputs=pollers: must be one of" in text
    assert deployed.config.read_text() == saved
    terminal = deployed.make_deploy(Inputs="poller")
    terminal.sees("The poller requires Auth0Url")
    terminal.answers(Auth0Url="https://example.eu.auth0.com")
    deployed.settles(terminal, "UPDATE_COMPLETE")
    changed = {'Inputs = "poller"', 'Auth0Url = "https://example.eu.auth0.com"'}
    assert changed <= set(deployed.config.read_text().splitlines())
    terminal = deployed.make_deploy(MaskUserData="mask")
    change_set(terminal, "n")
    terminal.ends(1)
    assert "mask" not in deployed.config.read_text()
    seen("wrong value refused; Inputs=poller asks for Auth0Url alone; a no changes nothing")
