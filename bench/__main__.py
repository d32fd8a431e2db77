"""`python -m bench`: measure, print the page and write docs/performance.md."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.page import page
from bench.report import QUICK, WHOLE
from bench.run import measure
from bench.world import ROOT

PAGE = ROOT / "docs/performance.md"


def main() -> None:
    """Run the measurements."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="measure for a minute, and write no page")
    size = QUICK if parser.parse_args().quick else WHOLE
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder), size, lambda text: print(f"{text} …", file=sys.stderr))
    text = page(report)
    print(text)
    if size is WHOLE:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
