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
# # With a second-order method
#
# > **In short.** L-BFGS, trained on one fixed batch, has settled after 480 steps, at losses that agree with the published ones in
# > the median. It pays for its speed in two ways. One of our three seeds ends in another local optimum of the same form,
# > that of page 1, with a test loss seven times as large. And the matrices keep accidents of the one batch: they end 3 to
# > 11 percent away from multiples of the identity. Exact multiples in their place improve the test loss of every seed.
# > *About 8 seconds; at the paper's scale.*
#
# **Question.** On page 2 Adam took thousands of small steps to the preconditioner. Is this solution a habit of Adam's, or does a
# method that takes the curvature into account, on one fixed batch, arrive at the same matrices?
#
# **What the paper says.** The code of Ahn et al. ([2023](https://arxiv.org/abs/2306.00297)) repeats the rotated
# experiment with L-BFGS, a quasi-Newton method. It needs a few hundred steps: the training losses of its three seeds settle at
# $6.24$, $5.27$ and $6.09 \cdot 10^{-4}$, and the test loss near $8.5 \cdot 10^{-4}$ from step 500 on. By the paper's theory, the
# matrices should again be multiples of the identity in the whitened coordinates.
#
# We repeat it at the same scale. You need page 2, [rotated covariates](02_rotation_adam.ipynb), and nothing else.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import math

import torch
from lintf import FittedModel, LinearTransformer, TrainConfig, claim, expect, fit
from lintf.analysis.landscape import gradient
from lintf.analysis.solvers import squared_error
from lintf.analysis.theory import distance_to_identity, isotropic_weights
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import told
from lintf.tasks.rotated import Rotated, whitened

# %% [markdown]
# ## Parameters
#
# These are the paper's, and their runs are stored with the book. Other values train when you run the page: at this
# scale for about three minutes on two CPU cores.

# %% tags=["parameters"]
N = 20  # examples in a prompt
scales = [1.0, 1.0, 0.5, 0.25, 1.0]  # standard deviations of x along its axes
n_layer = 3  # layers, one head each
B = 20_000  # prompts in the one batch
max_iters = 2000  # optimiser steps
inner_steps = 4  # iterations of L-BFGS in each
lr = 0.1  # length of an iteration, in units of the quasi-Newton step; no line search
history = 600  # past gradients that model the curvature
seeds = [0, 1, 2]  # one transformer, one rotation and one batch each
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %% [markdown]
# Near its end the method compares losses that differ in the seventh digit, which is where single precision ends. So we
# train in double precision, unlike the original, at no loss of time.

# %%
parameters.check_parameters()
plots.style()
rotations, d = Rotated(seeds, N, scales), len(scales)
model = LinearTransformer(d=d, n_layer=n_layer, init_std=1e-4)
how = {"alg": "lbfgs", "inner_steps": inner_steps, "history_size": history, "lr": lr}
how |= {"B": B, "redraw_every": None, "dtype": "float64"}
stride = max(1, max_iters // 50)
config = TrainConfig(max_iters=max_iters, record_every=stride, **how)

# %% [markdown]
# ## One fixed batch
#
# L-BFGS collects the differences of successive gradients $y_k = \nabla f(\theta_{k+1}) - \nabla f(\theta_k)$ and of the
# parameters $s_k = \theta_{k+1} - \theta_k$. From the last 600 pairs it builds a matrix $H$ with $H y_k = s_k$, an
# estimate of the inverse Hessian, and moves along $-H \nabla f$. With the exact inverse this would be Newton's method.
# There is no line search: a fixed tenth of the step is taken, four times, and that is one optimiser step.
#
# Such differences only mean something if $f$ is the same function each time. So there is a single batch of 20,000
# prompts, and every seed has an optimiser of its own. The 150 parameters of a model are few against the 600 pairs, so
# that the curvature can be known in every direction.

# %%
run = fit(model, rotations.task, config, seeds, device=device)

# %% [markdown]
# The fixed batch is a training set in the usual sense, and the transformer can fit what is particular to it. So we set
# the training loss beside the loss on 20,000 new prompts of each seed's law.


# %%
test = rotations.sample(20_000, 99, dtype=torch.float64)
losses = run.losses(model, test)  # (seeds, steps)

# %% mystnb={"figure": {"caption": "Training loss (dashed) and test loss (solid) of a three-layer linear transformer trained with L-BFGS on one batch of 20,000 rotated prompts (d = 5, N = 20; 2000 steps of 4 iterations; 20,000 test prompts for each seed). Each of three seeds has its colour and its marker.", "name": "fig-rotation-lbfgs-loss"}, "image": {"alt": "Three pairs of curves on a logarithmic axis fall within 500 steps and then stay constant. Two pairs end between 0.0005 and 0.0008 with the test loss slightly above the training loss. For the third the test loss ends five times above the training loss."}}
_, ((ax,),) = plots.panels()
for e, seed in enumerate(seeds):
    look = {"color": f"C{e}", "marker": plots.MARKERS[e % 6], "markersize": 4}
    look["markevery"] = (0.03 + 0.05 * e, 0.2)
    ax.plot(run.steps, losses[e], "-", label=f"seed {seed}", **look)
    ax.plot(run.steps, run.loss[e], "--", **look)
ax.set(xlabel="optimiser step", ylabel="loss (mean squared error)", yscale="log")
plots.legend(ax, title="solid: test, dashed: training")

# %% [markdown]
# After some hundred steps nothing changes any more: the method stops where the slope along its direction is below
# $10^{-9}$. One step consists of four iterations with a gradient each, on as many prompts as in one step of Adam on
# page 2. So 500 steps cost as much as 2000 of Adam's, which trained for 100,000. But the seeds have not all arrived at the
# same place.
#
# ## The learned matrices
#
# We read the multiples off the diagonals, of $Q$ in whitened coordinates, as $Q_\ell = -a_\ell I$ and $P_\ell = b_\ell I$:

# %%
UD = rotations.UD  # (seeds, d, d)
P, Q = run.final_params["P"][:, :-1, 0], whitened(run.final_params["Q"][:, :, 0], UD)
a, b = (M.diagonal(dim1=-2, dim2=-1).mean(-1) for M in (-Q, P))  # (seeds, layers)

# %%
rows = []
for e, seed in enumerate(seeds):
    row = {f"a, layer {k}": value for k, value in enumerate(a[e])}
    row |= {f"b, layer {k}": value for k, value in enumerate(b[e])}
    row |= {"training loss": run.loss[e, -1], "test loss": losses[e, -1]}
    rows.append({"seed": seed} | row)
tables.table(rows, "Multiples and losses (squared errors) that L-BFGS ends with.")

# %% [markdown]
# Two seeds have the algorithm that Adam finds on rotated prompts. Seed 0 has the algorithm of page 1: a first step twice as
# long, and less shrinkage after it. Page 7, [theory](07_theory.ipynb), shows that both are local
# optima of the same form $Q_\ell = -a_\ell \Sigma^{-1}$, $P_\ell = b_\ell I$. Adam reached the better one with all
# seeds on the rotated prompts of page 2, and the other one, also with all seeds, with the smaller steps of page 1.
# Which of the two a seed of L-BFGS finds is an accident of its start and of its batch.
#
# The better one has the smaller training loss. On the test set the gap is wider still, because of a few rare prompts;
# the second exercise looks for them. Here are the two algorithms, each in its whitened coordinates. The first one takes
# moderate steps with moderate shrinkage after each, while the second starts with a short step and lets $P_0$ do most of
# the work.

# %% mystnb={"figure": {"caption": "The learned matrices at the end of the training of {numref}`fig-rotation-lbfgs-loss`, for the first of three seeds; Q is whitened. Red is positive, blue negative; colours are scaled to each matrix.", "name": "fig-rotation-lbfgs-first"}, "image": {"alt": "Five heatmaps of 5 by 5 matrices with a dominant constant diagonal: Q0 about minus 0.77, Q1 about minus 2.8, Q2 about minus 7.5, P0 and P1 about 0.35. The entries beside the diagonals reach a tenth of it."}}
plots.matrices({"whitened Q": Q[0], "P": P[0]})

# %% mystnb={"figure": {"caption": "As {numref}`fig-rotation-lbfgs-first`, for the last of the three seeds.", "name": "fig-rotation-lbfgs-last"}, "image": {"alt": "Five heatmaps of 5 by 5 matrices with a dominant constant diagonal: Q0 about minus 0.38, Q1 about minus 2.4, Q2 about minus 9.7, P0 about 0.90 and P1 about 0.57. The entries beside the diagonals reach a tenth of it."}}
plots.matrices({"whitened Q": Q[-1], "P": P[-1]})

# %% [markdown]
# All are near multiples of the identity, but not as near as Adam's on page 2. The difference is the second price, that of
# the fixed batch: even in whitened coordinates the covariance of its prompts is not quite the identity, and the matrices
# follow it. Adam saw a thousand batches of the same size.

# %% mystnb={"figure": {"caption": "Distance {eq}`eq-distance` to a multiple of the identity during the training of {numref}`fig-rotation-lbfgs-loss`, for P as it stands (dashed) and for Q whitened. Lines: mean over three seeds; band: smallest to largest.", "name": "fig-rotation-lbfgs-distance"}, "image": {"alt": "Five curves on a logarithmic axis fall within 500 steps and then stay constant between 0.03 and 0.13."}}
columns = {
    "whitened Q": whitened(run.params["Q"][:, :, :, 0], UD),
    "P": run.params["P"][:, :, :-1, 0],
}
_, ((ax,),) = plots.panels()
plots.distances(ax, run.steps, columns)

# %% [markdown]
# ## How much of it is the batch?
#
# To tell the algorithm from the accidents of one batch, we replace every matrix by its mean diagonal: the same $a_\ell$
# and $b_\ell$, and exact multiples of the identity. If the entries beside the diagonal had something to say about the
# law of the prompts, this would make the test loss worse. If they are accidents, it makes it better.

# %% tags=["show"]
cleaned = [
    isotropic_weights(*pair, rotations.precision[e])
    for e, pair in enumerate(zip(a, b, strict=True))
]
cleaned = {k: torch.stack([p[k] for p in cleaned]) for k in "PQ"}
clean = squared_error(FittedModel(model, cleaned), test).mean(1)
both = zip(seeds, losses[:, -1], clean, strict=True)
rows = [{"seed": s, "as learned": v, "exact multiples": w} for s, v, w in both]
tables.table(
    rows, "Test loss (squared error) with the matrices as learned and cleaned."
)

# %% [markdown]
# It improves with every seed: what stands beside the diagonals comes from the batch.
#
# ## Claims
#
# The loss depends on the batch. The test loss of one and the same model varies by a tenth or more from one set of
# 20,000 prompts to another, as thirty of them show. We allow three times that spread, in the logarithm, between a
# published number and one of ours. Their seeds and batches are not ours, so median stands beside
# median, 6.087, and largest beside largest. The largest of ours is that of the other optimum, and farther away than a
# batch explains; to judge by their losses, none of their three seeds ended there.

# %%
others = torch.stack(
    [
        model.loss(run.final_params, rotations.sample(20_000, k, dtype=torch.float64))
        for k in range(30)
    ]
)
spread, theirs = others.log().std(0).median(), [6.24e-4, 5.27e-4, 6.087e-4]
source = "chengxiang/LinearTransformer, rotation demonstration-LBFGS.ipynb"
ours, test_end = run.loss[:, -1], float(losses[:, -1].median())
room = f"a factor of {math.exp(tolerances.allowed(spread)):.2f} allowed"
claim(
    "rotation-lbfgs-train",
    "The training loss at which L-BFGS settles, in the median of the seeds",
    source,
    published="training loss, three seeds: 6.24e-4, 5.27e-4, 6.087e-4 [squared error]",
    measured=", ".join(f"{v:.2e}" for v in ours) + f"; {room}",
    holds=tolerances.by_chance(ours.median().log(), math.log(theirs[-1]), spread),
)

# %% [markdown]
# The worst of the three seeds, there and here:

# %%
claim(
    "rotation-lbfgs-worst",
    "The largest training loss of the three seeds",
    source,
    published=f"largest training loss of three seeds: {max(theirs)} [squared error]",
    measured=f"{ours.max():.2e}; {room}",
    holds=tolerances.by_chance(ours.max().log(), math.log(max(theirs)), spread),
    why="One of our three starts leads to the other optimum, none of theirs did.",
)

# %% [markdown]
# The published test loss is a mean over the seeds, read off a figure. Our mean would be that of the other optimum, so we take
# the median. For "from step 500 on" we look for the first step after which it stays within the width of such a line, a
# factor of 1.26, of its last value.

# %%
published_end, published_step = 8.5e-4, 500
away = (losses.median(0).values / test_end).log().abs() > math.log(tolerances.LOG_LINE)
late = away.nonzero()
settled = int(run.steps[int(late.max()) + 1]) if len(late) else 0
claim(
    "rotation-lbfgs-test",
    "The test loss at which L-BFGS settles, in the median of the seeds",
    source,
    published=f"test loss: about {published_end} [squared error]",
    measured=f"{test_end:.2e}",
    holds=tolerances.read_off(test_end, published_end),
)
claim(
    "rotation-lbfgs-steps",
    "The step from which the test loss has settled",
    source,
    published=f"step from which the test loss is level: about {published_step} [steps]",
    measured=f"{settled} (recorded every {stride})",
    holds=tolerances.read_off(settled, published_step, span=max_iters),
)
told("after 480 steps", 480, settled)

# %% [markdown]
# Theory wants multiples of the identity in expectation; theirs and ours are that up to what one batch allows. The published
# distances are means over three seeds, read off panels from 0 to 1. We set the smallest beside the smallest of ours, and so
# on: each must lie within our seeds.

# %%
ends = torch.cat([distance_to_identity(M).T for M in (Q, P)])  # (matrices, seeds)
ends, far = ends[ends.mean(1).argsort()], [0.048, 0.05, 0.06, 0.075, 0.135]
checks = [tolerances.read_off(e, v, span=1) for e, v in zip(ends, far, strict=False)]
claim(
    "rotation-lbfgs-identity",
    "How far the five matrices, Q whitened, end from multiples of the identity",
    source,
    published=f"distance to the identity: {', '.join(map(str, far))} [no unit]",
    measured=", ".join(f"{v:.3f}" for v in ends.mean(1)),
    holds=tolerances.all_of(checks),
)

# %%
told("seven times as large", 7, losses[0, -1] / test_end)
told("twice as long", 2, a[0, 0] / a[-1, 0])
told("3 to 11 percent", 0.03, ends.mean(1).min())
told("11 percent away", 0.11, ends.mean(1).max())

# %% [markdown]
# ## References
#
# - K. Ahn, X. Cheng, H. Daneshmand, S. Sra. *Transformers learn to implement preconditioned gradient descent for
#   in-context learning.* NeurIPS 2023. [arXiv:2306.00297](https://arxiv.org/abs/2306.00297)
# - D. C. Liu, J. Nocedal. *On the limited memory BFGS method for large scale optimization.* Mathematical Programming
#   45, 1989.
#
# ## Exercises
#
# **Exercise 1.** Draw the batch of the first seed again. Has L-BFGS really come to a critical point of its training
# loss? Compare the norm of the gradient with that at the start.

# %% tags=["hide-cell"]
generator = torch.Generator().manual_seed(seeds[0])
start = model.init(generator, torch.float64)
batch = rotations.task(seeds[0]).sample(B, generator, dtype=torch.float64)
norms = []
for params in (start, {k: p[0] for k, p in run.final_params.items()}):
    slopes = gradient(model, params, batch).values()
    norms.append(float(sum(g.square().sum() for g in slopes)) ** 0.5)
print(f"norm of the gradient: {norms[0]:.1e} at the start, {norms[1]:.1e} at the end")
expect(torch.isclose(model.loss(params, batch), run.loss[0, -1]))
expect(norms[1] < norms[0])

# %% [markdown]
# **Exercise 2.** Which prompts make the test loss of the first seed so large? Find out how much of it the worst one in a
# thousand carries, and how large the largest eigenvalue of their whitened $S / N$ is.

# %% tags=["hide-cell"]
errors = squared_error(FittedModel(model, run.final_params), test)[0]
worst = errors.topk(len(errors) // 1000).indices
A = torch.linalg.inv(UD[0])
white = (A @ test.S[0].movedim(-1, 0) @ A.mT) / N  # (prompts, d, d)
largest = torch.linalg.eigvalsh(white)[:, -1]
share = errors[worst].sum() / errors.sum()
print(f"they carry {share:.0%}; the median of the largest eigenvalue is")
print(
    f"{largest.median():.2f} for all prompts, {largest[worst].median():.2f} for these"
)
expect(share > 0.3)  # in short trainings no prompt is rare yet
