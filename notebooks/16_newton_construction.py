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
# # Newton's method, built by hand
#
# > **In short.** Two layers of linear attention with one head each do one step of Newton's iteration, to rounding. One
# > layer is enough if the first copies $S$ into extra tokens. Begun from a multiple of the identity, $k$ such steps are
# > $2^k$ steps of gradient descent. With two layers a step, an error of $10^{-6}$ takes 28 to 36 layers and gradient
# > descent 96 or more. But for an error of 0.1 gradient descent needs only 6 to 12 layers, and Newton's iteration 18 to 20.
# > Three trained layers are as good as 24 hand-built ones. *About 20 seconds; exact.*
#
# **Question.** A layer of linear attention can do a step of gradient descent. Can it also do a step of Newton's method,
# which converges much faster?
#
# **What the paper says.** Giannou et al. ([2024](https://arxiv.org/abs/2403.03183)) state that transformers of linear
# attention alone can carry out one step of Newton's iteration for the inverse of a matrix, "with merely two layers".
#
# We build such layers with weights that can be read, check them against the iteration to rounding, stack them into a
# predictor, and ask for which errors it needs fewer layers than gradient descent. Every weight is written down. The only trained
# network is that of page 1, for comparison.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
from itertools import product

import numpy as np
import torch
from lintf import FittedModel, LinearRegression, LinearTransformer, TrainConfig, fit
from lintf.analysis.newton import NewtonIteration, SteepestDescent
from lintf.analysis.solvers import GradientDescent, LeastSquares, best_gradient_descent
from lintf.analysis.theory import NewtonTransformer, linear_attention
from lintf.pages import parameters, play, plots, tables, tolerances, widgets
from lintf.pages.claims import claim, expect, told
from lintf.tasks.base import sample_ensemble
from lintf.tasks.batches import Prompts

# %% [markdown]
# ## Parameters
#
# Covariates are Gaussian with a diagonal covariance whose entries go in equal steps from 1 down to $1/\kappa$. There is no
# label noise, so that least squares is exact. For comparison we load the three layers that were trained on page 1,
# [simple demonstration](01_simple_demo.ipynb). Its prompts are those of $\kappa = 1$.

# %% tags=["parameters"]
N = 20  # examples in a prompt
d = 5  # dimension of the covariates
kappas = [1, 5, 10]  # condition numbers of the covariance, each at least 1
steps = 24  # of Newton's iteration
depths = [1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]  # of gradient descent
test_prompts = 1000  # prompts of each seed, for the scores
seeds = [0, 1, 2]  # of the test prompts, and of the trained layers
tune_prompts = 4000  # other prompts, for the step sizes
demo_steps = 10_000  # length of the training in the simple demonstration
device = "auto"  # of that training: "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters("d >= 2", "min(depths) >= 1")
plots.style()
F64 = torch.float64
eye = torch.eye(d, dtype=F64)


def diagonal(kappa):
    """A diagonal matrix of exactly this condition number."""
    return torch.linspace(1, 1 / kappa, d, dtype=F64).diag()


tasks = {}
for kappa in kappas:
    Sigma = diagonal(kappa).tolist()
    tasks[kappa] = LinearRegression(N, d, Sigma=Sigma)

# %% [markdown]
# ## Newton's iteration for an inverse
#
# Least squares needs $S^{-1}$, where $S = X^\top X$, and then predicts $x_q^\top S^{-1} s$ with $s = X^\top y$. Newton's
# method, applied to the equation $J^{-1} = S$, finds the inverse with nothing but products of matrices. (The paper calls
# the iterate $X_k$. Here it is $J_k$, since $X$ is our data matrix.)
#
# $$
# \begin{aligned}
# J_{k+1} &= J_k\, (2 I - S J_k), \\
# I - S J_{k+1} &= (I - S J_k)^2 .
# \end{aligned}
# $$ (eq-newton)
#
# The second line follows from the first by multiplying out. The residual is squared in each step: convergence is
# quadratic. The iteration of order $m$ raises it to the power $m$:
#
# $$
# J_{k+1} = J_k \sum_{j=0}^{m-1} (-1)^j \binom{m}{j+1} (S J_k)^j .
# $$ (eq-newton-order)
#
# The start, as in the paper's experiments, is $J_0 = \alpha S^\top$ with
# $\alpha = 1 / (\lambda_{\max} + \lambda_{\min})$, with the eigenvalues of $S S^\top$. If $S$ has condition number $\kappa$, the
# largest eigenvalue of the first residual is $\kappa^2 / (\kappa^2 + 1)$. Starting from $S^\top$ has squared the condition number.
# Below we meet a start that does not. First we look at matrices whose condition numbers are exactly those above.


# %%
def residual_norms(kappa, order, steps):
    """Spectral norms of I - S J_k for k = 0, 1, ..., steps."""
    S = diagonal(kappa)
    J = NewtonIteration(steps, order).inverses(S)
    return torch.linalg.matrix_norm(eye - S @ J, 2)


norms = {}
for kappa, order in product(kappas, (2, 3)):
    norms[kappa, order] = residual_norms(kappa, order, steps)

# %% mystnb={"figure": {"caption": "Spectral norm of the residual I - S J of Newton's iteration, order 2 (solid) and 3 (dashed), for S with eigenvalues in equal steps from 1 down to 1 / kappa (d = 5; nothing is random, so there are no seeds). Dotted: what steepest descent guarantees for its relative error in the norm of S; with kappa = 1 it is done after one step.", "name": "fig-newton-residual"}, "image": {"alt": "Curves on a logarithmic axis against iterations from 0 to 15. Newton's curves start flat near 1 and then plunge to 1e-16: with order 2 after about 5, 10 and 12 iterations for condition numbers 1, 5 and 10, with order 3 after 3, 7 and 8. The dotted lines of descent fall slowly and evenly, to 2e-3 and 5e-2 after 15 iterations."}}
_, ((ax,),) = plots.panels()
for i, kappa in enumerate(kappas):
    rate = (kappa - 1) / (kappa + 1)
    curves = {
        "order 2": (norms[kappa, 2], "-"),
        "order 3": (norms[kappa, 3], "--"),
        "descent": (rate ** torch.arange(steps + 1), ":"),
    }
    for name, (curve, dash) in curves.items():
        label = f"{name}, $\\kappa$ = {kappa}"
        ax.plot(curve, label=label, **plots.nth(i, ls=dash, markersize=4))
ax.set(yscale="log", ylim=(1e-16, 2), ylabel="residual, or relative error")
ax.set(xlabel="iterations", xlim=(0, 15))
plots.shared_legend(ax, ncols=3)

# %% [markdown]
# The curves of Newton's iteration bend down: after a slow start the number of correct digits doubles in each step, or
# triples. How slow the start is depends on $\kappa$. Steepest descent does an exact line search in every step. It guarantees
# that the error in the norm of $S$ falls by the factor $(\kappa - 1) / (\kappa + 1)$. This is a straight line on the
# logarithmic axis, and nearly flat if $\kappa$ is large.
#
# The order of convergence is the factor by which the logarithm of the residual grows in a step. Over all steps with a
# residual between $10^{-10}$ and 1:

# %%
orders = {2: [], 3: []}
for (_, order), norm in norms.items():
    clear = norm[norm > 1e-10].log()
    factors = clear[1:] / clear[:-1]
    orders[order] += factors.tolist()
for order, factors in orders.items():
    print(f"order {order}: factors from {min(factors):.9f} to {max(factors):.9f}")

# %% [markdown]
# With $1 - 1/(\kappa^2 + 1) \approx e^{-1/\kappa^2}$, the residual is below $\varepsilon$ after
# $2 \log_2 \kappa + \log_2 \ln(1/\varepsilon)$ steps. We count them:

# %%
excess, rows = {}, []  # excess: steps beyond the formula
for kappa in (1, 3, 10, 30, 100, 300, 1000):
    done = residual_norms(kappa, 2, 40) < 1e-6
    taken = int(done.nonzero()[0, 0])
    formula = 2 * np.log2(kappa) + np.log2(np.log(1e6))
    excess[kappa] = taken - formula
    rows.append({"κ": kappa, "steps": taken, "formula": formula})
tables.table(rows, "Steps of order 2 to a residual below 1e-6.")

# %% [markdown]
# From $\kappa = 10$ on the number of steps is that of the formula, rounded up. For smaller $\kappa$ the approximation behind the
# formula is too coarse.
#
# Now the same methods on prompts. Each prompt has its own $S$ and, for Newton's iteration, its own $\alpha$. The score is the
# mean squared error of the prediction.


# %%
def drawn(task):
    """Test prompts of every seed, as tokens."""
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    same = [task] * len(seeds)
    return sample_ensemble(same, test_prompts, generators, "tokens", F64)


def scored(predictions, prompts):
    """Mean squared errors (seeds, steps + 1) of all iterates."""
    return (predictions - prompts.y).square().mean(-1).movedim(-1, 0)


# %% [markdown]
# Every iterate is scored, from 0 steps on, and here are some of them:

# %%
tests = {kappa: drawn(task) for kappa, task in tasks.items()}
methods = {
    "order 2": NewtonIteration(steps),
    "order 3": NewtonIteration(steps, 3),
    "descent": SteepestDescent(steps),
}
rows = []
for kappa, prompts in tests.items():
    for name, method in methods.items():
        error = scored(method.iterates(prompts), prompts).mean(0)
        some = {f"{k} steps": error[k] for k in range(0, min(steps, 16) + 1, 4)}
        rows.append({"κ": kappa, "method": name} | some)
tables.table(rows, "Mean squared error after so many steps.", digits=1)

# %% [markdown]
# After four steps descent is ahead of order 2 for every $\kappa$. After eight it is behind or level, and
# after sixteen the errors of order 2 are rounding or close to it. Order 3 is far ahead of descent from eight steps on.
# (A step of Newton's iteration multiplies two matrices, where descent multiplies a matrix by a vector. In a transformer both
# cost layers. From here on we count layers.)
#
# ## Two layers
#
# The layers of this page are those of linear attention with free weights: no softmax, no MLP, and as everywhere in this
# book a query that no other token reads. With one head, $W$ for queries and keys and $V$ for values,
#
# $$
# Z \leftarrow Z + \bigl( Z\, W K^\top \bigr) K V,
# $$ (eq-hand-layer)
#
# where $K$ is $Z$ without its last row. A token has $4d + 1$ entries in blocks $x, y, J, e, t$. A prompt becomes
#
# $$
# Z_0 = \begin{pmatrix}
# x_i^\top & y_i & 0 & 0 & 0 \\
# 0 & 0 & 0 & e_j^\top & 0 \\
# 0 & 0 & 0 & x_q^\top & 0
# \end{pmatrix}
# \begin{matrix}
# i = 1, \dots, N \\ j = 1, \dots, d \\ \\
# \end{matrix}
# $$ (eq-hand-prompt)
#
# The first $N$ rows are the examples. The next $d$ are **probes**, with the unit vectors $e_j$: they ask what the
# prediction would be in direction $e_j$. The last row is the query, which is a probe in direction $x_q$.
#
# What one layer can do follows from writing {eq}`eq-hand-layer` as $Z W (K^\top K) V$. The matrix $K^\top K$ holds the product
# of any block with any other, and $W$ and $V$ choose among them. For example, only the examples have an $x$ block that is not
# zero, so that the product of $x$ with $x$ is $S$. Of the rows of $K$, only the $d$ probes have an $e$ block, so that the
# product of $e$ with $J$ is the $d \times d$ matrix of their rows $J$. For a probe with blocks $e$, $J$, $t$ the layers are
#
# $$
# \begin{aligned}
# \text{start:} && J &\leftarrow \alpha\, e S, \\
# \text{multiply:} && t &\leftarrow J S, \\
# \text{correct:} && J &\leftarrow J + (e - t)\, J_k, \\
# \text{read:} && y &\leftarrow y + J s,
# \end{aligned}
# $$ (eq-hand-layers)
#
# where $J_k$ are the rows of the unit probes. For them $e = I$, and multiply and correct are one step of {eq}`eq-newton`,
# $J_k + (I - J_k S) J_k = J_k (2I - S J_k)$. For the query the same two layers turn $x_q^\top J_k$ into
# $x_q^\top J_{k+1}$. The first of them also clears what $t$ held before. Reading gives the query's prediction, and to the
# probes the weights. So $k$ steps take $2k + 2$ layers, all with one head.
#
# The weights are fixed, and so must $\alpha$ be: one number for all prompts of a law. The iteration converges if
# $\alpha \lambda^2 < 2$ for every eigenvalue $\lambda$ of every $S$. We take $\alpha = 1 / \lambda^2$ with the largest
# $\lambda$ in 4000 other prompts.


# %%
def eigenvalues(prompts):
    """Of S in every prompt, ascending."""
    S = prompts.gram().S.movedim(-1, -3)
    return torch.linalg.eigvalsh(S)


# %% [markdown]
# The prompts for $\alpha$ serve a second purpose below: on them gradient descent gets its step sizes.

# %%
other = torch.Generator().manual_seed(100)
tune, largest, alphas = {}, {}, {}
for kappa, task in tasks.items():
    tune[kappa] = task.sample(tune_prompts, other, dtype=F64)
    largest[kappa] = float(eigenvalues(tune[kappa]).max())
    alphas[kappa] = largest[kappa] ** -2

# %% [markdown]
# How well conditioned is $S$ in the test prompts, and how large does $\alpha \lambda^2$ get there?

# %%
rows = []
for kappa, prompts in tests.items():
    found = eigenvalues(prompts)
    typical = (found[..., -1] / found[..., 0]).median()
    most = alphas[kappa] * found.max() ** 2
    row = {"κ": kappa, "condition number of S": typical}
    rows.append(row | {"largest α λ²": most})
tables.table(
    rows, "Median condition numbers, and the largest α λ², of the test prompts."
)

# %% [markdown]
# The $S$ of twenty examples is worse conditioned than the covariance it estimates, up to five times for $\kappa = 1$.
# The largest $\alpha \lambda^2$ is well below 2, so the iteration converges for all test prompts. (In the
# paper's experiments the largest eigenvalue of the covariance varies between 1 and 100. An $\alpha$ for all of those
# prompts would be far too small for most.)
#
# ## Layer by layer
#
# We run two steps on the prompts of one seed, with the largest $\kappa$, and hold every block beside its formula. The
# method `states` gives the tokens before and after each layer; of these we take the probes and the query.


# %%
def relative_gap(ours, theirs):
    """The largest difference, relative to the largest entry."""
    gap = (ours - theirs).abs().max()
    return float(gap / theirs.abs().max())


# %% [markdown]
# These are the prompts of the first seed, with their sums $S$ and $s$, and the model of two steps:

# %%
alpha, prompts = alphas[kappas[-1]], tests[kappas[-1]]
few = Prompts(prompts.Z[0], prompts.y[0])
sums = few.gram()
S = sums.S.movedim(-1, 0)
s = sums.s.mT.unsqueeze(-1)
model = NewtonTransformer(d, 2, alpha)

# %% [markdown]
# For each kind of layer we take the block that it has written, and the formula with the blocks that it read.

# %%
state = [model.blocks(Z[:, N:]) for Z in model.states(few)]
e, J = state[0]["e"], state[1]["J"]
t, corrected = state[2]["t"], state[3]["J"]
J_0 = J[:, :d]  # of the unit probes
formulas = {
    "start: J": (J, alpha * e @ S),
    "multiply: t": (t, J @ S),
    "correct: J": (corrected, J + (e - t) @ J_0),
    "one step: J": (corrected, e @ J_0 @ (2 * eye - S @ J_0)),
    "read: y": (state[6]["y"], state[5]["J"] @ s),
}
rows = []
for name, (ours, formula) in formulas.items():
    rows.append({"block": name, "difference": relative_gap(ours, formula)})
tables.table(rows, "Largest relative differences to the formulas.", digits=1)

# %% [markdown]
# Every block agrees with its formula, up to rounding in the sixteenth digit. Next we take the predictor as a whole, from 0 to 24
# steps on all test prompts, beside the classical iteration with the same $\alpha$.

# %%
built, gaps = {}, {}
for kappa, prompts in tests.items():
    layers = NewtonTransformer(d, steps, alphas[kappa]).iterates(prompts)
    exact = NewtonIteration(steps, alpha=alphas[kappa]).iterates(prompts)
    built[kappa] = scored(layers, prompts)
    gaps[kappa] = relative_gap(layers, exact)
print(f"largest relative difference {max(gaps.values()):.0e}")

# %% [markdown]
# ## One layer is enough
#
# A step takes two layers because a layer multiplies by one matrix $K^\top K$ only, and the second has to wait for $J S$. If the
# tokens held $S$ themselves, that matrix would contain the product $S J_k$, as $t$ with $J$. So let the first layer also copy
# $S$ into the probes, $t \leftarrow e S$. Then
#
# $$
# J \leftarrow J + e\, J_k - J\, S J_k
# $$ (eq-single-layer)
#
# is a single layer, still with one head, and $k$ steps take $k + 2$ layers. Fu et al.
# ([2023](https://arxiv.org/abs/2310.17086)) state the same, $k$ steps in $k + O(1)$ layers, for transformers as they define
# them. The predictions must be the same as before:

# %%
single = NewtonTransformer(d, steps, alpha, copy=True)
exact = NewtonIteration(steps, alpha=alpha).iterates(few)
one_gap = relative_gap(single.iterates(few), exact)
print(f"{single.n_layer} layers, {steps} steps: relative difference {one_gap:.0e}")

# %% [markdown]
# ## Is it worth its layers?
#
# The rival is gradient descent, which needs one layer for a step. It gets the best step size for its number of layers,
# found on the prompts that $\alpha$ comes from.

# %%
plain = {}
for kappa, prompts in tests.items():
    tuned = [best_gradient_descent(L, tune[kappa]) for L in depths]
    errors = [scored(descent.predict(prompts), prompts) for descent in tuned]
    plain[kappa] = torch.stack(errors, 1)  # (seeds, depths)

# %% [markdown]
# A second rival is the network of page 1: three trained layers, on the prompts with $\kappa = 1$.

# %%
rival = LinearTransformer(d=d, n_layer=3, init_std=1e-4)
config = TrainConfig(
    lr=1e-3,
    max_iters=demo_steps,
    B=4000,
    clip=1000.0,
    record_every=max(1, demo_steps // 40),
)
run = fit(rival, LinearRegression(N, d), config, seeds, device=device)
weights = {name: p.double() for name, p in run.final_params.items()}

# %% [markdown]
# There is also a better start for Newton's iteration. From $J_0 = \beta I$ the residual is $(I - \beta S)^{2^k}$. That is the
# residual of $2^k$ steps of gradient descent with step size $\beta$! Begun like this, Newton's iteration *is* gradient descent,
# and each of its steps doubles the number of steps done. It also needs one layer less, and the condition number is not squared.
# Exercise 1 checks that the layers do it. So for the figure we compute it as gradient descent, with $\beta = 1 / \lambda$.

# %%
doublings = range(min(steps, 10) + 1)
quick = {}
for kappa, prompts in tests.items():
    beta = 1 / largest[kappa]
    doubled = [GradientDescent(2**k, beta) for k in doublings]
    found = torch.stack([descent.predict(prompts) for descent in doubled])
    quick[kappa] = scored(found, prompts)

# %% [markdown]
# Now all methods against the number of layers. The curve for one layer a step is that for two, moved to $k + 2$ layers. In
# fairness to gradient descent: Newton's layers are also larger. They have $d$ more tokens, and $4d + 1$ entries in each in place
# of $d + 1$.

# %%
k = torch.arange(steps + 1)
measured = {}  # by kappa and method: layers, and errors (seeds, layers)
for kappa in kappas:
    measured[kappa] = {
        "Newton, two layers a step": (2 * k + 2, built[kappa]),
        "Newton, one layer a step": (k + 2, built[kappa]),
        "Newton from βI, two layers": (2 * k[: len(doublings)] + 1, quick[kappa]),
        "gradient descent": (torch.tensor(depths), plain[kappa]),
    }
level = 0.0
if 1 in kappas:
    answers = FittedModel(rival, weights).predict(tests[1])
    error = scored(answers, tests[1])
    level = float(error.mean())
    measured[1]["three trained layers"] = torch.tensor([3]), error.unsqueeze(1)

# %% mystnb={"figure": {"caption": "Mean squared error of the prediction against the number of layers, for three condition numbers of the covariance (d = 5, N = 20, no noise; 1000 test prompts for each seed). Newton's iteration with fixed weights, with two layers a step and with one, and begun from a multiple of the identity; gradient descent with the best step size for each depth; and the three trained layers of the simple demonstration. Lines: mean over three seeds of the test prompts; band: smallest to largest.", "name": "fig-newton-layers"}, "image": {"alt": "Three panels on doubly logarithmic axes. Gradient descent falls slowly, to about 1e-8 at 128 layers for condition number 1 and 1e-4 for 10. Newton's curves stay near 1 longer and then drop almost vertically: with two layers a step near 25 to 35 layers, with one layer a step or from a multiple of the identity near 15 to 20. In the first panel a single dot, the trained network, lies at 3 layers and 1e-3, far below all curves."}}
small = {"markersize": 3}
looks = {
    "Newton, two layers a step": plots.look("Newton", True, **small),
    "Newton, one layer a step": plots.look("Newton", ls="-", marker="d", **small),
    "Newton from βI, two layers": plots.look("Newton", ls=":", marker="x", **small),
    "gradient descent": plots.look("gradient descent", True, **small),
    "three trained layers": plots.look("trained", True, markersize=6),
}
names = [rf"$\kappa$ = {kappa}" for kappa in kappas]
axes = plots.grid(names, xlabel="layers", ylabel="mean squared error")
for curves, ax in zip(measured.values(), axes.values(), strict=True):
    for name, (x, ys) in curves.items():
        plots.band(ax, x, ys, name, **looks[name])
    ax.set(xscale="log", yscale="log", ylim=(1e-12, 20))
plots.shared_legend(axes[names[0]], len(seeds))

# %% [markdown]
# Newton's curves are flat for long and then fall almost vertically. Gradient descent starts to fall at once. Where do they
# cross? We ask for the fewest layers with a given error.


# %%
def fewest(curve, goal):
    """The smallest tried number of layers with at most this error."""
    layers, errors = curve
    good = layers[errors.mean(0) <= goal]
    return int(good[0]) if len(good) else "–"


# %% [markdown]
# The third column of errors is that of the trained network. A dash stands where no depth that we tried is enough.

# %%
goals = {"0.1": 0.1, "0.01": 0.01, "trained": level, "10⁻⁴": 1e-4, "10⁻⁶": 1e-6}
needed, rows = {}, []
for kappa, curves in measured.items():
    for name, curve in curves.items():
        counts = {said: fewest(curve, goal) for said, goal in goals.items()}
        needed[kappa, name] = counts
        rows.append({"κ": kappa, "method": name} | counts)
tables.table(rows, "The fewest layers, of those tried, with an error of at most …")

# %% [markdown]
# Which method needs fewer layers depends on the error that is asked for. For 0.1, gradient descent needs fewer than two layers
# a step for every $\kappa$: 6, 8 and 12 against 18, 18 and 20. For 0.01 it still does with $\kappa = 1$, 16 layers against 22. With
# $\kappa = 5$ both need 24, and with $\kappa = 10$ Newton's iteration needs 28 and gradient descent 48. So Newton's iteration
# does not pay where the prompts are well conditioned or the layers are few, say up to 16. Its start $\alpha S$ squares the
# condition number, and one $\alpha$ has to serve all prompts.
#
# Where a small error is wanted, Newton's iteration needs fewer layers. An error of $10^{-6}$ takes 28, 32 and 36 layers. Of the
# depths that we tried for gradient descent the first that does it is 96 for $\kappa = 1$, and for larger $\kappa$ not even 128 is
# enough. One layer a step halves Newton's numbers, nearly, and so does beginning from $\beta I$ with two layers a step.

# %%
if kappas == [1, 5, 10]:
    two = [needed[kappa, "Newton, two layers a step"] for kappa in kappas]
    descent = [needed[kappa, "gradient descent"] for kappa in kappas]
    told("28 to 36 layers", 28, two[0]["10⁻⁶"])
    told("28 to 36 layers", 36, two[2]["10⁻⁶"])
    told("descent 96 or more", 96, descent[0]["10⁻⁶"])
    told("only 6 to 12 layers", 6, descent[0]["0.1"])
    told("only 6 to 12 layers", 12, descent[2]["0.1"])
    told("iteration 18 to 20", 18, two[0]["0.1"])
    told("iteration 18 to 20", 20, two[2]["0.1"])
    told("16 layers against 22", 16, descent[0]["0.01"])
    told("16 layers against 22", 22, two[0]["0.01"])
    told("as good as 24 hand-built ones", 24, two[0]["trained"])

# %% [markdown]
# The dot is far below all curves. Three trained layers have the error of 24 hand-built ones, or of 24 steps of gradient
# descent. Both kinds of layers predict with a polynomial in $S$. Newton's residual is $(1 - \alpha t^2)^{2^k}$ for an eigenvalue
# $t$, of degree 4096 after these 24 layers, but it is fitted to nothing except the largest $t$. Three layers of the trained kind
# have degree 13, and training fits it to the law of the eigenvalues, as page 7, [theory](07_theory.ipynb), shows. So this page
# proves what layers *can* do. It does not describe what they learn.
#
# ## Try it
#
# From how bad a condition number on does Newton's iteration pay? For one matrix $S$ of condition number $\kappa$ all residuals
# are known. For gradient descent with the best step it is a power of $(\kappa - 1) / (\kappa + 1)$, after $L$ layers the $L$-th.
# For Newton's iteration from $\beta I$ it is the power $2^{(L-1)/2}$ of the same factor. From $\alpha S$ it is the power
# $2^{(L-2)/2}$ of $\kappa^2 / (\kappa^2 + 1)$. Move $\kappa$ and the
# residual that is asked for.

# %%
powers = np.arange(1000)


def residuals(kappa):
    """Layers and residuals for one S, by method."""
    factor = (kappa - 1) / (kappa + 1)
    square = kappa**2 / (kappa**2 + 1)
    return {
        "gradient descent": (powers + 1, factor ** (powers + 1.0)),
        "Newton from βI": (2 * powers + 1, factor**2.0**powers),
        "Newton from αS": (2 * powers + 2, square**2.0**powers),
    }


def enough(curve, goal):
    """The fewest layers that reach the goal."""
    layers, residual = curve
    there = layers[residual <= goal]
    return int(there[0]) if len(there) else np.nan


# %% [markdown]
# A count is the smallest number of layers at which the curve is below the residual. The controls set $\kappa$ and the residual;
# the numbers beside the names are the counts, and "none" says that 1000 layers are not enough.


# %%
shown_kappas = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500]


def layers_for(kappa, goal):
    """The curves at one condition number, and the layers that reach the goal."""
    found = {"goal": goal}
    for i, curve in enumerate(residuals(kappa).values()):
        found |= {f"layers {i}": curve[0], f"residual {i}": curve[1]}
        found[f"enough {i}"] = enough(curve, goal)
    return found


# %% [markdown]
# Curves of two kinds are to be expected. A residual that is multiplied by the same factor in every layer falls slowly at
# first, and on a logarithmic axis of layers faster and faster. One that is squared in every step stays near 1 for a while,
# however many layers that takes, and then falls like a stone: four steps later it has sixteen times as many digits.

# %%
panel = {"xlabel": "layers", "xscale": "log", "xlim": (0.9, 1000)}
panel |= {"ylabel": "norm of the residual", "yscale": "log", "ylim": (1e-13, 3)}
panel["marks"] = [{"name": "residual asked for", "at": "goal", "across": True}]
methods = {"gradient descent": "gradient descent", "Newton from βI": "Newton"}
methods |= {"Newton from αS": "trained too"}
panel["curves"] = play.several(
    methods, x="layers {}", y="residual {}", value="enough {}"
)

# %% mystnb={"figure": {"caption": "Norm of the residual against the number of layers, for one matrix S of condition number 10 (any d; computed exactly): gradient descent with the best step, and Newton's iteration with two layers a step from a multiple of the identity and from a multiple of S. Dotted: a residual of 1e-6. The numbers are the layers that reach it. Sliders set the condition number and the residual.", "name": "fig-newton-play"}, "image": {"alt": "Three curves on doubly logarithmic axes. Newton's from the identity falls off a cliff near 10 layers and reaches 1e-6 at 15, Newton's from S stays at 1 up to 10 layers and reaches it at 24, and gradient descent falls smoothly and reaches it at 69."}}
play.Figure(
    "newton",
    layers_for,
    {"powers": powers},
    [panel],
    title=[("layers that leave at most", "goal")],
    kappa=widgets.slider("condition number κ", shown_kappas, 10),
    goal=widgets.slider("residual", [10.0**-j for j in range(1, 13)], 1e-6),
)

# %% [markdown]
# Ten times the condition number costs gradient descent ten times the layers. It costs Newton's iteration about seven more
# layers from $\beta I$, and about fourteen more from $\alpha S$, since $\kappa$ is squared there. So for a small $\kappa$ or a
# large residual gradient descent needs the fewest: for $\kappa = 3$ and 0.1 four layers, where Newton's iteration takes 5 and 12.
# For $\kappa = 100$ and $10^{-6}$ it is 691 against 21 and 38.

# %%
descent, from_identity, from_S = (enough(c, 0.1) for c in residuals(3).values())
told("four layers, where", 4, descent)
told("takes 5 and 12", 5, from_identity)
told("takes 5 and 12", 12, from_S)
descent, from_identity, from_S = (enough(c, 1e-6) for c in residuals(100).values())
told("691 against 21 and 38", 691, descent)
told("691 against 21 and 38", 21, from_identity)
told("691 against 21 and 38", 38, from_S)

# %% [markdown]
# ## Rounding
#
# Networks compute in single precision. Does the error add up over fifty layers? We take the same prompts in both
# precisions, and least squares in double precision as the truth.

# %%
drift = {}
for kappa in (kappas[0], kappas[-1]):
    g = torch.Generator().manual_seed(8)
    short = tasks[kappa].sample(test_prompts, g, "tokens")
    double = Prompts(short.Z.double(), short.y.double())
    truth = LeastSquares().predict(double)
    stack = NewtonTransformer(d, steps, alphas[kappa])
    for name, prompts in (("float32", short), ("float64", double)):
        off = stack.iterates(prompts).double() - truth
        drift[kappa, name] = off.square().mean(1).sqrt()

# %% mystnb={"figure": {"caption": "Root mean square distance of the stacked layers' prediction from least squares in double precision, in single and in double precision, for the smallest and the largest condition number (d = 5, N = 20; 1000 prompts of one seed; two layers a step).", "name": "fig-newton-rounding"}, "image": {"alt": "Four curves against 2 to 50 layers, two for each condition number. In both precisions they fall together; single precision stops near 2e-7 from 30 layers on for condition number 1 and from 38 on for 10, double precision near 1e-15. From there all of them are flat up to 50 layers."}}
_, ((ax,),) = plots.panels()
dashes = {"float32": "--", "float64": "-"}
for (kappa, name), off in drift.items():
    way = plots.nth(kappas.index(kappa), ls=dashes[name], markersize=4)
    label = rf"{name}, $\kappa$ = {kappa}"
    ax.plot(2 * k + 2, off, label=label, **way)
ax.set(xlabel="layers", ylabel="distance from least squares (rms)", yscale="log")
plots.legend(ax)

# %% [markdown]
# The error does not add up. In single precision the curves follow those in double precision down to some $10^{-7}$ and stay
# there to the last layer. Newton's iteration corrects itself: $I - S J_{k+1} = (I - S J_k)^2$ holds for any matrix $J_k$, also for
# one with rounding errors in it, and so each step squares what the steps before have left. Only its own rounding remains.

# %%
for (_, name), off in drift.items():
    if name == "float32":
        told("some $10^{-7}$", -7, off[-1].log10())

# %% [markdown]
# ## Claims
#
# The paper's statement is exact, so only rounding may separate the layers from the iteration. The first four claims hold our
# layers and iterations against theorems. They are checks of proofs, and no experiments whose result was open.

# %%
claim(
    "newton-construction-exact",
    "Two layers of linear attention do one step of Newton's iteration for an inverse",
    "2403.03183, abstract",
    against="the theorem, which is exact",
    measured=f"relative difference at most {max(gaps.values()):.0e} over {steps} steps",
    holds=tolerances.exact(gaps.values()),
)

# %% [markdown]
# The same goes for one layer a step. The published statement is about transformers as its authors define them.

# %%
claim(
    "newton-construction-single",
    "k steps fit in k + O(1) layers",
    "2310.17086, abstract",
    against="k + O(1) layers",
    measured=f"k + {single.n_layer - steps}, relative difference {one_gap:.0e}",
    holds=tolerances.exact(one_gap),
)

# %% [markdown]
# We have measured the order of convergence above. With order $m$ each residual is the $m$-th power of the one before, up to
# rounding.

# %%
rest = []
for (_, order), norm in norms.items():
    rest.append(norm[1:] - norm[:-1] ** order)
ranges = [f"{min(found):.6f} to {max(found):.6f}" for found in orders.values()]
claim(
    "newton-construction-order",
    "Newton's iteration converges quadratically, its variant of order 3 cubically",
    "Schulz 1933, section on convergence",
    against="orders of exactly 2 and 3",
    measured=" and ".join(ranges),
    holds=tolerances.exact(torch.cat(rest)),
)

# %% [markdown]
# The count of steps must be the formula's number, rounded up, where $\kappa$ is large enough for the approximation.

# %%
large = [v for kappa, v in excess.items() if kappa >= 10]
claim(
    "newton-construction-steps",
    "Steps to a residual below 1e-6, for condition numbers from 10 to 1000",
    "Pan and Schreiber 1991, section on the number of steps",
    against="2 log2(kappa) + 3.8, rounded up, for large kappa",
    measured=f"{min(large):.2f} to {max(large):.2f} more than the formula",
    holds=tolerances.every(*(0 <= v < 1 for v in large)),
)

# %% [markdown]
# The last claim is ours. The weights are fixed, so it is about the mean over all test prompts. For each $\kappa$ it compares the
# fewest layers of Newton's iteration that reach $10^{-6}$ with the deepest gradient descent, of the depths tried, that
# does not reach it.

# %%
two, steep = [], []
for curves in measured.values():
    two.append(fewest(curves["Newton, two layers a step"], 1e-6))
    layers, errors = curves["gradient descent"]
    short = layers[errors.mean(0) > 1e-6]
    steep.append(max([0, *short.tolist()]))
reached = "–" not in two
claim(
    "newton-construction-depth",
    "Layers for an error of 1e-6: Newton's two layers a step against gradient descent",
    against="gradient descent on the same prompts",
    measured=f"{two} reach it, {steep} do not",
    holds=tolerances.every(reached and all(map(int.__lt__, two, steep))),
)

# %% [markdown]
# ## References
#
# - A. Giannou, L. Yang, T. Wang, D. Papailiopoulos, J. D. Lee. *How well can transformers emulate in-context Newton's
#   method?* 2024. [arXiv:2403.03183](https://arxiv.org/abs/2403.03183)
# - D. Fu, T. Chen, R. Jia, V. Sharan. *Transformers learn to achieve second-order convergence rates for in-context linear
#   regression.* 2023. [arXiv:2310.17086](https://arxiv.org/abs/2310.17086)
# - G. Schulz. *Iterative Berechnung der reziproken Matrix.* Zeitschrift für Angewandte Mathematik und Mechanik 13, 1933.
# - V. Pan, R. Schreiber. *An improved Newton iteration for the generalized inverse of a matrix, with applications.* SIAM
#   Journal on Scientific and Statistical Computing 12, 1991.
#
# ## Exercises
#
# **Exercise 1.** Prove that $I - S J_k = (I - \beta S)^{2^k}$ for $J_0 = \beta I$, and conclude that $k$ steps are $2^k$
# steps of gradient descent, whose residual after $t$ steps is $(I - \beta S)^t$. Then make the layers do
# it: leave out the first and set the tokens' $J$ to $\beta e$.

# %% tags=["hide-cell"]
rows = []
for count in range(min(6, steps) + 1):
    model = NewtonTransformer(d, count, 1.0)
    Z = model.tokens(few)
    blocks = model.blocks(Z)
    blocks["J"][:] = beta * blocks["e"]
    for W, V in model.layers()[1:]:
        Z = linear_attention(Z, W, V)
    descent = GradientDescent(2**count, beta).predict(few)
    ours = model.blocks(Z)["y"][:, -1, 0]
    gap = relative_gap(ours, descent)
    expect(gap < 1e-12)
    row = {"layers": 2 * count + 1, "steps of descent": 2**count}
    rows.append(row | {"relative difference": gap})
tables.table(rows, "Newton's layers from βI, beside gradient descent.", digits=1)

# %% [markdown]
# **Exercise 2.** With fewer examples than dimensions $S$ has no inverse. What do the layers predict? And what becomes of
# $J_k$ when the iteration goes on for long?

# %% tags=["hide-cell"]
under = LinearRegression(max(1, d // 2), d)
g = torch.Generator().manual_seed(9)
lacking = under.sample(200, g, "tokens", F64)
limit = LeastSquares().predict(lacking)  # of minimum norm
alpha = float(eigenvalues(lacking).max()) ** -2
rows = []
S = lacking.gram().S.movedim(-1, 0)
inverse = torch.linalg.pinv(S, rtol=1e-10, hermitian=True)
for count in (20, 40, 60):
    answers = NewtonTransformer(d, count, alpha).predict(lacking)
    wrong = relative_gap(answers, limit)
    J = NewtonIteration(count, alpha=alpha).inverses(S)[-1]
    error = (J - inverse).norm(dim=(1, 2))
    drifted = error / inverse.norm(dim=(1, 2))
    rows.append({"steps": count, "answers": wrong, "J": drifted.median()})
expect(wrong < 1e-9)
caption = "Relative distances: of the answers, and of J from the pseudoinverse."
tables.table(rows, caption, digits=1)

# %% [markdown]
# The layers predict what the least squares solution of minimum norm predicts. The error of $J_k$ doubles in each step in the
# directions in which $S$ is zero. The answers do not suffer, since $s$ has no part in these directions.
