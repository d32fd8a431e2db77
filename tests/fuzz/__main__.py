"""Fuzz one target: `python -m tests.fuzz TARGET SECONDS [FOLDER]`.

libFuzzer (by way of Atheris) changes the inputs and follows the branches that they reach. The seed is
fixed, so two runs on one machine try the same inputs. An input that breaks the target is written to FOLDER.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["firstboot", "device", "jwt"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run one target for some seconds, or list the targets."""
    if len(sys.argv) < 3:
        print("\n".join(TARGETS))
        return
    name, seconds, found = sys.argv[1], sys.argv[2], Path(sys.argv[3] if len(sys.argv) > 3 else ".")
    target = TARGETS[name]

    def run(data: bytes) -> None:
        try:
            target.run(data)
        except target.errors:
            return

    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds()):
            Path(folder, str(number)).write_bytes(seed)
        limits = [f"-max_total_time={seconds}", "-max_len=16384", "-timeout=10", "-rss_limit_mb=2048"]
        quiet = ["-verbosity=0", "-print_final_stats=1"]
        atheris.Setup(
            [sys.argv[0], *limits, *quiet, "-seed=1", f"-artifact_prefix={found}/{name}-", folder], run
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
