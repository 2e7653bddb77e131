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

# %%

# %% [markdown]
# # How training gets there
#
# > **In short.** From small weights one layer of linear attention with separate keys and queries learns one eigenvalue
# > $\lambda_m$ of the covariance after the other. The loss goes down a staircase whose steps are known exactly,
# > $\lambda_m / (1 + (1 + \operatorname{tr} \Sigma / \lambda_m) / N)$ each. With key and query merged there is one drop,
# > and Adam takes the stairs in a run. *About 8 seconds; at the scale of the paper's code.*
#
# **Question.** Page after page of this book asks what a trained transformer is. How does it become that?
#
# **What the paper says.** Zhang et al. ([2025](https://arxiv.org/abs/2501.16265)) follow gradient flow for one layer.
# Merged key and query: two fixed points, one abrupt drop. Separate: $2^d$ fixed points, and the loss passes from one to
# the next, plateau by plateau. We follow the same flow without chance, set it beside training on prompts, and then
# look where the paper stops: at Adam, and at two and three layers. You need [the page on theory](07_theory.ipynb).

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import itertools

import numpy as np
import torch
from scipy.integrate import quad, solve_ivp
from scipy.signal import find_peaks

from lintf import LinearRegression, TrainConfig, fit
from lintf.analysis.dynamics import flow, layers_flow, moments, population_loss
from lintf.models.heads import Heads
from lintf.pages import parameters, plots, tables, tolerances, widgets
from lintf.pages.claims import claim, expect, told
from lintf.training.measured import measured

# %% [markdown]
# ## Parameters
#
# Eigenvalues, examples and heads are the defaults of the paper's code, and so are the sizes of the first weights. Other
# values are integrated, and trained, when you run the page: a few minutes on two CPU cores.

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
d_wide = 8  # dimension for keys and queries of several ranks; eigenvalues 8 : 7 : ... : 1
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
task = LinearRegression(N=N, d=d, Sigma=np.diag(eigenvalues).tolist())
heads = Heads(d=d, n_head=n_head, rank=1, init_std=init_std)

# %% [markdown]
# ## A loss without chance
#
# One layer answers $\tfrac1N s^\top M x$ with $s = \sum_i y_i x_i$. On the pages before, $-M = Q^\top$ was learned as it is.
# Here heads make it, each with a value weight $v_h$, and with keys and queries that are merged in one matrix or apart:
#
# $$
# M = \sum_h v_h\, U_h \quad \text{(merged)}, \qquad M = \sum_h v_h\, k_h^\top q_h \quad \text{(separate)} .
# $$ (eq-dynamics-heads)
#
# Here $k_h$ and $q_h$ have as many rows as their rank says. In the paper every token goes into the sums, divided by $N$; the
# query adds $0$ to $s$, since its label is $0$, so that its prompts and ours say the same. The other entries of its matrices stay
# 0 from small weights. For $x \sim \mathcal N(0, \Sigma)$ and $w \sim \mathcal N(0, I)$,
#
# $$
# \begin{aligned}
# \text{loss} &= \operatorname{tr} \Sigma - 2 \operatorname{tr}(\Sigma M \Sigma) + \operatorname{tr}(K M \Sigma M^\top), \\
# K &= (1 + \tfrac1N)\, \Sigma^2 + \tfrac1N \operatorname{tr}(\Sigma)\, \Sigma .
# \end{aligned}
# $$ (eq-dynamics-loss)
#
# It is a polynomial in the weights. We check it on 200,000 prompts, for a matrix without any symmetry:

# %%
Sigma, K = moments(task)
g = torch.Generator().manual_seed(0)
odd = torch.randn(d, d, generator=g, dtype=torch.float64)
gram = task.sample(200_000, g, dtype=torch.float64)
errors = ((gram.s * (odd @ gram.x)).sum(0) / N - gram.y).square()
exact = float(population_loss(odd, task))
off_by = float((errors.mean() - exact) / errors.std() * len(errors) ** 0.5)
print(f"exact {exact:.4f}, on prompts {errors.mean():.4f}: {off_by:+.1f} standard errors")

# %% [markdown]
# ## Where the flow can rest
#
# In the eigenbasis of $\Sigma$, let $M$ be diagonal. The slope of {eq}`eq-dynamics-loss` at entry $m$ is zero at
# $\lambda_m / K_m$, and for the *weights* it is also zero where all weights of that direction are 0. So each
# eigenvalue is either learned or not. What remains of the loss if the first $m$ are learned is
#
# $$
# L_m = \operatorname{tr} \Sigma - \sum_{i \le m} \frac{\lambda_i}{1 + (1 + \operatorname{tr} \Sigma / \lambda_i) / N} .
# $$ (eq-dynamics-heights)


# %% tags=["show"]
def heights_of(lam, n):
    """The loss with none, one, two, ..., all eigenvalues learned."""
    lam = np.array(lam)
    learned = lam / (1 + (1 + lam.sum() / lam) / n)
    return lam.sum() - np.append(0.0, learned.cumsum())


heights = heights_of(eigenvalues, N)
print("heights:", heights.round(3))

# %% [markdown]
# Are all $2^d$ subsets fixed points of the heads, with these losses? We build each with rank-one heads, $v = a$ and
# $k = q = a\, e_m$ with $a^3 = \lambda_m / K_m$, and let automatic differentiation answer.

# %%
target = (Sigma.diagonal() / K.diagonal()).numpy()
subsets, slopes, gaps = list(itertools.product((0, 1), repeat=d)), [], []
for subset in subsets:
    a = torch.from_numpy((target * subset) ** (1 / 3))
    built = {"v": a, "k": torch.diag(a)[:, None], "q": torch.diag(a)[:, None]}
    built = {name: p.clone().requires_grad_() for name, p in built.items()}
    loss = population_loss(Heads(d=d, n_head=d).matrix(built), task)
    slopes += torch.autograd.grad(loss, list(built.values()))
    gains = -np.diff(heights) @ subset
    gaps.append(loss.item() - heights[0] + gains)
steepest = max(float(slope.abs().max()) for slope in slopes)
print(f"{len(subsets)} points: largest slope {steepest:.0e}, loss off by {max(gaps):.0e}")

# %% [markdown]
# ## Merged: one drop
#
# All heads begin with weights of size $10^{-6}$. Near zero the slope of $U_h$ is $2 v_h \Sigma^2$, whatever the others do,
# so they all grow towards $\Sigma^2$, together. For round covariates, $\Sigma = \lambda I$, nothing turns afterwards
# either. Then $M = \sigma I / \sqrt d$ with
#
# $$
# \dot \sigma = 4\, \sigma\, (\lambda^2 \sqrt d - K \lambda\, \sigma)
# $$ (eq-dynamics-logistic)
#
# where $K$ is the one eigenvalue of the matrix $K$: the logistic equation. We integrate the full flow, with all heads, for both laws.

# %%
round_task = LinearRegression(N=N, d=d, Sigma=(np.eye(d) / d).tolist())
merged_heads = Heads(d=d, n_head=n_merged, rank=None, init_std=init_merged)
laws, span = {"round": round_task, "stretched": task}, {"first": 1.0}
span |= {"last": float(stop_merged), "keep": ["times", "loss", "M"]}
merged = {
    name: measured(flow, model=merged_heads, task=law, seed=0, **span) for name, law in laws.items()
}

# %% [markdown]
# Where does the logistic curve begin? Once the heads are aligned, $\sigma$ grows at the rate $4 \lambda^2 \sqrt d$, so we take
# it where it is one millionth of its end, long before anything can be seen in the loss.

# %%
lam, K_round = 1 / d, float(moments(round_task)[1][0, 0])
top, rate = lam * np.sqrt(d) / K_round, 4 * lam**2 * np.sqrt(d)
sigma = merged["round"]["M"].diagonal(dim1=1, dim2=2).sum(1).numpy() / np.sqrt(d)
times = merged["round"]["times"].numpy()
begin = int((sigma < 1e-6 * top).sum())
ahead = (top / sigma[begin] - 1) * np.exp(-rate * (times - times[begin]))
logistic = top / (1 + ahead)
off = np.abs(sigma - logistic)[begin:].max() / top
print(f"sigma and the logistic curve differ by at most {off:.1e} of its end")

# %% mystnb={"figure": {"caption": "Population loss along gradient flow from weights of size 1e-6, key and query merged, eight heads (d = 4, N = 31; one seed). Dotted: the logistic curve for round covariates. Dashed: heights of the fixed points of the stretched ones, none of which it stops at but the last.", "name": "fig-dynamics-merged"}, "image": {"alt": "Two curves over time from 0 to 150. Both stay at 1 and then fall abruptly: the stretched one near time 70, quickly to 0.3 and then in a long bend to 0.14, the round one near time 105 in one step to 0.14, exactly along the dotted curve. Five dashed levels; the curves cross those between without stopping."}}
_, ((ax,),) = plots.panels(height=3.2)
for name, found in merged.items():
    ax.plot(found["times"], found["loss"], label=f"{name} covariates")
scaled = logistic[:, None, None] / np.sqrt(d) * np.eye(d)
curve = population_loss(torch.from_numpy(scaled), round_task)
ax.plot(times[begin:], curve[begin:], "k:", label="logistic")
for height in heights:
    ax.axhline(height, color="0.6", ls="--", lw=0.8)
ax.set(xlim=(0, 0.4 * stop_merged), xlabel="time", ylabel="population loss")
plots.shared_legend(ax, ncols=3)

# %% [markdown]
# There is one drop. For stretched covariates it is fast for large eigenvalues and slow for small ones, but no level in between
# holds it.
#
# ## Separate: a staircase
#
# Now keys and queries of rank one. Near zero the slope of each of the three weights of a head is the product of the two
# others. This is far slower, and it is a competition: who is ahead gets ahead faster.

# %%
law = {"model": heads, "task": task, "first": stop / 1000, "last": float(stop)}
stairs = [measured(flow, seed=s, **law) for s in seeds]

# %% mystnb={"figure": {"caption": "Population loss along gradient flow from weights of size 0.01, five heads of separate keys and queries of rank one (d = 4, N = 31; three seeds, time on a logarithmic axis). Dashed: the exact heights {eq}`eq-dynamics-heights`.", "name": "fig-dynamics-stairs"}, "image": {"alt": "Three staircases over time from 100 to 20,000 on a logarithmic axis. All go from 1 down to 0.136 in four abrupt drops and rest in between on the dashed levels 0.641, 0.377 and 0.210, for times that differ from seed to seed."}}
_, ((ax,),) = plots.panels(height=3.2)
for s, found in zip(seeds, stairs, strict=True):
    ax.plot(found["times"], found["loss"], label=f"seed {s}")
for height in heights:
    ax.axhline(height, color="0.6", ls="--", lw=0.8)
ax.set(xscale="log", xlim=(100, stop), xlabel="time", ylabel="population loss")
plots.shared_legend(ax, ncols=3)

# %% [markdown]
# The loss on a plateau is where it moves least. We read it there: between two drops, at the smallest slope in the logarithm
# of time.


# %%
def drops(found, levels):
    """When the loss has done half of each drop (len(levels) - 1,); nan if never."""
    loss, t = found["loss"].numpy(), found["times"].numpy()
    halves = (levels[:-1] + levels[1:]) / 2
    return np.array([np.interp(-h, -loss, t) if loss[-1] < h else np.nan for h in halves])


def rests(found, levels):
    """The places in time where the loss moves least, before, between, after the drops."""
    t, slope = found["times"].numpy(), np.abs(np.gradient(found["loss"].numpy()))
    edges, places = [-1.0, *drops(found, levels), np.inf], []
    for a, b in itertools.pairwise(edges):
        places.append(int(np.where((a < t) & (t < b), slope, np.inf).argmin()))
    return places


# %%
halves = np.array([drops(found, heights) for found in stairs])
places = [rests(found, heights) for found in stairs]
rested = np.array([f["loss"][at].numpy() for f, at in zip(stairs, places, strict=True)])
rows = [{"learned": m, "exact height": heights[m]} for m in range(d + 1)]
for row, losses in zip(rows, rested.T, strict=True):
    row |= {f"seed {s}": loss for s, loss in zip(seeds, losses, strict=True)}
tables.table(rows, "Loss where the flow moves least, after each drop.", 4)

# %% [markdown]
# And what has been learned there? The matrix $M$ on each plateau of one seed, in the eigenbasis of $\Sigma$, where the
# theory says: the entries $\lambda_m / K_m$ of the first few, and zeros.

# %% mystnb={"figure": {"caption": "The matrix M on the plateaus of {numref}`fig-dynamics-stairs`, after one, two, three and four drops (d = 4, N = 31; the first of three seeds).", "name": "fig-dynamics-matrices"}, "image": {"alt": "Four heatmaps of four by four numbers. The first has 2.25 in its upper left corner and zeros elsewhere. Each next one has one more number on the diagonal: 2.93, 4.20, and 7.39."}}
_, axes = plots.panels(2, 2, width=2.5, height=2.6)
for m, ax in enumerate(axes.flat[:d], 1):
    plots.heatmap(ax, stairs[0]["M"][places[0][m]], f"after {m} drops", reach=2.0)

# %% [markdown]
# The layer does principal component regression, with one more component after each drop. Stopped early it ignores the small
# eigenvalues.
#
# ## How long the plateaus last
#
# A head that lies on an eigenvector, $v = a$ and $k = q = a\, e_m$, stays there, and nobody else comes near. The flow is then
# one equation for each head,
#
# $$
# \dot a = 2 a^2 \lambda_m\, (\lambda_m - K_m a^3) ,
# $$ (eq-dynamics-scalar)
#
# and from a small $a(0)$ it takes the time $1 / (2 \lambda_m^2\, a(0))$ until anything is seen: a quarter of the
# eigenvalue, sixteen times the wait.


# %%
def wait(m, start, lam, n):
    """When a head that begins at a = start has done half of the drop of eigenvalue m."""
    K_m = (1 + 1 / n) * lam[m] ** 2 + sum(lam) / n * lam[m]
    half = ((1 - 0.5**0.5) * lam[m] / K_m) ** (1 / 3)  # the loss is a parabola in a^3
    return quad(lambda a: 0.5 / (a**2 * lam[m] * (lam[m] - K_m * a**3)), start, half, limit=200)[0]


# %% [markdown]
# From random weights a head first has to turn into its eigenvector, and the three weights differ. Then
# {eq}`eq-dynamics-scalar` becomes three equations for $v$, $k_m$ and $q_m$ whose right sides are the products of the other two.
# We look at the heads when one drop is half done, solve these for each head that is still free, and predict from the fastest
# when the *next* drop is half done.


# %%
def ahead_of(found, m, now, taken):
    """When drop m should be half done, and by which head, from the weights at `now`."""
    weights = [found["v"][now], found["k"][now, :, 0, m], found["q"][now, :, 0, m]]
    half, arrivals = (1 - 0.5**0.5) * target[m], {}

    def slope(_, z):
        downhill = 2 * float(Sigma[m, m] ** 2 - (K @ Sigma)[m, m] * z.prod())
        return downhill * np.array([z[1] * z[2], z[0] * z[2], z[0] * z[1]])

    def done(_, z):
        return z.prod() - half

    done.terminal = True
    for h in set(range(n_head)) - taken:
        z = np.array([float(w[h]) for w in weights])
        one = solve_ivp(slope, (0, 3 * stop), z, "LSODA", events=done, rtol=1e-8)
        arrivals[h] = one.t_events[0][0] if len(one.t_events[0]) else np.inf
    first = min(arrivals, key=arrivals.get)
    return float(found["times"][now]) + arrivals[first], first


# %% [markdown]
# Heads that have done their drop are out of the race. The first drop is predicted from the weights at the start.

# %%
predicted = np.zeros_like(halves)
for found, times_of, row in zip(stairs, halves, predicted, strict=True):
    taken, now = set(), 0
    for m in range(d):
        row[m], head = ahead_of(found, m, now, taken)
        taken.add(head)
        now = int(np.searchsorted(found["times"], times_of[m]))
rows = [
    {
        "seed": seeds[i],
        "drop": m + 1,
        "found": halves[i, m],
        "predicted": predicted[i, m],
    }
    for i, m in np.ndindex(halves.shape)
]
wrong = np.abs(predicted / halves - 1)
told("half of them to one percent", 0.01, np.median(wrong))
told("the worst by 15 percent", 0.15, wrong.max())
tables.table(rows, "Time at which half of a drop is done.", 4)

# %% [markdown]
# Chance decides the times: how near to an eigenvector the free heads happen to begin. They are foreseen one drop ahead,
# half of them to one percent, the worst by 15 percent: that plateau is so short that the next head has not turned
# into its eigenvector when we look.
#
# ## Try it
#
# For heads that begin on eigenvectors the whole staircase is known. In a running notebook, sliders set the number of
# examples, the ratio of neighbouring eigenvalues and the size of the first weights.


# %%
def staircase(n, ratio, start):
    """The loss over time for heads that begin on the eigenvectors."""
    lam = ratio ** np.arange(4)
    lam, (_, ((ax,),)) = lam / lam.sum(), plots.panels(height=3.2)
    t, levels = np.geomspace(10, 1e6, 400), heights_of(lam, n)
    loss = np.full(len(t), levels[0])
    for m, gain in enumerate(-np.diff(levels)):
        K_m = (1 + 1 / n) * lam[m] ** 2 + lam[m] / n
        a = np.geomspace(start, (1 - 1e-9) ** (1 / 3) * (lam[m] / K_m) ** (1 / 3), 2000)
        pace = 0.5 / (a**2 * lam[m] * (lam[m] - K_m * a**3))
        spent = np.append(0.0, np.cumsum(np.diff(a) * (pace[1:] + pace[:-1]) / 2))
        done = np.interp(t, spent, a**3 * K_m / lam[m])
        loss -= gain * (2 * done - done**2)
    ax.plot(t, loss)
    for level in levels:
        ax.axhline(level, color="0.6", ls="--", lw=0.8)
    ax.set(xscale="log", xlabel="time", ylabel="population loss", ylim=(0, 1.05))
    ax.set_title("heights " + ", ".join(f"{level:.3f}" for level in levels))


# %% mystnb={"figure": {"caption": "The staircase of {eq}`eq-dynamics-scalar` for rank-one heads that begin on the eigenvectors at 0.01 (d = 4, N = 31, neighbouring eigenvalues in the ratio 0.6; computed exactly). Dashed: the heights {eq}`eq-dynamics-heights`. With a running kernel, sliders set N, the ratio and the size of the first weights.", "name": "fig-dynamics-play"}, "image": {"alt": "A staircase over time from 10 to a million on a logarithmic axis, with four equal-looking abrupt drops at about 200, 600, 1700 and 5000, and rests on the dashed levels in between."}}
widgets.Controls(
    staircase,
    n=widgets.slider("examples N", [2, 4, 8, 16, 31, 64, 128, 1000], 31),
    ratio=widgets.slider("ratio", [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], 0.6),
    start=widgets.slider("first weights", [0.003, 0.01, 0.03, 0.1, 0.3], 0.01),
)

# %% [markdown]
# Smaller first weights move the stairs to the right and leave their shape. With the ratio 1 there is one drop. With weights of
# 0.3 the stairs are hardly to be seen: plateaus are a matter of small beginnings.
#
# ## In between: rank and number of heads
#
# What if keys and queries have rank two, or four? Then a head can take two eigenvalues, or four, before the next head is
# needed. Eight dimensions now.

# %%
lam_wide = np.arange(d_wide, 0, -1) / (d_wide * (d_wide + 1) / 2)
levels_wide = heights_of(lam_wide, N)
wide_task = LinearRegression(N=N, d=d_wide, Sigma=np.diag(lam_wide).tolist())
wide_flows = {}
for rank in ranks:
    model = Heads(d=d_wide, n_head=n_wide, rank=rank, init_std=init_wide)
    law = {"task": wide_task, "seed": 0, "first": 10.0, "last": float(stop_wide)}
    law |= {"keep": ["times", "loss"]}
    wide_flows[rank] = measured(flow, model=model, **law)

# %% mystnb={"figure": {"caption": "Population loss along gradient flow, nine heads whose keys and queries have rank 1, 2, 4 or 8 (d = 8, N = 31, eigenvalues as 8 to 1; one seed, time on a logarithmic axis). Dashed: the heights for 0 to 8 learned eigenvalues.", "name": "fig-dynamics-ranks"}, "image": {"alt": "Four falling curves on a logarithmic time axis with nine dashed levels. Rank 1 takes step after step. Rank 2 rests on every second level, rank 4 on the middle one, and rank 8 falls to the last level almost at once."}}
_, ((ax,),) = plots.panels(height=3.4)
for rank, found in wide_flows.items():
    ax.plot(found["times"], found["loss"], label=f"rank {rank}")
for height in levels_wide:
    ax.axhline(height, color="0.6", ls="--", lw=0.8)
ax.set(xscale="log", xlim=(100, stop_wide), xlabel="time", ylabel="population loss")
plots.shared_legend(ax, ncols=4)

# %% [markdown]
# A head of rank $R$ turns its $R$ rows into the $R$ largest eigenvalues that are left, so that the loss rests where $R$ divides
# the number of learned ones. And with fewer heads than dimensions the staircase ends early: somebody has to take the last
# eigenvalue.

# %%
few = {}
for n in range(1, d):
    model = Heads(d=d, n_head=n, rank=1, init_std=10 * init_std)
    law = {"task": task, "seed": 0, "first": 1.0, "last": float(stop), "points": 20}
    few[n] = float(measured(flow, model=model, **law)["loss"][-1])
    print(f"{n} heads: loss {few[n]:.4f} at the end, exact height {heights[n]:.4f}")

# %% [markdown]
# ## On prompts
#
# The flow sees the population. Does a training on prompts, new ones at every step, climb down the same stairs? We train the
# same heads from the same first weights, by plain SGD, where a step of rate 1/2 is half a unit of time. And by Adam, whose
# steps do not shrink with the slope.

# %%
common = {"B": B, "first_steps": 1, "dtype": "float64"}
sgd = {"alg": "sgd", "momentum": 0.0, "lr": 0.5, "max_iters": max_iters}
adam = {"alg": "adam", "betas": (0.9, 0.99), "lr": 1e-3, "max_iters": adam_steps}
recipes = {
    name: TrainConfig(**how, **common, record_every=max(1, how["max_iters"] // 200))
    for name, how in {"SGD": sgd, "Adam": adam}.items()
}
runs = {name: fit(heads, task, how, seeds, device=device) for name, how in recipes.items()}
on_prompts = {n: population_loss(heads.matrix(r.params), task) for n, r in runs.items()}

# %% mystnb={"figure": {"caption": "Population loss of heads trained on prompts (1000 new ones at each step), from the first weights of {numref}`fig-dynamics-stairs` (d = 4, N = 31; three seeds). Left: SGD, solid, and gradient flow, dotted, over time, which is half the number of steps. Right: Adam over steps. Dashed: the exact heights.", "name": "fig-dynamics-prompts"}, "image": {"alt": "Two panels. Left three solid staircases lie near three dotted ones up to the second drop and later leave them, earlier or later, always with rests on the dashed levels. Right three curves fall from 1 to 0.136 within 1500 steps, with bends near the levels but no rests."}}
_, (axes,) = plots.panels(1, 2, width=2.6, height=3.0, sharey=True)
for s, colour in zip(seeds, plots.PALETTE, strict=False):
    i = seeds.index(s)
    axes[0].plot(runs["SGD"].steps / 2, on_prompts["SGD"][i], color=colour)
    axes[0].plot(stairs[i]["times"], stairs[i]["loss"], ":", color=colour)
    axes[1].plot(runs["Adam"].steps, on_prompts["Adam"][i], color=colour, label=f"seed {s}")
for ax in axes:
    for height in heights:
        ax.axhline(height, color="0.6", ls="--", lw=0.8)
axes[0].set(xlabel="time", ylabel="population loss", title="SGD", xlim=(0, max_iters / 2))
axes[1].set(xlabel="step", title="Adam")
plots.shared_legend(axes[1], ncols=3)

# %% [markdown]
# SGD stays on the dotted curves for thousands of steps. On a plateau the slopes are products of small weights, and so is
# their noise: nothing shakes the training off. Adam's steps have one size whatever the slopes are. All heads grow at
# once, and nobody waits. How much of its way does a training spend within two percent of an inner height?

# %%
near, inner = {}, torch.from_numpy(heights[1:-1])
for name, loss in on_prompts.items():
    close = (loss[..., None] / inner - 1).abs().min(-1).values < tolerances.SCATTER
    near[name] = close.double().mean(1).numpy()
rows = [
    {"training": name} | {f"seed {s}": share for s, share in zip(seeds, near[name], strict=True)}
    for name in near
]
tables.table(rows, "Share of the way near an inner height.", 2)

# %% [markdown]
# ## Two and three layers
#
# Now layers on round prompts, $x, w \sim \mathcal N(0, I)$ with $d = 5$ and $N = 20$, as on [page 1](01_simple_demo.ipynb). All matrices
# are multiples of the identity and stay so: $Q_\ell = -u_\ell I$, $P_\ell = p_\ell I$, and a value weight $v_\ell$
# for the labels. On the other pages of this book $v_\ell = 1$, and only $Q_\ell$ and $P_\ell$ are learned. As in {eq}`eq-multiples`,
#
# $$
# r \leftarrow r\, (1 - v_\ell u_\ell\, t), \qquad t \leftarrow t\, (1 - p_\ell u_\ell\, t)^2 ,
# $$ (eq-dynamics-layers)
#
# so that the population loss is an integral over the density of the eigenvalues $t$, and its gradient flow has no chance in it.

# %%
deep = {}
for L, values in itertools.product(n_layers, (True, False)):
    start = {"start": 1e-4, "first": 0.01, "last": 1e4}
    deep[L, values] = measured(layers_flow, n_layer=L, N=20, d=5, values=values, **start)

# %% mystnb={"figure": {"caption": "Population loss of one to three layers of multiples of the identity along gradient flow from weights of size 0.0001 (d = 5, N = 20; computed exactly; both axes logarithmic). Solid: value weights are learned, too. Dashed: they are 1, as on the other pages.", "name": "fig-dynamics-deep"}, "image": {"alt": "Six curves on logarithmic axes. The dashed ones fall from the start. The solid ones stay at 5 until time 0.6 and drop together. One layer stops at 1.15, two near 0.1, and three come down to about 0.001 in further bends; the solid curve of three layers rests near 0.012 before its last drop."}}
_, ((ax,),) = plots.panels(height=3.4)
for (L, values), found in deep.items():
    name = f"{L} layers, values learned" if values else f"{L} layers, values 1"
    dash, colour = "-" if values else "--", plots.PALETTE[n_layers.index(L)]
    ax.plot(found["times"][1:], found["loss"][1:], dash, color=colour, label=name)
ax.set(xscale="log", yscale="log", xlabel="time", ylabel="population loss")
plots.shared_legend(ax)

# %% [markdown]
# A plateau needs a product of weights, as in {eq}`eq-dynamics-heads`. Where $v_\ell = 1$ there is none, and the loss falls at once. Where
# values are learned all layers leave the first plateau together: depth alone adds no stairs for the first drop.
# But three layers with values rest a second time. What do they wait for?

# %%
rows = []
for L, values in [key for key in deep if key[0] > 1]:
    p, loss = deep[L, values]["p"][:, :-1], float(deep[L, values]["loss"][-1])
    row = {"layers": L, "values": "learned" if values else "1"}
    row |= {"lowest p": float(p.min()), "p at the end": float(p[-1].min())}
    rows.append(row | {"loss at the end": loss})
tables.table(rows, "The matrices P along the flow, the smallest of all layers but the last.")

# %% [markdown]
# In all of them $P$ is first *negative*. It makes the covariates longer, so that equal layers take larger steps, before the
# steps differ from layer to layer. Then it has to come back through zero, to shrink what is large already. The second rest of
# three layers is that: the loss hardly moves while the $P$ of their second layer passes through zero.
#
# ## Claims
#
# First the fixed points. That they are ones is a theorem; slopes and losses must be right to rounding.

# %%
paper, code = "2501.16265", "yedizhang/linattn-icl"
claim(
    "dynamics-fixed-points",
    f"Every one of the {len(subsets)} subsets of eigenvalues is a fixed point",
    f"{paper}, abstract",
    against="a slope of zero, and the height in closed form",
    measured=f"slope {steepest:.0e}, loss off by {max(gaps):.0e}",
    holds=tolerances.exact([steepest, *gaps]),
)

# %% [markdown]
# The code of the paper computes the heights, for these eigenvalues and this $N$ by default, and draws them into its
# figures. The flow with random first weights must rest there, with each seed, to two percent.

# %%
theirs = np.array([1, 0.641, 0.377, 0.210, 0.136])[: d + 1]
claim(
    "dynamics-heights",
    "Heads of rank one rest at these heights, with every seed",
    f"{code}, plot_loss.ipynb",
    published="loss on the plateaus: 1, 0.641, 0.377, 0.210, 0.136 [squared error]",
    measured=", ".join(f"{loss:.3f}" for loss in rested.mean(0)),
    holds=tolerances.trained((rested / theirs - 1).ravel()),
)

# %% [markdown]
# How many drops? We count the times at which the loss falls fastest in the logarithm of time: each hundredth of the largest
# speed is a drop of its own, if the speed is lower on both sides.


# %%
def speeds(found):
    """How many drops a curve has."""
    speed = -np.gradient(found["loss"].numpy())
    return len(find_peaks(speed, prominence=0.01 * speed.max())[0])


counts = {name: speeds(found) for name, found in merged.items()}
claim(
    "dynamics-merged",
    "With key and query merged the loss has a single, abrupt drop",
    f"{paper}, abstract",
    published="a single, abrupt drop",
    measured=", ".join(f"{n} for {name} covariates" for name, n in counts.items()),
    holds=tolerances.every([n == 1 for n in counts.values()]),
)

# %% [markdown]
# The same for separate keys and queries:

# %%
each = [speeds(found) for found in stairs]
claim(
    "dynamics-separate",
    "Separate, it goes from saddle to saddle, one eigenvalue at a time",
    f"{paper}, abstract",
    published="saddle-to-saddle dynamics, principal components increasing over time",
    measured=f"{', '.join(map(str, each))} drops for {d} eigenvalues",
    holds=tolerances.every([n == d for n in each]),
)

# %% [markdown]
# The time course for round covariates, beside the logistic equation from one millionth on:

# %%
claim(
    "dynamics-logistic",
    "Merged, round covariates: the flow is the logistic curve",
    f"{paper}, abstract",
    against="the logistic equation",
    measured=f"largest difference {off:.0e} of the end",
    holds=tolerances.trained(off),
)

# %% [markdown]
# What stands on no page of the paper that we know in this form: the first rest of heads of higher rank, and the last one of too
# few heads.

# %%
firsts = {}
for rank in [r for r in ranks if r < d_wide]:
    found = wide_flows[rank]
    place = rests(found, levels_wide)[rank]
    firsts[rank] = float(found["loss"][place]) / levels_wide[rank] - 1
claim(
    "dynamics-ranks",
    "Heads of rank R first rest where R eigenvalues are learned",
    against="the exact heights",
    measured=", ".join(f"R = {r}: off by {gap:.1%}" for r, gap in firsts.items()),
    holds=tolerances.trained(firsts.values()),
)

# %%
ends = np.array(list(few.values())) / heights[1:d] - 1
claim(
    "dynamics-few",
    "With fewer heads than dimensions the flow ends at the height of so many",
    against="the exact heights",
    measured=f"off by at most {np.abs(ends).max():.1e}",
    holds=tolerances.trained(ends),
)

# %% [markdown]
# On prompts, every seed must spend more of its way near the heights with SGD than any seed with Adam.

# %%
claim(
    "dynamics-adam",
    "SGD on prompts keeps the plateaus, Adam does not",
    against="the share of the way near an inner height, SGD beside Adam",
    measured=f"at least {near['SGD'].min():.0%}, and at most {near['Adam'].max():.0%}",
    holds=tolerances.every(near["SGD"].min() > near["Adam"]),
)

# %%
signs = [(row["lowest p"] < 0, row["p at the end"] > 0) for row in rows]
claim(
    "dynamics-sign",
    "In deeper flows P is first negative, and positive at the end",
    against="the sign of P",
    measured=", ".join(f"{row['lowest p']:.2f} to {row['p at the end']:.2f}" for row in rows),
    holds=tolerances.every(signs),
)

# %% [markdown]
# All published heights once more, with their scale and what ours took:

# %%
took = f"{max_iters} steps of SGD"
rows = [
    {"scale": f"d = {d}, N = {N}", "learned": m, "published": theirs[m]}
    | {"flow": rested[:, m].mean(), "exact": heights[m]}
    for m in range(len(theirs))
]
for m, level in enumerate(levels_wide):
    at = rests(wide_flows[ranks[0]], levels_wide)[m]
    row = {"scale": f"d = {d_wide}, N = {N}", "learned": m, "published": np.nan}
    rows.append(row | {"flow": float(wide_flows[ranks[0]]["loss"][at]), "exact": level})
tables.table(rows, "Heights of the plateaus (squared error); flows take seconds.")

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
# lam / (1 + 0) = lam: what is left is the sum of the eigenvalues not yet learned.
left = sum(eigenvalues) - np.append(0.0, np.cumsum(eigenvalues))
print("N = a billion:", heights_of(eigenvalues, 10**9).round(6), "expected:", left)
expect(np.allclose(heights_of(eigenvalues, 10**9), left, atol=1e-6))

# %% [markdown]
# **Exercise 2.** How does the wait change if the first weights are ten times smaller, for separate and for merged heads?

# %% tags=["hide-cell"]
# Separate: the time is 1 / (2 lam^2 a), ten times longer. Merged: growth is exponential,
# and M begins 100 times smaller, so the wait is longer by log(100) / rate, once.
longer = wait(0, 1e-3, eigenvalues, N) / wait(0, 1e-2, eigenvalues, N)
print(f"separate: {longer:.2f} times; merged: {np.log(100) / rate:.0f} more")
expect(9 < longer < 11)
