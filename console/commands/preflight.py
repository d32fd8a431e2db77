"""`console preflight`: check the account and region before a deployment. It only reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from console import account, cloud, diagnosis, output
from console.account import Reserved
from console.diagnosis import Level, Line
from console.files import naming
from console.options import Json, Options

_QUALIFIER = "@aws-cdk/core:bootstrapQualifier"

Settings = Annotated[
    Path,
    typer.Option(
        metavar="FILE", exists=True, dir_okay=False, help="The cdk.json with the deployment's settings."
    ),
]


def preflight(ctx: typer.Context, *, settings: Settings = Path("cdk.json"), as_json: Json = False) -> None:
    """Check whether AWS would refuse a deployment. Exit code 1 if it would.

    It changes nothing. "unknown" is what AWS does not tell this caller, for example because a permission is
    missing.
    """
    options = Options.of(ctx, None, as_json=as_json)
    with output.failures(as_json=options.as_json):
        with naming(settings):
            context = json.loads(settings.read_text())["context"]
        qualifier = str(context.get(_QUALIFIER, account.QUALIFIER))
        lines = [
            _line("CDK's bootstrap stack", lambda: account.bootstrap(cloud.bootstrap_version(qualifier))),
            _line(
                "Lambda's concurrency",
                lambda: account.concurrency(cloud.executions(), Reserved.of_settings(context)),
            ),
        ]
        found = {"lines": [asdict(line) for line in lines]}
        output.result(found, lambda _: [output.judged(line) for line in lines], as_json=options.as_json)
        if any(line.level is Level.FAIL for line in lines):
            raise typer.Exit(output.REFUSED)


def _line(what: str, check: Callable[[], Line]) -> Line:
    try:
        return check()
    except (BotoCoreError, ClientError) as error:
        return diagnosis.unknown(what, error)
