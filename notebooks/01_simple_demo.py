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
# # A simple demonstration
#
# **Question.** Train a linear transformer to predict $y = w^\top x$ from a handful of examples, with a new $w$ in every
# prompt. It cannot store $w$ in its weights. What does it store there instead?
#
# **What the paper says.** Ahn, Cheng, Daneshmand and Sra ([2023](https://arxiv.org/abs/2306.00297)) show that the trained weights spell
# out an algorithm: gradient descent on the examples in the prompt, preconditioned to the law of the covariates. For
# covariates with identity covariance every learned matrix should become a multiple of the identity, and in their
# experiment it does.
#
# We repeat that experiment at its own scale, with Adam and with SGD, and then read the algorithm off the weights.

# %%
import torch
from scipy.optimize import minimize_scalar

from lintf import pages, plots
from lintf.claims import claim
from lintf.model import LinearTransformer, Trained
from lintf.prompts import LinearRegression
from lintf.solvers import GradientDescent, squared_error
from lintf.theory import distance_to_identity, gradient_descent_weights
from lintf.train import Training, fit

# %% [markdown]
# ## Parameters
#
# The values below are the paper's, and their runs are stored with the book. With any other value the page trains when
# you run it: about a quarter of a minute per algorithm on two CPU cores.

# %% tags=["parameters"]
mode = "normal"  # law of the covariates: "normal", "sphere" or "gamma"
N = 20  # examples in a prompt
d = 5  # dimension of x
n_layer = 3  # layers, one head each
B = 4000  # prompts in a batch, new ones at every step
max_iters = 10_000  # optimiser steps
lr_adam = 1e-3  # the paper's, with betas (0.9, 0.9)
lr_sgd = 0.02  # momentum 0.9; the learning rate that the second paper found best for these prompts
toclip = True  # Adam: global gradient norm at most 1000, as in the paper; SGD: at most 1
seeds = [0, 1, 2]  # one transformer each
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %% [markdown]
# What follows from them:

# %%
pages.check_parameters()
plots.style()
task = LinearRegression(N=N, d=d, mode=mode)
model = LinearTransformer(d=d, n_layer=n_layer, init_std=1e-4)
common = {"max_iters": max_iters, "B": B, "record_every": max(1, max_iters // 200)}
training = {
    "Adam": Training(alg="adam", lr=lr_adam, betas=(0.9, 0.9), clip=1000.0 if toclip else None, **common),
    "SGD": Training(alg="sgd", lr=lr_sgd, momentum=0.9, clip=1.0 if toclip else None, **common),
}

# %% [markdown]
# ## Prompts
#
# A prompt holds $N$ examples and a query. Both the weight $w \sim \mathcal N(0, I)$ and the covariates $x_i$ are drawn
# anew in each, the last row asks for $y$, and noise there is none:
#
# $$
# Z = \begin{pmatrix} x_1 & \cdots & x_N & x_q \\ y_1 & \cdots & y_N & 0 \end{pmatrix}^{\!\top}
# \in \mathbb R^{(N+1) \times (d+1)}, \qquad y_i = w^\top x_i .
# $$

# %%
example = task.sample(1, torch.Generator().manual_seed(0), form="tokens")
print(f"one prompt: Z {tuple(example.Z[0].shape)}, the last of its {N + 1} rows is the query")
print("its answer:", round(float(example.y[0]), 3))

# %% [markdown]
# ## Model
#
# In layer $\ell$ every token attends to the examples, without softmax. With two learned $d \times d$ matrices $P_\ell$ and
# $Q_\ell$ (called $B_\ell$ and $A_\ell$ in the paper's figures),
#
# $$
# x_n \leftarrow x_n + \frac1N \sum_{i \le N} \left( x_n^\top Q_\ell\, x_i \right) P_\ell\, x_i, \qquad
# y_n \leftarrow y_n + \frac1N \sum_{i \le N} \left( x_n^\top Q_\ell\, x_i \right) y_i ,
# $$
#
# and after the last layer the prediction is minus the query's label entry. If $P_\ell = 0$ and $Q_\ell = -\eta N I$, one
# layer is one step of gradient descent, $w \leftarrow w + \eta \sum_i (y_i - w^\top x_i)\, x_i$. We can check that at once,
# with weights built by hand:

# %%
steps = GradientDescent(n_layer, eta=0.01)
by_hand = Trained(model, gradient_descent_weights(n_layer, 0.01, N, d))
exact = task.sample(5, torch.Generator().manual_seed(1), form="tokens", dtype=torch.float64)
gap = (by_hand.predict(exact) - steps.predict(exact)).abs().max()
print(f"{n_layer} layers against {n_layer} steps of gradient descent: largest difference {gap:.0e}")

# %% [markdown]
# ## Training
#
# Nothing tells the model to use such weights. It starts from $P, Q \approx 10^{-4}$ and minimises the mean squared error
# over fresh prompts. All seeds train side by side, each with its own random numbers.

# %%
histories = {name: fit(model, task, t, seeds=seeds, device=device) for name, t in training.items()}

# %% [markdown]
# ## What it learns to predict
#
# We score every recorded model on the same 20,000 prompts, which no training has seen. For comparison: gradient descent
# with as many steps as there are layers, and the best possible step size, found on prompts of its own.

# %%
test = task.sample(20_000, torch.Generator().manual_seed(99))
losses = {name: model.loss(h.params, test) for name, h in histories.items()}  # (seeds, recorded steps)

validation = task.sample(20_000, torch.Generator().manual_seed(98))
largest = 2 * d / float(validation.S.diagonal().sum(-1).mean())  # twice the inverse of S's mean eigenvalue
best = minimize_scalar(
    lambda eta: float(squared_error(GradientDescent(n_layer, eta), validation).mean()), bounds=(0, largest)
)
gd_loss = float(squared_error(GradientDescent(n_layer, best.x), test).mean())
print(f"gradient descent, {n_layer} steps of size {best.x:.4f}: test loss {gd_loss:.4f}")

# %% mystnb={"figure": {"caption": "Test loss of a three-layer linear transformer during training with Adam and with SGD, on 20,000 held-out prompts (d = 5, N = 20, batches of 4000 prompts, 10,000 steps). Line: mean over three seeds; band: their range. Dashed: three steps of gradient descent with the best step size.", "name": "fig-simple-demo-loss"}, "image": {"alt": "Two falling curves on a logarithmic axis. Adam falls smoothly to about one thousandth; SGD falls faster at first and levels off several times higher. Both pass below the dashed line of gradient descent."}}
fig, axes = plots.panels(1, width=6.4, height=3.8)
ax = axes[0, 0]
for name, h in histories.items():
    plots.band(ax, h.steps, losses[name], name)
ax.axhline(gd_loss, color="0.4", linestyle="--", label=f"gradient descent, {n_layer} steps")
ax.set(xlabel="training step", ylabel="test loss (mean squared error)", yscale="log")
plots.legend(ax, len(seeds))

# %% [markdown]
# With Adam the transformer ends far below gradient descent of the same depth, so it must have found something better.
# Its matrices tell what.
#
# ## The learned matrices
#
# Below are the matrices of the first seed after training with Adam. The last layer's $P$ is left out: the
# prediction does not depend on it.

# %%
def draw_matrices(name: str) -> None:
    final = histories[name].final
    fig, axes = plots.panels(n_layer, rows=2, width=2.2, height=2.3)
    for layer in range(n_layer):
        plots.heatmap(axes[0, layer], final["Q"][0, layer, 0], rf"$Q_{layer}$ (paper: $A_{layer}$)")
        axes[1, layer].set_axis_off()
        if layer < n_layer - 1:
            axes[1, layer].set_axis_on()
            plots.heatmap(axes[1, layer], final["P"][0, layer, 0], rf"$P_{layer}$ (paper: $B_{layer}$)")


# %% mystnb={"figure": {"caption": "The learned matrices after 10,000 steps of Adam, seed 0. Red is positive, blue negative; colours are scaled to each matrix.", "name": "fig-simple-demo-adam"}, "image": {"alt": "Five heatmaps of 5 by 5 matrices with numbers. All have a constant diagonal and almost nothing beside it: Q0 about minus 0.71, Q1 about minus 2.6, Q2 about minus 7.1, P0 about 0.35."}}
draw_matrices("Adam")

# %% [markdown]
# They are multiples of the identity, all five, as the theory says. $Q_\ell = -a_\ell I$ is a gradient step of size
# $a_\ell / N$. The new thing is $P_\ell = b_\ell I$ with $b_\ell > 0$: it changes the *covariates* too,
# $x \leftarrow (I - \tfrac{a_\ell b_\ell}{N} S)\, x$ with $S = \sum_i x_i x_i^\top$, and shrinks them most where $S$ is large. The next
# layer then sees a better conditioned problem, and its larger step is safe. SGD finds matrices of the same kind with other numbers:

# %% mystnb={"figure": {"caption": "The learned matrices after 10,000 steps of SGD with momentum, seed 0.", "name": "fig-simple-demo-sgd"}, "image": {"alt": "Five heatmaps of 5 by 5 matrices with numbers, again close to multiples of the identity: Q0 about minus 2.2, Q1 about minus 1.5, Q2 about minus 3.8, P0 about 0.08."}}
draw_matrices("SGD")

# %% [markdown]
# ## How close to the identity?
#
# To follow this over time for all seeds, we measure how far a matrix is from its nearest multiple of the identity:
#
# $$
# \operatorname{dist}(M) = \frac{\lVert M - \tfrac{\operatorname{tr} M}{d} I \rVert_F}{\lVert M \rVert_F} ,
# $$
#
# which is 0 for a multiple of the identity and close to 1 for a random matrix.

# %%
distances = {
    name: {
        **{f"$Q_{i}$": distance_to_identity(h.params["Q"][:, :, i, 0]) for i in range(n_layer)},
        **{f"$P_{i}$": distance_to_identity(h.params["P"][:, :, i, 0]) for i in range(n_layer - 1)},
    }
    for name, h in histories.items()
}

# %% mystnb={"figure": {"caption": "Distance of each learned matrix to a multiple of the identity during training. Line: mean over three seeds; band: their range.", "name": "fig-simple-demo-distance"}, "image": {"alt": "Two panels, Adam and SGD, with five falling curves each on a logarithmic axis. With Adam all end between 0.01 and 0.03. With SGD the Q matrices end below 0.01 and P0 ends highest, near 0.1."}}
fig, axes = plots.panels(2, width=4.2, height=3.6, sharey=True)
for ax, (name, curves) in zip(axes[0], distances.items(), strict=True):
    for label, curve in curves.items():
        plots.band(ax, histories[name].steps, curve, label)
    ax.set(title=name, xlabel="training step", yscale="log")
axes[0, 0].set_ylabel("distance to identity")
plots.legend(axes[0, 1], len(seeds), ncols=2)

# %% [markdown]
# ## Claims
#
# The published numbers come from the figures that the authors' code saved. A test loss is itself random: we compare within two standard
# errors of a mean over our 20,000 prompts and over a test set as large as their batch, 4000.

# %%
final = {name: float(x[:, -1].mean()) for name, x in losses.items()}
spread = squared_error(Trained(model, {k: p[0] for k, p in histories["Adam"].final.items()}), test).std()
error = float(spread) * (1 / 20_000 + 1 / 4000) ** 0.5
claim(
    "simple-demo-loss",
    "With Adam, the test loss after 10,000 steps",
    source="2306.00297, code for the simple demonstration",
    published="about 1.3e-3",
    measured=f"{final['Adam']:.2e} (standard error of the comparison {error:.1e})",
    holds=abs(final["Adam"] - 1.3e-3) < 2 * error,
)

# %%
start = float(losses["Adam"][:, 0].mean())
error = float(test.y.square().std()) * (1 / 20_000 + 1 / 4000) ** 0.5
claim(
    "simple-demo-start",
    "The test loss of the untrained model, which predicts 0: the mean of y squared, in expectation d = 5",
    source="2306.00297, code for the simple demonstration",
    published=5.3,
    measured=f"{start:.2f} (standard error of the comparison {error:.2f})",
    holds=abs(start - 5.3) < 2 * error,
)

# %% [markdown]
# The diagonals that the paper prints have two digits; between the entries and seeds ours vary by about 0.01.

# %%
diagonal = {k: histories["Adam"].final[k][:, 0, 0].diagonal(dim1=-2, dim2=-1) for k in "PQ"}
claim(
    "simple-demo-p0",
    "The diagonal of P in the first layer (paper: B_0), with Adam",
    source="2306.00297, code for the simple demonstration",
    published="0.34 to 0.35",
    measured=f"{diagonal['P'].mean():.3f} (from {diagonal['P'].min():.3f} to {diagonal['P'].max():.3f})",
    holds=abs(float(diagonal["P"].mean()) - 0.345) < 0.015,
)
claim(
    "simple-demo-q0",
    "The diagonal of Q in the first layer (paper: A_0), with Adam",
    source="2306.00297, code for the simple demonstration",
    published="-0.71",
    measured=f"{diagonal['Q'].mean():.3f} (from {diagonal['Q'].min():.3f} to {diagonal['Q'].max():.3f})",
    holds=abs(float(diagonal["Q"].mean()) + 0.71) < 0.015,
)

# %%
last = torch.stack([curve[:, -1].mean() for curve in distances["Adam"].values()])
claim(
    "simple-demo-identity",
    "All five matrices end close to a multiple of the identity, with Adam: distances, means over the seeds",
    source="2306.00297, code for the simple demonstration",
    published="near 1e-2 to 3e-2",
    measured=f"{last.min():.1e} to {last.max():.1e}",
    holds=bool(last.max() < 3.5e-2),
)
claim(
    "simple-demo-sgd",
    "SGD ends several times higher than Adam",
    source="2310.01082, loss figure, at batch 1000",
    published="8e-3 over 1.7e-3, a factor 5",
    measured=f"{final['SGD']:.1e} over {final['Adam']:.1e}, a factor {final['SGD'] / final['Adam']:.1f}",
    holds=bool((losses["SGD"][:, -1] > 2 * losses["Adam"][:, -1]).all()),
)

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** How much does the second kind of matrix buy? Set all $P_\ell$ of a trained model to zero and score it. Is
# what is left, with its $Q_\ell = -a_\ell I$, a good gradient descent?

# %% tags=["hide-cell"]
trained = {k: p[0] for k, p in histories["Adam"].final.items()}
without = Trained(model, {"P": torch.zeros_like(trained["P"]), "Q": trained["Q"]})
print(f"with P {squared_error(Trained(model, trained), test).mean():.4f}")
print(f"without {squared_error(without, test).mean():.4f}, best gradient descent {gd_loss:.4f}")
if n_layer > 1:  # the steps only fit covariates that P has shrunk before
    assert squared_error(without, test).mean() > squared_error(Trained(model, trained), test).mean()

# %% [markdown]
# **Exercise 2.** We left out the last layer's $P$, because it cannot matter. Check that: replace it by random
# numbers, and explain the result from the formulas above.

# %% tags=["hide-cell"]
other = {k: p.clone() for k, p in trained.items()}
other["P"][-1] = torch.randn(1, d, d, generator=torch.Generator().manual_seed(0))
same = Trained(model, other).predict(test)
assert torch.equal(same, Trained(model, trained).predict(test))
print("The same predictions: P moves the covariates after they were used for the last time.")

# %% [markdown]
# ## What we found
#
# - All published numbers of this experiment come back: the loss, the diagonals and the distances.
# - The trained transformer is an algorithm with one step size $a_\ell$ and one shrinkage $b_\ell$ per layer.
#   It beats gradient descent of the same depth by far, because $P$ improves the conditioning between its steps.
# - SGD is faster at first, ends at another solution of the same form, and stays above Adam.
#
# ## References
#
# - K. Ahn, X. Cheng, H. Daneshmand, S. Sra. *Transformers learn to implement preconditioned gradient descent for
#   in-context learning.* NeurIPS 2023. [arXiv:2306.00297](https://arxiv.org/abs/2306.00297)
# - K. Ahn, X. Cheng, M. Song, C. Yun, A. Jadbabaie, S. Sra. *Linear attention is (maybe) all you need (to understand
#   transformer optimization).* ICLR 2024. [arXiv:2310.01082](https://arxiv.org/abs/2310.01082)
# - J. von Oswald et al. *Transformers learn in-context by gradient descent.* ICML 2023.
#   [arXiv:2212.07677](https://arxiv.org/abs/2212.07677)
