"""The name of a device: read from its bootstrap certificate as its group says, and bounded by the group.

1. The certificate has exactly one value at the group's source.
2. The group's prefix and suffix are taken off, or its pattern takes the id out.
3. The result is a device id (domain/names.py) of the group's `ids`.
"""

from __future__ import annotations

from firstboot.domain import patterns
from firstboot.domain.errors import DeviceIdInvalid, DeviceNotExpected, Reason
from firstboot.domain.fleet import Group
from firstboot.domain.names import DeviceId, IdRule, device_id
from firstboot.pki import sources
from firstboot.pki.certificate import Certificate

LONGEST = 256
"""Characters of a value that an id is taken out of."""


def certified(leaf: Certificate, group: Group, rule: IdRule) -> DeviceId:
    """Return the id that a verified bootstrap certificate of the group gives its device.

    `rule` is the fleet's rule for ids.
    Raises CertificateMalformed, DeviceIdInvalid.
    """
    found = sources.value(leaf, group.device_id)  # 1
    name = device_id(_extracted(found, group), rule)  # 2, 3
    if not group.may_name(name):
        raise _unfit(f"Group {group.name} has {group.space}, and the certificate names {name}")
    return name


def requested(said: str, group: Group, rule: IdRule) -> DeviceId:
    """Return the id that a device with the group's claim certificate asks for.

    Raises DeviceIdInvalid, DeviceNotExpected.
    """
    name = device_id(said, rule)
    if not group.may_name(name):
        # An attacker may have the claim certificate. With the one refusal of each id that is not expected,
        # the answers do not tell which ids the group has.
        raise DeviceNotExpected(log=f"group {group.name} has {group.space}, and was asked for {name}")
    return name


def _extracted(found: str, group: Group) -> str:
    if len(found) > LONGEST:
        raise _unfit(f"The value at {group.device_id} has {len(found):,} characters; {LONGEST} are read")
    if group.pattern:
        name = patterns.extract(group.pattern, found)
        if name is None:
            raise _unfit(f"The group's pattern does not match {found!a}, the value at {group.device_id}")
        return name
    prefix, suffix = group.strip_prefix, group.strip_suffix
    # Without both, a certificate for `sn1` and one for `1` would give two devices the same id.
    if len(found) < len(prefix + suffix) or not (found.startswith(prefix) and found.endswith(suffix)):
        wanted = " and ".join(
            f"{verb} with {part!a}" for verb, part in (("begin", prefix), ("end", suffix)) if part
        )
        raise _unfit(f"The value at {group.device_id} must {wanted}, and is {found!a}")
    return found.removeprefix(prefix).removesuffix(suffix)


def _unfit(detail: str) -> DeviceIdInvalid:
    # The reason tells JITR that another fleet definition could admit the certificate.
    return DeviceIdInvalid(detail, reason=Reason.CERTIFICATE_NAME)
