"""`make demo-clients`: programs of other authors get identities and credentials from the product.

The product runs on this machine, with the fleet of the flows' tests, which has every way in.
"""

from __future__ import annotations

import shutil
import sys
import time

from local.processes import ROOT
from local.state import State
from tests.clients.demo import tell
from tests.clients.scenarios import SCENARIOS
from tests.flows.conftest import fleet_folder, running

FOLDER = ROOT / ".local" / "clients"


def main() -> int:
    """Run the scenarios, and return the exit code: 0 if each of them holds."""
    begun = time.monotonic()
    State(FOLDER / "cloud").stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    print("An emulated AWS account starts, and the real CDK CLI deploys the stack into it", flush=True)
    with running(FOLDER / "cloud", "--fleet", str(fleet_folder(FOLDER / "source"))) as cloud:
        print(f"ready after {time.monotonic() - begun:.0f} s\n", flush=True)
        held = tell(SCENARIOS, cloud, FOLDER / "devices", lambda line: print(line, flush=True))
    print(f"\n{'All of it held' if held else 'This did not hold'}, in {time.monotonic() - begun:.0f} s.")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
