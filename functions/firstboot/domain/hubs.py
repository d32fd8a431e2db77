"""Grants of the kind azure-sas, which give a device shared access signatures for itself at an Azure IoT hub.

Such a grant has no statements, so no policy of IAM or AWS IoT has a part of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KIND = "azure-sas"

HUB = re.compile(r"[a-z0-9][a-z0-9-]{1,48}[a-z0-9]\.azure-devices\.(net|cn|us)", re.ASCII)
"""Host names of IoT hubs (Azure, "Naming rules and restrictions for Azure resources", Microsoft.Devices: 3 to
50 letters, digits and hyphens, of which the last is no hyphen), in Azure's three clouds. The names have no
case, and one spelling is enough."""

POLICY = "device"
"""The shared access policy that each IoT hub has for connecting devices (Azure IoT Hub, "Control access by
using shared access signatures": permission DeviceConnect)."""


@dataclass(frozen=True)
class HubGrant:
    """A grant of signatures for the host `hub` that last `seconds`, with the key of `policy`."""

    hub: str
    seconds: int
    policy: str = POLICY


def has_kind(template: object) -> bool:
    """Return whether a grant's template names a kind, and so is no policy document."""
    return isinstance(template, dict) and "kind" in template


def hub_grants(grants: Mapping[str, dict[str, Any]]) -> dict[str, HubGrant]:
    """Return the grants of the kind azure-sas by name. The compiler has checked them."""
    return {
        name: HubGrant(**{key: value for key, value in template.items() if key != "kind"})
        for name, template in grants.items()
        if has_kind(template)
    }
