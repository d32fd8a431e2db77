"""AWS IoT policies by name. A changed grant is a new version: one call, felt by every device."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from firstboot.aws.clients import answered

if TYPE_CHECKING:
    from mypy_boto3_iot import IoTClient


class IotPolicies:
    """The policies of one account and region."""

    def __init__(self, client: IoTClient) -> None:
        self._client = client

    def ensure(self, name: str, document: str) -> None:
        """Have a policy `name` that says `document` (JSON); repeating it changes nothing."""
        if not self.create(name, document):
            self._replace(name, document)

    def create(self, name: str, document: str) -> bool:
        """CreatePolicy; False if a policy of that name exists, with this or another document."""
        try:
            with answered("ResourceAlreadyExistsException"):
                self._client.create_policy(policyName=name, policyDocument=document)
        except ClientError:
            return False
        return True

    def attach(self, name: str, document: str, target: str) -> None:
        """AttachPolicy; a policy that is missing is made first.

        An existing policy is not changed here: only the sweep's role may change what every certificate with
        the policy may do.
        """
        try:
            with answered("ResourceNotFoundException"):
                self._client.attach_policy(policyName=name, target=target)
        except ClientError:
            self.create(name, document)
            with answered():
                self._client.attach_policy(policyName=name, target=target)

    def names(self, prefix: str) -> list[str]:
        """ListPolicies, every page; AWS IoT filters by no name."""
        with answered():
            pages = self._client.get_paginator("list_policies").paginate()
            found = [policy["policyName"] for page in pages for policy in page["policies"]]
        return [name for name in found if name.startswith(prefix)]

    def remove_unused(self, name: str) -> None:
        """DeletePolicy with every version, unless a target has it, or had it a moment ago: AWS IoT
        takes up to five minutes to forget a detachment (DeletePolicy).
        """
        try:
            with answered("ResourceNotFoundException", "DeleteConflictException"):
                if self._client.list_targets_for_policy(policyName=name)["targets"]:
                    return
                self._make_room(name)
                self._client.delete_policy(policyName=name)
        except ClientError:
            return  # gone already, or in use again

    def _replace(self, name: str, document: str) -> None:
        with answered():
            known = self._client.get_policy(policyName=name)["policyDocument"]
            if json.loads(known) == json.loads(document):
                return
            self._make_room(name)
            self._client.create_policy_version(policyName=name, policyDocument=document, setAsDefault=True)

    def _make_room(self, name: str) -> None:
        """Keep only the version in force: AWS IoT takes five (CreatePolicyVersion)."""
        for version in self._client.list_policy_versions(policyName=name)["policyVersions"]:
            if not version["isDefaultVersion"]:
                self._client.delete_policy_version(policyName=name, policyVersionId=version["versionId"])
