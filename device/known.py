"""The settings that a state directory keeps of its device, and the service and keys that they lead to."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import key_uri
from .boot import Device
from .hardware import Reference
from .held import HeldKeys
from .hosts import Host, MutualTls, SignedProofs
from .key_uri import KeyUri
from .patience import HTTPS, MQTT, Patience
from .refusal import Action, Refused
from .service import Service
from .store import Identity, Store
from .transport import Transport, loadable

_LONG = 60
"""Seconds. Over HTTPS a longer pause is reported. Over MQTT every pause is."""


def key_of(text: str) -> Path | Reference:
    """Return the key that --bootstrap-key names: a file, or a key in hardware. Raises ValueError."""
    return Reference(key_uri.parse(text)) if key_uri.is_key_uri(text) else Path(text)


def place_of(text: str | None) -> KeyUri | None:
    """Return the place in hardware that --key names; None without it. Raises ValueError."""
    return key_uri.parse(text) if text else None


def remembered_place(store: Store) -> KeyUri | None:
    """Return the place in hardware that an earlier run kept; None if there is none or it can't be read."""
    with suppress(ValueError, AttributeError):  # a damaged file is written anew
        return place_of(json.loads(store.service() or b"{}").get("key"))
    return None


def device_of(
    store: Store, service: Service, known: dict[str, Any], first_wait: Callable[[], None] = lambda: None
) -> Device:
    """Return the device with this state, service and kept settings."""
    device = Device(store, service, patience_of(known), first_wait)
    if place := place_of(known.get("key")):
        keys = HeldKeys(store, place)
        return replace(device, new_key=keys.new, forget_keys=keys.forget)
    return device


def ca_of(file: Path) -> str:
    """Return the text of a file of CA certificates. Raises OSError, and ValueError for another file."""
    # PEM is ASCII; the text around it need not be.
    text = file.read_text("ascii", errors="ignore")
    if not loadable(text):
        raise ValueError(f"{file} is not a CA certificate in PEM format")
    return text


def live_of(folder: Path) -> tuple[Service, Identity]:
    """Return the service and the live identity of a state directory. Raises Refused without one."""
    store, known = known_of(folder)
    service = service_of(known, quiet=True)
    identity = store.live() or store.settled()
    if not identity:
        raise Refused(Action.REENROLL, f"There is no identity in {folder}")
    return service, identity


def known_of(folder: Path) -> tuple[Store, dict[str, Any]]:
    """Return the store of a state directory, and the settings that an earlier run kept. Raises Refused."""
    text = Store(folder).service()
    if not text:
        raise Refused(Action.REENROLL, "No service is known here")
    known: dict[str, Any] = json.loads(text)
    return Store(folder, place_of(known.get("key"))), known


def service_of(
    known: dict[str, Any],
    *,
    inline: bool = False,
    bootstrap: Identity | None = None,
    client_id: str | None = None,
    quiet: bool = False,
) -> Service:
    """Return the service of kept settings."""
    transport = Transport(known["ca"])
    return Service(_host(known, transport, bootstrap, client_id, quiet=quiet), transport, inline=inline)


def _host(
    known: dict[str, Any],
    transport: Transport,
    bootstrap: Identity | None,
    client_id: str | None,
    *,
    quiet: bool,
) -> Host:
    if url := known.get("mtls"):
        return MutualTls(url, transport)
    if url := known.get("public"):
        return SignedProofs(url, transport)
    try:
        from .mqtt import Broker  # noqa: PLC0415 - paho-mqtt is an extra
    except ImportError as error:
        raise ValueError("MQTT needs paho-mqtt: pip install 'firstboot-device[mqtt]'") from error
    tell = (lambda _line: None) if quiet else say
    return Broker(known["mqtt"], transport, bootstrap, tell, client_id)


def patience_of(known: dict[str, Any]) -> Patience:
    """Return the patience for the host of kept settings. Longer pauses are told on stderr."""
    return replace(MQTT, report=_report) if known.get("mqtt") else replace(HTTPS, report=_report_long)


def _report(refusal: Refused, pause: float) -> None:
    say(f"{refusal.detail}: next try in {pause:.0f} s")


def _report_long(refusal: Refused, pause: float) -> None:
    if pause > _LONG:
        _report(refusal, pause)


def say(line: str) -> None:
    """Write a line to stderr. Control characters are escaped, so the service's text can't forge a line."""
    print(line.encode("unicode_escape").decode("ascii"), file=sys.stderr)
