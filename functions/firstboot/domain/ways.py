"""The ways in which a device may ask Firstboot for a certificate or for credentials."""

from __future__ import annotations

from typing import Literal, get_args

Way = Literal["mtls", "proof", "mqtt", "dps", "est", "roles-anywhere", "fleet-provisioning"]
"""`mtls` and `proof` are Firstboot's own HTTPS calls, with a TLS client certificate or a signed proof. `mqtt`
are its own MQTT calls. The others are protocols of other services, with routes or resources of their own."""

WAYS: tuple[Way, ...] = get_args(Way)

DEFAULT: tuple[Way, ...] = ("mtls", "proof", "mqtt")
"""The ways of a group that names none. Every deployment has what they need."""
