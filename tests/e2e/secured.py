"""`make e2e-secured`: runs the end-to-end tests of the documented roles on engines with security.

Both engines use TLS: OpenSearch with its security plugin, and Elasticsearch. OpenSearch is a
version whose security plugin is on Maven Central.
"""

from __future__ import annotations

import base64
import os
import secrets
import shlex
import shutil
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import tools
from interrupts import exit_code
from services import Service, free_ports, group_for
from stack import engine_process, moto_service, plain_environment, run_e2e, start_and_build
from tools import StackError

OPENSEARCH = "3.4.0"
# New for each run; the engines listen on this machine only. It satisfies the rules of both.
PASSWORD = f"Aa1-{secrets.token_hex(12)}"


def opensearch_home() -> Path:
    """Returns the distribution with the security plugin, not configured yet."""

    def fill(folder: Path) -> None:
        home = tools.unpack_engine("opensearch", OPENSEARCH, folder)
        artifact = f"org.opensearch.plugin:opensearch-security:{OPENSEARCH}.0"
        plugin = tools.copy_artifact(artifact, folder)
        # The plugin needs a module that the minimal distribution of this version lacks.
        module = home / "modules/rule-framework"
        newer = tools.engine_home("opensearch") / "modules/rule-framework"
        shutil.copytree(newer, module)
        descriptor = module / "plugin-descriptor.properties"
        text = descriptor.read_text().replace(tools.OPENSEARCH, OPENSEARCH)
        descriptor.write_text(text)
        install = [str(home / "bin/opensearch-plugin"), "install", "--batch"]
        env = plain_environment() | {"OPENSEARCH_JAVA_HOME": str(tools.java_home())}
        tools.run_step("opensearch: security", [*install, f"file://{plugin}"], env=env)
        plugin.unlink()

    what = f"opensearch {OPENSEARCH} with its security plugin (200 MB)"
    folder = tools.install(f"opensearch-secured-{OPENSEARCH}", what, fill)
    return folder / f"opensearch-{OPENSEARCH}"


def fresh_copy(home: Path, folder: Path) -> Path:
    """Returns a copy of the engine to configure and run once."""
    copy = folder / home.name
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home, copy, symlinks=True)
    return copy


def make_certificates(folder: Path) -> Path:
    """Creates a root certificate and a server certificate signed by it; returns the former."""
    folder.mkdir(parents=True)

    def openssl(*arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise StackError(f"openssl {arguments[0]} failed:\n{done.stderr}")

    key = ("-newkey", "rsa:2048", "-nodes")
    root = ("-subj", "/CN=tests", "-addext", "basicConstraints=critical,CA:TRUE")
    openssl("req", "-x509", *key, "-days", "7", *root, "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *key, "-subj", "/CN=localhost", "-keyout", "node.key", "-out", "node.csr")
    extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n"
    (folder / "extensions").write_text(extensions)
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions")
    openssl("x509", "-req", "-in", "node.csr", *signing, "-days", "7", "-out", "node.pem")
    return folder / "ca.pem"


def is_ready(url: str, root_certificate: Path) -> bool:
    """Returns whether the engine accepts its superuser."""
    context = ssl.create_default_context(cafile=str(root_certificate))
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    token = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(f"{url}/_cluster/health")
    request.add_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=5) as response:
            return response.status == 200
    except (OSError, ValueError):
        return False


def engine_service(name: str, home: Path, port: int, root_certificate: Path) -> Service:
    def ready() -> bool:
        return is_ready(f"https://127.0.0.1:{port}", root_certificate)

    java = "-Xms384m -Xmx384m"
    return engine_process(name, home, home, port, java, {}, ready, timeout_seconds=400)


def secured_opensearch(folder: Path, port: int) -> tuple[Service, Path]:
    home = fresh_copy(opensearch_home(), folder)
    demo = home / "plugins/opensearch-security/tools/install_demo_configuration.sh"
    env = plain_environment() | {
        "OPENSEARCH_JAVA_HOME": str(tools.java_home()),
        "OPENSEARCH_INITIAL_ADMIN_PASSWORD": PASSWORD,
    }
    tools.run_step("opensearch: certificates and users", ["bash", str(demo), "-y"], env=env)
    config = home / "config/opensearch.yml"
    kept = [line for line in config.read_text().splitlines() if "network.host" not in line]
    kept.append("plugins.security.allow_default_init_securityindex: true")
    config.write_text("\n".join(kept) + "\n")
    # The demo gives every user a role whose privileges would hide a missing one.
    mapping = home / "config/opensearch-security/roles_mapping.yml"
    sections = mapping.read_text().split("\n\n")
    mapping.write_text("\n\n".join(s for s in sections if not s.startswith("own_index:")))
    root_certificate = home / "config/root-ca.pem"
    return engine_service("opensearch", home, port, root_certificate), root_certificate


def secured_elasticsearch(folder: Path, port: int) -> tuple[Service, Path, Path]:
    home = fresh_copy(tools.engine_home("elasticsearch"), folder)
    root_certificate = make_certificates(home / "config/certs")
    with open(home / "config/elasticsearch.yml", "a") as config:
        config.write("xpack.security.enabled: true\n")
        config.write("xpack.security.authc.realms.file.file1.order: 0\n")
        # Users and roles are files; the tests write them and wait until they are reloaded.
        config.write("resource.reload.interval.high: 1s\n")
        for layer in ("http", "transport"):
            ssl_settings = f"xpack.security.{layer}.ssl"
            config.write(f"{ssl_settings}.enabled: true\n")
            config.write(f"{ssl_settings}.key: certs/node.key\n")
            config.write(f"{ssl_settings}.certificate: certs/node.pem\n")
            config.write(f"{ssl_settings}.certificate_authorities: certs/ca.pem\n")
    users = [str(home / "bin/elasticsearch-users"), "useradd", "admin", "-p", PASSWORD]
    env = plain_environment() | {"ES_JAVA_HOME": str(tools.java_home())}
    tools.run_step("elasticsearch: superuser", [*users, "-r", "superuser"], env=env)
    service = engine_service("elasticsearch", home, port, root_certificate)
    return service, root_certificate, home / "config"


def run() -> None:
    tools.check_prerequisites()
    tools.from_debian(("openssl",), "openssl")
    with group_for("secured") as group:
        group.folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(3)
        opensearch, opensearch_ca = secured_opensearch(group.folder, ports[0])
        elasticsearch, elasticsearch_ca, config = secured_elasticsearch(group.folder, ports[1])
        start_and_build(group, [opensearch, elasticsearch, moto_service(ports[2])])
        moto = f"http://127.0.0.1:{ports[2]}"
        env = {
            "E2E_SECURED_OPENSEARCH_URL": f"https://127.0.0.1:{ports[0]}",
            "E2E_SECURED_OPENSEARCH_CA": str(opensearch_ca),
            "E2E_SECURED_OPENSEARCH_PASSWORD": PASSWORD,
            "E2E_SECURED_ELASTICSEARCH_URL": f"https://127.0.0.1:{ports[1]}",
            "E2E_SECURED_ELASTICSEARCH_CA": str(elasticsearch_ca),
            "E2E_SECURED_ELASTICSEARCH_PASSWORD": PASSWORD,
            "E2E_SECURED_ELASTICSEARCH_CONFIG": str(config),
            # moto has tables, too. What DynamoDB does is not tested here.
            **dict.fromkeys(("E2E_MOTO_URL", "E2E_DYNAMODB_URL"), moto),
        }
        run_e2e(env, *shlex.split(os.environ.get("ARGS", "secured::")), "--", "--ignored")
    for part in ("opensearch", "elasticsearch"):
        for home in group.folder.glob(f"{part}-*/"):
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(exit_code(run))
