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
# # When labels are noisy
#
# > **In short.** One trained layer shortens its step by the noise, $a = N / (N + d + 1 + \sigma^2)$, 13 percent over our
# > range. Three layers trained with noise become ridge regression with that noise's penalty, the Bayes optimum, to four
# > percent of its error. The penalty is in the weights: it is that of the noise in training, whatever the prompt has. *About 6
# > seconds; linear attention in place of the papers' softmax transformers.*
#
# **Question.** So far every label was exactly $w^\top x$. What does a linear transformer do when the labels of the
# examples are noisy, $y_i = w^\top x_i + \sigma\, \varepsilon_i$?
#
# **What the papers say.** Garg et al. ([2022](https://arxiv.org/abs/2208.01066)) train without noise and test with it:
# the transformer follows least squares closely. Akyürek et al. ([2023](https://arxiv.org/abs/2211.15661)) train with
# noise. What is learned depends on depth and on the noise, and large models come to the estimate of least Bayes risk,
# which is ridge regression.
#
# Their models are large transformers with softmax. We ask the same of one and of three layers of linear attention,
# where the best error of every method is an integral that can be computed. You need
# [page 7, theory](07_theory.ipynb).

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import numpy as np
import torch
from lintf import (
    FittedModel,
    LinearRegression,
    LinearTransformer,
    TrainConfig,
    fit_many,
)
from lintf.analysis import isotropic
from lintf.analysis.solvers import LeastSquares
from lintf.analysis.theory import one_layer_optimum
from lintf.pages import parameters, play, plots, tables, tolerances, widgets
from lintf.pages.claims import claim, expect, told
from scipy.optimize import minimize, minimize_scalar

# %% [markdown]
# ## Parameters
#
# The setting is that of [the simple demonstration](01_simple_demo.ipynb), with a faster recipe: a learning rate five times
# larger, which is halved on the way. All runs are stored. Other values train when you run the page, at this scale for
# less than a minute on two CPU cores.

# %% tags=["parameters"]
N = 20  # examples in a prompt, at least d + 2: the error of least squares is finite
d = 5  # dimension of x
n_layer = 3  # layers of the deeper network, at most 4: its optimum is computed
noise_stds = [0.0, 0.5, 1.0, 2.0]  # standard deviations of the label noise, 0 first
Ns = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 28, 40]  # examples, for exact errors
B = 2000  # prompts in a batch, new ones at every step
max_iters = 4000  # optimiser steps
lr = 5e-3  # of Adam, with betas (0.9, 0.9)
halve_every = 800  # steps after which the learning rate is halved
test_prompts = 100_000  # for every noise, the same for all methods
seeds = [0, 1]  # one transformer each
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters("N >= d + 2", "n_layer <= 4", "noise_stds[0] == 0")
plots.style()
tasks = {sigma: LinearRegression(N=N, d=d, noise_std=sigma) for sigma in noise_stds}
models = {L: LinearTransformer(d=d, n_layer=L, init_std=1e-4) for L in (1, n_layer)}
config = TrainConfig(
    lr=lr, B=B, max_iters=max_iters, halve_every=halve_every, record_every=max_iters
)

# %% [markdown]
# ## What noise costs
#
# Only the examples have noise. The query's label has none, so that every error on this page is an error above the noise.
#
# As on page 7, networks whose matrices are multiples of the identity treat each eigendirection of $S / N$
# by itself. The prediction is linear in the labels. Let the network leave the share $r(t)$ of a clean label's
# coefficient in a direction with eigenvalue $t$. Then it has multiplied that direction of $s / N$ by $(1 - r(t)) / t$. The
# noise in $s / N$ has variance $\sigma^2 t / N$ there, and goes through the same factor:
#
# $$
# \text{error} = \mathbb E \sum_{i=1}^d \Bigl( r(t_i)^2 + \frac{\sigma^2}{N}\, \frac{(1 - r(t_i))^2}{t_i} \Bigr) .
# $$ (eq-noise-error)
#
# The first term asks for $r = 0$, the second one for $r = 1$.
#
# **One layer** has $r(t) = 1 - a\, t$. With $\mathbb E\, t = 1$ and $\mathbb E\, t^2 = (N + d + 1) / N$ the error is
# $d\, (1 - 2 a + a^2 (N + d + 1 + \sigma^2) / N)$, so
#
# $$
# a = \frac{N}{N + d + 1 + \sigma^2}, \qquad \text{error} = d\, (1 - a) .
# $$ (eq-noise-layer)
#
# The noise stands in the denominator like a ridge penalty of size $\sigma^2$. `theory.one_layer_optimum` has the same for any
# covariance.
#
# **Any method** of this kind can do no better than the $r$ that minimises {eq}`eq-noise-error` for each $t$ alone:
#
# $$
# r(t) = \frac{\sigma^2}{N\, t + \sigma^2} .
# $$ (eq-noise-ridge)
#
# That is ridge regression, $w = (S + \sigma^2 I)^{-1} s$: the mean of $w$ given the examples, and so the Bayes
# optimum among all methods. Least squares is $r = 0$, with the error $d\, \sigma^2 / (N - d - 1)$, infinite for
# $N$ from $d - 1$ to $d + 1$. In code, {eq}`eq-noise-error` is a sum over the nodes of an exact density.


# %% tags=["show"]
def noisy_error(leaves, sigma, n=N):
    """The error above the noise of a method that leaves r = leaves(t)."""
    t, weights = isotropic.spectrum(n, d)
    r = leaves(t)
    noise = sigma**2 / n * (1 - r) ** 2 / np.maximum(t, 1e-12)  # r(0) is 1
    return d * float(weights @ (r**2 + noise))


# %% [markdown]
# Ridge regression is then one line, for the best penalty or another one. Without noise the best penalty is 0.


# %%
def ridge_error(sigma, n=N, penalty=None):
    """The error of ridge regression, with the best penalty unless one is given."""
    penalty = sigma**2 if penalty is None else penalty
    return noisy_error(lambda t: penalty / (n * t + penalty), sigma, n)


# %% [markdown]
# Gradient descent takes as many steps as the deeper network has layers, each of the one size that is best for the noise.


# %%
def descent_error(sigma, n=N):
    """The error of n_layer steps of gradient descent with the best step size."""

    def of_step(a):
        return noisy_error(lambda t: (1 - a * t) ** n_layer, sigma, n)

    return minimize_scalar(of_step, bounds=(0, 2), method="bounded").fun


# %% [markdown]
# The network's own optimum, among multiples of the identity, is a search in $2L - 1$ numbers, as on page 7.
# There it begins at thousands of points; here it begins at one, with steps that grow from layer to layer. So what it
# returns is an upper bound of the best error, and the Bayes optimum is a lower one.


# %%
def best_multiples(sigma, n=N):
    """The numbers a and b of the best n_layer layers of multiples of the identity."""

    def log_error(x):
        a, b = x[:n_layer], x[n_layer:]
        return np.log(noisy_error(lambda t: isotropic.residual(a, b, t), sigma, n))

    start = [*(0.4 * 3.3 ** np.arange(n_layer)), *[0.5] * (n_layer - 1)]
    return np.split(minimize(log_error, start, method="BFGS").x, [n_layer])


def layers_error(sigma, n=N):
    """The error of these layers."""
    a, b = best_multiples(sigma, n)
    return noisy_error(lambda t: isotropic.residual(a, b, t), sigma, n)


# %% [markdown]
# ## Try it
#
# The picture puts the three together, for a noise and a number of examples: the share $r$ of a clean coefficient that each
# method leaves in a direction with eigenvalue $t$. A method that leaves 0 believes what the examples say about a direction; one
# that leaves 1 does not believe a word and answers 0 there. Below the curves stand the errors. Raise the noise from zero, and
# watch where the curves rise first. Then take away examples.
#
# The layers' numbers are searched once for each noise and number of examples that can be set.

# %%
few = sorted({d + 5, N, 2 * N})
levels = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
t_axis = np.linspace(0, 4, 161)
found_layers = {n: [best_multiples(s, n) for s in levels] for n in few}


# %% [markdown]
# One function has all that the picture shows.


# %%
def shrink(sigma, N):
    """The share that one layer, the best layers and ridge regression leave, and their errors."""
    a, b = found_layers[N][levels.index(sigma)]
    methods = [
        lambda t: 1 - t * N / (N + d + 1 + sigma**2),
        lambda t: isotropic.residual(a, b, t),
        lambda t: sigma**2 / (N * t + sigma**2) if sigma else np.where(t > 0, 0.0, 1),
    ]
    found = {"sigma": sigma}
    for i, r in enumerate(methods):
        found |= {f"left {i}": r(t_axis), f"error {i}": noisy_error(r, sigma, N)}
    return found


# %% [markdown]
# In the book the picture sums over the same nodes of the density as `noisy_error` does, and has the numbers of the layers for
# each of these noises.

# %%
data = {"Ns": few, "sigmas": levels, "t": t_axis, "d": d}
spectra = [isotropic.spectrum(n, d) for n in few]
data["nodes"] = [t[w > 1e-40] for t, w in spectra]
data["weights"] = [w[w > 1e-40] for _, w in spectra]
data["a"] = [[a for a, _ in found_layers[n]] for n in few]
data["b"] = [[b for _, b in found_layers[n]] for n in few]

# %% [markdown]
# Curves are named by their keys, and so are the numbers beside their names.

# %%
shares = {"xlabel": "eigenvalue $t$ of $S / N$", "ylabel": "share left, $r(t)$"}
shares |= {"xlim": (0, 4), "ylim": (-1, 1.05)}
methods = {"one layer": "best", f"best {n_layer} layers": "trained"}
methods |= {"ridge, Bayes optimum": "ridge"}
shares["curves"] = play.several(methods, x="t", y="left {}", value="error {}")

# %% mystnb={"figure": {"caption": "The share of a clean coefficient that is left in a direction with eigenvalue t, by the best one layer, the best three layers of multiples of the identity, and ridge regression with the best penalty, at noise 1 and N = 20 (d = 5; computed exactly). The numbers are their errors above the noise. Sliders set the noise and N.", "name": "fig-noise-play"}, "image": {"alt": "A straight line falls from 1, and two curves fall steeply from 1 and stay near 0.05: ridge regression smoothly, three layers in waves around it. Their errors are 1.30, 0.325 and 0.324."}}
play.Figure(
    "shrink",
    shrink,
    data,
    [shares],
    title=[("noise", "sigma"), ("errors below", "")],
    run="sigma",
    sigma=widgets.slider("noise σ", levels, 1.0),
    N=widgets.slider("examples N", few, N),
)

# %% [markdown]
# Without noise ridge regression leaves nothing, and three layers wave around zero, as closely as a polynomial of their
# degree can. With noise the goal bends, and small eigenvalues keep more: what is measured badly is not believed. With the
# noise at 2 and ten examples, ridge regression leaves at least half of every direction below $t = 0.4$, because there the noise in
# $s$ outweighs the signal. One layer has a straight line for $r$ and cannot bend. To be safe at large eigenvalues it has to
# leave most of what lies at small ones, and that is why its error is large even without noise.
#
# ## Training
#
# One network for every depth, noise and seed. Nothing tells it about the noise but the prompts.

# %%
experiments = {
    (L, s): (models[L], tasks[s], config) for L in models for s in noise_stds
}
runs = fit_many(experiments, seeds, device)

# %% [markdown]
# The one layer first. Its $Q$ should be $-a I$ with the $a$ of {eq}`eq-noise-layer`.

# %%
distance, rows = {}, []
for sigma in noise_stds:
    Q, best = runs[1, sigma].final_params["Q"][:, 0, 0], one_layer_optimum(tasks[sigma])
    distance[sigma] = float(((Q - best).norm(dim=(1, 2)) / best.norm()).max())
    a = -float(Q.diagonal(dim1=1, dim2=2).mean())
    rows.append({"noise": f"{sigma:g}", "a, trained": a, "a, closed form": -best[0, 0]})
    rows[-1]["relative error of Q"] = distance[sigma]
told("13 percent", 0.13, 1 - rows[-1]["a, trained"] / rows[0]["a, trained"])
caption = "One layer: the step it learned, in the mean over seeds, and the closed form."
tables.table(rows, caption, {"a, trained": 4, "a, closed form": 4})

# %% [markdown]
# Training finds the closed form, and with it the shrinkage: the $a$ learned at the largest noise is 13 percent smaller
# than the one learned without. Now all methods together, on the same test prompts, which no training has met.

# %%
test = {
    s: task.sample(test_prompts, torch.Generator().manual_seed(99))
    for s, task in tasks.items()
}


def errors_of(method, sigma):
    """(prediction - w.x)^2 on the test prompts of this noise."""
    return (method.predict(test[sigma]) - test[sigma].y).square()


networks = {
    key: FittedModel(models[key[0]], run.final_params) for key, run in runs.items()
}
trained = {key: errors_of(networks[key], key[1]).mean(1) for key in networks}

# %% mystnb={"figure": {"caption": "Mean squared error above the noise against the standard deviation of the label noise (d = 5, N = 20). Markers: networks trained at that noise (4000 steps of Adam, 2000 prompts each; mean over two seeds, 100,000 test prompts). Lines, computed exactly: the closed form for one layer, three steps of gradient descent of the best size, least squares, and ridge regression with the best penalty, the Bayes optimum.", "name": "fig-noise-error"}, "image": {"alt": "Rising curves against noise from 0 to 2. One layer starts at 1.15 and ends at 1.67; gradient descent goes from 0.27 to 1.11. Least squares and ridge regression start together at 0 and part near noise 1; least squares ends at 1.43, ridge regression at 1.04. Round markers lie on the curve for one layer, crosses of three layers on that of ridge regression."}}
_, ((ax,),) = plots.panels(height=3.6)
axis = np.linspace(0, max(noise_stds), 41)
closed = [d * (d + 1 + s**2) / (N + d + 1 + s**2) for s in axis]
ax.plot(axis, closed, label="one layer, closed form", **plots.look("best"))
curves = {"gradient descent": [descent_error(s) for s in axis]}
curves["least squares"] = d * axis**2 / (N - d - 1)
for name, ys in curves.items():
    ax.plot(axis, ys, label=name, **plots.look(name))
ridge = [ridge_error(s) for s in axis[1:]]
ax.plot(axis[1:], ridge, label="ridge, Bayes optimum", **plots.look("bound"))
for L, kind in zip(models, ("trained", "trained too"), strict=False):
    found = [trained[L, s].mean() for s in noise_stds]
    look = plots.look(kind, points=True, ls="")
    ax.plot(noise_stds, found, label=f"trained, L = {L}", **look)
ax.set(xlabel="standard deviation of the noise", ylabel="error above the noise")
plots.shared_legend(ax)

# %% [markdown]
# With one layer there is nothing to choose but the step, and the error is ruled by what one step leaves. Three layers
# are different: they fall on the curve of ridge regression, which nothing can beat, while three steps of gradient
# descent stay above it until the noise is large.
#
# Noise makes the task *easier* to learn in one respect. Without it the polynomial $r$ has to be 1 at $t = 0$ and 0
# wherever there are eigenvalues. With it the goal {eq}`eq-noise-ridge` comes down from 1 gently, and a polynomial of degree 13 can
# follow it. In numbers:

# %%
rows = []
for sigma in noise_stds[1:]:
    found = {
        f"trained, seed {s}": v
        for s, v in zip(seeds, trained[n_layer, sigma], strict=True)
    }
    exact = {"Bayes": ridge_error(sigma), "best layers": layers_error(sigma)}
    rows.append({"noise": f"{sigma:g}"} | exact | found)
worst = max(
    row[name] / row["Bayes"] - 1 for row in rows for name in row if "seed" in name
)
told("to four percent of its error", 0.04, float(worst))
told("up to four percent above", 0.04, float(worst))
told("within two percent", 0.02, rows[0]["best layers"] / rows[0]["Bayes"] - 1)
tables.table(rows, f"Errors above the noise of {n_layer} layers.", 4)

# %% [markdown]
# The best network of three layers is within two percent of the Bayes optimum at the smallest noise, and within one in a
# thousand at the others. The trained ones are up to four percent above the Bayes optimum. At the largest noise they seem
# to be below it, which nobody can be: a mean over so many test prompts has a standard error of about half a percent, and
# on these very prompts ridge regression is lower still.
#
# ## When examples are few
#
# Least squares owes its good place in this figure to the twenty examples. The next one has them vary, at one noise.

# %% mystnb={"figure": {"caption": "Error above the noise against the number of examples, at noise of standard deviation 1 (d = 5; computed exactly): the best one layer, the best three layers of multiples of the identity, each for its own N, ridge regression with the best penalty, and least squares, which has no finite error from one example less than dimensions to one more (grey).", "name": "fig-noise-examples"}, "image": {"alt": "Curves over 1 to 40 examples, falling from about 4.3. Ridge regression and three layers go down together to 0.14, one layer to 0.74. Least squares is at 4.3, 4 and 5 for one to three examples, has no points from four to six, and falls from 5 at seven to ridge regression."}}
_, ((ax,),) = plots.panels(height=3.6)
one = [d * (d + 2) / (n + d + 2) for n in Ns]
ax.plot(Ns, one, label="one layer", **plots.look("best"))
best = [layers_error(1.0, n) for n in Ns]
ax.plot(Ns, best, label=f"best {n_layer} layers", **plots.look("best", ls="-"))
least = [
    d - n + n / (d - n - 1) if n < d - 1 else d / (n - d - 1) if n > d + 1 else np.nan
    for n in Ns
]
ax.plot(Ns, least, label="least squares", **plots.look("least squares", True))
ax.axvspan(d - 1, d + 1, color="0.9")
ridge = [ridge_error(1.0, n) for n in Ns]
ax.plot(Ns, ridge, label="ridge, Bayes optimum", **plots.look("bound"))
ax.set(xscale="log", ylim=(0, 6), xlabel="examples $N$", ylabel="error above the noise")
plots.shared_legend(ax)

# %% [markdown]
# Where $N$ is near $d$ some eigenvalues of $S$ are almost 0, and least squares divides the noise by them. A polynomial cannot
# do that: at small $t$ it stays near $r(0) = 1$. So the layers go smoothly through the place where least squares
# explodes, three of them close to the optimum.
#
# ## Which ridge?
#
# A small error does not say what the network computes. So we compare predictions, all on the prompts of one noise. Of
# ridge regressions with the penalty $\sigma^2$ for each of our noises, which one is nearest to a network that was trained at
# one of them? We take the prompts of a middle noise for all.

# %%
noise = noise_stds[len(noise_stds) // 2]
ridges = [LeastSquares(s**2).predict(test[noise]) for s in noise_stds]
gaps = {}
for sigma in noise_stds:
    y = networks[n_layer, sigma].predict(test[noise])
    gaps[sigma] = torch.stack([(y - other).square() for other in ridges])

# %% [markdown]
# The table has mean squared differences, over prompts and seeds: a row for each network, a column for each penalty. The
# last column has by how many standard errors the nearest other penalty is farther away than the network's own, for the
# seed where this is least.

# %%
apart, rows = {}, []
for i, (sigma, gap) in enumerate(gaps.items()):  # gap: (penalties, seeds, prompts)
    rest = torch.cat((gap[:i], gap[i + 1 :])) - gap[i]
    apart[sigma] = float((rest.mean(2) / rest.std(2)).min()) * test_prompts**0.5
    mean = {
        f"penalty {s**2:g}": v
        for s, v in zip(noise_stds, gap.mean((1, 2)), strict=True)
    }
    rows.append(
        {"trained at noise": sigma} | mean | {"next, s.e.": round(apart[sigma])}
    )
tables.table(rows, f"Mean squared difference to ridge regressions, at noise {noise:g}.")

# %% [markdown]
# The smallest number of each row is on the diagonal: a network has learned the penalty of the noise it was trained at,
# and uses it on prompts with another noise, too. It does not estimate the noise from the prompt, and could not: its
# prediction is linear in the labels. The one trained without noise is nearest to least squares, here on noisy prompts.
#
# ## Claims
#
# The noise changes $a$ by 13 percent over our range. We allow the trained matrices two percent of their size, enough for
# the last fluctuations of Adam.

# %%
claim(
    "noise-one-layer",
    "One trained layer shrinks with the noise as the closed form says",
    "2306.00297, Theorem 1",
    against="the theorem, with noise added in this book",
    measured=f"relative error at most {max(distance.values()):.3f}",
    holds=tolerances.trained(distance.values()),
)

# %% [markdown]
# The papers show curves for transformers with softmax, at larger $d$: other models, so what follows is ours. We ask which
# ridge regression is nearest, with every seed: the difference to the next one must be more than three standard errors over
# prompts.

# %%
scale = f"linear attention of {n_layer} layers, d = {d}"
claim(
    "noise-least-squares",
    "Trained without noise, a network follows least squares on noisy prompts",
    "2208.01066, section on noisy labels",
    against="ridge regressions; a softmax transformer was seen to follow least squares",
    measured=f"nearest to penalty 0, by {apart[0]:.0f} standard errors",
    holds=tolerances.clear(apart[0]),
    scale=scale,
)

# %% [markdown]
# For the networks that were trained with noise, the same must hold at each of its values. This is a stronger statement than
# a small error, since the ridge regressions differ in their predictions more than in their errors.

# %%
closest = min(apart[sigma] for sigma in noise_stds[1:])
claim(
    "noise-ridge",
    "Trained with noise, it follows ridge regression with the penalty of that noise",
    "2211.15661, section on noise in the data",
    against="ridge regressions; a softmax transformer was seen to come to the Bayes estimate",
    measured=f"nearest to it, by {closest:.0f} standard errors and more",
    holds=tolerances.clear(closest),
    scale=scale,
)

# %% [markdown]
# The last claim is ours. At the larger noises, three trained layers are better than least squares, which is not
# allowed to know the noise. Errors are compared prompt by prompt.

# %%
margins = {}
for sigma in sorted(noise_stds)[len(noise_stds) // 2 :]:
    gain = errors_of(LeastSquares(), sigma) - errors_of(networks[n_layer, sigma], sigma)
    margins[sigma] = float((gain.mean(1) / gain.std(1)).min()) * test_prompts**0.5

# %% [markdown]
# The row shows the exact error of least squares beside the largest one of our seeds.

# %%
claim(
    "noise-better",
    f"From noise {min(margins):g} on, trained layers have a smaller error than least squares",
    against=", ".join(f"{d * s**2 / (N - d - 1):.3f}" for s in margins)
    + " exactly, of least squares (squared error)",
    measured=", ".join(f"{trained[n_layer, s].max():.3f}" for s in margins),
    holds=tolerances.clear(margins.values()),
)

# %% [markdown]
# ## References
#
# - S. Garg, D. Tsipras, P. Liang, G. Valiant. *What Can Transformers Learn In-Context? A Case Study of Simple Function
#   Classes.* NeurIPS 2022. [arXiv:2208.01066](https://arxiv.org/abs/2208.01066)
# - E. Akyürek, D. Schuurmans, J. Andreas, T. Ma, D. Zhou. *What learning algorithm is in-context learning?
#   Investigations with linear models.* ICLR 2023. [arXiv:2211.15661](https://arxiv.org/abs/2211.15661)
# - K. Ahn, X. Cheng, H. Daneshmand, S. Sra. *Transformers learn to implement preconditioned gradient descent for
#   in-context learning.* NeurIPS 2023. [arXiv:2306.00297](https://arxiv.org/abs/2306.00297)
#
# ## Exercises
#
# **Exercise 1.** Beyond which $\sigma$ is even one layer better than least squares? Set the two errors equal, solve for
# $\sigma^2$, and check the answer.

# %% tags=["hide-cell"]
# (d + 1 + v) / (N + d + 1 + v) = v / (N - d - 1) for v = sigma^2:
# v^2 + (2 d + 2) v - (d + 1) (N - d - 1) = 0
v = np.sqrt((d + 1) ** 2 + (d + 1) * (N - d - 1)) - (d + 1)
one, least = d * (d + 1 + v) / (N + d + 1 + v), d * v / (N - d - 1)
print(f"beyond sigma = {v**0.5:.2f}, where both errors are {one:.3f}")
expect(np.isclose(one, least))

# %% [markdown]
# **Exercise 2.** How much does it cost to be wrong about the noise? Compute the error of ridge regression with a quarter of
# the best penalty, and with four times as much.

# %% tags=["hide-cell"]
for sigma in noise_stds[1:]:
    best = ridge_error(sigma)
    low, high = (ridge_error(sigma, penalty=k * sigma**2) for k in (0.25, 4))
    print(f"noise {sigma}: {low / best - 1:.1%} and {high / best - 1:.1%} more")
    expect(low > best)
    expect(high > best)
