"""All steps of the walk, in their order."""

from __future__ import annotations

from verify.step import Step
from verify.steps import account, boot

STEPS: tuple[Step, ...] = (*account.STEPS, *boot.STEPS)
