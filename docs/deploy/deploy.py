"""Builds, checks and deploys: the targets of the Makefile from `make build` to `make sbom`."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import tools
from tools import ROOT, StackError, say

FUNCTIONS = ("webhook", "ingest", "poller", "redrive", "detect", "setup")
TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
ZIPS = ROOT / "target/lambda"
PACKAGED = ROOT / "target/package"
SAMCONFIG = ROOT / "samconfig.toml"

# Lambda accepts zips of up to 50 MB directly; larger ones have to go through S3.
DIRECT_UPLOAD = 50 * 1024 * 1024


def environment(*folders: Path) -> dict[str, str]:
    """Returns our environment with the tools' folders first on PATH."""
    path = os.pathsep.join([*map(str, folders), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "SAM_CLI_TELEMETRY": "0"}
    # `sam build` expects the program in the default target folder.
    env.pop("CARGO_TARGET_DIR", None)
    return env


def run(command: list[str], env: dict[str, str]) -> None:
    if subprocess.run(command, cwd=ROOT, env=env, check=False).returncode != 0:
        raise StackError(f"{' '.join(command)} failed")


def architecture(wanted: str) -> str:
    """Returns `wanted`, the architecture deployed last, or arm64. Its target must be installed."""
    tools.check_prerequisites()
    last = SAMCONFIG.read_text() if SAMCONFIG.exists() else ""
    if not wanted and (found := re.search(r'Architecture *= *\\?"?(\w+)', last)):
        wanted = found.group(1)
    wanted = wanted or "arm64"
    if wanted not in TARGETS:
        raise StackError(f"ARCH is {wanted!r}, but must be {' or '.join(TARGETS)}")
    target = TARGETS[wanted]
    sysroot = subprocess.run(
        ["rustc", "--print", "sysroot"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    if not (Path(sysroot) / "lib/rustlib" / target / "lib").is_dir():
        raise StackError(f"Rust's library for {wanted} is missing: rustup target add {target}")
    return wanted


def build(arguments: argparse.Namespace) -> None:
    """Builds zips for Lambda without Docker: cargo-lambda comes with zig as its linker."""
    build_zips(architecture(arguments.arch), ZIPS)


# Folders of the build machine, and the names that programs have for them.
FOLDERS = {
    ROOT: "/auth0-log-streams",
    Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")): "/cargo",
}


def without_paths() -> dict[str, str]:
    """Returns compiler flags that keep the folders of this machine out of the programs."""
    rust = [f"--remap-path-prefix={folder}={name}" for folder, name in FOLDERS.items()]
    c = [f"-ffile-prefix-map={folder}={name}" for folder, name in FOLDERS.items()]
    # Not RUSTFLAGS, which would replace the instruction set that cargo-lambda configures.
    return {"CARGO_BUILD_RUSTFLAGS": " ".join(rust), "CFLAGS": " ".join(c)}


def build_zips(arch: str, folder: Path, *options: str) -> None:
    command = ["cargo", "lambda", "build", "--locked", "--output-format", "zip"]
    command += ["--target", TARGETS[arch], "--lambda-dir", str(folder), *(options or ["--release"])]
    for name in FUNCTIONS:
        command += ["--bin", name]
    run(command, environment(tools.zig(), tools.cargo_lambda()) | without_paths())
    for name in FUNCTIONS:
        archive = folder / name / "bootstrap.zip"
        with zipfile.ZipFile(archive) as opened:
            unpacked = opened.getinfo("bootstrap").file_size
        sizes = f"{size(archive.stat().st_size)}, unpacked {size(unpacked)}"
        say(f"{archive.relative_to(ROOT)}  {arch}  {sizes}")


def size(count: int) -> str:
    return f"{count / 1024 / 1024:.1f} MiB"


def deploy(arguments: argparse.Namespace) -> None:
    """Deploys; asks for the parameters the first time and saves them in samconfig.toml."""
    python = str(tools.sam() / "python")
    os.execv(python, [python, "docs/deploy/guided.py", "--arch", arguments.arch])


def package(arguments: argparse.Namespace) -> None:
    """Builds the functions for both architectures, and writes dist/."""
    for arch in TARGETS:
        build_zips(architecture(arch), PACKAGED / arch)
    options = ["--version", arguments.version, "--bucket", arguments.bucket]
    run([str(tools.sam() / "python"), "docs/deploy/package.py", *options], dict(os.environ))


def geoip_layer(arguments: argparse.Namespace) -> None:
    """Packs the files under the names that template.yaml passes to the functions."""
    files = {}
    for variable, name, kind in (("CITY", "city", "City"), ("ASN", "asn", "ASN")):
        given = getattr(arguments, name)
        if not given:
            raise StackError(
                f"{variable}=<path> is missing: a file in MaxMind format with {kind} data"
            )
        try:
            # The metadata is at the end of the file.
            about = Path(given).read_bytes()[-128 * 1024 :].rpartition(b"\xab\xcd\xefMaxMind.com")
        except OSError as error:
            raise StackError(f"{variable}: {error}") from None
        if not about[1]:
            raise StackError(f"{variable}: {given} is not a file in MaxMind format")
        kinds = re.search(rb"database_type.([\x20-\x7e]+)", about[2], re.DOTALL)
        if not kinds or kind.encode() not in kinds.group(1):
            raise StackError(f"{variable}: {given} has no {kind} data")
        files[f"geoip/{name}.mmdb"] = given
    archive = ZIPS / "geoip-layer.zip"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as layer:
        for name, given in files.items():
            layer.write(given, name)
    length = archive.stat().st_size
    say(f"{archive.relative_to(ROOT)}  {size(length)}")
    publish = "aws lambda publish-layer-version --layer-name auth0-log-streams-geoip"
    if length < DIRECT_UPLOAD:
        say(f"next: {publish} --zip-file fileb://{archive.relative_to(ROOT)}")
    else:
        say(f"next, since it is over 50 MB: aws s3 cp {archive.relative_to(ROOT)} s3://<bucket>/")
        say(f"      {publish} --content S3Bucket=<bucket>,S3Key={archive.name}")
    say("then: deploy with GeoIpLayerArn=<the LayerVersionArn that this prints>")


def backfill(arguments: argparse.Namespace) -> None:
    """Invokes the poller until the window is read; an invocation has only so much time."""
    if not arguments.start or not arguments.end:
        raise StackError("FROM=<time> and TO=<time> are missing, such as FROM=2026-01-31T00:00:00Z")
    if arguments.stack:
        # boto3 is in the environment of `sam`.
        python = tools.sam() / "python"
        if Path(sys.prefix) != python.parents[1]:
            os.execv(python, [str(python), *sys.argv])
        invoke = deployed(f"{arguments.stack}-poller")
    else:
        invoke = local(f"http://127.0.0.1:{arguments.port}/2015-03-31/functions/poller/invocations")
    start, total = arguments.start, 0
    while True:
        result = invoke({"backfill": {"from": start, "to": arguments.end}})
        progress = result["backfill"]
        total += result["received"]
        say(
            f"{result['pages']} pages, {result['received']} events: {result['stored']} stored,"
            f" {result['duplicates']} duplicates, {result['rejected']} as error documents,"
            f" {result['dead_lettered']} dead letters"
        )
        if progress["done"]:
            say(f"done: {total} events read")
            return
        if progress["next_from"] == start:
            # Auth0's rate limit refills every second or minute.
            say(f"  {result['stopped']}: waiting for 30 s")
            time.sleep(30)
        start = progress["next_from"]


def local(url: str) -> Callable[[dict], dict]:
    def invoke(payload: dict) -> dict:
        request = urllib.request.Request(url, json.dumps(payload).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise StackError(f"the poller failed: {text}") from None
        except OSError as error:
            hint = "`make up` starts it, STACK_NAME=<name> selects a deployed one"
            raise StackError(f"no poller at {url}: {error}; {hint}") from None

    return invoke


def deployed(function: str) -> Callable[[dict], dict]:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    # No automatic retry: an invocation may take five minutes.
    config = Config(read_timeout=900, retries={"total_max_attempts": 1})
    client = boto3.client("lambda", config=config)

    def invoke(payload: dict) -> dict:
        while True:
            try:
                response = client.invoke(FunctionName=function, Payload=json.dumps(payload))
            except client.exceptions.TooManyRequestsException:
                say("  Lambda throttles the poller: waiting for 10 s")
                time.sleep(10)
                continue
            except (BotoCoreError, ClientError) as error:
                raise StackError(f"{function} cannot be invoked: {error}") from None
            body = json.load(response["Payload"])
            if "FunctionError" in response:
                raise StackError(f"the poller failed: {json.dumps(body)}")
            return body

    return invoke


def docs(_: argparse.Namespace) -> None:
    """Builds the site. Links to files outside of docs/ lead to the repository, if CI names it."""
    with tools.exclusive("setup", wait=True):
        mdbook = tools.mdbook()
    run([str(mdbook), "build", "docs"], dict(os.environ))
    site = ROOT / "target/book"
    repository = "{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/blob/{GITHUB_SHA}/"
    for page in site.rglob("*.html"):
        up = "../" * len(page.relative_to(site).parts)
        root = repository.format_map(os.environ) if "GITHUB_SHA" in os.environ else f"../{up}"
        text = re.sub(r'README\.html(["#])', r"index.html\1", page.read_text())
        # mdBook takes every Markdown file for one of its pages.
        text = re.sub(rf'href="{up}([A-Z]+)\.html', rf'href="{up}\1.md', text)
        page.write_text(text.replace(f'href="{up}', f'href="{root}'))
    run([sys.executable, "tests/local/links.py", str(site)], dict(os.environ))
    say(f"{site.relative_to(ROOT)}/index.html")


def audit(_: argparse.Namespace) -> None:
    """Checks licenses, bans, sources and the template, then advisories, which need the network."""
    deny = str(tools.cargo_deny())
    run([deny, "--locked", "check", "licenses", "bans", "sources"], dict(os.environ))
    answered = sorted(set(re.findall(r"CKV_AWS_\d+", (ROOT / "SECURITY.md").read_text())))
    checkov = [tools.program("checkov"), "--file", "template.yaml", "--framework", "cloudformation"]
    checkov += ["--compact", "--quiet", "--skip-download", "--skip-check", ",".join(answered)]
    run(checkov, dict(os.environ))
    run([deny, "--locked", "check", "advisories"], dict(os.environ))


def sbom(_: argparse.Namespace) -> None:
    """Lists every crate linked into a function, with checksum and license (CycloneDX 1.5)."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    command += ["--filter-platform", TARGETS["x86_64"]]
    metadata = json.loads(
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    locked = re.findall(
        r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"',
        (ROOT / "Cargo.lock").read_text(),
    )
    checksums = {(name, version): checksum for name, version, checksum in locked}

    def linked(node: dict) -> list[str]:
        """Leaves out the dependencies of build scripts and tests."""
        return [
            dep["pkg"]
            for dep in node["deps"]
            if any(kind["kind"] is None for kind in dep["dep_kinds"])
        ]

    roots = [
        i
        for i, package in packages.items()
        if package["name"] in FUNCTIONS and package["source"] is None
    ]
    seen, queue = set(roots), list(roots)
    while queue:
        for dependency in linked(nodes[queue.pop()]):
            if dependency not in seen:
                seen.add(dependency)
                queue.append(dependency)

    def reference(package_id: str) -> str:
        package = packages[package_id]
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package_id: str) -> dict:
        package = packages[package_id]
        name, version = package["name"], package["version"]
        entry = {
            "type": "application" if package_id in roots else "library",
            "bom-ref": reference(package_id),
            "name": name,
            "version": version,
            "purl": reference(package_id),
        }
        if package["license"]:
            # Cargo also accepts the old form `MIT/Apache-2.0`.
            expression = " ".join(package["license"].replace("/", " OR ").split())
            entry["licenses"] = [{"expression": expression}]
        if checksum := checksums.get((name, version)):
            entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return entry

    in_order = sorted(seen, key=reference)
    version = packages[roots[0]]["version"]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "auth0-log-streams",
                "name": "auth0-log-streams",
                "version": version,
            }
        },
        "components": [component(i) for i in in_order],
        "dependencies": [
            {"ref": "auth0-log-streams", "dependsOn": sorted(map(reference, roots))},
            *(
                {"ref": reference(i), "dependsOn": sorted({reference(d) for d in linked(nodes[i])})}
                for i in in_order
            ),
        ],
    }
    path = ROOT / "target/sbom.cdx.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    say(f"{path.relative_to(ROOT)}: {len(in_order)} components")


def main() -> None:
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(
        name: str, function: Callable[[argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=function.__doc__)
        added.set_defaults(function=function)
        return added

    for name, function in (("build", build), ("deploy", deploy)):
        added = command(name, function)
        added.add_argument("--arch", default=env("ARCH", ""), help="x86_64 or arm64")
    packed = command("package", package)
    packed.add_argument("--version", default=env("VERSION", ""))
    packed.add_argument("--bucket", default=env("BUCKET", ""))
    layer = command("geoip-layer", geoip_layer)
    layer.add_argument("--city", default=env("CITY", ""))
    layer.add_argument("--asn", default=env("ASN", ""))
    past = command("backfill", backfill)
    past.add_argument("--from", dest="start", default=env("FROM", ""))
    past.add_argument("--to", dest="end", default=env("TO", ""))
    past.add_argument("--stack", default=env("STACK_NAME", ""), help="default: the local stack")
    past.add_argument("--port", default=env("FUNCTIONS_PORT", "9000"), help="of the local stack")
    command("docs", docs)
    command("audit", audit)
    command("sbom", sbom)
    arguments = parser.parse_args()
    try:
        arguments.function(arguments)
    except StackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
