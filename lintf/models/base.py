"""Model: what is trained, as a pure function of its parameters. FittedModel: a model with its
parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import vmap

from lintf.checks import Checked, check_choice
from lintf.tasks.base import Task
from lintf.tasks.batches import REPRESENTATIONS, Batch

Params = dict[str, Tensor]


class Model(Checked):
    """What `fit` trains: a frozen dataclass, whose fields say all about it. A model of one's own
    has a field d, the dimension of its prompts, and defines `shapes`, `init` and `forward`.

    representation: that of the prompts it is trained on.
    record_params: whether a run records the parameters at its steps, beside the metrics.
    save_final_params: whether it saves those after the last step, where it does not record them
        all.
    curriculum_fields: the fields that a curriculum may change, which leave the parameters as they
        are.
    """

    representation: ClassVar[str] = "tokens"
    record_params: ClassVar[bool] = False
    save_final_params: ClassVar[bool] = True
    curriculum_fields: ClassVar[tuple[str, ...]] = ()
    d: int

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"{type(self).__name__.lower()}-d{self.d}"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of one member, by name."""
        raise NotImplementedError(f"{type(self).__name__} must define shapes")

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Returns the parameters of one member before the first step, on the CPU."""
        raise NotImplementedError(f"{type(self).__name__} must define init(generator, dtype)")

    def forward(self, params: Params, prompts: Batch) -> Tensor:
        """Returns the answers (B,) to prompts, for parameters and prompts without leading axes."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(params, prompts)")

    def predict(self, params: Params, prompts: Batch) -> Tensor:
        """Returns the answers (..., B). Leading axes of the parameters are ensemble members;
        prompts have the same ones, or none (shared by all). It calls `forward` for each member; a
        model can do it for all at once."""
        lead = self.check(params, prompts)
        if not lead:
            return self.forward(params, prompts)
        tensors = {
            name: t.flatten(0, len(lead) - 1) if prompts.lead else t
            for name, t in prompts.tensors.items()
        }
        each = vmap(
            lambda p, t: self.forward(p, replace(prompts, **t)), (0, 0 if prompts.lead else None)
        )
        found = each({name: p.flatten(0, len(lead) - 1) for name, p in params.items()}, tensors)
        return found.unflatten(0, lead)

    def loss(self, params: Params, prompts: Batch) -> Tensor:
        """Returns the mean squared error over the prompts, one number per ensemble member (...)."""
        return (self.predict(params, prompts) - prompts.y).square().mean(-1)

    def metrics(self, params: Params, task: Task) -> Params:
        """Returns what else a run records at its steps, each with the parameters' leading axes:
        nothing, unless a model says so."""
        return {}

    def check_fit(self, task: Task) -> None:
        """Raises ValueError for a task that this model cannot be trained on."""
        if self.d != task.d:
            raise ValueError(f"model with d = {self.d} and task with d = {task.d} do not fit")
        if self.representation not in task.representations:
            said = (
                f"{type(self).__name__} and {type(task).__name__} do not fit: it trains on "
                f"{self.representation!r}"
            )
            raise ValueError(
                f"{said}, these prompts have {' and '.join(map(repr, task.representations))}"
            )

    def check_differentiable(self) -> None:
        """Raises ValueError where the loss stops its own gradient somewhere, so that this is no
        function's slope."""

    def check_params(self, params: Params) -> torch.Size:
        """Returns the leading axes of the parameters. Raises ValueError for other names or shapes
        than this model's."""
        shapes = self.shapes
        leads = {
            p.shape[: max(0, p.dim() - len(shapes.get(name, ())))] for name, p in params.items()
        }
        own = {name: tuple(p.shape[len(lead) :]) for lead in leads for name, p in params.items()}
        if len(leads) != 1 or own != shapes:
            got = {name: tuple(p.shape) for name, p in params.items()}
            raise ValueError(f"parameters of shapes {got} do not fit {self}, which has {shapes}")
        return leads.pop()

    def check(self, params: Params, prompts: Batch) -> torch.Size:
        """Returns the parameters' leading axes. Raises ValueError where they or the prompts do not
        fit this model."""
        kind = REPRESENTATIONS[check_choice("representation", self.representation, REPRESENTATIONS)]
        if not isinstance(prompts, kind):
            raise ValueError(
                f"{type(self).__name__} needs {kind.__name__}, got {type(prompts).__name__}"
            )
        # Sentences have none: they are the numbers of their tokens.
        if getattr(prompts, "d", self.d) != self.d:
            raise ValueError(f"prompts with d = {prompts.d} do not fit a model with d = {self.d}")
        return self.check_params(params)


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A model with its parameters: a predictor like those of solvers.py."""

    model: Model
    params: Params

    def predict(self, prompts: Batch) -> Tensor:
        """Returns the answers (..., B) to prompts."""
        return self.model.predict(self.params, prompts)
