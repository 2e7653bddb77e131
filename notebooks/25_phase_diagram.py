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
# # Who wins where
#
# **Question.** The other pages compare algorithms at one setting, mostly with 20 examples in five dimensions. Which one
# is best elsewhere, and by how much? And where does training fail to find what the layers could do?
#
# **What the papers say.** Ahn et al. ([2023](https://arxiv.org/abs/2306.00297)) train one to four layers on rotated
# covariates and hold them beside as many steps of gradient descent. The transformer is best, then preconditioned gradient descent,
# then gradient descent, in the one setting they show. For one layer they prove what is learned, for any setting; for
# more, that there are critical points of this kind, not that training finds them.
#
# Here the same comparison is made 216 times: one to four layers, 5 to 160 examples, 2 to 10 dimensions, well and badly
# conditioned covariates. You need the pages on [depth](05_variable_L.ipynb) and on [theory](07_theory.ipynb).

# %% tags=["remove-cell"]
# For Colab: fetches the project and installs what is missing. Does nothing where lintf is installed.
import importlib.util
import os
import subprocess
import sys

if importlib.util.find_spec("lintf") is None:
    folder = os.path.abspath(
        ".." if os.path.exists("../lintf/gram.py") else "lintf-book"
    )
    if not os.path.exists(folder):
        address = "https://github.com/OWNER/lintf"
        subprocess.run(
            ["git", "clone", "--quiet", "--depth", "1", address, folder], check=True
        )
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--editable", folder],
        check=True,
    )
    sys.path.insert(0, folder)
    os.chdir(f"{folder}/notebooks")

# %%
import heapq
import json
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from lintf import isotropic, pages, phase_runs, plots
from lintf.claims import claim
from lintf.prompts import LinearRegression
from lintf.rotation import rotated_task, rotation, whitened
from lintf.several import fit_each
from lintf.solvers import LeastSquares, best_gradient_descent, squared_error

# %% [markdown]
# ## Parameters
#
# Two networks for every setting, 432 in all. All are stored. Other values train when you run the page, one network after
# the other; the section on cost shows how to have many workers do it.

# %% tags=["parameters"]
n_layers = [1, 2, 3, 4]  # depths, at most 4: their optima are computed
Ns = [5, 10, 20, 40, 80, 160]  # examples in a prompt
ds = [2, 5, 10]  # dimensions of x
kappas = [1.0, 10.0, 100.0]  # condition numbers of Sigma, 1 first
B = 2000  # prompts in a batch, new ones at every step
max_iters = 10_000  # optimiser steps
lr = 0.03  # of Adam at the start; it falls to 0 along half a cosine
tune_prompts = 2000  # on which gradient descent finds its best step
test_prompts = 20_000  # the same for all methods
seeds = [0, 1]  # one network each
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
pages.check_parameters("max(n_layers) <= 4", "kappas[0] == 1")
plots.style()
settings = list(product(n_layers, Ns, ds, kappas))
plans = {
    (L, N, d, kappa): phase_runs.phase(L, N, d, kappa, lr, B, max_iters)
    for L, N, d, kappa in settings
}

# %% [markdown]
# ## One law, seen through a lens
#
# As in the paper, covariates are $x = U D\, g$ and weights $w = U D^{-1} g'$ with standard normal $g$ and $g'$ and a random
# rotation $U$. The squares of $D$, the eigenvalues of $\Sigma$, are a geometric series from $\kappa^{-1/2}$ to
# $\kappa^{1/2}$, so that $\kappa$ is the condition number.
#
# $U$ and $D$ are a lens. Whoever knows them sees isotropic prompts $(g, g')$, the same for every $\kappa$. A network that has
# learned $P_\ell$ and $Q_\ell$ is, behind the lens, the network with
#
# $$
# Q_\ell' = (U D)^\top Q_\ell\, (U D), \qquad P_\ell' = (U D)^{-1} P_\ell\, (U D),
# $$ (eq-phase-lens)
#
# so that all can be scored on the same isotropic prompts. Gradient descent with the preconditioner $\Sigma^{-1}$ is plain
# gradient descent there. Gradient descent without one, $w \leftarrow w + \eta X^\top (y - X w)$, becomes
# $w' \leftarrow w' + \eta\, D^2 X'^\top (y - X' w')$: it carries the wrong preconditioner $D^2$.


# %%
def isotropic_prompts(count, seed):
    """(N, d) -> so many prompts of the isotropic law, in float64."""
    generators = {key: torch.Generator().manual_seed(seed) for key in product(Ns, ds)}
    return {
        (N, d): LinearRegression(N, d).sample(count, g, dtype=torch.float64)
        for (N, d), g in generators.items()
    }


tune, test = isotropic_prompts(tune_prompts, 98), isotropic_prompts(test_prompts, 99)

# %% [markdown]
# ## The competitors
#
# Gradient descent gets as many steps as the network has layers, and the size that is best on the tuning prompts. With
# $\kappa = 1$ this is preconditioned gradient descent, at whatever $\kappa$ the prompts have.


# %%
def descent_loss(L, N, d, kappa):
    """Of L steps of the best size, behind the lens of kappa."""
    D2 = torch.tensor(phase_runs.scales(kappa, d), dtype=torch.float64).square().diag()
    best = best_gradient_descent(L, tune[N, d], D2)
    return float(squared_error(best, test[N, d]).mean())


plain = {key: descent_loss(*key) for key in settings}
preconditioned = {key: plain[(*key[:3], 1.0)] for key in settings}

# %% [markdown]
# The limit for a network of this kind is the best one among multiples of the identity, behind the lens. As on the page
# on depth, eigenvalues so large that not one is expected among the test prompts are left out. To find it is a search
# with many local optima, which takes seconds for each setting. So its results are kept in a file; the page goes
# downhill from there, and computes the loss itself.

# %%
rare = 1 / test_prompts
file = Path("../benchmarks/phase_diagram/optima.json")
found = pd.DataFrame(json.loads(file.read_text()) if file.exists() else [{"rare": 0}])
known = {
    (row.n_layer, row.N, row.d): (row.a, row.b)
    for row in found[found.rare == rare].itertuples()
}


def limit_loss(L, N, d):
    """The loss of the best L layers of multiples of the identity."""
    if (L, N, d) in known:
        return isotropic.local_optimum(*known[L, N, d], N, d, rare).loss
    return isotropic.optimum(L, N, d, rare).loss


limit = {key: limit_loss(*key) for key in product(n_layers, Ns, ds)}

# %% [markdown]
# ## Training
#
# A training that diverges is a result, too: its loss is infinite.

# %%
runs = fit_each(plans, seeds, device)


# %%
def lens_loss(run, seed, L, N, d, kappa):
    """Of a trained network on the isotropic prompts."""
    if run is None:
        return torch.inf
    UD = rotation(seed, phase_runs.scales(kappa, d))
    P, Q = (run.final[name].double() for name in "PQ")
    inside = {"P": torch.linalg.inv(UD) @ P @ UD, "Q": whitened(Q, UD[None])}
    return float(plans[L, N, d, kappa][0].loss(inside, test[N, d]))


trained = {
    key: torch.tensor(
        [lens_loss(r, s, *key) for r, s in zip(runs[key], seeds, strict=True)]
    )
    for key in settings
}

# %% [markdown]
# The 432 trainings do not depend on each other, so they need not wait for each other. One command spreads them over all
# cores, or over a cluster (see [how to run it](../book/run.md)), and what it finds lands in `runs/`, from where the cell
# above loads it:
#
# ```bash
# python -m lintf sweep lintf.phase_runs:phase -p d=10,5,2 -p n_layer=4,3,2,1 -p N=5:160:x2 -p kappa=1,10,100 -p seeds=0,1
# ```
#
# ## The losses
#
# All losses are divided by $d$, the loss of the answer 0. Each figure has a panel for every dimension (rows) and condition
# number (columns); in a panel, examples go to the right and layers up.


# %%
def phase_maps(values, label, **look):
    """A panel for each d and kappa: values (L, N, d, kappa) -> number as colours. Infinite ones are crossed out."""
    fig, axes = plots.panels(len(ds), len(kappas), 5 / len(kappas), 4.2 / len(ds))
    for ax, (d, kappa) in zip(axes.flat, product(ds, kappas), strict=True):
        rows = torch.tensor([[values[L, N, d, kappa] for N in Ns] for L in n_layers])
        image = ax.imshow(rows, origin="lower", aspect="auto", **look)
        ax.plot(*rows.isinf().nonzero().T.flip(0), "kx", markersize=5)
        ax.set_xticks(range(len(Ns)), Ns, fontsize=7)
        ax.set_yticks(range(len(n_layers)), n_layers, fontsize=7)
        ax.set_title(rf"$d = {d}$, $\kappa = {kappa:g}$", fontsize=8)
        ax.grid(False)
    for ax in axes[-1]:
        ax.set_xlabel("examples $N$", fontsize=8)
    for ax in axes[:, 0]:
        ax.set_ylabel("layers $L$", fontsize=8)
    bar = fig.colorbar(image, ax=axes, location="bottom", aspect=40, pad=0.02)
    bar.set_label(label, fontsize=8)


# %% mystnb={"figure": {"caption": "Loss of trained linear transformers, as the decimal logarithm of the mean squared error over d, against examples and layers, for three dimensions and three condition numbers (10,000 steps of Adam on 2000 new prompts each; the better of two seeds, 20,000 test prompts). Crosses: both seeds diverged.", "name": "fig-phase-loss"}, "image": {"alt": "Nine panels of coloured squares, TODO."}}
best = {key: float(losses.min()) for key, losses in trained.items()}
logs = {key: torch.tensor(v / key[2]).log10().item() for key, v in best.items()}
phase_maps(logs, "log loss of the network", cmap="viridis", vmin=-12, vmax=0)

# %% [markdown]
# TODO text 1
#
# ## Who wins
#
# A positive number says by what power of ten the trained network is ahead of the better of the two descents.

# %% mystnb={"figure": {"caption": "Who wins by how much: decimal logarithm of the loss of the better of gradient descent and preconditioned gradient descent, with as many steps as layers and the best step size, over the loss of the trained network (settings as before). Blue: the network wins; red: descent wins; crosses: the network diverged.", "name": "fig-phase-winner"}, "image": {"alt": "TODO TODO TODO TODO TODO TODO."}}
rival = {key: min(plain[key], preconditioned[key]) for key in settings}
lead = {key: torch.tensor(rival[key] / best[key]).log10().item() for key in settings}
lead = {key: v if best[key] < torch.inf else torch.inf for key, v in lead.items()}
label = "log of the rival's loss over the network's"
phase_maps(lead, label, cmap="RdBu", vmin=-8, vmax=8)

# %% [markdown]
# ## Where training fails
#
# TODO

# %% mystnb={"figure": {"caption": "Where training fails: decimal logarithm of the loss of the trained network over that of the best network of its form (settings as before). White: it is reached; crosses: the network diverged.", "name": "fig-phase-gap"}, "image": {"alt": "TODO TODO TODO TODO TODO TODO."}}
gap = {key: torch.tensor(best[key] / limit[key[:3]]).log10().item() for key in settings}
label = "log of the network's loss over the limit"
phase_maps(gap, label, cmap="Purples", vmin=0, vmax=6)

# %% [markdown]
# TODO gap text
#
# ## The cost of a sweep
#
# The command above writes a table with the time of every cell. This one is of a sixth of the sweep, the 72 cells with
# $\kappa = 10$ and one seed, on an otherwise idle machine with two workers of one thread each.

# %%
folder = Path("../benchmarks")
timed = pd.read_csv(folder / "phase_diagram/cells.csv")
work = timed.seconds.sum()
wall = (timed.begun + timed.seconds).max() - timed.begun.min()
workers = timed.worker.nunique()
print(f"{len(timed)} cells on {workers} workers: {wall:.0f} s, of it")
print(f"{work:.0f} s of work, {workers * wall / work - 1:.1%} more than shared evenly")
print(f"all {6 * len(timed)} cells: {6 * wall / 60:.0f} minutes")

# %% [markdown]
# What would a cluster make of it? A sweep is done when its last cell is. Every cell goes to the first worker that is free,
# and the scheduler needs a moment for each before it turns to the next; how long was measured with cells that bring a
# stored run and do nothing else (`benchmarks/scaling.py`). The starts of the workers are left out, and so is whatever a
# network adds. The larger sweep has a hundred times as many seeds.


# %%
def makespan(seconds, workers, moment):
    """When the last of the cells is done, the i-th of which is handed out after i moments."""
    free = [0.0] * workers
    for i, cell in enumerate(sorted(seconds, reverse=True)):
        heapq.heappush(free, max(heapq.heappop(free), i * moment) + cell)
    return max(free)


measured = json.loads((folder / "scaling.json").read_text())
moment = measured["dask"]["cells_with_a_run"][-1]["cpu_ms"] / 1000
print(f"the scheduler and the caller: {1000 * moment:.1f} ms a cell")
for times in (6, 600):
    cells = timed.seconds.tolist() * times
    for count in (2, 100, 1000):
        hours = makespan(cells, count, moment) / 3600
        print(f"{len(cells)} cells, {count} workers: {60 * hours:.1f} minutes")

# %% [markdown]
# TODO cost text
#
# ## How the cost grows
#
# A step is fresh prompts, loss, gradient and Adam. From three layers, 20 examples, five dimensions, 2000 prompts and one network,
# one number is changed at a time.

# %% mystnb={"figure": {"caption": "TODO", "name": "fig-phase-cost"}, "image": {"alt": "TODO TODO TODO TODO TODO TODO TODO."}}
steps = pd.DataFrame(measured["rows"])
peak = {(p["device"], p["threads"]): p["gflops"] for p in measured["peak"]}
names = {
    "B": "prompts $B$",
    "N": "examples $N$",
    "d": "dimension $d$",
    "L": "layers $L$",
    "members": "networks side by side",
}
axes = plots.grid(list(names.values()), 2.0, xscale="log", yscale="log", ylabel="ms")
for axis, ax in zip(names, axes.values(), strict=True):
    grown = steps[steps.axis == axis]
    for (place, threads), part in grown.groupby(["device", "threads"]):
        name = f"{place}, {threads} threads" if threads > 1 else f"{place}, one thread"
        (line,) = ax.plot(part.value, part.ms, "o-", markersize=3, label=name)
        floor = part.mflop / peak[place, threads]
        ax.plot(part.value, floor, ":", color=line.get_color(), label=f"{name}: floor")
plots.shared_legend(ax)

# %% [markdown]
# TODO scaling text
