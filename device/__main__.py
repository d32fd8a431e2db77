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
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from device.boot import Device
from device.hosts import MutualTls, SignedProofs
from device.patience import Patience
from device.refusal import EXIT_CODES, Action, Refused
from device.service import Service
from device.store import Identity, Store
from device.transport import Transport

# What waits for these two has time-outs of its own.
IMPATIENCE = Patience(tries=3, longest=10)


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
    host = {"mtls": chosen.mtls} if chosen.mtls else {"public": chosen.public}
    known = host | {"ca": chosen.ca.read_text() if chosen.ca else None}
    bootstrap = Identity(chosen.bootstrap_cert, chosen.bootstrap_key)
    with store.locked():
        store.keep_service(json.dumps(known).encode())
        device = Device(store, _service(known, inline=chosen.inline), Patience())
        return device.boot(bootstrap, chosen.device_id)


def _renew(chosen: argparse.Namespace) -> dict[str, Any]:
    store = Store(chosen.state)
    service = _known_service(store, inline=chosen.inline)
    with store.locked():
        return Device(store, service, Patience()).renew(same_key=chosen.same_key)


def _status(chosen: argparse.Namespace) -> dict[str, Any]:
    service, identity = _remembered(chosen.state)
    return IMPATIENCE(lambda: service.device(identity))


def _credentials(chosen: argparse.Namespace) -> dict[str, Any]:
    service, identity = _remembered(chosen.state)
    return IMPATIENCE(lambda: service.credentials(identity, chosen.role_alias))


def _remembered(folder: Path) -> tuple[Service, Identity]:
    store = Store(folder)
    service = _known_service(store)
    identity = store.live() or store.settled()
    if not identity:
        raise Refused(Action.REENROLL, f"There is no identity in {folder}")
    return service, identity


def _known_service(store: Store, *, inline: bool = False) -> Service:
    known = store.service()
    if not known:
        raise Refused(Action.REENROLL, "No service is known here")
    return _service(json.loads(known), inline=inline)


def _service(known: dict[str, Any], *, inline: bool = False) -> Service:
    transport = Transport(known["ca"])
    mtls = known.get("mtls")
    host = MutualTls(mtls, transport) if mtls else SignedProofs(known["public"], transport)
    return Service(host, transport, inline=inline)


if __name__ == "__main__":
    sys.exit(main())
