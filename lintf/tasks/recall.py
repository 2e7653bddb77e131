"""Sentences for in-context recall (Nguyen and Nguyen-Tang, arXiv 2505.15009): each ends in a
trigger token that it had before, and the next token is the one that followed there, or noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from lintf.checks import check_int, check_real, checked, flag, whole
from lintf.tasks import randoms
from lintf.tasks.base import Task
from lintf.tasks.batches import Sentences


@dataclass(frozen=True)
class Recall(Task):
    """The law of the sentences. Of `vocab` tokens the first `n_trigger` are triggers, the next
    `n_output` are outputs, and the last one is the noise token tau. A sentence is H tokens, uniform
    over those that are neither trigger nor tau; then a trigger q and an output y, uniform, are put
    at two neighbouring places before the last, uniform too, and q again at the end. What comes next
    is y.

    With noise (alpha > 0) q is always token 0, and (q, tau) is put at two other places; what comes
    next is tau with probability alpha, else y. Noise sentences cannot tell the two apart, so that
    no predictor has a smaller expected cross-entropy than `bayes_risk`.

    unseen: y is uniform over the tokens that are neither trigger, output nor tau, for a test out of
    distribution. Raises ValueError for a field out of its range.
    """

    representations: ClassVar[tuple[str, ...]] = ("sentences",)

    alpha: float = checked(0.0, lambda _, value: check_alpha(value))
    H: int = whole(256, low=3)
    vocab: int = whole(60)
    n_trigger: int = whole(5)
    n_output: int = whole(4)
    unseen: bool = flag(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("vocab", self.vocab, self.n_trigger + self.n_output + 2)  # tau, and one unseen
        # Room for the bigrams, wherever the first is.
        check_int("H", self.H, 6 if self.alpha else 3)

    @property
    def d(self) -> int:
        """The dimension of a token's vector: half of the basis is for the token itself, half for
        the one before."""
        return 2 * self.vocab

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"recall-alpha{self.alpha:g}-H{self.H}" + ("-unseen" if self.unseen else "")

    @property
    def bayes_risk(self) -> float:
        """The smallest expected cross-entropy: the entropy of a coin with probability alpha, in
        nats."""
        return cross_entropy(self.alpha, self.alpha)

    @staticmethod
    def draw_ensemble(
        tasks: Sequence[Recall],
        B: int,
        rngs: Sequence[np.random.SFC64],
        representation: str,
        dtype: torch.dtype,
    ) -> Sentences:
        """Draws each sentence from one row of random words. Arguments as in
        `Task.draw_ensemble`."""
        task = tasks[0]
        words = randoms.words(rngs, B, task.H + 6)[:, :B]  # an even number of words in each row
        tail = words[..., task.H :]
        noisy, places = task.alpha > 0, task.H - 2
        first, end = (task.n_trigger + task.n_output * task.unseen, task.vocab - 1)
        z = randoms.below(words[..., : task.H], task.vocab - 1 - task.n_trigger)
        z += task.n_trigger
        q = randoms.below(tail[..., 0], 1 if noisy else task.n_trigger)
        y = first + randoms.below(tail[..., 1], end - first if task.unseen else task.n_output)
        place = randoms.below(tail[..., 2], places)
        e, b = np.ogrid[: len(tasks), :B]
        z[e, b, place], z[e, b, place + 1], z[..., -1] = q, y, q
        following = y
        if noisy:
            # The places that are left: so many below, and from place + 2 on.
            before = np.maximum(place - 1, 0)
            other = randoms.below(tail[..., 3], before + np.maximum(places - place - 2, 0))
            other = np.where(other < before, other, other - before + place + 2)
            z[e, b, other], z[e, b, other + 1] = q, task.vocab - 1
            following = np.where(tail[..., 4] < task.alpha * 2**32, task.vocab - 1, y)
        return Sentences(*map(torch.from_numpy, (z, following, y)))


def check_alpha(alpha: object) -> float:
    """Returns alpha as a float where it is a probability in [0, 1). Raises ValueError for any other
    value."""
    value = check_real("alpha", alpha, low=0.0)
    if value >= 1:
        raise ValueError(f"alpha must be a probability in [0, 1), got {alpha!r}")
    return value


def cross_entropy(alpha: float, believed: float) -> float:
    """Returns -alpha log b - (1 - alpha) log(1 - b) in nats, for b = believed: the expected loss of
    who predicts noise with probability b where it comes with probability alpha."""
    return sum(-p * math.log(b) for p, b in ((alpha, believed), (1 - alpha, 1 - believed)) if p > 0)
