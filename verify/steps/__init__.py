"""All steps of the walk, in their order."""

from __future__ import annotations

from verify.step import Step
from verify.steps import account, boot, ending, queue, refusals, vend

STEPS: tuple[Step, ...] = (
    *account.STEPS,
    *boot.STEPS,
    *vend.STEPS,
    *refusals.STEPS,
    *queue.STEPS,
    *ending.STEPS,
)
