"""Policies of AWS IoT, by name.

A policy serves every certificate that it is attached to, so a changed grant costs one new version and no call
for each device.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered, error_code
from firstboot.policy.errors import PoliciesTooLarge

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


class IotPolicies:
    """The policies of one account and region. Every method raises Unavailable."""

    def __init__(self, client: IoTClient) -> None:
        self._client = client

    def ensure(self, name: str, document: str) -> None:
        """Create the policy `name`, or give it a new version, so that it says `document` (JSON).

        A repeat changes nothing.
        """
        try:
            with answered("ResourceAlreadyExistsException"):
                self._client.create_policy(policyName=name, policyDocument=document)
        except ClientError:
            self._replace(name, document)

    def attach(self, name: str, target: str) -> None:
        """Attach a policy to a certificate's ARN (AttachPolicy). A repeat changes nothing.

        A policy that is missing is Unavailable, because the sweep's next run makes it. Only the sweep's role
        may say what certificates with a policy may do. Raises PoliciesTooLarge if the certificate may have no
        further policy.
        """
        try:
            with answered("LimitExceededException"):
                self._client.attach_policy(policyName=name, target=target)
        except ClientError as error:
            raise PoliciesTooLarge(log=f"AttachPolicy: {error_code(error)}") from error

    def names(self, prefix: str) -> list[str]:
        """Return the names of the policies that begin with `prefix` (ListPolicies, all pages)."""
        with answered():
            pages = self._client.get_paginator("list_policies").paginate()
            found = [policy["policyName"] for page in pages for policy in page["policies"]]
        # AWS IoT has no filter by name.
        return [name for name in found if name.startswith(prefix)]

    def remove_unused(self, name: str) -> None:
        """Delete a policy and its versions unless it is attached (ListTargetsForPolicy, DeletePolicy).

        AWS IoT counts a policy as attached for up to five minutes after its detachment (DeletePolicy), so it
        may survive until a later call. A repeat changes nothing.
        """
        try:
            with answered("ResourceNotFoundException", "DeleteConflictException"):
                if self._client.list_targets_for_policy(policyName=name)["targets"]:
                    return
                self._make_room(name)
                self._client.delete_policy(policyName=name)
        except ClientError:
            return  # another run deleted it, or it was attached again

    def _replace(self, name: str, document: str) -> None:
        with answered():
            known = self._client.get_policy(policyName=name)["policyDocument"]
            if json.loads(known) == json.loads(document):
                return
            self._make_room(name)
            self._client.create_policy_version(policyName=name, policyDocument=document, setAsDefault=True)

    def _make_room(self, name: str) -> None:
        """Delete all versions but the one in force: AWS IoT keeps five at most (CreatePolicyVersion)."""
        for version in self._client.list_policy_versions(policyName=name)["policyVersions"]:
            if not version["isDefaultVersion"]:
                self._client.delete_policy_version(policyName=name, policyVersionId=version["versionId"])
