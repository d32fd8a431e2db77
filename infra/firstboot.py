"""Firstboot as one construct, for our own app or anybody's."""

from __future__ import annotations

from aws_cdk import CfnOutput, Stack, Token
from constructs import Construct

from firstboot.fleet.compiler import load
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
from infra.steps import steps
from infra.storage import Registry, Store
from infra.sweep import Sweep
from infra.vend import Vend


class Firstboot(Construct):
    """Everything Firstboot is in an AWS account. A stack has one: names in AWS IoT come from the stack's.

    Whoever may invoke `operate` is an operator; `alarms.topic` is told when someone must look; `mtls` is
    None without a domain. `registry`, `store`, `authority` and `api` are what the console and devices use.
    The stack's outputs have the names that the console finds them by.

    Raises FleetInvalid for a fleet folder with errors, ValueError when the stack can't have a Firstboot.
    """

    def __init__(self, scope: Construct, construct_id: str, configuration: Configuration) -> None:
        _check(Stack.of(scope))
        super().__init__(scope, construct_id)
        fleet = load(configuration.fleet)
        self.registry = Registry(self, "Registry")
        self.store = Store(self, "Store")
        deployment = Deployment(
            configuration, fleet, code(configuration.target, fleet), self.registry, self.store
        )
        self.authority = Authority(self, "Authority", deployment=deployment)
        exchange = Exchange(self, "Exchange", deployment=deployment, authority=self.authority)
        vend = Vend(self, "Vend", deployment=deployment, authority=self.authority)
        mqtt = Mqtt(self, "Mqtt", deployment=deployment, exchange=exchange, vend=vend)
        newcomers = Newcomers(self, "Newcomers", deployment=deployment)
        register = Register(self, "Register", deployment=deployment)
        self.operate = Operate(
            self,
            "Operate",
            deployment=deployment,
            functions=mqtt.functions,
            dead_letters={
                "requests": DeadLettersOf(mqtt.undelivered),
                "registrations": DeadLettersOf(register.queues.dead, register.queues.paced),
                "newcomers": DeadLettersOf(newcomers.dead, newcomers.queue),
            },
        )
        sweep = Sweep(self, "Sweep", deployment=deployment, queue=register.queues.paced)
        self.api = Api(self, "Api", exchange=exchange, vend=vend)
        functions: dict[str, Function] = {
            "Exchange": exchange,
            "ExchangeMqtt": exchange.mqtt,
            "Presence": mqtt.presence,
            "Vend": vend,
            "VendMqtt": vend.mqtt,
            "Operate": self.operate,
            "Sweep": sweep,
            "Authority": self.authority.function,
            "Watch": self.authority.watch,
            "Newcomers": newcomers,
            "RegisterWork": register.work,
            "RegisterChanges": register.changes,
        }
        assign = None
        if fleet.issuers:
            assign = Assign(self, "Assign", deployment=deployment)
            functions["Assign"] = assign
        self.alarms = Alarms(self, "Alarms", functions=functions, api=self.api, fleet=fleet)
        self.alarms.watch_newcomers(newcomers.dead)
        self.alarms.watch_requests(mqtt.undelivered)
        self.alarms.watch_registration(register.queues.dead)
        self.mtls = self._mtls(configuration)
        outputs = self._outputs() | {
            "ExchangeFunction": exchange.function_name,
            "VendFunction": vend.function_name,
            "RegistrationQueue": register.queues.paced.queue_url,
            "DeadQueue": register.queues.dead.queue_url,
        }
        if assign:
            outputs |= {"AuthorizerName": assign.authorizer.ref, "TokenAudience": assign.audience}
        for name, value in outputs.items():
            self._output(name, value)
        for number, step in enumerate(steps(fleet, Stack.of(self).stack_name, self.api.api_endpoint), 1):
            self._output(f"Next{number}", step.command, step.purpose)

    def _mtls(self, configuration: Configuration) -> MtlsHost | None:
        if not configuration.domain:
            return None
        return MtlsHost(
            self,
            "MtlsHost",
            domain=configuration.domain,
            api=self.api,
            store=self.store,
            truststore_version=self.authority.truststore_version,
        )

    def _outputs(self) -> dict[str, str]:
        outputs = {
            "PublicUrl": self.api.api_endpoint,
            "ApiId": self.api.api_id,
            "OperateFunction": self.operate.function_name,
            "CertificatesBucket": self.store.bucket_name,
            "Table": self.registry.table_name,
            "CaKey": self.authority.key.key_id,
            "AlarmTopic": self.alarms.topic.topic_arn,
        }
        if self.mtls:
            outputs |= {
                "MtlsUrl": self.mtls.url,
                "MtlsAlias": self.mtls.regional_domain_name,
            }
        return outputs

    def _output(self, name: str, value: str, description: str | None = None) -> None:
        """An output of the stack, under this very name wherever in the tree this is."""
        CfnOutput(self, name, value=value, description=description).override_logical_id(name)


def _check(stack: Stack) -> None:
    """Raises ValueError unless `stack` has a name of its own and no Firstboot yet."""
    if Token.is_unresolved(stack.stack_name):
        raise ValueError("a Firstboot needs a stack with a name of its own: it can't be in a nested one")
    for construct in stack.node.find_all():
        if isinstance(construct, Firstboot):
            raise ValueError(  # noqa: TRY004 - two of them are the mistake, not their type
                f"{stack.stack_name} has a Firstboot already, {construct.node.path}: give each its own stack"
            )
