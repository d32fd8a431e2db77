"""Fuzz one target, or list the targets: `python -m tests.fuzz [TARGET SECONDS]`.

libFuzzer (by way of Atheris) changes the inputs and follows the branches that they reach. The seed is fixed,
so that two runs begin with the same inputs. An input that breaks the target is written to a file and ends the
run with an error. `python -m tests.fuzz TARGET --again FILE` tries it again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["firstboot", "device", "console", "jwt"]):
    from tests.fuzz.target import run
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run one target for some seconds or with one input, or list the targets."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("seconds", nargs="?", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--found", type=Path, default=Path(".local/fuzz"), help="folder for inputs that break it"
    )
    parser.add_argument("--again", type=Path, help="an input to try once")
    asked = parser.parse_args()
    if asked.target is None:
        print("\n".join(TARGETS))
        return
    target = TARGETS[asked.target]
    if asked.again:
        run(target, asked.again.read_bytes())
        return
    print(f"{asked.target}: {asked.seconds} s", flush=True)
    asked.found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds()):
            Path(folder, str(number)).write_bytes(seed)
        limits = ["-max_len=16384", "-timeout=10", "-rss_limit_mb=2048", f"-max_total_time={asked.seconds}"]
        output = ["-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={asked.found}/{asked.target}-"]
        options = [sys.argv[0], *limits, *output, f"-seed={asked.seed}", folder]
        atheris.Setup(options, lambda data: run(target, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
