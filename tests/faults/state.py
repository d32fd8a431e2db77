"""The whole end state of a run, in a form that is equal for runs that differ in random values and times only.

Keys and bootstrap certificates are the same in all runs of a process. A certificate of ours is named by its
device's key, and times by the word `time`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firstboot.domain.names import NONCE_KEY
from firstboot.pki import chain
from tests.faults.world import World, direct, plain

State = dict[str, Any]

_PERIODS = re.compile(r"^(MINUTE|HOUR|DAY|GUESS)#(.+)#\d+(#\d+)?$")
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
    """Return where two states differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(one.keys() | other.keys())
        return [line for key in keys for line in difference(one.get(key), other.get(key), f"{path}/{key}")]
    return [] if one == other else [f"{path}: {other!r} became {one!r}"]


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
        # Each request with a signed proof has its own.
        name = "PROOF#" if name.startswith("PROOF#") else name
        row = {name: _timeless(name, plain(value)) for name, value in item.attrs.items() if name != "pk"}
        found[name] = row if name not in found else [found[name], row]
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
    s3, found = direct("s3"), {}
    versions = s3.list_object_versions(Bucket=world.product.bucket).get("Versions", [])
    numbers = Counter(each["Key"] for each in versions)
    for key, number in numbers.items():
        body = s3.get_object(Bucket=world.product.bucket, Key=key)["Body"].read()
        found[f"{key} ({number})"] = body
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
    iot = direct("iot")
    things = {}
    for thing in iot.list_things()["things"]:
        name = thing["thingName"]
        groups = iot.list_thing_groups_for_thing(thingName=name)["thingGroups"]
        things[name] = {
            "type": thing.get("thingTypeName"),
            "attributes": thing["attributes"],
            "groups": [each["groupName"] for each in groups],
            "principals": iot.list_thing_principals(thingName=name)["principals"],
            "shadow": _shadow(name),
        }
    certificates = {}
    for each in iot.list_certificates()["certificates"]:
        attached = iot.list_attached_policies(target=each["certificateArn"])["policies"]
        certificates[each["certificateId"]] = [each["status"], [it["policyName"] for it in attached]]
    policies = {
        each["policyName"]: json.loads(iot.get_policy(policyName=each["policyName"])["policyDocument"])
        for each in iot.list_policies()["policies"]
    }
    types = [each["thingTypeName"] for each in iot.list_thing_types()["thingTypes"]]
    groups = [each["groupName"] for each in iot.list_thing_groups()["thingGroups"]]
    return {
        "things": things,
        "certificates": certificates,
        "policies": policies,
        "types": types,
        "groups": groups,
        "disconnected": sorted(set(world.wire.disconnected)),
    }


def _shadow(name: str) -> Any:
    data = direct("iot-data")
    try:
        read = data.get_thing_shadow(thingName=name)["payload"].read()
    except data.exceptions.ResourceNotFoundException:
        return None
    return json.loads(read)["state"]
