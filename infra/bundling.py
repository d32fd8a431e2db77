"""Builds the Lambda asset without Docker: the functions, the packages that they need and the compiled fleet.

The asset has the packages that functions/requirements.txt locks, and no others. botocore is one of them.
Lambda's Python runtime has a botocore too, in a version that AWS chooses. A library in the asset takes
precedence (https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_lambda as lambda_

from firstboot.domain.aws_apis import AwsApi
from firstboot.domain.fleet import Fleet
from infra.aws_client import trim
from infra.configuration import Target

FUNCTIONS = Path(__file__).parents[1] / "functions"
# Lambda developer guide, "Lambda quotas": 250 MB unzipped. The 50 MB of a zipped archive do not apply to one
# that is uploaded through S3, as CDK does.
_MOST_BYTES = 250 * 1024 * 1024
SBOM = "sbom.cdx.json"
_PLATFORM = {
    # Lambda's python3.13 runtime on arm64 is Amazon Linux 2023, which has glibc 2.34.
    Target.LAMBDA: ["--python-platform", "aarch64-manylinux_2_28", "--python-version", "3.13"],
    Target.LOCAL: ["--python", sys.executable],
}


def bundle(out: Path, target: Target, fleet: Fleet, functions: Path = FUNCTIONS) -> None:
    """Fill the folder `out` with the asset. The same input gives the same files.

    Raises subprocess.CalledProcessError when a package can't be installed for `target`, and ValueError when
    Lambda would refuse the asset.
    """
    shutil.copytree(
        functions, out, ignore=shutil.ignore_patterns("__pycache__", "*.txt", ".*"), dirs_exist_ok=True
    )
    _install(out, target, functions / "requirements.txt")
    trim(out / "botocore", set(AwsApi))
    (out / "fleet.json").write_text(fleet.to_json())
    _check_size(sum(file.stat().st_size for file in out.rglob("*") if file.is_file()))
    if target is Target.LAMBDA:
        # The list is in the asset, so that it always matches the code that runs.
        _list(out / SBOM, functions / "requirements.txt")


def _check_size(size: int) -> None:
    if size > _MOST_BYTES:
        raise ValueError(f"the asset has {size:,} bytes unzipped, and Lambda takes at most {_MOST_BYTES:,}")


def _install(out: Path, target: Target, requirements: Path) -> None:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-config", "--link-mode", "copy"]
    # No bytecode is compiled, because Lambda's Python could not use this machine's bytecode.
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile-bytecode"]
    subprocess.run(  # noqa: S603 - no argument comes from outside
        [*command, *options, *_PLATFORM[target], "--target", str(out), "-r", str(requirements)], check=True
    )
    # Lambda does not use uv's lock file and the console scripts, which contain paths of this machine.
    (out / ".lock").unlink(missing_ok=True)
    shutil.rmtree(out / "bin", ignore_errors=True)


def _list(file: Path, requirements: Path) -> None:
    """Write a CycloneDX bill of materials of the locked packages, with their hashes."""
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(requirements), "-o", str(file)]
    options = ["--output-reproducible", "--spec-version", "1.6", "--output-format", "JSON"]
    subprocess.run([*command, *options], check=True)  # noqa: S603 - no argument comes from outside


@jsii.implements(ILocalBundling)
class _Bundling:
    def __init__(self, target: Target, fleet: Fleet) -> None:
        self._target = target
        self._fleet = fleet

    def try_bundle(self, output_dir: str, options: BundlingOptions) -> bool:  # noqa: ARG002 - CDK's signature
        """Fill CDK's output folder. An exception fails the synth."""
        # If this returned False, CDK would look for Docker.
        bundle(Path(output_dir), self._target, self._fleet)
        return True


def code(target: Target, fleet: Fleet) -> lambda_.Code:
    """Return the asset for CDK. Each call builds it anew, so the Lambdas of a stack share one."""
    return lambda_.Code.from_asset(
        str(FUNCTIONS),
        asset_hash_type=AssetHashType.OUTPUT,
        # CDK hashes the source folder when it does not bundle. Bytecode must not change that hash.
        exclude=["**/__pycache__"],
        bundling=BundlingOptions(
            image=DockerImage.from_registry("never-used"),
            local=_Bundling(target, fleet),  # type: ignore[arg-type]  # jsii adds the interface at run time
        ),
    )
