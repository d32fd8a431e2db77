"""The app: configuration and fleet in, a checked stack out."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import App, Validations
from cdk_nag import AwsSolutionsChecks, ServerlessChecks

from firstboot.fleet.compiler import load
from infra.configuration import Configuration
from infra.retained import RetainedStack
from infra.stack import FirstbootStack


def application(root: Path) -> App:
    """The app that cdk.json, in CDK's context, and the fleet folder under `root` describe.

    cdk-nag's findings that nobody acknowledged fail its synth.
    Raises FleetInvalid, and what Configuration.read raises.
    """
    app = App()
    configuration = Configuration.read(app.node, root)
    if configuration.adopt:
        RetainedStack(app, configuration.stack)
    else:
        FirstbootStack(app, configuration, load(configuration.fleet))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app), ServerlessChecks(app))
    return app
