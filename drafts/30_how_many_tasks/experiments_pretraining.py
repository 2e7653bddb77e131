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
# d = 100, k / d = 0.5, noise variance 0.01: by alpha and tau.
NEW_TASKS = {
    (1, 0.2): (1.0466, 0.004),
    (1, 0.5): (1.305, 0.0085),
    (1, 0.85): (3.274, 0.071),
    (1, 1.15): (4.167, 0.12),
    (1, 1.5): (1.77, 0.023),
    (1, 2.0): (1.2785, 0.0122),
    (10, 0.2): (0.8669, 0.0052),
    (10, 0.5): (0.8321, 0.0074),
    (10, 0.85): (2.2, 0.063),
    (10, 1.15): (3.107, 0.129),
    (10, 1.5): (1.2996, 0.031),
    (10, 2.0): (0.9438, 0.0158),
    (100, 0.2): (0.8194, 0.0054),
    (100, 0.5): (0.7067, 0.0061),
    (100, 0.85): (3.96, 0.193),
    (100, 1.15): (6.404, 0.169),
    (100, 1.5): (2.198, 0.05),
    (100, 2.0): (1.3507, 0.0316),
}
TRAINING_TASKS = {
    (10, 0.2): (0.5531, 0.0098),
    (10, 0.5): (0.2524, 0.0067),
    (10, 0.85): (0.4190, 0.0157),
    (10, 1.15): (0.4677, 0.0204),
    (10, 1.5): (0.1735, 0.0033),
    (10, 2.0): (0.1148, 0.0013),
}
# d = 50, alpha = tau = 100, noise variance 0.25: by k / d.
NEW_BY_TASKS = {
    0.1: (1.6306, 0.0585),
    0.5: (0.91644, 0.0150),
    1: (0.35267, 0.0103),
    5: (0.266014, 1.09e-4),
    10: (0.265568, 1.07e-4),
    50: (0.265276, 8.5e-5),
    100: (0.265295, 9.0e-5),
    500: (0.265264, 4.0e-5),
}
TRAINING_BY_TASKS = {
    0.1: (0.2301, 0.0761),
    0.5: (0.25948, 0.0245),
    1: (0.26088, 0.0164),
    5: (0.26053, 0.0147),
    10: (0.26257, 0.0086),
    50: (0.26429, 0.0023),
    100: (0.26710, 0.0023),
    500: (0.26505, 0.0011),
}


def beside(
    published: Mapping[Key, Published], ours: Mapping[Key, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the means over our repetitions, the published means, and the standard errors of their
    differences, for all points that both have: what `tolerances.by_chance` takes."""
    keys = [key for key in published if key in ours]
    values = torch.stack([ours[key] for key in keys]).double()
    theirs = torch.tensor([published[key] for key in keys], dtype=torch.float64, device="cpu")
    spread = values.var(1, correction=0) / values.shape[1]
    error = (spread + theirs[:, 1].square() / REPETITIONS).sqrt()
    return values.mean(1), theirs[:, 0], error
