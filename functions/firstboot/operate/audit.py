"""The audit trail: one log line and one count for each change that an operator makes.

The line can't name the operator, because Invoke passes no caller on. CloudTrail's data event of that Invoke
names the caller, under the same request id.
"""

from __future__ import annotations

from dataclasses import dataclass

from firstboot.runtime.guard import Guard


@dataclass(frozen=True)
class Audit:
    """The audit trail."""

    guard: Guard

    def __call__(self, change: str, **about: object) -> None:
        """Log and count a change. `about` are the members of the log line."""
        self.guard.info("audit", change=change, **about)
        self.guard.count(change)
