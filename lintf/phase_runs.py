"""The trainings of page 25: linear transformers over depth, examples, dimension and condition number."""

from __future__ import annotations

from functools import partial

import numpy as np

from lintf.checks import check_int, check_real
from lintf.model import LinearTransformer
from lintf.rotation import rotated_task
from lintf.settings import Training
from lintf.several import Plan


def scales(kappa: float, d: int) -> list[float]:
    """Standard deviations along the axes, a geometric series, with which Sigma has the condition number kappa and the
    determinant 1. Raises ValueError for d < 2 or kappa < 1."""
    kappa, d = check_real("kappa", kappa, 1.0), check_int("d", d, 2)
    return (kappa ** np.linspace(-0.25, 0.25, d)).tolist()


def phase(
    n_layer: int = 3,
    N: int = 20,
    d: int = 5,
    kappa: float = 1.0,
    lr: float = 0.03,
    B: int = 2000,
    max_iters: int = 10_000,
) -> Plan:
    """A linear transformer on rotated prompts, whose Sigma has the condition number kappa and a rotation of its own for
    every seed. Adam's learning rate falls from lr to 0 along half a cosine; the gradient's norm is held to 1, since the
    loss has heavy tails. Raises ValueError for what cannot be."""
    check_int("N", N, 1)
    task = partial(rotated_task, N=N, scales=scales(kappa, d))
    schedule = {"lr_end": 0.0, "decay_steps": check_int("max_iters", max_iters, 1), "clip": 1.0}
    recipe = Training(lr, max_iters, B, **schedule, record_every=max_iters, first_steps=5)
    return LinearTransformer(d=d, n_layer=n_layer), task, recipe
