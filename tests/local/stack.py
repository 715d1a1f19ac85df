"""The local stack: `make run`, `make up`, `make down` and so on (see the Makefile).

It consists of OpenSearch or Elasticsearch, DynamoDB Local, moto for SQS and Secrets Manager, a
stand-in Auth0 tenant, the functions under `cargo lambda watch`, and a trigger for the functions
that read queues. Its data is deleted with the stack. Settings come from the environment:
`make up VAR=…`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import EndpointConnectionError

import demo
import tools
from aws import CREDENTIALS, client
from interrupts import INTERRUPTS, exit_code
from queues import MAX_RECEIVE_COUNT, SOURCES, redrive_all
from search import Engine, auth_header, http, search_secret
from services import (
    RUN,
    Group,
    Service,
    check_ports,
    free_ports,
    group_for,
    responds,
    stopped_on_failure,
)
from tools import ROOT, TOOLS, StackError, say

LOCAL = Path(__file__).resolve().parent
LOCAL_ENV = TOOLS / "local.env"
ENGINES = ("opensearch", "elasticsearch")

CHECKPOINT_TABLE = "checkpoints"
WEBHOOK_SECRET = "auth0-log-streams/webhook"
AUTH0_SECRET = "auth0-log-streams/auth0"
SEARCH_SECRET = "auth0-log-streams/search"
DEFAULT_TOKEN = "local-webhook-token"

# Enough for one page of a poll, and few enough for a table that fits on a screen.
TENANT_EVENTS = 12


@dataclass(frozen=True)
class Settings:
    """The settings that `make up VAR=…` can change.

    Other variables reach the functions unchanged, since services inherit the environment."""

    engine: str
    engine_port: int
    dynamodb_port: int
    moto_port: int
    tenant_port: int
    functions_port: int
    # Where the functions write; by default the stack's own engine.
    search_endpoint: str
    auth0_url: str
    webhook_token: str
    auth0_client_id: str
    auth0_client_secret: str
    # Content of the search secret; empty if the engine needs no credentials.
    search_secret: dict[str, str]
    geoip_city_file: str
    geoip_asn_file: str
    namespace: str

    @property
    def engine_url(self) -> str:
        return f"http://127.0.0.1:{self.engine_port}"

    @property
    def dynamodb_url(self) -> str:
        return f"http://127.0.0.1:{self.dynamodb_port}"

    @property
    def moto_url(self) -> str:
        return f"http://127.0.0.1:{self.moto_port}"

    @property
    def functions_url(self) -> str:
        return f"http://127.0.0.1:{self.functions_port}"

    @property
    def webhook_url(self) -> str:
        return f"{self.functions_url}/auth0/logs"

    @property
    def data_stream(self) -> str:
        return f"logs-auth0.logs-{self.namespace}"

    @property
    def alerts(self) -> str:
        return f"logs-auth0.alerts-{self.namespace}"

    @property
    def search_engine(self) -> Engine:
        """The engine that the functions write to, for the demo's own searches."""
        return Engine(self.search_endpoint, auth_header(self.search_secret))

    def save(self, folder: Path) -> None:
        """Saves what `make poll` and `make redrive` need to find this stack."""
        folder.mkdir(parents=True, exist_ok=True)
        ports = {"FUNCTIONS_PORT": str(self.functions_port), "MOTO_PORT": str(self.moto_port)}
        (folder / "ports.json").write_text(json.dumps(ports))

    @staticmethod
    def saved(folder: Path) -> dict[str, str]:
        try:
            return json.loads((folder / "ports.json").read_text())
        except FileNotFoundError:
            return {}

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Settings:
        def text(name: str, default: str = "") -> str:
            return env.get(name, "").strip() or default

        def port(name: str, default: int) -> int:
            value = text(name, str(default))
            if not value.isdigit() or not 0 < int(value) < 65536:
                raise StackError(f"{name} is {value!r}, but must be a port number")
            return int(value)

        engine = text("ENGINE", "opensearch")
        if engine not in ENGINES:
            raise StackError(f"ENGINE is {engine!r}, but must be opensearch or elasticsearch")
        engine_port = port("ENGINE_PORT", 9200)
        tenant_port = port("TENANT_PORT", 9300)
        return cls(
            engine=engine,
            engine_port=engine_port,
            dynamodb_port=port("DYNAMODB_PORT", 8000),
            moto_port=port("MOTO_PORT", 9400),
            tenant_port=tenant_port,
            functions_port=port("FUNCTIONS_PORT", 9000),
            search_endpoint=text("SEARCH_ENDPOINT", f"http://127.0.0.1:{engine_port}"),
            auth0_url=text("AUTH0_URL", f"http://127.0.0.1:{tenant_port}"),
            webhook_token=text("WEBHOOK_TOKEN", DEFAULT_TOKEN),
            auth0_client_id=text("AUTH0_CLIENT_ID", "local-client"),
            auth0_client_secret=text("AUTH0_CLIENT_SECRET", "local-client-secret"),
            search_secret=search_secret(env),
            geoip_city_file=text("GEOIP_CITY_FILE"),
            geoip_asn_file=text("GEOIP_ASN_FILE"),
            namespace=text("DATA_STREAM_NAMESPACE", "default"),
        )


# --- the services ----------------------------------------------------------------------------


def plain_environment() -> dict[str, str]:
    """Returns the environment without variables that would make a service leave this machine."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    # A proxy of the environment is for Auth0, not for the parts of the stack.
    direct = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"]))
    return kept | CREDENTIALS | {"NO_PROXY": direct, "no_proxy": direct}


def as_ordinary_user(home: Path, data: Path) -> list[str]:
    """Returns the prefix of an engine's command: engines refuse to run as root."""
    if os.geteuid() != 0:
        return []
    # In this namespace root appears as user 1000; nothing else changes.
    unshare = ["unshare", "-U", "--map-user=1000", "--map-group=1000"]
    if shutil.which("unshare") and _works([*unshare, "true"]):
        return unshare
    setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    if not shutil.which("setpriv") or not _works([*setpriv, "test", "-x", str(home)]):
        raise StackError(
            "the engine refuses to run as root, user namespaces are unavailable, and an "
            f"ordinary user cannot enter {home}: run make as an ordinary user"
        )
    for folder in (home, data):
        subprocess.run(["chown", "-R", "65534:65534", str(folder)], check=True)
    return setpriv


def _works(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


# Only the quick compiler: the engine starts with half the work, and its speed does not matter.
SMALL_JAVA = "-Xms256m -Xmx256m -XX:TieredStopAtLevel=1"


def engine_service(engine: str, port: int, folder: Path, java: str = SMALL_JAVA) -> Service:
    home = tools.engine_home(engine)
    data = folder / f"{engine}-data"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    options = {"path.data": data / "data", "path.logs": data / "logs"}
    if engine == "elasticsearch":
        options["xpack.security.enabled"] = "false"
    # Elasticsearch's minimal distribution serves nothing at `/`.
    url = f"http://127.0.0.1:{port}/_cluster/health"
    return engine_process(engine, home, data, port, java, options, lambda: responds(url, 200))


def engine_process(
    engine: str,
    home: Path,
    data: Path,
    port: int,
    java: str,
    options: Mapping[str, object],
    ready: Callable[[], bool],
    timeout_seconds: int = 240,
) -> Service:
    """Returns the service of an engine, with security or without."""
    (transport_port,) = free_ports(1)
    common = {
        "discovery.type": "single-node",
        "http.host": "127.0.0.1",
        "http.port": port,
        "transport.host": "127.0.0.1",
        "transport.port": transport_port,
        # On a full disk an engine would turn read-only, which confuses.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
    }
    prefix = "OPENSEARCH" if engine == "opensearch" else "ES"
    return Service(
        name=engine,
        argv=[
            *as_ordinary_user(home, data),
            str(home / "bin" / engine),
            *(f"-E{name}={value}" for name, value in {**common, **options}.items()),
        ],
        ready=ready,
        env=plain_environment()
        | {f"{prefix}_JAVA_HOME": str(tools.java_home()), f"{prefix}_JAVA_OPTS": java},
        timeout_seconds=timeout_seconds,
    )


def dynamodb_service(port: int) -> Service:
    lib = tools.dynamodb_lib()
    return Service(
        name="dynamodb",
        argv=[
            str(tools.java_home() / "bin/java"),
            "-Xmx128m",
            "-XX:+UseSerialGC",
            f"-Djava.library.path={lib}",
            "-cp",
            f"{lib}/*",
            "software.amazon.dynamodb.services.local.main.ServerRunner",
            *("-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)),
        ],
        ready=lambda: responds(f"http://127.0.0.1:{port}/", 400),
        env=plain_environment(),
        timeout_seconds=120,
    )


def moto_service(port: int) -> Service:
    return Service(
        name="moto",
        argv=[str(tools.local() / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        ready=lambda: responds(f"http://127.0.0.1:{port}/moto-api/", 200),
        env=plain_environment(),
        timeout_seconds=120,
    )


def tenant_service(port: int, client_id: str, client_secret: str, binaries: Path) -> Service:
    return Service(
        name="tenant",
        argv=[
            str(binaries / "tenant"),
            *("--port", str(port)),
            *("--client-id", client_id),
            *("--client-secret", client_secret),
            *("--events", str(TENANT_EVENTS)),
        ],
        ready=lambda: responds(f"http://127.0.0.1:{port}/api/v2/logs"),
        env=plain_environment(),
    )


def functions_service(settings: Settings, env: dict[str, str], *options: str) -> Service:
    """Returns `cargo lambda watch` with further options."""
    port = settings.functions_port
    path = f"{tools.cargo_lambda()}{os.pathsep}{os.environ['PATH']}"
    address = ("-A", "127.0.0.1", "-P", str(port))
    return Service(
        name="functions",
        argv=["cargo", "lambda", "watch", *address, "--color", "never", *options],
        ready=lambda: responds(f"{settings.functions_url}/"),
        env=env | {"PATH": path},
        timeout_seconds=60,
    )


def redrive_service(settings: Settings) -> Service:
    return Service(
        name="queue-trigger",
        argv=[
            *(sys.executable, str(LOCAL / "queues.py")),
            *(settings.moto_url, settings.functions_url),
        ],
        ready=lambda: True,
        env=plain_environment(),
    )


# --- building and preparing ------------------------------------------------------------------


def target_folder() -> Path:
    """Returns the folder of cargo's binaries, which CARGO_TARGET_DIR or a config file may move."""
    return Path(tools.workspace()["target_directory"]) / "debug"


def build(what: str, *arguments: str) -> None:
    """Runs `cargo build` with its own progress output."""
    say(f"building {what}")
    command = ["cargo", "build", *arguments]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise StackError(f"building {what} failed")


def start_and_build(group: Group, parts: list[Service]) -> None:
    """Starts the services, and builds functions and tests in the meantime.

    All tests build the same selection, since another would compile dependencies again."""
    group.start(*parts)
    build("functions and tests", "--workspace", "--bins", "--tests", "--examples", "--locked")
    group.wait(*parts)


# Further arguments are those of cargo and of the test harness.
E2E = ("cargo", "test", "--workspace", "--test", "e2e", "--locked")


def run_e2e(env: dict[str, str], *arguments: str) -> None:
    env = plain_environment() | {"E2E_BIN_DIR": str(target_folder())} | env
    if subprocess.run([*E2E, *arguments], cwd=ROOT, env=env, check=False).returncode != 0:
        raise StackError("the end-to-end tests failed")


def create_queues(moto_url: str) -> dict[str, str]:
    """Creates each queue and its dead-letter queue as in `template.yaml`; returns their URLs."""
    sqs = client("sqs", moto_url)
    urls = {}
    for source in SOURCES:
        dead = sqs.create_queue(QueueName=source.dead_letters)["QueueUrl"]
        about = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
        arn = about["Attributes"]["QueueArn"]
        policy = {"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
        attributes = {
            "VisibilityTimeout": str(source.visibility_timeout),
            "RedrivePolicy": json.dumps(policy),
        }
        created = sqs.create_queue(QueueName=source.queue, Attributes=attributes)
        urls |= {source.dead_letters: dead, source.queue: created["QueueUrl"]}
    return urls


def create_secrets(settings: Settings) -> None:
    auth0 = {"client_id": settings.auth0_client_id, "client_secret": settings.auth0_client_secret}
    secrets = {WEBHOOK_SECRET: {"token": settings.webhook_token}, AUTH0_SECRET: auth0}
    if settings.search_secret:
        secrets[SEARCH_SECRET] = settings.search_secret
    manager = client("secretsmanager", settings.moto_url)
    for name, content in secrets.items():
        manager.create_secret(Name=name, SecretString=json.dumps(content))


def create_table(dynamodb_url: str) -> None:
    client("dynamodb", dynamodb_url).create_table(
        TableName=CHECKPOINT_TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def geoip_files(settings: Settings) -> dict[str, str]:
    """Returns the user's files, or the GeoLite2 files in OpenSearch's distribution."""
    shipped = tools.engine_home("opensearch") / "modules/ingest-geoip"
    return {
        "GEOIP_CITY_FILE": settings.geoip_city_file or str(shipped / "GeoLite2-City.mmdb"),
        "GEOIP_ASN_FILE": settings.geoip_asn_file or str(shipped / "GeoLite2-ASN.mmdb"),
    }


def functions_environment(settings: Settings, queues: dict[str, str]) -> dict[str, str]:
    """Returns the environment that `template.yaml` gives the functions in AWS."""
    env = plain_environment() | geoip_files(settings)
    env |= {
        "SEARCH_ENDPOINT": settings.search_endpoint,
        "WEBHOOK_SECRET_ID": WEBHOOK_SECRET,
        "AUTH0_URL": settings.auth0_url,
        "AUTH0_SECRET_ID": AUTH0_SECRET,
        "CHECKPOINT_TABLE": CHECKPOINT_TABLE,
        "RETRY_QUEUE_URL": queues["retry"],
        "DEAD_LETTER_QUEUE_URL": queues["dead-letter"],
        "ALERT_TOPIC_ARN": client("sns", settings.moto_url).create_topic(Name="alerts")["TopicArn"],
        "AWS_ENDPOINT_URL_SNS": settings.moto_url,
        "AWS_ENDPOINT_URL_SQS": settings.moto_url,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": settings.moto_url,
        "AWS_ENDPOINT_URL_DYNAMODB": settings.dynamodb_url,
    }
    # As in AWS, functions find secrets in Secrets Manager only.
    for name in ("WEBHOOK_TOKEN", "AUTH0_CLIENT_ID", "AUTH0_CLIENT_SECRET"):
        env.pop(name, None)
    for name in ("SEARCH_USERNAME", "SEARCH_PASSWORD", "SEARCH_API_KEY"):
        env.pop(name, None)
    if settings.search_secret:
        env["SEARCH_SECRET_ID"] = SEARCH_SECRET
    return env


def write_environment(file: Path, env: Mapping[str, str]) -> None:
    """Writes what differs from the environment of this process, for `--env-file`."""
    own = {name: value for name, value in env.items() if os.environ.get(name) != value}
    file.write_text("".join(f"{name}={value}\n" for name, value in sorted(own.items())))


def install_template(settings: Settings, binaries: Path) -> None:
    """Installs the index template into the stack's own engine, even if another is written to."""
    env = plain_environment() | {"SEARCH_ENDPOINT": settings.engine_url}
    for name in ("SEARCH_SECRET_ID", "SEARCH_SIGV4_SERVICE", "SEARCH_CA_CERTIFICATE"):
        env.pop(name, None)
    argv = [str(binaries / "setup"), "install"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise StackError(f"the index template was not installed:\n{done.stdout}{done.stderr}")


def warm_up_engine(settings: Settings) -> None:
    """Creates the data stream, which can take a small engine longer than the webhook's timeout.

    Writes a document and deletes it: Elasticsearch's minimal distribution has no API for that."""
    json_lines = {"Content-Type": "application/x-ndjson"}
    body = b'{"create":{}}\n{"@timestamp":"2020-01-01T00:00:00Z"}\n'
    url = f"{settings.engine_url}/{settings.data_stream}/_bulk"
    status, response = http("POST", url, body, json_lines, timeout=60)
    try:
        created = json.loads(response)["items"][0]["create"]
        document = f"{settings.engine_url}/{created['_index']}/_doc/{created['_id']}"
    except (ValueError, LookupError) as error:
        raise StackError(f"the data stream was not created: {status} {response!r}") from error
    http("DELETE", document)


def warm_up(settings: Settings, group: Group) -> None:
    """Calls each function once to start its process; not the poller, which would poll."""
    functions = f"{settings.functions_url}/2015-03-31/functions"
    calls: list[tuple[str, str, str, bytes | None]] = [
        ("webhook", "GET", settings.webhook_url, None),
    ]
    for source in SOURCES:
        url = f"{functions}/{source.function}/invocations"
        calls.append((source.function, "POST", url, b'{"Records":[]}'))
    for name, method, url, body in calls:
        try:
            status, response = http(method, url, body, timeout=90)
        except OSError as error:
            reason = f"{name} does not respond: {error}"
            raise StackError(f"{reason}\n{group.tail('functions')}") from error
        if status >= 500:
            raise StackError(f"{name} fails: {status} {response!r}\n{group.tail('functions')}")


# --- commands --------------------------------------------------------------------------------


def start_services(settings: Settings, group: Group) -> dict[str, str]:
    """Starts everything but the functions; returns the environment that they need."""
    # Left over from `make up` or a killed `make run`.
    if group.stop():
        say("stopped the running stack")
    check_ports(
        [
            (settings.engine, settings.engine_port, "ENGINE_PORT"),
            ("DynamoDB Local", settings.dynamodb_port, "DYNAMODB_PORT"),
            ("SQS and Secrets Manager", settings.moto_port, "MOTO_PORT"),
            ("the stand-in Auth0 tenant", settings.tenant_port, "TENANT_PORT"),
            ("the functions", settings.functions_port, "FUNCTIONS_PORT"),
        ]
    )
    # OpenSearch's distribution also has the GeoLite2 files.
    tools.set_up(sorted({"opensearch", settings.engine}))
    settings.save(group.folder)

    binaries = target_folder()
    say(f"starting {settings.engine}, DynamoDB Local, SQS and Secrets Manager")
    parts = [
        engine_service(settings.engine, settings.engine_port, group.folder),
        dynamodb_service(settings.dynamodb_port),
        moto_service(settings.moto_port),
    ]
    group.start(*parts)
    # Compiling takes longest; the engine starts in the meantime.
    build("the functions", "--bins")
    build("the stand-in Auth0 tenant", "--workspace", "--bin", "tenant")
    application = (settings.auth0_client_id, settings.auth0_client_secret)
    parts.append(tenant_service(settings.tenant_port, *application, binaries))
    group.start(parts[-1])
    group.wait(*parts)

    say("creating queues, secrets, table and index template")
    queues = create_queues(settings.moto_url)
    create_secrets(settings)
    create_table(settings.dynamodb_url)
    # The `ResponseURL` of events/setup.json is in it.
    client("s3", settings.moto_url).create_bucket(Bucket="cloudformation")
    install_template(settings, binaries)
    warm_up_engine(settings)
    return functions_environment(settings, queues)


def bring_up(settings: Settings, group: Group) -> None:
    """Starts everything; returns once the webhook accepts events."""
    started = time.monotonic()
    env = start_services(settings, group)
    say("starting the functions")
    functions = functions_service(settings, env)
    group.start(functions)
    group.wait(functions)
    warm_up(settings, group)
    group.start(redrive_service(settings))
    say(f"up after {time.monotonic() - started:.0f} s")


def describe(settings: Settings) -> str:
    """Returns addresses and commands to try. Secrets set by the user are not shown."""
    search = f"{settings.search_endpoint}/{settings.data_stream}/_search?pretty"
    webhook = settings.webhook_url
    token = settings.webhook_token
    token = token if token == DEFAULT_TOKEN else "<WEBHOOK_TOKEN>"
    return f"""
webhook    {webhook}
documents  {search}
tenant     {settings.auth0_url}
DynamoDB   {settings.dynamodb_url}
SQS        {settings.moto_url}

post  curl -H 'Authorization: {token}' --data-binary @events/auth0/batch.jsonl {webhook}
find  curl '{search}'
poll  make poll    detect  make detect    redrive  make redrive    logs  make logs
"""


def up(settings: Settings, group: Group) -> None:
    tools.check_prerequisites()
    with tools.exclusive("stack", wait=False), stopped_on_failure(group):
        bring_up(settings, group)
    say(f"{describe(settings)}\n`make down` stops it.")


def services(settings: Settings, group: Group) -> None:
    """Starts everything but the functions, and writes their environment into a file."""
    tools.check_prerequisites()
    with tools.exclusive("stack", wait=False), stopped_on_failure(group):
        write_environment(LOCAL_ENV, start_services(settings, group))
        group.start(redrive_service(settings))
    port = "" if settings.functions_port == 9000 else f" -P {settings.functions_port}"
    file = LOCAL_ENV.relative_to(ROOT)
    say(f"now: cargo lambda watch{port} --env-file {file}\n`make down` stops the services.")


def down(_: Settings, group: Group) -> None:
    INTERRUPTS.ignore()
    stopped = group.stop()
    say(f"stopped {', '.join(stopped)}" if stopped else "nothing was up")


def run(settings: Settings, group: Group) -> None:
    """Runs the demo: stack, sample batches, one poll, a table; then waits for Ctrl-C."""
    tools.check_prerequisites()
    with tools.exclusive("stack", wait=False), stopped_on_failure(group):
        bring_up(settings, group)
        demo.show(settings)
        demo.attack(settings)
        demo.detect(settings)
        demo.draw(settings)
        say(f"{describe(settings)}\nCtrl-C stops everything.")
        while names := group.names():
            ended = [name for name in names if not group.alive(name)]
            if ended and not group.is_being_stopped():
                raise StackError(f"{ended[0]} exited:\n{group.tail(ended[0])}")
            time.sleep(1)
        say("stopped by `make down`")


def poll(settings: Settings, group: Group) -> None:
    demo.poll(settings)


def detect(settings: Settings, group: Group) -> None:
    demo.detect(settings)


def redrive(settings: Settings, group: Group) -> None:
    redrive_all(settings.moto_url, settings.functions_url)


def logs(_: Settings, group: Group) -> None:
    for name in ("functions", "queue-trigger"):
        if group.log(name).exists():
            say(f"==> {name} (follow with: tail -f {group.log(name).relative_to(ROOT)})")
            say(group.log(name).read_text(errors="replace"))


def set_up(settings: Settings, group: Group) -> None:
    tools.check_prerequisites()
    tools.set_up(list(ENGINES))


def e2e(_: Settings, group: Group) -> None:
    """Runs the end-to-end tests against their own services, on free ports."""
    tools.check_prerequisites()
    tools.set_up(list(ENGINES))
    with group_for("e2e") as group:
        ports = free_ports(4)
        parts = [
            engine_service("opensearch", ports[0], group.folder),
            engine_service("elasticsearch", ports[1], group.folder),
            dynamodb_service(ports[2]),
            moto_service(ports[3]),
        ]
        start_and_build(group, parts)
        names = ("OPENSEARCH", "ELASTICSEARCH", "DYNAMODB", "MOTO")
        env = {f"E2E_{n}_URL": f"http://127.0.0.1:{p}" for n, p in zip(names, ports, strict=True)}
        # These tests mostly wait for timeouts and engines.
        env["RUST_TEST_THREADS"] = "4"
        run_e2e(env, *shlex.split(os.environ.get("ARGS", "")))


COMMANDS: dict[str, Callable[[Settings, Group], None]] = {
    "up": up,
    "services": services,
    "down": down,
    "run": run,
    "poll": poll,
    "detect": detect,
    "redrive": redrive,
    "logs": logs,
    "setup": set_up,
    "e2e": e2e,
}


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        say(f"usage: stack.py {'|'.join(COMMANDS)}")
        return 2
    name = sys.argv[1]
    group = Group(RUN / "dev")

    def command() -> None:
        env = dict(os.environ)
        if name in ("poll", "detect", "redrive"):
            # The ports of the running stack.
            env = Settings.saved(group.folder) | env
        try:
            COMMANDS[name](Settings.read(env), group)
        except EndpointConnectionError as error:
            raise StackError(f"{error}\n`make up` starts the stack") from None

    # Ctrl-C is the normal end of `make run` only.
    return exit_code(command, interrupted=0 if name == "run" else 130)


if __name__ == "__main__":
    sys.exit(main())
