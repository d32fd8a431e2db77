"""The app: configuration and fleet in, a checked stack out."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import App, Stack, Validations
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

from infra.configuration import Configuration, flag, required
from infra.firstboot import Firstboot
from infra.retained import Retained

_ROOT = "Default"
"""CDK leaves this id out of logical ids, so that what is in the construct has them as if in the stack."""


def application(root: Path) -> App:
    """The app that cdk.json, in CDK's context, and the fleet folder under `root` describe.

    `adopt` there is for `cdk import` alone, which takes back what a deleted stack has left. cdk-nag's
    findings that nobody acknowledged fail the app's synth.
    Raises FleetInvalid, and what Configuration.read raises.
    """
    app = App()
    configuration = Configuration.read(app.node, root)
    name = required(app.node, "stack")
    if flag(required(app.node, "adopt")):
        stack = Stack(app, name, description="Firstboot: what a deleted stack has left")
        Retained(stack, _ROOT, configuration)
    else:
        stack = Stack(app, name, description="Firstboot: credentials for devices, from first boot on")
        Firstboot(stack, _ROOT, configuration)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    return app
