"""The app with a bug: a release whose `authority` can't start."""

from __future__ import annotations

from typing import cast

from aws_cdk import aws_lambda as lambda_

from infra.app import application
from infra.firstboot import Firstboot
from local.cloud import STACK
from local.processes import ROOT

if __name__ == "__main__":
    app = application(ROOT)
    firstboot = cast("Firstboot", app.node.find_child(STACK).node.find_child("Default"))
    function = firstboot.authority.function
    cast("lambda_.CfnFunction", function.node.default_child).handler = "authority.renamed"
    app.synth()
