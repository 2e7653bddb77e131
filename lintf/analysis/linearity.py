"""How linear are layers? A score for pairs of layers, and its chance level.

For X (n, dim) and Y (n, width), the rows of two layers for the same n tokens, each centred and
divided by its Frobenius norm,

    score = 1 - min_A |X A - Y|^2 = |U^T Y|^2
    X = U S V^T, without directions whose S is at rounding level

(arXiv 2405.12250): the share of Y's variance that one linear map of X explains. It is 1 where Y = X
A, and the same for X M + a and c Y R + b with M invertible, R orthogonal, c not 0. It is a
sample's: `null_score` says what noise would get, `held_out` what the map is worth on other text.
All is computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from lintf.analysis.intervals import Estimate
from lintf.checks import check_int

HALF_THE_DIGITS = 1e-14  # of squares in float64: smaller ones may be nothing but rounding


@dataclass(frozen=True, eq=False)
class Explained:
    """What one linear map explains of the tokens of a layer."""

    error: Tensor  # (n,) |x_i A - y_i|^2
    size: Tensor  # (n,) |y_i|^2, measured from the mean

    @property
    def score(self) -> float:
        """The share of the variance of all tokens that is explained."""
        return 1 - float(self.error.sum() / self.size.sum())

    @property
    def tokens(self) -> Tensor:
        """The score of each token by itself, (n,): 1 - |x_i A - y_i|^2 / |y_i|^2. Their mean with
        weights |y_i|^2 is the score. A token near the mean of its layer can be far below 0."""
        return 1 - self.error / self.size

    def interval(self, groups: Tensor, resamples: int = 2000) -> Estimate:
        """Returns the score with the percentile interval of a bootstrap of whole groups of tokens,
        since those of a paragraph are alike. groups (n,) are their numbers. The map stays as it
        is."""
        number = _groups(groups, len(self.error), 2)
        error, size = (np.bincount(number, values.numpy()) for values in (self.error, self.size))
        share = np.full(len(size), 1 / len(size))
        drawn = np.random.default_rng(0).multinomial(
            len(size), share, check_int("resamples", resamples, 1)
        )
        low, high = np.quantile(1 - drawn @ error / (drawn @ size), [0.025, 0.975])
        return Estimate(self.score, float(low), float(high))


def explained(x: Tensor, y: Tensor, centre: bool = True) -> Explained:
    """Returns what the best map for these tokens explains, x (n, dim), y (n, width); without
    centring the means count as well. Raises ValueError for shapes that do not match, for
    activations that are constant or not finite, and for so few tokens that the score is 1 by
    construction."""
    _same_tokens(x, y)
    U, Y = _svd(x, "x", centre)[0], _centred(y, "y", centre)
    return Explained((Y - U @ (U.mT @ Y)).square().sum(1), Y.square().sum(1))


def score(x: Tensor, y: Tensor, centre: bool = True) -> float:
    """Returns the score from 0 to 1, as defined above. Raises ValueError like `explained`."""
    _same_tokens(x, y)
    U, Y = _svd(x, "x", centre)[0], _centred(y, "y", centre)
    return float(((U.mT @ Y).norm() / Y.norm()).square())


def scores(layers: Sequence[Tensor] | Tensor, centre: bool = True) -> Tensor:
    """Returns all scores of layers, (l, l): entry [i, j] is score(layers[i], layers[j]). They are
    not symmetric."""
    parts = [_svd(x, f"layers[{i}]", centre)[:2] for i, x in enumerate(layers)]
    for y in layers[1:]:
        _same_tokens(layers[0], y)
    found = torch.eye(len(parts), dtype=torch.float64, device="cpu")  # a layer explains itself
    for i, (U, S) in enumerate(parts):
        for j, (W, T) in enumerate(parts[:i]):
            M = U.mT @ W  # so that |U^T Y| = |M T|
            found[i, j], found[j, i] = (
                (N * s).norm().div(s.norm()).square() for N, s in ((M, T), (M.mT, S))
            )
    return found


def scores_at_lag(scores: Tensor, k: int) -> Tensor:
    """Returns of scores (l, l) those of each layer and the one k further on, (l - k,)."""
    return scores.diagonal(check_int("k", k, 0, len(scores) - 1))


def linear_map(x: Tensor, y: Tensor) -> Tensor:
    """Returns the A (dim, width) of smallest norm that minimises |X A - Y| for x and y with their
    means taken off."""
    _same_tokens(x, y)
    U, S, V = _svd(x, "x", True)
    return (V / S) @ (U.mT @ _centred(y, "y", True))


def held_out(x: Tensor, y: Tensor, groups: Tensor, folds: int = 5) -> Explained:
    """Returns what maps explain that were fitted to other tokens: each fold is explained from the
    means and with the map of the rest. A bad map gives a negative score.

    x, y: (n, dim) and (n, width), the tokens in two layers.
    groups: (n,), which paragraph, say, each token is of; a group is in one fold only.
    folds: into how many parts the groups are dealt, at least 2.

    All maps come from one pass of sums of squares, in which directions of x below a ten-millionth
    of its norm are not seen.
    Raises ValueError for shapes that do not match, and for fewer groups than folds.
    """
    _same_tokens(x, y)
    fold = torch.from_numpy(_groups(groups, len(x), check_int("folds", folds, 2)) % folds)
    error, size = torch.empty(2, len(x), dtype=torch.float64, device="cpu")
    # Sums over a fold's complement are those over all less those over the fold: one pass for all.
    X, Y = _centred(x, "x", True), _centred(y, "y", True)
    parts = [(X[fold == k], Y[fold == k]) for k in range(folds)]
    sums = [(len(X), X.sum(0), Y.sum(0), X.mT @ X, X.mT @ Y) for X, Y in parts]
    total = [sum(each) for each in zip(*sums, strict=True)]
    for k, (X, Y) in enumerate(parts):
        n, x_sum, y_sum, squares, products = (a - b for a, b in zip(total, sums[k], strict=True))
        _check_number(n, x.shape[1], "x", True)
        squares, products = squares - x_sum.outer(x_sum) / n, products - x_sum.outer(y_sum) / n
        A = _solution(squares, products, _rounding(x[fold != k]))
        X, Y = X - x_sum / n, Y - y_sum / n
        error[fold == k] = (X @ A - Y).square().sum(1)
        size[fold == k] = Y.square().sum(1)
    return Explained(error, size)


def null_score(n: int, dim: int, width: int) -> Estimate:
    """Returns the score of unrelated layers, with the interval that holds 95 percent of them.
    Centring leaves Y an (n - 1)-dimensional space, of which X spans dim directions; if Y is
    Gaussian, their share in its square follows Beta(dim width / 2, (n - 1 - dim) width / 2), with
    mean dim / (n - 1)."""
    dim, width = check_int("dim", dim, 1), check_int("width", width, 1)
    law = stats.beta(dim * width / 2, (check_int("n", n, dim + 2) - 1 - dim) * width / 2)
    return Estimate(dim / (n - 1), *map(float, law.ppf([0.025, 0.975])))


def norms_and_cosines(layers: Tensor) -> tuple[Tensor, Tensor]:
    """Returns means over the tokens of layers (l, n, dim): the Euclidean norm in each layer, (l,),
    and the cosine of the angle between a token in one layer and in the next, (l - 1,)."""
    return layers.norm(dim=-1).mean(1), torch.cosine_similarity(
        layers[:-1], layers[1:], dim=-1
    ).mean(1)


def _svd(x: Tensor, name: str, centre: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Returns U (n, r), S (r,), V (dim, r) of the centred x, without the directions that are
    rounding errors of x."""
    X = _centred(x, name, centre)
    _check_number(*x.shape, name, centre)
    if x.dtype == torch.float32:  # half the digits of float64, so that squares lose none of them
        squares, V = torch.linalg.eigh(X.mT @ X)
        S = squares.clamp(min=0).sqrt()
        kept = _rounding(x) < S
        return X @ (V[:, kept] / S[kept]), S[kept], V[:, kept]
    Q, R = torch.linalg.qr(X)  # first, so that the decomposition is one of a small matrix
    U, S, Vh = torch.linalg.svd(R)
    kept = _rounding(x) < S
    return Q @ U[:, kept], S[kept], Vh[kept].mT


def _solution(squares: Tensor, products: Tensor, rounding: float) -> Tensor:
    """Returns the A (dim, width) of smallest norm with X A nearest to Y, from X^T X and X^T Y, in
    the directions whose squares are above rounding level."""
    values, V = torch.linalg.eigh(squares)
    smallest = max(rounding**2, HALF_THE_DIGITS * float(squares.trace()))
    kept = values > smallest
    return (V[:, kept] / values[kept]) @ (V[:, kept].mT @ products)


def _centred(x: Tensor, name: str, centre: bool) -> Tensor:
    """Returns x in float64, less its mean where it is to be centred. Raises ValueError for constant
    activations."""
    _check(x, name)
    X = x.double() - x.double().mean(0) if centre else x.double()
    if X.norm() <= _rounding(x):
        raise ValueError(f"{name} must vary from token to token, got constant activations")
    return X


def _check(x: Tensor, name: str) -> None:
    if (
        not isinstance(x, Tensor)
        or x.dim() != 2
        or x.dtype not in (torch.float32, torch.float64)
        or not x.numel()
    ):
        got = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else repr(x)
        raise ValueError(
            f"{name} must be a float32 or float64 tensor of shape (tokens, dim), got {got}"
        )
    if not x.isfinite().all():
        raise ValueError(
            f"{name} must have finite activations, got {int((~x.isfinite()).sum())} that are not"
        )


def _check_number(n: int, dim: int, name: str, centre: bool) -> None:
    if n <= dim + centre:
        raise ValueError(
            f"{name} must have more than dim{' + 1' * centre} tokens, or the score is 1 by "
            f"construction: got n = {n} tokens of dim = {dim}"
        )


def _rounding(x: Tensor) -> float:
    """Returns a bound on the singular values of x's rounding errors: eps |x_ij| each are at most
    eps |x| together, and the root leaves room for the sums that the entries come from."""
    return torch.finfo(x.dtype).eps * sum(x.shape) ** 0.5 * float(x.double().norm())


def _same_tokens(x: Tensor, y: Tensor) -> None:
    _check(x, "x")
    _check(y, "y")
    if len(x) != len(y):
        raise ValueError(
            f"x and y must have the same tokens, got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )


def _groups(groups: Tensor, n: int, least: int) -> np.ndarray:
    """Returns the groups (n,), counted from 0. Raises ValueError for fewer than `least`."""
    found, number = np.unique(groups.numpy(), return_inverse=True)
    if groups.shape != (n,) or len(found) < least:
        got = f"{tuple(groups.shape)} with {len(found)}"
        raise ValueError(f"groups must be (n,) = ({n},) with at least {least} values, got {got}")
    return number
