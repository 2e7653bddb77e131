"""TrainConfig: how to train, as one frozen set of numbers."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from lintf.checks import (
    Checked,
    check_int,
    check_real,
    checked,
    flag,
    one_of,
    real,
    set_fields,
    whole,
)

ALGS = ("adam", "sgd", "lbfgs")
CLIPS = ("global", "matrix")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
FIRST_STEPS = 20  # recorded one by one unless a training asks for fewer: what `verify` re-runs


# Of a field of task or model: its start, growth, and the steps between.
Growth = tuple[str, int, int, int]


def check_decay(name: str, value: object) -> float:
    """Returns the value as a float where it is in [0, 1). Raises ValueError for any other one."""
    if check_real(name, value, low=0.0) >= 1:
        raise ValueError(f"{name} must be < 1, got {value!r}")
    return float(value)


def check_curriculum(_: str, values: Sequence[Growth]) -> tuple[Growth, ...]:
    """Returns the growths as tuples. Raises ValueError for numbers below 1."""
    for name, start, growth, every in values:
        check_int(f"start of {name}", start, 1)
        check_int(f"growth of {name}", growth, 1)
        check_int(f"steps between growths of {name}", every, 1)
    return tuple(map(tuple, values))


@dataclass(frozen=True)
class TrainConfig(Checked):
    """How to train: every number that can change the result, but for the model, the task and the
    seed.

    Raises ValueError for a field out of its range.
    """

    lr: float = real(above=True)
    max_iters: int = whole()  # optimiser steps
    B: int = whole()  # prompts per batch and seed
    # Or "sgd", both without weight decay, or "lbfgs", without line search.
    alg: str = one_of("adam", ALGS)
    # Adam: decay of the gradient's mean and of its mean square.
    betas: tuple[float, float] = (0.9, 0.9)
    momentum: float = checked(0.9, check_decay)  # sgd
    inner_steps: int = whole(4)  # lbfgs: iterations per optimiser step
    history_size: int = whole(600)  # lbfgs: how many past gradients it keeps
    clip: float | None = real(None, above=True)  # bound on the gradient's Euclidean norm
    # Of all parameters of a seed together, or of each matrix.
    clip_by: str = one_of("global", CLIPS)
    # Sgd: every parameter's gradient scaled to length 1, unless it is 0.
    normalize: bool = flag(False, later=True)
    redraw_every: int | None = whole(1, none=True)  # steps on one batch; None: one batch for ever
    # So many prompts only: every epoch in a new order, B at a time.
    train_set_size: int | None = whole(None, later=True)
    # Average over weights and query exactly (integrate.py), not by sampling.
    integrate: bool = flag(False, later=True)
    halve_every: int | None = whole(None)  # the learning rate is halved after so many steps
    # Steps in which the learning rate grows to lr along a straight line.
    warmup: int = whole(0, low=0, later=True)
    # After that it falls to this, along half a cosine, until decay_steps.
    lr_end: float | None = real(None, later=True)
    decay_steps: int | None = whole(None, later=True)
    curriculum: tuple[Growth, ...] = checked((), check_curriculum, later=True)
    record_every: int = whole(100)  # stride of the recorded losses and parameters
    # Recorded one by one; fewer make small runs.
    first_steps: int = whole(FIRST_STEPS, high=FIRST_STEPS, later=True)
    dtype: str = one_of("float32", DTYPES)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {self.betas!r}")
        set_fields(
            self, betas=tuple(check_decay(f"betas[{i}]", beta) for i, beta in enumerate(self.betas))
        )
        if self.normalize and (self.alg != "sgd" or self.clip is not None):
            said = f"normalize must be False for {self.alg} with clip = {self.clip}"
            raise ValueError(f"{said}: it is for sgd, unclipped")
        if self.train_set_size is not None and self.curriculum:
            raise ValueError(
                f"curriculum must be empty with train_set_size, got {self.curriculum!r}"
            )
        if self.train_set_size is not None and (
            self.train_set_size % self.B or self.redraw_every != 1
        ):
            raise ValueError(
                f"train_set_size must be a multiple of B = {self.B}, and redraw_every 1, got "
                f"{self.train_set_size}"
            )
        if self.train_set_size is not None and self.integrate:
            raise ValueError(f"integrate must be False with train_set_size, got {self.integrate}")
        if self.alg == "lbfgs" and self.clip is not None:
            raise ValueError(
                "clip must be None for lbfgs, whose steps are not the gradient's, got "
                f"{self.clip!r}"
            )
        self._check_schedule()

    def _check_schedule(self) -> None:
        if (self.lr_end is None) != (self.decay_steps is None):
            raise ValueError(
                f"lr_end and decay_steps go together, got {self.lr_end!r} and {self.decay_steps!r}"
            )
        if self.lr_end is not None:
            check_int("decay_steps", self.decay_steps, self.warmup + 1)
        if self.halve_every is not None and (self.warmup or self.lr_end is not None):
            raise ValueError(
                f"halve_every must be None with warmup or lr_end, got {self.halve_every}"
            )

    def rate(self, step: int) -> float:
        """Returns the learning rate of update step + 1."""
        if self.halve_every is not None:
            return self.lr * 0.5 ** (step // self.halve_every)
        if step + 1 < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.lr_end is None:
            return self.lr
        done = min(1.0, (step + 1 - self.warmup) / (self.decay_steps - self.warmup))
        return self.lr_end + (self.lr - self.lr_end) * 0.5 * (1 + math.cos(math.pi * done))

    def task_at(self, task: Any, step: int) -> Any:
        """Returns the task at this step of the curriculum, in which fields grow up to the task's
        own values."""
        return self._grown(task, step, vars(task))

    def model_at(self, model: Any, step: int) -> Any:
        """Returns the model at this step of the curriculum, likewise, in the fields that it lets
        grow."""
        return self._grown(model, step, model.curriculum_fields)

    def _grown(self, owner: Any, step: int, names: Container[str]) -> Any:
        stages = [
            (name, start + growth * (step // every))
            for name, start, growth, every in self.curriculum
        ]
        fields = {name: min(size, getattr(owner, name)) for name, size in stages if name in names}
        return replace(owner, **fields) if fields else owner

    def recorded_steps(self) -> list[int]:
        """Returns the steps before whose update parameters are recorded; the last of them is after
        the last update."""
        steps = {
            *range(min(self.first_steps, self.max_iters)),
            *range(0, self.max_iters, self.record_every),
        }
        return sorted(steps | {self.max_iters})

    def idle(self) -> set[str]:
        """Names the fields of the other algorithms, and clip_by where nothing is clipped."""
        used = {"adam": {"betas"}, "sgd": {"momentum"}, "lbfgs": {"inner_steps", "history_size"}}
        idle = set().union(*used.values()) - used[self.alg]
        return idle | {"clip_by"} if self.clip is None else idle

    def drawn_at(self, step: int) -> int:
        """Returns the step for which this step's batch was drawn: its own, or an earlier one."""
        return 0 if self.redraw_every is None else step - step % self.redraw_every
