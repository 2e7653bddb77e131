"""The batch of each training step, from the members' generators."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Batch
from lintf.tasks.integrate import integrate
from lintf.training.config import DTYPES
from lintf.training.run import Member


class Batches:
    """Of members that differ in seed and task only. `before` is the state of the generators before the last draw: a
    training that resumes with generators in that state draws the same once more."""

    def __init__(self, members: list[Member], generators: Sequence[torch.Generator], device: torch.device) -> None:
        self.model, self.training = members[0].model, members[0].training
        self.tasks, self.generators, self.device = [m.task for m in members], generators, device
        self.pool = None if self.training.pool is None else self._draw(self.training.pool, 0)  # the first thing drawn
        self.batch: Batch | None = None
        self.order: torch.Tensor | None = None  # (E, pool)

    def at(self, step: int) -> Batch:
        """For successive steps, beginning at any."""
        B = self.training.B
        if self.pool is None:
            if self.batch is None or self.training.drawn_at(step) == step:
                self.before = self._states()
                self.batch = self._draw(B, self.training.drawn_at(step))
            return self.batch
        k = step % (self.training.pool // B)
        if self.order is None or k == 0:
            self.before = self._states()
            orders = [torch.randperm(self.training.pool, generator=g, device="cpu") for g in self.generators]
            self.order = torch.stack(orders)
        return self.pool.take(self.order[:, k * B : (k + 1) * B])

    def _states(self) -> torch.Tensor:
        return torch.stack([g.get_state() for g in self.generators])

    def _draw(self, B: int, step: int) -> Batch:
        tasks = [self.training.stage(task, step) for task in self.tasks]
        batch = sample_ensemble(tasks, B, self.generators, self.model.form, DTYPES[self.training.dtype])
        return (integrate(tasks, batch) if self.training.integrate else batch).to(self.device)
