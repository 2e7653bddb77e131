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
# # Without P: preconditioned gradient descent
#
# > **In short.** With $P_\ell = 0$ the transformer learns gradient descent preconditioned with $\Sigma^{-1}$, and its
# > three step sizes are the best there are. They are the inverse roots of an orthogonal polynomial, known before any
# > training, and training meets them to within 1 percent. They differ by a factor of four, and halve the loss of equal
# > steps: 0.134 instead of 0.268. Layers with $P$ have a loss that is 200 times smaller still.
# > *About 8 seconds; at the paper's scale.*
#
# **Question.** On rotated prompts the transformer stores a preconditioner in $Q_\ell$ and shrinks the covariates with
# $P_\ell$ between its steps. What is left of the algorithm when $P$ is taken away?
#
# **What the paper says.** Ahn et al. ([2023](https://arxiv.org/abs/2306.00297)) prove that with $P_\ell = 0$ the points
# $Q_\ell = -a_\ell \Sigma^{-1}$ are critical points of the loss. That is exactly preconditioned gradient descent, with
# one step size $a_\ell$ for each layer. They train three layers with $P$ held at zero, and see that $Q_\ell$ becomes a
# multiple of the identity in the whitened coordinates, but not as it stands.
#
# We repeat this at full scale. Without $P$ the best step sizes can also be worked out exactly, so we can check the
# learned ones. You need page 2, [rotated covariates](02_rotation_adam.ipynb), and to have met orthogonal polynomials once.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import numpy as np
import torch
from lintf import FittedModel, LinearTransformer, TrainConfig, claim, expect, fit
from lintf.analysis import isotropic
from lintf.analysis.solvers import best_gradient_descent, squared_error
from lintf.analysis.theory import distance_to_identity, isotropic_weights
from lintf.pages import parameters, play, plots, tables, tolerances, widgets
from lintf.pages.claims import told
from lintf.tasks.rotated import Rotated, whitened

# %% [markdown]
# ## Parameters
#
# These are the paper's, and their runs are stored with the book. With other values the page trains when you run it: at
# this scale for two to three minutes on two CPU cores.

# %% tags=["parameters"]
N = 20  # examples in a prompt
scales = [1.0, 1.0, 0.5, 0.25, 1.0]  # standard deviations of x along its axes
n_layer = 3  # layers, one head each
B = 20_000  # prompts in a batch
redraw_every = 100  # optimiser steps on one batch
max_iters = 30_000  # optimiser steps
lr = 0.02  # of Adam, with betas (0.99, 0.9)
halve_every = 2000  # steps after which the learning rate is halved
clip = 0.01  # bound on the norm of each matrix's gradient
seeds = [0, 1, 2, 3, 4]  # one transformer and one rotation each
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %% [markdown]
# The model has no free $P$: its only parameters are the $Q_\ell$.

# %%
parameters.check_parameters()
plots.style()
rotations, d = Rotated(seeds, N, scales), len(scales)
model = LinearTransformer(d=d, n_layer=n_layer, init_std=1e-4, free_P=False)
common = {"betas": (0.99, 0.9), "clip": clip, "clip_by": "matrix", "lr": lr}
common |= {"B": B, "redraw_every": redraw_every, "halve_every": halve_every}
stride = max(1, max_iters // 50)
config = TrainConfig(max_iters=max_iters, record_every=stride, **common)

# %% [markdown]
# ## What the best steps are
#
# With $P_\ell = 0$ the covariates never change. In the whitened coordinates, where $x$ has identity covariance, let $t$
# be an eigenvalue of $S / N$, with $S = \sum_i x_i x_i^\top$. Along its eigenvector a layer $Q_\ell = -a_\ell I$
# multiplies the error by $1 - a_\ell t$, so that after all layers it has shrunk by
#
# $$
# \begin{aligned}
# r(t) &= \prod_{\ell} (1 - a_\ell\, t), \\
# \text{population loss} &= \mathbb E \sum_{i=1}^d r(t_i)^2 .
# \end{aligned}
# $$ (eq-residual)
#
# In {eq}`eq-residual` the condition $r(0) = 1$ says that no method learns anything about a direction that no example has.
# Among all polynomials of degree $L$ with this condition, the best one is found by least squares, for the
# density of the eigenvalues. $S$ is a Wishart matrix, so this density is known exactly:

# %% tags=["show"]
t, weight = isotropic.spectrum(N, d)  # nodes and weights of the density
powers = t[:, None] ** np.arange(1, n_layer + 1)  # r(t) = 1 + sum_k c_k t^k
root = np.sqrt(weight)
c = np.linalg.lstsq(root[:, None] * powers, -root, rcond=None)[0]
best_steps = np.sort((1 / np.roots([*c[::-1], 1])).real)
print("the best steps are", ", ".join(f"{a:.3f}" for a in best_steps))

# %% [markdown]
# The best $r$ is a classical object. For any $p$ of lower degree, moving
# $r$ to $r + \varepsilon\, t\, p$ must not help, and so $\mathbb E \sum_i r(t_i)\, t_i\, p(t_i) = 0$. That is: the best
# $r$ is the orthogonal polynomial of degree $L$ for the density of the eigenvalues times $t$, and Lanczos' recursion
# finds it to many digits. Its roots are positive,
# and the step sizes are their inverses, in any order, since the layers commute. The same polynomials stand behind the
# conjugate gradient method, which finds them anew for each matrix; here they are fixed once, for the average over all
# prompts. Computed as orthogonal polynomials, the steps are the same:

# %%
exact = isotropic.best_polynomial(n_layer, N, d)
equal = isotropic.best_gradient_descent(n_layer, N, d)
rows = [
    {"steps": name}
    | {f"step {k}": a for k, a in enumerate(best.a, 1)}
    | {"loss": best.loss}
    for name, best in {"different": exact, "equal": equal}.items()
]
told("a factor of four", 4, max(exact.a) / min(exact.a))
told("0.134 instead", 0.134, exact.loss)
told("instead of 0.268", 0.268, equal.loss)
tables.table(
    rows, "The best steps, in units of 1 / N, and their population loss, exactly."
)

# %% [markdown]
# Different steps are worth much: the loss of three equal ones is twice as high. So gradient descent with one tuned step
# size is *not* what the transformer should learn. It should learn three steps of different length.
#
# ## Try it
#
# Before the network does it, find the three steps yourself. The picture has a slider for each
# step, and gives the loss above the curves. It starts with equal steps, of about the best size. Every step $a$ puts a root of $r$
# at $1 / a$, and the roots of equal steps lie on top of each other. Shorten one step and lengthen another, so that the
# roots spread under the grey density of the eigenvalues. How close do you come to the dotted curve? Then look at the price of a long step: set one to
# 2.5 and the others to 0.05, and then lengthen one of the others. Last, exchange the sizes of two steps.

# %%
sizes = [round(0.05 * k, 2) for k in range(1, 51)]
none = [0.0] * (n_layer - 1)  # without P
data = play.spectrum_data(N, d)
data |= {"best": isotropic.residual(exact.a, exact.b, data["t"]), "least": exact.loss}

# %% [markdown]
# The picture shows what this function returns, and the curve of the best steps.


# %%
def steps_by_hand(**a):
    """The error that steps of these sizes leave at every eigenvalue, and the loss."""
    left = isotropic.residual([*a.values()], none, data["t"])
    return {
        "left": left,
        "loss": isotropic.population_loss([*a.values()], none, N, d),
    }


# %% [markdown]
# A panel names its curves by the keys of what the function returns, or of the data beside it.

# %%
panel = {"xlabel": "eigenvalue $t$ of $S / N$", "ylabel": "error left, $r(t)$"}
panel |= {"xlim": (0, 4.5), "ylim": (-0.7, 1.05)}
panel["areas"] = [{"name": "density of $t$, scaled", "x": "t", "y": "rho"}]
panel["curves"] = [
    {"name": "steps by hand", "x": "t", "y": "left", "look": "trained"},
    {"name": "best steps", "x": "t", "y": "best", "look": "best"},
]
near = {f"a{k}": min(sizes, key=lambda v: abs(v - a)) for k, a in enumerate(exact.a, 1)}

# %% mystnb={"figure": {"caption": "The error that three steps leave in a direction with eigenvalue t, for equal steps of 0.7 and for the best steps (d = 5, N = 20; computed exactly). Shaded: density of the eigenvalues, scaled. Sliders set the size of each step.", "name": "fig-rotation-p0-play"}, "image": {"alt": "Two curves over eigenvalues from 0 to 4.5 that fall from 1. That of equal steps touches zero near 1.4, where it is flat, and drops steeply from 2 on. The dotted one of the best steps crosses zero at 0.6, 1.5 and 2.4 and stays within 0.15 of it in between. The title gives the losses, 0.270 and 0.134."}}
play.Figure(
    "steps",
    steps_by_hand,
    data,
    [panel],
    title=[("loss", "loss"), ("best", "least")],
    buttons={"Best steps": near},
    **{f"a{k}": widgets.slider(f"step {k}", sizes, 0.7) for k in range(1, n_layer + 1)},
)

# %% [markdown]
# Steps of 0.4, 0.7 and 1.7 come within 2.4 percent of the best loss. A long step has its root at a small eigenvalue, where
# equal steps leave most of their error, and by itself it would multiply the error in all large directions. A
# short step has its root out there and makes up for it: each of the three best steps allows the others. The order does not
# matter, only the sizes do.
#
# ## Training
#
# Nothing of this is given to the network. It starts from matrices with entries of size $10^{-4}$, and is trained with the
# recipe of page 2: a batch serves for 100 steps, the gradient of each matrix is bounded, and the learning rate is halved
# again and again. If it finds the three steps, it finds them in the prompts.

# %%
guess = isotropic.population_loss([0.4, 0.7, 1.7], [0.0, 0.0], N, d)
told("within 2.4 percent", 0.024, guess / exact.loss - 1)
run = fit(model, rotations.task, config, seeds, device=device)

# %% [markdown]
# We test on 20,000 prompts of each seed's own law. Beside the exact numbers goes gradient descent with $\Sigma^{-1}$
# and equal steps, tuned on other prompts the way one would without any theory. And beside it go the best layers with $P$,
# which page 7, [theory](07_theory.ipynb), computes for the prompts that a training can meet.

# %%
test, UD = rotations.sample(20_000, 99), rotations.UD  # UD: (seeds, d, d)
losses = run.losses(model, test)  # (seeds, steps)
precision = rotations.precision.float()
descent = best_gradient_descent(n_layer, rotations.sample(20_000, 98), precision)
descent_loss = float(squared_error(descent, test).mean())
rows = {"transformer, P = 0": float(losses[:, -1].mean()), "best steps": exact.loss}
rows |= {f"equal steps of {descent.eta * N:.3f}, tuned": descent_loss}
if n_layer <= 4:  # up to there it is computed
    with_P = isotropic.optimum(
        n_layer, N, d, rare=min(0.1, redraw_every / B / max_iters)
    )
    rows["best layers with P"] = with_P.loss
    told("200 times smaller", 200, exact.loss / with_P.loss)
rows = [{"method": k, "loss (squared error)": v} for k, v in rows.items()]
tables.table(
    rows,
    "Loss of all methods of this depth: of the first and third on test prompts, of the others computed.",
)

# %% mystnb={"figure": {"caption": "Test loss of a three-layer linear transformer with P = 0 during training on rotated prompts (d = 5, N = 20; 30,000 steps of Adam, a new batch of 20,000 prompts every 100; 20,000 held-out prompts for each seed). Lines: mean over five seeds with a rotation each; band: smallest to largest. Dashed: preconditioned gradient descent with equal steps, tuned. Dotted: the exact optimum with different steps.", "name": "fig-rotation-p0-loss"}, "image": {"alt": "A curve on logarithmic axes falls from 5, passes the dashed line at 0.27, and settles on the dotted line at 0.13."}}
_, ((ax,),) = plots.panels()
plots.band(ax, run.steps, losses, "transformer, P = 0")
descent = plots.look("preconditioned GD")
ax.axhline(descent_loss, label="equal steps, tuned", **descent)
ax.axhline(exact.loss, label="best steps, exact", **plots.look("best"))
ax.set(xlabel="training step", ylabel="test loss (mean squared error)")
ax.set(yscale="log", xscale="symlog", xlim=(10, None))
plots.ticks(ax.yaxis, (1, 1.5, 2, 3, 5))
plots.legend(ax, len(seeds))

# %% [markdown]
# The transformer settles on the dotted line, with every seed: it finds the best three steps there are. The rest
# of the advantage on page 2 is due to $P$: with it, each layer also changes the eigenvalues that the next layer meets, and
# the polynomial has a higher degree than there are layers. How much higher is shown on page 5, depth.
#
# ## The learned matrices
#
# On the left the matrices of the first seed as they stand, on the right the same in the coordinates in which the
# covariates have identity covariance.

# %% mystnb={"figure": {"caption": "The learned matrices at the end of the training of {numref}`fig-rotation-p0-loss`, for the first of five seeds, as they stand (left) and whitened (right). Red is positive, blue negative; colours are scaled to each matrix.", "name": "fig-rotation-p0-matrices"}, "image": {"alt": "Six heatmaps of 5 by 5 matrices. The left ones have large entries of both signs all over. The right ones have constant diagonals of about minus 0.69, minus 0.42 and minus 1.72 and almost nothing beside them."}}
Q = run.final_params["Q"][:, :, 0]  # (seeds, layers, d, d)
plots.matrices({"Q": Q[0], "whitened Q": whitened(Q, UD)[0]})

# %% [markdown]
# The diagonals on the right are the step sizes, and they are the predicted ones. The network has an order of its own: the
# middle step first, then the short one, and the long one last. For the finished algorithm all orders are equally good,
# since the layers commute, and yet all five seeds choose this one. Presumably it is the easiest to reach from small
# random matrices:

# %%
steps = -whitened(Q, UD).diagonal(dim1=-2, dim2=-1).mean(-1)  # (seeds, layers)
rows = [
    {"seed": seed} | {f"layer {k}": step for k, step in enumerate(a)}
    for seed, a in zip(seeds, steps, strict=True)
]
tables.table(
    rows, "Learned steps, in units of 1 / N: means over the whitened diagonals."
)

# %% [markdown]
# ## How close to the identity?
#
# The distance of $\Sigma^{-1}$ itself from a multiple of the identity is a fixed number, and this is where the $Q_\ell$
# as they stand should go, if their whitened forms go to zero.

# %% mystnb={"figure": {"caption": "Distance {eq}`eq-distance` to a multiple of the identity during the training of {numref}`fig-rotation-p0-loss`, of Q as it stands (dashed) and whitened. Lines: mean over five seeds with a rotation each; band: smallest to largest. Dotted: the distance of the inverse covariance.", "name": "fig-rotation-p0-distance"}, "image": {"alt": "Three curves of the whitened matrices fall from near 0.9 to about 0.01. The three curves of the matrices as they stand settle on a dotted line at 0.78."}}
over_time = run.params["Q"][:, :, :, 0]  # (seeds, steps, layers, d, d)
_, ((ax,),) = plots.panels(height=3.6)
columns = {"whitened Q": whitened(over_time, UD), "Q": over_time}
far = float(distance_to_identity(precision).mean())
ax.axhline(far, **plots.look("guide"))
plots.distances(ax, run.steps, columns)

# %% [markdown]
# ## Claims
#
# The published statement is about both families of curves. What a training leaves of a distance is the scatter of its weights,
# two percent; and as they stand, the matrices should be as far from the identity as the inverse covariance is.

# %%
source = "chengxiang/LinearTransformer, rotation demonstration-Adam-p0.ipynb"
near = distance_to_identity(whitened(Q, UD))
raw = distance_to_identity(Q)
claim(
    "rotation-p0-whitened",
    "With P = 0, the whitened Q go to a multiple of the identity",
    source,
    published="distances fall towards zero",
    measured=f"distances {near.min():.3f} to {near.max():.3f}",
    holds=tolerances.trained(near),
)
claim(
    "rotation-p0-raw",
    "With P = 0, the Q as they stand do not",
    source,
    published="distances stay large",
    measured=f"{raw.min():.3f} to {raw.max():.3f}; inverse covariance {far:.3f}",
    holds=tolerances.trained(raw / far - 1),
)

# %% [markdown]
# Theory and experiment agree on the steps themselves, whose order is free. The learned diagonals vary by about 0.005
# between entries and seeds, because the learning rate never quite reaches zero; we allow 2 percent. The loss is a mean
# over prompts, so it may differ from the exact one by three standard errors.

# %%
expected = torch.tensor(exact.a)
claim(
    "rotation-p0-steps",
    "The learned steps are the inverse roots of the orthogonal polynomial",
    against=", ".join(f"{a:.3f}" for a in exact.a) + ", computed exactly",
    measured=", ".join(f"{a:.3f}" for a in steps.sort(1).values.mean(0)),
    holds=tolerances.trained(steps.sort(1).values / expected - 1),
)
told("to within 1 percent", 0.01, (steps.sort(1).values / expected - 1).abs().max())
trained = FittedModel(model, run.final_params)
errors = squared_error(trained, test)  # (seeds, prompts)
error = float(errors.std()) / errors.numel() ** 0.5
claim(
    "rotation-p0-loss",
    "The test loss at the end is that of the best three steps",
    against=f"{exact.loss:.4f}, computed exactly",
    measured=f"{errors.mean():.4f}, the difference may be {tolerances.allowed(error):.4f}",
    holds=tolerances.by_chance(errors.mean(), exact.loss, error),
)

# %% [markdown]
# ## References
#
# - K. Ahn, X. Cheng, H. Daneshmand, S. Sra. *Transformers learn to implement preconditioned gradient descent for
#   in-context learning.* NeurIPS 2023. [arXiv:2306.00297](https://arxiv.org/abs/2306.00297)
# - B. Fischer. *Polynomial Based Iteration Methods for Symmetric Linear Systems.* Wiley-Teubner 1996.
#
# ## Exercises
#
# **Exercise 1.** Put the steps in another order, by exchanging the layers of the trained model. What happens to the
# predictions, and why would that be different with a free $P$?

# %% tags=["hide-cell"]
turned = FittedModel(model, {"Q": run.final_params["Q"].flip(1)}).predict(test)
gap = (turned - trained.predict(test)).abs().max() / test.y.std()
print(f"largest change of a prediction, in units of the answers: {float(gap):.3f}")
expect(gap < 0.5)  # nearly commuting: interchangeable layers

# %% [markdown]
# **Exercise 2.** Build the best three steps by hand and score them on the test prompts. Is the trained transformer better
# or worse, and by how much?

# %% tags=["hide-cell"]
by_hand = isotropic_weights(exact.a, exact.b, precision)
hand_errors = squared_error(FittedModel(model, {"Q": by_hand["Q"]}), test)
print(f"trained {errors.mean():.4f}, by hand {hand_errors.mean():.4f}")
expect(n_layer == 1 or hand_errors.mean() < descent_loss)
