"""What a training leaves behind: History, or Diverged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lintf.checks import check_int
from lintf.models.base import Model, Params
from lintf.tasks.batches import Batch
from lintf.training import store
from lintf.training.state import FINAL


@dataclass(frozen=True, eq=False)
class History:
    """What a fit leaves behind, for E seeds and T recorded steps. At step t the parameters are
    those before update t + 1, and the loss is theirs on the batch of that step."""

    seeds: tuple[int, ...]
    steps: Tensor  # (T,)
    loss: Tensor  # (E, T) mean squared error on the training batch
    params: Params  # name -> (E, T, ...); empty where the model records metrics instead
    meta: tuple[dict, ...]  # per seed: device, versions, wall time
    # Name -> (E, T, ...): what else the model records.
    metrics: Params = field(default_factory=dict)
    # Name -> (E, ...): after the last step, where only these are kept.
    saved_final: Params = field(default_factory=dict)

    @property
    def final_params(self) -> Params:
        """The parameters after the last recorded step, name -> (E, ...)."""
        return self.saved_final or {name: p[:, -1] for name, p in self.params.items()}

    @property
    def recorded(self) -> Params:
        """What was recorded at the steps, name -> (E, T, ...): parameters and metrics."""
        return self.params | self.metrics

    def at(self, steps: Sequence[int]) -> Params:
        """Returns the parameters at recorded steps, name -> (E, len(steps), ...). Raises ValueError
        for one not recorded."""
        self._has_params()
        recorded = self.steps.tolist()
        missing = [step for step in steps if step not in recorded]
        if missing:
            raise ValueError(f"steps must be recorded ones, got {missing}; recorded are {recorded}")
        places = [recorded.index(step) for step in steps]
        return {name: p[:, places] for name, p in self.params.items()}

    def losses(self, model: Model, prompts: Batch, last: int | None = None) -> Tensor:
        """Returns the loss of every recorded model, or of the last so many, on prompts that all
        seeds share or that have the seeds' axis: (E, T)."""
        self._has_params()
        steps = range(len(self.steps))
        steps = steps if last is None else steps[-check_int("last", last, 1, len(steps)) :]
        return torch.stack(
            [model.loss({n: p[:, t] for n, p in self.params.items()}, prompts) for t in steps], 1
        )

    def _has_params(self) -> None:
        if not self.params:
            raise ValueError(
                f"this run has metrics at its steps ({', '.join(self.metrics)}), but no parameters"
            )

    def best(self, model: Model, prompts: Batch, last: int) -> Params:
        """Returns for each seed the one of the last so many recorded models with the smallest loss
        on validation prompts: name -> (E, ...)."""
        chosen = (
            self.losses(model, prompts, check_int("last", last, 1, len(self.steps))).argmin(1)
            - last
        )
        return {
            n: torch.stack([p[e, t] for e, t in enumerate(chosen.tolist())])
            for n, p in self.params.items()
        }


class Diverged(RuntimeError):
    """The loss was no longer finite.

    step: before whose update that was.
    seed: the first for which it was so.
    lr: the learning rate of that update.
    history: what had been recorded: of all seeds that were trained side by side, or of this one
        alone where the run comes from runs/.
    """

    def __init__(self, step: int, seed: int, lr: float, history: History) -> None:
        super().__init__(
            f"training diverged: non-finite loss at step {step}, seed {seed}, learning rate {lr:g}"
        )
        self.step, self.seed, self.lr, self.history = step, seed, lr, history

    def __reduce__(self) -> tuple:
        """Serves other processes: by default exceptions are made anew from their message alone."""
        return type(self), (self.step, self.seed, self.lr, self.history), self.__dict__


def history_of(records: list[store.Record], seeds: tuple[int, ...], model: Model) -> History:
    """Returns the History of these records, one for each seed."""
    stacked = {name: torch.stack([r.tensors[name] for r in records]) for name in records[0].tensors}
    steps, loss = stacked.pop("steps")[0], stacked.pop("loss")
    saved_final = {
        name: stacked.pop(f"{FINAL}{name}") for name in model.shapes if f"{FINAL}{name}" in stacked
    }
    metrics = {name: stacked.pop(name) for name in list(stacked) if name not in model.shapes}
    return History(
        seeds, steps, loss, stacked, tuple(r.meta for r in records), metrics, saved_final
    )
