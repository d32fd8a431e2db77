"""The whole end state of a run, in a form that is equal for runs that differ in random values and times only.

Keys and bootstrap certificates are the same in all runs of a process. A certificate of ours is named by its
device's key, and times by the word `time`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from moto.iot.models import iot_backends
from moto.s3.models import s3_backends

from firstboot.domain.names import NONCE_KEY
from firstboot.pki import chain
from tests.aws.deployed import ACCOUNT, REGION
from tests.faults.world import World, plain

State = dict[str, Any]

_PERIODS = re.compile(r"^(MINUTE|HOUR|DAY|GUESS)#(.+?)#\d{5,}(#\d+)?$")
_YEAR_2001 = 1_000_000_000


def state(world: World) -> State:
    """Return the rows, the objects, what AWS IoT has, the queues' rest, and the dead messages."""
    rows, objects = _rows(world), _objects(world)
    names = _names(rows, objects)
    found = {
        "rows": rows,
        "objects": {key: _described(body) for key, body in objects.items()},
        "aws iot": _iot(world),
        "waiting": [len(world.stream), len(world.notifications), len(world.events)],
        "dead": len(world.dead),
        "outcomes": world.outcomes,
    }
    text = json.dumps(found, default=sorted)
    for value, name in names.items():
        text = text.replace(value, name)
    return {name: _sorted(value) for name, value in json.loads(text).items()}


def difference(one: Any, other: Any, path: str = "") -> list[str]:
    """Return where two states differ: what the first has, and what it became in the other."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [line for key in keys for line in difference(one.get(key), other.get(key), f"{path}/{key}")]
    return [] if one == other else [f"{path}: {one!r} became {other!r}"]


def _sorted(value: Any) -> Any:
    """Return a value with its sets, which are lists here, in one order."""
    if isinstance(value, dict):
        return {name: _sorted(each) for name, each in sorted(value.items())}
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=repr)
    return value


def _rows(world: World) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in world.table.items.items():
        if key.value == NONCE_KEY:
            continue
        name = _PERIODS.sub(r"\1#\2", key.value)
        # Each request with a signed proof has its own, so a repeated request makes one row more.
        name = "PROOF#" if name.startswith("PROOF#") else name
        row = {name: _timeless(name, plain(value)) for name, value in item.attrs.items() if name != "pk"}
        found[name] = row if name == "PROOF#" or name not in found else [found[name], row]
    return found


_ANY_TIME = frozenset({"renewalDay", "notBefore", "enrolled"})


def _timeless(name: str, value: Any) -> Any:
    (kind, content), *_ = value.items()
    if kind == "M":
        return {each: _timeless(each, member) for each, member in content.items()}
    if kind == "L":
        return [_timeless(name, each) for each in content]
    if kind == "N" and (name in _ANY_TIME or abs(float(content)) > _YEAR_2001):
        return "time"
    # The row of a certificate has its DER, whose hash is the certificate's id.
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else content


def _objects(world: World) -> dict[str, bytes]:
    """Return the newest version of each object, with the number of its versions in its key."""
    keys = s3_backends[ACCOUNT]["aws"].buckets[world.product.bucket].keys
    found = {}
    for key in list(keys):
        versions = keys.getlist(key)
        found[f"{key} ({len(versions)})"] = versions[-1].value
    return found


def _described(body: bytes) -> Any:
    if not body.startswith(b"-----BEGIN CERTIFICATE"):
        return hashlib.sha256(body).hexdigest()
    leaves = x509.load_pem_x509_certificates(body)
    return [[leaf.subject.rfc4514_string(), _key(leaf)] for leaf in leaves[:1]]


def _key(leaf: x509.Certificate) -> str:
    raw = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(raw).hexdigest()


def _names(rows: dict[str, Any], objects: dict[str, bytes]) -> dict[str, str]:
    """Return names for the random values: serial numbers and the ids of certificates."""
    known: dict[str, str] = {}
    leaves = [
        x509.load_pem_x509_certificates(body)[0]
        for key, body in objects.items()
        if key.startswith("certificates/")
    ]
    for leaf in sorted(leaves, key=lambda leaf: leaf.not_valid_before_utc):
        label = _label(known, f"certificate of {_key(leaf)[:8]}")
        known[f"{leaf.serial_number:x}"] = f"<serial of {label}>"
        known[chain.fingerprint(leaf)] = f"<{label}>"
    for row in rows.values():
        for name in ("pending", "active", "superseded"):
            record = row.get(name) if isinstance(row, dict) else None
            if record and record["serial"] not in known:
                known[record["serial"]] = f"<serial for {_label(known, record['spki'][:8])}>"
    return known


def _label(known: dict[str, str], label: str) -> str:
    number = sum(label in each for each in known.values())
    return f"{label}, {number}" if number else label


def _iot(world: World) -> dict[str, Any]:
    iot = iot_backends[ACCOUNT][REGION]
    policies: dict[str, list[str]] = {}
    for target, name in iot.principal_policies:
        policies.setdefault(target, []).append(name)
    return {
        "things": {thing.thing_name: _thing(thing) for thing in iot.things.values()},
        "certificates": {
            each.certificate_id: [each.status, policies.get(each.arn, [])]
            for each in iot.certificates.values()
        },
        "policies": {name: json.loads(str(policy.document)) for name, policy in iot.policies.items()},
        "types": [each.thing_type_name for each in iot.thing_types.values()],
        "groups": [each.thing_group_name for each in iot.thing_groups.values()],
        "disconnected": sorted(set(world.wire.disconnected)),
    }


def _thing(thing: Any) -> dict[str, Any]:
    iot = iot_backends[ACCOUNT][REGION]
    shadow = thing.thing_shadows.get(None)
    return {
        "type": thing.thing_type and thing.thing_type.thing_type_name,
        "attributes": thing.attributes,
        "groups": [each.thing_group_name for each in iot.thing_groups.values() if thing.arn in each.things],
        "principals": [target for target, name in iot.principal_things if name == thing.thing_name],
        "shadow": None if shadow is None or shadow.deleted else [shadow.desired, shadow.reported],
    }
