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

_READ = ("service-2", "service-2.sdk-extras", "paginators-1", "paginators-1.sdk-extras")
"""The files of an API that calls read: the model, the rules for pages, and botocore's changes to both."""

_PACKED = ".json.gz"


def trim(botocore: Path, apis: Collection[str]) -> None:
    """Delete from the package `botocore` what no call to one of the `apis` reads.

    Raises FileNotFoundError if it has no model of one of them.
    """
    data = botocore / "data"
    for path in data.iterdir():
        # The tables of hosts and partitions are those of botocore's own client (`aws/requests.py`).
        if path.is_file():
            path.unlink()
        elif path.name not in apis:
            shutil.rmtree(path)
    for api in apis:
        _trim_api(data / api)


def _trim_api(folder: Path) -> None:
    # An older version of an API may have been left there without a model of its calls.
    newest = max(file.parent for file in folder.glob(f"*/service-2{_PACKED}")) if folder.is_dir() else None
    if newest is None:
        raise FileNotFoundError(folder)
    for version in folder.iterdir():
        if version != newest:
            shutil.rmtree(version)
    for file in newest.iterdir():
        name = file.name.removesuffix(_PACKED).removesuffix(".json")
        if name in _READ:
            raw = file.read_bytes()
            content = json.loads(gzip.decompress(raw) if file.name.endswith(_PACKED) else raw)
            text = json.dumps(_undescribed(content), separators=(",", ":"))
            file.with_name(f"{name}.json").write_text(text)
        if name not in _READ or file.name.endswith(_PACKED):
            file.unlink()


def _undescribed(content: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a model without descriptions."""
    if isinstance(content, list):
        return [_undescribed(each) for each in content]
    if not isinstance(content, dict):
        return content
    return {
        key: _undescribed(value)
        for key, value in content.items()
        if key != "documentation" or not isinstance(value, str)
    }
