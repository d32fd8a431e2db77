"""The Lambda assets of a stack, as CDK takes them."""

from __future__ import annotations

import shutil
import tempfile
from functools import cached_property
from pathlib import Path

import jsii
from aws_cdk import Annotations, BundlingOptions, DockerImage, ILocalBundling, Stack
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from firstboot.domain.fleet import Fleet
from infra.asset import bytecode
from infra.bundling import FUNCTIONS, Asset, bundle
from infra.configuration import Target

_NO_PYTHON = (
    f"This machine has no Python {bytecode.LAMBDA_PYTHON}, so the Lambda assets have no bytecode, and cold"
    " starts take more than twice as long. docs/deploy.md, 'Cold starts', says how to get one."
)


@jsii.implements(ILocalBundling)
class _Built:
    def __init__(self, asset: Asset) -> None:
        self._asset = asset

    def try_bundle(self, output_dir: str, options: BundlingOptions) -> bool:  # noqa: ARG002 - CDK's signature
        """Fill CDK's output folder with the asset."""
        # If this returned False, CDK would look for Docker.
        shutil.copytree(self._asset.folder, output_dir, dirs_exist_ok=True)
        return True


class Assets:
    """The assets of the stack around `scope`, each shared by the Lambda files that need the same.

    They are built once, and not at all if CDK wants no assets of the stack.
    """

    def __init__(self, scope: Construct, target: Target, fleet: Fleet) -> None:
        self._scope = scope
        self._target = target
        self._fleet = fleet
        self._folder = tempfile.TemporaryDirectory()
        self._codes: dict[tuple[str, ...], lambda_.Code] = {}

    def code(self, handler: str) -> lambda_.Code:
        """Return the asset with the Lambda file of a handler.

        Raises what `bundle` raises. An exception fails the synth.
        """
        name = handler.partition(".")[0]
        asset = self._built[name]
        if asset.lambdas not in self._codes:
            self._codes[asset.lambdas] = _code(asset)
        return self._codes[asset.lambdas]

    @cached_property
    def _built(self) -> dict[str, Asset]:
        """The assets by the names of their Lambda files."""
        if not Stack.of(self._scope).bundling_required:
            return {file.stem: Asset((file.stem,), Path()) for file in FUNCTIONS.glob("*.py")}
        python = bytecode.python(self._target)
        if python is None:
            Annotations.of(self._scope).add_info_v2("firstboot:bytecode", _NO_PYTHON)
        built = bundle(Path(self._folder.name), self._target, self._fleet, python=python)
        return {name: asset for asset in built for name in asset.lambdas}


def _code(asset: Asset) -> lambda_.Code:
    return lambda_.Code.from_asset(
        str(FUNCTIONS),
        # CDK's own hash would be of the bytecode too. Without bundling it would be the same for all assets.
        asset_hash=asset.digest if asset.folder.name else asset.name,
        bundling=BundlingOptions(
            image=DockerImage.from_registry("never-used"),
            local=_Built(asset),  # type: ignore[arg-type]  # jsii adds the interface at run time
        ),
    )
