"""The trainings of Giannou et al. (arXiv 2403.03183) that the pages of part III share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from lintf.checks import check_choice, check_list
from lintf.models.base import FittedModel
from lintf.models.encoder import Encoder
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.training.config import TrainConfig
from lintf.training.history import History
from lintf.training.several import Experiment, fit_many

VARIANTS = {
    "LSA": {"clip": 10.0, "init_std": 2e-4},
    "LSA, query masked": {"clip": 10.0, "init_std": 2e-4, "mask_query": True},
    "LSA + LayerNorm": {"norm": True},
}
PAPERS_CLIP = 10.0  # bound on the gradient's length, of LSA without LayerNorm
Key = tuple[str, float, int]  # a variant of the model or a target, kappa, the number of layers


@dataclass(frozen=True)
class Scale:
    """What all trainings of a figure have in common. Learning rates are Adam's; warmup: so many
    first steps, a tenth of all for None. clip: the bound on the gradient's length of models with
    LayerNorm; without it the bound is the paper's."""

    d: int
    N: int
    width: int
    max_iters: int
    B: int
    lr: float
    lr_end: float
    warmup: int | None = None
    clip: float | None = 10.0

    def config(
        self, clip: float | None, curriculum: tuple[tuple[str, int, int, int], ...] = ()
    ) -> TrainConfig:
        """Returns a training in the paper's proportions: a warm-up in the first tenth of the steps,
        then half a cosine from lr to lr_end, which it reaches after nine tenths. clip: the bound on
        the gradient's length."""
        tenth = self.max_iters // 10
        warmup = tenth if self.warmup is None else self.warmup
        schedule = {
            "warmup": warmup,
            "lr_end": self.lr_end,
            "decay_steps": max(warmup + 1, 9 * tenth),
        }
        options = {
            "betas": (0.9, 0.999),
            "clip": clip,
            "record_every": max(1, self.max_iters // 100),
        }
        return TrainConfig(
            self.lr, self.max_iters, self.B, curriculum=curriculum, **schedule, **options
        )

    def regression(self, variant: str, kappa: float, n_layer: int) -> Experiment:
        """Returns a training with the paper's curriculum: every twentieth of the steps the weights
        get one more entry, from 2 on, and the prompts five more examples, from 10 on. Raises
        ValueError for an unknown variant."""
        check_choice("each of variants", variant, VARIANTS)
        model = Encoder(d=self.d, n_layer=n_layer, width=self.width, **VARIANTS[variant])
        task = ConditionedRegression(self.N, self.d, kappa, w_dims=self.d)
        every, clip = max(1, self.max_iters // 20), self.clip if model.norm else PAPERS_CLIP
        curriculum = (("w_dims", 2, 1, every), ("N", 10, 5, every))
        return Experiment(model, task, self.config(clip, curriculum))

    def regressions(
        self, variants: Iterable[str], kappas: Iterable[float], depths: Iterable[int]
    ) -> dict[Key, Experiment]:
        """Returns the trainings of all combinations. Raises ValueError for an empty list."""
        lists = {"variants": variants, "kappas": kappas, "depths": depths}
        variants, kappas, depths = (check_list(name, values) for name, values in lists.items())
        return {key: self.regression(*key) for key in product(variants, kappas, depths)}

    def logistic(self, target: str, kappa: float, n_layer: int, mu: float = 0.01) -> Experiment:
        """Returns the training of the full transformer, which answers with weights.

        target: what it has to find, as in `LogisticRegression`.
        kappa: the condition number of the points' covariance.
        n_layer: how many layers.
        mu: the strength of the penalty on the weights.
        """
        options = {
            "attention": "softmax",
            "norm": True,
            "mlp": True,
            "readout": "w",
            "positions": self.N + 1,
        }
        model = Encoder(d=self.d, n_layer=n_layer, width=self.width, **options)
        task = LogisticRegression(self.N, self.d, kappa, mu, target)
        return Experiment(model, task, self.config(self.clip))


def trained(
    experiments: Mapping[Key, Experiment],
    seeds: Sequence[int],
    more_seeds: Sequence[int] = (),
    device: str = "auto",
) -> dict[Key, History]:
    """Returns the experiments' trainings with `seeds`; those with kappa = 1 and at most two layers
    have `more_seeds`, too.

    experiments: by variant or target, kappa and the number of layers.
    seeds, device: as for `fit`.
    more_seeds: seeds for the cheap ones; there may be none.
    """
    each = {
        key: [*seeds, *(more_seeds if key[1] == 1 and key[2] <= 2 else ())] for key in experiments
    }
    return fit_many(experiments, each, device)


def predictor(experiment: Experiment, run: History, **changes: object) -> FittedModel:
    """Returns the models of all seeds as one predictor, in float64, with changed fields where some
    are given."""
    return FittedModel(
        replace(experiment.model, **changes),
        {name: p.double() for name, p in run.final_params.items()},
    )


def steps_worth(errors: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Returns after how many steps a method whose error is `curve` (steps + 1,) first has the given
    errors (n,): the logarithm of its smallest error so far is interpolated linearly. 0 stands for
    errors above the whole curve. Raises ValueError for numbers that are not positive, and for
    errors below the whole curve."""
    least = np.minimum.accumulate(curve)
    if not (least[-1] > 0 and errors.min() > 0):
        raise ValueError(
            f"errors must be positive, got {errors.min()} and on the curve {least[-1]}"
        )
    if errors.min() < least[-1]:
        steps = len(curve) - 1
        raise ValueError(
            f"steps must be more than {steps}: these reach {least[-1]:.1e}, not {errors.min():.1e}"
        )
    new = np.flatnonzero(np.diff(least, prepend=np.inf) < 0)
    return np.interp(-np.log(errors), -np.log(least[new]), new)
