"""`make package`: writes dist/, with all that an installation needs, the same for each run.

It runs in the environment of `sam`, whose YAML reader knows CloudFormation's tags.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from samcli.yamlhelper import yaml_dump, yaml_parse

import deploy
import tools
from deploy import FUNCTIONS, TARGETS
from tools import ROOT, StackError, say

NAME = "auth0-log-streams"
DIST = ROOT / "dist"
# The first time that a zip can hold.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
COMPRESSION = 9
# Compiled into the functions as data, although it is a dependency of a build script.
RULES_OF_USER_AGENTS = "ua-parser"
LICENSE_FILES = ("LICEN", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE")


def version() -> str:
    return re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]


def notes() -> str:
    """Returns the changelog's section of this version."""
    heading = rf"^## {re.escape(version())}\b.*\n(.*?)(?=^## |\Z)"
    found = re.search(heading, (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE | re.DOTALL)
    if not found:
        raise StackError(f"CHANGELOG.md has no section for {version()}")
    return found[1].strip() + "\n"


# --- the template and what deploy.sh knows about it ----------------------------------------------


def packaged(source: dict, code_prefix: str, bucket: str = "") -> dict:
    """Returns the template with the functions' code in a bucket, for plain CloudFormation."""
    parameters = {
        "CodeBucket": {
            "Type": "String",
            "Description": "Bucket with the functions' zips, in the region of the stack.",
            **({"Default": bucket} if bucket else {}),
        },
        "CodePrefix": {
            "Type": "String",
            "Description": "What the names of the zips in the bucket start with.",
            "Default": code_prefix,
        },
    }
    template = source | {"Parameters": source["Parameters"] | parameters}
    template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"].append(
        {"Label": {"default": "Code"}, "Parameters": list(parameters)}
    )
    template["Globals"]["Function"].pop("CodeUri")
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            binary = resource.pop("Metadata")["BuildProperties"]["Binary"]
            key = {"Fn::Sub": f"${{CodePrefix}}{binary}-${{Architecture}}.zip"}
            resource["Properties"]["CodeUri"] = {"Bucket": {"Ref": "CodeBucket"}, "Key": key}
    return template


def quoted(value: object) -> str:
    return shlex.quote(str(value))


def extended(pattern: str) -> str:
    """Returns a pattern of the template as an extended regular expression of POSIX."""
    for perl, posix in ((r"\d", "[0-9]"), (r"\s", "[:space:]")):
        pattern = pattern.replace(perl, posix)
    if re.search(r"\\[a-zA-Z]|\(\?", pattern):
        raise StackError(f"deploy.sh cannot check the pattern {pattern}")
    return pattern


def test(condition: dict) -> str:
    """Returns a condition of the template's rules as a test of the shell."""
    ((function, arguments),) = condition.items()

    def word(argument: object) -> str:
        return f'"${argument["Ref"]}"' if isinstance(argument, dict) else quoted(argument)

    if function == "Fn::Equals":
        return f"[ {word(arguments[0])} = {word(arguments[1])} ]"
    if function == "Fn::Contains":
        either = [f"[ {word(arguments[1])} = {quoted(value)} ]" for value in arguments[0]]
        return f"{{ {' || '.join(either)}; }}"
    if function == "Fn::Not":
        ((inner, negated),) = arguments[0].items()
        return test(negated[0]) if inner == "Fn::Not" else f"! {{ {test(arguments[0])}; }}"
    parts = [test(argument) for argument in arguments]
    return f"{{ {(' && ' if function == 'Fn::And' else ' || ').join(parts)}; }}"


def parameters_script(template: dict) -> str:
    """Returns the constraints, rules and defaults of the template for deploy.sh."""
    parameters = template["Parameters"]
    lines = [
        "# shellcheck shell=sh disable=SC2034,SC2154",
        "# Written by `make package` from template.yaml, and read by deploy.sh.",
        f"PARAMETERS={quoted(' '.join(parameters))}",
        "",
        "# Sets what the template says about the parameter $1.",
        "about() {",
        "  default='' description='' allowed='' pattern='' hint='' longest=4096 least='' most=''",
        "  case $1 in",
    ]
    for name, parameter in parameters.items():
        known = {
            # deploy.sh uploads into a bucket of the user's own.
            "default": None if name == "CodeBucket" else parameter.get("Default"),
            "description": parameter["Description"],
            # Not by spaces: `rate(1 minute)` is one value.
            "allowed": "|".join(map(str, parameter.get("AllowedValues", []))),
            "pattern": extended(parameter.get("AllowedPattern", "")),
            "hint": parameter.get("ConstraintDescription"),
            "longest": parameter.get("MaxLength"),
            "least": parameter.get("MinValue"),
            "most": parameter.get("MaxValue"),
        }
        words = [
            f"{key}={quoted(value)}" for key, value in known.items() if value not in (None, "")
        ]
        lines.append(f"  {name}) {' '.join(words)} ;;")
    lines += ["  esac", "}", "", "# Prints what each broken rule requires, and why.", "broken() {"]
    for rule in template["Rules"].values():
        for assertion in rule["Assertions"]:
            required = re.search(r'"Ref": "(\w+)"', json.dumps(assertion["Assert"]))[1]
            told = quoted(f"{required} {assertion['AssertDescription']}")
            lines += [
                f"  if {test(rule['RuleCondition'])} &&",
                f"    {test({'Fn::Not': [assertion['Assert']]})}; then",
                f"    echo {told}",
                "  fi",
            ]
    return "\n".join([*lines, "}", ""])


# --- licenses --------------------------------------------------------------------------------


def third_party_licenses(sbom: dict) -> str:
    """Returns the license texts of everything linked into a function, each text once."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    # Without it, cargo downloads the crates of all platforms.
    command += ["--filter-platform", TARGETS["x86_64"]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    linked = {(c["name"], c["version"]) for c in sbom["components"]}
    holders: dict[str, list[str]] = {}
    for package in json.loads(done.stdout)["packages"]:
        name = package["name"]
        if package["source"] is None or (
            (name, package["version"]) not in linked and name != RULES_OF_USER_AGENTS
        ):
            continue
        folder = Path(package["manifest_path"]).parent
        files = [f for f in sorted(folder.iterdir()) if f.name.upper().startswith(LICENSE_FILES)]
        texts = [f.read_text(errors="replace").strip() for f in files if f.is_file()]
        about = f"{name} {package['version']} ({package['license']})"
        for text in texts or ["The crate has no license file; its license is the one named above."]:
            holders.setdefault(text, []).append(about)
    sysroot = subprocess.run(
        ["rustc", "--print", "sysroot"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    for name in ("MIT", "Apache-2.0"):
        text = (Path(sysroot) / f"share/doc/rust/licenses/{name}.txt").read_text().strip()
        holders.setdefault(text, []).append("Rust's standard library (MIT OR Apache-2.0)")
    head = "Licenses of the software that the functions of auth0-log-streams contain.\n"
    rule = "\n" + "=" * 80 + "\n"
    parts = (
        "\n".join(sorted(names)) + f"\n\n{text}\n"
        for text, names in sorted(holders.items(), key=lambda item: sorted(item[1]))
    )
    return head + rule + (rule + "\n").join(parts)


# --- the package -----------------------------------------------------------------------------


def write_zip(path: Path, program: bytes) -> None:
    about = zipfile.ZipInfo("bootstrap", ZIP_TIME)
    about.external_attr = 0o755 << 16
    about.create_system = 3
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=COMPRESSION) as archive:
        archive.writestr(about, program, zipfile.ZIP_DEFLATED)


def program(archive: Path) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return opened.read("bootstrap")


def files_of(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))


def fill(folder: Path, zips: dict[tuple[str, str], Path], source: dict, bucket: str = "") -> None:
    """Fills the package's folder from the built zips and the parsed template."""
    code = folder / "functions"
    code.mkdir(parents=True)
    digest = hashlib.sha256()
    for (function, arch), archive in sorted(zips.items()):
        write_zip(code / f"{function}-{arch}.zip", content := program(archive))
        digest.update(content)
    # Lambda takes code again only if its name is another one.
    prefix = f"{NAME}/{version()}-{digest.hexdigest()[:12]}/"
    template = packaged(source, prefix, bucket)
    (folder / "template.yaml").write_text(yaml_dump(template))
    (folder / "parameters.sh").write_text(parameters_script(template))
    deploy.sbom(argparse.Namespace())
    sbom = (ROOT / "target/sbom.cdx.json").read_text()
    (folder / "sbom.cdx.json").write_text(sbom)
    (folder / "THIRD-PARTY-LICENSES.txt").write_text(third_party_licenses(json.loads(sbom)))
    for name in ("LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "docs/package", folder, dirs_exist_ok=True)
    analysts = ROOT / "docs/analysts"
    (folder / "dashboards").mkdir()
    for saved in (analysts / "dashboards").glob("*.ndjson"):
        shutil.copy(saved, folder / "dashboards")
    shutil.copytree(analysts / "detections", folder / "detections")
    export = [str(tools.sigma()), str(analysts / "export.py"), str(folder / "siem")]
    tools.run_step("detections: export", export)
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files_of(folder)
    ]
    (folder / "SHA256SUMS").write_text("".join(sums))


def pack(folder: Path) -> Path:
    """Writes the folder as an archive without times and owners."""
    archive = folder.with_name(f"{folder.name}.tar.gz")
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in files_of(folder):
            about = tarfile.TarInfo(path.relative_to(folder.parent).as_posix())
            about.size = path.stat().st_size
            about.mode = 0o755 if path.read_bytes()[:2] == b"#!" else 0o644
            with path.open("rb") as opened:
                tar.addfile(about, opened)
    with archive.open("wb") as raw, gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as packed:
        packed.write(content.getvalue())
    return archive


def package(zips: dict[tuple[str, str], Path], source: dict, dist: Path, bucket: str = "") -> Path:
    """Writes the package into `dist` and returns its archive."""
    shutil.rmtree(dist, ignore_errors=True)
    folder = dist / f"{NAME}-{version()}"
    fill(folder, zips, source, bucket)
    archive = pack(folder)
    total = hashlib.sha256(archive.read_bytes()).hexdigest()
    (dist / "NOTES.md").write_text(notes())
    (dist / "SHA256SUMS").write_text(f"{total}  {archive.name}\n")
    return archive


def launch(folder: Path, bucket: str) -> str:
    """Returns the commands that fill the public bucket, and then the launch-stack URL."""
    template = yaml_parse((folder / "template.yaml").read_text())
    prefix = template["Parameters"]["CodePrefix"]["Default"]
    review = (
        "https://console.aws.amazon.com/cloudformation/home?region=<region>#/stacks/create/review"
    )
    return f"""\
aws s3 sync {folder}/functions s3://{bucket}/{prefix}
aws s3 cp {folder}/template.yaml s3://{bucket}/{prefix}template.yaml
{review}?templateURL=https://{bucket}.s3.<region>.amazonaws.com/{prefix}template.yaml&stackName={NAME}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default="", help="has to be that of Cargo.toml")
    parser.add_argument("--bucket", default="", help="public bucket, for a launch-stack URL")
    parser.add_argument("--zips", type=Path, default=deploy.PACKAGED)
    parser.add_argument("--dist", type=Path, default=DIST)
    arguments = parser.parse_args()
    wanted = arguments.version.removeprefix("v")
    if wanted and wanted != version():
        sys.exit(f"VERSION is {wanted}, but Cargo.toml has {version()}")
    zips = {
        (function, arch): arguments.zips / arch / function / "bootstrap.zip"
        for function in FUNCTIONS
        for arch in TARGETS
    }
    if missing := [str(path) for path in zips.values() if not path.exists()]:
        sys.exit(f"not built: {', '.join(missing)}")
    for archive in zips.values():
        content = program(archive)
        if found := [str(folder) for folder in deploy.FOLDERS if str(folder).encode() in content]:
            sys.exit(
                f"{archive} names folders of this machine, so others cannot repeat it: {found}"
            )
    source = yaml_parse((ROOT / "template.yaml").read_text())
    try:
        archive = package(zips, source, arguments.dist, arguments.bucket)
    except StackError as error:
        sys.exit(str(error))
    say(f"{archive}  {deploy.size(archive.stat().st_size)}")
    say((archive.parent / "SHA256SUMS").read_text().rstrip())
    if arguments.bucket:
        folder = archive.parent / f"{NAME}-{version()}"
        say(f"To publish (<region>: that of the bucket):\n{launch(folder, arguments.bucket)}")


if __name__ == "__main__":
    main()
