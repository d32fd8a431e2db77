"""All steps of the walk, in their order."""

from __future__ import annotations

from verify.step import Step
from verify.steps import (
    account,
    boot,
    connections,
    ending,
    forms,
    growing,
    isolation,
    jitr,
    live,
    naming,
    queue,
    refusals,
    tokens,
    vend,
)

STEPS: tuple[Step, ...] = (
    *account.STEPS,
    *boot.STEPS,
    *vend.STEPS,
    *growing.STEPS,
    *refusals.STEPS,
    *jitr.STEPS,
    *isolation.STEPS,
    *connections.STEPS,
    *forms.STEPS,
    *naming.STEPS,
    *tokens.STEPS,
    *queue.STEPS,
    *live.STEPS,
    *ending.STEPS,
)
