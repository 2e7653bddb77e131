"""What page 30 compares with: the errors that the code of Lu et al. (arXiv 2405.11751) has saved,
as (mean, standard deviation) of ten repetitions, in mean squared error with the query's noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

Published = tuple[float, float]
Key = TypeVar("Key")
REPETITIONS = 10
TAUS = (0.2, 0.5, 0.85, 1.15, 1.5, 2.0)
RATIOS = (0.1, 0.5, 1, 5, 10, 50, 100, 500)  # tasks / d


def _points(*rows: tuple[float, ...]) -> list[Published]:
    """Pairs of what stands in one row, and the standard deviation below it."""
    return [
        pair
        for means, deviations in zip(rows[::2], rows[1::2], strict=True)
        for pair in zip(means, deviations, strict=True)
    ]


# d = 100, k / d = 0.5, noise variance 0.01: by alpha and tau.
NEW_TASKS = dict(
    zip(
        [(alpha, tau) for alpha in (1, 10, 100) for tau in TAUS],
        _points(
            (1.0466, 1.305, 3.274, 4.167, 1.77, 1.2785),
            (0.004, 0.0085, 0.071, 0.12, 0.023, 0.0122),
            (0.8669, 0.8321, 2.2, 3.107, 1.2996, 0.9438),
            (0.0052, 0.0074, 0.063, 0.129, 0.031, 0.0158),
            (0.8194, 0.7067, 3.96, 6.404, 2.198, 1.3507),
            (0.0054, 0.0061, 0.193, 0.169, 0.05, 0.0316),
        ),
        strict=True,
    )
)
_training = _points(
    (0.5531, 0.2524, 0.419, 0.4677, 0.1735, 0.1148),
    (0.0098, 0.0067, 0.0157, 0.0204, 0.0033, 0.0013),
)
TRAINING_TASKS = {(10, tau): point for tau, point in zip(TAUS, _training, strict=True)}
# d = 50, alpha = tau = 100, noise variance 0.25: by k / d.
_new = _points(
    (1.6306, 0.91644, 0.35267, 0.266014, 0.265568, 0.265276, 0.265295, 0.265264),
    (0.0585, 0.015, 0.0103, 1.09e-4, 1.07e-4, 8.5e-5, 9e-5, 4e-5),
)
NEW_BY_TASKS = dict(zip(RATIOS, _new, strict=True))
_training = _points(
    (0.2301, 0.25948, 0.26088, 0.26053, 0.26257, 0.26429, 0.2671, 0.26505),
    (0.0761, 0.0245, 0.0164, 0.0147, 0.0086, 0.0023, 0.0023, 0.0011),
)
TRAINING_BY_TASKS = dict(zip(RATIOS, _training, strict=True))


def set_beside(
    published: Mapping[Key, Published], ours: Mapping[Key, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the means over our repetitions, the published means, and the standard errors of their
    differences, for all points that both have: what `tolerances.by_chance` takes; nan for none."""
    keys = [key for key in published if key in ours]
    if not keys:
        return (torch.full((1,), torch.nan, dtype=torch.float64, device="cpu"),) * 3
    values = torch.stack([ours[key] for key in keys]).double()
    theirs = torch.tensor([published[key] for key in keys], dtype=torch.float64, device="cpu")
    spread = values.var(1, correction=0) / values.shape[1]
    error = (spread + theirs[:, 1].square() / REPETITIONS).sqrt()
    return values.mean(1), theirs[:, 0], error
