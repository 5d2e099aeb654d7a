"""Learning rates over a time budget: warm up by steps, decay by the clock.

Wall-clock budgets make a run end when it was told to, however busy the machine is.
"""

from __future__ import annotations

import time

import torch


class Clock:
    """Share of the time budget used, counting what earlier, resumed sittings used."""

    def __init__(self, minutes: float, used_s: float = 0.0) -> None:
        self.budget_s = minutes * 60
        self._before = used_s
        self._start = time.monotonic()

    @property
    def used_s(self) -> float:
        return self._before + time.monotonic() - self._start

    @property
    def share(self) -> float:
        return min(1.0, self.used_s / self.budget_s) if self.budget_s > 0 else 1.0

    @property
    def over(self) -> bool:
        return self.share >= 1.0


def set_rates(
    optimizer: torch.optim.Optimizer, step: int, share: float, warmup_steps: int, final: float
) -> None:
    """Scale every group's `base` rate: linear warm-up, then linear decay to `final` of it."""
    factor = min(1.0, (step + 1) / max(1, warmup_steps)) * max(final, 1.0 - share)
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * factor


class Every:
    """True once at most every so many seconds."""

    def __init__(self, minutes: float) -> None:
        self.period_s = minutes * 60
        self._last = time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self._last < self.period_s:
            return False
        self._last = time.monotonic()
        return True


def clip_and_step(optimizer: torch.optim.Optimizer, *groups: list[torch.nn.Parameter]) -> None:
    """One update, each group's gradient clipped apart: CTC's would drown the others in one norm."""
    for group in groups:
        torch.nn.utils.clip_grad_norm_(group, 1.0)
    optimizer.step()
