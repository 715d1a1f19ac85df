"""The few AWS calls that set up the local stack, made to moto and DynamoDB Local."""

from __future__ import annotations

import json
from typing import Any

from search import http
from tools import StackError

REGION = "us-east-1"

# The stand-ins accept any credentials, but the SDK and they require some.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
}

# Service → prefix of X-Amz-Target, version of the JSON protocol.
_PROTOCOLS = {
    "sqs": ("AmazonSQS", "1.0"),
    "secretsmanager": ("secretsmanager", "1.1"),
    "dynamodb": ("DynamoDB_20120810", "1.0"),
}


def authorization(service: str) -> str:
    """Returns a header from which the stand-ins read service and region; they check nothing."""
    scope = f"local/20200101/{REGION}/{service}/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope},SignedHeaders=host,Signature=0"


class Aws:
    """A client for one service at one endpoint."""

    def __init__(self, service: str, endpoint: str) -> None:
        self._service = service
        self._endpoint = endpoint

    def __call__(self, action: str, **parameters: Any) -> dict[str, Any]:
        prefix, version = _PROTOCOLS[self._service]
        headers = {
            "Content-Type": f"application/x-amz-json-{version}",
            "X-Amz-Target": f"{prefix}.{action}",
            "Authorization": authorization(self._service),
        }
        body = json.dumps(parameters).encode()
        status, response = http("POST", self._endpoint + "/", body, headers)
        if status != 200:
            text = response.decode(errors="replace")
            raise StackError(f"{self._service} {action}: {status} {text}")
        return json.loads(response or b"{}")
