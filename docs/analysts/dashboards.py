"""Imports the dashboards into Kibana or OpenSearch Dashboards: `make dashboards`.

A dry run unless APPLY=1. Objects with the same ids are overwritten; nothing else is touched.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Mapping

import panels
from search import auth_header, http, search_secret

# Each program requires its header as a protection against cross-site request forgery.
HEADERS = {"kibana": "kbn-xsrf", "opensearch-dashboards": "osd-xsrf"}


class ImportFailedError(Exception):
    """A missing setting, or what the program rejected and why."""


def import_all(settings: Mapping[str, str]) -> None:
    """Imports every saved object.

    Reads DASHBOARDS (the program), DASHBOARDS_URL, SEARCH_API_KEY or SEARCH_USERNAME and
    SEARCH_PASSWORD, and APPLY. Raises ImportFailedError."""
    program = settings.get("DASHBOARDS", "")
    url = settings.get("DASHBOARDS_URL", "").rstrip("/")
    if program not in panels.PROGRAMS or not url:
        raise ImportFailedError(
            "make dashboards DASHBOARDS=kibana|opensearch-dashboards DASHBOARDS_URL=https://… "
            "[SEARCH_USERNAME=… SEARCH_PASSWORD=… or SEARCH_API_KEY=…] [APPLY=1]"
        )
    file = panels.path(program)
    objects = [json.loads(line) for line in file.read_text().splitlines()]
    target = f"{url}/api/saved_objects/_import?overwrite=true"
    if settings.get("APPLY") != "1":
        print(f"would send {len(objects)} objects of {file.name} to {target}:")
        for one in objects:
            print(f"  {one['type']:14} {one['attributes']['title']}")
        print("nothing was sent; APPLY=1 sends them")
        return

    boundary = uuid.uuid4().hex
    head = f'Content-Disposition: form-data; name="file"; filename="{file.name}"'
    body = f"--{boundary}\r\n{head}\r\nContent-Type: application/ndjson\r\n\r\n".encode()
    body += file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    headers = auth_header(search_secret(settings)) | {
        HEADERS[program]: "true",
        "Content-Type": f"multipart/form-data; boundary={boundary}",
    }
    try:
        status, response = http("POST", target, body, headers, timeout=120)
    except OSError as error:
        raise ImportFailedError(f"{url} does not respond: {error}") from error
    text = response.decode(errors="replace")
    try:
        result = json.loads(text)
    except ValueError:
        result = {}
    if status != 200 or result.get("success") is not True:
        raise ImportFailedError(f"the import failed: {status} {text[:2000]}")
    print(f"imported {result.get('successCount')} objects; the dashboards:")
    for one in objects:
        if one["type"] == "dashboard":
            print(f"  {url}/app/dashboards#/view/{one['id']}")


if __name__ == "__main__":
    try:
        import_all(os.environ)
    except ImportFailedError as failure:
        sys.exit(str(failure))
