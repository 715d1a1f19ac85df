"""The dashboards as one local page, drawn from an engine's data: pictures without Kibana.

The page holds everything that it needs, data and scripts, and opens in any browser.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from panels import DASHBOARDS, Dashboard, Panel
from search import Engine
from tools import TOOLS

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Auth0 log streams</title>
<style>
  body {{ font: 15px/1.4 system-ui, sans-serif; margin: 24px auto; max-width: 1260px; color: #24292f }}
  h1 {{ font-size: 22px; margin: 32px 0 0 }} p {{ margin: 4px 0 12px; color: #57606a }}
  .panels {{ display: grid; grid-template-columns: repeat(48, 1fr); gap: 12px }}
  .panel {{ height: 270px; border: 1px solid #d0d7de; border-radius: 6px; padding: 8px }}
  .panel > div {{ width: 100%; height: 100% }} .failed {{ color: #c8553d }}
</style>
{scripts}
<body>
<p>{about}</p>
{sections}
<script>
  const panels = {panels};
  Promise.all(Object.entries(panels).map(([id, spec]) =>
    vegaEmbed(`[id="${{id}}"]`, spec, {{ renderer: "svg", actions: false, tooltip: true }}).catch(error => {{
      const panel = document.getElementById(id);
      panel.className = "failed";
      panel.textContent = error.message;
    }})
  )).then(() => document.body.dataset.drawn = Object.keys(panels).length);
</script>
</body>
</html>
"""


# The steps in which both programs count time, in seconds.
STEPS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 43200, 86400)


def filled(search: dict[str, Any], product: str, start: datetime, end: datetime) -> dict[str, Any]:
    """A panel's search as Kibana or OpenSearch Dashboards sends it, with no filters chosen."""
    span = {
        "gte": start.isoformat() + "Z",
        "lte": end.isoformat() + "Z",
        "format": "strict_date_optional_time",
    }
    # Kibana knows that Elasticsearch takes `interval` no longer.
    interval = "interval" if product == "opensearch" else "fixed_interval"

    def step(count: int) -> str:
        seconds = (end - start).total_seconds() / count
        return f"{max((one for one in STEPS if one <= seconds), default=1)}s"

    def fill(part: Any) -> Any:
        if isinstance(part, list):
            return [fill(one) for one in part if not (isinstance(one, str) and one.startswith("%"))]
        if not isinstance(part, dict):
            return part
        if "%timefilter%" in part:
            return span
        if auto := part.get("interval"):
            rest = {key: value for key, value in part.items() if key != "interval"}
            return rest | {interval: step(auto["%autointerval%"])}
        return {key: fill(value) for key, value in part.items()}

    return fill(search)


def drawn(panel: Panel, answer: dict[str, Any]) -> dict[str, Any]:
    """The panel's spec with the answer to its search in place of the search."""
    spec = panel.spec
    spec["data"] = {"values": answer, "format": {"type": "json", **spec["data"]["format"]}}
    return spec


def write(engine: Engine, stream: str, scripts: list[Path]) -> Path:
    """The page of the last 24 hours, as a file. Raises SearchError."""
    end = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
    engine.request("POST", f"{stream}/_refresh")
    file = TOOLS / "run/overview.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(engine, stream, end - timedelta(hours=24), end, scripts))
    return file


def page(
    engine: Engine,
    stream: str,
    start: datetime,
    end: datetime,
    scripts: list[Path],
    dashboards: Sequence[Dashboard] = DASHBOARDS,
) -> str:
    """Dashboards over the documents of `stream` between two dates in UTC; `scripts` are Vega's.

    Raises SearchError."""
    specs, sections = {}, []
    product = engine.product()
    for dashboard in dashboards:
        boxes = []
        for panel in dashboard.panels:
            id = f"{dashboard.id}-{panel.id}"
            answer = engine.search(stream, filled(panel.search, product, start, end))
            specs[id] = drawn(panel, answer)
            boxes.append(
                f'<div class="panel" style="grid-column: span {panel.width}"><div id="{id}"></div></div>'
            )
        sections.append(
            f"<h1>{html.escape(dashboard.title)}</h1><p>{html.escape(dashboard.description)}</p>"
            f'<div class="panels">{"".join(boxes)}</div>'
        )
    return PAGE.format(
        scripts="\n".join(f"<script>{script.read_text()}</script>" for script in scripts),
        about=f"{html.escape(stream)}, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
        sections="\n".join(sections),
        panels=in_script(specs),
    )


def in_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in, whatever the events hold."""
    return json.dumps(value).replace("<", "\\u003c")
