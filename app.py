"""The CDK app: reads cdk.json and the fleet folder, and builds the stack."""

import sys
from pathlib import Path

from firstboot.compiler.errors import FleetInvalid
from infra.app import application

if __name__ == "__main__":
    try:
        app = application(Path(__file__).parent)
    except FleetInvalid as error:
        sys.exit(str(error))
    app.synth()
