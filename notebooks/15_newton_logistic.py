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
# # Newton steps for logistic regression
#
# > **In short.** Four layers of a small softmax transformer come as near to the solution of a logistic regression as 10
# > damped Newton steps, or as 14 for points of condition number 10. Most of that is the damping: in full steps the four
# > layers are worth three to five. Every further layer helps, but less than the one before, while Newton's method squares
# > its error at the end. Trained on the true weights, the model comes within 12 percent of the smallest possible error.
# > *About 15 seconds; width 64 in place of 256, four layers in place of twenty.*
#
# **Question.** A logistic regression has no solution in closed form. Can a transformer find the one that Newton's method
# finds, and how many of its steps does a layer replace?
#
# **What the paper says.** Giannou et al. ([2024](https://arxiv.org/abs/2403.03183)) prove that transformers with linear
# attention and ReLU layers can do *damped* Newton steps, so that an error of $\varepsilon$ costs of the order of
# $\log(1/\varepsilon)$ layers. Then they train softmax transformers of up to 20 layers to write down the weights. They
# compare the distance from Newton's solution with that after so many Newton steps.
#
# We repeat this with up to four layers. We also train models to find the *true* weights. No estimate of these can have
# an error below that of the posterior mean, which we compute.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
from dataclasses import replace

import torch
from lintf.analysis import intervals
from lintf.experiments import newton
from lintf.experiments.newton import steps_worth
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import claim, expect, told
from lintf.tasks import logistic
from lintf.tasks.base import sample_groups
from lintf.tasks.logistic import LogisticRegression, posterior_mean

# %% [markdown]
# ## Parameters
#
# The published values are in brackets, and in `presets/paper`. Other values train when you run the page; the models of
# this one took half an hour on two cores.

# %% tags=["parameters"]
d = 5  # dimension of the points, as published
N = 25  # labelled points, as published
mu = 0.01  # weight of the penalty, as published
width = 64  # of the hidden states (256)
depths = [0, 1, 2, 4]  # layers (0, 1, 6, 12, 15, 20)
kappas = [1, 10]  # condition numbers of the covariance (1, 10, 50)
max_iters = 10_000  # Adam's steps (1000)
B = 128  # prompts in a batch, new at each step (2000)
lr = 1e-3  # learning rate after the warm-up (1e-4)
lr_end = 5e-5  # learning rate of the last steps, as published
warmup = 1000  # first steps, in which the rate rises to it (0)
clip = 10.0  # bound on the length of the gradient (None)
seed = 0  # of the trainings
steps = 20  # damped Newton steps
test_groups = 50  # covariances among the test prompts
test_prompts = 40  # test prompts with each of them
sweeps = 200  # of the sampler behind the best estimate
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters(
    "d >= 2", "width % 4 == 0", "len(depths) >= 2", "test_groups >= 2"
)
plots.style()
scale = newton.Scale(d, N, width, max_iters, B, lr, lr_end, warmup, clip)
last = kappas[-1]

# %% [markdown]
# ## The problem
#
# A prompt has 25 points $x_i$ with labels $y_i = \operatorname{sign}(w^\top x_i)$ and one more point without a label. The
# points have a random covariance of condition number $\kappa$, as on page 13, [Newton steps](13_newton_regression.ipynb).
# What is to be found is
#
# $$
# w^* = \arg\min_v \; \frac1N \sum_{i=1}^N \log\left(1 + e^{-y_i v^\top x_i}\right) + \frac{\mu}{2} \lVert v \rVert^2 .
# $$ (eq-logistic)
#
# The damped Newton step of the paper is
#
# $$
# v \leftarrow v - \frac{2\sqrt\mu}{2\sqrt\mu + \lambda} H^{-1} g, \qquad \lambda = \sqrt{g^\top H^{-1} g},
# $$ (eq-damped-step)
#
# with gradient $g$, Hessian $H$, and the *decrement* $\lambda$, which measures the distance from the solution. Far from the
# solution the steps are short, so that each of them lowers the loss. Near the solution they become full Newton steps, and
# each squares the error. We take them until $\lambda < 10^{-10}$. All methods of this page are scored on the same 2000
# prompts, with 50 covariances.

# %%
prompts, given = {}, {}
solution, iterates = {}, {}
for kappa in kappas:
    task = LogisticRegression(N, d, kappa, mu, "truth")  # so that w is the true one
    g = torch.Generator().manual_seed(97)
    batch = sample_groups(task, test_groups, test_prompts, g, "labels", torch.double)
    examples = batch.Z[:, :-1]
    X, labels = examples[..., :-1], examples[..., -1]
    prompts[kappa] = batch
    given[kappa] = X, labels
    solution[kappa] = logistic.logistic_newton(X, labels, mu)
    iterates[kappa] = logistic.logistic_newton(X, labels, mu, steps)

# %% [markdown]
# ## The models
#
# The transformer is a full one: softmax attention with four heads, a ReLU network of $4 \cdot 64$ units in each layer,
# LayerNorm, and learned positions. A linear map reads five weights from the last state. The loss is their squared
# distance from $w^*$, or, for the larger condition number, also from the true $w$. Training and answers are in single
# precision.
#
# There are three differences to the paper. First, its $w^*$ also knows the label of the last point, which its model is not
# shown. Ours does not know it. Second, the released configuration trains for 1000 steps of 2000 prompts, without a warm-up and
# without a bound on the gradient. Ours trains for ten times as many steps of 128 prompts, with a warm-up in the first tenth
# and gradients clipped to length 10. Third, 6 to 20 layers and $\kappa = 50$ are only in `presets/paper`.

# %%
targets = {("newton", k) for k in kappas} | {("truth", last)}
experiments = {}
for target, k in sorted(targets):
    for L in depths:
        experiments[target, k, L] = scale.logistic(target, k, L, mu)
runs = newton.trained(experiments, [seed], device=device)
single = {k: batch.to(torch.float) for k, batch in prompts.items()}


# %% [markdown]
# The answers of a trained model to the test prompts, as (prompts, d):


# %%
def weights_of(experiment, run, prompts):
    answers = experiment.model.predict(run.final_params, prompts)
    return answers[0].double()


found = {}
for key, experiment in experiments.items():
    found[key] = weights_of(experiment, runs[key], single[key[1]])

# %% [markdown]
# How far would the label of the last point move $w^*$? By 0.01 in mean square over $d$, for either condition number:

# %%
for k, batch in prompts.items():
    X = batch.Z[:, :, :-1]
    labels = torch.where(X @ batch.w.unsqueeze(-1) < 0, -1.0, 1.0)
    moved = logistic.logistic_newton(X, labels[..., 0], mu) - solution[k]
    told("By 0.01 in mean square", 0.01, moved.square().mean())

# %% [markdown]
# There are two scores: the squared distance from $w^*$ over $d$, and the loss above its minimum. Intervals come from a
# bootstrap over the 50 covariances.


# %%
def distance(estimates, to):
    """(groups, estimates)"""
    gaps = (torch.stack(list(estimates)) - to).square().mean(-1)
    return intervals.by_group(gaps, test_groups)


def excess(estimates, kappa):
    """(estimates,)"""
    loss = logistic.logistic_loss(torch.stack(list(estimates)), *given[kappa], mu)
    least = logistic.logistic_loss(solution[kappa], *given[kappa], mu)
    return (loss - least).mean(1)


# %% [markdown]
# First the distances of the layers' answers and of the damped steps, for all groups of prompts with a common covariance:

# %%
layers, near, damped = {}, {}, {}
for k in kappas:
    layers[k] = [found["newton", k, L] for L in depths]
    near[k] = distance(layers[k], solution[k])
    damped[k] = distance(iterates[k], solution[k]).mean(0)

# %% [markdown]
# The damping in {eq}`eq-damped-step` is a precaution. Is it needed here? We take full Newton steps, also from zero:

# %%
full = {}
for k in kappas:
    v = torch.zeros_like(solution[k])
    path = [v]
    for _ in range(8):
        g, H = logistic.logistic_derivatives(v, *given[k], mu)
        v = v - torch.linalg.solve(H, g)
        path.append(v)
    full[k] = distance(path, solution[k]).mean(0)
print("after 8 full steps:", ", ".join(f"{full[k][-1]:.0e}" for k in kappas))

# %% [markdown]
# Full steps lead to the solution, too: the printed numbers are the distances after eight of them, one for each $\kappa$. So the
# damping is not needed here. It only makes Newton's method slower, as the figure shows, and layers have to be compared with
# both kinds of steps.
#
# ## Layers against steps

# %% mystnb={"figure": {"caption": "Mean squared distance of the weights from the solution w* of {eq}`eq-logistic`, over d, for transformers with 0 to 4 layers, and after damped and full Newton steps from zero (d = 5, N = 25, penalty 0.01; width 64 instead of 256; 10,000 training steps of 128 prompts, where the released configuration has 1000 of 2000; one seed; 2000 test prompts).", "name": "fig-newton-logistic"}, "image": {"alt": "Two panels, on a logarithmic axis. Solid lines with dots fall from 3 or 1 at no layers to 0.003 and 0.015 at four layers, steeply for the first two. Dashed lines of full steps fall slowly first and then almost vertically, near 4 and 7 steps. Dotted lines of damped steps hardly fall before 8 and 12 steps, then vertically."}}
axes = plots.grid([rf"$\kappa$ = {k}" for k in kappas], ylabel="distance² from w* / d")
for k, ax in zip(kappas, axes.values(), strict=True):
    ax.plot(damped[k], label="damped steps", **plots.look("Newton", ls=":"))
    ax.plot(full[k], label="full steps", **plots.look("Newton", ls="--"))
    ax.plot(depths, near[k].mean(0), label="layers", **plots.look("trained", True))
    ax.set(yscale="log", ylim=(1e-4, 5), xlabel="layers or steps")
plots.shared_legend(ax, ncols=3)

# %% [markdown]
# The curves of Newton's method begin flat and end almost vertically. Those of the layers begin steep and then flatten. How
# many steps come as near as the layers? We interpolate the logarithm of the distance between two steps, so that 9.4 means a
# little nearer than after nine.

# %%
worth, rows = {}, []
for k in kappas:
    e = near[k].mean(0).numpy()
    slow = steps_worth(e, damped[k].numpy())
    fast = steps_worth(e, full[k].numpy())
    above = excess(layers[k], k)
    worth[k] = slow, fast, above
    for i, L in enumerate(depths):
        interval = str(intervals.bootstrap(near[k][:, i], float))
        row = {"κ": k, "layers": L, "distance² / d": interval}
        row |= {"damped steps": slow[i], "full steps": fast[i]}
        rows.append(row | {"loss above minimum": above[i]})
tables.table(rows, "The layers' answers, and the steps that come as near.", digits=2)

# %% [markdown]
# The first layer is worth seven damped steps for $\kappa = 1$, and ten for $\kappa = 10$. That says less about
# the layer than about the damping: seven damped steps are two full ones. The second layer is worth one more full step. Two
# more layers together bring 0.4 of a full step for $\kappa = 1$, and 0.9 for $\kappa = 10$.
#
# So where Newton's method becomes fast, at the end, the layers become slow. Some of this may be lack of training. But a
# network that was trained to be near on average has little reason to be exact.
#
# The last column has a surprise for $\kappa = 10$. With one layer the distance is that of ten damped steps, but the loss
# above the minimum is eight times theirs. The distance counts all directions alike. The loss does not: along the directions in
# which the points are spread most, a small error costs much. The model was trained on distances and does not spare them.

# %%
if (depths, kappas) == ([0, 1, 2, 4], [1, 10]):
    slow, fast, _ = worth[1]
    told("as 10 damped Newton steps", 10, slow[3])
    told("worth three to five", 3, fast[3])
    told("worth seven damped steps", 7, slow[1])
    told("0.4 of a full step", 0.4, fast[3] - fast[2])
    slow, fast, above = worth[10]
    told("or as 14 for points", 14, slow[3])
    told("worth three to five", 5, fast[3])
    told("0.9 for $\\kappa = 10$", 0.9, fast[3] - fast[2])
    theirs = excess(iterates[10], 10)[10]
    told("is eight times theirs", 8, above[1] / theirs)

# %% [markdown]
# ## The truth instead
#
# Newton's solution is not the $w$ that made the labels. It cannot be: the labels do not change if $w$ is made longer. So
# nothing but the law $\mathcal N(0, I)$ says how long $w$ is, and the penalty chooses another length. How well can $w$ be
# estimated at all? The best estimate is the posterior mean $\mathbb E[w \mid x, y]$: the mean of a Gaussian, restricted to the
# cone of all $w$ that give these labels. There is no formula for it, but Gibbs sampling computes it. It goes through the
# coordinates, and draws each of them between the bounds that the other coordinates and the labels leave. It may start
# at the $w$ that made the labels, since this is itself a draw from the law that is to be sampled.
#
# We compare the posterior mean with Newton's solution, with the multiple of it that is best on the test prompts, and with the
# models that were trained on the true weights.

# %%
w = prompts[last].w
g = torch.Generator().manual_seed(1)
posterior = posterior_mean(*given[last], w, sweeps, g)
newtons = solution[last]
best = (newtons * w).sum() / newtons.square().sum()
estimates = {
    "zero": torch.zeros_like(w),
    "Newton's solution": newtons,
    f"{best:.2f} times that": best * newtons,
    **{f"{L} layers": found["truth", last, L] for L in depths},
    "posterior mean": posterior,
}

# %% [markdown]
# An estimate's error is its mean squared distance from the true $w$ over $d$. The law of $w$ makes it 1 for an estimate that is
# always zero.

# %%
gaps = distance(estimates.values(), w)  # (groups, estimates)
errors = dict(zip(estimates, gaps.T, strict=True))
scores, rows = {}, []
for name, e in errors.items():
    scores[name] = intervals.bootstrap(e, float)
    rows.append({"estimate": name, "error": str(scores[name])})
tables.table(rows, f"Mean squared distance from the true w, over d, for κ = {last}.")

# %% [markdown]
# Newton's solution has an error of 0.26, partly because it is too long. Its best multiple has an error of 0.22, and so have
# the answers of two layers. With four layers the error is 0.19, close to the least possible one of 0.17. So a network that is
# shown 25 signs answers with nearly the mean of a Gaussian in a polyhedral cone, for which there is no formula. Newton's
# method cannot lead there, as it solves another problem.

# %%
_, newtons, rescaled, *by_depth, least = (score.value for score in scores.values())
told("an error of 0.26", 0.26, newtons)
told("an error of 0.22", 0.22, rescaled)
told("and so have the answers of two layers", 0.22, by_depth[-2])
told("the error is 0.19", 0.19, by_depth[-1])
told("the least possible one of 0.17", 0.17, least)

# %% [markdown]
# ## Claims
#
# More layers come nearer to Newton's solution, for both condition numbers. For each of them we take the smallest ratio of
# successive distances. The claim holds if its interval lies above 1.

# %%
source = "2403.03183, section on experiments with logistic regression"
runs_of = f"width {width}, {depths[-1]} layers, {max_iters:,} steps of {B} prompts"
gains = {}
for k in kappas:
    gains[k] = intervals.bootstrap(near[k], lambda e: (e[:-1] / e[1:]).min())
said = [f"by {gain} for kappa = {k}" for k, gain in gains.items()]
claim(
    "newton-logistic-layers",
    "The distance from Newton's solution falls with every further layer",
    source,
    published="it falls",
    measured=", ".join(said),
    holds=tolerances.above(gains.values(), 1),
    scale=runs_of,
)

# %% [markdown]
# The released configuration does not bound the gradient, and ours does. The bound could shape what is learned. So we train
# one model without it, with the same seed and for the larger condition number, where gradients are largest. Its distance must
# lie between those with a layer less and with a layer more. What else differs from the release (more steps, smaller batches, a
# warm-up, a smaller width) is a matter of scale, and stands with the other claim.

# %%
key = ("newton", last, depths[1])
free = replace(scale, clip=None).logistic(*key, mu)
run = newton.trained({key: free}, [seed], device=device)
answer = weights_of(free, run[key], single[last])
lone = distance([answer], solution[last])[:, 0]

# %%
less, same, *more = near[last].T
bounded = intervals.bootstrap(same, float)
following = more[0] if more else same
nearby = [intervals.bootstrap(e, float) for e in (less, lone, following)]
claim(
    "newton-logistic-bound",
    "Our bound on the gradient does not decide the order of depths",
    against="the distances with a layer less and more, trained with the bound",
    measured=f"{nearby[1]} without it, {bounded} with it, between {nearby[0]} and {nearby[2]}",
    holds=tolerances.ordered(nearby),
    scale=f"{depths[1]} layer, kappa = {last}, one training",
)

# %% [markdown]
# The theorem promises of the order of $\log(1/\varepsilon)$ layers, so each layer should divide the error by some factor.

# %%
e = torch.stack([near[k].mean(0) for k in kappas])
more = torch.tensor(depths).diff()  # layers
factors = (e[:, :-1] / e[:, 1:]) ** (1 / more)
told("by four to twelve", 4, factors[:, :2].min())
told("by four to twelve", 12, factors[:, :2].max())
told("by 2.1 to 2.5", 2.1, factors[:, -1].min())
told("by 2.1 to 2.5", 2.5, factors[:, -1].max())

# %% [markdown]
# It does, but by less and less: the first two layers by four to twelve, the last two by 2.1 to 2.5 each. With so few depths, and
# shallow ones, this is no test of a theorem about what layers *can* do. So there is no claim about it here. The last claim is
# about the estimates of the truth. It holds if the deepest model's error is below that of the best multiple of Newton's
# solution, and above that of the posterior mean, in both cases by more than the 50 covariances leave to chance.


# %%
def ratio_to(other):
    """The deepest model's error over that of another estimate."""
    both = torch.stack((errors[f"{depths[-1]} layers"], errors[other]), 1)
    return intervals.bootstrap(both, lambda e: e[0] / e[1])


to_best = ratio_to("posterior mean")
to_other = ratio_to(list(scores)[2])
told("within 12 percent", 0.12, to_best.value - 1)

# %%
claim(
    "newton-logistic-truth",
    "Trained on the true weights, the deepest model is better than any multiple of Newton's solution",
    against=f"at best {least / rescaled:.2f} times its error",
    measured=f"{to_other} times; {to_best} times the error of the posterior mean",
    holds=tolerances.below(to_other, 1) & tolerances.above(to_best, 1),
)

# %% [markdown]
# ## References
#
# - A. Giannou, L. Yang, T. Wang, D. Papailiopoulos, J. D. Lee. *How well can transformers emulate in-context Newton's
#   method?* 2024. [arXiv:2403.03183](https://arxiv.org/abs/2403.03183)
#
# ## Exercises
#
# **Exercise 1.** How many steps of gradient descent does it take to be as near as the deepest model? Use the largest step size
# that is safe for all points, $1 / (\frac{1}{4N} \lambda_{\max}(X^\top X) + \mu)$, for each prompt.

# %% tags=["hide-cell"]
k = kappas[0]
X, labels = given[k]
goal = near[k].mean(0)[-1]
steepest = torch.linalg.eigvalsh(X.mT @ X)[:, -1:]
eta = 1 / (steepest / (4 * N) + mu)
v, count = torch.zeros_like(solution[k]), 0
while (v - solution[k]).square().mean() > goal and count < 5000:
    g, _ = logistic.logistic_derivatives(v, X, labels, mu)
    v -= eta * g
    count += 1
print(f"{count} steps for what {depths[-1]} layers reach, kappa = {k}")
expect(count > 10)

# %% [markdown]
# **Exercise 2.** The labels say nothing about the length of $w$. Show that therefore no estimate can have an error below
# $1 - (\mathbb E \lVert w \rVert)^2 / d$ per weight, and compute it. How much of the best estimate's error is this?

# %% tags=["hide-cell"]
half = torch.tensor(d / 2, dtype=torch.double)
length = 2**0.5 * (torch.lgamma(half + 0.5) - torch.lgamma(half)).exp()
floor = float(1 - length**2 / d)
best = scores["posterior mean"]
print(f"{floor:.4f}, and the best estimate {best}")
expect(floor < best.value)
