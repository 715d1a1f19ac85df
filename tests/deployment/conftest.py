"""Deploys template.yaml into MiniStack and uses it: `make validate`.

Each test is a step; the table in the end says what was done and seen. Tests share the stack `main`,
so they run in the order of the files below. Each file also runs alone.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import templates
import tools
from interrupts import INTERRUPTS
from services import Group, Service, free_ports, group_for
from stack import ENGINES, engine_service, target_folder, tenant_service
from world import (
    EVENT_SOURCE,
    TOKEN,
    Cloud,
    Domain,
    Engine,
    Seen,
    Stack,
    StackOf,
    ministack_service,
    zipped_functions,
)

ORDER = (
    *("template", "deploying_user", "newcomer", "package", "first_deployment", "inputs"),
    *("upgrade", "detections", "alarms", "roles", "deletion"),
)
AUTH0_CLIENT = {"client_id": "local-client", "client_secret": "local-client-secret"}


# --- the table -------------------------------------------------------------------------------


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[STARTED] = time.monotonic()
    INTERRUPTS.install()


STARTED = pytest.StashKey[float]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints how long each step took, with its fixtures, and what was seen."""
    seconds: dict[str, float] = {}
    seen: dict[str, str] = {}
    for report in (r for kind in ("", "passed") for r in terminalreporter.getreports(kind)):
        step = report.nodeid.partition("test_")[2].replace(".py::test_", ": ").replace("_", " ")
        seconds[step] = seconds.get(step, 0) + report.duration
        seen[step] = dict(report.user_properties).get("seen", "")
    told = [step for step in seconds if seen[step] or seconds[step] >= 0.1]
    width = max(map(len, told), default=0)
    for step in told:
        line = f"  {step:{width}}  {seconds[step]:5.1f} s  {seen[step]}"
        terminalreporter.write_line(line.rstrip())
    whole = time.monotonic() - config.stash[STARTED]
    terminalreporter.write_line(f"  all of it in {whole:.0f} s")


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Seen:
    """Notes what a step has seen, for the table."""
    return partial(record_property, "seen")


# --- what runs -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="session")
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    tools.check_prerequisites()
    tools.set_up([*ENGINES])
    with group_for("validate") as group:
        yield group
        if request.session.testsfailed:
            print(group.tail("ministack", 5))


@pytest.fixture(scope="session")
def ports() -> dict[str, int]:
    names = ("ministack", "tenant", *ENGINES)
    return dict(zip(names, free_ports(len(names)), strict=True))


@pytest.fixture(scope="session")
def starting(group: Group, ports: dict[str, int]) -> list[Service]:
    """Returns MiniStack and the engines, which start while something else is done."""
    parts = [ministack_service(ports["ministack"])]
    parts += [engine_service(name, ports[name], group.folder) for name in ENGINES]
    group.start(*parts)
    return parts


@pytest.fixture(scope="session", autouse=True)
def start_early(request: pytest.FixtureRequest) -> None:
    """Starts the services before the linters run, if any test needs them."""
    if any("starting" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("starting")


@pytest.fixture(scope="session")
def archives(
    group: Group, starting: list[Service], ports: dict[str, int], folder: Path
) -> dict[str, Path]:
    """Returns the functions' zips, once all services are ready."""
    archives = zipped_functions(folder)
    tenant = tenant_service(ports["tenant"], *AUTH0_CLIENT.values(), target_folder())
    group.start(tenant)
    group.wait(*starting, tenant)
    return archives


@pytest.fixture(scope="session")
def cloud(archives: dict[str, Path], ports: dict[str, int]) -> Cloud:
    """Returns MiniStack, with the zips in a bucket."""
    cloud = Cloud(ports["ministack"])
    location = {"LocationConstraint": templates.REGION}
    cloud.s3.create_bucket(Bucket=templates.BUCKET, CreateBucketConfiguration=location)
    for name, archive in archives.items():
        cloud.s3.upload_file(str(archive), templates.BUCKET, f"{name}.zip")
    return cloud


@pytest.fixture(scope="session")
def opensearch(archives: dict[str, Path], ports: dict[str, int]) -> Engine:
    return Engine(ports["opensearch"])


@pytest.fixture(scope="session")
def domain(archives: dict[str, Path], ports: dict[str, int]) -> Domain:
    return Domain(ports["opensearch"])


@pytest.fixture(scope="session")
def elasticsearch(archives: dict[str, Path], ports: dict[str, int]) -> Engine:
    return Engine(ports["elasticsearch"])


# --- stacks ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def values(cloud: Cloud, ports: dict[str, int]) -> dict[str, str]:
    """Returns the parameters of all stacks."""
    return {
        "Inputs": "webhook",
        # That of this machine, which runs the functions.
        "Architecture": {"aarch64": "arm64"}.get(platform.machine(), "x86_64"),
        "SearchEndpoint": "https://search.example.com",
        "SearchSecretArn": cloud.secret("search", {"username": "any", "password": "any"}),
        "WebhookSecretArn": cloud.secret("webhook", {"token": TOKEN}),
        "Auth0SecretArn": cloud.secret("auth0", AUTH0_CLIENT),
        "Auth0Url": f"http://127.0.0.1:{ports['tenant']}",
        "EventSourceName": EVENT_SOURCE,
        "MaskSecretArn": cloud.secret("mask", {"key": "k" * 64}),
        "ExtraTags": "production,eu",
    }


@pytest.fixture(scope="session")
def stack_of(cloud: Cloud, values: dict[str, str]) -> StackOf:
    """Returns a function for the stacks to deploy."""

    def stack_of(name: str, engine: Engine, **changes: str) -> Stack:
        parameters = values | {"SearchEndpoint": engine.endpoint} | changes
        return Stack(cloud, engine, name, templates.deployable(**parameters), parameters)

    return stack_of


@pytest.fixture(scope="session")
def main(stack_of: StackOf, opensearch: Engine) -> Stack:
    """Returns the stack that most tests use, with the events of the webhook at first."""
    main = stack_of("main", opensearch)
    main.expect("CREATE_COMPLETE")
    return main


@pytest.fixture(scope="session")
def other(stack_of: StackOf, elasticsearch: Engine) -> Stack:
    """Returns a stack that writes to Elasticsearch."""
    other = stack_of("other", elasticsearch, Inputs="both", PollState="DISABLED")
    other.expect("CREATE_COMPLETE")
    return other


@pytest.fixture
def both(main: Stack) -> Stack:
    """Returns the main stack with webhook and poller."""
    return main.ensure(Inputs="both")


@pytest.fixture
def complete(main: Stack) -> Stack:
    """Returns the main stack with webhook, poller and detections."""
    return main.ensure(Inputs="both", Detections="on")


@pytest.fixture(params=["main", "other"], ids=["OpenSearch", "Elasticsearch"], scope="session")
def on_each_engine(request: pytest.FixtureRequest) -> Stack:
    return request.getfixturevalue(request.param)
