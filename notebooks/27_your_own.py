# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A task and a model of your own
#
# > **In short.** Two cells of 25 lines are enough to bring a task and a model of your own. In our task the weight of a prompt
# > comes from one of two clusters. No linear transformer can have an error below 0.672 there, and a trained one comes to this
# > bound. Two experts of one gradient step each, weighted by a gate on how well they fit, come to 0.357. This is 99.9 percent of the
# > way from the bound to the Bayes optimum, and their learned numbers are those of the closed form. *About 15 seconds; at our own
# > scale.*
#
# **Question.** How do you bring a task and a model that this book does not have? And if a linear transformer cannot solve the
# task, can a model of one cell solve it?
#
# **What the paper says.** Pathak et al. ([2024](https://arxiv.org/abs/2311.08362)) draw the weight of each prompt from
# a mixture. The best prediction is then a weighted mean, with weights that are exponential in how well each component
# fits. They prove that transformers can compute it, and find that trained ones come close.
#
# Our mixture has two clusters, and its best prediction is one line. We define the task and a model for it in cells of
# this notebook. The package `lintf` contains neither, and trains them all the same. You need page 1,
# [simple demonstration](01_simple_demo.ipynb).

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from lintf import (
    FittedModel,
    Gram,
    LinearTransformer,
    Model,
    Prompts,
    Task,
    TrainConfig,
    fit,
    fit_many,
)
from lintf.analysis.solvers import LeastSquares, squared_error
from lintf.checks import real, whole
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import claim, expect, told
from lintf.training.run import Run
from lintf.training.verify import verify

# %% [markdown]
# ## Parameters
#
# The first five numbers say what the task is, and were chosen such that ten examples settle the cluster in most prompts,
# but do not say much else about $w$. The runs are stored. Other values train when you run the page, for some minutes
# on one core.

# %% tags=["parameters"]
N = 10  # examples in a prompt
d = 5  # dimension of x
center = 2.0  # distance of both clusters' centers from 0
spread = 0.25  # standard deviation of w about its center, in each direction
noise = 2.0  # standard deviation of the label noise
n_expert = 2  # experts of our own model: one for each cluster
n_layer = 3  # layers of the linear transformer; one or two have a larger error
B = 1000  # prompts in a batch, new ones at every step
max_iters = 6000  # optimiser steps; with half of them A is still off by 3 percent
lr = 0.01  # of Adam, with betas (0.9, 0.9), for both models
halve_every = 750  # steps after which the learning rate is halved
test_prompts = 100_000  # the same for all methods
seeds = [0, 1, 2]  # one model of each kind for every seed
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters("d <= 100")
plots.style()
config = TrainConfig(lr=lr, B=B, max_iters=max_iters, halve_every=halve_every)

# %% [markdown]
# ## The task
#
# For every prompt a coin is tossed. With $\mu$ the vector of length `center` along the diagonal,
#
# $$
# w = \pm \mu + \tau\, \xi, \qquad y_i = w^\top x_i + \sigma\, \varepsilon_i, \qquad
# \xi,\ \varepsilon_i,\ x_i \text{ standard normal},
# $$ (eq-own-task)
#
# where $\tau$ is the `spread` and $\sigma$ the `noise`. Only the examples have noise; the query is to be answered with
# $w^\top x_q$.
#
# A task is a frozen dataclass that inherits from `Task`. It has a field `d`, the dimension of what a model is shown, and
# a method `draw`, which gets the number of prompts and NumPy's generator and returns prompts. That would be enough.
# Seeds, many seeds side by side, and test sets are inherited. `whole` and `real` give a field its default and say what
# its values may be, so that a wrong one is refused in one line that names it.
#
# The last method is there for linear attention, which needs only the sums $S = \sum_i x_i x_i^\top$ and
# $s = \sum_i y_i x_i$ in place of the examples. A task that can be drawn as tokens and as sums names both in
# `representations`, the usual one first.


# %%
@dataclass(frozen=True)
class TwoClusters(Task):
    """y = w.x + noise, with w near mu or near -mu, by a coin that each prompt tosses."""

    representations: ClassVar[tuple[str, ...]] = ("gram", "tokens")
    N: int = whole(10)
    d: int = whole(5)
    center: float = real(2.0)
    spread: float = real(0.25, above=True)
    noise: float = real(2.0, above=True)

    @property
    def mu(self) -> torch.Tensor:
        return torch.full((self.d,), self.center / self.d**0.5, dtype=torch.float64)

    def draw(self, B: int, rng: np.random.Generator, dtype: torch.dtype) -> Prompts:
        X = rng.standard_normal((B, self.N + 1, self.d))
        sign = rng.choice([-1.0, 1.0], (B, 1))
        w = sign * self.mu.numpy() + self.spread * rng.standard_normal((B, self.d))
        y = np.einsum("bnd,bd->bn", X, w)
        y[:, :-1] += self.noise * rng.standard_normal((B, self.N))  # not the query's
        return Prompts.of(torch.from_numpy(X).to(dtype), torch.from_numpy(y).to(dtype))

    @classmethod
    def draw_ensemble(cls, tasks, B, rngs, representation, dtype) -> Prompts | Gram:
        drawn = super().draw_ensemble(tasks, B, rngs, "tokens", dtype)
        return drawn.gram() if representation == "gram" else drawn


# %% [markdown]
# The class need not be registered anywhere: to define it is enough.
#
# Never train on a task that you have not looked at. We begin with the variances of a set of prompts. The labels of the examples
# should have variance $|\mu|^2 + d\, \tau^2 + \sigma^2$, and the queries' labels the same without $\sigma^2$.

# %%
task = TwoClusters(
    N=N,
    d=d,
    center=center,
    spread=spread,
    noise=noise,
)
g = torch.Generator().manual_seed(99)
prompts = task.sample(test_prompts, g, "tokens")
signal = center**2 + d * spread**2
examples = {"labels": "examples", "variance": prompts.labels[:, :-1].var()}
queries = {"labels": "queries", "variance": prompts.y.var()}
examples["expected"] = signal + noise**2
queries["expected"] = signal
caption = "Variances of the labels in the test prompts."
tables.table([examples, queries], caption, digits=4)

# %% [markdown]
# Both are as expected, up to chance.
#
# ## The best prediction
#
# What error can be reached at all? We compute it before we train anything. Given the coin, the prior of $w$ is Gaussian with
# mean $\pm \mu$. So the posterior is Gaussian, too. Its mean is a ridge regression that shrinks to $\pm\mu$ in place of 0. With
# $M = (\tau^2 S + \sigma^2 I)^{-1}$ it is
#
# $$
# w_\pm = M \left( \tau^2 s \pm \sigma^2 \mu \right) .
# $$ (eq-own-ridges)
#
# What do the examples say about the coin? Given the covariates, the labels are Gaussian with mean $\pm X \mu$ and covariance
# $C = \tau^2 X X^\top + \sigma^2 I$. In the ratio of both densities only the terms linear in $\mu$ remain, so the log
# odds are $2 \mu^\top X^\top C^{-1} y$. As $X^\top C^{-1} = M X^\top$,
#
# $$
# \log \frac{p(+ \mid \text{examples})}{p(- \mid \text{examples})} = 2\, \mu^\top M s, \qquad
# \mathbb E\, [w \mid \text{examples}] = M \left( \tau^2 s + \sigma^2 \tanh(\mu^\top M s)\, \mu \right) .
# $$ (eq-own-bayes)
#
# The mean of a mixture is the mixture of the means, and $p(+) - p(-)$ is the hyperbolic tangent of half the log odds. So
# the Bayes optimum is two ridge regressions and one number that says how far to trust each.


# %%
@dataclass(frozen=True)
class TwoRidges:
    """The mean of w.x given the examples: the Bayes optimum."""

    task: TwoClusters

    def half_log_odds(self, g):
        """Half the log odds of the coin (B,), and M (B, d, d)."""
        t = self.task
        S = g.S.movedim(-1, 0).double()
        eye = torch.eye(g.d, dtype=torch.float64)
        penalised = t.spread**2 * S + t.noise**2 * eye
        M = torch.linalg.inv(penalised)
        half = torch.einsum("d,bde,eb->b", t.mu, M, g.s.double())
        return half, M

    def predict(self, g):
        t = self.task
        half, M = self.half_log_odds(g)
        toward = torch.outer(t.mu, half.tanh())
        target = t.spread**2 * g.s + t.noise**2 * toward
        return torch.einsum("db,bde,eb->b", g.x.double(), M, target)


# %% [markdown]
# A predictor is anything with a method `predict`, so no base class is needed here. `g` are the sums of prompts, with the
# prompts along their last axis: `g.S` is $(d, d, B)$, `g.s` and the query `g.x` are $(d, B)$.
#
# A closed form of one's own has to be checked in another way. In two dimensions the posterior can be computed on a
# grid. We take twenty prompts, 160,000 points $w$, and at each of them the logarithm of the prior, straight from
# {eq}`eq-own-task`:

# %%
flat = replace(task, d=2)
g = torch.Generator().manual_seed(5)
few = flat.sample(20, g, "tokens", torch.float64)
reach = float(flat.mu[0]) + 8 * spread  # where the prior is below 1e-13 of its maximum
line = torch.linspace(-reach, reach, 400, dtype=torch.float64)
w = torch.cartesian_prod(line, line)
near = [(w - center).square().sum(1) for center in (flat.mu, -flat.mu)]
prior = torch.logaddexp(*(-squared / (2 * spread**2) for squared in near))

# %% [markdown]
# The likelihood is a sum of squares. The mean over the grid uses no identity of Gaussians, no inverse and no tangent.

# %%
covariates = few.Z[..., :-1]
X, queries = covariates[:, :-1], covariates[:, -1]
labels = few.labels[:, :-1].unsqueeze(-1)
misfit = (labels - X @ w.T).square().sum(1)
posterior = (prior - misfit / (2 * noise**2)).softmax(1)
by_grid = ((posterior @ w) * queries).sum(1)
gap = by_grid - TwoRidges(flat).predict(few.gram())
print(f"largest difference to the grid: {gap.abs().max():.0e}")

# %% [markdown]
# Now four prompts of the task itself, seen along $\mu$. In 3 of 100 prompts the examples leave the probability of the rising
# line between 0.05 and 0.95. The seed is one that shows such a prompt among its first four.


# %%
def of_rising(drawn):
    """The probability that the coin fell on the rising line."""
    half, _ = TwoRidges(task).half_log_odds(drawn.gram())
    return (2 * half).sigmoid()


shown = task.sample(4, torch.Generator().manual_seed(15), "tokens")
titles = [f"prompt {i}: p(+) = {p:.3f}" for i, p in enumerate(of_rising(shown), 1)]
unclear = (of_rising(prompts) - 0.5).abs() < 0.45
told("In 3 of 100 prompts", 3, 100 * unclear.double().mean())

# %% mystnb={"figure": {"caption": "The examples of four prompts (d = 5, N = 10; the first four of a seed): label against the component of x along the direction of the centers. Lines: the two centers, with slopes 2 and -2. Titles: the exact probability that the coin fell on the rising line. Label noise has standard deviation 2.", "name": "fig-own-prompts"}, "image": {"alt": "Four small panels with ten points each around a cross of two lines, one rising and one falling. In three panels the points follow one line and the probability is near 0 or 1; in the fourth it is 0.823."}}
axes = plots.grid(titles, xlabel=r"$\mu^\top x_i\, /\, |\mu|$", ylabel="label $y_i$")
top = 1.1 * float(shown.labels.abs().max())
along = shown.Z[..., :-1].sum(-1) / d**0.5
for i, ax in enumerate(axes.values()):
    ax.plot(along[i, :-1], shown.Z[i, :-1, -1], "o", ms=4)
    for slope, dash in ((center, "-"), (-center, "--")):
        ax.axline((0, 0), slope=slope, color=plots.QUIET, lw=1, ls=dash)
    ax.set(xlim=(-3, 3), ylim=(-top, top))

# %% [markdown]
# In the first three prompts the examples settle the coin: the probability of the rising line is near 0 or 1. In the fourth the coin
# remains uncertain.
#
# ## What is out of reach
#
# A linear transformer of this book weighs examples by their covariates alone. So its prediction is *linear in the
# labels*, whatever its depth, and also with ReLU or softmax on the scores. (It would not be linear if labels entered the
# scores.) The best prediction of this kind depends only on the first two moments of $w$. It is the one that would be right for
# a Gaussian of the same covariance, $\mu \mu^\top + \tau^2 I$:
#
# $$
# w = \left( S + \sigma^2 (\mu \mu^\top + \tau^2 I)^{-1} \right)^{-1} s .
# $$ (eq-own-linear)
#
# Its error is a bound that no training can pass. Where {eq}`eq-own-bayes` has a hyperbolic tangent, which is soon near plus or
# minus one, {eq}`eq-own-linear` has a straight line, which must be too small for clear prompts or too large for others.
# We compare it with least squares, and with one ridge regression with the penalty $\sigma^2 d / \mathbb E |w|^2$, which uses
# the expected length of $w$ but no direction.


# %%
@dataclass(frozen=True)
class BestLinear:
    """The best prediction that is linear in the labels."""

    task: TwoClusters

    def predict(self, g):
        t = self.task
        eye = torch.eye(g.d, dtype=torch.float64)
        along = torch.outer(t.mu, t.mu)
        prior = along + t.spread**2 * eye
        penalty = t.noise**2 * torch.linalg.inv(prior)
        A = g.S.movedim(-1, 0) + penalty
        w = torch.linalg.solve(A, g.s.mT.double())
        return (w * g.x.mT).sum(1)


# %% [markdown]
# All four are scored on the same prompts, by the mean of $(\hat y - w^\top x_q)^2$.

# %%
classical = {
    "least squares": LeastSquares(),
    "one ridge": LeastSquares(noise**2 * d / signal),
    "best linear": BestLinear(task),
    "two ridges (Bayes)": TwoRidges(task),
}
test, errors = prompts.gram(), {}
for name, rule in classical.items():
    errors[name] = squared_error(rule, test)

# %% [markdown]
# To predict 0 for every prompt would cost the variance of the queries' labels, which stands in the first table.

# %%
means, rows = {}, []
for name, error in errors.items():
    means[name] = float(error.mean())
    rows.append({"prediction": name, "error": means[name]})
tables.table(rows, "Mean squared error on the test prompts.")

# %% [markdown]
# With ten noisy examples least squares is worse than predicting 0. The error of the best linear prediction is 1.9 times that of
# the Bayes optimum. So much can be gained by a model that is not linear in the labels.

# %%
least = means["best linear"]
optimum = means["two ridges (Bayes)"]
told("an error below 0.672", 0.672, least)
told("is 1.9 times that", 1.9, least / optimum)

# %% [markdown]
# ## The model
#
# Our model is a *mixture of experts* (Jacobs et al., 1991). An expert is one step of gradient descent, which is what a layer
# of linear attention does. But expert $k$ begins at a learned $m_k$ and not at 0:
#
# $$
# w_k = m_k + \frac1N\, A\, (s - S m_k) .
# $$ (eq-own-expert)
#
# A gate weighs the experts by how much of the labels each explains, $(|y|^2 - |y - X w_k|^2) / N$, and by how far it
# had to move for that:
#
# $$
# g = \operatorname*{softmax}_k \left( \frac{a}{N} \left( 2 w_k^\top s - w_k^\top S w_k \right) - b\, |w_k - m_k|^2 \right), \qquad
# \hat y = \sum_k g_k\, w_k^\top x_q .
# $$ (eq-own-gate)
#
# With exact ridge regressions for experts, $m = \pm \mu$, $a = N / (2 \sigma^2)$ and $b = 1 / (2 \tau^2)$ this would be
# the Bayes optimum: the softmax is then taken of the logarithm of prior times likelihood at its maximum, up to terms that
# both experts share. The model learns $m$, $A$, $a$ and $b$.
#
# A model is a frozen dataclass that inherits from `Model`. It has a field `d` and three methods. `shapes` names the
# parameters, `init` draws them, and `forward` answers prompts, for *one* set of parameters: seeds side by side come from
# `torch.func.vmap`. The loss is the mean squared error unless you define another one. Sums of prompts have the batch as
# their last axis, $S$ is $(d, d, B)$.


# %%
@dataclass(frozen=True)
class GatedExperts(Model):
    """Steps of gradient descent from learned starts, weighted by how well they fit."""

    representation: ClassVar[str] = "gram"
    d: int = whole(5)
    n_expert: int = whole(2)
    init_std: float = real(0.1)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"m": (self.n_expert, self.d, 1), "A": (self.d, self.d), "gate": (2,)}

    def init(self, generator, dtype=torch.float32) -> dict[str, torch.Tensor]:
        params = {k: torch.zeros(n, dtype=dtype) for k, n in self.shapes.items()}
        params["m"].normal_(0, self.init_std, generator=generator)
        return params

    def experts(self, params, prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """What each expert answers, and its weight, (n_expert, B) both."""
        S, s, m = prompts.S / prompts.N, prompts.s / prompts.N, params["m"]
        w = m + params["A"] @ (s - (S * m.unsqueeze(1)).sum(2))
        explained = (w * (2 * s - (S * w.unsqueeze(1)).sum(2))).sum(1)
        a, b = params["gate"]
        gate = (a * explained - b * (w - m).square().sum(1)).softmax(0)
        return (w * prompts.x).sum(1), gate

    def forward(self, params, prompts) -> torch.Tensor:
        answers, gate = self.experts(params, prompts)
        return (gate * answers).sum(0)


# %% [markdown]
# The starts $m$ are drawn at random, near 0, since experts that begin alike stay alike. All other parameters begin at 0, so that
# the gate does not yet prefer any expert.
#
# A model may define more, and inherits what it does not define: `loss`; `metrics`, which a run records while it trains;
# `check_fit`, which refuses a task before anything is drawn; `label`, for the names of files. A model that can do many
# seeds at once faster than `vmap` defines `predict` in place of `forward`.
#
# ## Training
#
# From here on both classes are used like those of the package. Our model has 37 numbers to learn. It competes with a linear
# transformer of this book that has 150, on the same prompts with the same recipe.

# %%
networks = {
    "gated experts": GatedExperts(d=d, n_expert=n_expert),
    "linear transformer": LinearTransformer(d=d, n_layer=n_layer, init_std=1e-4),
}
experiments = {name: (network, task, config) for name, network in networks.items()}
runs = fit_many(experiments, seeds, device)


def of_each_seed(values):
    return {f"seed {s}": v for s, v in zip(seeds, values, strict=True)}


# %% [markdown]
# Their errors on the test prompts, seed by seed:

# %%
rows = []
for name, network in networks.items():
    trained = FittedModel(network, runs[name].final_params)
    errors[name] = squared_error(trained, test)  # (seeds, prompts)
    rows.append({"model": name} | of_each_seed(errors[name].mean(1)))
tables.table(rows, "Mean squared error of the trained models.", digits=4)

# %% mystnb={"figure": {"caption": "Training loss (1000 new prompts at each step) against the step (d = 5, N = 10; line: mean over three seeds, band: smallest to largest). Horizontal lines: errors of least squares, of ridge regression with one penalty, of the best prediction that is linear in the labels, and of the Bayes optimum, two ridge regressions, on 100,000 test prompts.", "name": "fig-own-loss"}, "image": {"alt": "Two falling curves on logarithmic axes. The linear transformer, whose mean jumps to 40 near step 11, comes down to the line of the best linear prediction at 0.67 and stays there; the gated experts go through it and settle on the line of the Bayes optimum at 0.36. Least squares lies far above, at 5."}}
_, ((ax,),) = plots.panels(height=3.8)
kinds = ["least squares", "ridge", "best", "bound", "trained", "trained too"]
names = [*classical, *runs]
looks = {name: plots.look(kind) for name, kind in zip(names, kinds, strict=True)}
for name, run in runs.items():
    plots.band(ax, run.steps, run.loss, name, **looks[name])
for name in classical:
    ax.axhline(means[name], label=name, **looks[name])
ax.set(ylabel="mean squared error", yscale="log")
ax.set(xlabel="training step", xscale="log", xlim=(1, max_iters))
plots.shared_legend(ax, len(seeds))

# %% [markdown]
# Near step ten the large learning rate throws one of the linear transformers far off, and it comes back. All three reach
# the bound for predictions that are linear in the labels, and stay there. With a hundred layers the bound would be the same. The
# experts pass it.
#
# ## What they have learned
#
# A small loss does not say how it is reached. But this model can be read. Its starts should be the two centers, and
# $a = N / (2 \sigma^2)$. An expert that is given prompts of its own cluster only has one step for a weight of variance $\tau^2$
# about $m_k$. The best such step is known from page 26, [label noise](26_label_noise.ipynb), with $\sigma / \tau$ for the noise
# there: $A$ should be the identity times $N / (N + d + 1 + \sigma^2 / \tau^2)$.

# %%
network = networks["gated experts"]
weights = runs["gated experts"].final_params
m = weights["m"][..., 0].double()  # (seeds, n_expert, d)
centers = m.mean(-1, keepdim=True).sign() * task.mu
apart = (m - centers).norm(dim=-1)
off = apart.amax(-1) / max(center, 1e-9)

# %% [markdown]
# These are the distances of the starts from the nearer center, over the length of the centers, the largest for each seed. Next
# the numbers $a$ and $A$, beside their closed forms. Of $A$ we take the mean of its diagonal.

# %%
due = {"a": N / (2 * noise**2)}
due["A"] = N / (N + d + 1 + (noise / spread) ** 2)
found = {"a": weights["gate"][:, 0].double()}
diagonals = weights["A"].diagonal(dim1=1, dim2=2)
found["A"] = diagonals.double().mean(1)

# %% [markdown]
# All of it in one table, where the exact distance of the starts is 0:

# %%
learned = {"starts": (0.0, off)}
for name, values in found.items():
    learned[name] = due[name], values
rows = []
for name, (exact, values) in learned.items():
    rows.append({"number": name, "exact": exact} | of_each_seed(values))
tables.table(rows, "What the experts have learned.")

# %% [markdown]
# All are where they should be. What about $b$? We set it to its value for two ridge regressions, and score the models again.

# %%
b = weights["gate"][:, 1].double()
exact = 1 / (2 * spread**2)  # for two ridge regressions
gate = weights["gate"].clone()
gate[:, 1] = exact
by_hand = FittedModel(network, weights | {"gate": gate})
replaced = squared_error(by_hand, test).mean(1)
change = replaced - errors["gated experts"].mean(1)
print(f"b: {b.mean():.1f}, exact {exact:.1f}; the error changes by {change.mean():.0e}")
told("about 0.6 of the exact one", 0.6, b.mean() / exact)

# %% [markdown]
# The learned $b$ is about 0.6 of the exact one, and the exact one changes the error in the fourth digit only. A loss that hardly depends on a
# number does not teach it. Only the gate as a whole matters. So we compare the weight of the experts that start on the side of
# $\mu$ with the exact probability.

# %%
part = task.sample(500, torch.Generator().manual_seed(7))
first = {name: p[0] for name, p in weights.items()}
_, gate = network.experts(first, part)
rising = first["m"].sum((1, 2)) > 0
weight = gate[rising].sum(0)
log_odds = 2 * TwoRidges(task).half_log_odds(part)[0]
aside = (weight - log_odds.sigmoid()).abs().mean()
print(f"weight and probability differ by {aside:.4f} on average")

# %% mystnb={"figure": {"caption": "The weight that the gate gives to the expert that starts near the center on the rising line, for 500 new prompts (dots; d = 5, N = 10; the first seed), against the exact log odds of the coin. Line: the exact probability, which is the logistic function of the log odds.", "name": "fig-own-gate"}, "image": {"alt": "Five hundred dots along an S-shaped curve that rises from 0 to 1, in the middle where log odds are between minus 5 and 5. The dots lie on the curve, hardly any beside it."}}
_, ((ax,),) = plots.panels(height=2.8)
axis = np.linspace(-10, 10, 201)
logistic = 1 / (1 + np.exp(-axis))
exact_look = plots.look("bound")
ax.plot(axis, logistic, label="probability", **exact_look)
look = plots.look("trained", points=True, ls="", ms=2)
ax.plot(log_odds, weight, label="weight of the expert", **look)
ax.set(xlim=(-10, 10), xlabel="log odds of the coin")
ax.set(ylabel="weight, probability")
plots.legend(ax)

# %% [markdown]
# The dots lie on the curve. So the gate has learned the probability of the coin, although no prompt of the training says how
# the coin fell.
#
# ## What is stored
#
# These trainings are six files in `runs/`, like those of any other page. A run is found by its configuration: all fields of model,
# task and training, and the seed. Classes of `lintf` are named there by their names. Yours cannot be, because two readers may both
# have a `TwoClusters`. They are named by module, class, and eight digits that change with the code of their methods. If you edit
# a line of `draw`, the page trains again instead of showing what was learned from another task. If you put the line back, the
# page finds its runs.

# %%
saved = []
for network in networks.values():
    saved += [Run(network, task, config, s) for s in seeds]
for part_of_name in ("model", "task"):
    kind = saved[0].config[part_of_name]["kind"]
    print(f"{part_of_name:6}", kind)

# %% [markdown]
# The module of a notebook is `__main__`, and so is that of every other notebook. The command `python -m lintf verify`
# repeats the first steps of stored runs with today's code. It does not have these classes, says so by name, and skips such
# runs. Here we have them, and the same function repeats the first 20 steps of each:

# %%
outcomes = [verify(run.path) for run in saved]
same = [outcome.ok is True for outcome in outcomes]
print(sum(same), "of", len(outcomes), "as stored")
expect(all(outcome.ok for outcome in outcomes))

# %% [markdown]
# If you want to go on with a task or a model, move it to a file of your own, such as `mine.py`, and import it. Then
# every program that finds the file can verify, reproduce and sweep it. Nothing in `lintf` has to change for that.
#
# ## Claims
#
# All three claims are this book's own, held against exact values. The first says that {eq}`eq-own-linear` is a bound
# and is reached: no seed is below it by more than three standard errors of the difference on our prompts, or above it
# by more than two percent, a few times what the last steps of Adam leave.


# %%
excess = errors["linear transformer"] - errors["best linear"]
error = excess.std(1) / test_prompts**0.5
excess = excess.mean(1)
claim(
    "your-own-linear",
    "A linear transformer learns the best prediction that is linear in the labels, no better",
    against=f"{least:.3f} of the best linear prediction (squared error)",
    measured=", ".join(f"{least + float(e):.3f}" for e in excess),
    holds=tolerances.every(excess > -tolerances.ERRORS * error)
    & tolerances.trained(excess / least),
)

# %% [markdown]
# The second is about the way from this bound to the Bayes optimum. A step of gradient descent differs from an exact ridge
# regression in second order in $\tau^2$ only. So with every seed we ask for all of the way but the two
# percent that a training may leave.

# %%
experts = errors["gated experts"].mean(1)
short = experts - optimum
told("come to 0.357", 0.357, experts.mean())
missed = short.mean() / (least - optimum)
told("99.9 percent of the way", 99.9, 100 * (1 - missed))

# %%
claim(
    "your-own-bayes",
    "Two gated experts go the way from there to the Bayes optimum, to its end",
    against=f"{optimum:.4f} of the Bayes optimum (squared error)",
    measured=", ".join(f"{optimum + float(e):.4f}" for e in short),
    holds=tolerances.trained(short / (least - optimum)),
)

# %% [markdown]
# The third is about what is inside. The starts are trained on single prompts whose $w$ is off by $\tau \sqrt d$, a
# good quarter of the centers' length, and still they end at the centers, gate and step at their closed forms. The step is
# the last to arrive: after half of these steps it is off by up to three percent, with a loss that hardly knows.

# %%
wrong = {}
for name, values in found.items():
    wrong[name] = (values / due[name] - 1).abs()
apart = [f"{name} by {float(gaps.max()):.1%}" for name, gaps in wrong.items()]
claim(
    "your-own-inside",
    "The experts start at the centers, gate and step have the a and A of the closed forms",
    against=f"starts at the centers, a {due['a']:.3f}, A {due['A']:.3f}",
    measured=f"starts off by at most {float(off.max()):.1%}, " + ", ".join(apart),
    holds=tolerances.all_of(map(tolerances.trained, (off, *wrong.values()))),
)

# %% [markdown]
# ## References
#
# - R. Pathak, R. Sen, W. Kong, A. Das. *Transformers can optimally learn regression mixture models.* ICLR 2024.
#   [arXiv:2311.08362](https://arxiv.org/abs/2311.08362)
# - R. A. Jacobs, M. I. Jordan, S. J. Nowlan, G. E. Hinton. *Adaptive Mixtures of Local Experts.* Neural Computation 3,
#   79-87, 1991.
#
# ## Exercises
#
# **Exercise 1.** How much can be gained at other levels of noise? Compare {eq}`eq-own-linear` with {eq}`eq-own-bayes` for half the
# noise, a quarter, and four times as much. Why is the gain small with little noise, and also with much?

# %% tags=["hide-cell"]
gain, rows = {}, []
for factor in (0.25, 0.5, 1.0, 4.0):
    other = replace(task, noise=factor * noise)
    drawn = other.sample(test_prompts, torch.Generator().manual_seed(3))
    best = squared_error(TwoRidges(other), drawn).mean()
    linear = squared_error(BestLinear(other), drawn).mean()
    gain[factor] = float(linear / best)
    rows.append({"noise": other.noise, "best linear, over Bayes": gain[factor]})
# Little noise: s alone determines w. Much noise: the coin stays unknown, tanh is straight.
expect(max(gain, key=gain.get) in (0.5, 1.0))
tables.table(rows, "Errors of the best linear prediction, over those of the optimum.")

# %% [markdown]
# **Exercise 2.** What if there is one expert? Say first whether it can be better than {eq}`eq-own-linear`, then train it.

# %% tags=["hide-cell"]
# The gate of one expert is 1, so its answer is linear in the labels, but for a constant
# that symmetry forbids: the bound holds, and one step does not even reach it.
single = GatedExperts(d=d, n_expert=1)
run = fit(single, task, config, seeds, device=device)
lone = FittedModel(single, run.final_params)
lone_error = squared_error(lone, test).mean(1)
print("one expert:", ", ".join(f"{error:.3f}" for error in lone_error))
expect(float(lone_error.min()) > least)
