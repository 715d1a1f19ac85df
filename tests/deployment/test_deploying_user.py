"""docs/deploying-user.json allows what deploying takes and no more, and needs each statement."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cfnlint

from templates import REGION, transformed
from world import ACCOUNT, DEFAULT_STACK, Cloud, Seen, deploying_policy

# Calls of SAM, `make deploy`, the custom resource and the gateway's access log. CloudFormation's
# own calls are listed in AWS's schemas of the resource types, which come with cfn-lint.
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
    "cloudformation": f"arn:aws:cloudformation:{{0}}:{{1}}:stack/{DEFAULT_STACK}/0f1e2d3c",
    "cloudwatch": f"arn:aws:cloudwatch:{{0}}:{{1}}:alarm:{DEFAULT_STACK}-DeadLetters-1A2B",
    "dynamodb": f"arn:aws:dynamodb:{{0}}:{{1}}:table/{DEFAULT_STACK}-CheckpointTable-1A2B",
    "events": "arn:aws:events:{0}:{1}:rule/aws.partner/auth0.com/example-0f1e/auth0.logs/ingest",
    "iam": f"arn:aws:iam::{{1}}:role/{DEFAULT_STACK}-SetupRole-1A2B",
    "lambda": f"arn:aws:lambda:{{0}}:{{1}}:function:{DEFAULT_STACK}-setup",
    "logs": f"arn:aws:logs:{{0}}:{{1}}:log-group:/aws/lambda/{DEFAULT_STACK}-setup",
    "s3": "arn:aws:s3:::aws-sam-cli-managed-default-samclisourcebucket-1a2b",
    "scheduler": f"arn:aws:scheduler:{{0}}:{{1}}:schedule/default/{DEFAULT_STACK}-poller",
    "secretsmanager": "arn:aws:secretsmanager:{0}:{1}:secret:WebhookSecret-1a2b-3c4d5e",
    "sns": f"arn:aws:sns:{{0}}:{{1}}:{DEFAULT_STACK}-alerts",
    "sqs": f"arn:aws:sqs:{{0}}:{{1}}:{DEFAULT_STACK}-RetryQueue-1A2B",
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


def test_policy_allows_what_is_needed(seen: Seen) -> None:
    resources = transformed(SearchEndpoint="")["Resources"].values()
    need = needed({resource["Type"] for resource in resources} - set(APART))
    statements = deploying_policy()["Statement"]
    have = {action for statement in statements for action in actions(statement)}
    assert {action for action in need - have if not UNUSED.fullmatch(action)} == set()
    assert have - need == set()
    seen(f"{len(have)} actions in {len(statements)} statements")


def test_policy_needs_each_statement(cloud: Cloud) -> None:
    policy = deploying_policy()
    for statement in policy["Statement"]:
        # MiniStack's simulator takes no ContextEntries.
        statement.pop("Condition", None)

    def denied(statements: list[dict], wanted: list[str]) -> list[str]:
        found = []
        for action in wanted:
            results = cloud.iam.simulate_custom_policy(
                PolicyInputList=[json.dumps(policy | {"Statement": statements})],
                ActionNames=[action],
                ResourceArns=[RESOURCES[action.partition(":")[0]].format(REGION, ACCOUNT)],
            )["EvaluationResults"]
            found += [r["EvalActionName"] for r in results if r["EvalDecision"] != "allowed"]
        return found

    for statement in policy["Statement"]:
        assert not denied(policy["Statement"], actions(statement))
        others = [other for other in policy["Statement"] if other != statement]
        assert denied(others, actions(statement)), f"nothing needs {statement['Sid']}"
