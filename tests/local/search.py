"""A small client of either engine, for the scripts and tests that read what the functions wrote."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services import http


class SearchError(Exception):
    """The engine did not answer, or refused; the text says which."""


@dataclass(frozen=True)
class Engine:
    url: str
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, url: str) -> Engine:
        """Signs in with SEARCH_API_KEY, or SEARCH_USERNAME and SEARCH_PASSWORD, if they are set."""
        return cls(url.rstrip("/"), sign_in(secret_of(os.environ)))

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """The engine's answer, read as JSON. A `body` of bytes is NDJSON; anything else is JSON.

        Raises SearchError."""
        headers = self.headers | {"Content-Type": "application/json"}
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/x-ndjson"
        elif body is not None:
            body = json.dumps(body).encode()
        try:
            status, answer = http(method, f"{self.url}/{path}", body, headers)
        except OSError as error:
            raise SearchError(f"{self.url} does not answer: {error}") from error
        if status >= 300:
            raise SearchError(f"{method} {path}: {status} {answer.decode(errors='replace')[:2000]}")
        return json.loads(answer)

    def search(self, index: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.request("POST", f"{index}/_search", body)
        # Part of an answer looks like an answer.
        if answer.get("timed_out") or answer["_shards"]["failed"]:
            raise SearchError(f"{index}/_search is incomplete: {json.dumps(answer['_shards'])}")
        return answer

    def product(self) -> str:
        """`opensearch` or `elasticsearch`."""
        try:
            status, answer = http("GET", f"{self.url}/", headers=self.headers)
        except OSError as error:
            raise SearchError(f"{self.url} does not answer: {error}") from error
        if status in (401, 403):
            raise SearchError(f"{self.url} refuses the sign-in: {status}")
        return "opensearch" if b'"opensearch"' in answer else "elasticsearch"


def secret_of(env: Mapping[str, str]) -> dict[str, str]:
    """What signs in, in the form of the functions' search secret; empty where nothing is set."""
    if api_key := env.get("SEARCH_API_KEY", "").strip():
        return {"api_key": api_key}
    if username := env.get("SEARCH_USERNAME", "").strip():
        return {"username": username, "password": env.get("SEARCH_PASSWORD", "").strip()}
    return {}


def sign_in(secret: Mapping[str, str]) -> dict[str, str]:
    """The header for such a secret."""
    if api_key := secret.get("api_key"):
        return {"Authorization": f"ApiKey {api_key}"}
    if username := secret.get("username"):
        pair = f"{username}:{secret['password']}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}
