"""The trainings of page 25: linear transformers over depth, examples, dimension and condition
number; and what they are held against."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lintf.analysis import isotropic
from lintf.analysis.isotropic import Isotropic
from lintf.analysis.solvers import Predictor, squared_error
from lintf.checks import check_int, check_real
from lintf.models.base import Params
from lintf.models.linear import LinearTransformer
from lintf.tasks.batches import Gram
from lintf.tasks.rotated import rotated_task, rotation, whitened
from lintf.training.config import TrainConfig
from lintf.training.several import Experiment

# entries of all S that are scored at once: what is computed of them stays in the processor's cache
CHUNK = 50_000
OPTIMA = Path(__file__).parents[1] / "data" / "optima.json"


def scales(kappa: float, d: int) -> list[float]:
    """Returns standard deviations along the axes, a geometric series, with which Sigma has the
    condition number kappa and the determinant 1. Raises ValueError for d < 2 or kappa < 1."""
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
) -> Experiment:
    """Returns the training of a linear transformer on rotated prompts, with a rotation of its own
    for every seed. Adam's learning rate falls to 0 along half a cosine; the gradient's norm is held
    to 1, since the loss has heavy tails.

    n_layer: how many layers.
    N, d: examples in a prompt, and their dimension, at least 2.
    kappa: the condition number of Sigma.
    lr: the learning rate at the start.
    B, max_iters: prompts per step and seed, and optimiser steps.
    Raises ValueError for what cannot be.
    """
    check_int("N", N, 1)
    task = partial(rotated_task, N=N, scales=scales(kappa, d))
    schedule = {"lr_end": 0.0, "decay_steps": check_int("max_iters", max_iters, 1), "clip": 1.0}
    config = TrainConfig(lr, max_iters, B, **schedule, record_every=max_iters, first_steps=5)
    return Experiment(LinearTransformer(d=d, n_layer=n_layer), task, config)


def whiten_params(params: Params, seed: int, kappa: float) -> Params:
    """Returns the same network as it acts on whitened covariates g, x = U D g: Q' = (U D)^T Q U D
    and P' = (U D)^-1 P U D, in float64. params: (1, L, 1, d, d)."""
    P, Q = (params[name].double() for name in "PQ")
    UD = rotation(seed, scales(kappa, Q.shape[-1]))
    return {"P": torch.linalg.inv(UD) @ P @ UD, "Q": whitened(Q, UD[None])}


def scores(method: Predictor, prompts: Gram) -> Tensor:
    """Returns the mean squared error without the worst thousandth of the prompts, and the mean over
    all: (2,)."""
    size, tensors = max(1, CHUNK // prompts.d**2), (prompts.S, prompts.s, prompts.x, prompts.y)
    parts = zip(*(t.split(size, -1) for t in tensors), strict=True)
    errors = torch.cat(
        [squared_error(method, Gram(*part, prompts.N)) for part in parts], -1
    ).flatten()
    kept = len(errors) - len(errors) // 1000
    return torch.stack([errors[errors <= errors.kthvalue(kept).values].mean(), errors.mean()])


@cache
def best_layers(n_layer: int, N: int, d: int, rare: float) -> Isotropic:
    """Returns `isotropic.optimum`, for the pages' own settings downhill from what the search found
    before, which takes a hundredth of the time (benchmarks/optima.py).

    n_layer, N, d, rare: as for `isotropic.optimum`.
    """
    wanted = {"n_layer": n_layer, "N": N, "d": d, "rare": rare}
    for row in json.loads(OPTIMA.read_text(encoding="utf-8")):
        if row.items() >= wanted.items():
            return isotropic.local_optimum(row["a"], row["b"], N, d, rare)
    return isotropic.optimum(n_layer, N, d, rare)
