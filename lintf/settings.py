"""Training: how to train, as one frozen set of numbers."""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from lintf.checks import check_choice, check_int, check_real, settle

ALGS = ("adam", "sgd", "lbfgs")
CLIPS = ("member", "matrix")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
FIRST_STEPS = 20  # recorded one by one unless a training asks for fewer: what `verify` re-runs


@dataclass(frozen=True)
class Training:
    """How to train: every number that can change the result, but for the model, the task and the seed.

    Raises ValueError for a field out of its range.
    """

    lr: float
    max_iters: int  # optimiser steps
    B: int  # prompts per batch and seed
    alg: str = "adam"  # or "sgd", both without weight decay, or "lbfgs", without line search
    betas: tuple[float, float] = (0.9, 0.9)  # adam: decay of the gradient's mean and of its mean square
    momentum: float = 0.9  # sgd
    inner_steps: int = 4  # lbfgs: iterations per optimiser step
    history: int = 600  # lbfgs: how many past gradients it keeps
    clip: float | None = None  # bound on the gradient's Euclidean norm
    clip_per: str = "member"  # the norm of all parameters of a seed together, or of each d x d "matrix"
    normalize: bool = False  # sgd: the gradient of every parameter is scaled to Euclidean length 1, unless it is 0
    redraw_every: int | None = 1  # steps on one batch; None: one batch for ever
    pool: int | None = None  # train on so many sentences only: every epoch takes them in a new order, B at a time
    integrate: bool = False  # average over weights and query exactly (integrate.py) instead of sampling them
    halve_every: int | None = None  # the learning rate is halved after so many steps
    warmup: int = 0  # steps in which the learning rate grows to lr along a straight line
    lr_end: float | None = None  # after the warm-up it falls to this, along half a cosine, until step decay_steps
    decay_steps: int | None = None
    curriculum: tuple[tuple[str, int, int, int], ...] = ()  # (field of task or model, start, growth, steps between)
    record_every: int = 100  # stride of the recorded losses and parameters
    first_steps: int = FIRST_STEPS  # recorded one by one, beside; fewer make the runs of a large sweep smaller
    dtype: str = "float32"

    def __post_init__(self) -> None:
        settle(
            self,
            alg=check_choice("alg", self.alg, ALGS),
            lr=check_real("lr", self.lr, low=0.0, above=True),
            clip=None if self.clip is None else check_real("clip", self.clip, low=0.0, above=True),
            clip_per=check_choice("clip_per", self.clip_per, CLIPS),
            dtype=check_choice("dtype", self.dtype, DTYPES),
            momentum=_decay("momentum", self.momentum),
        )
        for name in ("max_iters", "B", "record_every", "inner_steps", "history"):
            settle(self, **{name: check_int(name, getattr(self, name), 1)})
        settle(self, first_steps=check_int("first_steps", self.first_steps, 1, FIRST_STEPS))
        for name in ("redraw_every", "halve_every", "pool"):
            if getattr(self, name) is not None:
                settle(self, **{name: check_int(name, getattr(self, name), 1)})
        for name in ("integrate", "normalize"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.normalize and (self.alg != "sgd" or self.clip is not None):
            raise ValueError(
                f"normalize must be False for {self.alg} with clip = {self.clip}: it is for sgd, unclipped"
            )
        if self.pool is not None and self.curriculum:
            raise ValueError(f"curriculum must be empty with a pool, got {self.curriculum!r}")
        if self.pool is not None and (self.pool % self.B or self.redraw_every != 1):
            raise ValueError(f"pool must be a multiple of B = {self.B}, and redraw_every 1, got {self.pool}")
        if self.alg == "lbfgs" and self.clip is not None:
            raise ValueError(f"clip must be None for lbfgs, whose steps are not the gradient's, got {self.clip!r}")
        self._check_schedule()
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {self.betas!r}")
        settle(self, betas=tuple(_decay(f"betas[{i}]", beta) for i, beta in enumerate(self.betas)))

    def _check_schedule(self) -> None:
        settle(self, warmup=check_int("warmup", self.warmup, 0), curriculum=tuple(map(tuple, self.curriculum)))
        if (self.lr_end is None) != (self.decay_steps is None):
            raise ValueError(f"lr_end and decay_steps go together, got {self.lr_end!r} and {self.decay_steps!r}")
        if self.lr_end is not None:
            settle(self, lr_end=check_real("lr_end", self.lr_end, low=0.0))
            settle(self, decay_steps=check_int("decay_steps", self.decay_steps, self.warmup + 1))
        if self.halve_every is not None and (self.warmup or self.lr_end is not None):
            raise ValueError(f"halve_every must be None with warmup or lr_end, got {self.halve_every}")
        for name, start, growth, every in self.curriculum:
            check_int(f"start of {name}", start, 1)
            check_int(f"growth of {name}", growth, 1)
            check_int(f"steps between growths of {name}", every, 1)

    def rate(self, step: int) -> float:
        """The learning rate of update step + 1."""
        if self.halve_every is not None:
            return self.lr * 0.5 ** (step // self.halve_every)
        if step + 1 < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.lr_end is None:
            return self.lr
        done = min(1.0, (step + 1 - self.warmup) / (self.decay_steps - self.warmup))
        return self.lr_end + (self.lr - self.lr_end) * 0.5 * (1 + math.cos(math.pi * done))

    def stage(self, task: Any, step: int) -> Any:
        """The task at this step of the curriculum, in which fields grow up to the task's own values."""
        return self._grown(task, step, vars(task))

    def model_stage(self, model: Any, step: int) -> Any:
        """The model at this step of the curriculum, likewise, in the fields that it lets grow."""
        return self._grown(model, step, getattr(model, "grows", ()))

    def _grown(self, owner: Any, step: int, names: Container[str]) -> Any:
        stages = [(name, start + growth * (step // every)) for name, start, growth, every in self.curriculum]
        fields = {name: min(size, getattr(owner, name)) for name, size in stages if name in names}
        return replace(owner, **fields) if fields else owner

    def recorded_steps(self) -> list[int]:
        """Parameters are recorded before the update of these steps, and after the last update."""
        steps = {*range(min(self.first_steps, self.max_iters)), *range(0, self.max_iters, self.record_every)}
        return sorted(steps | {self.max_iters})

    def config(self) -> dict:
        """The fields that matter for this algorithm."""
        used = {"adam": {"betas"}, "sgd": {"momentum"}, "lbfgs": {"inner_steps", "history"}}
        unused = set().union(*used.values()) - used[self.alg]
        if self.clip is None:
            unused.add("clip_per")
        # Later fields, left out where they change nothing: old runs keep their names.
        later = ("integrate", "normalize", "pool", "warmup", "lr_end", "decay_steps", "curriculum", "first_steps")
        unused |= {name for name in later if getattr(self, name) == getattr(Training, name)}
        return {name: value for name, value in asdict(self).items() if name not in unused}

    def drawn_at(self, step: int) -> int:
        """The step for which this step's batch was drawn: its own, or an earlier one."""
        return 0 if self.redraw_every is None else step - step % self.redraw_every


def _decay(name: str, value: object) -> float:
    if check_real(name, value, low=0.0) >= 1:
        raise ValueError(f"{name} must be < 1, got {value!r}")
    return float(value)
