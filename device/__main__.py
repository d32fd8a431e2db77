"""The reference device of Firstboot.

exit codes, one for each action that the service asks for:
  0   done
  2   wrong usage, or a file that can't be read
  10  retry: no answer, or a fault that passes; run again later
  11  wait: run again, not before the time given
  12  stop: a person must find the cause; running again changes nothing
  13  reenroll: no identity works; run boot
A refusal is one line of JSON on stderr, the last one: action, code, detail, retryAfter (seconds).
The code server-untrusted means that the server's TLS certificate does not verify: check --ca.

DIR is made for its owner only. It holds the live identity in certificate.pem (leaf, then issuing
CA) and device.key. boot and renew may be killed at any point and run again. boot logs in with the
live identity and renews it when the service says that it is time; if no identity works, it enrolls.
A device that never reboots runs boot, or renew, from a timer. If the live identity works, boot ends
with 0 even if a renewal is refused; the answer's `renewal` then holds the refusal.

--first-wait, or FIRSTBOOT_FIRST_WAIT in the environment, is set at the factory to the time in which
all devices that get power together can enroll. A boot without an identity then waits for a random
part of it before its first request. A person at a bench sets it to 0.

While there are more requests than the service takes, boot and renew wait for the time that they are
told, up to 65 minutes each time and 23 times in all. They write to stderr why they wait longer than a
minute.

boot compares the identity with the bootstrap certificate and --device-id. An identity of another unit,
from a copied disk, is moved to DIR/other, and this unit enrolls with a new key. DIR/other is deleted
when the new identity has logged in. A unit that enrolled with --device-id must be started with it.

--public is for a service without an mTLS host. It also renews an expired identity within its group's
grace period. Its keys are P-256 or RSA.

--key pkcs11:URI or --key tpm2: makes the device's keys in a token or a TPM, and --bootstrap-key takes
the same URIs. DIR then holds device.reference in the place of device.key. A later boot without --key
keeps the place. --mtls and --mqtt need OpenSSL's provider for such keys, and --public does not.

--mqtt needs paho-mqtt. Only the certificate is downloaded by HTTPS, and with --inline not even that.
boot and renew write to stderr what they wait for. A new certificate can log in once AWS IoT knows
it. boot waits as long as the service says, as above; then it ends with 11, and the next run
continues. status prints the answer to a log-in. Every call connects under the device's id, which
ends another connection of the device.

serve runs until it gets SIGTERM or SIGINT. It prints, for each role alias, the environment variables
with which AWS SDKs and the AWS CLI on this device get credentials from it. However many programs ask, it
asks the service once, and again before the credentials end if a program still uses them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from . import __version__, origin, serve
from .credentials import Cache
from .known import ca_of, device_of, key_of, known_of, live_of, place_of, remembered_place, say, service_of
from .patience import Patience, jitter
from .refusal import EXIT_CODES, Refused
from .store import Identity, Store

HOSTS = ("mtls", "public", "mqtt")

# The callers of status and credentials have time-outs of their own.
IMPATIENCE = Patience(tries=3, longest=10)

FIRST_WAIT = "FIRSTBOOT_FIRST_WAIT"
"""The environment variable of --first-wait, which firstboot.sh reads too."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
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
        prog="python -m device" if __package__ == "device" else "firstboot-device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"firstboot-device {__version__}")
    state = argparse.ArgumentParser(add_help=False)
    state.add_argument("--state", metavar="DIR", type=Path, required=True, help="the state directory")
    delivery = argparse.ArgumentParser(add_help=False)
    text = "get the certificate in the answer, not from S3"
    delivery.add_argument("--inline", action="store_true", help=text)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "log in; enroll or renew first if needed"
    _add_boot(commands.add_parser("boot", parents=[state, delivery], help=text))

    text = "get the next certificate now, due or not"
    command = commands.add_parser("renew", parents=[state, delivery], help=text)
    command.add_argument("--same-key", action="store_true", help="keep the live identity's key")
    command.set_defaults(run=_renew)

    text = "print the device's record and grants"
    commands.add_parser("status", parents=[state], help=text).set_defaults(run=_status)

    text = "print AWS credentials, for credential_process"
    command = commands.add_parser("credentials", parents=[state], help=text)
    command.add_argument("--role-alias", metavar="NAME", required=True)
    command.set_defaults(run=_credentials)

    text = "serve AWS credentials to the programs on this device"
    _add_serve(commands.add_parser("serve", parents=[state], help=text))
    return parser


def _add_serve(command: argparse.ArgumentParser) -> None:
    text = "a role alias to serve; may be repeated"
    command.add_argument("--role-alias", metavar="NAME", action="append", required=True, help=text)
    text = f"the port on {serve.ADDRESS}; 0 is any free one (default: {serve.PORT})"
    command.add_argument("--port", type=int, default=serve.PORT, help=text)
    text = "where programs find the token (default: credentials.token in DIR)"
    command.add_argument("--token-file", metavar="FILE", type=Path, help=text)
    command.set_defaults(run=_serve)


def _add_boot(command: argparse.ArgumentParser) -> None:
    host = command.add_mutually_exclusive_group(required=True)
    host.add_argument("--mtls", metavar="URL", help="the service's mTLS host")
    host.add_argument("--public", metavar="URL", help="its public host, called with signed proofs")
    text = "AWS IoT's broker; pip install 'firstboot-device[mqtt]'"
    host.add_argument("--mqtt", metavar="HOST:PORT", help=text)
    command.add_argument("--bootstrap-cert", metavar="FILE", type=Path, required=True)
    command.add_argument("--bootstrap-key", metavar="FILE|URI", required=True)
    text = "make the device's keys in hardware: pkcs11:… (RFC 7512), tpm2:…; without it, in files"
    command.add_argument("--key", metavar="URI", help=text)
    text = "CA certificates (PEM) to trust beside the system's"
    command.add_argument("--ca", metavar="FILE", type=Path, help=text)
    command.add_argument("--device-id", metavar="ID", help="the name to enroll under")
    text = "with --mqtt: the client id of the bootstrap certificate, if it is not its common name"
    command.add_argument("--client-id", metavar="ID", help=text)
    text = f"wait up to so long before the first enrollment; without it, {FIRST_WAIT} or 0"
    command.add_argument("--first-wait", metavar="SECONDS", type=seconds, help=text)
    command.set_defaults(run=_boot)


def seconds(text: str) -> float:
    """Return the number of seconds in a setting. argparse shows this function's name in its message."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a number of seconds")
    return float(text)


def _boot(chosen: argparse.Namespace) -> dict[str, Any]:
    store = Store(chosen.state)
    place = place_of(chosen.key) or remembered_place(store)
    store = Store(chosen.state, place)
    host = {kind: url for kind in HOSTS if (url := getattr(chosen, kind))}
    known = host | {"ca": ca_of(chosen.ca) if chosen.ca else None}
    known |= {"key": place.full()} if place else {}
    bootstrap = Identity(chosen.bootstrap_cert, key_of(chosen.bootstrap_key))
    service = service_of(known, inline=chosen.inline, bootstrap=bootstrap, client_id=chosen.client_id)
    longest = chosen.first_wait
    if longest is None:
        longest = seconds(os.environ.get(FIRST_WAIT) or "0")
    with store.locked():
        store.keep_service(json.dumps(known).encode())
        if told := origin.start(store, bootstrap, chosen.device_id):
            say(told)
        device = device_of(store, service, known, lambda: _wait_first(longest))
        return device.boot(bootstrap, chosen.device_id)


def _wait_first(longest: float) -> None:
    """Wait for a random part of `longest` seconds, so that devices that got power together enroll in turn."""
    if longest:
        pause = jitter() * longest
        say(f"The first request is in {pause:.0f} s, to spread all devices over {longest:.0f} s")
        time.sleep(pause)


def _renew(chosen: argparse.Namespace) -> dict[str, Any]:
    store, known = known_of(chosen.state)
    service = service_of(known, inline=chosen.inline)
    with store.locked():
        return device_of(store, service, known).renew(same_key=chosen.same_key)


def _status(chosen: argparse.Namespace) -> dict[str, Any]:
    service, identity = live_of(chosen.state)
    return IMPATIENCE(lambda: service.device(identity))


def _credentials(chosen: argparse.Namespace) -> dict[str, Any]:
    return _fresh(chosen.state, chosen.role_alias)


def _serve(chosen: argparse.Namespace) -> dict[str, Any]:
    caches = {alias: Cache(partial(_fresh, chosen.state, alias)) for alias in chosen.role_alias}
    token_file = chosen.token_file or chosen.state / "credentials.token"
    serve.run(chosen.port, caches, token_file, print)
    return {}


def _fresh(folder: Path, role_alias: str) -> dict[str, Any]:
    # The live identity is read each time, because another process may have renewed it.
    service, identity = live_of(folder)
    return IMPATIENCE(lambda: service.credentials(identity, role_alias))


if __name__ == "__main__":
    sys.exit(main())
