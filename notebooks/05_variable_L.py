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
# # How much is a layer worth?
#
# > **In short.** One layer is one step of preconditioned gradient descent, with the same loss. Two layers have a loss nine times
# > smaller than two steps, three layers 120 times and four layers 700 times ({numref}`fig-variable-L`). The reason is a degree: $L$
# > steps are a polynomial of degree $L$ in $S$, and $L$ layers one of degree $(3^L - 1) / 2$. The published order of the methods
# > comes back for every seed. Two layers are trained to the optimum of their form. Three and four stop 4 and 400 times
# > above it. *About 7 seconds; at the paper's scale.*
#
# **Question.** How much does each further layer lower the loss, how many steps of gradient descent is that worth, and
# how close does training come to the best that such a network can do?
#
# **What the paper says.** Ahn et al. ([2023](https://arxiv.org/abs/2306.00297)) train one to four layers on rotated
# prompts and compare each with as many steps of gradient descent, plain and preconditioned. The logarithm of the loss
# falls with depth, and at equal depth the transformer is below preconditioned gradient descent, which is below plain
# gradient descent.
#
# We repeat the trainings at full scale, and compare with more care: every method sees all $N$ examples, every step size
# is optimised, and all are scored on the same prompts. You need page 2, [rotated covariates](02_rotation_adam.ipynb).

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import torch
from lintf import FittedModel, LinearTransformer, TrainConfig, claim, expect, fit
from lintf.analysis import isotropic
from lintf.analysis.solvers import best_gradient_descent, best_of_grid, squared_error
from lintf.analysis.theory import isotropic_weights
from lintf.pages import parameters, play, plots, tables, tolerances, widgets
from lintf.pages.claims import told
from lintf.tasks.rotated import Rotated
from numpy.polynomial import Polynomial

# %% [markdown]
# ## Parameters
#
# These are the paper's, and their runs are stored with the book. Other values train when you run the page: at this
# scale for about four minutes on two CPU cores.

# %% tags=["parameters"]
N = 20  # examples in a prompt
scales = [1.0, 1.0, 0.5, 0.25, 1.0]  # standard deviations of x along its axes
n_layers = [1, 2, 3, 4]  # depths, at most 4: the limit line is computed up to there
B = 20_000  # prompts in a batch
redraw_every = 100  # optimiser steps on one batch
max_iters = 20_000  # optimiser steps
lr = 0.01  # of Adam, with betas (0.99, 0.9)
halve_every = 4000  # steps after which the learning rate is halved
clip = 0.01  # bound on the norm of each matrix's gradient
last = 5  # the best of so many last snapshots is taken, on validation prompts
seeds = [0, 1, 2, 3, 4]  # one transformer and one rotation each
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters("max(n_layers) <= 4")
plots.style()
rotations, d = Rotated(seeds, N, scales), len(scales)
models = {L: LinearTransformer(d=d, n_layer=L, init_std=1e-4) for L in n_layers}
common = {"betas": (0.99, 0.9), "clip": clip, "clip_by": "matrix", "lr": lr}
common |= {"B": B, "redraw_every": redraw_every, "halve_every": halve_every}
stride = max(1, max_iters // 50)
config = TrainConfig(max_iters=max_iters, record_every=stride, **common)

# %% [markdown]
# ## The limit
#
# The **limit line** is the optimum among all $Q_\ell = -a_\ell \Sigma^{-1}$, $P_\ell = b_\ell I$: the form that the
# paper proves critical. It is a problem in $2L - 1$ numbers, the minimum of {eq}`eq-multiples`, solved in double precision on
# page 7, [theory](07_theory.ipynb). One choice has to be made. In deep networks the expected loss is ruled by prompts so rare
# that no training meets one. We leave out all that are expected less than once in the prompts of a training. The limit is
# scored on the test prompts, like all others.

# %%
rare = min(0.1, redraw_every / (B * max_iters))  # one in all prompts of a training
limits = {L: isotropic.optimum(L, N, d, rare) for L in n_layers}

# %% [markdown]
# ## Try it
#
# What can a layer do that a step cannot? In whitened coordinates every method multiplies the error along an eigenvector of
# $S / N$ by a number $r(t)$ that depends on its eigenvalue $t$ alone, and $r$ is a polynomial with $r(0) = 1$. The picture
# shows the size of three of them: for preconditioned gradient descent with the best step, for steps of different sizes (the best
# that layers without $P$ can do), and for the best layers with $P$. Move the number of layers and the eigenvalue, and read
# off below the curves what is left of the error there.

# %%
multiples = {}
for L in n_layers:
    multiples[L] = [isotropic.best_gradient_descent(L, N, d)]
    multiples[L] += [isotropic.best_polynomial(L, N, d), limits[L]]
t_axis = torch.linspace(0, 6, 601).double().numpy()


def left_at(L, t):
    """The size of the error that L layers or steps leave at every eigenvalue, and at t."""
    found = {"t": t}
    for i, best in enumerate(multiples[L]):
        found[f"left {i}"] = abs(isotropic.residual(best.a, best.b, t_axis))
        found[f"here {i}"] = abs(float(isotropic.residual(best.a, best.b, t)))
    return found


# %% [markdown]
# The numbers $a_\ell$ and $b_\ell$ of all three, for all depths, go along with the picture: with them it is drawn without Python.

# %%
data = {"axis": t_axis, "depths": n_layers}
data["a"] = [[best.a for best in multiples[L]] for L in n_layers]
data["b"] = [[best.b for best in multiples[L]] for L in n_layers]
panel = {"xlabel": "eigenvalue $t$ of $S / N$", "ylabel": "size of the error left"}
panel |= {"xlim": (0, 6), "ylim": (1e-5, 100), "yscale": "log", "marks": [{"at": "t"}]}
methods = {"equal steps": "preconditioned", "different steps": "gradient descent"}
methods |= {"layers with P": "best"}
panel["curves"] = play.several(methods, x="axis", y="left {}", value="here {}", dot="t")

# %% mystnb={"figure": {"caption": "Size of the error that two layers or steps leave in a direction with eigenvalue t (d = 5, N = 20; computed exactly): the best equal steps, the best steps of different sizes, the best layers with P. Dots: t = 1. Sliders set the number of layers and t.", "name": "fig-variable-L-play"}, "image": {"alt": "Three curves on a logarithmic axis over eigenvalues from 0 to 6, all from 1 at 0. Equal steps have one spike down to zero at 1.3, different steps two at 0.8 and 1.9, layers with P four at 0.5, 1.1, 1.9 and 2.9, with errors of about 0.1 between them. Beyond 3.5 layers with P have the largest error. At t = 1 the errors left are 0.07, 0.1 and 0.03."}}
play.Figure(
    "depth",
    left_at,
    data,
    [panel],
    title=[("error left at t =", "t")],
    L=widgets.slider("layers or steps", n_layers, n_layers[len(n_layers) // 3]),
    t=widgets.slider("eigenvalue t", [round(0.1 * k, 1) for k in range(61)], 1.0),
)

# %% [markdown]
# Every spike that points down is a root. $L$ steps have $L$ roots, which lie in one place if the steps are equal. Layers with
# $P$ have up to 4, 13 and 40 roots, and where most eigenvalues are, their error is smaller by orders of magnitude.
# At $t = 0$ no method removes any error. Beyond the eigenvalues that prompts usually have, from 4 on, the polynomials
# of high degree grow fastest, and layers with $P$ leave the largest error.
#
# ## Training
#
# The batch is replaced after 100 steps, and even late in the training a batch with a rare prompt can throw a network off
# for a while. So the paper takes, of the last 20 snapshots, the one that is best on validation prompts, and scores that
# one on test prompts. Its snapshots are a hundred steps apart. We do the same with five that are four hundred steps
# apart, which also cover the last tenth of the training.

# %%
runs = {
    L: fit(m, rotations.task, config, seeds, device=device) for L, m in models.items()
}

# %% [markdown]
# The prompts for choosing and those for scoring are 20,000 of each seed's own law, the same for every method.

# %%
test, validation = (rotations.sample(20_000, k) for k in (99, 98))
precision = rotations.precision.float()  # (seeds, d, d)

# %% [markdown]
# ## The competitors
#
# **Gradient descent** takes $L$ steps $w \leftarrow w + \eta\, X^\top (y - X w)$ from $w = 0$, **preconditioned**
# gradient descent $w \leftarrow w + \eta\, \Sigma^{-1} X^\top (y - X w)$. Each gets, for each $L$, the $\eta$ that is
# best on the validation prompts, found by scalar minimisation rather than from a grid.


# %%
def competitors(L):
    """All methods of depth L."""
    limit = isotropic_weights(limits[L].a, limits[L].b, precision)
    return {
        "transformer": FittedModel(
            models[L], runs[L].best(models[L], validation, last)
        ),
        "preconditioned GD": best_gradient_descent(L, validation, precision),
        "GD": best_gradient_descent(L, validation),
        "best of its form": FittedModel(models[L], limit),
    }


# %% [markdown]
# One number for each method, depth and seed is the mean squared error over the test prompts.

# %%
methods, losses = {L: competitors(L) for L in n_layers}, {}
for name in methods[n_layers[0]]:
    means = [squared_error(methods[L][name], test).mean(1) for L in n_layers]
    losses[name] = torch.stack(means, 1)  # (seeds, depths)
rows = [
    {"method": name}
    | {f"L = {L}": v for L, v in zip(n_layers, loss.mean(0), strict=True)}
    for name, loss in losses.items()
]
tables.table(
    rows, "Test loss with L layers or steps (squared error), mean over the seeds."
)

# %% mystnb={"figure": {"caption": "Test loss against the number of layers or steps, on rotated prompts (d = 5, N = 20; 20,000 steps of Adam, a new batch of 20,000 prompts every 100; best of the last 5 snapshots; 20,000 test prompts for each seed). Lines: mean over five seeds with a rotation each; band: smallest to largest. Crosses: the loss of the best of its form, computed exactly.", "name": "fig-variable-L"}, "image": {"alt": "Four falling curves against one to four layers, on a logarithmic axis. Preconditioned gradient descent, the transformer and the best of its form start together at 1.15. Gradient descent falls from 2.2 to 1.2, the preconditioned one to 0.16 at four steps; the transformer falls to 0.0003 and the best of its form to a millionth."}}
_, ((ax,),) = plots.panels()
for name, loss in losses.items():
    plots.band(ax, n_layers, loss, name, **plots.look(name, points=True))
computed = [limit.loss for limit in limits.values()]
ax.plot(n_layers, computed, "+", color=plots.INK, ms=9, label="its loss, computed")
ax.set(xlabel="layers or steps", ylabel="test loss (mean squared error)")
ax.set(yscale="log", xticks=n_layers)
plots.shared_legend(ax, len(seeds))

# %% [markdown]
# With one layer nothing but one step is possible, and the transformer makes it: it coincides with preconditioned
# gradient descent. From then on every layer multiplies the advantage. The reason is the degree of the polynomial. $L$ steps of
# gradient descent are a polynomial of degree $L$ in $S$. But a layer with $P_\ell$ also changes the eigenvalue that the next
# layer meets, from $t$ to a polynomial of degree three in $t$. We multiply the polynomials out:

# %% tags=["show"]
degrees = []
for limit in limits.values():
    r, t = Polynomial([1.0]), Polynomial([0.0, 1.0])  # error left, eigenvalue
    for a, b in zip(limit.a, (*limit.b, 0.0), strict=True):
        r, t = r * (1 - a * t), t * (1 - a * b * t) ** 2
    degrees.append(str(r.degree()))
print("degrees in t:", ", ".join(degrees))

# %% [markdown]
# The degree is $(3^L - 1) / 2$. The limit line says how much more there would be to gain. With two layers training is there.
# With three and four it stops 4 and 400 times above it. It has not converged to anything worse: it has
# run out of steps. Adam moves no entry by much more than the learning rate in one step, so it can go no further than
# the sum of all learning rates, whereas the optimum lies at $Q_\ell = -a_\ell \Sigma^{-1}$ with entries up to
# $16\, a_\ell$:

# %%
reach = sum(config.rate(step) for step in range(max_iters))
goals = {L: max(best.a) * float(precision.abs().max()) for L, best in limits.items()}
rows = [{"layers": L, "entry": v, "over the sum": v / reach} for L, v in goals.items()]
caption = (
    "Largest entry of Q at the optimum, also in units of the sum of all learning rates."
)
tables.table(rows, caption)

# %% [markdown]
# Three layers would have to go twice as far as they can, and four layers five times as far. Page 2, rotated
# covariates, trains three layers five times longer at a ten times larger rate, and there the limit is reached. So beyond two
# layers this figure also shows how long the training was, and a longer one would show a steeper curve.
#
# At four layers the points of the best of its form lie below the crosses, since 100,000 test prompts are still too few:
# the loss of a polynomial of degree 40 is a mean over rare events even when the rarest are left out.
#
# ## What an unfair comparison would have said
#
# In the original code the baselines leave out one example (they see $N - 1$ of $N$), choose the step from a coarse grid
# on the prompts of one seed, and are scored on other prompts than the transformer. How much does that matter? We play
# it through with the original grids and 5000 prompts.

# %%
steps = [0.008, 0.01, 0.02, 0.04, 0.08, 0.16]
grids = {"GD": steps, "preconditioned GD": [0.001, 0.002, 0.004, *steps]}
fewer = Rotated(seeds, max(1, N - 1), scales)
tune, other = fewer.sample(5000, 999), fewer.sample(5000, 97)
rows = []
for name, grid in grids.items():
    Pi = precision if name == "preconditioned GD" else None
    for L, fair in zip(n_layers, losses[name].mean(0).tolist(), strict=True):
        poor = float(squared_error(best_of_grid(L, grid, tune, Pi), other).mean())
        row = {"method": name, "steps": L, "fair": fair, "unfair": poor}
        rows.append(row | {"unfair / fair": poor / fair})
told("up to a half", 0.5, max(row["unfair / fair"] for row in rows) - 1)
tables.table(rows, "Test loss of the competitors (squared error), mean over the seeds.")

# %% [markdown]
# The unfair baselines are worse, by a few percent for gradient descent and by up to a half for the preconditioned one,
# whose best step lies between two points of the grid. That is small beside the factors in the figure, and the paper's
# conclusion does not depend on it.
#
# ## Claims
#
# The paper shows the order of the curves, and that they fall. We ask it of every seed. Where there is one layer, the
# transformer and preconditioned gradient descent are the same algorithm, and theory gives its loss:
# $d - N d / (N + d + 1)$ for one step of the best size.

# %%
source = "chengxiang/LinearTransformer, variable_L_exp.ipynb"
curve, near, far = (losses[k] for k in ("transformer", "preconditioned GD", "GD"))
deep = [i for i, L in enumerate(n_layers) if L > 1]
ahead = [(near / curve).mean(0), (far / near).mean(0)]  # factors, by depth
claim(
    "variable-l-order",
    "From two layers on, transformer < preconditioned GD < GD, for every seed",
    source,
    published="this order",
    measured="; ".join(f"factors {ahead[0][i]:.3g}, {ahead[1][i]:.2g}" for i in deep),
    holds=tolerances.every((curve < near)[:, deep], near < far),
)
claim(
    "variable-l-depth",
    "The transformer's log loss falls with every layer, for every seed",
    source,
    published="it falls",
    measured="by " + ", ".join(f"{-v:.1f}" for v in curve.log().mean(0).diff()),
    holds=tolerances.every(curve.diff(dim=1) < 0),
)

# %% [markdown]
# The loss of one layer we hold against its exact value, within three standard errors of the mean over all test prompts.
# The last claim is about our own limit line: two trained layers must be within ten percent of it, with every seed.

# %%
one, two = (n_layers.index(L) if L in n_layers else 0 for L in (1, 2))
exact = d - N * d / (N + d + 1)
spread = squared_error(methods[n_layers[one]]["transformer"], test).std()
error = float(spread) / test.y.numel() ** 0.5
claim(
    "variable-l-one",
    "The loss of one layer is that of the closed form, whitened",
    "2306.00297, Theorem 1",
    against=f"{exact:.4f} exactly (squared error)",
    measured=f"{curve[:, one].mean():.4f}, the difference may be {tolerances.allowed(error):.4f}",
    holds=tolerances.by_chance(curve[:, one].mean(), exact, error),
)
limit = losses["best of its form"][:, two]
claim(
    "variable-l-limit",
    "Two trained layers lie on the limit line, on the same prompts",
    against=f"{limit.mean():.4f} for the exact optimum of their form",
    measured=f"{curve[:, two].mean():.4f}",
    holds=tolerances.read_range(curve[:, two] / limit, 1, 1),
)

# %% [markdown]
# The factors at the head of the page are means over the seeds, between the transformer and preconditioned gradient descent;
# what three and four layers leave is beside the best of its form.

# %%
means = {k: v.mean(0) for k, v in losses.items()}
above = means["transformer"] / means["best of its form"]

# %%
if n_layers == [1, 2, 3, 4]:
    told("nine times smaller", 9, ahead[0][1])
    told("120 times", 120, ahead[0][2])
    told("700 times", 700, ahead[0][3])
    told("4 and 400 times above it", 4, above[2])
    told("400 times above it", 400, above[3])
    told("twice as far", 2, goals[3] / reach)
    told("five times as far", 5, goals[4] / reach)

# %% [markdown]
# ## References
#
# - K. Ahn, X. Cheng, H. Daneshmand, S. Sra. *Transformers learn to implement preconditioned gradient descent for
#   in-context learning.* NeurIPS 2023. [arXiv:2306.00297](https://arxiv.org/abs/2306.00297)
#
# ## Exercises
#
# **Exercise 1.** How many steps of preconditioned gradient descent, with the best step size, are as good as two trained
# layers?

# %% tags=["hide-cell"]
target, steps = float(curve[:, two].mean()), 1
while (
    squared_error(best_gradient_descent(steps, validation, precision), test).mean()
    > target
):
    steps += 1
print(f"{steps} steps reach {target:.3f}")
expect(steps > n_layers[two])  # an untrained one is worth nothing

# %% [markdown]
# **Exercise 2.** Let the fair competitor choose a different size for every step (`isotropic.best_polynomial`). How much
# of the gap to the transformer does that close?

# %% tags=["hide-cell"]
rows = []
for L in n_layers:
    free = isotropic.best_polynomial(L, N, d).loss
    equal = isotropic.best_gradient_descent(L, N, d).loss
    rows.append({"L": L, "equal": equal, "different": free, "with P": limits[L].loss})
    expect(limits[L].loss <= free * 1.001 <= equal * 1.002)
tables.table(
    rows, "Loss of L steps, equal and different, and of layers with P, computed."
)
