"""The stack and the code work in all AWS partitions, also in China and in GovCloud."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firstboot.domain.fleet import Fleet
from firstboot.domain.names import device_id
from firstboot.policy.render import Place, ceiling, connection_policies, iot_policy, session_policy
from firstboot.policy.service import ServicePolicy
from tests.infra.conftest import ROOT, Synthesised
from tests.infra.test_construct import EXAMPLE, STACK, synthesise

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

PLACES = [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
SOURCES = sorted([*(ROOT / "infra").glob("*.py"), *(ROOT / "functions").rglob("*.py")])
# Its function `host` makes the host of each API for a region. tests/aws/test_client_requests.py compares the
# hosts with botocore's in all regions of the partitions.
REQUESTS = ROOT / "functions/firstboot/aws/requests.py"
SERVICE = re.compile(r"[a-z0-9]+\.amazonaws\.com")


def texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in a template, with the names that lead to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from texts(each, f"{path}/{name}")
    elif isinstance(value, list):
        for each in value:
            yield from texts(each, path)


def tied(template: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the texts that are valid in one partition only.

    Service principals have the same name in all partitions. CDK writes those few that differ as they are in
    the stack's region.
    """
    return [(path, text) for path, text in texts(template) if "arn:aws" in text or _host(path, text)]


def _host(path: str, text: str) -> bool:
    is_principal = path.endswith(("/Service", "/Principal")) and SERVICE.fullmatch(text)
    return "amazonaws" in text and not is_principal


def test_the_template_fits_every_partition(stack: Synthesised) -> None:
    """The template has no ARN with a partition and no host name of AWS."""
    assert tied(stack.template) == []


@pytest.mark.parametrize("region", [region for region, _ in PLACES])
def test_a_stack_with_a_region_fits_its_partition(tmp_path: Path, region: str) -> None:
    """The template names no partition either when the app sets the stack's account and region."""
    there = f'Stack(app, "Acme", env={{"account": "123456789012", "region": "{region}"}})\n'
    assert tied(synthesise(tmp_path, EXAMPLE.replace(STACK, there)).template) == []


def test_the_check_sees_a_partition(stack: Synthesised) -> None:
    """The check finds an ARN, a host name, and a host name in the place of a principal."""
    for wrong in (
        {"Resource": "arn:aws:s3:::b"},
        {"Value": {"Fn::Join": ["", ["https://", {"Ref": "Api"}, ".amazonaws.com"]]}},
        {"Principal": "https://iot.amazonaws.com"},
    ):
        assert len(tied(stack.template | {"Wrong": wrong})) == 1


@pytest.mark.parametrize(("region", "partition"), PLACES)
def test_rendered_documents_fit_their_partition(fleet: Fleet, region: str, partition: str) -> None:
    """Rendered session policies, IoT policies and ceilings have the ARNs of their partition."""
    place, device = Place(partition, region, "123456789012"), device_id("gw-1")
    documents = [
        session_policy(fleet, fleet.grants, device, place),
        json.dumps(connection_policies(fleet, fleet.grants, device, place)),
        json.dumps(ceiling(fleet, place)),
        *(json.dumps(policy.document(place)) for policy in ServicePolicy),
        *(found for grant in fleet.grants if (found := iot_policy(fleet, grant, place))),
    ]
    for document in documents:
        named = set(re.findall(r"arn:([^:]*):", document))
        assert named == {partition}, document


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_code_names_a_partition(file: Path) -> None:
    """The code has no ARN with a partition and no host name of AWS.

    Excepted are principals in infra/ and the one function that makes the hosts of APIs.
    """
    tree = ast.parse(file.read_text())
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    found = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents
    ]
    assert not [text for text in found if "arn:aws" in text]
    hosts = [text for text in found if "amazonaws" in text]
    if file == REQUESTS:
        assert hosts == [".amazonaws.com"]
    else:
        assert all(file.parent.name == "infra" and SERVICE.fullmatch(host) for host in hosts), hosts
