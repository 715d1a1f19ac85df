"""A small client for OpenSearch and Elasticsearch, and the HTTP call underneath it."""

from __future__ import annotations

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Without the proxy of the environment: most calls go to this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class SearchError(Exception):
    """The engine did not respond, or rejected the request; the text says which."""


@dataclass(frozen=True)
class Engine:
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, url: str = "") -> Engine:
        """Returns the engine at `url`, at SEARCH_ENDPOINT, or of `make up`.

        Its credentials are SEARCH_API_KEY, or SEARCH_USERNAME and SEARCH_PASSWORD, if set."""
        url = url or os.environ.get("SEARCH_ENDPOINT") or "http://127.0.0.1:9200"
        return cls(url.rstrip("/"), auth_header(search_secret(os.environ)))

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Returns the response, parsed as JSON. A `body` of bytes is NDJSON; anything else is JSON.

        Raises SearchError."""
        headers = self.headers | {"Content-Type": "application/json"}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/x-ndjson"
        elif body is not None:
            body = json.dumps(body).encode()
        try:
            status, response = http(method, f"{self.url}/{path}", body, headers)
        except OSError as error:
            raise SearchError(f"{self.url} does not respond: {error}") from error
        if status >= 300:
            text = response.decode(errors="replace")[:2000]
            raise SearchError(f"{method} {path}: {status} {text}")
        return json.loads(response)

    def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.request("POST", f"{index}/_search", body)
        # A partial response looks like a complete one.
        if response.get("timed_out") or response["_shards"]["failed"]:
            raise SearchError(f"{index}/_search is incomplete: {json.dumps(response['_shards'])}")
        return response

    def product(self) -> str:
        """Returns `opensearch` or `elasticsearch`."""
        try:
            status, response = http("GET", f"{self.url}/", headers=self.headers)
        except OSError as error:
            raise SearchError(f"{self.url} does not respond: {error}") from error
        if status in (401, 403):
            raise SearchError(f"{self.url} rejects the credentials: {status}")
        return "opensearch" if b'"opensearch"' in response else "elasticsearch"


def http(
    method: str,
    url: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = 30,
) -> tuple[int, bytes]:
    """Returns status and body, whatever the status. Raises OSError if there is no response."""
    request = urllib.request.Request(url, data=body, headers=headers or {}, method=method)
    try:
        with DIRECT.open(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def search_secret(env: Mapping[str, str]) -> dict[str, str]:
    """Returns the credentials in the form of the functions' search secret; empty if not set."""
    if api_key := env.get("SEARCH_API_KEY", "").strip():
        return {"api_key": api_key}
    if username := env.get("SEARCH_USERNAME", "").strip():
        return {"username": username, "password": env.get("SEARCH_PASSWORD", "").strip()}
    return {}


def auth_header(secret: Mapping[str, str]) -> dict[str, str]:
    """Returns the header for such a secret."""
    if api_key := secret.get("api_key"):
        return {"Authorization": f"ApiKey {api_key}"}
    if username := secret.get("username"):
        pair = f"{username}:{secret['password']}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}
