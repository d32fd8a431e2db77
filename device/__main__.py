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
CA) and device.key; boot may be killed at any point and run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from device.boot import Wish, boot
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    text = "get an identity, or log in with the one there is"
    command = commands.add_parser("boot", parents=[state], help=text)
    command.add_argument("--mtls", metavar="URL", required=True, help="the service's mTLS host")
    command.add_argument("--bootstrap-cert", metavar="FILE", type=Path, required=True)
    command.add_argument("--bootstrap-key", metavar="FILE", type=Path, required=True)
    command.add_argument("--ca", metavar="FILE", type=Path, help="PEM, trusted beside the system's roots")
    command.add_argument("--device-id", metavar="ID", help="the name to enroll under")
    command.add_argument("--inline", action="store_true", help="the certificate in the answer, not from S3")
    command.set_defaults(run=_boot)

    text = "print the device's record and grants"
    commands.add_parser("status", parents=[state], help=text).set_defaults(run=_status)

    text = "print AWS credentials, for credential_process"
    command = commands.add_parser("credentials", parents=[state], help=text)
    command.add_argument("--role-alias", metavar="NAME", required=True)
    command.set_defaults(run=_credentials)
    return parser


def _boot(chosen: argparse.Namespace) -> dict[str, Any]:
    store = Store(chosen.state)
    ca = chosen.ca.read_text() if chosen.ca else None
    wish = Wish(Identity(chosen.bootstrap_cert, chosen.bootstrap_key), chosen.device_id, chosen.inline)
    with store.locked():
        store.keep_service(json.dumps({"mtls": chosen.mtls, "ca": ca}).encode())
        return boot(store, Service(chosen.mtls, Transport(ca)), wish, Patience())


def _status(chosen: argparse.Namespace) -> dict[str, Any]:
    service, identity = _remembered(chosen.state)
    return IMPATIENCE(lambda: service.device(identity))


def _credentials(chosen: argparse.Namespace) -> dict[str, Any]:
    service, identity = _remembered(chosen.state)
    return IMPATIENCE(lambda: service.credentials(identity, chosen.role_alias))


def _remembered(folder: Path) -> tuple[Service, Identity]:
    store = Store(folder)
    known = store.service()
    identity = store.live() or (store.settled() if known else None)
    if not known or not identity:
        raise Refused(Action.REENROLL, f"There is no identity in {folder}")
    members = json.loads(known)
    return Service(members["mtls"], Transport(members["ca"])), identity


if __name__ == "__main__":
    sys.exit(main())
