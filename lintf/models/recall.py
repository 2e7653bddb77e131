"""One-layer transformers for in-context recall (Nguyen and Nguyen-Tang, arXiv 2505.15009), which
have to find what followed the last token of a sentence when it came before.

Tokens are one-hot, x_h = E(z_h) + E'(z_{h-1}) with E, E' the first and the second half of a basis,
and only the last position is read. So a score x_H^T W x_h is the sum of two entries of u = W^T x_H,
and the weighted sum of the tokens is a scatter: O(H) per sentence, and no tensor of one-hot tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from lintf.checks import check_int, checked, flag, one_of, real, whole
from lintf.models.base import Model, Params
from lintf.tasks.batches import Sentences
from lintf.tasks.recall import Recall, check_alpha

ATTENTION = ("linear", "relu", "softmax")
VARIANTS = ("origin", "reparam", "reparamW")
RELU_SHIFT = 1e-8  # of the original code: with all weights 0 a ReLU would let no gradient through
TESTS = 512  # sentences, like the paper's, on which `metrics` measures


@dataclass(frozen=True)
class RecallTransformer(Model):
    """One layer of attention and a linear feed-forward layer, read at the last position:

        m = sum_h sigma(x_H^T W x_h) x_h
        attention logits V m        feed-forward logits F (x_H + kappa m) ,

    sigma linear, ReLU (of the score plus 1e-8) or softmax over h; kappa = 0 is the paper's "F",
    kappa = 1 its "FA". The prediction is the softmax of the sum of both. Parameters (leading axes
    are ensemble members) start from zero:

    origin    W (..., 2n, 2n), V and F (..., n, 2n), with n = vocab
    reparam   lam (..., K): V = (I 0). Without noise W = sum_k lam_k E(k) E'(k)^T over the K
              triggers, and F = 0. With noise K = 1, W = lam E(q) (E'(q) - E(tau))^T and
              F = E(tau) (gamma E(q) + E'(q))^T, for gamma = log(alpha / (1 - alpha))
    reparamW  W (..., 2n, 2n); V and F as in reparam

    The paper's matrices are 128 x 128: their rows that no logit reads, and their columns that no
    token has, never get a gradient. alpha is the noise that the reparametrised models are made for;
    for finite samples that is the share of noise in the sample. Raises ValueError for a field out
    of its range.
    """

    representation: ClassVar[str] = "sentences"

    variant: str = one_of("reparam", VARIANTS)
    attention: str = one_of("linear", ATTENTION)
    kappa: float = real(1.0)
    alpha: float = checked(0.0, lambda _, value: check_alpha(value))
    vocab: int = whole(60)
    n_trigger: int = whole(5)
    # Record the last parameters too, up to 230 kB in float64.
    save_final_params: bool = flag(False, later=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("vocab", self.vocab, self.n_trigger + 3)

    @property
    def d(self) -> int:
        """The dimension of a token's vector: half of the basis is for the token itself, half for
        the one before."""
        return 2 * self.vocab

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        return f"{self.variant}-{self.attention}-" + {0: "F", 1: "FA"}.get(
            self.kappa, f"kappa{self.kappa:g}"
        )

    def idle(self) -> set[str]:
        """Names alpha where the parameters are free: only the reparametrised models are made for
        it."""
        return {"alpha"} if self.variant == "origin" else set()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of one member, by name."""
        n, d = self.vocab, self.d
        if self.variant == "reparam":
            return {"lam": (1 if self.alpha else self.n_trigger,)}
        return {"W": (d, d)} | ({"V": (n, d), "F": (n, d)} if self.variant == "origin" else {})

    def check_fit(self, task: Recall) -> None:
        """Raises ValueError for a task whose sentences this model is not made for."""
        super().check_fit(task)
        alike = self.vocab == task.vocab and self.n_trigger == task.n_trigger
        if not alike or (self.variant != "origin" and (self.alpha > 0) != (task.alpha > 0)):
            raise ValueError(
                f"{self} and {task} do not fit: vocab, n_trigger, or noise in only one of them"
            )

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Returns zeros, with which these models start."""
        return {
            name: torch.zeros(shape, dtype=dtype, device="cpu")
            for name, shape in self.shapes.items()
        }

    def weights(self, params: Params) -> tuple[Tensor, Tensor, Tensor]:
        """Returns W (..., 2n, 2n), V and F (n, 2n), the last two with the leading axes of W where
        they are parameters."""
        self.check_params(params)
        if self.variant == "origin":
            return params["W"], params["V"], params["F"]
        some = next(iter(params.values()))
        basis, V, F = _fixed(self, some.dtype, some.device)
        W = (
            params["W"]
            if self.variant == "reparamW"
            else (params["lam"][..., None, None] * basis).sum(-3)
        )
        return W, V, F

    def logits(self, params: Params, sentences: Sentences) -> tuple[Tensor, Tensor]:
        """Returns the logits of the attention and of the feed-forward layer, (..., B, n) each.
        Sentences have the leading axes of the parameters, or none."""
        W, V, F = self.weights(params)
        m, Fx = self._read(W, F, sentences)
        return m @ V.mT, Fx + self.kappa * (m @ F.mT)

    def _read(self, W: Tensor, F: Tensor, sentences: Sentences) -> tuple[Tensor, Tensor]:
        """Returns the weighted sum m of the tokens (..., B, 2n), and F x_H (..., B, n)."""
        z = sentences.z.expand(*W.shape[:-2], *sentences.z.shape[-2:])
        before = z[..., :-1] + self.vocab  # E'(z_{h-1}), for h > 1
        ends = torch.stack((z[..., -1], before[..., -1]), -1)  # where x_H is 1
        u = _rows(W, ends)  # W^T x_H: (..., B, 2n)
        scores = u.gather(-1, z) + functional.pad(u.gather(-1, before), (1, 0))  # (..., B, H)
        if self.attention == "softmax":
            a = scores.softmax(-1)
        else:
            a = scores if self.attention == "linear" else (scores + RELU_SHIFT).relu()
        m = torch.zeros_like(u).scatter_add(-1, z, a).scatter_add(-1, before, a[..., 1:])
        return m, _rows(F.mT, ends)

    def loss(self, params: Params, sentences: Sentences) -> Tensor:
        """Returns the mean cross-entropy over the sentences in nats, one number per ensemble
        member."""
        W, V, F = self.weights(params)
        m, Fx = self._read(W, F, sentences)
        logits = m @ (V + self.kappa * F).mT + Fx  # of both layers: half the products
        return _losses(logits, sentences.next).mean(-1)

    def metrics(self, params: Params, task: Recall) -> Params:
        """Returns what a run records: means over 512 sentences of the task ("population_") and 512
        with unseen outputs ("unseen_"), (...) each. loss: cross-entropy, in expectation over the
        noise; p_output, p_noise: probability of the output and of tau; attention, attention_max:
        the attention's logit of the output, and its largest; noise, noise_max: the feed-forward
        layer's logit of tau, and its largest."""
        out = {}
        with torch.no_grad():
            for name, own in (
                ("population", replace(task, unseen=False)),
                ("unseen", replace(task, unseen=True)),
            ):
                test = _tests(own).to(next(iter(params.values())).device)
                attention, feedforward = self.logits(params, test)
                logits = attention + feedforward
                p, y = logits.softmax(-1), test.output.expand(logits.shape[:-1]).unsqueeze(-1)
                means = {
                    "p_output": p.gather(-1, y)[..., 0],
                    "p_noise": p[..., -1],
                    "attention": attention.gather(-1, y)[..., 0],
                    "attention_max": attention.amax(-1),
                    "noise": feedforward[..., -1],
                    "noise_max": feedforward.amax(-1),
                }
                output, noise = (
                    _losses(logits, token)
                    for token in (test.output, torch.full_like(test.output, self.vocab - 1))
                )
                out[f"{name}_loss"] = ((1 - task.alpha) * output + task.alpha * noise).mean(-1)
                out |= {f"{name}_{key}": value.mean(-1) for key, value in means.items()}
        return out


def _rows(M: Tensor, i: Tensor) -> Tensor:
    """Returns the sum of the rows i (..., B, k) of M (..., rows, columns): (..., B, columns)."""
    flat, members = M.flatten(0, -2), M[..., 0, 0].numel()
    start = M.shape[-2] * torch.arange(members, device=i.device).view(*M.shape[:-2], 1, 1)
    chosen = flat.index_select(0, (start + i).flatten()).view(*i.shape, M.shape[-1])
    return chosen.sum(-2)


def _losses(logits: Tensor, following: Tensor) -> Tensor:
    """Returns the cross-entropy as softplus(log sum exp of the other logits - the right one): it
    keeps all digits of a loss near 0, and of its gradient, which training scales to length 1
    however small it is."""
    following = following.expand(logits.shape[:-1]).unsqueeze(-1)
    others = logits.scatter(-1, following, -math.inf).logsumexp(-1)
    return functional.softplus(others - logits.gather(-1, following)[..., 0])


@lru_cache(maxsize=16)
def _tests(task: Recall) -> Sentences:
    """Returns sentences that are the same for all models and seeds; the generator's seed is one
    that hardly any training has."""
    return task.sample(TESTS, torch.Generator().manual_seed(2**32 - 1))


@lru_cache(maxsize=16)
def _fixed(
    model: RecallTransformer, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the basis (K, 2n, 2n) of W, and V and F, of the reparametrised models; q = 0 and tau
    = n - 1 with noise."""
    n, K = model.vocab, 1 if model.alpha else model.n_trigger
    basis = torch.zeros(K, 2 * n, 2 * n, dtype=torch.float32, device="cpu")
    V = torch.eye(n, 2 * n, dtype=torch.float32, device="cpu")
    F = torch.zeros(n, 2 * n, dtype=torch.float64, device="cpu")
    k = torch.arange(K, device="cpu")
    basis[k, k, n + k] = 1.0
    if model.alpha:
        basis[0, 0, n - 1] = -1.0
        F[n - 1, 0], F[n - 1, n] = math.log(model.alpha / (1 - model.alpha)), 1.0
    return basis.to(device, dtype), V.to(device, dtype), F.to(device, dtype)
