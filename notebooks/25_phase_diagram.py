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
# > **In short.** Where training converges, the trained network is ahead of as many steps of either descent, from
# > two layers on, in every setting: by up to eight powers of ten. Two layers come close to the limit of their form
# > nearly everywhere; deeper ones stop short of it where it is very good, and more steps bring them nearer. With
# > fewer examples than dimensions the network knows what least squares does not: the covariance. *About 15 seconds;
# > 432 networks.*
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
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import heapq
import json
from itertools import product

import pandas as pd
import torch
from lintf import FittedModel, LinearRegression, claim, expect
from lintf.analysis import solvers, theory
from lintf.cli import notebook
from lintf.experiments import phase
from lintf.pages import parameters, plots, tolerances
from lintf.tasks.rotated import rotated_task
from lintf.training.several import fit_each_seed

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
slow_steps = 100_000  # of a few networks that get more time
test_prompts = 20_000  # the same for all methods
seeds = [0, 1]  # one network each
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters("min(n_layers) == 1 < max(n_layers) <= 4", "kappas[0] == 1")
plots.style()
settings = list(product(n_layers, Ns, ds, kappas))
experiments = {
    (L, N, d, kappa): phase.phase(L, N, d, kappa, lr, B, max_iters)
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
# A polynomial of high degree can be very wrong on a prompt with a rare, large eigenvalue. Where examples are few, one such
# prompt among thousands rules the mean. So every method gets two scores: its typical loss, which sets the worst
# thousandth of its prompts aside, and the mean over all.
#
# ## The competitors
#
# Gradient descent gets as many steps as the network has layers, and the size that is best on the tuning prompts. With
# $\kappa = 1$ this is preconditioned gradient descent, at whatever $\kappa$ the prompts have.


# %%
def descent(L, N, d, kappa):
    """The scores of L steps of the best size, behind the lens of kappa."""
    D2 = torch.tensor(phase.scales(kappa, d), dtype=torch.float64).square().diag()
    best = solvers.best_gradient_descent(L, tune[N, d], D2)
    return phase.scores(best, test[N, d])


plain = {key: descent(*key) for key in settings}
preconditioned = {key: plain[(*key[:3], 1.0)] for key in settings}

# %% [markdown]
# The limit for a network of this kind is the best one among multiples of the identity, behind the lens. As on the page
# on depth, eigenvalues so large that not one is expected among the test prompts are left out. To find it is a search
# with many local optima, which takes seconds for each setting. So what it found is kept in a file, and the page goes
# downhill from there.


# %%
def limit_scores(L, N, d):
    """The scores of the best L layers of multiples of the identity."""
    best = phase.best_layers(L, N, d, 1 / test_prompts)
    weights = theory.isotropic_weights(best.a, best.b, torch.eye(d).double())
    model = experiments[L, N, d, 1.0].model
    return phase.scores(FittedModel(model, weights), test[N, d])


limit = {key: limit_scores(*key) for key in product(n_layers, Ns, ds)}

# %% [markdown]
# ## Training
#
# A training that diverges is a result, too: its loss is infinite.

# %%
runs = fit_each_seed(experiments, seeds, device)


# %%
def network_scores(run, seed, L, N, d, kappa):
    """The scores of a trained network on the isotropic prompts."""
    if run is None:
        return torch.full((2,), torch.inf)
    inside = phase.whiten_params(run.final_params, seed, kappa)
    model = experiments[L, N, d, kappa].model
    return phase.scores(FittedModel(model, inside), test[N, d])


trained = {}
for key, found in runs.items():
    scores = [network_scores(r, s, *key) for r, s in zip(found, seeds, strict=True)]
    trained[key] = torch.stack(scores)  # (seeds, 2)

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
    """Maps of values by (L, N, d, kappa)."""
    maps = {}
    for d, kappa in product(ds, kappas):
        rows = [[values[L, N, d, kappa] for N in Ns] for L in n_layers]
        maps[rf"$d = {d}$, $\kappa = {kappa:g}$"] = torch.tensor(rows)
    axes = ("examples $N$", Ns), ("layers $L$", n_layers)
    plots.maps(maps, len(kappas), *axes, label, **look)


# %% mystnb={"figure": {"caption": "Loss of trained linear transformers, as the decimal logarithm of the mean squared error over d, against examples and layers, for d = 2, 5 and 10 and three condition numbers (10,000 steps of Adam on 2000 new prompts each; the better of two seeds, 20,000 test prompts). Crosses: both seeds diverged.", "name": "fig-phase-loss"}, "image": {"alt": "Nine panels of coloured squares. In each the loss falls from the lower left, yellow for a loss near 1, to the upper right, dark for 1e-12 at four layers and 160 examples. In the right column, condition number 100, the upper right is lighter, near 1e-9. Crosses stand at five examples and four layers in six panels."}}
best = {key: float(scores[:, 0].min()) for key, scores in trained.items()}
logs = {key: torch.tensor(v / key[2]).log10().item() for key, v in best.items()}
phase_maps(logs, "log loss of the network", cmap="viridis", vmin=-12, vmax=0)

# %% [markdown]
# A loss of -1 is a tenth of what knowing nothing costs, -2 a hundredth. Every layer and every doubling of the examples
# helps, and they help each other: in the lower left corner of a panel nothing is learned, in the upper right corner the
# answer has five or six correct digits. A condition number of 100 costs the deep networks one or two of them, and shallow
# ones nothing, although these, too, have to find $\Sigma^{-1}$ and store it.
#
# A cut through these panels shows the competitors beside the network: in five dimensions, for a round covariance and for
# a badly conditioned one. A method looks as it does on all pages: blue with dots is the trained network, green is gradient
# descent, plum is preconditioned gradient descent, and the dotted line is the best that a network of this form can do.
# Where the blue line leaves the dotted one, training has stopped short of what the layers allow.

# %% mystnb={"figure": {"caption": "Typical loss over d against the number of examples, for d = 5, two layers or steps (left) and four (right), at condition number 1 (top) and 100 (bottom; at 1 both descents are the same): the trained network (line: mean, band: smallest to largest of two seeds; no point where one diverged), gradient descent and preconditioned gradient descent with the best step size, and the best network of its form. Least squares makes no error from five examples on.", "name": "fig-phase-cut"}, "image": {"alt": "Four panels of falling curves over 5 to 160 examples. With two layers at condition number 1 network and limit fall together to 5e-5, descent to 0.003. With four layers the limit falls to 1e-18, the network levels off at 1e-11, and descent ends at 1e-5. At condition number 100 gradient descent without a preconditioner hardly falls, and the network of four layers levels off at 1e-9."}}
cuts = {}
for kappa, L in product((kappas[0], kappas[-1]), (n_layers[1], n_layers[-1])):
    keys = [(L, N, ds[len(ds) // 2], kappa) for N in Ns]
    losses = {
        "network": torch.stack([trained[k][:, 0] for k in keys], 1),
        "gradient descent": torch.stack([plain[k][:1] for k in keys], 1),
        "preconditioned": torch.stack([preconditioned[k][:1] for k in keys], 1),
        "limit": torch.stack([limit[k[:3]][:1] for k in keys], 1),
    }
    curves = {
        name: (Ns, v.nan_to_num(posinf=torch.nan) / keys[0][2])
        for name, v in losses.items()
    }
    cuts[rf"$L = {L}$, $\kappa = {kappa:g}$"] = curves
look = {"xscale": "log", "yscale": "log", "ylabel": "loss / $d$"}
looks = {name: plots.look(name, points=name == "network") for name in losses}
look |= {"xlabel": "examples $N$", "xticks": Ns, "xticklabels": Ns}
plots.curves(cuts, len(seeds), looks=looks, **look)

# %% [markdown]
# Descent with the same number of steps is behind from the start, and farther behind with every doubling of the examples. Without
# the preconditioner it hardly gets anywhere, even in four steps. And from some number of examples on, the limit of four layers
# falls away from the networks that were trained.
#
# ## Who wins
#
# Least squares first: from $N = d$ on it makes no error at all, since there is no noise, and nothing can compete. The
# contest is among methods of a few layers or steps. By what power of ten is the network ahead of the better of the two
# descents, or behind it?

# %% mystnb={"figure": {"caption": "Who wins by how much: decimal logarithm of the loss of the better of gradient descent and preconditioned gradient descent, with as many steps as layers and the best step size, over the loss of the trained network (d = 2, 5 and 10, the better of two seeds). Blue: the network wins; red: descent wins; crosses: both seeds diverged.", "name": "fig-phase-winner"}, "image": {"alt": "Nine panels of squares, white in the row of one layer and ever darker blue towards the upper right: eight powers of ten at condition number 1, about four at 100. No square is red."}}
rival = {key: float(min(plain[key][0], preconditioned[key][0])) for key in settings}
lead = {key: torch.tensor(rival[key] / best[key]).log10().item() for key in settings}
lead = {key: v if best[key] < torch.inf else torch.inf for key, v in lead.items()}
label = "log of the rival's loss over the network's"
phase_maps(lead, label, cmap="RdBu", vmin=-8, vmax=8)

# %%
deep = [key for key in settings if key[0] > 1]
ahead = sum(best[key] < rival[key] for key in deep)
lost = sum(best[key] == torch.inf for key in deep)
print(f"from two layers on: ahead in {ahead} of {len(deep)} settings;", end=" ")
print(f"in {lost} both networks diverged")

# %% [markdown]
# The network is ahead wherever training converges, with any number of examples and dimensions. With one layer all are equal, since
# one step of preconditioned gradient descent is what a layer can do. From there on a further layer multiplies the lead, as the
# page on depth found for one setting, and so do more examples: the eigenvalues of $S / N$ come closer to each other, and a
# polynomial of high degree can be small on all of them, while $L$ equal steps have only the degree $L$. A condition number of 100
# costs about half of the lead, counted in powers of ten. The rival is descent that is told $\Sigma$; the network is not.
#
# Where examples are fewer than dimensions least squares is not exact, and there it meets its match. It takes the
# shortest of all weights that fit, in the coordinates that it is given.

# %%
few = [(N, d, kappa) for N, d, kappa in product(Ns, ds, kappas) if d > N]
least = {}
for N, d, kappa in few:
    law = rotated_task(seeds[0], N, phase.scales(kappa, d))
    prompts = law.sample(test_prompts, torch.Generator().manual_seed(97))
    least[N, d, kappa] = float(phase.scores(solvers.LeastSquares(), prompts)[0])
    nets = ", ".join(f"{best[L, N, d, kappa]:.2f}" for L in n_layers)
    print(f"N = {N}, d = {d}, kappa = {kappa:g}: least squares", end=" ")
    print(f"{least[N, d, kappa]:.2f}, networks {nets}")

# %% [markdown]
# With a round covariance, least squares cannot be beaten: five directions of ten are unknown, and the best guess for
# them is 0. With a stretched one the best guess depends on $\Sigma$, which the networks know from training and least squares does not. At
# a condition number of 100 it is worse than the answer 0, and even the single layer is better.
#
# ## Where training fails
#
# How far are the networks from the best of their form?

# %% mystnb={"figure": {"caption": "Where training fails: decimal logarithm of the loss of the trained network over that of the best network of its form (d = 2, 5 and 10, the better of two seeds). White: it is reached; the darkest: missed by a million times or more; crosses: both seeds diverged.", "name": "fig-phase-gap"}, "image": {"alt": "Nine panels of squares, white in the rows of one and two layers. Purple appears in the upper right corner: at condition number 1 only for four layers and 80 or more examples, at 100 for three and four layers from 10 or 20 examples on."}}
ratio = {key: best[key] / float(limit[key[:3]][0]) for key in settings}
gap = {key: torch.tensor(v).log10().item() for key, v in ratio.items()}
label = "log of the network's loss over the limit"
phase_maps(gap, label, cmap="Purples", vmin=0, vmax=6)

# %%
for L in n_layers:
    off = torch.tensor([ratio[key] for key in settings if key[0] == L])
    counts = [int((off < factor).sum()) for factor in (1.1, 2, 10, torch.inf)]
    lost = sum(v is None for key in settings if key[0] == L for v in runs[key])
    print(f"L = {L}: {counts[0]} settings within 10 %, {counts[1]} within a factor 2,")
    print(
        f"  {counts[2]} within 10, {len(off) - counts[2]} farther; {lost} runs diverged"
    )

# %% [markdown]
# One and two layers are trained to their limit or close to it, in all settings. Three layers get there where the
# covariance is round, and four where, besides, examples are few. Elsewhere the networks stop short of it: the farther, the
# better the limit, so with many examples, and the worse the covariance is conditioned. And with five
# examples most networks of four layers diverge. Their polynomial has degree 40, and one prompt of a batch is enough to overflow.
#
# Stopping short could mean a local optimum. It could also mean that the networks are still on their way. A few of them get ten
# times as many steps: the two deepest kinds, with the most examples, where the distance to the limit is largest.

# %%
corners = [
    (L, max(Ns), ds[len(ds) // 2], kappa)
    for L, kappa in product(n_layers[-2:], (kappas[0], kappas[-1]))
]
longer = {key: phase.phase(*key, lr, B, slow_steps) for key in corners}
for key, (run,) in fit_each_seed(longer, seeds[:1], device).items():
    goal = limit[key[:3]][0]
    before = trained[key][0, 0] / goal
    now = network_scores(run, seeds[0], *key)[0] / goal
    print("L = {}, N = {}, d = {}, kappa = {:g}:".format(*key), end=" ")
    print(f"{before:.3g} times the limit, now {now:.3g}")

# %% [markdown]
# They were on their way. Ten times the steps bring those that had stopped short nearer to their limit, 13 to 200 times, and
# not yet to it; the fourth was there before. At $\kappa = 1$ four layers now answer with six correct digits, which is about
# as much as float32 can hold. So these maps are of networks *and* their training: another budget
# moves the border of the dark region, but leaves its place.
#
# ## The cost of a sweep
#
# The command above writes a table with the time of every cell. This one is of a sixth of the sweep, the 72 cells with
# $\kappa = 10$ and one seed, on an otherwise idle machine with two workers of one thread each.

# %%
folder = notebook.ROOT / "benchmarks"
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


measured = json.loads((folder / "scaling.json").read_text(encoding="utf-8"))
moment = measured["dask"]["cells_with_a_run"][-1]["cpu_ms"] / 1000
print(f"the scheduler and the caller: {1000 * moment:.1f} ms a cell")
for times in (6, 600):
    cells = timed.seconds.tolist() * times
    for count in (2, 100, 1000):
        hours = makespan(cells, count, moment) / 3600
        print(f"{len(cells)} cells, {count} workers: {60 * hours:.1f} minutes")

# %% [markdown]
# With two workers nothing is lost. A hundred make a coffee break of it, or less, and then there is little more to gain:
# most of a thousand have nothing to do, and the longest cell rules. For a sweep a hundred times larger a
# thousand workers are worth having. The scheduler, one process in Python, hands out 250 cells a second, so it
# keeps up with two and a half thousand workers at ten seconds a cell. Whoever has more should make the cells longer.
#
# ## How the cost grows
#
# A step is fresh prompts, loss, gradient and Adam. From three layers, 20 examples, five dimensions, 2000 prompts and one network,
# one number is changed at a time.

# %% mystnb={"figure": {"caption": "Wall time of a training step against prompts, examples, dimension, layers, and networks trained side by side, on one and two threads of a processor (base: L = 3, N = 20, d = 5, B = 2000, one network with one seed; medians of five). Dotted: the multiplications of loss and gradient alone, at the speed of a large matrix product.", "name": "fig-phase-cost"}, "image": {"alt": "Five panels on logarithmic axes. Against prompts the time is flat at 0.6 ms to 4000 and then rises in proportion to 8 ms. Against examples it is flat. Against dimension it is flat to 5 and then rises steeply to 20 ms at 32. Against layers it hardly rises. Against networks it rises from 0.6 to 9 ms for 32. The curve for two threads is close to that for one. The dotted lines lie far below at the left and come close for large dimensions."}}
steps = pd.DataFrame(measured["rows"])
peak = {(p["device"], p["threads"]): p["gflops"] for p in measured["peak"]}
look = {"xscale": "log", "yscale": "log", "ylim": (0.003, 40)}
axes_of = {"B": "prompts $B$", "N": "examples $N$", "d": "dimension $d$"}
axes_of |= {"L": "layers $L$", "members": "networks side by side"}
axes = plots.grid([*axes_of], 2.0, axes_of, ylabel="ms for a step", **look)
for axis, ax in axes.items():
    grown = steps[steps.axis == axis]
    for (place, threads), part in grown.groupby(["device", "threads"]):
        name = f"{place}, {threads} threads" if threads > 1 else f"{place}, one thread"
        way = plots.look("trained" if threads == 1 else "trained too", points=True)
        ax.plot(part.value, part.ms, label=name, **way)
        floor = part.mflop / peak[place, threads]
        way |= {"linestyle": ":", "markersize": 2}
        ax.plot(part.value, floor, label=f"{name}: floor", **way)
    ticks = sorted(set(grown.value))[:: 3 if axis == "B" else 2]
    ax.minorticks_off()
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks], fontsize=7)
plots.shared_legend(ax)

# %% [markdown]
# The examples are free, thanks to the statistics. Prompts are nearly free up to some 4000, and so are layers, and dimensions up to
# five: half a millisecond of a step is PyTorch and Python, whatever its size. This is why a training of one small network
# leaves the processor idle most of the time, and why 32 networks side by side cost 15 times as much as one. Beyond that the cost
# grows in proportion to prompts and networks, and steeply with the dimension, where multiplying $d \times d$ matrices
# is all there is to do: 1.2 times the floor at $d = 24$, against 7 at the base.
#
# The second thread gains a third at best, but for the largest dimension, and costs something in small steps; two networks
# on one thread each are the better use of two cores. No GPU was at hand; `python benchmarks/scaling.py` adds its curves where there is one.
#
# ## Claims
#
# The paper's figure is for 20 examples in five dimensions. There the order must be the published one, at every condition
# number and with every seed.

# %%
source = "chengxiang/LinearTransformer, variable_L_exp.ipynb"
N, d = (
    wanted if wanted in there else there[0] for wanted, there in ((20, Ns), (5, ds))
)
places = [(L, N, d, kappa) for L in n_layers if L > 1 for kappa in kappas]
ahead = [float(preconditioned[k][1] / trained[k][:, 1].max()) for k in places]
worse = [plain[k][1] > preconditioned[k][1] for k in places if k[-1] > 1]
claim(
    "phase-order",
    "N = 20, d = 5: from two layers on, transformer < preconditioned GD < GD (alike for kappa = 1), for every kappa and seed",
    source,
    published="this order, for one covariance",
    measured=f"transformer ahead by factors from {min(ahead):.2g} to {max(ahead):.2g}",
    holds=tolerances.every(min(ahead) > 1, *worse),
)

# %% [markdown]
# For one layer theory knows the optimum for every setting, $Q = -N / (N + d + 1)\, \Sigma^{-1}$. We hold the trained layers
# beside it on the same prompts, so that luck with the prompts does not count, and allow what a training leaves.


# %%
def layer_loss(N, d):
    """Of the best single layer on the isotropic prompts."""
    step = solvers.GradientDescent(1, 1 / (N + d + 1))
    return float(phase.scores(step, test[N, d])[1])


singles = [key for key in settings if key[0] == 1]
off = [
    abs(v / layer_loss(*k[1:3]) - 1) for k in singles for v in trained[k][:, 1].tolist()
]
claim(
    "phase-one-layer",
    "One layer finds the closed form in every setting",
    "2306.00297, Theorem 1",
    against="the theorem, whitened",
    measured=f"{len(off)} networks, loss off by {max(off):.1e} at most",
    holds=tolerances.trained(off),
)

# %% [markdown]
# The other claims are about this page's own maps. Depth first: which networks reach the limit of their form?


# %%
def within(factor, *depths):
    """How many settings of these depths are within this factor of the limit, and of how many."""
    chosen = [key for key in settings if key[0] in depths]
    return sum(ratio[key] < factor for key in chosen), len(chosen)


near, of = within(2, 2)
deepest = within(2, max(n_layers))
claim(
    "phase-limit",
    "Two layers come within a factor of two of their limit in most settings, four layers in a minority",
    against="the exact optimum of the form",
    measured=f"two layers in {near} of {of} settings, the deepest in {deepest[0]} of {deepest[1]}",
    holds=tolerances.every(near > of - near, deepest[0] < deepest[1] - deepest[0]),
)

# %% [markdown]
# And the two statements about who wins. Where training diverged there is no network to compare.

# %%
there = [key for key in deep if best[key] < torch.inf]
claim(
    "phase-winner",
    "From two layers on the network is ahead of both descents in every setting where training converges",
    against="both descents, each of the best step size",
    measured=f"ahead in {sum(lead[k] > 0 for k in there)} of {len(there)}, by a factor of 10^{max(lead[k] for k in there):.1f} at most",
    holds=tolerances.every(*(lead[k] > 0 for k in there)),
)
stretched = [key for key in least if key[2] >= 100]
shallow = [best[1, *key] for key in stretched]
claim(
    "phase-least-squares",
    "With fewer examples than dimensions and kappa = 100, one layer is better than least squares",
    against=", ".join(f"{least[key]:.2f}" for key in stretched)
    + ", least squares of minimum norm (squared error)",
    measured=", ".join(f"{loss:.2f}" for loss in shallow),
    holds=tolerances.every(
        *(loss < least[key] for loss, key in zip(shallow, stretched, strict=True))
    ),
)

# %% [markdown]
# ## References
#
# - K. Ahn, X. Cheng, H. Daneshmand, S. Sra. *Transformers learn to implement preconditioned gradient descent for
#   in-context learning.* NeurIPS 2023. [arXiv:2306.00297](https://arxiv.org/abs/2306.00297)
#
# ## Exercises
#
# **Exercise 1.** How many workers are worth having for these 432 cells? Graham's bound says that no order of the cells is
# worse than the work divided by the workers plus the longest cell. Find the smallest number of workers from which
# on a further one does not help, and check the bound.

# %% tags=["hide-cell"]
cells = timed.seconds.tolist() * 6
count = 1
while makespan(cells, count, 0) > 1.001 * max(cells):
    count += 1
print(f"{count} workers: {makespan(cells, count, 0):.0f} s, the longest cell")
for few in (2, 10, count):
    bound = sum(cells) / few + max(cells)
    expect(sum(cells) / few <= makespan(cells, few, 0) * 1.001 <= bound * 1.002)

# %% [markdown]
# **Exercise 2.** On the page on depth, deep networks stopped because Adam could not go far enough: it moves an entry by
# hardly more than the sum of its learning rates, here 150. Is that the reason here? Compare it with the
# largest eigenvalue that $Q_L$ needs, $a_L \sqrt{\kappa}$.

# %% tags=["hide-cell"]
reach = lr * max_iters / 2  # the mean of half a cosine is a half
failed = {True: 0, False: 0}  # beyond reach, and within
for L, N, d, kappa in settings:
    a = phase.best_layers(L, N, d, 1 / test_prompts).a
    failed[a[-1] * kappa**0.5 > reach] += ratio[L, N, d, kappa] > 2
print(f"farther than a factor 2 from the limit: {failed[True]} settings beyond reach")
print(f"and {failed[False]} within reach, so it is not the reason")
expect(failed[False] > failed[True])
