"""The audit trail: one log line and one count for every change an operator makes.

The line can't say who called: Invoke passes no caller on. CloudTrail's data event of that Invoke does,
under the same request id.
"""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.guard import Guard


@dataclass(frozen=True)
class Audit:
    """Write the audit trail."""

    guard: Guard

    def __call__(self, change: str, **about: object) -> None:
        """Log and count a change."""
        self.guard.info("audit", change=change, **about)
        self.guard.count(change)
