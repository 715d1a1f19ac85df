"""Draws the dashboards as one local page, without Kibana: `make overview`.

The page is self-contained, data and scripts included, and opens in any browser.

    overview.py <folder with Vega's scripts> <page to write>
"""

from __future__ import annotations

import calendar
import html
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from charts import INDEX, Panel
from panels import DASHBOARDS, PROGRAMS, Dashboard
from search import Engine, SearchError

# In the order in which a page has to load them.
SCRIPTS = ("vega", "vega-embed")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Auth0 log streams</title>
<style>
  body {{ font: 15px/1.4 system-ui, sans-serif; color: #24292f; background: #f6f8fa }}
  body {{ margin: 24px auto; max-width: 1360px }}
  h1 {{ font-size: 22px; margin: 32px 0 0 }} p {{ margin: 4px 0 12px; color: #57606a }}
  .panels {{ display: grid; grid-template-columns: repeat(48, 1fr); gap: 12px }}
  .panel {{ border: 1px solid #d0d7de; border-radius: 6px; background: white; overflow: hidden }}
  .failed {{ color: #c8553d }}
  output {{ position: fixed; inset: auto 0 0; padding: 8px 24px }}
  output {{ background: #24292f; color: white }}
  output:empty {{ display: none }}
</style>
{scripts}
<body>
<p>{about}</p>
{sections}
<output></output>
<script>
  const panels = {panels};
  // In {program}, a click on a mark filters. Here, it shows by what.
  vega.expressionFunction("{add_filter}", (query, index, alias) => {{
    const filter = JSON.stringify({{ query, index, alias }});
    document.querySelector("output").textContent = `{program} would filter by ${{filter}}`;
  }});
  // Both programs interpret expressions, instead of compiling them.
  const options = {{ renderer: "svg", actions: false, ast: true, tooltip: true }};
  const draw = ([id, spec]) => {{
    const {{ clientWidth: width, clientHeight: height }} = document.getElementById(id);
    return vegaEmbed(`[id="${{id}}"]`, {{ width, height, ...spec }}, options).catch(error => {{
      const panel = document.getElementById(id);
      panel.classList.add("failed");
      panel.textContent = error.message;
    }});
  }};
  Promise.all(Object.entries(panels).map(draw))
    .then(() => document.body.dataset.drawn = Object.keys(panels).length);
</script>
</body>
</html>
"""

# The intervals that both programs choose from, in seconds.
STEPS = (1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 43200, 86400)


def filled(search: dict[str, Any], product: str, start: datetime, end: datetime) -> dict[str, Any]:
    """Returns a panel's search as Kibana or OpenSearch Dashboards sends it with no filter set."""
    span = {
        "gte": start.isoformat() + "Z",
        "lte": end.isoformat() + "Z",
        "format": "strict_date_optional_time",
    }
    # Elasticsearch no longer accepts `interval`, and Kibana replaces it.
    interval = "interval" if product == "opensearch" else "fixed_interval"

    def step(count: int) -> str:
        seconds = (end - start).total_seconds() / count
        return f"{max((one for one in STEPS if one <= seconds), default=1)}s"

    def fill(part: Any) -> Any:
        if isinstance(part, list):
            return [fill(one) for one in part if not (isinstance(one, str) and one.startswith("%"))]
        if not isinstance(part, dict):
            return part
        if bound := part.get("%timefilter%"):
            if bound is True:
                return span
            return calendar.timegm({"min": start, "max": end}[bound].timetuple()) * 1000
        if auto := part.get("interval"):
            rest = {key: fill(value) for key, value in part.items() if key != "interval"}
            return rest | {interval: step(auto["%autointerval%"])}
        return {key: fill(value) for key, value in part.items()}

    return fill(search)


def program_of(product: str) -> str:
    return "opensearch-dashboards" if product == "opensearch" else "kibana"


def drawn(panel: Panel, response: dict[str, Any], program: str) -> dict[str, Any]:
    """Returns the panel's spec for a program, with the response in place of the search."""
    spec = panel.spec(PROGRAMS[program]["add_filter"])
    spec["data"][0] = {"name": "response", "values": response}
    return spec


def stream_of(panel: Panel, stream: str) -> str:
    """Returns what the panel searches, if `stream` holds the events: that, or the alerts, too."""
    return stream if panel.index == INDEX else stream.replace("auth0.logs-", "auth0.*-")


def write(engine: Engine, stream: str, scripts: Path, file: Path) -> None:
    """Writes the page of the last 24 hours. Raises SearchError."""
    end = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
    engine.request("POST", f"{stream.replace('auth0.logs-', 'auth0.*-')}/_refresh")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(engine, stream, end - timedelta(hours=24), end, scripts))


def page(
    engine: Engine,
    stream: str,
    start: datetime,
    end: datetime,
    scripts: Path,
    dashboards: Sequence[Dashboard] = DASHBOARDS,
) -> str:
    """Returns the dashboards over the documents of `stream` between two times in UTC.

    `scripts` is the folder with Vega's scripts. Raises SearchError."""
    specs, sections = {}, []
    product = engine.product()
    program = program_of(product)
    for dashboard in dashboards:
        boxes = []
        for panel in dashboard.panels:
            id = f"{dashboard.id}-{panel.id}"
            body = filled(panel.search, product, start, end)
            specs[id] = drawn(panel, engine.search(stream_of(panel, stream), body), program)
            style = f"grid-column: span {panel.width}; height: {panel.height * 25}px"
            boxes.append(f'<div class="panel" style="{style}" id="{id}"></div>')
        sections.append(
            f"<h1>{html.escape(dashboard.title)}</h1><p>{html.escape(dashboard.description)}</p>"
            f'<div class="panels">{"".join(boxes)}</div>'
        )
    return PAGE.format(
        scripts="\n".join(
            f"<script>{(scripts / f'{name}.min.js').read_text()}</script>" for name in SCRIPTS
        ),
        about=f"{html.escape(stream)}, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC",
        sections="\n".join(sections),
        panels=in_script(specs),
        program=program,
        add_filter=PROGRAMS[program]["add_filter"],
    )


def in_script(value: Any) -> str:
    """Returns JSON that cannot close its script element, whatever the events contain."""
    return json.dumps(value).replace("<", "\\u003c")


def main() -> None:
    scripts, file = map(Path, sys.argv[1:])
    engine = Engine.from_environment()
    stream = f"logs-auth0.logs-{os.environ.get('DATA_STREAM_NAMESPACE') or 'default'}"
    write(engine, stream, scripts, file)
    print(file)


if __name__ == "__main__":
    try:
        main()
    except SearchError as failure:
        sys.exit(str(failure))
