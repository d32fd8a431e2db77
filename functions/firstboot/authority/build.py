"""Build the authority Lambda functions from their settings."""

from __future__ import annotations

from firstboot.authority.authority import Authority
from firstboot.authority.handlers import Resource, Resources, Retire, Watch
from firstboot.authority.settings import AuthoritySettings, WatchSettings
from firstboot.authority.watched_key import LookAtKey
from firstboot.aws import clients
from firstboot.aws.dynamodb.proofs import DynamoProofs
from firstboot.aws.iot.endpoint import data_endpoint
from firstboot.aws.kms import DescribedKey, KmsKey, public_key
from firstboot.aws.s3.authority import AuthorityStore
from firstboot.aws.s3.fleet import PublishedFleet, deployed
from firstboot.pki import chain
from firstboot.runtime.event import Work
from firstboot.runtime.guard import Guard


def resource(settings: AuthoritySettings, guard: Guard) -> Work:
    """Return the work of the custom resources."""
    s3 = clients.s3(settings.account)
    store = AuthorityStore(s3, settings.bucket)

    def authority() -> Authority:
        key = KmsKey(clients.kms(), settings.ca_key, public_key(clients.kms(), settings.ca_key))
        return Authority(store, key, settings.subject, int(settings.years))

    secrets = DynamoProofs(clients.dynamodb(), settings.table)
    made = Resource(authority, store, secrets, deployed(), lambda: data_endpoint(clients.iot()), guard)
    return Resources(made, Retire(PublishedFleet(s3, settings.bucket), guard))


def watch(settings: WatchSettings, guard: Guard) -> Work:
    """Return the work of the hourly schedule."""
    look = LookAtKey(DescribedKey(clients.kms(), settings.ca_key), settings.key_policy)
    return Watch(chain.parse(settings.ca_certificate), look, guard)
