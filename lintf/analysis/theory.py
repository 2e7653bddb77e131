"""Closed forms and hand-built weights, to hold beside what is learned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lintf.checks import check_int, check_real, set_fields
from lintf.tasks.batches import Gram, Prompts
from lintf.tasks.linear import LinearRegression


def distance_to_identity(M: Tensor) -> Tensor:
    """Returns ||M - (tr M / d) I||_F / ||M||_F over the last two axes: 0 for a multiple of the
    identity, at most 1."""
    d = M.shape[-1]
    trace = M.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    rest = torch.linalg.matrix_norm(M - trace / d * torch.eye(d, dtype=M.dtype, device=M.device))
    return torch.where(rest == 0, 0, rest / torch.linalg.matrix_norm(M))


def gradient_descent_weights(
    n_layer: int,
    eta: float,
    N: int,
    d: int,
    preconditioner: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """Returns parameters (..., L, 1, d, d) with which L linear layers do L steps of w <- w + eta Pi
    X^T (y - X w) from w = 0: P = 0 and Q = -eta N Pi. Lemma 1 of arXiv 2306.00297; von Oswald et
    al., arXiv 2212.07677.

    n_layer: L, the number of layers and steps.
    eta: the step size, for a sum over the examples, not a mean.
    N: the number of examples, by which the model divides.
    d: the dimension, which counts without a preconditioner only.
    preconditioner: Pi (..., d, d); None is the identity.
    dtype: that of the parameters.
    """
    check_int("n_layer", n_layer, 1)
    Pi = (
        torch.eye(d, dtype=dtype, device="cpu")
        if preconditioner is None
        else preconditioner.to(dtype)
    )
    return isotropic_weights([eta * N] * n_layer, [0.0] * (n_layer - 1), Pi)


def isotropic_weights(
    a: Sequence[float], b: Sequence[float], preconditioner: Tensor
) -> dict[str, Tensor]:
    """Returns parameters (..., L, 1, d, d) with Q_l = -a_l Pi and P_l = b_l I: multiples of the
    identity in the coordinates in which the preconditioner Pi (..., d, d) is one. a has L numbers;
    b has L - 1, since the last P does not matter and is 0. Raises ValueError for other lengths."""
    if len(b) != len(a) - 1:
        raise ValueError(f"b must have one number less than a, got {len(b)} and {len(a)}")
    a, b = (
        preconditioner.new_tensor([float(v) for v in values]).view(-1, 1, 1, 1)
        for values in (a, [*b, 0.0])
    )
    Q = -a * preconditioner.unsqueeze(-3).unsqueeze(-3)
    return {
        "P": (b * torch.eye(Q.shape[-1], dtype=Q.dtype, device=Q.device)).expand_as(Q).clone(),
        "Q": Q,
    }


def one_layer_optimum(task: LinearRegression) -> Tensor:
    """Returns the Q (d, d), float64, with which one layer has the smallest population loss on
    Gaussian covariates,

        Q = -N Sigma_w ((N + 1) Sigma Sigma_w + (tr(Sigma Sigma_w) + noise_std^2) I)^-1 .

    For Sigma_w = I this is Theorem 1 of arXiv 2306.00297, -U diag(1 / ((N + 1)/N lam_i +
    tr(Lam)/N)) U^T; for Sigma_w = Sigma^-1 it is -N / (N + 1 + d) Sigma^-1. It solves 0 = E
    (prediction - y) x s^T, where, for w of covariance Sigma_w, E S w w^T S = N ((N + 1) Sigma
    Sigma_w Sigma + tr(Sigma Sigma_w) Sigma). The noise adds N noise_std^2 Sigma. Raises ValueError
    for other covariates.
    """
    if task.mode != "normal":
        raise ValueError(f"mode must be 'normal' for the closed form, got {task.mode!r}")
    eye = torch.eye(task.d, dtype=torch.float64, device="cpu")
    Sigma, Sigma_w = (eye if S is None else eye.new_tensor(S) for S in (task.Sigma, task.Sigma_w))
    both = Sigma @ Sigma_w
    scale = both.trace() + task.noise_std**2
    return -task.N * Sigma_w @ torch.linalg.inv((task.N + 1) * both + scale * eye)


def mapped(gram: Gram, A: Tensor) -> Gram:
    """Returns the same prompts with covariates A x, and labels as before: weights A^-T w. A is (d,
    d), or has leading axes like the prompts'."""
    AS = (A @ gram.S.flatten(-2)).view_as(gram.S)
    S = (A @ AS.transpose(-3, -2).flatten(-2)).view_as(gram.S)  # A (A S)^T
    return Gram(S, A @ gram.s, A @ gram.x, gram.y, gram.N)


def symmetrised(gram: Gram) -> Gram:
    """Returns all 2^d d! images of prompts (d, ..., B) under signed permutations of the axes: (d,
    ..., B 2^d d!). On isotropic prompts every image is as likely as the original; the average over
    all of them is invariant exactly."""
    images, d = [], gram.d
    for order in itertools.permutations(range(d)):
        for signs in itertools.product((1.0, -1.0), repeat=d):
            images.append(mapped(gram, torch.diag(gram.x.new_tensor(signs))[list(order)]))
    S, s, x, y = (torch.cat([getattr(g, k) for g in images], -1) for k in ("S", "s", "x", "y"))
    return Gram(S, s, x, y, gram.N)


@dataclass(frozen=True)
class NewtonTransformer:
    """Linear attention that predicts as newton.NewtonIteration(steps, alpha=alpha), by hand-built
    weights that are the same for all prompts. One head; layers are Z <- Z + (Z W K^T) K V, with K
    all of Z but the query, which none reads.

    A token has 4 d + 1 entries: blocks x (d), y (1), J (d), e (d), t (d). N examples (x_i, y_i, 0,
    0, 0), then d probes (0, 0, 0, e_j, 0) with the unit vectors, then the query (0, 0, 0, x_q, 0),
    which is a probe in direction x_q. With J, e, t the matrices whose rows are a probe's blocks,
    the layers do, for any probe,

        J <- alpha e S
        `steps` times:  t <- J S,  J <- J + (e - t) J_k
        at last:  y <- y + J s

    where J_k has the rows of the unit vectors: 2 steps + 2 layers, two for a step, as arXiv
    2403.03183 says. With copy=True the first layer also writes t <- e S, and one layer does a step,
    J <- J + e J_k - J S J_k: steps + 2. The probes' labels are the weights, the query's is the
    prediction (with no minus sign). alpha: see NewtonIteration.
    """

    d: int
    steps: int
    alpha: float
    copy: bool = False

    def __post_init__(self) -> None:
        set_fields(self, d=check_int("d", self.d, 1), steps=check_int("steps", self.steps, 0))
        set_fields(self, alpha=check_real("alpha", self.alpha, 0.0, above=True))

    @property
    def n_layer(self) -> int:
        """The number of layers."""
        return self.steps + 2 if self.copy else 2 * self.steps + 2

    def blocks(self, Z: Tensor) -> dict[str, Tensor]:
        """Returns views of the blocks of tokens (..., 4 d + 1), by name; y is (..., 1)."""
        d = self.d
        return dict(zip(("x", "y", "J", "e", "t"), Z.split((d, 1, d, d, d), -1), strict=True))

    def layers(self, dtype: torch.dtype = torch.float64) -> list[tuple[Tensor, Tensor]]:
        """Returns W and V (4 d + 1, 4 d + 1) of every layer."""

        def matrix(*entries: tuple[str, str, float]) -> Tensor:
            """Multiples of the identity from block to block."""
            M = torch.zeros(4 * self.d + 1, 4 * self.d + 1, dtype=dtype, device="cpu")
            index = self.blocks(torch.arange(len(M), device="cpu"))
            for source, target, value in entries:
                M[index[source], index[target]] = value
            return M

        first = [("x", "J", self.alpha)] + [("x", "t", 1.0)] * self.copy
        start = matrix(("e", "x", 1)), matrix(*first)
        # The old t goes.
        multiply = (matrix(("J", "x", 1), ("t", "e", 1)), matrix(("x", "t", 1), ("e", "t", -1)))
        correct = matrix(("e", "e", 1), ("t", "e", -1)), matrix(("J", "J", 1))
        both = matrix(("e", "e", 1), ("J", "t", -1)), matrix(("J", "J", 1))
        read = matrix(("J", "x", 1)), matrix(("y", "y", 1))
        return [start, *([both] if self.copy else [multiply, correct]) * self.steps, read]

    def tokens(self, prompts: Prompts) -> Tensor:
        """Returns the tokens of prompts, (..., B, N + d + 1, 4 d + 1). Raises ValueError for
        statistics in place of tokens, or another d."""
        if not isinstance(prompts, Prompts) or prompts.d != self.d:
            raise ValueError(
                f"prompts must be tokens with d = {self.d}, got {type(prompts).__name__}, d = "
                f"{prompts.d}"
            )
        N, d = prompts.N, self.d
        Z = prompts.Z.new_zeros(*prompts.Z.shape[:-2], N + d + 1, 4 * d + 1)
        Z[..., :N, : d + 1] = prompts.Z[..., :N, :]
        e = self.blocks(Z)["e"]
        e[..., N:-1, :] = torch.eye(d, dtype=Z.dtype, device=Z.device)
        e[..., -1, :] = prompts.Z[..., -1, :d]
        return Z

    def states(self, prompts: Prompts) -> Iterator[Tensor]:
        """Yields the tokens before and after every layer, n_layer + 1 of them. No layer writes to
        the examples, whose J, e and t are 0, so they are left as they are."""
        Z, N = self.tokens(prompts), prompts.N
        yield Z
        for W, V in self.layers(Z.dtype):
            new = linear_attention(Z, W.to(Z.device), V.to(Z.device), Z[..., N:, :])
            Z = torch.cat((Z[..., :N, :], new), -2)
            yield Z

    def iterates(self, prompts: Prompts) -> Tensor:
        """Returns the predictions with 0, ..., steps steps, (steps + 1, ..., B): the last layer,
        put after each of them."""
        found, (W, V) = [], self.layers(prompts.Z.dtype)[-1]
        for layer, Z in enumerate(self.states(prompts)):
            if 1 <= layer < self.n_layer and (self.copy or layer % 2):
                found.append(
                    self._answer(
                        linear_attention(Z, W.to(Z.device), V.to(Z.device), Z[..., -1:, :])
                    )
                )
        return torch.stack(found)

    def predict(self, prompts: Prompts) -> Tensor:
        """Returns the predictions after the last layer, (..., B)."""
        *_, last = self.states(prompts)
        return self._answer(last)

    def _answer(self, Z: Tensor) -> Tensor:
        return self.blocks(Z)["y"][..., -1, 0]


def linear_attention(Z: Tensor, W: Tensor, V: Tensor, queries: Tensor | None = None) -> Tensor:
    """Returns Z + (Z W K^T) K V, for keys K = Z without its last row: one head, no softmax, scores
    not divided by the number of tokens.

    Z: (..., T, D), the tokens.
    W, V: (D, D), the layer's matrices.
    queries: (..., t, D), the tokens that are wanted; None is all of Z.
    """
    K, queries = Z[..., :-1, :], Z if queries is None else queries
    return queries + queries @ W @ K.mT @ K @ V
