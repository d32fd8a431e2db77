"""A CDK app that has Firstboot in a stack of its own resources (docs/construct.md)."""

from pathlib import Path

from aws_cdk import App, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns_subscriptions as subscriptions

from infra.configuration import Configuration
from infra.firstboot import Firstboot

EXAMPLES = Path(__file__).parents[1]

app = App()
stack = Stack(app, "Acme")
firstboot = Firstboot(stack, "Firstboot", Configuration(fleet=EXAMPLES / "one-product"))

# The bucket that the fleet's grant `telemetry` names. Firstboot gives the rights and makes no bucket.
s3.Bucket(
    stack,
    "Telemetry",
    bucket_name=f"acme-telemetry-{stack.account}-{stack.region}",
    block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
    enforce_ssl=True,
    removal_policy=RemovalPolicy.RETAIN,
)

# The operators: a role that may do what the console does. An alarm sends them an e-mail.
operators = iam.Role(stack, "Operators", assumed_by=iam.AccountRootPrincipal())
firstboot.operate.grant_invoke(operators)
firstboot.alarms.topic.add_subscription(subscriptions.EmailSubscription("ops@example.com"))

app.synth()
