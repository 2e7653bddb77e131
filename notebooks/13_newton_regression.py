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
# # How many Newton steps is a layer worth?
#
# > **In short.** Plain linear attention stops improving after a few layers, as published. The cause is one token: the query
# > is among its own keys. With the query masked, each layer is worth three Newton steps, and three layers reach the optimum
# > of linear attention, with an error 230 times below that of four layers without the mask. With LayerNorm a layer is worth 1.6
# > to 2.2 Newton steps. *About 20 seconds; d = 5 in place of 10, fewer and shorter trainings.*
#
# **Question.** Newton's iteration inverts a matrix with an error that is squared in every step. Linear attention could do
# it, layer by layer. Do trained layers converge like that?
#
# **What the papers say.** Giannou et al. ([2024](https://arxiv.org/abs/2403.03183)) train linear attention of up to six
# layers on regressions of three condition numbers, with and without LayerNorm, and set its error beside Newton's
# iteration. LSA without LayerNorm, they report, gains nothing significant beyond about four layers, and they blame the
# training. Fu et al. ([2023](https://arxiv.org/abs/2310.17086)) find that a layer of a trained softmax transformer is
# worth about three steps of it, and that gradient descent needs exponentially more steps for every further layer.
#
# Part III covers, of the first paper, regression, queries far outside the training range, logistic regression and the
# construction of Newton's iteration. The construction for logistic regression and models of more than six layers are left out.
# This page trains smaller copies of the paper's models and measures how many steps a layer is worth.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import numpy as np
import torch
from lintf import FittedModel, claim, expect
from lintf.analysis import intervals
from lintf.analysis.isotropic import optimum
from lintf.analysis.newton import NewtonIteration, SteepestDescent
from lintf.analysis.solvers import squared_error
from lintf.experiments import newton
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import told
from lintf.tasks.base import sample_groups
from lintf.tasks.conditioned import ConditionedRegression

# %% [markdown]
# ## Parameters
#
# The published values are in brackets, and in `presets/paper`. Other values train when you run the page; all models of
# this one took about two hours on two cores.

# %% tags=["parameters"]
d = 5  # dimension of the covariates (10)
N = 25  # examples in a prompt (50)
width = 64  # of the hidden states, as published
depths = [0, 1, 2, 3, 4]  # layers (0 to 6)
kappas = [1, 5, 10]  # condition numbers of the covariance, as published
max_iters = 12_000  # Adam's steps (100 000)
B = 256  # prompts in a batch, new at each step (2000)
lr = 1e-3  # learning rate after the warm-up (1e-4)
lr_end = 5e-5  # learning rate of the last steps, as published
clip = 10.0  # bound on the gradient, for models with LayerNorm (None)
seeds = [0]  # one training each
more_seeds = [1, 2]  # also these, for kappa 1 and at most two layers
steps = 16  # of Newton's iteration
slow_steps = 100  # of gradient descent
test_groups = 50  # covariances among the test prompts
test_prompts = 40  # test prompts with each of them
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters(
    "2 <= d <= 12",
    "N >= d",
    "width % 4 == 0",
    "sorted(depths) == list(depths)",
    "sum(1 <= L <= 3 for L in depths) >= 2",
    "len(kappas) >= 2",
    "test_groups >= 2",
    "steps >= 2 * max(depths)",
)
plots.style()
scale = newton.Scale(d, N, width, max_iters, B, lr, lr_end, clip=clip)
plain, masked, normed = newton.VARIANTS
experiments = scale.regressions([plain, normed], kappas, depths)
first, used = kappas[0], [L for L in depths if L > 0]

# %% [markdown]
# ## The models
#
# A token is $r_i = (x_i, y_i)$, and the last one is the query, $(x_q, 0)$. A linear map takes the tokens to hidden states
# $h_i$ of dimension 64. Each layer adds to all of them what its four heads find,
#
# $$
# h_i \leftarrow h_i + \sum_{\text{heads}} W_O \sum_j \frac{q_i^\top k_j}{\sqrt{16}}\, v_j,
# $$ (eq-lsa)
#
# with $q_i$, $k_i$ and $v_i$ affine in $h_i$, and $j$ runs over *all* tokens. The prediction is read from the last hidden
# state. Layers of the form {eq}`eq-lsa` are linear self-attention, LSA. To keep the training stable the states are clipped to
# $\pm 10$ after each layer. In the variant with LayerNorm no state is clipped, and $q$, $k$, $v$ and the read-out see
# normalised states.
#
# The covariates have covariance $I$ for $\kappa = 1$. Otherwise every batch has one of its own, in a random basis, with a
# largest eigenvalue between 1 and 100 and condition number $\kappa$. The weights are $w \sim \mathcal N(0, I)$, and labels
# have no noise. Training follows the paper's recipe, scaled down: Adam with a warm-up and a cosine, and a curriculum from
# two nonzero weights and ten examples to all of them. One thing is ours: gradients are clipped to length 10 in all models. The
# released code does so only without LayerNorm. With LayerNorm that acts on a third of the first steps for $\kappa = 1$
# and on nearly all for larger $\kappa$.

# %%
runs = newton.trained(experiments, seeds, more_seeds, device)

# %% [markdown]
# All methods are tested on the same prompts. Prompts with the same covariance have something in common, so there are 50
# covariances, and the intervals of this page come from a bootstrap over these groups.

# %%
prompts = {}
for kappa in kappas:
    task, g = ConditionedRegression(N, d, kappa), torch.Generator().manual_seed(99)
    prompts[kappa] = sample_groups(
        task, test_groups, test_prompts, g, dtype=torch.double
    )

# %% [markdown]
# The score is the paper's, the squared error divided by $d$.


# %%
def grouped(errors):
    """(..., prompts) -> (groups, ...): the mean squared error, over d."""
    return intervals.by_group(errors, test_groups) / d


# %% [markdown]
# The classical methods start each prompt with what suits it: Newton's iteration with $J_0 = \alpha S$ for the best
# $\alpha$ of this $S = X^\top X$, gradient descent with an exact line search in each step.

# %%
methods = {
    "Newton": NewtonIteration(steps),
    "Newton, order 3": NewtonIteration(steps, order=3),
    "gradient descent": SteepestDescent(slow_steps),
}

# %% [markdown]
# Each gives its predictions after 0, 1, 2 and more steps at once.

# %%
curves = {}
for name, method in methods.items():
    for k in kappas:
        gaps = method.iterates(prompts[k]) - prompts[k].y
        curves[name, k] = grouped(gaps.square()).mean(0)

# %% [markdown]
# And the trained models, in the single precision of their training; where there are several seeds, the mean over these:


# %%
def of_layers(name, kappa):
    """(groups, depths)"""
    found, single = [], prompts[kappa].to(torch.float)
    for key in (key for key in experiments if key[:2] == (name, kappa)):
        model = FittedModel(experiments[key].model, runs[key].final_params)
        found.append(grouped(squared_error(model, single).double().mean(0)))
    return torch.stack(found, 1)


layers = {(name, k): of_layers(name, k) for name in (plain, normed) for k in kappas}

# %% [markdown]
# ## Layers against steps

# %% mystnb={"figure": {"caption": "Squared error of the prediction over d, against layers or steps, for three condition numbers of the covariance (d = 5, N = 25, no noise; 12,000 steps of 256 prompts, a sixtieth of the published training; 2000 test prompts). One seed; for up to two layers in the first panel the mean over three.", "name": "fig-newton-regression"}, "image": {"alt": "Three panels, for three condition numbers, on a logarithmic axis. Solid lines for trained models with 0 to 4 layers fall steeply at first; with LayerNorm they go on falling, without it they flatten from two or three layers on. Lines without markers: gradient descent falls slowly; Newton's iteration begins slowly and then drops almost vertically, later for larger condition numbers."}}
axes = plots.grid([rf"$\kappa$ = {k}" for k in kappas], ylabel="squared error / d")
for ax, kappa in zip(axes.values(), kappas, strict=True):
    for name in methods:
        order = {"ls": "--"} if name.endswith("3") else {}
        look = plots.look(name.partition(",")[0], lw=1.2, **order)
        ax.plot(curves[name, kappa][: steps + 1], label=name, **look)
    for name, look in ((plain, "trained"), (normed, "trained too")):
        ys = layers[name, kappa].mean(0)
        ax.plot(depths, ys, label=name, **plots.look(look, points=True))
    ax.set(yscale="log", ylim=(1e-6, None), xlabel="layers or steps")
plots.shared_legend(ax)

# %% [markdown]
# For $\kappa = 1$ two layers with LayerNorm are as good as six Newton steps, or five of gradient descent. No method shown
# falls as fast at first. From there they gain less, a factor of 5.5 with the third layer and of 2.7 with the fourth. Newton's
# iteration starts slowly and then squares its error in each step, so it would soon overtake them. LSA without LayerNorm comes
# down for two layers, and then hardly any more. For larger $\kappa$ all curves begin higher and come down later. Newton's
# iteration is hit hardest, since its start squares the condition number.
#
# The LSA models for large $\kappa$ should be read with care: with four layers training is unstable, and from one record to
# the next the test error of such a model can double.
#
# Does our bound on the gradients of models with LayerNorm decide anything? It acts most for the largest $\kappa$. There one
# model is trained again, with the same seed and without the bound.

# %%
bounded = normed, kappas[-1], used[0]
loose = newton.Scale(d, N, width, max_iters, B, lr, lr_end, clip=None)
unbound = {bounded: loose.regression(*bounded)}
run = newton.trained(unbound, seeds, device=device)[bounded]

# %% [markdown]
# Its error beside that of the model that was trained with the bound, on the same prompts:

# %%
single = prompts[kappas[-1]].to(torch.float)
found = FittedModel(unbound[bounded].model, run.final_params)
free = grouped(squared_error(found, single).double().mean(0))
with_bound = layers[bounded[:2]][:, depths.index(used[0])]
ratio = intervals.bootstrap(torch.stack((free, with_bound), 1), lambda e: e[0] / e[1])
print(f"without the bound {free.mean():.3f}, with it {with_bound.mean():.3f}: {ratio}")

# %% [markdown]
# ## One token too many
#
# Plain LSA stops at an error of 0.017 for $\kappa = 1$. The reason is in the sum over *all* $j$. The query is one of the
# tokens, with the label 0. In a sum like $\sum_j x_j y_j = X^\top y$ it contributes nothing, but to $\sum_j x_j x_j^\top$ it
# adds $x_q x_q^\top$. So what the layers can invert is $S + x_q x_q^\top$. If they do so perfectly, they answer, by the
# formula of Sherman and Morrison,
#
# $$
# x_q^\top \left(S + x_q x_q^\top\right)^{-1} X^\top y = \frac{w^\top x_q}{1 + h}, \qquad h = x_q^\top S^{-1} x_q .
# $$ (eq-leverage)
#
# The *leverage* $h$ is somewhat larger than $d / N$, and differs from query to query.

# %%
Z, y = prompts[first].Z, prompts[first].y
X, x = Z[:, :-1, :-1], Z[:, -1, :-1]
h = (x * torch.linalg.solve(X.mT @ X, x)).sum(1)
print(f"leverage {h.mean():.2f}, standard deviation {h.std():.2f}")

# %% [markdown]
# How much of the error remains if the answer {eq}`eq-leverage` is multiplied by the best constant $c$? The layers also have the
# query's own score $x_q^\top x_q$, which grows with $h$. So we also multiply by the best $c + c' \lVert x_q \rVert^2$.


# %%
def floor_of(features):
    """The error of the best linear combination."""
    best = features @ torch.linalg.lstsq(features, y.unsqueeze(1)).solution
    return intervals.bootstrap(grouped((best[:, 0] - y).square()), float)


spoilt = (y / (1 + h)).unsqueeze(1)
both = torch.cat((spoilt, spoilt * x.square().sum(1, keepdim=True)), 1)
floors = {"c": floor_of(spoilt), "c + c' |x|²": floor_of(both)}
rows = [{"factor": name, "error / d": str(floor)} for name, floor in floors.items()]
tables.table(rows, "The least error with each factor, and 95 percent intervals.")

# %% [markdown]
# The plateau of the models lies between these two. To be sure of the cause, we take the query out of the sum, so that only the
# examples are keys and values, and change nothing else. Beside the error of these models stands the smallest one of linear
# attention whose matrices are multiples of the identity. Page 7, [theory](07_theory.ipynb), computes it from
# {eq}`eq-multiples`, without any training.

# %%
few = [L for L in depths if 1 <= L <= 3]
experiments |= scale.regressions([masked], [first], few)
alone = {key: experiment for key, experiment in experiments.items() if key[0] == masked}
runs |= newton.trained(alone, seeds, device=device)
without = of_layers(masked, first)
theory = [optimum(L, N, d).loss / d for L in few]
deepest = layers[plain, first].mean(0)[-1]  # of LSA

# %% mystnb={"figure": {"caption": "The error of LSA in the first panel of {numref}`fig-newton-regression`, and that of LSA in which the query is not among the keys (one seed). Horizontal lines: the least error that the leverage of the query leaves, for two kinds of correction. Marks: the optimum of linear attention with multiples of the identity, in expectation.", "name": "fig-newton-masked"}, "image": {"alt": "Two lines from layer 0 on. They agree up to one layer. Then LSA flattens at about 0.017, between two horizontal lines at 0.02 and 0.007, and the masked models fall to 0.006 with two and 7e-5 with three layers, next to short marks at 0.007 and 4e-5."}}
_, ((ax,),) = plots.panels()
look = plots.look("trained", points=True)
ax.plot(depths, layers[plain, first].mean(0), label=plain, **look)
look = plots.look("trained too", points=True)
ax.plot(few, without.mean(0), label=masked, **look)
look = {"color": plots.INK, "markersize": 14}
ax.plot(few, theory, "_", label="multiples of the identity", **look)
for (name, floor), kind in zip(floors.items(), ("bound", "best"), strict=True):
    ax.axhline(floor.value, label=f"best {name}", **plots.look(kind))
ax.set(yscale="log", xlabel="layers", ylabel="squared error / d", xticks=depths)
plots.legend(ax)

# %% [markdown]
# With one layer there is no difference. With two the masked model is at 0.006, and with three at $7 \cdot 10^{-5}$. This is
# 230 times below four layers of LSA, and next to the mark of theory. So the plateau that the paper reports has another cause
# than its training. The query is a token like any other, it has no label, and linear attention cannot look away. A softmax
# could. LayerNorm helps too, perhaps because it takes the length from the query's state, and with it the largest leverages.

# %%
best = without.mean(0)
told("at an error of 0.017", 0.017, deepest)
told("the masked model is at 0.006", 0.006, best[min(1, len(few) - 1)])
told("at $7 \\cdot 10^{-5}$", 7e-5, best[-1])
told("230 times below", 230, deepest / best[-1])

# %% [markdown]
# ## The exchange rate
#
# How many steps have the same error as $L$ layers? Between two steps we interpolate the logarithm of the error. A line
# fitted to the numbers for one layer and more has a slope, the steps per layer.


# %%
def slope_of(errors, curve):
    worth = newton.steps_worth(errors, curve)
    centred = np.arange(len(worth)) - (len(worth) - 1) / 2
    return centred @ worth / (centred @ centred)


rows = {key: errors[:, -len(used) :] for key, errors in layers.items()}
rows[masked, first] = without
table, rates = {}, {}
for (model, kappa), errors in rows.items():
    for name in methods:
        key, curve = (model, kappa, name), curves[name, kappa].numpy()
        table[key] = newton.steps_worth(errors.mean(0).numpy(), curve)
        rates[key] = intervals.bootstrap(errors, lambda e, c=curve: slope_of(e, c))

# %% [markdown]
# The table has a row for each kind of model and each classical method. First come the steps for one layer, two layers and so
# on, then the slope, with its interval.

# %%
cells = []
for key, worth in table.items():
    cell = dict(zip(("model", "κ", "method"), key, strict=True))
    for L, steps_of in zip(used, worth, strict=False):
        cell[f"L = {L}"] = f"{steps_of:.1f}"
    cells.append(cell | {"steps per layer": str(rates[key])})
tables.table(cells, "Steps with the same error as L layers.")

# %% [markdown]
# The last rows are remarkable. With the query masked, layers are worth 2.2, 5.6 and 8.2 Newton steps, three for each layer. This is
# the number that Fu et al. found for something else. In steps of gradient descent these layers are worth 0.9, 4.1 and 12.3:
# each multiplies them by three or more. A layer of linear attention can triple the degree of the polynomial that it
# inherits, and has learned to.
#
# It would not go on like this. By theory a fourth layer brings the error to $1.5 \cdot 10^{-7}$, which is worth 9.6 steps.
# Once Newton's iteration is at full speed, it doubles its degree with each step, and tripling is worth $\log_2 3 = 1.6$ steps.
#
# With LayerNorm it begins like that. From one layer to two it gains 3.4 to 3.9 steps, depending on $\kappa$. After
# that every layer brings less, one or two steps with the third and less than one with the fourth, so that the slope of the line
# is 1.6 to 2.2. In steps of gradient descent, with the best step size each time, a layer is worth three for $\kappa = 1$ and
# five for $\kappa = 10$, and these numbers grow in proportion to the layers rather than exponentially. LayerNorm has made
# the query bearable. It has not made it harmless.

# %%
newton_of = {key[:2]: v for key, v in table.items() if key[2] == "Newton"}
fourth = np.array([optimum(min(4, depths[-1]), N, d).loss / d])
told(
    "worth 9.6 steps",
    9.6,
    newton.steps_worth(fourth, curves["Newton", first].numpy())[0],
)
told("$1.5 \\cdot 10^{-7}$", 1.5e-7, fourth[0])
told("2.2, 5.6 and 8.2 Newton steps", 8.2, newton_of[masked, first][-1])
told("three Newton steps", 3, rates[masked, first, "Newton"].value)
gained = [newton_of[normed, k][1] - newton_of[normed, k][0] for k in kappas]
told("3.4 to 3.9 steps", 3.4, min(gained))
told("3.4 to 3.9 steps", 3.9, max(gained))
slopes = [rates[normed, k, "Newton"].value for k in kappas]
told("1.6 to 2.2", 1.6, min(slopes))
told("1.6 to 2.2", 2.2, max(slopes))

# %% [markdown]
# ## Condition number, or size?
#
# Errors for $\kappa = 5$ and $10$ are far larger than for $\kappa = 1$, and one would like to blame the conditioning. But
# with $\kappa = 1$ the covariance is $I$, and otherwise its largest eigenvalue is anything up to 100. The labels are larger, so
# the errors are. Here are both, the error itself and its share of the labels' mean square:

# %%
size = {k: float(prompts[k].y.square().mean() / d) for k in kappas}
cells = []
for (name, k), errors in layers.items():
    mean = errors.mean(0)
    for what, values in {"error / d": mean, "percent": 100 * mean / size[k]}.items():
        cell = {"model": name, "κ": k, "as": what}
        cells.append(
            cell | {f"L = {L}": v for L, v in zip(depths, values, strict=True)}
        )
tables.table(cells, "Error, and its share of the labels' mean square in percent.", 2)

# %% [markdown]
# With LayerNorm the errors for larger $\kappa$ are 30 times larger or more, and most of this is size. In shares of the labels'
# mean square, what is left is a factor of 1.3 at most for one layer, and of 6 to 11 for two layers and more. So a single layer
# loses little to a bad condition number, and deeper models lose more. For LSA the plateau hides it.

# %%
shares = {k: layers[normed, k].mean(0)[-len(used) :] / size[k] for k in kappas}
worse = torch.stack([shares[k] / shares[first] for k in kappas[1:]])  # (kappas, layers)
told("a factor of 1.3 at most", 1.3, worse[:, 0].max())
told("6 to 11 for two layers", 6, worse[:, 1:].min())
told("6 to 11 for two layers", 11, worse[:, 1:].max())

# %% [markdown]
# ## Claims
#
# Does every further layer lower the error? And does every larger condition number raise it? For each kind of model we take the
# smallest of all ratios: of the errors with $L$ and with $L + 1$ layers, and of the errors for one $\kappa$ and for the first.

# %%
gains, rises = {}, {}
for name in (plain, normed):
    stacked = torch.stack([rows[name, k] for k in kappas], 1)
    gains[name] = intervals.bootstrap(stacked, lambda e: (e[:, :-1] / e[:, 1:]).min())
    rises[name] = intervals.bootstrap(stacked, lambda e: (e[1:] / e[0]).min())
source = "2403.03183, section on experiments with linear regression"
runs_of = f"d = {d}, {depths[-1]} layers, {max_iters:,} steps of {B} prompts"

# %% [markdown]
# With LayerNorm every further layer lowers the error.

# %%
claim(
    "newton-regression-layers",
    "With LayerNorm, errors fall with every further layer",
    source,
    published="they fall",
    measured=f"by a factor of at least {gains[normed]}",
    holds=tolerances.above(gains[normed], 1),
    scale=runs_of,
)

# %% [markdown]
# The bound on these models' gradients is ours. It is the one thing in our recipe that the published models with LayerNorm did
# not have. Without it, one layer must still be better than none, and worse than two.

# %%
at = depths.index(used[0])
nearby = [
    intervals.bootstrap(e, float)
    for e in (layers[bounded[:2]][:, max(0, at - 1)], free)
]
nearby.append(intervals.bootstrap(layers[bounded[:2]][:, at + 1], float))
claim(
    "newton-regression-bound",
    "The bound on gradients that the paper lacks with LayerNorm does not decide the order of depths",
    against="the errors with a layer less and a layer more, trained with the bound",
    measured=f"{nearby[1]} without it, between {nearby[0]} and {nearby[2]}",
    holds=tolerances.ordered(nearby),
    scale=f"{used[0]} layer, kappa = {kappas[-1]}, one training",
)

# %% [markdown]
# Without LayerNorm it does not, here and in the paper, which sees no significant improvement after about four layers of six.
# Ours, in half the dimension, stop after two or three. A factor below a tenth of a decade, which no figure would show, counts
# as none.

# %%
stopped = intervals.bootstrap(rows[plain, first], lambda e: e[-2] / e[-1])
claim(
    "newton-regression-plain",
    "Without LayerNorm, a further layer no longer lowers the error after a few layers",
    "2403.03183, Sec. 6",
    published="no significant improvement after about four layers",
    measured=f"the last layer divides it by {stopped}, kappa = {first}",
    holds=tolerances.below(stopped, tolerances.LOG_LINE),
    scale=runs_of,
)

# %% [markdown]
# Errors rise with the condition number as published, whatever the depth, if the size of the labels is left aside.

# %%
claim(
    "newton-regression-kappa",
    "Errors rise with the condition number, at every depth",
    source,
    published="they rise",
    measured=f"LSA by a factor of {rises[plain]}, with LayerNorm {rises[normed]}",
    holds=tolerances.above(rises.values(), 1),
    scale=runs_of,
)

# %% [markdown]
# The exchange rates. Fu et al. measure theirs between the layers inside one deep softmax transformer, we between the final
# errors of separately trained models of linear attention. That is another quantity: neither a 3 nor any other number of ours
# says anything about theirs. We set them side by side and draw no conclusion.

# %%
deep, other = (
    "2310.17086, abstract",
    "the layers inside one 12-layer softmax transformer",
)
tripled = rates[masked, first, "Newton"]
per_layer = {k: rates[normed, k, "Newton"] for k in kappas}
claim(
    "newton-regression-newton",
    "With the query masked, a layer is worth so many Newton steps",
    deep,
    published="Newton steps a layer: about 3 [steps]",
    measured=f"{tripled} for kappa = {first}",
    missing=other,
)

# %% [markdown]
# With LayerNorm, and the query among the keys, it is less.

# %%
claim(
    "newton-regression-norm",
    "With LayerNorm, a layer is worth so many Newton steps",
    deep,
    published="Newton steps a layer: about 3 [steps]",
    measured=", ".join(f"{v} for kappa = {k}" for k, v in per_layer.items()),
    missing=other,
)

# %% [markdown]
# Three Newton steps raise the residual to the power 8, so they are worth many times the steps of gradient descent that were
# done before. In our models each layer multiplies these steps by more than the one before it added.

# %%
slow = table[masked, first, "gradient descent"]
growth = [float(v) for v in slow[1:] / slow[:-1]]
claim(
    "newton-regression-descent",
    "With the query masked, each further layer is worth exponentially more steps of gradient descent",
    deep,
    published="exponentially more",
    measured=f"{min(growth):.1f} to {max(growth):.1f} times as many with each layer",
    missing=other,
)

# %% [markdown]
# Last, the plateau. Its cause is named if the masked model is far below the floor that the leverage leaves, and with three
# layers at the optimum of theory.

# %%
three_masked = intervals.bootstrap(without[:, -1], float)
claim(
    "newton-regression-query",
    "With the query masked, three layers of LSA reach the optimum of linear attention",
    against=f"{theory[-1]:.2g}, the exact optimum (squared error / d)",
    measured=f"{three_masked}; not masked {layers[plain, first].mean(0)[-1]:.2g} at best",
    holds=tolerances.overlap(three_masked, theory[-1])
    & tolerances.below(three_masked, floors["c + c' |x|²"]),
)

# %% [markdown]
# ## References
#
# - A. Giannou, L. Yang, T. Wang, D. Papailiopoulos, J. D. Lee. *How well can transformers emulate in-context Newton's
#   method?* 2024. [arXiv:2403.03183](https://arxiv.org/abs/2403.03183)
# - D. Fu, T. Chen, R. Jia, V. Sharan. *Transformers learn to achieve second-order convergence rates for in-context linear
#   regression.* 2023. [arXiv:2310.17086](https://arxiv.org/abs/2310.17086)
#
# ## Exercises
#
# **Exercise 1.** Derive the formula of Sherman and Morrison, $(S + u u^\top)^{-1} = S^{-1} - \frac{S^{-1} u u^\top S^{-1}}{1 +
# u^\top S^{-1} u}$, and with it {eq}`eq-leverage`. Check it on the test prompts.

# %% tags=["hide-cell"]
whole = X.mT @ X + x.unsqueeze(2) * x.unsqueeze(1)
direct = (x * torch.linalg.solve(whole, (X.mT @ Z[:, :-1, -1:])[..., 0])).sum(1)
gap = float((direct - spoilt[:, 0]).abs().max())
print(f"largest difference: {gap:.0e}")
expect(gap < 1e-9)

# %% [markdown]
# **Exercise 2.** A step of order $m$ raises the residual $I - S J$ to the power $m$. So how many steps of order 2 is one of
# order 3 worth? Check it in the table, and on the curves.

# %% tags=["hide-cell"]
second, third = (curves[name, first].tolist() for name in list(methods)[:2])
for k, twin in ((5, 8), (7, 11)):  # 3^5 = 243, 2^8 = 256; 3^7 = 2187, 2^11 = 2048
    if twin <= steps:
        print(f"{k} of order 3: {third[k]:.1e}, {twin} of order 2: {second[twin]:.1e}")
        ratio = np.log(third[k]) / np.log(second[twin])
        expect(abs(ratio * 2**twin / 3**k - 1) < 0.1 or first > 1)
