"""The few calls of AWS that setting up the local stack takes, to moto and DynamoDB Local."""

from __future__ import annotations

import json
from typing import Any

from services import http
from tools import StackError

REGION = "us-east-1"

# Anything is accepted; the SDK and the stand-ins only want something to be there.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}

# Service → prefix of X-Amz-Target and version of the JSON protocol.
_PROTOCOLS = {
    "sqs": ("AmazonSQS", "1.0"),
    "secretsmanager": ("secretsmanager", "1.1"),
    "dynamodb": ("DynamoDB_20120810", "1.0"),
}


class Aws:
    """Calls to one endpoint."""

    def __init__(self, service: str, endpoint: str) -> None:
        self._service = service
        self._endpoint = endpoint

    def __call__(self, action: str, **parameters: Any) -> dict[str, Any]:
        prefix, version = _PROTOCOLS[self._service]
        scope = f"local/20200101/{REGION}/{self._service}/aws4_request"
        headers = {
            "Content-Type": f"application/x-amz-json-{version}",
            "X-Amz-Target": f"{prefix}.{action}",
            # Not checked, but the stand-ins read the service and the region from it.
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        }
        body = json.dumps(parameters).encode()
        status, answer = http("POST", self._endpoint + "/", body, headers)
        if status != 200:
            raise StackError(f"{self._service} {action}: {status} {answer.decode(errors='replace')}")
        return json.loads(answer or b"{}")
