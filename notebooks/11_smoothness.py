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
# # Smoothness along the way
#
# > **In short.** Along Adam's trajectory the curvature rises with the gradient, as $(L_0, L_1)$-smoothness wants
# > it; the slope of the whole cloud is near a half, and steeper where gradients are large. Adam's trajectory is
# > smoother than SGD's by factors of four to seventy for Gaussian covariates and on the sphere, and for gamma
# > covariates it is not. *About 10 seconds; at the paper's scale.*
#
# **Question.** Theory of gradient descent assumes that the curvature of the loss is bounded. For transformers it is not:
# where the gradient is large, the curvature is large, too. Is that so for a linear transformer, and does Adam walk along
# smoother ways than SGD?
#
# **What the paper says.** Ahn et al. ([2024](https://arxiv.org/abs/2310.01082)) take the *directional smoothness*, the
# second derivative of the loss along the step that is taken. On the first 2000 steps of Adam (seed 1) its logarithm rises
# with that of the gradient's norm, in a cloud. No slope is printed; from the pixels of the published figure we get a median
# slope of 0.55, and 0.9 for the tenth with the largest gradients. And it is smaller along Adam's steps than along SGD's.
#
# We count what has no logarithm, measure the slope with an interval that knows how alike successive steps are, and look at
# both methods. One training is an anecdote where seeds differ by a factor of two or three, as here, so there are six.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
from itertools import product

import torch
from lintf import LinearTransformer, claim, expect, fit
from lintf.analysis import intervals, landscape
from lintf.experiments import adam_sgd
from lintf.pages import parameters, plots, tolerances
from lintf.training.measured import measured
from scipy import stats

# %% [markdown]
# ## Parameters
#
# The steps are the first 2000 of the trainings on [the loss page](08_loss.ipynb), with its six seeds. There the matrices are
# recorded every 250 steps. Here we need every one, so the page trains these steps again, which takes some seconds for a
# seed, and ends in the same numbers.

# %% tags=["parameters"]
settings = ["normal N=20", "normal N=5", "sphere N=20", "gamma N=20"]  # the paper's
d = 5  # dimension of the covariates
n_layer = 3  # layers
B = 1000  # prompts in a batch
max_iters = 2000  # optimiser steps
seeds = [1, 0, 2, 3, 4, 5]  # of the trainings; the figures show the first, the paper's
test_prompts = 1000  # prompts of the loss whose curvature is measured
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters("d >= 2", "max_iters >= 100", "len(seeds) >= 2")
plots.style()
model = LinearTransformer(d=d, n_layer=n_layer, init_std=0.05)
chosen = adam_sgd.chosen(settings)
tasks = {name: s.task(d) for name, s in chosen.items()}

# %% [markdown]
# ## The measure
#
# With parameters $\theta_t$ and the direction $v_t = (\theta_{t+1} - \theta_t) / \|\theta_{t+1} - \theta_t\|$ of the step
# that is taken,
#
# $$
# \begin{aligned}
# s_t &= \frac{d^2}{d\tau^2}\, \mathcal L(\theta_t + \tau v_t) \Big|_{\tau = 0} \\
# &= v_t^\top \nabla^2 \mathcal L(\theta_t)\, v_t ,
# \end{aligned}
# $$ (eq-smoothness)
#
# for the loss $\mathcal L$ on 1000 fixed prompts. Beside it we take the norm of the gradient of the same loss.
#
#
# The first derivatives come from backpropagation, the second ones from a Taylor series of second order that is carried
# through the network, so both are exact. Two thousand of the latter take a fraction of a second.

# %%
ways, where = {}, {"prompts": test_prompts, "prompt_seed": 99}
for name, alg, seed in product(settings, adam_sgd.ALGS, seeds):
    config = chosen[name].config(alg, max_iters, B, record_every=1)
    kinds = {"model": model, "task": tasks[name], "training": config, "seed": seed}
    ways[name, alg, seed] = measured(adam_sgd.smoothness, **kinds, **where)
smooth, norm = (
    {key[:2]: way[kind] for key, way in ways.items() if key[2] == seeds[0]}
    for kind in ("smoothness", "norm")
)

# %% [markdown]
# A step along which the loss bends downwards has a negative $s_t$ in {eq}`eq-smoothness`, which has no logarithm. We count these, and leave them
# out of the figure.

# %%
down = {key: int((s <= 0).sum()) for key, s in smooth.items()}
for (name, alg), count in down.items():
    print(f"{name:12} {alg:5} {count:4} of {max_iters} steps bend downwards")

# %% [markdown]
# They are rare, but for gamma covariates: there every seventh step of SGD and every twentieth of Adam bends downwards.

# %% mystnb={"figure": {"caption": "Directional smoothness {eq}`eq-smoothness` against the norm of the gradient on the first 2000 steps of Adam, in the four settings (d = 5, three layers; 1000 new prompts in each step; both on 1000 fixed prompts; seed 1). Colour: the step, from blue through purple to orange. Steps of negative curvature are left out.", "name": "fig-smoothness-cloud"}, "image": {"alt": "Four clouds of points on double logarithmic axes. In all of them blue points of the first steps lie to the upper right. With 20 Gaussian examples the cloud rises steeply at large gradients and is flat at small ones; with 5 it is a narrow upright cloud; on the sphere it rises evenly; with gamma covariates it is the longest and steepest."}}
labels = {"xlabel": "gradient norm", "ylabel": "smoothness", "titles": adam_sgd.TITLES}
axes = plots.grid(settings, xscale="log", yscale="log", **labels)
for name, ax in axes.items():
    x, y = norm[name, "adam"], smooth[name, "adam"]
    step = torch.arange(len(y))[y > 0]
    dots = ax.scatter(x[y > 0], y[y > 0], 3, step, cmap=plots.TIME, rasterized=True)
where = {"ax": list(axes.values()), "location": "bottom", "aspect": 50, "pad": 0.02}
_ = ax.figure.colorbar(dots, label="training step", **where)

# %% [markdown]
# ## How steep is the cloud?
#
# A robust slope is the median of the slopes between all pairs of points (Theil and Sen). Points that follow each other are
# alike, so an interval must not treat them as independent: we resample blocks of 100 steps. For speed every eighth
# point is used. The rank correlation says how tight the relation is.


# %%
def cloud(name, seed, part=1.0):
    """Logarithms of Adam's norms and smoothness, for the largest part of the norms."""
    x, y = ways[name, "adam", seed]["norm"], ways[name, "adam", seed]["smoothness"]
    keep = (y > 0) & (x >= x.quantile(1 - part))
    return x[keep].log(), y[keep].log()


block = max(10, max_iters // 20)
for name in settings:
    slope = intervals.slope(*cloud(name, seeds[0]), block, min(8, block))
    rank = stats.spearmanr(*cloud(name, seeds[0])).statistic
    print(f"{name:12} slope {slope}, rank correlation {rank:.2f}")

# %% [markdown]
# The smoothness rises with the gradient in every setting. How steeply depends on the setting. With five examples and with
# gamma covariates the slope is near 1 or above, on the sphere and with twenty Gaussian examples it is about a half or
# less. In the latter two, Adam reaches the bottom, where the gradient is small and its norm is noise: points vary from
# left to right without any reason, and that flattens a cloud. At the larger gradients of the first hundreds of steps it
# is steeper. So much for the first seed, the paper's. How much do slopes differ from one training to the next? Each seed
# has a cloud of its own, and the interval of their mean is over seeds.


# %%
def of_seeds(name, part, block, thin):
    """The slope for each seed, and their mean."""
    found = [
        intervals.slope(*cloud(name, s, part), block, thin, 1).value for s in seeds
    ]
    return torch.tensor(found), intervals.mean(torch.tensor(found))


# %% [markdown]
# The whole cloud in all settings, and parts of it in the first one, where the gradients are the largest ten and
# twenty-five percent. For the parts blocks are shorter, and every fourth point is used.

# %%
parts, fine = (0.1, 0.25, 1.0), (block // 10, min(4, block // 10))
slopes = {name: of_seeds(name, 1.0, block, min(8, block))[1] for name in settings}
steep = {part: of_seeds(settings[0], part, *fine) for part in parts}
for name, slope in slopes.items():
    print(f"{name}: slope {slope}")

# %%
for part, (each, slope) in steep.items():
    print(
        f"largest {part:.0%}: slope {slope}, from {each.min():.2f} to {each.max():.2f}"
    )

# %% [markdown]
# ## Adam and SGD
#
# Now both methods, each along its own way, from the same starting point. The smoothness is averaged by a running median over 100 steps.

# %% mystnb={"figure": {"caption": "Directional smoothness along the first 2000 steps of SGD and of Adam, as a running median over 100 steps (settings, prompts and seed of {numref}`fig-smoothness-cloud`).", "name": "fig-smoothness-way"}, "image": {"alt": "Four panels with two curves over 2000 steps on a logarithmic axis. With 20 and with 5 Gaussian examples and on the sphere Adam's curve is below that of SGD, by a factor of seventy in the first and of five to ten in the others. With gamma covariates the curves run together."}}
labels = {"yscale": "log", "xlabel": "training step", "ylabel": "smoothness"}
axes = plots.grid(settings, titles=adam_sgd.TITLES, **labels)
for (name, alg), s in smooth.items():
    running = s.unfold(0, block, 1).median(1).values
    axes[name].plot(running, **plots.look(alg, label=adam_sgd.NAMES[alg]))
    plots.ticks(axes[name].yaxis, (1, 3))
plots.shared_legend(axes[name])

# %% [markdown]
# With Gaussian covariates and on the sphere Adam's way is smoother, by a factor of seventy in the first setting, and of
# twenty to fifty with the other seeds. With gamma covariates it is not. There the loss on 1000 prompts is that of a few, and both methods spend their time in the same
# place.
#
# What does a smooth way buy? A step of length $\ell$ along a direction of curvature $s_t$ changes the loss by
# $\ell^2 s_t / 2$ more than the slope promises. With the same length of step, SGD in the first setting pays seventy times
# more for its curvature, and has to take shorter steps. The learning rates say so: SGD's best one, 0.16 on the loss page,
# is the last before divergence, where the curvature along its steps and their length just balance. Adam stays away from
# this edge by itself, over a wide range of rates, since it divides by the size of the gradient, and with it, as the clouds
# above show, by something like the curvature.

# %% [markdown]
# ## Claims
#
# That the cloud rises we ask of the interval of its slope over seeds, in every setting.

# %%
source = "chengxiang/LinearTransformer, plot_smoothness_vs_gradnorm.ipynb"
claim(
    "smoothness-rises",
    "The smoothness along Adam's steps rises with the gradient, in all settings",
    source,
    published="a rising cloud",
    measured=f"slopes, {len(seeds)} seeds: " + "; ".join(map(str, slopes.values())),
    holds=tolerances.above(slopes.values(), 0),
)

# %% [markdown]
# For its slope we have the published figure's pixels, of one training. So we ask whether it lies among our seeds. It does,
# for the whole cloud in their middle, where the original code, run again with six seeds, is too: at 0.44 to 0.56. For the
# largest gradients the published 0.9 is at their upper end, as is our own training with the paper's seed. Pixels may have
# a part in it: in a figure later points hide earlier ones.

# %%
(large, tenth), (whole, middle) = steep[parts[0]], steep[parts[-1]]
digitised = {"steepest tenth": 0.9, "all points": 0.55}
claim(
    "smoothness-steep",
    "20 Gaussian examples: the slope where gradients are large",
    source,
    published=f"slope of the steepest tenth, digitised, one seed: {digitised['steepest tenth']} [no unit]",
    measured=f"{large.min():.2f} to {large.max():.2f} with {len(seeds)} seeds, mean {tenth}",
    holds=tolerances.read_off(large, digitised["steepest tenth"]),
)

# %%
claim(
    "smoothness-slope",
    "20 Gaussian examples: the slope of the whole cloud",
    source,
    published=f"median slope of all points, digitised, one seed: {digitised['all points']} [no unit]",
    measured=f"{whole.min():.2f} to {whole.max():.2f} with {len(seeds)} seeds, mean {middle}",
    holds=tolerances.read_off(whole, digitised["all points"]),
)

# %% [markdown]
# For the comparison of the two methods we take the median over the 2000 steps, and the ratio of the two for each seed. The
# paper shows the two Gaussian settings and gamma; the sphere is ours.

# %%
medians = {key: way["smoothness"].median() for key, way in ways.items()}
ratio = {
    n: torch.stack([medians[n, "sgd", s] / medians[n, "adam", s] for s in seeds])
    for n in settings
}
heavy = {n: r for n, r in ratio.items() if n.startswith("gamma")}
light = {n: r for n, r in ratio.items() if n not in heavy}

# %%
for name, r in ratio.items():
    print(f"{name}: {intervals.mean(r)}, from {r.min():.2f} to {r.max():.2f}")

# %% [markdown]
# In the three light settings all seeds are far on one side. The factor in the first is the one that varies most, and the
# paper's seed has the largest of all. With gamma covariates one seed of six is above 1, by little.

# %%
claim(
    "smoothness-adam",
    "Adam's way is smoother than SGD's (Gaussian covariates, sphere)",
    "2310.01082, Fig. 2 (last row)",
    published="smaller directional smoothness with Adam",
    measured=f"factors, {len(seeds)} seeds: "
    + "; ".join(f"{r.min():.1f} to {r.max():.1f}" for r in light.values()),
    holds=tolerances.every(*(r > 1 for r in light.values())),
)

# %%
claim(
    "smoothness-gamma",
    "Adam's way is smoother than SGD's, with gamma covariates, too",
    "2310.01082, Fig. 2 (last row)",
    published="smaller directional smoothness with Adam",
    measured=f"factor, {len(seeds)} seeds: "
    + ", ".join(f"{r.min():.2f} to {r.max():.2f}" for r in heavy.values()),
    holds=tolerances.every(*(r > 1 for r in heavy.values())),
    why="With gamma covariates a few of the 1000 prompts make the curvature, for both.",
)

# %% [markdown]
# ## References
#
# - K. Ahn, X. Cheng, M. Song, C. Yun, A. Jadbabaie, S. Sra. *Linear attention is (maybe) all you need (to understand
#   transformer optimization).* ICLR 2024. [arXiv:2310.01082](https://arxiv.org/abs/2310.01082)
# - J. Zhang, T. He, S. Sra, A. Jadbabaie. *Why gradient clipping accelerates training: a theoretical justification for
#   adaptivity.* ICLR 2020. [arXiv:1905.11881](https://arxiv.org/abs/1905.11881)
# - Y. Pan, Y. Li. *Toward understanding why Adam converges faster than SGD for transformers.* 2023.
#   [arXiv:2306.00204](https://arxiv.org/abs/2306.00204)
#
# ## Exercises
#
# **Exercise 1.** The steps trained here are also the first of the stored trainings of the loss page. Are they the same
# numbers? How far would you trust this on another computer, after 19 steps and after 2000?

# %% tags=["hide-cell"]
config, options = chosen[settings[0]].config, {"device": device, "progress": False}
every = config("adam", max_iters, B, record_every=1)
run = fit(model, tasks[settings[0]], every, seeds[:1], stored=False, **options)
way = {k: p[0] for k, p in run.params.items()}
longer = config("adam", 10_000 if max_iters == 2000 else 2 * max_iters, B)
stored = fit(model, tasks[settings[0]], longer, seeds[:1], **options)
late = int(stored.steps[stored.steps <= max_iters][-1])
for step in (19, late):
    there = stored.at([step])["Q"][0, 0]
    print(f"step {step}: difference {(way['Q'][step] - there).abs().max():.1e}")
    expect(step > 19 or torch.allclose(way["Q"][step], there, atol=1e-3))

# %% [markdown]
# **Exercise 2.** A step $\Delta$ changes the loss by
# $\Delta^\top \nabla \mathcal L + \tfrac12 \Delta^\top \nabla^2 \mathcal L\, \Delta$, to second order. How often does Adam
# step so far that the loss on the test prompts rises?

# %% tags=["hide-cell"]
few = tasks[settings[0]].sample(test_prompts, torch.Generator().manual_seed(99))
here, step = (
    {k: f(p) for k, p in way.items()}
    for f in (lambda p: p[:-1], lambda p: p.diff(dim=0))
)
value, slope, bend = landscape.directional_derivatives(model, here, step, few)
change = slope + bend / 2
print(f"{(change > 0).float().mean():.0%} of the steps raise the loss")
error = (value[:-1] + change[:-1] - value[1:]).abs() / value[1:]
print(f"error of the second order: median {error.median():.1%}")
expect(error.median() < 0.1)
