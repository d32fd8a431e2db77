"""The mTLS host. An HTTP API supports mTLS only on a custom domain."""

from __future__ import annotations

from aws_cdk import aws_apigatewayv2 as apigw
from aws_cdk import aws_certificatemanager as acm
from constructs import Construct

from firstboot.domain.names import TRUSTSTORE_KEY
from infra.api import Api
from infra.configuration import Domain
from infra.storage import Store


class MtlsHost(apigw.DomainName):
    """The custom domain that demands a client certificate of a factory CA or of the issuing CA.

    It maps to `api`, which has no other address.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        domain: Domain,
        api: Api,
        store: Store,
        truststore_version: str,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            domain_name=domain.name,
            certificate=acm.Certificate.from_certificate_arn(
                scope, f"{construct_id}Certificate", domain.certificate_arn
            ),
            ownership_certificate=_ownership(scope, construct_id, domain),
            # API Gateway reads the truststore only when the domain changes. A new version must therefore be
            # named.
            mtls=apigw.MTLSConfig(bucket=store, key=TRUSTSTORE_KEY, version=truststore_version),
            security_policy=apigw.SecurityPolicy.TLS_1_2,
        )
        self.api = api
        self.url = f"https://{domain.name}"
        # An update from a version with one API moves the mapping in place. By then the API is whole: the
        # stage depends on the routes, and each route on its permission to invoke.
        apigw.CfnApiMapping(
            scope, f"{construct_id}Mapping", api_id=api.api_id, domain_name=self.name, stage=api.stage.ref
        )


def _ownership(scope: Construct, construct_id: str, domain: Domain) -> acm.ICertificate | None:
    # API Gateway developer guide, "How to turn on mutual TLS authentication for your HTTP APIs": the domain
    # of an imported certificate, or of one of a private CA, needs a second one that ACM issued.
    if not domain.ownership_certificate_arn:
        return None
    return acm.Certificate.from_certificate_arn(
        scope, f"{construct_id}Ownership", domain.ownership_certificate_arn
    )
