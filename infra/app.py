"""Builds the CDK app from the configuration and the fleet folder."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import App, Stack, Validations
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

from infra.configuration import Configuration, flag, required
from infra.firstboot import Firstboot
from infra.retained import Retained

_ROOT = "Default"
"""The construct's id. CDK leaves `Default` out of logical ids, so resources keep the logical ids that they
had when they stood in the stack itself, before there was a construct."""


def application(root: Path) -> App:
    """Return the app that CDK's context (cdk.json) and the fleet folder under `root` describe.

    With `adopt` in the context, the stack has only what a deleted stack left, for `cdk import`. A finding of
    cdk-nag that is not acknowledged fails the app's synth.
    Raises FleetInvalid, and what Configuration.read raises.
    """
    app = App()
    configuration = Configuration.read(app.node, root)
    name = required(app.node, "stack")
    if flag(required(app.node, "adopt")):
        stack = Stack(app, name, description="Firstboot: resources that a deleted stack left")
        Retained(stack, _ROOT, configuration)
    else:
        stack = Stack(app, name, description="Firstboot: credentials for devices, from first boot on")
        Firstboot(stack, _ROOT, configuration)
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    return app
