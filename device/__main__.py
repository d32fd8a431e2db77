"""The reference device.

exit codes, one per action the service asks for:
  0   done
  2   wrong usage, or a file that can't be read
  10  retry: no answer, or a passing fault; run again later
  11  wait: run again, not before the time said
  12  stop: a person must look; running again changes nothing
  13  reenroll: there is no identity that works; run boot
A refusal is one line of JSON on stderr: action, code, detail, retryAfter (seconds).

DIR is made for its owner only. It holds the live identity in certificate.pem (leaf, then issuing
CA) and device.key; boot and renew may be killed at any point and run again. boot does what the
state asks for: logs in, renews when the service says that it is time, enrolls. A device that never
reboots runs boot, or renew, from a timer. With a live identity that works boot ends with 0, and
what a due renewal was refused with stands in the answer's `renewal`.

--public is for a service without an mTLS host, and takes back an expired identity, within its
group's grace. Its keys are P-256 or RSA.

--mqtt needs paho-mqtt. Only the certificate is downloaded by HTTPS, or not even that with --inline. A
new certificate's log-in waits until AWS IoT knows it: as long as the service says if that is 5 minutes
at most, 10 times at most; then boot ends with 10 or 11, and the next run carries on. status is what a
log-in says. Every call connects as the device, which ends a connection that it has already.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from device.boot import Device
from device.hosts import Host, MutualTls, SignedProofs
from device.patience import Patience
from device.refusal import EXIT_CODES, Action, Refused
from device.service import Service
from device.store import Identity, Store
from device.transport import Transport

HOSTS = ("mtls", "public", "mqtt")

# What waits for these two has time-outs of its own.
IMPATIENCE = Patience(tries=3, longest=10)

# AWS IoT registers certificates some time after they are issued.
MQTT_TRIES = 10


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        print(json.dumps(chosen.run(chosen), indent=2))
    except Refused as refusal:
        print(refusal.to_json(), file=sys.stderr)
        return EXIT_CODES[refusal.action]
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m device", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument("--state", metavar="DIR", type=Path, required=True)
    delivery = argparse.ArgumentParser(add_help=False)
    delivery.add_argument("--inline", action="store_true", help="the certificate in the answer, not from S3")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    text = "log in, getting or renewing the identity if need be"
    command = commands.add_parser("boot", parents=[state, delivery], help=text)
    host = command.add_mutually_exclusive_group(required=True)
    host.add_argument("--mtls", metavar="URL", help="the service's mTLS host")
    host.add_argument("--public", metavar="URL", help="its public host, called with signed proofs")
    host.add_argument("--mqtt", metavar="HOST:PORT", help="AWS IoT's broker; pip install 'firstboot[mqtt]'")
    command.add_argument("--bootstrap-cert", metavar="FILE", type=Path, required=True)
    command.add_argument("--bootstrap-key", metavar="FILE", type=Path, required=True)
    command.add_argument("--ca", metavar="FILE", type=Path, help="PEM, trusted beside the system's roots")
    command.add_argument("--device-id", metavar="ID", help="the name to enroll under")
    command.set_defaults(run=_boot)

    text = "get the next certificate now, due or not"
    command = commands.add_parser("renew", parents=[state, delivery], help=text)
    command.add_argument("--same-key", action="store_true", help="for the live identity's own key")
    command.set_defaults(run=_renew)

    text = "print the device's record and grants"
    commands.add_parser("status", parents=[state], help=text).set_defaults(run=_status)

    text = "print AWS credentials, for credential_process"
    command = commands.add_parser("credentials", parents=[state], help=text)
    command.add_argument("--role-alias", metavar="NAME", required=True)
    command.set_defaults(run=_credentials)
    return parser


def _boot(chosen: argparse.Namespace) -> dict[str, Any]:
    store = Store(chosen.state)
    host = {kind: url for kind in HOSTS if (url := getattr(chosen, kind))}
    known = host | {"ca": chosen.ca.read_text() if chosen.ca else None}
    bootstrap = Identity(chosen.bootstrap_cert, chosen.bootstrap_key)
    service = _service(known, inline=chosen.inline, bootstrap=bootstrap)
    with store.locked():
        store.keep_service(json.dumps(known).encode())
        return Device(store, service, _patience(known)).boot(bootstrap, chosen.device_id)


def _renew(chosen: argparse.Namespace) -> dict[str, Any]:
    store = Store(chosen.state)
    known = _known(store)
    service = _service(known, inline=chosen.inline)
    with store.locked():
        return Device(store, service, _patience(known)).renew(same_key=chosen.same_key)


def _status(chosen: argparse.Namespace) -> dict[str, Any]:
    service, identity = _remembered(chosen.state)
    return IMPATIENCE(lambda: service.device(identity))


def _credentials(chosen: argparse.Namespace) -> dict[str, Any]:
    service, identity = _remembered(chosen.state)
    return IMPATIENCE(lambda: service.credentials(identity, chosen.role_alias))


def _remembered(folder: Path) -> tuple[Service, Identity]:
    store = Store(folder)
    service = _service(_known(store))
    identity = store.live() or store.settled()
    if not identity:
        raise Refused(Action.REENROLL, f"There is no identity in {folder}")
    return service, identity


def _known(store: Store) -> dict[str, Any]:
    text = store.service()
    if not text:
        raise Refused(Action.REENROLL, "No service is known here")
    known: dict[str, Any] = json.loads(text)
    return known


def _service(known: dict[str, Any], *, inline: bool = False, bootstrap: Identity | None = None) -> Service:
    transport = Transport(known["ca"])
    return Service(_host(known, transport, bootstrap), transport, inline=inline)


def _host(known: dict[str, Any], transport: Transport, bootstrap: Identity | None) -> Host:
    if url := known.get("mtls"):
        return MutualTls(url, transport)
    if url := known.get("public"):
        return SignedProofs(url, transport)
    try:
        from device.mqtt import Broker  # noqa: PLC0415 - paho-mqtt is an extra
    except ImportError as error:
        raise ValueError("MQTT needs paho-mqtt: pip install 'firstboot[mqtt]'") from error
    return Broker(known["mqtt"], transport, bootstrap)


def _patience(known: dict[str, Any]) -> Patience:
    return Patience(tries=MQTT_TRIES) if known.get("mqtt") else Patience()


if __name__ == "__main__":
    sys.exit(main())
