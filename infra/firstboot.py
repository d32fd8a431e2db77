"""Firstboot as one construct, for this project's app and for other CDK apps."""

from __future__ import annotations

from aws_cdk import Annotations, CfnOutput, Stack, Token
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from firstboot.compiler import outlook, public_host, sums, topic_limits, ways
from firstboot.compiler.errors import FleetInvalid
from firstboot.compiler.fleet import load
from firstboot.domain.clock import utc_now
from firstboot.domain.fleet import Fleet
from firstboot.domain.ways import PROVISIONING
from infra.alarms import Alarms
from infra.assets import Assets
from infra.assign import Assign
from infra.authority import Authority
from infra.configuration import Configuration
from infra.deployment import Deployment
from infra.exchange import Exchange
from infra.hosts import hosts
from infra.jitr import Jitr
from infra.mqtt import Mqtt
from infra.only_stack import OnlyStack
from infra.operate import DeadLettersOf, Operate, ReadOnlyOperate
from infra.provisioning import Provisioning
from infra.register import Register
from infra.steps import steps
from infra.storage import DeviceRecords, Store
from infra.sweep import Sweep
from infra.throttles import region
from infra.validation import check_limits
from infra.vend import Vend

_LOWER = (
    "The stack's region is not known here, so the throttles fit the lower of API Gateway's default quotas,"
    " 2,500 requests a second. Give the stack a region, or set apiRate to the account's quota."
)


class Firstboot(Construct):
    """All of Firstboot in one stack.

    `operate` is the Lambda of the operators, `read` the one of those who may only read. Each alarm notifies
    `alarms.topic`. `mtls` is None without a domain, and `api`, which is the public host's, without a public
    host. The console and devices use `device_records`, `store`, `authority` and the hosts.

    Raises FleetInvalid for a fleet folder with errors, ValueError when the stack can't have a Firstboot.
    """

    def __init__(self, scope: Construct, construct_id: str, configuration: Configuration) -> None:
        _check(Stack.of(scope))
        super().__init__(scope, construct_id)
        check_limits(self)
        fleet = load(configuration.fleet)
        self._warn(configuration, fleet)
        only = OnlyStack(self)
        # Construct ids keep the spelling of deployed stacks ("Registry", "Newcomers"), because with another
        # id a deployment would replace the resources.
        self.device_records = DeviceRecords(self, "Registry")
        self.store = Store(self, "Store")
        deployment = Deployment(
            configuration,
            fleet,
            Assets(self, configuration.target, fleet),
            self.device_records,
            self.store,
        )
        self.authority = Authority(self, "Authority", deployment=deployment)
        self._exchange = Exchange(self, "Exchange", deployment=deployment, authority=self.authority)
        self.authority.watch_key()
        self._vend = Vend(self, "Vend", deployment=deployment, authority=self.authority)
        self._mqtt = Mqtt(self, "Mqtt", deployment=deployment, exchange=self._exchange, vend=self._vend)
        self._jitr = Jitr(self, "Newcomers", deployment=deployment)
        self._register = Register(self, "Register", deployment=deployment)
        self.read = ReadOnlyOperate(self, "OperateRead", deployment=deployment)
        self.operate = self._operate(deployment)
        self._sweep = Sweep(self, "Sweep", deployment=deployment, queues=self._register.queues)
        self._hosts = hosts(
            self,
            deployment=deployment,
            authority=self.authority,
            functions={"exchange": self._exchange, "vend": self._vend},
        )
        self.api, self.mtls = self._hosts.public, self._hosts.mtls
        self._assign = Assign(self, "Assign", deployment=deployment) if fleet.issuers else None
        self._provisioning = (
            Provisioning(self, "Provisioning", deployment=deployment)
            if PROVISIONING in fleet.offers
            else None
        )
        self.alarms = self._watched(fleet)
        parts = [part for part in self.node.children if part not in (only, self.authority)]
        self.authority.retire_publications(fleet, parts)
        only.precede([*parts, self.authority])
        for name, value in self._outputs().items():
            self._output(name, value)
        for number, step in enumerate(steps(fleet, Stack.of(self).stack_name, self._hosts.option), 1):
            self._output(f"Next{number}", step.command, step.purpose)

    def _operate(self, deployment: Deployment) -> Operate:
        queues = self._register.queues
        return Operate(
            self,
            "Operate",
            deployment=deployment,
            authority=self.authority,
            read=self.read,
            dead_letters={
                "requests": DeadLettersOf(self._mqtt.undelivered),
                "registrations": DeadLettersOf(queues.dead, queues.changes),
                "stream": DeadLettersOf(queues.lost_dead, queues.lost),
                "newcomers": DeadLettersOf(self._jitr.dead, self._jitr.passed),
            },
        )

    def _warn(self, configuration: Configuration, fleet: Fleet) -> None:
        """Show what may keep devices out. Raises FleetInvalid if the fleet needs a host that is missing."""
        lines = outlook.warnings(fleet, utc_now())
        if not configuration.public:
            if problems := public_host.needs(fleet):
                raise FleetInvalid([f"fleet.toml: {problem}" for problem in problems])
            lines += public_host.may_need(fleet)
        for number, line in enumerate(lines, 1):
            Annotations.of(self).add_warning_v2(f"firstboot:trust-anchor-{number}", line)
        # This is no error, because `python -m local` has an mTLS host without a domain.
        missing = [] if configuration.domain else ways.without_mtls_host(fleet)
        for number, line in enumerate(ways.warnings(fleet) + missing, 1):
            Annotations.of(self).add_warning_v2(f"firstboot:ways-{number}", line)
        if not configuration.api_rate and region(Stack.of(self)) is None:
            Annotations.of(self).add_info_v2("firstboot:api-rate", _LOWER)
        for number, line in enumerate(sums.warnings(fleet) + topic_limits.warnings(fleet), 1):
            Annotations.of(self).add_warning_v2(f"firstboot:grants-{number}", line)

    def _watched(self, fleet: Fleet) -> Alarms:
        functions: dict[str, lambda_.Function] = {
            "Exchange": self._exchange,
            "ExchangeMqtt": self._exchange.mqtt,
            "Presence": self._mqtt.presence,
            "Vend": self._vend,
            "VendMqtt": self._vend.mqtt,
            "Operate": self.operate,
            "OperateRead": self.read,
            "Sweep": self._sweep,
            "Authority": self.authority.function,
            "Watch": self.authority.watch,
            "Newcomers": self._jitr,
            "RegisterWork": self._register.work,
            "RegisterChanges": self._register.changes,
            "RegisterLost": self._register.lost,
            **self._hosts.functions,
        }
        if self._assign:
            functions["Assign"] = self._assign
        if self._provisioning:
            functions["Provisioning"] = self._provisioning
        alarms = Alarms(self, "Alarms", functions=functions, apis=self._hosts.apis, fleet=fleet)
        alarms.watch_jitr(self._jitr.dead)
        alarms.watch_requests(self._mqtt.undelivered)
        alarms.watch_register(self._register.queues.dead)
        alarms.watch_stream(self._register.queues.lost_dead)
        alarms.watch_key(own=self.authority.owns_the_key)
        return alarms

    def _outputs(self) -> dict[str, str]:
        outputs = {
            **self._hosts.outputs,
            "OperateFunction": self.operate.function_name,
            "ReadFunction": self.read.function_name,
            "ExchangeFunction": self._exchange.function_name,
            "VendFunction": self._vend.function_name,
            "CertificatesBucket": self.store.bucket_name,
            "Table": self.device_records.table_name,
            "CaKey": self.authority.key.key_id,
            "RegistrationQueue": self._register.queues.changes.queue_url,
            "DeadQueue": self._register.queues.dead.queue_url,
            "AlarmTopic": self.alarms.topic.topic_arn,
        }
        if self._assign:
            outputs["AuthorizerName"] = self._assign.authorizer.ref
            outputs["TokenAudience"] = self._assign.audience
        if self._provisioning:
            outputs["ProvisioningTemplate"] = self._provisioning.template.ref
        return outputs

    def _output(self, name: str, value: str, description: str | None = None) -> None:
        """Add an output of the stack under exactly this name."""
        # CDK would prefix the construct's path. The console finds outputs by fixed names.
        CfnOutput(self, name, value=value, description=description).override_logical_id(name)


def _check(stack: Stack) -> None:
    """Check that `stack` has a name of its own and no Firstboot yet.

    Raises ValueError.
    """
    if Token.is_unresolved(stack.stack_name):
        raise ValueError("a Firstboot needs a stack with a name of its own and can't be in a nested stack")
    for construct in stack.node.find_all():
        if isinstance(construct, Firstboot):
            # Names in AWS IoT begin with the stack's name, and outputs have fixed names.
            raise ValueError(  # noqa: TRY004 - the number of constructs is wrong, not a type
                f"{stack.stack_name} has a Firstboot already ({construct.node.path}); give each its own stack"
            )
