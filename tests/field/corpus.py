"""The cases of this folder, and of another folder of the same form that FIRSTBOOT_FIELD names."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from firstboot.pki import certificate
from firstboot.pki.certificate import Certificate

HERE = Path(__file__).parent
FOLDERS = [HERE, *map(Path, filter(None, [os.environ.get("FIRSTBOOT_FIELD")]))]

_PEM = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Case:
    """One case of cases.json, with the folder that its paths start from."""

    folder: Path
    case: dict[str, Any]

    def __str__(self) -> str:
        return str(self.case["name"])

    @property
    def is_good(self) -> bool:
        """True if the case is to be accepted."""
        return bool(self.case["expect"] == "accept")

    @property
    def codes(self) -> set[str]:
        """The codes that a refusal may have."""
        return {self.case["code"], *self.case.get("also", ())}

    @property
    def at(self) -> datetime:
        """The time of the verification."""
        return datetime.fromisoformat(self.case["at"])

    def read(self, file: str) -> bytes:
        """Return the content of one of the case's files, by its role."""
        return self.folder.joinpath(self.case["files"][file]).read_bytes()

    def leaf(self) -> Certificate:
        """Return the leaf of a chain."""
        return certificate.parse(self.read("leaf"))

    def anchor(self) -> Certificate:
        """Return the trust anchor of a chain."""
        return certificate.parse_text(self.read("anchor").decode())

    def intermediates(self) -> list[Certificate]:
        """Return the intermediates of a chain, in the order of their file."""
        text = self.read("intermediates").decode() if "intermediates" in self.case["files"] else ""
        return [certificate.parse_text(pem) for pem in _PEM.findall(text)]


def cases(kind: str) -> list[Case]:
    """Return the cases of a kind, `csr` or `chain`."""
    every = [
        Case(folder, case) for folder in FOLDERS for case in json.loads((folder / "cases.json").read_text())
    ]
    return [each for each in every if each.case["kind"] == kind]
