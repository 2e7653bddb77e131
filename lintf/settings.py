"""Training: how to train, as one frozen set of numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from lintf.checks import check_choice, check_int, check_real, settle

ALGS = ("adam", "sgd", "lbfgs")
CLIPS = ("member", "matrix")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
FIRST_STEPS = 20  # recorded one by one in every run: what `verify` re-runs


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
    record_every: int = 100  # stride of the recorded losses and parameters; the first 20 steps always
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
        if self.pool is not None and (self.pool % self.B or self.redraw_every != 1):
            raise ValueError(f"pool must be a multiple of B = {self.B}, and redraw_every 1, got {self.pool}")
        if self.alg == "lbfgs" and self.clip is not None:
            raise ValueError(f"clip must be None for lbfgs, whose steps are not the gradient's, got {self.clip!r}")
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {self.betas!r}")
        settle(self, betas=tuple(_decay(f"betas[{i}]", beta) for i, beta in enumerate(self.betas)))

    def rate(self, step: int) -> float:
        return self.lr if self.halve_every is None else self.lr * 0.5 ** (step // self.halve_every)

    def recorded_steps(self) -> list[int]:
        """Parameters are recorded before the update of these steps, and after the last update."""
        steps = {*range(min(FIRST_STEPS, self.max_iters)), *range(0, self.max_iters, self.record_every)}
        return sorted(steps | {self.max_iters})

    def config(self) -> dict:
        """The fields that matter for this algorithm."""
        used = {"adam": {"betas"}, "sgd": {"momentum"}, "lbfgs": {"inner_steps", "history"}}
        unused = set().union(*used.values()) - used[self.alg]
        if self.clip is None:
            unused.add("clip_per")
        # Later fields, left out where they change nothing: old runs keep their names.
        unused |= {name for name in ("integrate", "normalize", "pool") if not getattr(self, name)}
        return {name: value for name, value in asdict(self).items() if name not in unused}

    def redraws(self, step: int) -> bool:
        """Whether this step has a batch of its own."""
        return step == 0 if self.redraw_every is None else step % self.redraw_every == 0


def _decay(name: str, value: object) -> float:
    if check_real(name, value, low=0.0) >= 1:
        raise ValueError(f"{name} must be < 1, got {value!r}")
    return float(value)
