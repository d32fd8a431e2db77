"""The app with a domain that leads to the public host's API, as it did before that host had its own."""

from __future__ import annotations

from typing import cast

from aws_cdk import aws_apigatewayv2 as apigw

from infra.app import application
from infra.firstboot import Firstboot
from local.cloud import STACK
from local.processes import ROOT

if __name__ == "__main__":
    app = application(ROOT)
    firstboot = cast("Firstboot", app.node.find_child(STACK).node.find_child("Default"))
    assert firstboot.api
    mapping = cast("apigw.CfnApiMapping", firstboot.node.find_child("MtlsHostMapping"))
    mapping.api_id, mapping.stage = firstboot.api.api_id, firstboot.api.stage.ref
    app.synth()
