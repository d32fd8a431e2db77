"""Trims botocore to the APIs that the Lambda functions call.

botocore has models of all of AWS's APIs, which are most of its 15 MB. Each cold start reads some of those
that are left. They lose their descriptions and are unpacked, which saves a cold start about 50 ms of CPU.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

_EXAMPLES = "examples-1.json"
_PACKED = ".json.gz"


def trim(botocore: Path, apis: Collection[str]) -> None:
    """Delete from the package `botocore` what no call to one of the `apis` reads.

    Raises FileNotFoundError if it has no model of one of them.
    """
    data = botocore / "data"
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in apis:
            shutil.rmtree(folder)
    prefixes = {_trim_api(data / api) for api in apis}
    _trim_endpoints(data / "endpoints.json", prefixes)


def _trim_api(folder: Path) -> str:
    """Trim the models of an API, and return the name of the API in hosts."""
    # An older version of an API may have been left there without a model of its calls.
    newest = max(file.parent for file in folder.glob(f"*/service-2{_PACKED}")) if folder.is_dir() else None
    if newest is None:
        raise FileNotFoundError(folder)
    for version in folder.iterdir():
        if version != newest:
            shutil.rmtree(version)
    (newest / _EXAMPLES).unlink(missing_ok=True)
    for packed in newest.glob(f"*{_PACKED}"):
        _write(
            packed.with_name(packed.name.removesuffix(".gz")),
            json.loads(gzip.decompress(packed.read_bytes())),
        )
        packed.unlink()
    return str(json.loads((newest / "service-2.json").read_bytes())["metadata"]["endpointPrefix"])


def _trim_endpoints(file: Path, prefixes: set[str]) -> None:
    """Delete the hosts of other APIs from the list of all AWS's hosts, which has the regions too."""
    content = json.loads(file.read_bytes())
    for partition in content["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in services if name in prefixes}
    _write(file, content)


def _write(file: Path, content: Any) -> None:  # noqa: ANN401 - JSON
    file.write_text(json.dumps(_undescribed(content), separators=(",", ":")))


def _undescribed(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a model with empty descriptions. botocore's handlers for S3 need their keys."""
    if isinstance(content, list):
        return [_undescribed(each) for each in content]
    if not isinstance(content, dict):
        return content
    return {
        key: "" if key == "documentation" and isinstance(value, str) else _undescribed(value)
        for key, value in content.items()
    }
