"""Microsoft's own device client takes a shared access signature of the product for a device at its hub.

tests/clients/ways.py has a device id without dots and underscores.
"""

from __future__ import annotations

from tests.aws.conftest import aws, bucket, ca_key, issuing_ca, product, product_of, table
from tests.aws.product import Product
from tests.aws.test_hub_signatures import HUB, KEYS, ask, signing
from tests.clients.hub import check_taken, taken

__all__ = ["aws", "bucket", "ca_key", "issuing_ca", "product", "product_of", "signing", "table"]  # fixtures


def test_the_client_takes_a_signature(signing: Product) -> None:
    """The client finds hub, device id and end in the signature, and would sign alike with the key."""
    token = ask(signing, signing.identity("SN_0.9")).body["token"]
    check_taken(token, KEYS.primary, HUB, "SN_0.9")
    assert taken(token, KEYS.secondary)["same"] is False
