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
# # How training gets there
#
# > **In short.** From small weights, one layer of linear attention with separate keys and queries learns one eigenvalue of
# > the covariance after another. With four eigenvalues its loss rests at 0.641, 0.377 and 0.210 before it ends at 0.136, as
# > the exact formula says. SGD on prompts spends between 43 and 93 percent of its time near these heights, Adam at most 3
# > percent. With key and query merged there is one drop. *About 15 seconds; at the scale of the paper's code.*
#
# **Question.** Page after page of this book asks what a trained transformer is. How does it become that?
#
# **What the paper says.** Zhang et al. ([2025](https://arxiv.org/abs/2501.16265)) follow gradient flow for one layer. If
# key and query are merged, it has two fixed points, and the loss one abrupt drop between them. If they are separate, there
# are $2^d$ fixed points, and the loss passes from one to the next, plateau by plateau.
#
# Of this paper the page covers what concerns linear attention that learns in context. Softmax attention, and learning in
# weights beside learning in context, are left out. We follow the same flow without any randomness, set it beside
# training on prompts, and then look where the paper stops: at Adam, and at two and three layers. You need
# [page 7, theory](07_theory.ipynb).

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
from itertools import product

import numpy as np
import torch
from lintf import LinearRegression, TrainConfig, fit
from lintf.analysis import plateaus
from lintf.analysis.dynamics import flow, layers_flow, population_loss
from lintf.models.heads import Heads
from lintf.pages import parameters, play, plots, tables, tolerances, widgets
from lintf.pages.claims import claim, expect, told
from lintf.training.measured import measured

# %% [markdown]
# ## Parameters
#
# Eigenvalues, examples and heads are the defaults of the paper's code, and so are the sizes of the first weights. What
# these values give is stored. With others the page integrates and trains anew, a few minutes on two CPU cores.

# %% tags=["parameters"]
N = 31  # examples in a prompt
eigenvalues = [0.4, 0.3, 0.2, 0.1]  # of the covariance of x, falling
n_head = 5  # heads with separate key and query of rank one
init_std = 0.01  # of their first weights
stop = 20_000  # when we stop following them, in units of time of gradient flow
seeds = [0, 1, 2]  # first weights
n_merged = 8  # heads with merged key and query
init_merged = 1e-6  # standard deviation of their first weights
stop_merged = 400  # when we stop following those
d_wide = 8  # dimension for keys of higher rank; eigenvalues as 8 : 7 : ... : 1
ranks = [1, 2, 4, 8]  # of keys and queries there
n_wide = 9  # heads there
init_wide = 0.005  # of their first weights
stop_wide = 40_000  # when we stop following those
n_layers = [1, 2, 3]  # depths of the deeper flows, at most 4
max_iters = 8000  # steps of SGD on prompts, each 1/2 of a unit of time
adam_steps = 3000  # steps of Adam on prompts
B = 1000  # prompts in a batch, new ones at every step
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters(
    "eigenvalues == sorted(eigenvalues, reverse=True)",
    "max(n_layers) <= 4",
    "len(eigenvalues) <= 4",
)
plots.style()
d = len(eigenvalues)


def law_of(lam):
    """Prompts of covariates with these variances."""
    return LinearRegression(N=N, d=len(lam), Sigma=np.diag(lam).tolist())


task = law_of(eigenvalues)
heads = Heads(d=d, n_head=n_head, rank=1, init_std=init_std)

# %% [markdown]
# ## A loss without chance
#
# One layer answers $\tfrac1N s^\top M x$ with $s = \sum_i y_i x_i$. On the pages before, $-M = Q^\top$ was learned as it
# is. Here heads make it. Each has a value weight $v_h$, and its key and query are either merged in one matrix or separate:
#
# $$
# M = \sum_h v_h\, U_h \quad \text{(merged)}, \qquad M = \sum_h v_h\, k_h^\top q_h \quad \text{(separate)} .
# $$ (eq-dynamics-heads)
#
# Here $k_h$ and $q_h$ have as many rows as their rank says. In the paper the sums run over all tokens and are divided by
# $N$. The query adds $0$ to $s$, since its label is $0$, so that its prompts and ours say the same. The other entries of the
# paper's matrices stay 0 in a training from small weights. For $x \sim \mathcal N(0, \Sigma)$ and $w \sim \mathcal N(0, I)$,
#
# $$
# \begin{aligned}
# \text{loss} &= \operatorname{tr} \Sigma - 2 \operatorname{tr}(\Sigma M \Sigma) + \operatorname{tr}(K M \Sigma M^\top), \\
# K &= (1 + \tfrac1N)\, \Sigma^2 + \tfrac1N \operatorname{tr}(\Sigma)\, \Sigma .
# \end{aligned}
# $$ (eq-dynamics-loss)
#
# It is a polynomial in the weights. So its gradient is known exactly, and *gradient flow*, the limit of gradient descent for
# small steps, can be followed with an ODE solver. A test of the package compares the formula with
# 200,000 prompts.
#
# ## Where the flow can rest
#
# In the eigenbasis of $\Sigma$, let $M$ be diagonal. The slope of {eq}`eq-dynamics-loss` at entry $m$ is zero where this entry
# is $\lambda_m / K_m$, with $\lambda_m$ and $K_m$ the eigenvalues of $\Sigma$ and $K$. But what moves is the *weights*, and
# their slopes are also zero where all weights of that direction are 0. So each eigenvalue is either learned or not. What
# remains of the loss if the first $m$ are learned is
#
# $$
# L_m = \operatorname{tr} \Sigma - \sum_{i \le m} \frac{\lambda_i}{1 + (1 + \operatorname{tr} \Sigma / \lambda_i) / N} .
# $$ (eq-dynamics-heights)
#
# Are all $2^d$ subsets fixed points of the heads, with these losses? We build each with heads of rank one, $v = a$ and
# $k = q = a\, e_m$ with $a^3 = \lambda_m / K_m$ for what is learned and $a = 0$ for the rest. Automatic differentiation
# says how steep the loss is there.

# %% tags=["show"]
heights = plateaus.heights(eigenvalues, N)
slopes, gaps = [], []
for learned in product((0, 1), repeat=d):
    loss, slope = plateaus.loss_and_slope(task, learned)
    expected = heights[0] + np.diff(heights) @ learned
    slopes.append(slope)
    gaps.append(loss - expected)
print(f"{len(gaps)} points: slope {max(slopes):.0e}, off by {max(map(abs, gaps)):.0e}")

# %% [markdown]
# They are, to rounding.
#
# ## Merged: one drop
#
# All heads begin with weights of size $10^{-6}$. Near zero the slope of $U_h$ is $2 v_h \Sigma^2$, whatever the other heads do.
# So all of them grow towards multiples of $\Sigma^2$, and every direction is learned at once. For round covariates,
# $\Sigma = \lambda I$, the direction of $M$ does not change afterwards either. Then $M = \sigma I / \sqrt d$ with
#
# $$
# \dot \sigma = 4\, \sigma\, (\lambda^2 \sqrt d - K \lambda\, \sigma)
# $$ (eq-dynamics-logistic)
#
# where $K$ is the one eigenvalue of the matrix $K$. This is the logistic equation. We integrate the full flow, with all heads,
# for round and for stretched covariates.

# %%
laws = {"round": law_of(np.ones(d) / d), "stretched": task}
merged_heads = Heads(d=d, n_head=n_merged, rank=None, init_std=init_merged)
span = {"first": 1.0, "last": float(stop_merged), "keep": ["times", "loss", "M"]}
merged = {}
for name, law in laws.items():
    flowed = measured(flow, model=merged_heads, task=law, seed=0, **span)
    merged[f"{name} covariates"] = flowed
logistic = plateaus.logistic(merged["round covariates"], laws["round"])

# %% [markdown]
# Where does the logistic curve begin? Once the heads are aligned, $\sigma$ grows at the rate $4 \lambda^2 \sqrt d$. So we
# start the curve where $\sigma$ is one millionth of its end, long before anything can be seen in the loss.


# %%
def draw_flows(flows, levels, **labels):
    """Curves of the loss by name, and dashed lines at the exact heights."""
    _, ((ax,),) = plots.panels(height=3.2)
    for name, found in flows.items():
        way = plots.look("best", linewidth=3) if name == "logistic" else {}
        ax.plot(found["times"], found["loss"], label=name, **way)
    with_heights(ax, levels, **labels)
    plots.shared_legend(ax, ncols=4)


def with_heights(ax, levels, **labels):
    """Dashed lines at the exact heights, and what the axes are."""
    for level in levels:
        ax.axhline(level, color=plots.QUIET, ls="--", lw=0.8)
    ax.set(**{"xlabel": "time", "ylabel": "population loss"} | labels)


# %% mystnb={"figure": {"caption": "Population loss along gradient flow from weights of size 1e-6, key and query merged, eight heads (d = 4, N = 31; one seed). Dotted: the logistic curve, which lies on the curve of round covariates. Thin dashed lines: heights of the fixed points of the stretched ones, none of which it stops at but the last.", "name": "fig-dynamics-merged"}, "image": {"alt": "Two curves over time from 0 to 100. Both stay at 1 and then fall abruptly: the stretched one near time 35, quickly to 0.25 and then in a long bend to 0.14, the round one near time 55 in one step to 0.14, exactly along the dotted curve. Five dashed levels; the curves cross those between without stopping."}}
curves = merged | {"logistic": logistic}
draw_flows(curves, heights, xlim=(0, 0.25 * stop_merged))

# %% [markdown]
# There is one drop. For stretched covariates it is fast for large eigenvalues and slow for small ones, but no level in between
# holds it.
#
# ## Separate: a staircase
#
# Now keys and queries of rank one. Near zero the slope of each of the three weights of a head is the product of the two
# others. This is far slower, and it is a competition: which head is ahead gets ahead faster.

# %%
law = {
    "model": heads,
    "task": task,
    "first": stop / 1000,
    "last": float(stop),
}
stairs = [measured(flow, seed=s, **law) for s in seeds]

# %% mystnb={"figure": {"caption": "Population loss along gradient flow from weights of size 0.01, five heads of separate keys and queries of rank one (d = 4, N = 31; three seeds, time on a logarithmic axis). Thin dashed lines: the exact heights {eq}`eq-dynamics-heights`.", "name": "fig-dynamics-stairs"}, "image": {"alt": "Three staircases over time from 100 to 20,000 on a logarithmic axis. All go from 1 down to 0.136 in four abrupt drops and rest in between on the dashed levels 0.641, 0.377 and 0.210, for times that differ from seed to seed."}}
curves = {f"seed {s}": found for s, found in zip(seeds, stairs, strict=True)}
draw_flows(curves, heights, xscale="log", xlim=(100, stop))

# %% [markdown]
# The loss on a plateau is where it moves least. We read it there: between two drops, at the smallest slope in the logarithm
# of time.

# %%
halves = np.array([plateaus.half_times(found, heights) for found in stairs])
places = [plateaus.rests(found, heights) for found in stairs]
rested = [f["loss"][at].numpy() for f, at in zip(stairs, places, strict=True)]
rows = []
for m, losses in enumerate(zip(*rested, strict=True)):
    of_seeds = {f"seed {s}": loss for s, loss in zip(seeds, losses, strict=True)}
    rows.append({"eigenvalues learned": m, "exact height": heights[m], **of_seeds})
tables.table(rows, "Loss where the flow moves least, after each drop.", 4)

# %% [markdown]
# Every seed rests at every height. And what has been learned there? This is the matrix $M$ on each plateau of one seed. In
# the eigenbasis of $\Sigma$ it should have the entries $\lambda_m / K_m$ of the first few directions, and zeros.

# %% mystnb={"figure": {"caption": "The matrix M on the plateaus of {numref}`fig-dynamics-stairs`, after one, two, three and four drops (d = 4, N = 31; the first of three seeds).", "name": "fig-dynamics-matrices"}, "image": {"alt": "Four heatmaps of four by four numbers. The first has 2.22 in its upper left corner, 0.27 and 0.32 beside it, and zeros elsewhere. The others are diagonal: 2.25 and 2.92, then 4.19 as well, then 7.38 as well."}}
_, axes = plots.panels(2, 2, width=2.5, height=2.6)
for m, ax in enumerate(axes.flat[:d], 1):
    plots.heatmap(ax, stairs[0]["M"][places[0][m]], f"after {m} drops", reach=2.0)

# %% [markdown]
# The layer does principal component regression, with one more component after each drop. Stopped early, it ignores the small
# eigenvalues. (The first plateau of this seed is so short that its head has not quite turned into the first eigenvector when the
# next drop begins.)
#
# ## How long the plateaus last
#
# A head that lies on an eigenvector, $v = a$ and $k = q = a\, e_m$, stays on it. If no other head comes near, the flow
# is one equation for each head,
#
# $$
# \dot a = 2 a^2 \lambda_m\, (\lambda_m - K_m a^3) ,
# $$ (eq-dynamics-scalar)
#
# and from a small $a(0)$ it takes the time $1 / (2 \lambda_m^2\, a(0))$ until anything is seen. For a quarter of the
# eigenvalue the wait is sixteen times as long.
#
# From random weights a head first has to turn into its eigenvector, and its three weights differ. Then
# {eq}`eq-dynamics-scalar` becomes three equations for $v$, $k_m$ and $q_m$, whose right sides contain the products of the other
# two. We look at the heads when one drop is half done, and solve these equations for each head that has not done a drop yet.
# The fastest one says when the *next* drop should be half done. The first drop is predicted from the weights at the start.

# %%
predicted = np.array([plateaus.foretold(found, task) for found in stairs])
wrong = np.abs(predicted / halves - 1)
told("half of them to one percent", 0.01, np.median(wrong))
told("the worst to 15 percent", 0.15, wrong.max())
rows = [
    {"seed": seeds[i], "drop": m + 1, "found": half, "predicted": predicted[i, m]}
    for (i, m), half in np.ndenumerate(halves)
]
tables.table(rows, "Time at which half of a drop is done.", 4)

# %% [markdown]
# Chance decides the times: how near to an eigenvector the free heads happen to begin. But they can be foretold one drop ahead,
# half of them to one percent, the worst to 15 percent. The worst is a plateau so short that the next head has not turned
# into its eigenvector yet when we look.
#
# ## Try it
#
# For heads that begin on eigenvectors the whole staircase is known: {eq}`eq-dynamics-scalar` can be integrated, and says
# when a head has which size.


# %%
stairs_times = np.geomspace(10, 1e6, 400)


def climbing_stairs(n, ratio, start):
    """The loss over time, its levels, and when the first and the last drop are half done."""
    lam = ratio ** np.arange(4)
    lam /= lam.sum()
    found = {"loss": plateaus.staircase(lam, n, start, stairs_times)}
    for m, level in enumerate(plateaus.heights(lam, n)):
        found[f"height {m}"] = level
    first, *_, last = plateaus.half_climbed(lam, n, start)
    return found | {"first": first, "last": last}


# %% [markdown]
# A drop is half done where the loss has come halfway from one height to the next. For a head that has grown to the share $z$
# of its end, this is where $2 z^3 - z^6 = \tfrac12$. In the picture the heights are horizontal lines.

# %%
climb = {"xlabel": "time", "xscale": "log", "xlim": (10, 1e6)}
climb |= {"ylabel": "population loss", "ylim": (0, 1.05)}
climb["curves"] = [{"name": "heads on eigenvectors", "x": "times", "y": "loss"}]
climb["curves"][0]["look"] = "trained"
climb["marks"] = [{"at": f"height {m}", "across": True} for m in range(5)]


# %% mystnb={"figure": {"caption": "The staircase of {eq}`eq-dynamics-scalar` for rank-one heads that begin on the eigenvectors at 0.01 (d = 4, N = 31, neighbouring eigenvalues in the ratio 0.6; computed exactly). Dotted: the heights {eq}`eq-dynamics-heights`. Sliders set N, the ratio and the size of the first weights.", "name": "fig-dynamics-play"}, "image": {"alt": "A staircase over time from 10 to a million on a logarithmic axis, with four equal-looking abrupt drops at about 200, 600, 1700 and 5000, and rests on the dotted levels in between."}}
play.Figure(
    "staircase",
    climbing_stairs,
    {"times": stairs_times},
    [climb],
    title=[("first drop half done at", "first"), ("last at", "last")],
    run="start",
    n=widgets.slider("examples N", [2, 4, 8, 16, 31, 64, 128, 1000], 31),
    ratio=widgets.slider("ratio", [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], 0.6),
    start=widgets.slider("first weights", [0.003, 0.01, 0.03, 0.1, 0.3], 0.01),
)

# %% [markdown]
# Smaller first weights move the stairs to the right and leave their shape. With the ratio 1 there is one drop. With weights of
# 0.3 the stairs can hardly be seen: plateaus are a matter of small beginnings.
#
# ## In between: rank and number of heads
#
# What if keys and queries have rank two, or four? Then a head can take two eigenvalues, or four, before the next head is
# needed. We look at eight dimensions.

# %%
lam_wide = np.arange(d_wide, 0, -1) / (d_wide * (d_wide + 1) / 2)
levels_wide = plateaus.heights(lam_wide, N)
law = {"task": law_of(lam_wide), "first": 10.0, "last": float(stop_wide)}
wide_flows = {}
for rank in ranks:
    model = Heads(d=d_wide, n_head=n_wide, rank=rank, init_std=init_wide)
    found = measured(flow, model=model, seed=0, keep=["times", "loss"], **law)
    wide_flows[f"rank {rank}"] = found

# %% mystnb={"figure": {"caption": "Population loss along gradient flow, nine heads whose keys and queries have rank 1, 2, 4 or 8 (d = 8, N = 31, eigenvalues as 8 to 1; one seed, time on a logarithmic axis). Thin dashed lines: the heights for 0 to 8 learned eigenvalues.", "name": "fig-dynamics-ranks"}, "image": {"alt": "Four falling curves on a logarithmic time axis with nine dashed levels. Rank 1 takes step after step. Rank 2 rests on every second level, rank 4 on the middle one, and rank 8 falls to the last level almost at once."}}
draw_flows(wide_flows, levels_wide, xscale="log", xlim=(100, stop_wide))

# %% [markdown]
# A head of rank $R$ turns its $R$ rows into the $R$ largest eigenvalues that are left. So the loss rests where $R$ divides
# the number of learned eigenvalues. With fewer heads than dimensions, on the other hand, the staircase should end early, since
# no head is left for the last eigenvalues. We follow flows in four
# dimensions with one, two and three heads; the claim below says where they end.

# %%
law = {"task": task, "seed": 0, "first": 1.0, "last": float(stop), "points": 20}
few = {}
for n in range(1, d):
    model = Heads(d=d, n_head=n, rank=1, init_std=10 * init_std)
    few[n] = float(measured(flow, model=model, **law)["loss"][-1])

# %% [markdown]
# ## On prompts
#
# The flow sees the population. Does a training on prompts, new ones at every step, climb down the same stairs? We train the
# same heads from the same first weights by plain SGD, where a step of rate 1/2 is half a unit of time. Then we train them by
# Adam, whose steps do not shrink with the slope.

# %% tags=["show"]
sgd = {"alg": "sgd", "momentum": 0.0, "lr": 0.5, "max_iters": max_iters}
adam = {"alg": "adam", "betas": (0.9, 0.99), "lr": 1e-3, "max_iters": adam_steps}
runs, on_prompts = {}, {}
for name, how in {"SGD": sgd, "Adam": adam}.items():
    every = max(1, how["max_iters"] // 200)
    how |= {"B": B, "first_steps": 1, "dtype": "float64", "record_every": every}
    runs[name] = fit(heads, task, TrainConfig(**how), seeds, device=device)
    M = heads.matrix(runs[name].params)
    on_prompts[name] = population_loss(M, task)

# %% mystnb={"figure": {"caption": "Population loss of heads trained on prompts (1000 new ones at each step), from the first weights of {numref}`fig-dynamics-stairs` (d = 4, N = 31; three seeds). Left: SGD, solid, and gradient flow, dotted, over time, which is half the number of steps. Right: Adam over steps. Thin dashed lines: the exact heights.", "name": "fig-dynamics-prompts"}, "image": {"alt": "Two panels. Left three solid staircases lie near three dotted ones up to the second drop and later leave them, earlier or later, always with rests on the dashed levels. Right three curves fall from 1 to 0.136 within 2000 steps, with bends near the levels but no rests."}}
_, ((left, right),) = plots.panels(1, 2, width=2.5, height=3.0, sharey=True)
for i, s in enumerate(seeds):
    own = {"color": f"C{i}", "label": f"seed {s}"}
    left.plot(stairs[i]["times"], stairs[i]["loss"], ls=":", color=f"C{i}")
    left.plot(runs["SGD"].steps / 2, on_prompts["SGD"][i], ls="-", **own)
    right.plot(runs["Adam"].steps, on_prompts["Adam"][i], ls="-", **own)
with_heights(left, heights, title="SGD", xlim=(0, max_iters / 2))
with_heights(right, heights, title="Adam", xlabel="step", ylabel="")
plots.shared_legend(right, ncols=3)

# %% [markdown]
# SGD stays near the dotted curves for thousands of steps. On a plateau the slopes are products of small weights, and so is
# their noise: nothing shakes the training off. Adam's steps have one size whatever the slopes are. All heads grow at
# once, and none waits for another. How much of its time does a training spend within two percent of an inner height?

# %%
near, inner = {}, torch.from_numpy(heights[1:-1])
for name, loss in on_prompts.items():
    gap = (loss[..., None] / inner - 1).abs().min(-1).values
    near[name] = (gap < tolerances.SCATTER).double().mean(1).numpy()
told("between 43 and 93 percent", 43, 100 * near["SGD"].min())
told("between 43 and 93 percent", 93, 100 * near["SGD"].max())
told("at most 3 percent", 3, 100 * near["Adam"].max())
rows = [
    {"training": name}
    | {f"seed {s}": v for s, v in zip(seeds, near[name], strict=True)}
    for name in near
]
tables.table(rows, "Share of the steps near an inner height.", 2)

# %% [markdown]
# ## Two and three layers
#
# Now layers on round prompts, $x, w \sim \mathcal N(0, I)$ with $d = 5$ and $N = 20$, as on
# [page 1, a simple demonstration](01_simple_demo.ipynb). All matrices are multiples of the identity and stay so:
# $Q_\ell = -u_\ell I$, $P_\ell = p_\ell I$, and a value weight $v_\ell$ for the labels. On the other pages of this book
# $v_\ell = 1$, and only $Q_\ell$ and $P_\ell$ are learned. As in {eq}`eq-multiples`,
#
# $$
# r \leftarrow r\, (1 - v_\ell u_\ell\, t), \qquad t \leftarrow t\, (1 - p_\ell u_\ell\, t)^2 ,
# $$ (eq-dynamics-layers)
#
# so that the population loss is an integral over the density of the eigenvalues $t$, and its gradient flow is again exact.

# %%
law = {"N": 20, "d": 5, "start": 1e-4, "first": 0.01, "last": 1e4}
deep = {}
for L, values in product(n_layers, (True, False)):
    deep[L, values] = measured(layers_flow, n_layer=L, values=values, **law)

# %% mystnb={"figure": {"caption": "Population loss of one to three layers of multiples of the identity along gradient flow from weights of size 0.0001 (d = 5, 20 examples; computed exactly; both axes logarithmic). Solid: value weights are learned, too. Dashed: they are 1, as on the other pages.", "name": "fig-dynamics-deep"}, "image": {"alt": "Six curves on logarithmic axes. The dashed ones fall from the start. The solid ones stay at 5 until time 0.6 and drop together. One layer stops at 1.15, two near 0.1, and three come down to about 0.001 in further bends; the solid curve of three layers rests near 0.012 before its last drop."}}
_, ((ax,),) = plots.panels(height=3.4)
for (L, values), found in deep.items():
    name = f"{L} layer{'s'[: L - 1]}, values {'learned' if values else '1'}"
    way = {"ls": "-" if values else "--", "color": f"C{n_layers.index(L)}"}
    ax.plot(found["times"][1:], found["loss"][1:], label=name, **way)
ax.set(xscale="log", yscale="log", xlabel="time", ylabel="population loss")
plots.shared_legend(ax)

# %% [markdown]
# A plateau needs a product of weights, as in {eq}`eq-dynamics-heads`. Where $v_\ell = 1$ the label of a layer is multiplied
# by $u_\ell$ alone, and the loss falls at once. Where values are learned, all depths leave the first plateau together: depth
# alone adds no stairs for the first drop. But three layers with values rest a second time. What do they wait for?

# %%
rows = []
for (L, values), found in deep.items():
    p = found["p"][:, :-1]  # the last layer needs none
    if L > 1:
        ends = {"lowest p": float(p.min()), "p at the end": float(p[-1].min())}
        rows.append({"layers": L, "values": "learned" if values else "1"} | ends)
tables.table(rows, "P along the flow, the smallest of all layers but the last.")

# %% [markdown]
# In all of them $P$ is first *negative*. It makes the covariates longer, so that equal layers take larger steps, before the
# steps differ from layer to layer. Then it has to come back through zero, to shrink what is large already. The second rest of
# three layers is that: the loss hardly moves while the $P$ of their second layer passes through zero.
#
# ## Claims
#
# First the fixed points. That they are fixed points is a theorem, so slopes and losses must be right to rounding.

# %%
paper, code = "2501.16265", "yedizhang/linattn-icl"
claim(
    "dynamics-fixed-points",
    f"Every one of the {len(gaps)} subsets of eigenvalues is a fixed point",
    f"{paper}, abstract",
    against="a slope of zero, and the height in closed form",
    measured=f"slope {max(slopes):.0e}, loss off by {max(map(abs, gaps)):.0e}",
    holds=tolerances.exact(slopes + gaps),
)

# %% [markdown]
# The code of the paper computes the heights, for these eigenvalues and this $N$ by default, and draws them into its
# figures. The flow from random first weights must rest there, with each seed, to two percent.

# %%
theirs = np.array([1, 0.641, 0.377, 0.210, 0.136])[: d + 1]
mean = np.mean(rested, axis=0)
told("0.641, 0.377 and 0.210", 0.641, mean[min(1, d)])
told("0.641, 0.377 and 0.210", 0.377, mean[min(2, d)])
told("0.641, 0.377 and 0.210", 0.21, mean[min(3, d)])
told("ends at 0.136", 0.136, mean[-1])
claim(
    "dynamics-heights",
    "Heads of rank one rest at these heights, with every seed",
    f"{code}, plot_loss.ipynb",
    published="loss on the plateaus: 1, 0.641, 0.377, 0.210, 0.136 [squared error]",
    measured=", ".join(f"{loss:.3f}" for loss in mean),
    holds=tolerances.trained((rested / theirs - 1).ravel()),
)

# %% [markdown]
# How many drops are there? We count the times at which the loss falls fastest in the logarithm of time. A maximum of the
# speed counts if it stands out from its surroundings by a hundredth of the largest speed.

# %%
counts = {name: plateaus.count_drops(found["loss"]) for name, found in merged.items()}
claim(
    "dynamics-merged",
    "With key and query merged the loss has a single, abrupt drop",
    f"{paper}, abstract",
    published="a single, abrupt drop",
    measured=", ".join(f"{n} for {name}" for name, n in counts.items()),
    holds=tolerances.every([n == 1 for n in counts.values()]),
)

# %% [markdown]
# The same for separate keys and queries:

# %%
each = [plateaus.count_drops(found["loss"]) for found in stairs]
claim(
    "dynamics-separate",
    "Separate, it goes from saddle to saddle, one eigenvalue at a time",
    f"{paper}, abstract",
    published="saddle-to-saddle dynamics, principal components increasing over time",
    measured=f"{', '.join(map(str, each))} drops for {d} eigenvalues",
    holds=tolerances.every([n == d for n in each]),
)

# %% [markdown]
# The time course for round covariates stands beside the logistic equation, from one millionth on:

# %%
claim(
    "dynamics-logistic",
    "Merged, round covariates: the flow is the logistic curve",
    f"{paper}, abstract",
    against="the logistic equation",
    measured=f"largest difference {logistic['off'].abs().max():.0e} of the end",
    holds=tolerances.trained(logistic["off"]),
)

# %% [markdown]
# The next two are our own: the first rest of heads of higher rank, and the last one of too few heads.

# %%
firsts = {}
for rank in [r for r in ranks if r < d_wide]:
    found = wide_flows[f"rank {rank}"]
    place = plateaus.rests(found, levels_wide)[rank]
    firsts[rank] = float(found["loss"][place]) / levels_wide[rank] - 1
claim(
    "dynamics-ranks",
    "Heads of rank R first rest where R eigenvalues are learned",
    against="the exact heights",
    measured=", ".join(f"R = {r}: off by {abs(v):.0e}" for r, v in firsts.items()),
    holds=tolerances.trained(firsts.values()),
)

# %%
ends = np.array(list(few.values())) / heights[1:d] - 1
claim(
    "dynamics-few",
    "With fewer heads than dimensions the flow ends at the height of so many",
    against="the exact heights",
    measured=f"off by at most {np.abs(ends).max():.0e}",
    holds=tolerances.trained(ends),
)

# %% [markdown]
# On prompts, every seed must spend more of its time near the heights with SGD than any seed with Adam. And in the deeper
# flows $P$ must change its sign.

# %%
claim(
    "dynamics-adam",
    "SGD on prompts keeps the plateaus, Adam does not",
    against="the share of the steps near an inner height, SGD beside Adam",
    measured=f"at least {near['SGD'].min():.0%}, and at most {near['Adam'].max():.0%}",
    holds=tolerances.every(near["SGD"].min() > near["Adam"]),
)

# %%
moves = [(row["lowest p"], row["p at the end"]) for row in rows]
claim(
    "dynamics-sign",
    "In deeper flows P is first negative, and positive at the end",
    against="the sign of P",
    measured=", ".join(f"{low:.2f} to {last:.2f}" for low, last in moves),
    holds=tolerances.every([low < 0 < last for low, last in moves]),
)

# %% [markdown]
# ## References
#
# - Y. Zhang, A. K. Singh, P. E. Latham, A. M. Saxe. *Training Dynamics of In-Context Learning in Linear Attention.* ICML
#   2025. [arXiv:2501.16265](https://arxiv.org/abs/2501.16265)
#
# ## Exercises
#
# **Exercise 1.** What are the heights for very long prompts? Guess from {eq}`eq-dynamics-heights`, then check.

# %% tags=["hide-cell"]
very_long = plateaus.heights(eigenvalues, 10**9)
unlearned = sum(eigenvalues) - np.append(0.0, np.cumsum(eigenvalues))
print("N = a billion:", very_long.round(6), "expected:", unlearned.round(6))
expect(np.allclose(very_long, unlearned, atol=1e-6))

# %% [markdown]
# Without the term in $1/N$, $L_m$ is the sum of the eigenvalues that are not learned yet. All of them learned, nothing is
# left: a very long prompt says everything about $w$.
#
# **Exercise 2.** How does the wait change if the first weights are ten times smaller, for separate and for merged heads?

# %% tags=["hide-cell"]
times = np.geomspace(1, 1e6, 10_000)
waits = {}
for start in (1e-2, 1e-3):
    course = plateaus.staircase(eigenvalues, N, start, times)
    waits[start] = times[(course > 0.9 * course[0]).sum()]
print(f"separate heads: {waits[1e-3] / waits[1e-2]:.1f} times as long")
rate = 4 * d ** (-1.5)
print(f"merged heads: {np.log(100) / rate:.1f} longer")
expect(9 < waits[1e-3] / waits[1e-2] < 11)

# %% [markdown]
# For separate heads the wait is $1 / (2 \lambda_m^2\, a(0))$, which is ten times as long. Merged heads grow exponentially. There $M$
# begins a hundred times smaller, being a product of two weights, so that the wait is longer by $\log(100)$ divided by the
# rate, once and for all.
