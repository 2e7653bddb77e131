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
# # The function a transformer has learned
#
# > **In short.** What a model answers far outside its training range is decided by its architecture. Linear attention is affine in
# > a query that is not a key, a polynomial of degree $3^L$ in one that is, and bounded where a LayerNorm comes last. At ten
# > times the training range three layers with the query masked are wrong by 0.3 percent, until the clipping stops them.
# > There the published kinds are wrong by 53 percent or more. *About 20 seconds; d = 5 in place of 10.*
#
# **Question.** A trained model answers queries like those of its training. What does it answer to a query that is thirty
# times as long?
#
# **What the paper shows.** Giannou et al. ([2024](https://arxiv.org/abs/2403.03183)) move the first coordinate of the query
# from $-100$ to $100$, far beyond the training range, and plot the prediction of trained linear attention beside
# Newton's iteration, whose answer is linear in the query however far it goes.
#
# This page does the same with the models of page 13, [layers and Newton steps](13_newton_regression.ipynb). But first it
# asks what each of them *must* do, whatever its weights. That settles nearly everything.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import torch
from lintf import Prompts, claim, expect
from lintf.analysis.newton import NewtonIteration
from lintf.experiments import newton
from lintf.experiments.newton import predictor
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import told
from lintf.tasks.base import sample_groups
from lintf.tasks.conditioned import ConditionedRegression, moved_query

# %% [markdown]
# ## Parameters
#
# The published values are in brackets, and in `presets/paper`. Other values train when you run the page.

# %% tags=["parameters"]
d = 5  # dimension of the covariates (10)
N = 25  # examples in a prompt (50)
width = 64  # of the hidden states, as published
depths = [1, 2, 3]  # layers (1 to 6)
kappas = [1, 10]  # condition numbers of the covariance (1, 5, 10)
max_iters = 12_000  # Adam's steps (100 000)
B = 256  # prompts in a batch, new at each step (2000)
lr = 1e-3  # learning rate after the warm-up (1e-4)
lr_end = 5e-5  # learning rate of the last steps, as published
clip = 10.0  # bound on the gradient, for models with LayerNorm (None)
seed = 0  # of the trainings
reach = 100.0  # how far the query's first coordinate goes, as published
points = 81  # values of this coordinate
test_prompts = 50  # with the same weights and the same query
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters(
    "d >= 2",
    "width % 4 == 0",
    "min(depths) >= 1 and min(2, depths[-1]) in depths",
    "points >= 5",
)
plots.style()
scale = newton.Scale(d, N, width, max_iters, B, lr, lr_end, clip=clip)
plain, masked, normed = newton.VARIANTS
experiments = scale.regressions([plain, normed], kappas, depths)
first, last = kappas[0], kappas[-1]
experiments |= scale.regressions([masked], [first], depths)

# %% [markdown]
# ## What must happen
#
# Think of the prediction as a function of the query $x_q$, with the examples held fixed. There are three kinds of models: the
# two that were published, and the one of page 13 in which the query is not a key.
#
# - **LSA with the query masked.** No example reads the query, so keys and values do not depend on it. In each layer the
#   query's state $h_q$ gets $\sum_j (q_q^\top k_j)\, v_j$, which is affine in $h_q$. So the prediction is an affine function
#   of the query, *exactly*, as for Newton's iteration and gradient descent. Only the clipping of states to $\pm 10$ can
#   bend it.
# - **LSA.** The query is among the keys and the values too. One layer makes of its state a polynomial of degree 3 (query
#   times key times value), and of the examples' states polynomials of degree 2. Each further layer multiplies the
#   query's degree by three, which makes $3^L$ in all, until the clipping makes it a constant.
# - **LSA + LayerNorm.** The last LayerNorm gives a state of bounded length. With its scale $\gamma$ and shift $\beta$ and
#   the read-out $u$, $b$, no query whatever can draw a larger answer than
#
#   $$
#   |\hat y - b - u^\top \beta| \le \sqrt{64}\; \lVert \gamma \odot u \rVert .
#   $$ (eq-bound)
#
# The first two are about architecture alone. So is the third, up to the size of the last weights, which training keeps as
# small as the answers of training allow. So far outside the first kind is right, the second explodes until its states are
# clipped, and the third is bounded. What remains to be seen is where this begins.
#
# ## Trained models
#
# These are the trainings of page 13, with one seed each.

# %%
runs = newton.trained(experiments, [seed], device=device)
models = {}
for key, experiment in experiments.items():
    models[key] = predictor(experiment, runs[key])

# %% [markdown]
# They all get the same test: one vector of weights $w$, one query, whose first coordinate is moved, and 50 sets of 25
# examples, for each condition number.

# %%
generator = torch.Generator().manual_seed(98)
w = torch.randn(d, generator=generator, dtype=torch.double)
values = torch.linspace(-reach, reach, points, dtype=torch.double)
# %%
X, swept = {}, {}
for k in kappas:
    task = ConditionedRegression(N, d, k)
    drawn = task.sample(test_prompts, generator, dtype=torch.double)
    X[k] = drawn.Z[..., :-1].clone()
    X[k][:, -1] = X[k][0, -1].clone()  # the query
    swept[k] = moved_query(X[k], w, values)

# %% [markdown]
# We compute the answers of all models and of as many steps of Newton's iteration, and the true ones, which depend on the query
# only.


# %%
def by_value(numbers):
    """(prompts, values)"""
    return numbers.flatten().unflatten(0, (-1, test_prompts)).T


lines = {}
for key, model in models.items():
    lines[key] = by_value(model.predict(swept[key[1]]))
for kappa in kappas:
    for L in depths:
        found = NewtonIteration(L).predict(swept[kappa])
        lines["Newton", kappa, L] = by_value(found)
truth = {k: by_value(swept[k].y)[0] for k in kappas}

# %% [markdown]
# As the training range we mark where 99.7 percent of all first coordinates lie in training. For $\kappa = 1$ that is three
# standard deviations. For $\kappa > 1$ every batch has a covariance of its own, with a largest eigenvalue up to 100, so
# there it is a wide one.

# %%
usual = {}
for kappa in kappas:
    task = ConditionedRegression(N, d, kappa)
    many = sample_groups(task, 200, 20, generator).Z[..., 0]
    usual[kappa] = float(many.flatten().abs().quantile(0.997))


# %%
def draw_function(kappa):
    names = dict.fromkeys(name for name, k, _ in lines if k == kappa)
    axes = plots.grid(list(names), xlabel="first coordinate", ylabel="prediction")
    for name, ax in axes.items():
        for L in depths:
            middle = lines[name, kappa, L].median(0).values
            ax.plot(values, middle, label=f"{L}")
        ax.plot(values, truth[kappa], label="w · x", **plots.look("bound", lw=1))
        ax.axvspan(-usual[kappa], usual[kappa], color="0.5", alpha=0.2, lw=0)
        height = 1.3 * float(truth[kappa].abs().max())
        ax.set_ylim(-height, height)
    plots.shared_legend(ax, title="layers or steps", ncols=4)


# %% [markdown]
# First the well-conditioned case.

# %% mystnb={"figure": {"caption": "Prediction against the first coordinate of the query, with one to three layers of each kind, or as many steps of Newton's iteration (d = 5, N = 25, no noise, covariance I; trained for 12,000 steps of 256 prompts, one seed). Lines: medians over 50 sets of examples with the same weights. Dashed: the true answer. Grey: the training range.", "name": "fig-newton-function"}, "image": {"alt": "Four panels from -100 to 100. LSA: wild steps between plateaus at 50 to 70 of either sign. LSA with LayerNorm: flat lines near zero outside a narrow range. LSA with the query masked: two and three layers are on the true line up to about 40 and then level off at 30, one layer levels off at 9. Newton: straight lines, the steeper the more steps."}}
draw_function(first)

# %% [markdown]
# All three behave as derived above. Newton's iteration is a line through the origin, too flat after few steps. Masked models with
# two and three layers follow the true line up to more than ten times the training range; then the clipping cuts them off, and
# the model with a single layer earlier. LSA jumps between plateaus: its polynomial grows so fast that the states reach
# $\pm 10$ just outside the training range, and what is read from a clipped state may have either sign. With LayerNorm the
# answer turns back to nearly nothing.
#
# In numbers we take the median over the prompts of $|\hat y - y|$, in percent of $|y|$, at the end of the training range and
# at three points beyond.

# %%
edges = torch.tensor([usual[first], 10.0, 30.0, 100.0], dtype=torch.double)
at = moved_query(X[first], w, edges)


def shares(answers):
    """(values,)"""
    relative = by_value((answers - at.y) / at.y)
    return relative.abs().median(0).values


# %%
off, rows = {}, []
for key, model in models.items():
    if key[1] == first:
        off[key] = shares(model.predict(at))
        row = {"model": key[0], "layers": key[2]}
        for x, share in zip(edges, off[key], strict=True):
            row[f"at {x:.3g}"] = f"{100 * share:.1f}"
        rows.append(row)
tables.table(
    rows, "Error in percent of the true answer, by the query's first coordinate."
)

# %% [markdown]
# Of the two published kinds the one with LayerNorm is the better one at the end of the training range, one percent off with
# three layers. But at ten, 53 percent of its answer are missing. LSA is 15 percent off or more already at the end of the range:
# a long query has a large leverage {eq}`eq-leverage`. Three masked layers are wrong by 0.3 percent as far as 30, and two by
# 7 percent. A model may be right about all queries of its training without knowing what a line is.

# %%
deepest = depths[-1]
of_lsa = torch.stack([off[plain, first, L] for L in depths])  # (layers, values)
told("one percent off", 0.01, off[normed, first, deepest][0])
told("53 percent of its answer", 0.53, off[normed, first, deepest][1])
told("15 percent off or more", 0.15, of_lsa[:, 0].min())
told("wrong by 0.3 percent", 0.003, off[masked, first, deepest][2])
told("two by 7 percent", 0.07, off[masked, first, min(2, deepest)][2])

# %% [markdown]
# For the larger condition number the training range is wider, and nothing was trained with the query masked. What happens is the
# same, only later:

# %% mystnb={"figure": {"caption": "As {numref}`fig-newton-function`, for models of condition number 10, whose training range is wide because the covariances differ (the masked kind was not trained there).", "name": "fig-newton-function-kappa"}, "image": {"alt": "Three panels from -100 to 100. LSA: near the line around zero, wandering between -12 and 25 elsewhere. LSA with LayerNorm: with three layers on the line from about -20 to 40 and level outside, with fewer layers a hump that falls to zero on both sides. Newton: nearly straight lines, much flatter than the true one."}}
draw_function(last)

# %% [markdown]
# Here even Newton's iteration is far too flat: three steps are not enough for this condition number. With LayerNorm three
# layers follow the line through the training range and a little beyond, and then level off, while one and two layers fall
# back to zero. LSA wanders. Its polynomial is held down here, by weights that must allow for covariates ten times as large.
#
# ## Is theory right?
#
# Along equal steps the second differences of an affine function vanish, and the fourth ones of a cubic, but not its third.
# We take the clipping away and look at the largest difference, relative to the largest answer. In floating-point numbers a
# difference that vanishes is about $10^{-14}$.


# %%
def difference(key, order):
    free = predictor(experiments[key], runs[key], clip=None)
    found = by_value(free.predict(swept[key[1]]))
    return float(found.diff(order).abs().max() / found.abs().max())


affine = max(difference((masked, first, L), 2) for L in depths)
single = plain, first, depths[0]
third = difference(single, 3)
fourth = difference(single, 4)
print(f"masked, second: {affine:.0e}; LSA, third {third:.0e}, fourth {fourth:.0e}")

# %% [markdown]
# The bounds {eq}`eq-bound` of the models with LayerNorm follow from their last weights alone. Beside them stand the smallest and the
# largest answer of the figures, over all sets of examples and all values of the first coordinate.

# %%
limits, rows = {}, []
for key, model in models.items():
    if key[0] == normed:
        low, high = (float(v) for v in model.model.bounds(model.params))
        smallest, largest = float(lines[key].min()), float(lines[key].max())
        limits[key] = low, smallest, largest, high
        names = ("lower bound", "smallest", "largest", "upper bound")
        row = dict(zip(names, limits[key], strict=True))
        rows.append({"κ": key[1], "layers": key[2]} | row)
tables.table(
    rows, "Bounds of the answers with LayerNorm, and the answers of the figures."
)

# %% [markdown]
# The bounds are never reached on this line of queries, but they say enough: whatever one asks, for $\kappa = 1$ no answer is larger
# than 18. For the wider covariances the weights have grown with the labels, and so have the bounds.
#
# ## Claims
#
# The first three are theorems about these architectures, so only rounding may separate them from the models.

# %%
claim(
    "newton-function-affine",
    "With the query masked and nothing clipped, the answer is affine in the query",
    against="algebra: exactly affine",
    measured=f"second differences at most {affine:.0e} of the largest answer",
    holds=tolerances.exact(affine),
)

# %% [markdown]
# Of the polynomials we check the smallest here, that of one layer, and in the first exercise the next.

# %%
claim(
    "newton-function-cubic",
    "One layer of LSA answers with a polynomial of degree 3 in the query",
    against="algebra: exactly cubic",
    measured=f"fourth differences {fourth:.0e}, third {third:.0e}",
    holds=tolerances.exact(fourth) & tolerances.every(third > tolerances.ROUNDING),
)

# %% [markdown]
# The bound holds for any query; we can check it on the queries of the figures only.

# %%
farthest = float(truth[first].abs().max())
most = max(max(-v[0], v[3]) for key, v in limits.items() if key[1] == first)
told("no answer is larger than 18", 18, most)
claim(
    "newton-function-bounded",
    "With LayerNorm no query draws a large answer",
    against="a bound from the last weights",
    measured=f"at most {most:.0f} for any query, where the truth is {farthest:.0f}",
    holds=tolerances.every(*(list(v) == sorted(v) for v in limits.values()))
    & tolerances.every(most < farthest),
)

# %% [markdown]
# The last one is about what was learned: at thirty, ten times the training range, both published kinds are wrong by half of the
# answer or more, and the masked model is still right.

# %%
far = min(float(v[2:].min()) for (name, *_), v in off.items() if name != masked)
near = float(off[masked, first, depths[-1]][2])
told("wrong by 53 percent or more", 0.53, far)
claim(
    "newton-function-range",
    "Far outside the training range the published kinds fail, the masked one does not",
    against="the three above: fail as a figure shows, or follow to what training leaves",
    measured=f"off by {far:.0%} or more at 30 and beyond; masked, {near:.1%} at 30",
    holds=tolerances.every(far > tolerances.LOG_LINE - 1) & tolerances.trained(near),
)

# %% [markdown]
# ## References
#
# - A. Giannou, L. Yang, T. Wang, D. Papailiopoulos, J. D. Lee. *How well can transformers emulate in-context Newton's
#   method?* 2024. [arXiv:2403.03183](https://arxiv.org/abs/2403.03183)
#
# ## Exercises
#
# **Exercise 1.** Show that $L$ layers of LSA without clipping are a polynomial of degree $3^L$ in the query. For two layers,
# check that the tenth differences vanish and the ninth do not. (Near the origin: why is that wise?)

# %% tags=["hide-cell"]
key = plain, first, min(2, depths[-1])
free = predictor(experiments[key], runs[key], clip=None)
near_by = torch.linspace(-4, 4, 24, dtype=torch.double)
found = by_value(free.predict(moved_query(X[first], w, near_by)))
ninth, tenth = (float(found.diff(3 ** key[2] + k).abs().max()) for k in (0, 1))
print(f"differences number {3 ** key[2]}: {ninth:.0e}, and the next: {tenth:.0e}")
expect(tenth < 1e-3 * ninth)

# %% [markdown]
# **Exercise 2.** The truth satisfies $f(s\, x) = s f(x)$. Use this to mend the model with LayerNorm without any training: shrink
# a query that is too long, and stretch the answer. How much is won at 100? Would the same trick mend LSA, too?

# %% tags=["hide-cell"]
key, Z = (normed, first, depths[-1]), at.Z.clone()
stretch = (Z[:, -1, :-1].norm(dim=1) / d**0.5).clamp(min=1)
Z[:, -1, :-1] /= stretch.unsqueeze(1)
mended = shares(stretch * models[key].predict(Prompts(Z, at.y))[0])
rows = []
for x, before, after in zip(edges, off[key], mended, strict=True):
    row = {"first coordinate": x, "as it is": f"{before:.1%}"}
    rows.append(row | {"mended": f"{after:.1%}"})
expect(bool(mended[-1] < 0.1))
tables.table(rows, f"Relative error with LayerNorm and {depths[-1]} layers.")
