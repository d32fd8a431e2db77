"""The devices' certificates in the AWS IoT registry, as `register` gives them rights and takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from firstboot.aws.clients import already, answered, error_code
from firstboot.aws.iot.certificates import IotCertificates
from firstboot.aws.iot.policies import IotPolicies
from firstboot.domain.aws_iot import AGAIN_SECONDS, BrokerCertificate, CertificateStatus
from firstboot.domain.errors import InternalError, Unavailable
from firstboot.domain.names import DeviceId
from firstboot.pki import chain
from firstboot.policy.limits import check_documents
from firstboot.policy.render import Place

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient

_GONE = "ResourceNotFoundException"
_CONFLICT = "DeleteConflictException"
_STATE = "CertificateStateException"
_THERE = "ResourceAlreadyExistsException"


class IotRegistered:
    """The port Certificates of `register`.

    Names of policies that are ours begin with the stack's name. Every method may be repeated, also after a
    lost reply, and raises Unavailable when AWS IoT does not answer.
    """

    def __init__(self, client: IoTClient, stack: str, place: Place) -> None:
        self._client = client
        self._prefix = f"{stack}-"
        self._certificates = f"arn:{place.partition}:iot:{place.region}:{place.account}:cert/"
        self._policies = IotPolicies(client)

    def find(self, certificate_id: str) -> BrokerCertificate | None:
        """Return the certificate with this id, or None (DescribeCertificate)."""
        return IotCertificates(self._client).find(certificate_id)

    def register(self, leaf: x509.Certificate) -> None:
        """Register a certificate as INACTIVE, unless it is registered (RegisterCertificateWithoutCA).

        Raises InternalError if AWS IoT has it under another id than its SHA-256. No document of AWS says how
        the id is made, and every other call is about the certificate with that id.
        """
        # Without a registered CA, AWS IoT accepts a certificate from clients that send SNI, as ours do. The
        # issuing CA need not be registered in the account then.
        pem, expected = leaf.public_bytes(Encoding.PEM).decode(), chain.fingerprint(leaf)
        register = self._client.register_certificate_without_ca
        try:
            with answered(_THERE):
                found = register(certificatePem=pem, status="INACTIVE")["certificateId"]
        except self._client.exceptions.ResourceAlreadyExistsException as error:
            # `resourceId` is optional (API reference, RegisterCertificateWithoutCA, Errors). Without it the
            # next call shows whether AWS IoT has the expected certificate.
            found = str(error.response.get("resourceId") or expected)
        if found != expected:
            raise InternalError(log=f"AWS IoT registered the certificate {expected} as {found}")

    def set_status(self, certificate_id: str, status: CertificateStatus) -> bool:
        """Set a certificate's status; return whether AWS IoT has the certificate (UpdateCertificate).

        A certificate that AWS IoT does not have is an error for ACTIVE: it has no rights to take.
        """
        try:
            with answered() if status == "ACTIVE" else answered(_GONE):
                self._client.update_certificate(certificateId=certificate_id, newStatus=status)
        except ClientError:
            return False
        return True

    def set_policies(self, certificate_id: str, documents: dict[str, str], write: Callable[[], None]) -> None:
        """Attach exactly these of our policies to a certificate; `documents` maps names to JSON.

        Calls ListAttachedPolicies, then DetachPolicy and AttachPolicy for the difference, and `write` before
        them if there is one. The documents count towards AWS IoT's limits. Policies of others stay. Raises
        PoliciesTooLarge after detaching and before attaching.
        """
        target = self._arn(certificate_id)
        attached = self._attached(target)
        ours = {name for name in attached if name.startswith(self._prefix)}
        if ours != documents.keys():
            write()
        # Surplus rights are taken first: the check below may raise.
        for name in sorted(ours - documents.keys()):
            self._detach(name, target)
        # Policies of others count towards AWS IoT's limit of policies, but their sizes are not known here.
        check_documents([*(len(each) for each in documents.values()), *(0 for _ in attached - ours)])
        for name in sorted(documents.keys() - ours):
            self._policies.attach(name, target)

    def delete(self, certificate_id: str, device_id: DeviceId, *, ours: bool) -> bool:
        """Delete a certificate that is not ACTIVE; return whether it is gone.

        Calls ListAttachedPolicies, DetachPolicy and DeleteCertificate, and after a conflict
        ListPrincipalThings and DetachThingPrincipal. AWS IoT deletes no certificate that has a policy or a
        thing, or is ACTIVE (API reference, DeleteCertificate). From a certificate that is `ours` every policy
        and thing is detached. Another's stays if it has a policy of others or another thing than the
        device's. Raises Unavailable with a time while AWS IoT is not ready: a detachment takes effect later
        (API reference, DetachThingPrincipal).
        """
        target = self._arn(certificate_id)
        attached = self._attached(target)
        if not ours and any(not name.startswith(self._prefix) for name in attached):
            return False
        for name in sorted(attached):
            self._detach(name, target)
        try:
            with answered(_GONE, _CONFLICT, _STATE):
                self._client.delete_certificate(certificateId=certificate_id)
        except ClientError as error:
            code = error_code(error)
            if code == _GONE:
                return True
            things = self._things(target) if code == _CONFLICT else set()
            if not ours and things - {device_id}:
                return False
            for thing in sorted(things):
                with already(_GONE):
                    self._client.detach_thing_principal(thingName=thing, principal=target)
            raise Unavailable(log=f"DeleteCertificate: {code}", retry_after=AGAIN_SECONDS) from error
        return True

    def _attached(self, target: str) -> set[str]:
        pages = self._client.get_paginator("list_attached_policies")
        try:
            with answered(_GONE):
                listed = pages.paginate(target=target)
                return {policy["policyName"] for page in listed for policy in page["policies"]}
        except ClientError:
            return set()

    def _things(self, target: str) -> set[str]:
        pages = self._client.get_paginator("list_principal_things")
        try:
            with answered(_GONE):
                return {thing for page in pages.paginate(principal=target) for thing in page["things"]}
        except ClientError:
            return set()

    def _detach(self, name: str, target: str) -> None:
        with already(_GONE):
            self._client.detach_policy(policyName=name, target=target)

    def _arn(self, certificate_id: str) -> str:
        return f"{self._certificates}{certificate_id}"
