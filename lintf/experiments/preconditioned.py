"""The trainings of three layers that pages 1, 2 and 23 have in common with others: with weights of
their own on round and on rotated prompts, and in a loop (arXiv 2306.00297)."""

from __future__ import annotations

from collections.abc import Sequence

from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.tasks.rotated import SCALES, Rotated
from lintf.training.config import TrainConfig
from lintf.training.several import Experiment

START = {"n_layer": 3, "init_std": 1e-4}
ROTATED = {
    "B": 20_000,
    "betas": (0.99, 0.9),
    "clip": 0.01,
    "clip_by": "matrix",
    "redraw_every": 100,
    "halve_every": 4000,
}


def three_layers(
    N: int = 20,
    scales: Sequence[float] = SCALES,
    demo_steps: int = 10_000,
    rotated_steps: int = 100_000,
    loop_steps: int = 20_000,
) -> dict[str, Experiment]:
    """Returns the trainings by name: "page 1" on round prompts, "page 2" on rotated ones, and
    "loop", one layer three times, on rotated ones, as on page 23.

    N: examples in a prompt.
    scales: standard deviations of the rotated covariates along their axes, d of them.
    demo_steps, rotated_steps, loop_steps: lengths of the three trainings.
    """
    d = len(scales)
    layers = LinearTransformer(d=d, **START)
    loop = LinearTransformer(d=d, tied=True, **START)
    rotated = Rotated((0,), N, scales).task
    return {
        "page 1": Experiment(
            layers,
            LinearRegression(N=N, d=d),
            TrainConfig(
                lr=1e-3,
                B=4000,
                clip=1000.0,
                max_iters=demo_steps,
                record_every=max(1, demo_steps // 40),
            ),
        ),
        "page 2": Experiment(layers, rotated, _slow(0.1, rotated_steps, 250)),
        "loop": Experiment(loop, rotated, _slow(0.01, loop_steps, 200)),
    }


def _slow(lr: float, steps: int, parts: int) -> TrainConfig:
    """Returns the recipe for rotated prompts, recorded so many times."""
    every = max(1, steps // parts)
    return TrainConfig(lr=lr, max_iters=steps, record_every=every, **ROTATED)
