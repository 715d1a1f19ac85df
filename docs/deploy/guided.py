"""`make deploy`: asks for what is missing, shows the changes, deploys with AWS SAM.

samconfig.toml gets the settings that worked, and no others: `sam deploy` reads a copy until then.
`make deploy <Parameter>=<value>` changes one, without a terminal nothing is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError, WaiterError
from samcli.cli.types import CfnParameterOverridesType
from samcli.lib.config.samconfig import SamConfig
from samcli.yamlhelper import yaml_parse

import tools
from deploy import architecture, environment, run
from tools import ROOT, StackError, say

STACK = "auth0-log-streams"
# What a first deployment that fails, or a deletion, leaves: CloudFormation only deletes it.
DEAD = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED")


# --- checking ----------------------------------------------------------------------------------


def invalid(parameter: dict, value: str) -> str:
    """Returns why CloudFormation would refuse the value, or nothing."""
    allowed = list(map(str, parameter.get("AllowedValues", [])))
    if allowed and value not in allowed:
        return f"must be one of {', '.join(allowed)}"
    if not re.fullmatch(parameter.get("AllowedPattern", "(?s:.*)"), value):
        return parameter.get("ConstraintDescription", f"must match {parameter['AllowedPattern']}")
    if len(value) > int(parameter.get("MaxLength", 4096)):
        return f"must have at most {parameter.get('MaxLength', 4096)} characters"
    if parameter["Type"] == "Number":
        low, high = (int(parameter.get(key, value or 0)) for key in ("MinValue", "MaxValue"))
        if not value.isdecimal() or not low <= int(value) <= high:
            return f"must be a number from {low} to {high}"
    return ""


def holds(condition: dict, values: dict[str, str]) -> bool:
    """Evaluates the functions that the template's rules use."""
    ((function, arguments),) = condition.items()

    def text(argument: object) -> object:
        return values[argument["Ref"]] if isinstance(argument, dict) else argument

    if function == "Fn::Equals":
        return text(arguments[0]) == text(arguments[1])
    if function == "Fn::Contains":
        return text(arguments[1]) in arguments[0]
    parts = [holds(argument, values) for argument in arguments]
    return {"Fn::And": all(parts), "Fn::Or": any(parts), "Fn::Not": not parts[0]}[function]


class Settings:
    """The values of the parameters that differ from the defaults, or were chosen."""

    def __init__(self, template: dict, chosen: dict[str, str]) -> None:
        self.parameters = template["Parameters"]
        self.rules = template["Rules"]
        self.chosen = chosen

    @property
    def values(self) -> dict[str, str]:
        defaults = {name: str(p.get("Default", "")) for name, p in self.parameters.items()}
        return defaults | self.chosen

    def broken(self) -> Iterator[tuple[str, str]]:
        """Yields the parameter that each broken rule requires, and what the rule says."""
        for rule in self.rules.values():
            if not holds(rule["RuleCondition"], self.values):
                continue
            for assertion in rule["Assertions"]:
                if not holds(assertion["Assert"], self.values):
                    required = re.search(r'"Ref": "(\w+)"', json.dumps(assertion["Assert"]))
                    yield required[1], assertion["AssertDescription"]

    def check(self) -> None:
        for name, value in self.chosen.items():
            if reason := invalid(self.parameters[name], value):
                raise StackError(f"{name}={value}: {reason}")

    def ask(self, name: str) -> None:
        """Asks until the answer is one that CloudFormation would take."""
        parameter = self.parameters[name]
        say(f"\n{textwrap.fill(parameter['Description'], 100)}")
        if allowed := parameter.get("AllowedValues"):
            say(f"One of: {', '.join(map(str, allowed))}")
        current = self.values[name]
        while True:
            answer = typed(f"{name} [{current}]: ").strip() or current
            answer = "" if answer == "-" else answer
            reason = invalid(parameter, answer)
            if not reason:
                self.chosen[name] = answer
                reason = next((text for required, text in self.broken() if required == name), "")
            if not reason:
                return
            say(f"  {answer or 'empty'}: {reason}")

    def ask_all(self) -> None:
        say("Enter takes what is in [brackets], - means empty, Ctrl-C leaves everything as it is.")
        for name in self.questions():
            self.ask(name)

    def questions(self) -> Iterator[str]:
        """Yields the parameters to ask for; later ones depend on earlier answers."""
        yield from ("SearchEndpoint", "SearchSignIn")
        if self.values["SearchSignIn"] == "secret":
            yield "SearchSecretArn"
        elif self.values["SearchSignIn"] != "none":
            yield "SearchResourceArn"
        yield "Inputs"
        if "eventbridge" in self.values["Inputs"]:
            yield "EventSourceName"
        if "poller" in self.values["Inputs"] or self.values["Inputs"] == "both":
            yield "Auth0Url"
        yield from ("MaskUserData", "AlarmTopicArn")


def typed(prompt: str) -> str:
    try:
        return input(prompt)
    except EOFError:
        raise StackError("\nno answer: nothing is deployed") from None


def agreed(question: str) -> bool:
    return typed(f"{question} [Y/n]: ").strip().lower() in ("", "y", "yes")


# --- deploying ---------------------------------------------------------------------------------


class Stack:
    """The stack, and its section of samconfig.toml."""

    def __init__(self, name: str, config: Path) -> None:
        self.config = config
        default = SamConfig(config.parent, config.name)
        first = section(default, "default").get("stack_name", STACK)
        self.name = name or first
        self.section = "default" if self.name == first else self.name
        self.saved = section(default, self.section)
        # As the AWS CLI does, and unlike boto3.
        region = self.saved.get("region") or os.environ.get("AWS_REGION")
        session = boto3.Session(profile_name=self.saved.get("profile"), region_name=region)
        self.region = session.region_name
        if not self.region:
            raise StackError("which region? AWS_REGION=eu-west-1 make deploy, or `aws configure`")
        self.client = session.client("cloudformation", region_name=self.region)

    def find(self) -> dict:
        try:
            return self.client.describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return {"StackStatus": "", "Parameters": []}
            raise

    def reasons(self) -> str:
        """Returns why the last operation failed."""
        events = self.client.describe_stack_events(StackName=self.name)["StackEvents"]
        found = []
        for event in events:
            if event["LogicalResourceId"] == self.name and event["ResourceStatus"] in (
                "CREATE_IN_PROGRESS",
                "UPDATE_IN_PROGRESS",
            ):
                break
            reason = event.get("ResourceStatusReason", "")
            if event["ResourceStatus"].endswith("_FAILED") and "cancelled" not in reason:
                found.append(f"  {event['LogicalResourceId']}: {reason}")
        return "\n".join(reversed(found[-3:]))

    def wait(self, operation: str) -> None:
        try:
            self.client.get_waiter(f"stack_{operation}_complete").wait(
                StackName=self.name, WaiterConfig={"Delay": 2, "MaxAttempts": 600}
            )
        except WaiterError as error:
            raise StackError(f"{self.name}: {error}\n{self.reasons()}") from None

    def delete(self) -> None:
        self.client.delete_stack(StackName=self.name)
        self.wait("delete")

    def usable(self, interactive: bool) -> bool:
        """Clears up what a failure has left, if that is agreed. Returns whether it deleted."""
        status = self.find()["StackStatus"]
        if status in DEAD:
            say(f"The stack {self.name} is in {status}, from which AWS only lets it be deleted:")
            say(self.reasons())
            way, ask = "delete-stack", "Delete what is left of it, and deploy again?"
        elif status == "UPDATE_ROLLBACK_FAILED":
            say(f"The stack {self.name} could not go back to its last state:\n{self.reasons()}")
            way, ask = "continue-update-rollback", "Try that again now?"
        elif status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS":
            raise StackError(f"the stack {self.name} is being changed ({status}): try again later")
        else:
            return False
        command = f"aws cloudformation {way} --region {self.region} --stack-name {self.name}"
        if not interactive or not agreed(ask):
            raise StackError(f"nothing is deployed; the way out is: {command}")
        if status in DEAD:
            self.delete()
            return True
        self.client.continue_update_rollback(StackName=self.name)
        self.wait("rollback")
        return False

    def deploy(self, chosen: dict[str, str], template: str, interactive: bool) -> bool:
        """Returns whether the stack has the settings, which samconfig.toml then has, too."""
        attempt = self.config.with_name("samconfig.attempt.toml")
        if self.config.exists():
            shutil.copy(self.config, attempt)
        config = SamConfig(attempt.parent, attempt.name)
        settings = {
            "stack_name": self.name,
            "region": self.region,
            "resolve_s3": True,
            "capabilities": "CAPABILITY_IAM",
            "fail_on_empty_changeset": False,
            "parameter_overrides": chosen,
        }
        for key, value in settings.items():
            config.put(["deploy"], "parameters", key, value, self.section)
        config.flush()
        command = ["sam", "deploy", "--config-file", str(attempt), "--config-env", self.section]
        command += ["--no-progressbar", *(["--template-file", template] if template else [])]
        command += ["--confirm-changeset"] if interactive else []
        try:
            env = environment(tools.sam())
            done = subprocess.run(command, cwd=ROOT, env=env, check=False)
            found = self.find()
            has = {p["ParameterKey"]: p["ParameterValue"] for p in found["Parameters"]}
            if found["StackStatus"] == "REVIEW_IN_PROGRESS":
                self.delete()
            # SAM ends with 0 after a "no" to the change set, too.
            elif done.returncode == 0 and chosen.items() <= has.items():
                attempt.replace(self.config)
                return True
        finally:
            attempt.unlink(missing_ok=True)
        return False


def section(config: SamConfig, name: str) -> dict:
    return config.get_all(["deploy"], "parameters", name) if name in sections(config) else {}


def sections(config: SamConfig) -> list[str]:
    return config.get_stage_configuration_names() if config.exists() else []


def deploy(arguments: argparse.Namespace) -> None:
    template = yaml_parse(Path(arguments.template or ROOT / "template.yaml").read_text())
    interactive = sys.stdin.isatty()
    parameters = template["Parameters"]
    given = {name: os.environ[name] for name in parameters if name in os.environ}
    if arguments.arch:
        given["Architecture"] = arguments.arch
    stack = Stack(arguments.stack, arguments.config)
    first = not stack.saved
    saved = CfnParameterOverridesType().convert(
        stack.saved.get("parameter_overrides", ""), None, None
    )
    if gone := sorted(set(saved) - set(parameters)):
        say(f"left out of samconfig.toml, because no parameter has that name: {', '.join(gone)}")
    found = stack.find()
    differing = {p["ParameterKey"]: p["ParameterValue"] for p in found["Parameters"]}
    chosen = {
        name: value
        for name, value in differing.items()
        if name in parameters and value != str(parameters[name].get("Default", ""))
    }
    chosen |= {name: saved[name] for name in parameters if name in saved}
    settings = Settings(template, chosen | given)
    settings.check()
    first &= found["StackStatus"] in ("", *DEAD)
    while True:
        first |= stack.usable(interactive)
        if first and interactive:
            settings.ask_all()
        for name, text in list(settings.broken()):
            if not interactive:
                raise StackError(f"{name}: {text}")
            say(f"\n{text}")
            settings.ask(name)
        if not arguments.template:
            arch = architecture(settings.values["Architecture"])
            build = ["sam", "build", "--parameter-overrides", f"Architecture={arch}"]
            run(build, environment(tools.zig(), tools.cargo_lambda(), tools.sam()))
        if stack.deploy(settings.chosen, arguments.template, interactive):
            say("Settings saved in samconfig.toml. To change one: make deploy <Parameter>=<value>")
            return
        status = stack.find()["StackStatus"]
        if not interactive or status not in DEAD:
            kept = "samconfig.toml and the stack are" if status else "samconfig.toml is"
            reasons = f"\n{stack.reasons()}" if "ROLLBACK" in status else ""
            raise StackError(f"not deployed; {kept} as before{reasons}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="")
    parser.add_argument("--stack", default=os.environ.get("STACK_NAME", ""))
    parser.add_argument("--template", default="", help="is built already")
    parser.add_argument("--config", type=Path, default=ROOT / "samconfig.toml")
    try:
        deploy(parser.parse_args())
    except (StackError, BotoCoreError, ClientError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
