"""`python -m verify`: find out on a real account what no emulator shows.

Exit codes: 0 every step passed or was skipped, 1 a step failed or the walk was refused, 2 wrong usage, 3 no
answer from the stack, 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from console import output
from console.cloud import Refused
from console.files import naming
from console.options import DEFAULT_STACK, PLAIN, Yes
from verify import cleaning, leftovers, publishing, report, setting, spending
from verify.bench import Bench
from verify.page import page
from verify.setting import Given
from verify.step import Outcome, Result
from verify.steps import STEPS
from verify.walk import walk

app = typer.Typer(
    help=__doc__, add_completion=False, rich_markup_mode=PLAIN, pretty_exceptions_show_locals=False
)

_INTERRUPTED = 130
_FILE = {"metavar": "FILE", "exists": True, "dir_okay": False}


_Stack = Annotated[str, typer.Option(metavar="NAME", help="The CloudFormation stack.")]
_CaCert = Annotated[
    list[Path],
    typer.Option(help="The certificate (PEM) of a factory CA that a group trusts. Repeatable.", **_FILE),
]
_CaKey = Annotated[
    list[Path],
    typer.Option(help="Its private key (PEM), in the order of --ca-cert. Repeatable.", **_FILE),
]
_IssuerKey = Annotated[
    Path | None, typer.Option(help="The private key (PEM) of a token issuer of the fleet.", **_FILE)
]
_Prefix = Annotated[str, typer.Option(metavar="TEXT", help="The first part of the throw-away devices' ids.")]
_Mtls = Annotated[str | None, typer.Option(metavar="URL", help="The mTLS host (default: the stack's).")]
_Ca = Annotated[
    list[Path],
    typer.Option(help="CAs (PEM) of hosts and broker to trust beside this machine's. Repeatable.", **_FILE),
]
_Page = Annotated[
    Path | None,
    typer.Option("--page", metavar="FILE", help="The page to write (default: a new one in .local/verify)."),
]
_Long = Annotated[bool, typer.Option("--long", help="Also take the steps that wait for many minutes.")]
_Publish = Annotated[bool, typer.Option("--publish", help="Also take the steps that publish a fleet.")]


@app.command()
def main(  # noqa: PLR0913 - each is a setting of the walk
    *,
    stack: _Stack = DEFAULT_STACK,
    ca_cert: _CaCert = [],  # noqa: B006 - typer copies it
    ca_key: _CaKey = [],  # noqa: B006
    issuer_key: _IssuerKey = None,
    prefix: _Prefix = "",
    mtls: _Mtls = None,
    ca: _Ca = [],  # noqa: B006
    page_file: _Page = None,
    long: _Long = False,
    publish: _Publish = False,
    yes: Yes = False,
) -> None:
    """Walk the whole product with throw-away devices, remove them, and write a page.

    It refuses to run where there are devices. It asks before it spends more than a dollar.
    """
    factories, permitted = _pairs(ca_cert, ca_key), setting.allowed(long=long, publish=publish)
    given = Given(stack, factories, issuer_key, prefix, mtls, tuple(ca), permitted)
    with output.failures(as_json=False), _interruptible(), tempfile.TemporaryDirectory() as folder:
        bench = setting.bench(given, Path(folder))
        _check(bench, yes=yes)
        begun = datetime.now(UTC)
        results, left, cut = _walked(bench)
        file = page_file or report.default_file(bench, begun)
        file.parent.mkdir(parents=True, exist_ok=True)
        with naming(file):
            file.write_text(page(report.head(bench, begun, left, cut), results), encoding="utf-8")
        output.lines(report.summary(results, left, file))
    if cut:
        raise typer.Exit(_INTERRUPTED)
    if left or any(result.outcome is Outcome.FAILED for result in results):
        raise typer.Exit(output.REFUSED)


def _pairs(certificates: list[Path], keys: list[Path]) -> tuple[tuple[Path, Path], ...]:
    if len(certificates) != len(keys):
        raise typer.BadParameter("give as many --ca-key as --ca-cert")
    return tuple(zip(certificates, keys, strict=True))


def _check(bench: Bench, *, yes: bool) -> None:
    """Check that no device can be harmed and that the cost is agreed. Remove what an earlier walk has left.

    Raises Refused, Unreachable.
    """
    if found := cleaning.others(bench.operate):
        names = ", ".join(found[:3])
        detail = f"{bench.operate.where} has devices ({names}…): the walk takes a stack without any"
        raise Refused({"code": "devices-found", "detail": detail})
    _take_back(bench)
    if old := cleaning.ours(bench.operate):
        output.note(f"an earlier walk has left {len(old)} devices, which are removed first")
        if left := cleaning.remove(bench.operate):
            raise Refused({"code": "devices-left", "detail": "; ".join(left)})
    if removed := leftovers.sweep(bench):
        output.note(f"an earlier walk has left {removed} certificates and policies in AWS IoT: removed")
    cost = spending.dollars(report.acts(bench))
    output.line(f"{bench.operate.where}; the walk costs about ${cost:.4f}")
    if cost > spending.ASKS_ABOVE:
        if not yes and not output.can_ask():
            detail = f"the walk costs about ${cost:.2f}, and there is no terminal to ask at: --yes agrees"
            raise Refused({"code": "not-agreed", "detail": detail})
        output.confirm(f"Spend about ${cost:.2f}?", yes=yes)


def _take_back(bench: Bench) -> None:
    """Take back the grant that an earlier walk has left published. Raises Refused, Unreachable."""
    if publishing.GRANT in bench.fleet.grants:
        output.note("an earlier walk has left a published grant, which is taken back first")
        bench.fleet = publishing.without_grant(bench.fleet)
        publishing.publish(bench.operate, bench.fleet)


def _walked(bench: Bench) -> tuple[list[Result], list[str], str]:
    """Take the steps and clean up. Return the results, what is left, and why the walk ended early."""
    results, cut = list[Result](), ""
    try:
        for result in walk(STEPS, bench):
            results.append(result)
            output.lines(report.lines(result, bench))
    except KeyboardInterrupt:
        cut = f"interrupted after {len(results)} steps"
    finally:
        # An error of the walk itself must not leave devices behind either.
        output.note("removing the devices; this may take minutes")
        left = _cleaned(bench)
    return results, left, cut


def _cleaned(bench: Bench) -> list[str]:
    """Remove what the walk has made, and return what could not be removed."""
    try:
        return cleaning.remove_all(bench)
    except KeyboardInterrupt:
        return ["the devices of the walk: interrupted; the next walk removes them"]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that the walk cleans up after both."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(app())
