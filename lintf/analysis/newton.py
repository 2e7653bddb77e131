"""Newton's iteration for an inverse, and steepest descent: classical methods of Giannou et al.,
arXiv 2403.03183, in float64. The linear attention that does the first is in theory.py, the paper's
damped Newton steps for logistic regression are in tasks/logistic.py.

Both are predictors as in solvers.py. They see a prompt through S = X^T X and s = X^T y; J stands
for an approximate inverse of S, which the paper calls X.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lintf.checks import check_int, check_real, set_fields
from lintf.tasks.batches import Gram, Prompts


@dataclass(frozen=True)
class NewtonIteration:
    """Predicts x_q . J_k s after k = `steps` of Newton's iteration of order m = `order` for the
    inverse of S,

        J_{k+1} = J_k sum_{j<m} (-1)^j C(m, j+1) (S J_k)^j
        m = 2:  J_{k+1} = J_k (2 I - S J_k)

    from J_0 = alpha S^T, with alpha = 1 / (largest + smallest eigenvalue of S S^T) of each prompt,
    or one given number for all. I - S J_k = (I - S J_0)^(m^k), so it converges for alpha < 2 /
    (largest eigenvalue of S S^T). For a singular S (N < d) the limit is the pseudo-inverse; J_k's
    rounding in the null space then grows as m^k, but s has no part there. Schulz, 1933.
    """

    steps: int
    order: int = 2
    alpha: float | None = None

    def __post_init__(self) -> None:
        set_fields(
            self, steps=check_int("steps", self.steps, 0), order=check_int("order", self.order, 2)
        )
        if self.alpha is not None:
            set_fields(self, alpha=check_real("alpha", self.alpha, 0.0, above=True))

    def inverses(self, S: Tensor) -> Tensor:
        """Returns all J_k, (steps + 1, ..., d, d), float64, for any square S (..., d, d). Raises
        ValueError for other shapes."""
        if S.dim() < 2 or S.shape[-1] != S.shape[-2]:
            raise ValueError(f"S must be (..., d, d), got shape {tuple(S.shape)}")
        S = S.double()
        if self.alpha is None:
            squares = torch.linalg.svdvals(S).square()
            total = (squares[..., 0] + squares[..., -1])[..., None, None]
            J = S.mT / torch.where(total > 0, total, 1.0)  # S = 0 is its own pseudo-inverse
        else:
            J = self.alpha * S.mT
        eye, found = torch.eye(S.shape[-1], dtype=S.dtype, device=S.device), [J]
        for _ in range(self.steps):
            SJ, polynomial = S @ J, torch.zeros_like(S)
            for j in reversed(range(self.order)):  # Horner's scheme
                polynomial = (-1) ** j * math.comb(self.order, j + 1) * eye + SJ @ polynomial
            J = J @ polynomial
            found.append(J)
        return torch.stack(found)

    def iterates(self, prompts: Prompts | Gram) -> Tensor:
        """Returns the predictions after 0, ..., steps steps: (steps + 1, ..., B)."""
        S, s, x = _batch_first(prompts)
        w = (self.inverses(S) @ s.unsqueeze(-1))[..., 0]
        return (w * x).sum(-1).to(prompts.y.dtype)

    def predict(self, prompts: Prompts | Gram) -> Tensor:
        """Returns the predictions after the last step, (..., B)."""
        return self.iterates(prompts)[-1]


@dataclass(frozen=True)
class SteepestDescent:
    """Gradient descent on |X w - y|^2 / 2 from w = 0 with exact line search in each prompt: w <- w
    + eta g with g = s - S w and eta = g.g / g.Sg, and w stays where g is 0 but for rounding. With
    kappa the condition number of S, the loss above its minimum falls by ((kappa - 1) / (kappa +
    1))^2 or more in a step (Kantorovich)."""

    steps: int

    def __post_init__(self) -> None:
        set_fields(self, steps=check_int("steps", self.steps, 0))

    def iterates(self, prompts: Prompts | Gram) -> Tensor:
        """Returns the predictions after 0, ..., steps steps: (steps + 1, ..., B)."""
        S, s, x = _batch_first(prompts)
        w = torch.zeros_like(s)
        found, size = [w], S.flatten(-2).norm(dim=-1, keepdim=True)
        rounding = s.shape[-1] * torch.finfo(prompts.y.dtype).eps
        for _ in range(self.steps):
            g = s - (S @ w.unsqueeze(-1))[..., 0]
            length = g.norm(dim=-1, keepdim=True)
            curvature = (g * (S @ g.unsqueeze(-1))[..., 0]).sum(-1, keepdim=True)
            # Where S has no inverse, rounding may point where S is 0, and a step there would be as
            # long as it likes.
            moves = length > rounding * (
                size * w.norm(dim=-1, keepdim=True) + s.norm(dim=-1, keepdim=True)
            )
            eta = length.square() / torch.where(moves & (curvature > 0), curvature, torch.inf)
            w = w + eta * g
            found.append(w)
        return (torch.stack(found) * x).sum(-1).to(prompts.y.dtype)

    def predict(self, prompts: Prompts | Gram) -> Tensor:
        """Returns the predictions after the last step, (..., B)."""
        return self.iterates(prompts)[-1]


def _batch_first(prompts: Prompts | Gram) -> tuple[Tensor, Tensor, Tensor]:
    """Returns S (..., B, d, d), s and x (..., B, d) in float64."""
    gram = prompts.gram()
    return gram.S.movedim(-1, -3).double(), gram.s.mT.double(), gram.x.mT.double()
