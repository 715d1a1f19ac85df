"""A second stack of the package, fed by EventBridge and the poller; it makes its secrets itself."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import package
from templates import REGION
from tools import ROOT
from world import ACCOUNT, Engine

if TYPE_CHECKING:
    from test_package import Auth0, User

# Of the launch-stack URL.
PUBLIC_BUCKET = "releases"
# Starts like the name of the other stack.
STACK = "packaged-bus"
BUCKET = "my-code"
NAMESPACE = "bus"
DATA_STREAM = f"logs-auth0.logs-{NAMESPACE}"
OLD = "2026-03-14T09:11:06.250Z"
# More than a page of Auth0's.
APPLICATIONS = 101


def states(checks: dict[str, dict]) -> dict[str, str]:
    return {name: check["state"] for name, check in checks.items()}


def said(text: str, *wanted: str) -> str:
    missing = [one for one in wanted if one not in text]
    assert not missing, text
    return text


class Neighbor:
    def __init__(self, user: User, auth0: Auth0, engine: Engine) -> None:
        self.user = user
        self.cloud = user.cloud
        self.auth0 = auth0
        self.engine = engine

    def deploy(self, *arguments: str, **env: str) -> str:
        return self.user.deploy(0, *arguments, "--yes", "--stack", STACK, **env)

    def setup(self, code: int, *arguments: str, **env: str) -> str:
        env = self.user.signed_in | env
        return self.user.run(code, "auth0-setup.sh", *arguments, "--stack", STACK, **env)

    def logs(self, **env: str) -> dict[str, dict]:
        """Returns what auth0-logs says of this stack, which has problems, by check."""
        env = self.user.signed_in | env
        text = self.user.run(1, "auth0-logs", "--json", "--stack", STACK, **env)
        return {check["check"]: check for check in json.loads(text)["checks"]}

    def output(self, name: str) -> str:
        (stack,) = self.cloud.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        return next(o["OutputValue"] for o in stack["Outputs"] if o["OutputKey"] == name)

    def parameters(self) -> dict[str, str]:
        (stack,) = self.cloud.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        return {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}

    def uploads(self) -> int:
        found = self.cloud.s3.list_objects_v2(Bucket=BUCKET)["Contents"]
        return sum(one["Key"].endswith(".zip") for one in found)

    def install(self) -> str:
        """The event source from Auth0, twice the same; then the stack that takes it."""
        texts = [self.setup(0, "--eventbridge", "--yes") for _ in range(2)]
        sources = {re.search("^EventSourceName=(.+)$", text, re.MULTILINE)[1] for text in texts}
        assert sources == {self.auth0.stream(STACK)["sink"]["awsPartnerEventSource"]}, texts
        settings = {
            "Inputs": "eventbridge+poller",
            "EventSourceName": sources.pop(),
            "Auth0Url": self.auth0.url,
            "SearchEndpoint": self.engine.endpoint,
            # The engine here ignores signatures.
            "SearchSignIn": "es",
            "SearchResourceArn": f"arn:aws:es:{REGION}:{ACCOUNT}:domain/logs",
            "InstallIndexTemplate": "false",
            "DataStreamNamespace": NAMESPACE,
            "SilenceHours": "1",
        }
        given = [f"{name}={value}" for name, value in settings.items()]
        application = {"AUTH0_CLIENT_ID": "gone", "AUTH0_CLIENT_SECRET": 'a "secret'}
        text = self.deploy("--bucket", BUCKET, *given, **application)
        assert "Payload URL" not in text
        assert self.uploads() == len(package.FUNCTIONS)
        content = json.loads(self.user.secret(self.output("Auth0SecretArn")))
        assert content == {"client_id": "gone", "client_secret": 'a "secret'}
        return "event source created once; own bucket; the secret that the stack made is filled"

    def look(self) -> str:
        """An application that is gone, no poll, no event; and an alarm that the other has not."""
        alarms = [a["AlarmName"] for a in self.cloud.alarms()]
        alarm = next(name for name in alarms if name.startswith(f"{STACK}-DeadLetters-"))
        ring = {"StateValue": "ALARM", "StateReason": "a test"}
        self.cloud.cloudwatch.set_alarm_state(AlarmName=alarm, **ring)
        self.user.logs(0)
        found = self.logs()
        for check, state, detail in (
            ("stream", "PROBLEM", "the application gone, which does not exist"),
            # The stack has just been deployed.
            ("poller", "waiting", "no page read in the last 15 minutes; no checkpoint"),
            ("engine", "waiting", f"no event in {DATA_STREAM} yet (opensearch "),
            ("alarms", "PROBLEM", "DeadLetters since "),
        ):
            assert found[check]["state"] == state, found[check]
            said(found[check]["detail"], detail)
        assert {"ingest queue", "ingest dead letters", "ingest function"} <= set(found)
        event = {"@timestamp": OLD, "agent": {"version": "0.1.0"}}
        self.engine.call("POST", f"{DATA_STREAM}/_doc?refresh=true", event)
        engine = self.logs()["engine"]
        said(engine["detail"], " h, more than SilenceHours=1")
        assert (engine["state"], engine["since"]) == ("PROBLEM", OLD)
        return "two problems of this stack and two things that it waits for, and none of the other"

    def next_release(self) -> str:
        """The same code, under another name."""
        before, zips = self.parameters(), self.uploads()
        folder = self.user.unpacked.with_name("next")
        shutil.copytree(self.user.unpacked, folder)
        prefix = before.pop("CodePrefix")
        for name in ("template.yaml", "parameters.sh"):
            file = folder / name
            file.write_text(file.read_text().replace(prefix, f"next-{prefix}"))
        first, self.user.unpacked = self.user.unpacked, folder
        text = self.deploy()
        self.user.unpacked = first
        said(text, "uploading webhook-", "UPDATE_COMPLETE")
        after = self.parameters()
        assert after == before | {"CodePrefix": f"next-{prefix}"}
        assert self.uploads() == zips + len(package.FUNCTIONS)
        return "code uploaded under its new name, parameters kept"

    def existing_application(self) -> str:
        """From EventBridge to the webhook, with an application that Auth0 lists on a later page."""
        for number in range(APPLICATIONS - 1):
            self.auth0.send("POST", "api/v2/clients", {"name": f"{number}", "app_type": "spa"})
        application = {"name": STACK, "app_type": "non_interactive"}
        made = self.auth0.send("POST", "api/v2/clients", application)
        grant = {"client_id": made["client_id"], "scope": ["read:logs"]}
        grant["audience"] = f"{self.auth0.url}/api/v2/"
        self.auth0.send("POST", "api/v2/client-grants", grant)
        arn = self.cloud.secretsmanager.create_secret(Name=f"{STACK}/auth0")["ARN"]
        text = self.deploy("--change", "Inputs=both", "--change", f"Auth0SecretArn={arn}")
        said(text, "The webhook's secret has a token.", "Fill it in later")
        text = said(self.setup(0, "--yes"), "create the log stream", "grant it read:logs_users on")
        content = json.loads(self.user.secret(arn))
        assert "create the application" not in text
        assert content == {name: made[name] for name in ("client_id", "client_secret")}
        said(self.setup(0, "--check"), "everything is as it should be")
        return f"found among {APPLICATIONS} others, granted what it lacked; webhook's secret filled"

    def permissions(self) -> str:
        """A token of Auth0 and a user of AWS who may not do enough."""
        said(self.setup(1, "--check", AUTH0_TOKEN="wrong"), "refuses the token")
        made = self.auth0.send("POST", "api/v2/clients", {"name": "limited", "app_type": "spa"})
        audience = f"{self.auth0.url}/api/v2/"
        grant = {"client_id": made["client_id"], "audience": audience}
        self.auth0.send("POST", "api/v2/client-grants", grant | {"scope": ["read:log_streams"]})
        ask = grant | {"client_secret": made["client_secret"]}
        ask["grant_type"] = "client_credentials"
        token = self.auth0.send("POST", "oauth/token", ask)["access_token"]
        said(self.setup(1, "--check", AUTH0_TOKEN=token), "lacks a permission for GET clients/")
        policy = (ROOT / "docs/auth0-logs-user.json").read_text()
        for name, value in (("REGION", REGION), ("ACCOUNT", ACCOUNT), ("STACK", STACK)):
            policy = policy.replace(name, value)
        # MiniStack puts the stack's name before that of a secret; AWS does not.
        policy = policy.replace("secret:WebhookSecret-", f"secret:{STACK}-WebhookSecret-")
        keys = self.aws_user("reader", json.loads(policy))
        assert "unknown" not in states(self.logs(**keys)).values()
        blind = json.loads(policy)
        blind["Statement"] = [s for s in blind["Statement"] if s["Sid"] != "Secrets"]
        keys = self.aws_user("blind", blind)
        text = self.setup(1, "--yes", **keys)
        said(text, "cannot be read, which needs secretsmanager:GetSecretValue")
        stream = self.logs(**keys)["stream"]
        assert stream["state"] == "unknown", stream
        return "each said; auth0-logs sees all with its policy; no secret is overwritten unread"

    def aws_user(self, name: str, policy: dict) -> dict[str, str]:
        """Returns the environment of a user who may do what the policy allows."""
        user = {"UserName": name}
        self.cloud.iam.create_user(**user)
        document = json.dumps(policy)
        self.cloud.iam.put_user_policy(**user, PolicyName="all", PolicyDocument=document)
        key = self.cloud.iam.create_access_key(**user)["AccessKey"]
        secret = key["SecretAccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": secret}

    def delete(self) -> str:
        self.deploy("--delete")
        self.engine.call("DELETE", DATA_STREAM)
        return "deleted"

    def without_stack(self) -> str:
        """A stream alone, whose URL and then token change."""
        env = {"PAYLOAD_URL": "https://logs.example.com/auth0/logs", "WEBHOOK_TOKEN": "Bearer one"}
        said(self.setup(0, "--yes", "--name", "alone", **env), "create the log stream alone")
        for change, member in (
            ({"PAYLOAD_URL": "https://new.example.com/auth0/logs"}, "httpEndpoint"),
            ({"WEBHOOK_TOKEN": "Bearer two"}, "httpAuthorization"),
        ):
            env |= change
            plan = f"change {member} of the log stream alone"
            said(self.setup(1, "--check", "--name", "alone", **env), plan)
            said(self.setup(0, "--yes", "--name", "alone", **env), plan)
            assert self.auth0.stream("alone")["sink"][member] in change.values()
            said(self.setup(0, "--check", "--name", "alone", **env), "everything is as it should")
        return "each is found and changed, once"

    def launch(self) -> str:
        """The commands and the URL that `make package BUCKET=` prints deploy a stack."""
        location = {"LocationConstraint": REGION}
        self.cloud.s3.create_bucket(Bucket=PUBLIC_BUCKET, CreateBucketConfiguration=location)
        *commands, url = package.launch(self.user.unpacked, PUBLIC_BUCKET).splitlines()
        for command in commands:
            subprocess.run(["sh", "-c", command], env=self.user.env, check=True)
        template = re.search(
            r"templateURL=https://releases\.s3\.<region>\.amazonaws\.com/(\S+)&", url
        )
        values = {"SearchEndpoint": self.engine.endpoint, "SearchSignIn": "none"}
        values |= {"DataStreamNamespace": NAMESPACE, "InstallIndexTemplate": "false"}
        self.cloud.cloudformation.create_stack(
            StackName="launched",
            TemplateURL=f"{self.cloud.url}/{PUBLIC_BUCKET}/{template[1]}",
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        status = self.cloud.settled("launched", "create")
        assert status == "CREATE_COMPLETE", self.cloud.reasons("launched")[:3]
        self.cloud.delete("launched")
        return "published by the printed commands, deployed from the printed URL"
