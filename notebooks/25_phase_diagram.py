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
# > **In short.** From two layers on the trained network is ahead of as many steps of either descent, in all 156 settings
# > where training converges, and by up to eight powers of ten. Two layers come within a factor of two of the best that their form can do
# > in 52 of 54 settings. Deeper ones stop short of it where it is very good, and more training brings them nearer. With
# > fewer examples than dimensions the network knows what least squares does not: the covariance. *About 30 seconds;
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
# conditioned covariates. You need page 5, [the worth of a layer](05_variable_L.ipynb), and page 7,
# [theory](07_theory.ipynb).

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import math
from itertools import product

import torch
from lintf import FittedModel, LinearRegression
from lintf.analysis import solvers, theory
from lintf.experiments import phase
from lintf.pages import parameters, play, plots, tables, tolerances, widgets
from lintf.pages.claims import claim, expect, told
from lintf.tasks.rotated import rotated_task
from lintf.training.several import fit_each_seed

# %% [markdown]
# ## Parameters
#
# There are two networks for every setting. All are stored. Other values train when you run the page, one network after
# the other; [how to run it](../book/run.md) says what such a sweep costs, and how many workers share it.

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
experiments = {}
for setting in settings:
    experiments[setting] = phase.phase(*setting, lr, B, max_iters)

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
    prompts = {}
    for N, d in product(Ns, ds):
        g, task = torch.Generator().manual_seed(seed), LinearRegression(N, d)
        prompts[N, d] = task.sample(count, g, dtype=torch.float64)
    return prompts


tune = isotropic_prompts(tune_prompts, 98)
test = isotropic_prompts(test_prompts, 99)

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
    D = torch.tensor(phase.scales(kappa, d), dtype=torch.float64)
    preconditioner = D.square().diag()
    best = solvers.best_gradient_descent(L, tune[N, d], preconditioner)
    return phase.scores(best, test[N, d])


plain = {key: descent(*key) for key in settings}
preconditioned = {key: plain[(*key[:3], 1.0)] for key in settings}

# %% [markdown]
# The limit for a network of this kind is the best one among multiples of the identity, behind the lens. As on page 5,
# eigenvalues so large that not one is expected among the test prompts are left out. To find this network is a search
# with many local optima. So what the search found is kept in a file, and the page goes downhill from there. The limit is the
# same for every condition number, since $\kappa$ is a matter of the lens alone.


# %%
def limit_scores(L, N, d):
    """The scores of the best L layers of multiples of the identity."""
    best = phase.best_layers(L, N, d, 1 / test_prompts)
    identity = torch.eye(d).double()
    weights = theory.isotropic_weights(best.a, best.b, identity)
    model = experiments[L, N, d, 1.0].model
    fitted = FittedModel(model, weights)
    return phase.scores(fitted, test[N, d])


limit = {key: limit_scores(*key) for key in product(n_layers, Ns, ds)}

# %% [markdown]
# ## Training
#
# All settings get the same learning rate, schedule and number of steps: a rate tuned for each of them would make this a
# comparison of tuning. A training that diverges under these terms is a result, too, and not repeated with others: its loss
# is infinite.

# %%
runs = fit_each_seed(experiments, seeds, device)


# %%
def network_scores(run, seed, L, N, d, kappa):
    """The scores of a trained network on the isotropic prompts."""
    if run is None:
        return torch.full((2,), torch.inf)
    inside = phase.whiten_params(run.final_params, seed, kappa)
    model = experiments[L, N, d, kappa].model
    fitted = FittedModel(model, inside)
    return phase.scores(fitted, test[N, d])


trained = {}
for key, found in runs.items():
    scores = [network_scores(r, s, *key) for r, s in zip(found, seeds, strict=True)]
    trained[key] = torch.stack(scores)  # (seeds, 2)

# %% [markdown]
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
best, logs = {}, {}
for key, scores in trained.items():
    _, _, d, _ = key
    best[key] = float(scores[:, 0].min())
    logs[key] = math.log10(best[key] / d)
phase_maps(logs, "log loss of the network", cmap="viridis", vmin=-12, vmax=0)

# %% [markdown]
# The numbers are powers of ten: a loss of -1 is a tenth of what knowing nothing costs, -2 a hundredth. Every layer and every doubling of the examples
# helps, and they help each other: in the lower left corner of a panel nothing is learned, in the upper right corner the
# answer has five or six correct digits. A condition number of 100 costs the deep networks up to two of these digits, and
# shallow ones nothing, although these, too, have to find $\Sigma^{-1}$ and store it.
#
# A cut through these panels shows the competitors beside the network: in five dimensions, for a round covariance and for
# a badly conditioned one. A method looks as it does on all pages: blue with dots is the trained network, green is gradient
# descent, plum is preconditioned gradient descent, and the dotted line is the best that a network of this form can do.
# Where the blue line leaves the dotted one, training has stopped short of what the layers allow. Where a network diverged
# the line has a gap.

# %%
middle_d = ds[len(ds) // 2]


def by_seed(values):
    """(seeds, Ns) from losses (seeds,) for each N, over d; nan for what diverged."""
    losses = torch.stack(values, 1) / middle_d
    return losses.nan_to_num(posinf=torch.nan)


# %% mystnb={"figure": {"caption": "Typical loss over d against the number of examples, for d = 5, two layers or steps (left) and four (right), at condition number 1 (top) and 100 (bottom; at 1 both descents are the same): the trained network (line: mean, band: smallest to largest of two seeds; no point where one diverged), gradient descent and preconditioned gradient descent with the best step size, and the best network of its form. Least squares makes no error from five examples on.", "name": "fig-phase-cut"}, "image": {"alt": "Four panels of falling curves over 5 to 160 examples. With two layers at condition number 1 network and limit fall together to 5e-5, descent to 0.003. With four layers the limit falls to 1e-18, the network levels off at 1e-11, and descent ends at 1e-5. At condition number 100 gradient descent without a preconditioner hardly falls, and the network of four layers levels off at 1e-9."}}
cuts = {}
for kappa, L in product((kappas[0], kappas[-1]), (n_layers[1], n_layers[-1])):
    keys = [(L, N, middle_d, kappa) for N in Ns]
    losses = {
        "network": [trained[key][:, 0] for key in keys],
        "gradient descent": [plain[key][:1] for key in keys],
        "preconditioned": [preconditioned[key][:1] for key in keys],
        "limit": [limit[key[:3]][:1] for key in keys],
    }
    title = rf"$L = {L}$, $\kappa = {kappa:g}$"
    cuts[title] = {name: (Ns, by_seed(values)) for name, values in losses.items()}
looks = {name: plots.look(name, points=name == "network") for name in losses}
axes = {
    "xscale": "log",
    "yscale": "log",
    "xticks": Ns,
    "xticklabels": Ns,
    "xlabel": "examples $N$",
    "ylabel": "loss / $d$",
}
plots.curves(cuts, len(seeds), looks=looks, **axes)

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
rival, lead = {}, {}
for key in settings:
    rival[key] = float(min(plain[key][0], preconditioned[key][0]))
    lead[key] = torch.inf
    if best[key] < torch.inf:
        lead[key] = math.log10(rival[key] / best[key])
label = "log of the rival's loss over the network's"
phase_maps(lead, label, cmap="RdBu", vmin=-8, vmax=8)

# %% [markdown]
# No square is red. With one layer they are white, since there is no lead to be had. How many of the others are blue?

# %%
deep = [key for key in settings if key[0] > 1]
there = [key for key in deep if best[key] < torch.inf]
wins = sum(best[key] < rival[key] for key in deep)
print(f"ahead in {wins} of {len(deep)}; in {len(deep) - len(there)} both diverged")

# %% [markdown]
# The network is ahead wherever training converges, with any number of examples and dimensions. With one layer all are equal,
# since one step of preconditioned gradient descent is what a layer can do. From there on a further layer multiplies the lead,
# as page 5 found for one setting, and so do more examples: the eigenvalues of $S / N$ come closer to each other, and
# a polynomial of high degree can be small on all of them, while $L$ equal steps have only the degree $L$. A condition number
# of 100 costs four layers a good part of their lead, counted in powers of ten, and two layers hardly anything. The rival is
# descent that is told $\Sigma$; the network is not, and has to find it.

# %%
told("in all 156 settings", 156, wins)
farthest = max(lead[key] for key in there)
told("by up to eight powers of ten", 8, farthest)

# %% [markdown]
# Where examples are fewer than dimensions least squares is not exact, and there it meets its match. It takes the
# shortest of all weights that fit, in the coordinates that it is given.

# %%
nothing = solvers.GradientDescent(1, 0.0)  # a step of size 0 answers 0
least, rows = {}, []
for N, d, kappa in product(Ns, ds, kappas):
    if d <= N:
        continue
    law = rotated_task(seeds[0], N, phase.scales(kappa, d))
    prompts = law.sample(test_prompts, torch.Generator().manual_seed(97))
    typical, _ = phase.scores(solvers.LeastSquares(), prompts)
    least[N, d, kappa] = float(typical)
    row = {"N": N, "d": d, "kappa": kappa}
    row["answer 0"] = phase.scores(nothing, prompts)[0]
    row["least squares"] = least[N, d, kappa]
    for L in n_layers:
        row[f"L = {L}"] = best[L, N, d, kappa]
    rows.append(row)
caption = (
    "Typical loss with fewer examples than dimensions; ∞ where both seeds diverged."
)
tables.table(rows or [{"N": "none is below d"}], caption, 3)

# %% [markdown]
# With a round covariance, least squares cannot be beaten: five directions of ten are unknown, and the best guess for
# them is 0. With a stretched one the best guess depends on $\Sigma$, which the networks know from training and least squares
# does not. At a condition number of 100 least squares is worse than the answer 0, and even the single layer is better.
#
# ## Where training fails
#
# How far are the networks from the best of their form?

# %% mystnb={"figure": {"caption": "Where training fails: decimal logarithm of the loss of the trained network over that of the best network of its form (d = 2, 5 and 10, the better of two seeds). White: it is reached; the darkest: missed by a million times or more; crosses: both seeds diverged.", "name": "fig-phase-gap"}, "image": {"alt": "Nine panels of squares, white in the rows of one and two layers. Purple appears in the upper right corner: at condition number 1 only for four layers and 80 or more examples, at 100 for three and four layers from 10 or 20 examples on."}}
ratio, gap = {}, {}
for key in settings:
    L, N, d, _ = key
    ratio[key] = best[key] / float(limit[L, N, d][0])
    gap[key] = math.log10(ratio[key])
label = "log of the network's loss over the limit"
phase_maps(gap, label, cmap="Purples", vmin=0, vmax=6)

# %% [markdown]
# The same in numbers. Each depth has 54 settings, and a setting counts by the better of its two networks:

# %%
rows = []
for L in n_layers:
    keys = [key for key in settings if key[0] == L]
    off = torch.tensor([ratio[key] for key in keys])
    lost = [runs[key].count(None) for key in keys]
    row = {"layers": L, "within 10 percent": int((off < 1.1).sum())}
    row["within a factor of 2"] = int((off < 2).sum())
    row["within a factor of 10"] = int((off < 10).sum())
    row["farther"] = int((off >= 10).sum())
    row["diverged runs"] = sum(lost)
    rows.append(row)
tables.table(rows, "How many settings are how near to their limit.")

# %% [markdown]
# One and two layers are trained to their limit or close to it, in all settings. Three layers get there where the
# covariance is round, and four where, besides, examples are few. Elsewhere the networks stop short of it: the farther, the
# better the limit, so with many examples, and the worse the covariance is conditioned. And with five
# examples most networks of four layers diverge. Their polynomial has degree 40, and one prompt of a batch is enough
# to overflow.

# %%
told("52 of 54 settings", 52, rows[1]["within a factor of 2"])

# %% [markdown]
# Stopping short could mean a local optimum. It could also mean that the networks are still on their way. A few of them get ten
# times as many steps: the two deepest kinds, with the most examples, where the distance to the limit is largest.

# %%
longer = {}
for L, kappa in product(n_layers[-2:], (kappas[0], kappas[-1])):
    key = (L, max(Ns), middle_d, kappa)
    longer[key] = phase.phase(*key, lr, B, slow_steps)
slow_runs = fit_each_seed(longer, seeds[:1], device)

# %% [markdown]
# The table gives their losses over that of the limit, with the steps of all others and with ten times as many. A network in a
# local optimum would have the same in both columns.

# %%
rows, final = [], {}
for key, (run,) in slow_runs.items():
    goal = limit[key[:3]][0]
    final[key] = network_scores(run, seeds[0], *key)[0]
    row = dict(zip(("layers", "N", "d", "kappa"), key, strict=True))
    row[f"{max_iters} steps"] = trained[key][0, 0] / goal
    row[f"{slow_steps} steps"] = final[key] / goal
    rows.append(row)
tables.table(rows, "Loss over the limit's loss, for a few networks (first seed).")

# %% [markdown]
# They were on their way. Ten times the steps bring those that had stopped short nearer to their limit, by factors of 13 to
# 200, and not yet to it; three layers at $\kappa = 1$ were there before. At $\kappa = 1$ the answers of four layers are now off by
# $2 \cdot 10^{-7}$ of a label, which is about as much as float32 can hold. So these maps are of networks *and* their training:
# another budget moves the border of the dark region, but leaves its place.

# %%
gains = [float(trained[key][0, 0] / loss) for key, loss in final.items()]
gains = sorted(gains)
told("by factors of 13 to", 13, gains[1 % len(gains)])
told("200, and not yet to it", 200, gains[-1])
four = final[n_layers[-1], max(Ns), middle_d, 1.0]
told("$2 \\cdot 10^{-7}$ of a label", 2, 1e7 * (four / middle_d) ** 0.5)

# %% [markdown]
# ## Try it
#
# All of these maps are slices of one. Here you choose the slice, and for every square what is known of it: the better network's
# loss, the limit of its form, and the better of the two descents. Point at a square, or go there with the arrow keys.


# %%
def as_table(values):
    """Values by (L, N, d, kappa) as an array of (layers, kappas, ds, Ns)."""
    rows = [values[L, N, d, k] for L, k, d, N in product(n_layers, kappas, ds, Ns)]
    shape = (len(n_layers), len(kappas), len(ds), len(Ns))
    return torch.tensor(rows, dtype=torch.float64).view(shape)


# %% [markdown]
# Three such tables hold all that is known of a setting. The limit does not depend on the condition number, since it is
# computed behind the lens; the descents do, and the better of them counts.

# %%
whole = {"best": as_table(best), "rival": as_table(rival)}
whole["limit"] = as_table({key: float(limit[key[:3]][0]) for key in settings})
scale = torch.tensor(ds)[:, None]
strongest = {"loss": -12, "lead over descent": 8, "distance to the limit": 6}

# %% [markdown]
# The strongest colours stand for a loss of $10^{-12}$, a lead of $10^{8}$ and a distance of $10^{6}$.


# %%
def phase_square(quantity, L, kappa):
    """One map, for every dimension and number of examples, and what belongs to it."""
    at = n_layers.index(L), kappas.index(kappa)
    found, limits, rivals = (whole[name][at] for name in ("best", "limit", "rival"))
    ratios = {"loss": found / scale, "lead over descent": rivals / found}
    value = ratios.get(quantity, found / limits).log10()
    value = torch.where(found < torch.inf, value, torch.nan)
    made = {"L": L, "kappa": kappa}
    made |= {"value": value, "shade": value / strongest[quantity]}
    made |= {"loss": found / scale, "limit": limits / scale, "rival": rivals / scale}
    return made


# %% [markdown]
# The tables of all settings go along with the picture. With them it can show any of the 36 maps, and for the square that is
# chosen all three numbers.

# %%
data = whole | {"depths": n_layers, "kappas": kappas, "ds": ds}
data |= {"quantities": [*strongest], "reach": [*strongest.values()]}
square = {"cells": "value", "shade": "shade", "title": "decimal logarithm", "limit": 1}
square |= {"rows": ds, "columns": Ns, "xlabel": "$N$", "ylabel": "$d$", "up": True}
square |= {"digits": 1, "flat": 0.6}
square["tips"] = [(f"{name} / $d$", name) for name in ("loss", "limit", "rival")]

# %% mystnb={"figure": {"caption": "The decimal logarithm of the loss of trained networks of four layers over d, at condition number 10, against examples and dimensions (d = 2, 5 and 10; the better of two seeds, 20,000 test prompts). Controls choose another number of layers and condition number, and in place of the loss the lead over the better of both descents or the distance to the limit. Crosses: both seeds diverged.", "name": "fig-phase-play"}, "image": {"alt": "A map of three rows of six squares with numbers, from about minus 2 at the left to minus 11 at the right; two of the squares at five examples have crosses."}}
play.Figure(
    "phase",
    phase_square,
    data,
    [square],
    title=[("layers", "L"), ("condition number", "kappa")],
    chosen=[1, 2],
    quantity=widgets.choice("quantity", [*strongest], "loss"),
    L=widgets.slider("layers L", n_layers, n_layers[-1]),
    kappa=widgets.slider("condition number κ", kappas, kappas[len(kappas) // 2]),
)

# %% [markdown]
# Set the distance to the limit and go from one layer to four: what was reached everywhere is no longer reached at the right,
# where the limit is best. Set the lead over descent: it grows with layers and examples, in every dimension. Then show
# the loss and move the condition number only. One layer has the same loss at every condition number, and two layers nearly so, as far as the colours show. Depth is what makes the covariance matter.
# The loss of three layers in five dimensions stays within a factor of 1.4 with five examples, and grows ten thousandfold with 160.

# %%
three = n_layers[min(2, len(n_layers) - 1)]
hardest, easiest = (whole["best"][n_layers.index(three), k] for k in (-1, 0))
worse = (hardest / easiest)[ds.index(middle_d)]
told("a factor of 1.4 with five", 1.4, worse[0])
told("ten thousandfold with", 1e4, worse[-1])

# %% [markdown]
# ## Claims
#
# The paper's figure is for 20 examples in five dimensions. There the order must be the published one, at every condition
# number and with every seed: the transformer must be ahead of preconditioned descent, and this of plain descent where the
# condition number is above 1.

# %%
source = "chengxiang/LinearTransformer, variable_L_exp.ipynb"
N = 20 if 20 in Ns else Ns[0]
d = 5 if 5 in ds else ds[0]
places = list(product(n_layers[1:], [N], [d], kappas))
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


off = []
for key in product([1], Ns, ds, kappas):
    exact = layer_loss(*key[1:3])
    off += [abs(loss / exact - 1) for loss in trained[key][:, 1].tolist()]
claim(
    "phase-one-layer",
    "One layer finds the closed form in every setting",
    "2306.00297, Theorem 1",
    against="the theorem, whitened",
    measured=f"{len(off)} networks, loss off by {max(off):.1e} at most",
    holds=tolerances.trained(off),
)

# %% [markdown]
# The other claims are about this page's own maps. Depth first: which networks reach the limit of their form? We count those
# whose loss is less than twice that of the limit.


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
leads = [lead[key] for key in there]
claim(
    "phase-winner",
    "From two layers on the network is ahead of both descents in every setting where training converges",
    against="both descents, each of the best step size",
    measured=f"ahead in {sum(v > 0 for v in leads)} of {len(leads)}, by at most {max(leads):.1f} powers of ten",
    holds=tolerances.every(*(v > 0 for v in leads)),
)

# %% [markdown]
# Last, least squares in stretched coordinates beside a single layer, on prompts with fewer examples than dimensions. It is
# enough to ask this of one layer, since more layers have the lower losses in the table above, where they converge.

# %%
stretched = [key for key in least if key[2] >= 100]
shortest = torch.tensor([least[key] for key in stretched])
shallow = torch.tensor([best[1, *key] for key in stretched])
claim(
    "phase-least-squares",
    "With fewer examples than dimensions and kappa = 100, one layer is better than least squares",
    against=", ".join(f"{loss:.2f}" for loss in shortest)
    + ", least squares of minimum norm (squared error)",
    measured=", ".join(f"{loss:.2f}" for loss in shallow),
    holds=tolerances.every(shallow < shortest),
)

# %% [markdown]
# ## References
#
# - K. Ahn, X. Cheng, H. Daneshmand, S. Sra. *Transformers learn to implement preconditioned gradient descent for
#   in-context learning.* NeurIPS 2023. [arXiv:2306.00297](https://arxiv.org/abs/2306.00297)
#
# ## Exercises
#
# **Exercise 1.** With many examples the eigenvalues of $S / N$ are within about $\delta = N^{-1/2}$ of each other. With which
# power of $N$ should the loss of $L$ steps fall, and with which the loss of the best $L$ layers? Compare with the last
# doubling of $N$.

# %% tags=["hide-cell"]
fewer, more = Ns[-2:][0], Ns[-1]
doublings = torch.tensor(more / fewer).log2()
rows = []
for L in n_layers:
    steps, layers = torch.inf, torch.inf
    for N in (fewer, more):
        before = steps, layers  # of N = fewer, in the end
        steps = preconditioned[L, N, middle_d, 1.0][0]
        layers = limit[L, N, middle_d][0]
    steps = (before[0] / steps).log2() / doublings
    layers = (before[1] / layers).log2() / doublings
    predicted = 2**L - 1
    row = {"layers or steps": L, "descent": steps}
    rows.append(row | {"limit": layers, "2^L - 1": predicted})
    expect(abs(steps / L - 1) < 0.1)
    expect(abs(layers / predicted - 1) < 0.1)
tables.table(rows, f"Powers of N with which losses fall from {fewer} to {more}.")

# %% [markdown]
# A step multiplies the error by $1 - \eta t$, which is of the size $\delta$ for a good $\eta$. After $L$ of them the squared
# error is $\delta^{2L} = N^{-L}$. A layer does that, too, and besides it moves the eigenvalues by a cubic polynomial. At the
# top of its hump this is flat, so that eigenvalues within $\delta$ of each other come within $\delta^2$, after the next layer
# within $\delta^4$, and so on. The error gets the factors $\delta, \delta^2, \delta^4, \dots$, in all $\delta^{2^L - 1}$, and
# the loss is $N^{-(2^L - 1)}$. The measured powers are a little lower, since $N$ is not so large that $\delta$ is all that counts.
#
# **Exercise 2.** On page 5 deep networks stopped because Adam could not go far enough: it moves an entry by
# hardly more than the sum of its learning rates, here 150. Is that the reason here? Compare it with the
# largest eigenvalue that $Q_L$ needs, $a_L \sqrt{\kappa}$.

# %% tags=["hide-cell"]
reach = lr * max_iters / 2  # the mean of half a cosine is a half
failed = {"beyond reach": 0, "within reach": 0}
for L, N, d, kappa in settings:
    a = phase.best_layers(L, N, d, 1 / test_prompts).a
    place = "beyond reach" if a[-1] * kappa**0.5 > reach else "within reach"
    failed[place] += ratio[L, N, d, kappa] > 2
expect(failed["within reach"] > failed["beyond reach"])
tables.table([failed], "Settings farther than a factor of two from their limit.")

# %% [markdown]
# Most of them have what they need within reach, so that it is not the reason.
