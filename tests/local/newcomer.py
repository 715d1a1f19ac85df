"""Types what a newcomer types into `make deploy`: a step of `make validate`."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import cfnlint
from samcli.yamlhelper import yaml_parse

from tools import ROOT, StackError

STACK = "auth0-log-streams"
MAKE_DEPLOY = [sys.executable, str(ROOT / "tests/local/guided.py")]

# What SAM, `make deploy`, the custom resource and the gateway's access log call. CloudFormation's
# own calls are listed in AWS's schemas of the resource types, which cfn-lint brings.
CALLED = {
    "cloudformation": "ContinueUpdateRollback CreateChangeSet DeleteStack DescribeChangeSet"
    " DescribeStackEvents DescribeStacks ExecuteChangeSet GetTemplateSummary",
    "lambda": "InvokeFunction",
    "logs": "DeleteLogDelivery GetLogDelivery ListLogDeliveries UpdateLogDelivery",
    "s3": "CreateBucket GetBucketLocation PutBucketPolicy PutBucketPublicAccessBlock"
    " PutBucketTagging PutBucketVersioning PutEncryptionConfiguration PutObject",
}
# What the schemas list for properties that the template does not have.
UNUSED = re.compile(
    "(ec2|elasticfilesystem|firehose|kinesis|kms|s3|s3files):.*"
    "|dynamodb:.*(Replica|Import.*|StreamingDestination|Item|Query|Scan|Insights|ToLive)"
    "|dynamodb:(Put|Delete)ResourcePolicy|events:(PutPermission|RemovePermission|UpdateEventBus)"
    "|iam:CreateServiceLinkedRole|lambda:.*(Alias|SigningConfig|Concurrency|ScalingConfig|Provider)"
    "|lambda:(GetLayerVersion|PublishVersion|Put(FunctionRecursion|RuntimeManagement)Config)"
    "|logs:.*(KmsKey|Policy|LogStreams?|LogEvents|Authentication|Protection)"
    "|secretsmanager:(GetSecretValue|.*Replicat.*)|sns:(Subscribe|Unsubscribe|PutDataProtection.*)"
)
# Documented apart, because few need them: a VPC and an own host name.
APART = (
    "AWS::IAM::ManagedPolicy",
    "AWS::ApiGatewayV2::DomainName",
    "AWS::ApiGatewayV2::ApiMapping",
)
# A resource of the stack for each service.
RESOURCES = {
    "apigateway": "arn:aws:apigateway:{0}::/apis/a1b2c3/routes/d4e5f6",
    "cloudformation": f"arn:aws:cloudformation:{{0}}:{{1}}:stack/{STACK}/0f1e2d3c",
    "cloudwatch": f"arn:aws:cloudwatch:{{0}}:{{1}}:alarm:{STACK}-DeadLetters-1A2B",
    "dynamodb": f"arn:aws:dynamodb:{{0}}:{{1}}:table/{STACK}-CheckpointTable-1A2B",
    "events": "arn:aws:events:{0}:{1}:rule/aws.partner/auth0.com/example-0f1e/auth0.logs/ingest",
    "iam": f"arn:aws:iam::{{1}}:role/{STACK}-SetupRole-1A2B",
    "lambda": f"arn:aws:lambda:{{0}}:{{1}}:function:{STACK}-setup",
    "logs": f"arn:aws:logs:{{0}}:{{1}}:log-group:/aws/lambda/{STACK}-setup",
    "s3": "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-1a2b",
    "scheduler": f"arn:aws:scheduler:{{0}}:{{1}}:schedule/default/{STACK}-poller",
    "secretsmanager": "arn:aws:secretsmanager:{0}:{1}:secret:WebhookSecret-1a2b-3c4d5e",
    "sns": f"arn:aws:sns:{{0}}:{{1}}:{STACK}-alerts",
    "sqs": f"arn:aws:sqs:{{0}}:{{1}}:{STACK}-RetryQueue-1A2B",
}


def needed(types: set[str]) -> set[str]:
    """Returns the actions that deploying, updating and deleting resources of these types takes."""
    found = {f"{service}:{name}" for service, names in CALLED.items() for name in names.split()}
    for schema in (Path(cfnlint.__file__).parent / "data/schemas/resources").glob("*.json"):
        about = json.loads(schema.read_text())
        if about.get("typeName") not in types:
            continue
        for handler, permissions in about.get("handlers", {}).items():
            found |= set(permissions["permissions"]) if handler != "list" else set()
    return found


def actions(statement: dict) -> list[str]:
    action = statement["Action"]
    return action if isinstance(action, list) else [action]


class Terminal:
    """A command in a terminal."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.text = ""
        self.seen = 0
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=ROOT
        )
        os.close(slave)

    def sees(self, wanted: str, seconds: float = 120) -> str:
        """Waits for a text; returns what was shown before it, since the last one."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(wanted, self.text[self.seen :])):
            if not select.select([self.master], [], [], 1)[0]:
                if time.monotonic() > deadline:
                    raise StackError(f"it does not show {wanted!r}:\n{self.text[-3000:]}")
                continue
            try:
                data = os.read(self.master, 65536)
            except OSError:
                raise StackError(f"it ends without {wanted!r}:\n{self.text[-3000:]}") from None
            self.text += data.decode(errors="replace").replace("\r\n", "\n")
        before = self.text[self.seen : self.seen + found.start()]
        self.seen += found.end()
        return before

    def answers(self, **answers: str) -> None:
        for name, answer in answers.items():
            self.sees(rf"\n{name} \[.*\]: ")
            self.types(answer)

    def types(self, answer: str) -> None:
        os.write(self.master, f"{answer}\n".encode())

    def ends(self, wanted: int) -> str:
        """Reads to the end; returns everything shown."""
        with contextlib.suppress(StackError):
            self.sees("there is no such text")
        os.close(self.master)
        if (code := self.process.wait(10)) != wanted:
            raise StackError(f"it ends with {code}, not {wanted}:\n{self.text[-3000:]}")
        return self.text


def drop_what_ministack_lacks(template: dict) -> None:
    """Removes the policy of the queues, which requires TLS, and what has metric math."""
    template["Resources"].pop("QueuesPolicy")
    for name, resource in list(template["Resources"].items()):
        if "Metrics" in resource.get("Properties", {}):
            del template["Resources"][name]


def fitted() -> dict:
    """Returns template.yaml without what MiniStack lacks; URLs may be http."""
    source = yaml_parse((ROOT / "template.yaml").read_text())
    drop_what_ministack_lacks(source)
    for name in ("SearchEndpoint", "Auth0Url"):
        parameter = source["Parameters"][name]
        parameter["AllowedPattern"] = parameter["AllowedPattern"].replace("https", "https?")
    source["Parameters"]["Auth0Url"]["AllowedPattern"] += "|^http://127.0.0.1:[0-9]+$"
    return source


def template(folder: Path, zips: dict[str, Path]) -> Path:
    """Writes template.yaml as `sam build` does, without what MiniStack lacks."""
    source = fitted()
    source["Globals"]["Function"].pop("CodeUri")
    for resource in source["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            binary = resource.pop("Metadata")["BuildProperties"]["Binary"]
            resource["Properties"]["CodeUri"] = str(zips[binary])
    publication = source["Metadata"]["AWS::ServerlessRepo::Application"]
    for name in ("LicenseUrl", "ReadmeUrl"):
        publication[name] = str(ROOT / publication[name])
    path = folder / "template.json"
    path.write_text(json.dumps(source))
    return path


class Newcomer:
    """A user with the policy of docs/deploying-user.json, and what they type."""

    def __init__(self, cloud, engine, built: Path, secret: str) -> None:
        self.cloud = cloud
        self.engine = engine
        self.built = built
        self.secret = secret
        self.config = built.with_name("samconfig.toml")
        key = cloud.deploying_user(STACK)
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AWS_") and name != "STACK_NAME"
        } | {
            "AWS_ENDPOINT_URL": cloud.url,
            "AWS_REGION": cloud.cloudformation.meta.region_name,
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "COLUMNS": "200",
        }
        self.make_bucket()

    def make_bucket(self) -> None:
        """Makes SAM's own bucket, which then has to take uploads by plain HTTP."""
        region = self.env["AWS_REGION"]
        make = f"from samcli.lib.bootstrap.bootstrap import manage_stack as m; m(None, {region!r})"
        made = subprocess.run(
            [sys.executable, "-c", make], env=self.env, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise StackError(f"no bucket: {made.stderr}")
        stack = "aws-sam-cli-managed-default"
        bucket = self.cloud.resources(stack)["SamCliSourceBucket"]
        self.cloud.s3.delete_bucket_policy(Bucket=bucket)

    def make_deploy(self, **settings: str) -> Terminal:
        options = ["--template", str(self.built), "--config", str(self.config)]
        return Terminal([*MAKE_DEPLOY, *options], self.env | settings)

    def status(self) -> str:
        stacks = self.cloud.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        return stacks[0]["StackStatus"]

    def settles(self, terminal: Terminal, wanted: str, code: int = 0) -> str:
        """Agrees to the change set, and reads to the end."""
        terminal.sees(r"Deploy this changeset\? \[y/N\]: ")
        terminal.types("y")
        text = terminal.ends(code)
        if (status := self.status()) != wanted:
            raise StackError(f"{STACK} is {status}, not {wanted}:\n{text[-3000:]}")
        return text

    def rest(self, terminal: Terminal) -> None:
        terminal.answers(Inputs="", MaskUserData="", AlarmTopicArn="")

    def mistakes(self) -> str:
        """Wrong answers, then a URL at which no engine is; and then the right one."""
        terminal = self.make_deploy()
        refused = 0
        for name, wrong, reason, right in (
            ("SearchEndpoint", "search.example.com", "must be an https URL", "http://127.0.0.1:9"),
            ("SearchSignIn", "password", "must be one of secret, es, aoss, none", ""),
            ("SearchSecretArn", "", "cannot be installed with an empty secret", self.secret),
            ("Inputs", "webhooks", "must be one of webhook, poller", "both"),
            ("Auth0Url", "https://example.eu.auth0.com/api", "must be a URL such as", "-"),
        ):
            terminal.answers(**{name: wrong})
            terminal.sees(reason)
            terminal.answers(**{name: right})
            refused += 1
        terminal.sees("The poller requires Auth0Url")
        terminal.answers(Auth0Url="https://example.eu.auth0.com", MaskUserData="", AlarmTopicArn="")
        terminal.sees(r"Deploy this changeset\? \[y/N\]: ")
        terminal.types("y")
        terminal.sees("IndexTemplate: .*the engine is unavailable")
        terminal.sees("Delete what is left of it, and deploy again")
        if self.config.exists():
            raise StackError(f"kept: {self.config.read_text()}")
        terminal.types("")
        terminal.answers(SearchEndpoint=self.engine.endpoint, SearchSignIn="", SearchSecretArn="")
        terminal.answers(Inputs="webhook", MaskUserData="", AlarmTopicArn="")
        self.settles(terminal, "CREATE_COMPLETE")
        self.delete()
        return f"{refused + 1} answers refused at once; wrong URL: rolled back; right URL: deployed"

    def engine_down(self) -> str:
        """The engine is away, and the newcomer comes back later: the answers are remembered."""
        self.engine.gate.close()
        terminal = self.make_deploy()
        terminal.answers(SearchEndpoint=self.engine.endpoint, SearchSignIn="")
        terminal.answers(SearchSecretArn=self.secret)
        self.rest(terminal)
        terminal.sees(r"Deploy this changeset\? \[y/N\]: ")
        terminal.types("y")
        terminal.sees("Delete what is left of it, and deploy again")
        terminal.types("n")
        terminal.sees("the way out is: aws cloudformation delete-stack")
        terminal.ends(1)
        self.engine.gate.open()
        terminal = self.make_deploy()
        terminal.sees("is in ROLLBACK_COMPLETE")
        terminal.sees("Delete what is left of it, and deploy again")
        terminal.types("y")
        terminal.answers(SearchEndpoint="", SearchSignIn="", SearchSecretArn="")
        self.rest(terminal)
        self.settles(terminal, "CREATE_COMPLETE")
        return "ROLLBACK_COMPLETE with the reason; later deleted and deployed with Enter alone"

    def upgrade(self) -> str:
        """A release with other mappings, while the engine is away, and again when it is back."""
        content = self.built.read_text()
        found = json.loads(content)
        found["Resources"]["IndexTemplate"]["Properties"]["ContentHash"] = "newer"
        self.built.write_text(json.dumps(found))
        saved = self.config.read_text()
        self.engine.gate.close()
        text = self.settles(self.make_deploy(), "UPDATE_ROLLBACK_COMPLETE", 1)
        self.engine.gate.open()
        if "the engine is unavailable" not in text or self.config.read_text() != saved:
            raise StackError(f"not said, or saved: {text[-3000:]}")
        self.settles(self.make_deploy(), "UPDATE_COMPLETE")
        return "rolled back with the reason, settings kept; engine back: upgraded, no question"

    def change(self) -> str:
        """One parameter later; a wrong value, and one that requires another parameter."""
        saved = self.config.read_text()
        text = self.make_deploy(Inputs="pollers").ends(1)
        if "Inputs=pollers: must be one of" not in text or self.config.read_text() != saved:
            raise StackError(f"taken: {text}")
        terminal = self.make_deploy(Inputs="poller")
        terminal.sees("The poller requires Auth0Url")
        terminal.answers(Auth0Url="https://example.eu.auth0.com")
        self.settles(terminal, "UPDATE_COMPLETE")
        if not {'Inputs = "poller"', 'Auth0Url = "https://example.eu.auth0.com"'} <= set(
            self.config.read_text().splitlines()
        ):
            raise StackError(f"not saved: {self.config.read_text()}")
        terminal = self.make_deploy(MaskUserData="mask")
        terminal.sees(r"Deploy this changeset\? \[y/N\]: ")
        terminal.types("n")
        terminal.ends(1)
        if "mask" in self.config.read_text():
            raise StackError("saved, although the change was refused")
        return "wrong value refused; Inputs=poller asks for Auth0Url alone; a no changes nothing"

    def policy(self, types: set[str], policy: dict, region: str, account: str) -> str:
        """Checks that the policy allows what is needed and no more, and needs each statement."""
        need = needed(types - set(APART))
        have = {action for statement in policy["Statement"] for action in actions(statement)}
        lacking = {action for action in need - have if not UNUSED.fullmatch(action)}
        if lacking or have - need:
            raise StackError(f"lacking: {sorted(lacking)}; needless: {sorted(have - need)}")

        for statement in policy["Statement"]:
            # MiniStack's simulator takes no ContextEntries.
            statement.pop("Condition", None)

        def denied(statements: list[dict], wanted: list[str]) -> list[str]:
            found = []
            for action in wanted:
                results = self.cloud.iam.simulate_custom_policy(
                    PolicyInputList=[json.dumps(policy | {"Statement": statements})],
                    ActionNames=[action],
                    ResourceArns=[RESOURCES[action.partition(":")[0]].format(region, account)],
                )["EvaluationResults"]
                found += [r["EvalActionName"] for r in results if r["EvalDecision"] != "allowed"]
            return found

        if refused := denied(policy["Statement"], sorted(have)):
            raise StackError(f"refused with the whole policy: {refused}")
        for statement in policy["Statement"]:
            others = [other for other in policy["Statement"] if other != statement]
            if not denied(others, actions(statement)):
                raise StackError(f"nothing needs the statement {statement['Sid']}")
        return f"{len(have)} actions in {len(policy['Statement'])} statements, each of them needed"

    def delete(self) -> None:
        self.cloud.cloudformation.delete_stack(StackName=STACK)
        self.cloud.settled(STACK)
        self.config.unlink(missing_ok=True)
