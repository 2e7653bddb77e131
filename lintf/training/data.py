"""The batch of each training step, from the members' generators."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Batch
from lintf.tasks.integrate import integrate
from lintf.training.config import DTYPES
from lintf.training.run import Run


class Batches:
    """The batches of members that differ in seed and task only. `before` is the state of the
    generators before the last draw: a training that resumes with generators in that state draws the
    same once more."""

    def __init__(
        self, runs: list[Run], generators: Sequence[torch.Generator], device: torch.device
    ) -> None:
        self.model, self.training = runs[0].model, runs[0].training
        self.tasks, self.generators, self.device = [m.task for m in runs], generators, device
        # The first thing drawn.
        self.train_set = (
            None
            if self.training.train_set_size is None
            else self._draw(self.training.train_set_size, 0)
        )
        self.batch: Batch | None = None
        self.order: torch.Tensor | None = None  # (E, train_set_size)

    def at(self, step: int) -> Batch:
        """Returns the batch of a step. It is called for successive steps, beginning at any."""
        B = self.training.B
        if self.train_set is None:
            if self.batch is None or self.training.drawn_at(step) == step:
                self.before = self._states()
                self.batch = self._draw(B, self.training.drawn_at(step))
            return self.batch
        k = step % (self.training.train_set_size // B)
        if self.order is None or k == 0:
            self.before = self._states()
            orders = [
                torch.randperm(self.training.train_set_size, generator=g, device="cpu")
                for g in self.generators
            ]
            self.order = torch.stack(orders)
        return self.train_set.take(self.order[:, k * B : (k + 1) * B])

    def _states(self) -> torch.Tensor:
        return torch.stack([g.get_state() for g in self.generators])

    def _draw(self, B: int, step: int) -> Batch:
        tasks = [self.training.task_at(task, step) for task in self.tasks]
        batch = sample_ensemble(
            tasks, B, self.generators, self.model.representation, DTYPES[self.training.dtype]
        )
        return (integrate(tasks, batch) if self.training.integrate else batch).to(self.device)
