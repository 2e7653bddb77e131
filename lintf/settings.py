"""Training: how to train, as one frozen set of numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from lintf.checks import check_choice, check_int, check_real

ALGS = ("adam", "sgd")
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
    alg: str = "adam"  # or "sgd"; both without weight decay
    betas: tuple[float, float] = (0.9, 0.9)  # adam: decay of the gradient's mean and of its mean square
    momentum: float = 0.9  # sgd
    clip: float | None = None  # bound on the gradient's Euclidean norm
    clip_per: str = "member"  # the norm of all parameters of a seed together, or of each d x d "matrix"
    redraw_every: int = 1  # steps on one batch
    halve_every: int | None = None  # the learning rate is halved after so many steps
    record_every: int = 100  # stride of the recorded losses and parameters; the first 20 steps always
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_choice("alg", self.alg, ALGS)
        check_real("lr", self.lr, low=0.0, above=True)
        for name in ("max_iters", "B", "redraw_every", "record_every"):
            check_int(name, getattr(self, name), 1)
        if self.halve_every is not None:
            check_int("halve_every", self.halve_every, 1)
        if self.clip is not None:
            check_real("clip", self.clip, low=0.0, above=True)
        check_choice("clip_per", self.clip_per, CLIPS)
        check_choice("dtype", self.dtype, DTYPES)
        object.__setattr__(self, "betas", tuple(self.betas))  # JSON has lists
        for name, value in (("betas[0]", self.betas[0]), ("betas[1]", self.betas[-1]), ("momentum", self.momentum)):
            check_real(name, value, low=0.0)
            if value >= 1:
                raise ValueError(f"{name} must be < 1, got {value!r}")

    def rate(self, step: int) -> float:
        return self.lr if self.halve_every is None else self.lr * 0.5 ** (step // self.halve_every)

    def recorded_steps(self) -> list[int]:
        """Parameters are recorded before the update of these steps, and after the last update."""
        steps = {*range(min(FIRST_STEPS, self.max_iters)), *range(0, self.max_iters, self.record_every)}
        return sorted(steps | {self.max_iters})

    def config(self) -> dict:
        """The fields that matter for this algorithm."""
        unused = {"adam": {"momentum"}, "sgd": {"betas"}}[self.alg]
        if self.clip is None:
            unused.add("clip_per")
        return {name: value for name, value in asdict(self).items() if name not in unused}
