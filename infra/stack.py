"""The whole stack, put together."""

from __future__ import annotations

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from firstboot.fleet.model import Fleet
from infra.alarms import Alarms
from infra.api import Api
from infra.assign import Assign
from infra.authority import Authority
from infra.bundling import code
from infra.configuration import Configuration
from infra.deployment import Deployment
from infra.exchange import Exchange
from infra.function import Function
from infra.mqtt import Mqtt
from infra.mtls import MtlsHost
from infra.newcomers import Newcomers
from infra.operate import DeadLettersOf, Operate
from infra.register import Register
from infra.storage import Registry, Store
from infra.sweep import Sweep
from infra.vend import Vend


class FirstbootStack(Stack):
    """Everything Firstboot is in an AWS account."""

    def __init__(self, scope: Construct, configuration: Configuration, fleet: Fleet) -> None:
        super().__init__(
            scope, configuration.stack, description="Firstboot: credentials for devices, from first boot on"
        )
        # CDK lets a function depend on its role, which it also names.
        self.template_options.metadata = {"cfn-lint": {"config": {"ignore_checks": ["W3005"]}}}
        deployment = Deployment(configuration, fleet, code(configuration.target, fleet))
        registry = Registry(self, "Registry")
        store = Store(self, "Store")
        authority = Authority(self, "Authority", deployment=deployment, store=store)
        exchange = Exchange(
            self,
            "Exchange",
            deployment=deployment,
            registry=registry,
            store=store,
            authority=authority,
        )
        vend = Vend(
            self,
            "Vend",
            deployment=deployment,
            registry=registry,
            store=store,
            authority=authority,
        )
        mqtt = Mqtt(
            self,
            "Mqtt",
            deployment=deployment,
            registry=registry,
            store=store,
            exchange=exchange,
            vend=vend,
        )
        newcomers = Newcomers(self, "Newcomers", deployment=deployment, registry=registry, store=store)
        register = Register(self, "Register", deployment=deployment, registry=registry, store=store)
        operate = Operate(
            self,
            "Operate",
            deployment=deployment,
            registry=registry,
            store=store,
            functions=mqtt.functions,
            dead_letters={
                "requests": DeadLettersOf(mqtt.undelivered),
                "registrations": DeadLettersOf(register.queues.dead, register.queues.paced),
                "newcomers": DeadLettersOf(newcomers.dead, newcomers.queue),
            },
        )
        sweep = Sweep(
            self,
            "Sweep",
            deployment=deployment,
            registry=registry,
            store=store,
            queue=register.queues.paced,
        )
        api = Api(self, "Api", exchange=exchange, vend=vend)
        functions: dict[str, Function] = {
            "Exchange": exchange,
            "ExchangeMqtt": exchange.mqtt,
            "Presence": mqtt.presence,
            "Vend": vend,
            "VendMqtt": vend.mqtt,
            "Operate": operate,
            "Sweep": sweep,
            "Authority": authority.function,
            "Watch": authority.watch,
            "Newcomers": newcomers,
            "RegisterWork": register.work,
            "RegisterChanges": register.changes,
        }
        assign = None
        if fleet.issuers:
            assign = Assign(self, "Assign", deployment=deployment, registry=registry, store=store)
            functions["Assign"] = assign
        alarms = Alarms(self, "Alarms", functions=functions, api=api, fleet=fleet)
        alarms.watch_newcomers(newcomers.dead)
        alarms.watch_requests(mqtt.undelivered)
        alarms.watch_registration(register.queues.dead)
        outputs = {
            "PublicUrl": api.api_endpoint,
            "ApiId": api.api_id,
            "OperateFunction": operate.function_name,
            "ExchangeFunction": exchange.function_name,
            "VendFunction": vend.function_name,
            "CertificatesBucket": store.bucket_name,
            "Table": registry.table_name,
            "CaKey": authority.key.key_id,
            "RegistrationQueue": register.queues.paced.queue_url,
            "DeadQueue": register.queues.dead.queue_url,
            "AlarmTopic": alarms.topic.topic_arn,
        }
        if assign:
            outputs["AuthorizerName"] = assign.authorizer.ref
            outputs["TokenAudience"] = assign.audience
        if configuration.domain:
            host = MtlsHost(
                self,
                "MtlsHost",
                domain=configuration.domain,
                api=api,
                store=store,
                truststore_version=authority.truststore_version,
            )
            outputs["MtlsUrl"] = f"https://{configuration.domain.name}"
            outputs["MtlsAlias"] = host.regional_domain_name
        for name, value in outputs.items():
            CfnOutput(self, name, value=value)
