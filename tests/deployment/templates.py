"""template.yaml as AWS gets it, and the copies of it that MiniStack takes."""

from __future__ import annotations

import copy
import json
import logging
from functools import cache
from pathlib import Path

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from tools import ROOT

REGION = "eu-west-1"
TEMPLATE = ROOT / "template.yaml"
# Of the zips.
BUCKET = "artifacts"

logging.getLogger("samtranslator").setLevel(logging.ERROR)


def binaries(source: dict) -> dict[str, str]:
    """Returns the names of the functions' binaries, by resource, and removes how to build them."""
    source["Globals"]["Function"].pop("CodeUri")
    return {
        name: resource.pop("Metadata")["BuildProperties"]["Binary"]
        for name, resource in source["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def transformed(**parameters: str) -> dict:
    """Returns the template as CloudFormation gets it, with the zips in the bucket."""
    source = yaml_parse(TEMPLATE.read_text())
    for name, binary in binaries(source).items():
        source["Resources"][name]["Properties"]["CodeUri"] = f"s3://{BUCKET}/{binary}.zip"
    values = {name: p["Default"] for name, p in source["Parameters"].items() if "Default" in p}
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    return translator.translate(source, values | parameters)


@cache
def functions() -> dict[str, str]:
    """Returns the names of the functions' binaries, by resource."""
    return binaries(yaml_parse(TEMPLATE.read_text()))


def without_what_ministack_lacks(template: dict) -> dict:
    """Returns the template without alarms with metric math, and with http:// URLs allowed.

    The policy of the queues is left out as well: it requires TLS, which MiniStack does not speak.
    """
    changed = copy.deepcopy(template)
    changed["Resources"].pop("QueuesPolicy")
    for name, resource in list(changed["Resources"].items()):
        if "Metrics" in resource.get("Properties", {}):
            del changed["Resources"][name]
    for name in ("SearchEndpoint", "Auth0Url"):
        parameter = changed["Parameters"][name]
        parameter["AllowedPattern"] = parameter["AllowedPattern"].replace("https", "https?")
    changed["Parameters"]["Auth0Url"]["AllowedPattern"] += "|^http://127.0.0.1:[0-9]+$"
    return changed


def deployable(**parameters: str) -> dict:
    return without_what_ministack_lacks(transformed(**parameters))


def source() -> dict:
    """Returns what `make package` takes, for MiniStack."""
    return without_what_ministack_lacks(yaml_parse(TEMPLATE.read_text()))


def built(folder: Path, zips: dict[str, Path]) -> Path:
    """Writes what `sam build` writes, for MiniStack."""
    template = source()
    for name, binary in binaries(template).items():
        template["Resources"][name]["Properties"]["CodeUri"] = str(zips[binary])
    publication = template["Metadata"]["AWS::ServerlessRepo::Application"]
    for name in ("LicenseUrl", "ReadmeUrl"):
        publication[name] = str(ROOT / publication[name])
    path = folder / "template.json"
    path.write_text(json.dumps(template))
    return path
