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
# # Attention and its kernel
#
# > **In short.** With weights $k(x, x')$ a layer of attention is a step of gradient descent among the functions of the
# > kernel $k$, exactly. Trained, linear attention does best on linear labels and ReLU attention on ReLU labels. On
# > exponential labels softmax, ReLU and exponential attention are within 5 percent of each other, and linear attention
# > cannot be better than $\cosh 1$. *About 9 seconds; at the paper's depth and dimensions, with much shorter trainings.*
#
# **Question.** Linear attention learns linear functions in context. What do ReLU, softmax and exponential attention learn?
#
# **What the papers say.** Cheng, Chen and Sra ([2024](https://arxiv.org/abs/2312.06528)) show that a layer of attention with
# weights $\tilde h(x, x')$ can do a step of gradient descent in a space of functions, whose kernel is $\tilde h$. With labels
# from a Gaussian process of that very kernel, many such steps come to the Bayes optimum. They train small networks with
# each attention on labels of each kernel, and find that the matching pairs do best.
#
# We check the construction to the last digit, train all pairs, and hold them against the Bayes optimum, which is a formula
# here. You need [the notation](../book/notation.md) only.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import math

import torch
from scipy.optimize import minimize

from lintf import FittedModel, LinearTransformer, TrainConfig, fit_many
from lintf.analysis.kernels import FunctionalDescent, PosteriorMean
from lintf.analysis.solvers import squared_error
from lintf.analysis.theory import distance_to_identity
from lintf.models.linear import ATTENTION
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import claim, expect, told
from lintf.tasks.kernels import KERNELS, KernelRegression, gram_matrix

# %% [markdown]
# ## Parameters
#
# Points, dimension and depth are the paper's. The trainings are shorter, with smaller batches.

# %% tags=["parameters"]
N = 14  # examples in a prompt, the most in the paper
d = 5  # dimension of x, at least 2
n_layer = 3  # layers, at most 8
B = 500  # prompts in a batch; the paper has 30 000
redraw_every = 10  # steps on each batch, as in the paper
max_iters = 1200  # optimiser steps; the original code speaks of 40 000 for deep networks
lr = 0.03  # of Adam with betas (0.9, 0.9); it falls to 0 along half a cosine
tune_prompts = 500  # on which step sizes of the construction are found
test_prompts = 5000  # for each kernel, the same for all methods
seeds = [0, 1]  # one network of each kind for each of them
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters("d >= 2", "n_layer <= 8")
plots.style()
tasks = {kernel: KernelRegression(N=N, d=d, kernel=kernel) for kernel in KERNELS}
tune, test = (
    {k: task.sample(B, torch.Generator().manual_seed(s)) for k, task in tasks.items()}
    for B, s in ((tune_prompts, 98), (test_prompts, 99))
)

# %% [markdown]
# ## A step in a space of functions
#
# A kernel $k$ brings with it a space of functions, those that are sums of $k(\cdot, x)$. Take the mean squared error
# $\frac1{2N} \sum_m (y_m - f(x_m))^2$ of such a function $f$ on the examples. Its gradient in that space is a function again,
# and a step of size $\eta$ against it is
#
# $$
# f(x) \leftarrow f(x) + \frac{\eta}{N} \sum_{m=1}^N k(x, x_m)\, \bigl( y_m - f(x_m) \bigr) .
# $$ (eq-kernel-step)
#
# Now look at a layer of attention whose weights are $k(x_n, x_m) / N$, with $P = 0$ and labels as values, times a factor
# $v = -\eta$. It changes the last entry of every token by $-\frac{\eta}{N} \sum_m k(x_n, x_m)$ times the last entries of the
# examples. If these are the residuals $y_m - f(x_m)$, then after the layer they are the residuals of the next $f$. The
# query starts at $0$ and ends at $-f(x_q)$. So $L$ layers are $L$ steps, for any kernel.
#
# Linear, ReLU and exponential attention have $k = t$, $\max(t, 0)$ and $e^t$, for $t = x^\top x'$ with $Q = I$. Softmax divides $e^t$
# by its sum over the examples: the step at $x$ is then scaled by how many examples are near.
#
# The factor $v$ is needed. Weights of ReLU, softmax and exponential attention are never negative, so that without it a layer
# could only add to the residuals. With linear attention the sign goes into $Q$, as everywhere else in this book.


# %% tags=["show"]
def constructed(attention, sizes):
    """Layers that do steps of these sizes in the space of the attention's kernel."""
    minus = -torch.tensor(sizes, dtype=torch.float64)[:, None]  # (L, H)
    Q = torch.eye(d, dtype=torch.float64).expand(len(sizes), 1, d, d)
    linear = attention == "linear"
    how = {"free_P": False, "free_v": not linear}
    model = LinearTransformer(d=d, n_layer=len(sizes), attention=attention, **how)
    params = {"Q": minus[..., None, None] * Q} if linear else {"Q": Q, "v": minus}
    return FittedModel(model, params)


# %% [markdown]
# Beside it we carry out {eq}`eq-kernel-step` by itself, for steps of arbitrary sizes and both signs, in float64:

# %%
sizes = [0.7, -0.4, 1.3]
precise = tasks["exp"].sample(200, torch.Generator().manual_seed(1), dtype=torch.float64)
gaps = {}
for attention in ATTENTION:
    descent = FunctionalDescent(attention, sizes).predict(precise)
    layers = constructed(attention, sizes).predict(precise)
    gaps[attention] = float((layers - descent).abs().max() / descent.abs().max())
tables.table(
    [{"attention": name, "largest relative difference": gap} for name, gap in gaps.items()],
    "Three hand-built layers against three steps in the space of functions, 200 prompts.",
)

# %% [markdown]
# ## Labels from a Gaussian process
#
# Covariates are uniform on the unit sphere. For a kernel $k$ the $N + 1$ labels of a prompt are drawn together, from a normal
# distribution whose covariances are $K_{ij} = k(x_i, x_j)$. With $k = t$ they are $w^\top x$ with a normal $w$, as on the
# pages before. With $k = e^t$ they are smooth functions of all degrees.
#
# And with $\max(t, 0)$? A covariance matrix has no negative eigenvalues. This one has.

# %%
spectra = {
    kernel: torch.linalg.eigvalsh(gram_matrix(test[kernel].Z[..., :-1].double(), kernel))
    for kernel in KERNELS
}
negative = {k: float((v[:, 0] < -1e-6).double().mean()) for k, v in spectra.items()}
told("in all prompts", 1, negative["relu"])

# %% mystnb={"figure": {"caption": "The eigenvalues of the matrix of a kernel at 15 points, from the smallest to the largest: means over 5000 prompts (d = 5, N = 14; computed exactly for each prompt, one random seed).", "name": "fig-kernels-eigenvalues"}, "image": {"alt": "Three rising lines over 15 ranks. The linear kernel is at 0 for ten ranks and then rises to 5. The exponential kernel is positive throughout, and its last one is near 20, off the axis. The ReLU kernel begins below 0, for the first three ranks, and rises to about 4."}}
_, ((ax,),) = plots.panels(height=2.8)
ax.axhline(0, color="0.3", lw=1)
for kernel, marker in zip(KERNELS, "os^", strict=True):
    ranks = range(1, N + 2)
    ax.plot(ranks, spectra[kernel].mean(0), marker + "-", ms=4, label=kernel)
ax.set(xlabel="rank of the eigenvalue", ylabel="eigenvalue", ylim=(-1, 6))
plots.legend(ax, loc="upper left")

# %% [markdown]
# With ReLU the smallest eigenvalue is negative in all prompts: $\max(t, 0)$ is no kernel on this sphere, and no Gaussian
# process has it. (Of its expansion in Legendre's polynomials for the sphere, the coefficient of degree four is negative.) The original
# code takes the moduli of the eigenvalues, without a word. We do so as well, and call the result $|K|$: it is a covariance,
# but no longer one of a kernel, since what two points have in common then depends on all the others.
#
# ## The Bayes optimum
#
# Given the covariates all labels are jointly normal. So the best prediction is the conditional mean of the query's label,
#
# $$
# \hat y = k_q^\top K^{-1} y , \qquad k_q = \bigl( K_{qm} \bigr)_{m \le N} ,
# $$ (eq-kernel-bayes)
#
# which is kernel regression without a penalty; with $|K|$ in place of $K$ for ReLU. A second thing to hold networks against
# is the construction itself, with the best sizes of its steps. Three numbers for each pair are found by minimisation.


# %%
def error_of(method, kernel, prompts=test):
    """The mean squared error on prompts of this kernel."""
    return squared_error(method, prompts[kernel]).mean(-1)


def best_steps(attention, kernel):
    """The construction with the best sizes of its steps for labels of this kernel."""

    def error(sizes):
        return float(error_of(FunctionalDescent(attention, sizes), kernel, tune))

    found = minimize(error, [1.0] * n_layer, method="Powell", options={"ftol": 1e-4})
    return FunctionalDescent(attention, found.x.tolist())


pairs = [(attention, kernel) for kernel in KERNELS for attention in ATTENTION]
by_hand = {pair: best_steps(*pair) for pair in pairs}
bayes = {k: float(error_of(PosteriorMean(k), k)) for k in KERNELS}
variance = {k: float(test[k].y.square().mean()) for k in KERNELS}

# %% [markdown]
# ## Training
#
# All twelve pairs, each with all of $P$, $Q$ and $v$ free.

# %%
models = {
    attention: LinearTransformer(
        d=d,
        n_layer=n_layer,
        attention=attention,
        init_std=0.1,
        free_v=attention != "linear",
    )
    for attention in ATTENTION
}
config = TrainConfig(
    lr=lr, B=B, max_iters=max_iters, redraw_every=redraw_every, lr_end=0.0,
    decay_steps=max_iters, clip=1.0, record_every=max(1, max_iters // 4), first_steps=5,
)  # fmt: skip
runs = fit_many({pair: (models[pair[0]], tasks[pair[1]], config) for pair in pairs}, seeds, device)
networks = {
    pair: FittedModel(models[pair[0]], {k: p.cpu() for k, p in run.final_params.items()})
    for pair, run in runs.items()
}
errors = {pair: error_of(networks[pair], pair[1]) for pair in pairs}

# %% [markdown]
# What came out, means over the seeds:

# %%
rows = [{"attention": "(variance of the label)"} | variance]
for a in ATTENTION:
    rows.append({"attention": a} | {k: float(errors[a, k].mean()) for k in KERNELS})
rows.append({"attention": "(Bayes optimum)"} | bayes)
tables.table(rows, "Mean squared error by attention (rows) and kernel of the labels (columns).")

# %% mystnb={"figure": {"caption": "Mean squared error of three trained layers with each attention on labels of each kernel, divided by the variance of the label (d = 5, N = 14; dots: two seeds each, 5000 test prompts). Rings: the matching pair. Crosses: the construction with the best step sizes. Dashed: the Bayes optimum, which is 0 for the linear kernel.", "name": "fig-kernels-errors"}, "image": {"alt": "Three panels with logarithmic axes, for linear, ReLU and exponential labels. On linear labels linear attention is lowest, near 0.005; on ReLU labels ReLU attention, near 0.3. On exponential labels ReLU, softmax and exponential attention are all near 0.24, above the dashed line at 0.2, and linear attention is near 0.77. Crosses lie above the dots."}}
_, (row,) = plots.panels(1, 3, width=5 / 3, height=3.0, sharey=True)
for ax, kernel in zip(row, KERNELS, strict=True):
    share = torch.stack([errors[a, kernel] / variance[kernel] for a in ATTENTION])
    hand = [error_of(by_hand[a, kernel], kernel) / variance[kernel] for a in ATTENTION]
    ax.plot(share, "o", color=plots.PALETTE[0], ms=4)
    ax.plot(hand, "x", color=plots.PALETTE[1], ms=6)
    ring = ATTENTION.index(kernel)
    ax.plot(ring, share[ring].mean(), "o", mfc="none", mec="0.3", ms=14)
    ax.axhline(bayes[kernel] / variance[kernel], color="0.3", ls="--", lw=1)
    ax.set(title=f"{kernel} labels", yscale="log", ylim=(2e-3, 2), xlim=(-0.6, 3.6))
    ax.set_xticks(range(len(ATTENTION)), ATTENTION, rotation=60, fontsize=8)
_ = row[0].set_ylabel("error / variance of the label")

# %% [markdown]
# The matching attention wins on linear and on ReLU labels. On exponential labels only linear attention falls behind. The
# three others are close together, and softmax is a little ahead of the exponential. They all can represent smooth even
# and odd functions; what differs is how well their steps go. No pair is at its Bayes optimum yet, with three layers.
#
# ## Why linear attention cannot
#
# A network of linear attention answers $-x_q$ with minus the answer to $x_q$, since all that it does to the query is linear.
# Split the labels in the same way: $e^t = \cosh t + \sinh t$ is the sum of two kernels, so $f$ is the sum of two independent
# functions, an even and an odd one. Whatever the network answers, the even part stays, and with it an error of at least
#
# $$
# \mathbb E\, f_{\text{even}}(x_q)^2 = \cosh(1) = 1.543 .
# $$ (eq-kernel-even)
#
# The same holds for every depth and every training. It is a bound of the form of the attention, and not of the optimiser.
#
# ## What has been learned
#
# The construction has $Q = I$, and $P = 0$. Trained matrices need not. Here are, for the matching pairs, the distances of the
# $Q$ of all layers to a multiple of the identity (0 is one, 1 the farthest), their size, and the factor $v$ or its equal.

# %%
rows = []
for kernel in KERNELS:
    params = networks[kernel, kernel].params
    Q, P = params["Q"][:, :, 0], params["P"][:, :-1, 0]
    scale = Q.diagonal(dim1=-2, dim2=-1).mean(-1)  # (seeds, L)
    factors = params["v"][..., 0] if "v" in params else torch.ones_like(scale)
    for layer in range(n_layer):
        rows.append(
            {
                "pair": kernel,
                "layer": layer,
                "distance of Q": distance_to_identity(Q[:, layer]).mean(),
                "Q": scale[:, layer].mean(),
                "v": factors[:, layer].mean(),
                "size of P": P[:, layer].norm(dim=(1, 2)).mean()
                if layer < n_layer - 1
                else math.nan,
            }
        )
tables.table(rows, "Trained weights of the matching pairs, means over the seeds.")

# %% [markdown]
# ReLU and exponential attention have learned a multiple of the identity up to a tenth or two, which grows from layer to
# layer: with $e^{c\, t}$ and a growing $c$ later steps look at nearer examples. Their $P$ is not 0: also the points move on the
# way, and with them the kernel. This is what training adds to the construction. On linear labels there are only five
# directions and no noise, and the matrices of this short training are still far from the identity, at a small error.
#
# ## Claims
#
# The construction first, and what is no kernel. Both are this book's own checks.

# %%
claim(
    "kernels-construction",
    "Layers of any attention do gradient descent in the space of functions of its kernel",
    "2312.06528, section on functional gradient descent",
    against="the steps themselves, carried out in the space of functions",
    measured=f"relative difference {max(gaps.values()):.1e} at most",
    holds=tolerances.exact(gaps.values()),
)
claim(
    "kernels-relu",
    "max(t, 0) is no kernel on the sphere: its matrix always has a negative eigenvalue",
    against="the linear and the exponential kernel, whose matrices never have",
    measured=f"in {negative['relu']:.1%}, {negative['linear']:.1%} and {negative['exp']:.1%} "
    "of the prompts",
    holds=tolerances.every(negative["relu"] == 1, negative["linear"] == 0, negative["exp"] == 0),
)

# %% [markdown]
# Then the paper's message, kernel by kernel. A pair does best if each of its seeds is better than each seed of every other
# attention, by more than three standard errors of the difference on the same prompts.


# %%
def lead(winner, kernel, others=ATTENTION):
    """By how many standard errors the winner is better than the others, in every seed."""
    y = {a: squared_error(networks[a, kernel], test[kernel]) for a in {winner, *others}}
    gap = [rival - mine for a in others if a != winner for rival in y[a] for mine in y[winner]]
    return torch.stack([each.mean() / each.std() * test_prompts**0.5 for each in gap])


def listed(kernel):
    """The errors of all attentions on labels of this kernel, in words."""
    return ", ".join(f"{a} {errors[a, kernel].mean():.3g}" for a in ATTENTION)


scale = f"{max_iters} steps of {B} prompts, {len(seeds)} seeds"

# %%
claim(
    "kernels-linear-labels",
    "On linear labels linear attention does best",
    "2312.06528, Figs. 1, 2",
    published="the matching attention has the smallest loss",
    measured=listed("linear") + f"; a lead of {lead('linear', 'linear').min():.0f} standard errors",
    holds=tolerances.clear(lead("linear", "linear")),
    scale=scale,
)
claim(
    "kernels-relu-labels",
    "On labels of the ReLU kernel ReLU attention does best",
    "2312.06528, Figs. 1, 2",
    published="the matching attention has the smallest loss",
    measured=listed("relu") + f"; a lead of {lead('relu', 'relu').min():.1f} standard errors",
    holds=tolerances.clear(lead("relu", "relu")),
    scale=scale,
)
claim(
    "kernels-exp-labels",
    "On labels of the exponential kernel exponential attention does best",
    "2312.06528, Figs. 1, 2",
    published="the matching attention has the smallest loss",
    measured=listed("exp"),
    missing="the length of the published trainings: here three kinds of attention are close "
    "together, and none has converged",
)
rivals = [float(errors[a, "exp"].mean()) for a in ("exp", "softmax", "relu")]
told("within 5 percent of each other", 5, 100 * (max(rivals) / min(rivals) - 1))

# %% [markdown]
# The last two are ours: the bound for linear attention, and what training adds to the construction.

# %%
odd = errors["linear", "exp"]
claim(
    "kernels-even",
    "Linear attention cannot learn the even part of exponential labels",
    against=f"{math.cosh(1):.3f}, the variance of that part (squared error)",
    measured=", ".join(f"{float(e):.3f}" for e in odd),
    holds=tolerances.every(odd > math.cosh(1)),
)
hand = {k: float(error_of(by_hand[k, k], k)) for k in KERNELS}
gain = {k: float(errors[k, k].max()) / hand[k] for k in KERNELS}
claim(
    "kernels-trained",
    "Training does better than the construction with the best steps, for each matching pair",
    against=", ".join(f"{k} {hand[k]:.3g}" for k in KERNELS) + " (squared error)",
    measured=", ".join(f"{k} {float(errors[k, k].max()):.3g}" for k in KERNELS),
    holds=tolerances.every([gain[k] < 1 for k in KERNELS]),
)

# %% [markdown]
# ## Scale and time

# %%
tables.table(
    [
        {"": "prompts in a batch", "published": "30 000", "ours": f"{B}"},
        {"": "steps", "published": "2 100 to 40 100", "ours": f"{max_iters}"},
        {"": "seeds", "published": "3", "ours": f"{len(seeds)}"},
        {"": "layers", "published": "up to 8", "ours": f"{n_layer}"},
        {
            "": "seconds of training, all pairs",
            "published": "–",
            "ours": f"{sum(run.meta[0]['seconds'] for run in runs.values()):.0f}",
        },
    ],
    "What was smaller here than in the paper and its code.",
)

# %% [markdown]
# ## References
#
# - X. Cheng, Y. Chen, S. Sra. *Transformers Implement Functional Gradient Descent to Learn Non-Linear Functions In
#   Context.* ICML 2024. [arXiv:2312.06528](https://arxiv.org/abs/2312.06528)
#
# ## Exercises
#
# **Exercise 1.** Show that the trained linear networks are odd in the query, and that ReLU and exponential ones are not.

# %% tags=["hide-cell"]
# Each layer maps the query linearly, so its sign comes through to the answer.
flip = torch.ones(N + 1, d + 1)
flip[-1] = -1  # the query's token, whose label is 0
prompts = test["exp"]
mirrored = type(prompts)(prompts.Z * flip, prompts.y)
for a in ATTENTION:
    y, other = (networks[a, "exp"].predict(p) for p in (prompts, mirrored))
    oddness = float((y + other).norm() / y.norm())
    print(f"{a:8} |f(x) + f(-x)| / |f(x)| = {oddness:.2g}")
    expect((oddness < 1e-3) == (a == "linear"))

# %% [markdown]
# **Exercise 2.** For which labels is one softmax layer without any error, whatever the points are? Say which step size it
# takes, and check it.

# %% tags=["hide-cell"]
# Softmax weights sum to 1, so one step of size 1 predicts constant labels exactly. The
# exponential does not: its weights sum to another number at each point.
Z = precise.Z.clone()
Z[:, :-1, -1] = 3.0
constant = type(precise)(Z, torch.full_like(precise.y, 3.0))
found = {a: constructed(a, [1.0]).predict(constant) for a in ("softmax", "exp")}
for a, y in found.items():
    print(f"{a}: from {float(y.min()):.3f} to {float(y.max()):.3f}")
expect(float((found["softmax"] - 3).abs().max()) < 1e-12)
expect(float((found["exp"] - 3).abs().max()) > 0.1)
