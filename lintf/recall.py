"""In-context recall (Nguyen and Nguyen-Tang, arXiv 2505.15009): sentences that end in a trigger token, and one-layer
transformers that have to find what followed that token before.

Tokens are one-hot, x_h = E(z_h) + E'(z_{h-1}) with E, E' the first and the second half of a basis, and only the last
position is read. So a score x_H^T W x_h is the sum of two entries of u = W^T x_H, and the weighted sum of the tokens is
a scatter: O(H) per sentence, and no tensor of one-hot tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lintf import randoms
from lintf.checks import check_choice, check_int, check_real, settle
from lintf.model import ATTENTION, Params
from lintf.prompts import sample_ensemble

VARIANTS = ("origin", "reparam", "reparamW")
RELU_SHIFT = 1e-8  # of the original code: with all weights 0 a ReLU would let no gradient through
TESTS = 512  # sentences, like the paper's, on which `observe` measures


@dataclass(frozen=True, eq=False)
class Sentences:
    """A batch of sentences: tokens z (..., B, H), the token `next` (..., B) that is to be predicted, and the `output`
    (..., B) that followed the trigger: they differ where the next token is the noise token. All int64."""

    z: Tensor
    next: Tensor
    output: Tensor

    def to(self, device: torch.device | str) -> Sentences:
        return Sentences(self.z.to(device), self.next.to(device), self.output.to(device))

    def take(self, i: Tensor) -> Sentences:
        """Of each member the sentences i (E, k)."""
        rows = i.to(self.z.device)
        of = torch.arange(len(i), device=rows.device).unsqueeze(1)
        return Sentences(self.z[of, rows], self.next[of, rows], self.output[of, rows])


@dataclass(frozen=True)
class Recall:
    """The law of the sentences. Of `vocab` tokens the first `n_trigger` are triggers, the next `n_output` are outputs,
    and the last one is the noise token tau. A sentence is H tokens, uniform over those that are neither trigger nor
    tau; then a trigger q and an output y, uniform, are put at two neighbouring places before the last, uniform too, and
    q again at the end. What comes next is y.

    With noise (alpha > 0) q is always token 0, and (q, tau) is put at two other places; what comes next is tau with
    probability alpha, else y. Noise sentences cannot tell the two apart, so that no predictor has a smaller expected
    cross-entropy than `bayes_risk`.

    unseen: y is uniform over the tokens that are neither trigger, output nor tau, for a test out of distribution.
    Raises ValueError for a field out of its range.
    """

    may_differ: ClassVar[tuple[str, ...]] = ()
    forms: ClassVar[tuple[str, ...]] = ("sentences",)

    alpha: float = 0.0
    H: int = 256
    vocab: int = 60
    n_trigger: int = 5
    n_output: int = 4
    unseen: bool = False

    def __post_init__(self) -> None:
        settle(self, alpha=check_alpha(self.alpha))
        for name in ("n_trigger", "n_output"):
            settle(self, **{name: check_int(name, getattr(self, name), 1)})
        settle(self, vocab=check_int("vocab", self.vocab, self.n_trigger + self.n_output + 2))  # tau, and one unseen
        settle(self, H=check_int("H", self.H, 6 if self.alpha else 3))  # room for the bigrams, wherever the first is
        if not isinstance(self.unseen, bool):
            raise ValueError(f"unseen must be True or False, got {self.unseen!r}")

    @property
    def d(self) -> int:
        return 2 * self.vocab

    @property
    def label(self) -> str:
        return f"recall-alpha{self.alpha:g}-H{self.H}" + ("-unseen" if self.unseen else "")

    @property
    def bayes_risk(self) -> float:
        """The entropy of a coin with probability alpha, in nats."""
        return cross_entropy(self.alpha, self.alpha)

    def sample(self, B: int, generator: torch.Generator) -> Sentences:
        """B sentences, from a CPU generator."""
        batch = sample_ensemble([self], B, [generator], "sentences")
        return Sentences(batch.z[0], batch.next[0], batch.output[0])

    @staticmethod
    def draw(
        tasks: Sequence[Recall], B: int, rngs: Sequence[np.random.SFC64], form: str, dtype: torch.dtype
    ) -> Sentences:
        """What sample_ensemble does, once its input is checked."""
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
            before = np.maximum(place - 1, 0)  # the places that are left: so many below, and from place + 2 on
            other = randoms.below(tail[..., 3], before + np.maximum(places - place - 2, 0))
            other = np.where(other < before, other, other - before + place + 2)
            z[e, b, other], z[e, b, other + 1] = q, task.vocab - 1
            following = np.where(tail[..., 4] < task.alpha * 2**32, task.vocab - 1, y)
        return Sentences(*map(torch.from_numpy, (z, following, y)))


@dataclass(frozen=True)
class RecallTransformer:
    """One layer of attention and a linear feed-forward layer, read at the last position:

        m = sum_h sigma(x_H^T W x_h) x_h        attention logits V m        feed-forward logits F (x_H + kappa m) ,

    sigma linear, ReLU (of the score plus 1e-8) or softmax over h; kappa = 0 is the paper's "F", kappa = 1 its "FA".
    The prediction is the softmax of the sum of both. Parameters (leading axes are ensemble members) start from zero:

    origin    W (..., 2n, 2n), V and F (..., n, 2n), with n = vocab
    reparam   lam (..., K): V = (I 0). Without noise W = sum_k lam_k E(k) E'(k)^T over the K triggers, and F = 0. With
              noise K = 1, W = lam E(q) (E'(q) - E(tau))^T and F = E(tau) (gamma E(q) + E'(q))^T, for
              gamma = log(alpha / (1 - alpha))
    reparamW  W (..., 2n, 2n); V and F as in reparam

    The paper's matrices are 128 x 128: their rows that no logit reads, and their columns that no token has, never get a
    gradient. alpha is the noise that the reparametrised models are made for; for finite samples that is the share of
    noise in the sample. Raises ValueError for a field out of its range.
    """

    form: ClassVar[str] = "sentences"

    variant: str = "reparam"
    attention: str = "linear"
    kappa: float = 1.0
    alpha: float = 0.0
    vocab: int = 60
    n_trigger: int = 5

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, VARIANTS)
        check_choice("attention", self.attention, ATTENTION)
        settle(self, kappa=check_real("kappa", self.kappa, low=0.0), alpha=check_alpha(self.alpha))
        settle(self, n_trigger=check_int("n_trigger", self.n_trigger, 1))
        settle(self, vocab=check_int("vocab", self.vocab, self.n_trigger + 3))

    @property
    def d(self) -> int:
        return 2 * self.vocab

    @property
    def label(self) -> str:
        return f"{self.variant}-{self.attention}-" + {0: "F", 1: "FA"}.get(self.kappa, f"kappa{self.kappa:g}")

    @property
    def config(self) -> dict:
        """All fields; without the noise level where it changes nothing."""
        return {name: value for name, value in asdict(self).items() if name != "alpha" or self.variant != "origin"}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the parameters of one member."""
        n, d = self.vocab, self.d
        if self.variant == "reparam":
            return {"lam": (1 if self.alpha else self.n_trigger,)}
        return {"W": (d, d)} | ({"V": (n, d), "F": (n, d)} if self.variant == "origin" else {})

    def check_fit(self, task: Recall) -> None:
        """Raises ValueError for a task whose sentences this model is not made for."""
        alike = self.vocab == task.vocab and self.n_trigger == task.n_trigger
        if not alike or (self.variant != "origin" and (self.alpha > 0) != (task.alpha > 0)):
            raise ValueError(f"{self} and {task} do not fit: vocab, n_trigger, or noise in only one of them")

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        return {name: torch.zeros(shape, dtype=dtype) for name, shape in self.shapes.items()}

    def weights(self, params: Params) -> tuple[Tensor, Tensor, Tensor]:
        """W (..., 2n, 2n), V and F (..., n, 2n)."""
        lead = next(iter(params.values())).dim() - len(next(iter(self.shapes.values()))) if params else 0
        if {name: tuple(p.shape[lead:]) for name, p in params.items()} != self.shapes:
            raise ValueError(f"parameters { ({n: tuple(p.shape) for n, p in params.items()}) } do not fit {self}")
        if self.variant == "origin":
            return params["W"], params["V"], params["F"]
        some = next(iter(params.values()))
        basis, V, F = (t.to(some) for t in _fixed(self))
        W = params["W"] if self.variant == "reparamW" else (params["lam"][..., None, None] * basis).sum(-3)
        return W, V, F

    def logits(self, params: Params, sentences: Sentences) -> tuple[Tensor, Tensor]:
        """Of the attention and of the feed-forward layer, (..., B, n) each. Sentences have the leading axes of the
        parameters, or none."""
        W, V, F = self.weights(params)
        m, Fx = self._read(W, F, sentences)
        return m @ V.mT, Fx + self.kappa * (m @ F.mT)

    def _read(self, W: Tensor, F: Tensor, sentences: Sentences) -> tuple[Tensor, Tensor]:
        """The weighted sum m of the tokens (..., B, 2n), and F x_H (..., B, n)."""
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

    def loss(self, params: Params, sentences: Sentences, backend: str = "auto") -> Tensor:
        """Mean cross-entropy over the sentences in nats, one number per ensemble member."""
        W, V, F = self.weights(params)
        m, Fx = self._read(W, F, sentences)
        logits = m @ (V + self.kappa * F).mT + Fx  # of both layers: half the products
        return _losses(logits, sentences.next).mean(-1)

    def observe(self, params: Params, task: Recall) -> Params:
        """What a run records: means over 512 sentences of the task ("population_") and 512 with unseen outputs
        ("unseen_"), (...) each. loss: cross-entropy, in expectation over the noise; p_output, p_noise: probability of
        the output and of tau; attention, attention_max: the attention's logit of the output, and its largest; noise,
        noise_max: the feed-forward layer's logit of tau, and its largest."""
        out = {}
        with torch.no_grad():
            for name, law in (("population", replace(task, unseen=False)), ("unseen", replace(task, unseen=True))):
                test = _tests(law).to(next(iter(params.values())).device)
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
                    _losses(logits, token) for token in (test.output, torch.full_like(test.output, self.vocab - 1))
                )
                out[f"{name}_loss"] = ((1 - task.alpha) * output + task.alpha * noise).mean(-1)
                out |= {f"{name}_{key}": value.mean(-1) for key, value in means.items()}
        return out


def check_alpha(alpha: object) -> float:
    value = check_real("alpha", alpha, low=0.0)
    if value >= 1:
        raise ValueError(f"alpha must be a probability in [0, 1), got {alpha!r}")
    return value


def cross_entropy(alpha: float, believed: float) -> float:
    """-alpha log b - (1 - alpha) log(1 - b) in nats, for b = believed: the expected loss of who predicts noise with
    probability b where it comes with probability alpha."""
    return -sum(p * math.log(b) for p, b in ((alpha, believed), (1 - alpha, 1 - believed)) if p > 0)


def _rows(M: Tensor, i: Tensor) -> Tensor:
    """The sum of the rows i (..., B, k) of M (..., rows, columns): (..., B, columns)."""
    flat, members = M.flatten(0, -2), M[..., 0, 0].numel()
    start = M.shape[-2] * torch.arange(members, device=i.device).view(*M.shape[:-2], 1, 1)
    chosen = flat.index_select(0, (start + i).flatten()).view(*i.shape, M.shape[-1])
    return chosen.sum(-2)


def _losses(logits: Tensor, following: Tensor) -> Tensor:
    """Cross-entropy as softplus(log sum exp of the other logits - the right one): it keeps all digits of a loss near 0,
    and of its gradient, which training scales to length 1 however small it is."""
    following = following.expand(logits.shape[:-1]).unsqueeze(-1)
    others = logits.scatter(-1, following, -math.inf).logsumexp(-1)
    return functional.softplus(others - logits.gather(-1, following)[..., 0])


@lru_cache(maxsize=16)
def _tests(task: Recall) -> Sentences:
    """The same for all models and seeds; the generator's seed is one that hardly any training has."""
    return task.sample(TESTS, torch.Generator().manual_seed(2**32 - 1))


@lru_cache(maxsize=16)
def _fixed(model: RecallTransformer) -> tuple[Tensor, Tensor, Tensor]:
    """The basis (K, 2n, 2n) of W, and V and F, of the reparametrised models; q = 0 and tau = n - 1 with noise."""
    n, K = model.vocab, 1 if model.alpha else model.n_trigger
    basis, V, F = torch.zeros(K, 2 * n, 2 * n), torch.eye(n, 2 * n), torch.zeros(n, 2 * n, dtype=torch.float64)
    k = torch.arange(K)
    basis[k, k, n + k] = 1.0
    if model.alpha:
        basis[0, 0, n - 1] = -1.0
        F[n - 1, 0], F[n - 1, n] = math.log(model.alpha / (1 - model.alpha)), 1.0
    return basis, V, F
