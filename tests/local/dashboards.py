"""Imports the dashboards into Kibana or OpenSearch Dashboards: `make dashboards`.

Says what it would do, unless APPLY=1. What is there under the same ids is replaced, nothing else
touched.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

import panels
from search import secret_of, sign_in
from services import http
from tools import ROOT, StackError, say

# Both ask for such a header, against requests that a web page makes a browser send.
HEADERS = {"kibana": "kbn-xsrf", "opensearch-dashboards": "osd-xsrf"}


def import_all(settings: Mapping[str, str]) -> None:
    """Reads DASHBOARDS (the program), DASHBOARDS_URL, SEARCH_API_KEY or SEARCH_USERNAME and
    SEARCH_PASSWORD, and APPLY.

    Raises StackError, which tells what was refused and why."""
    program = settings.get("DASHBOARDS", "")
    url = settings.get("DASHBOARDS_URL", "").rstrip("/")
    if program not in panels.PROGRAMS or not url:
        raise StackError(
            "make dashboards DASHBOARDS=kibana|opensearch-dashboards DASHBOARDS_URL=https://… "
            "[SEARCH_USERNAME=… SEARCH_PASSWORD=… or SEARCH_API_KEY=…] [APPLY=1]"
        )
    file = panels.path(program)
    objects = [json.loads(line) for line in file.read_text().splitlines()]
    target = f"{url}/api/saved_objects/_import?overwrite=true"
    if settings.get("APPLY") != "1":
        say(f"would send {len(objects)} objects of {file.relative_to(ROOT)} to {target}:")
        for one in objects:
            say(f"  {one['type']:14} {one['attributes']['title']}")
        say("nothing was sent; APPLY=1 sends them")
        return

    boundary = uuid.uuid4().hex
    head = f'Content-Disposition: form-data; name="file"; filename="{file.name}"'
    body = f"--{boundary}\r\n{head}\r\nContent-Type: application/ndjson\r\n\r\n".encode()
    body += file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = sign_in(secret_of(settings)) | {
        HEADERS[program]: "true",
        "Content-Type": f"multipart/form-data; boundary={boundary}",
    }
    try:
        status, answer = http("POST", target, body, headers, timeout=120)
    except OSError as error:
        raise StackError(f"{url} does not answer: {error}") from error
    text = answer.decode(errors="replace")
    try:
        result = json.loads(text)
    except ValueError:
        result = {}
    if status != 200 or result.get("success") is not True:
        raise StackError(f"the import failed: {status} {text[:2000]}")
    say(f"imported {result.get('successCount')} objects; the dashboards:")
    for one in objects:
        if one["type"] == "dashboard":
            say(f"  {url}/app/dashboards#/view/{one['id']}")
