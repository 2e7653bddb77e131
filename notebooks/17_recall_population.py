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
# # In-context recall
#
# > **In short.** A model whose matrices are given up to a scale, with one trained number for each trigger, learns to
# > recall. Its loss falls to the Bayes risk, to rounding, at 0.9955 to 0.9998 times the rate that theory gives, and it is as
# > good for outputs that it has never seen as outputs. With softmax and values that are not scaled the loss stops at
# > $\ln(1 + 59 / e) = 3.12$. Three models with all weights free fit the task without noise, but on unseen outputs their loss is
# > twenty times that of guessing. *About 15 seconds; at the paper's scale.*
#
# **Question.** A text ends in a word that it had before. What came next then will probably come next now. Does a
# transformer that is trained on such texts learn the rule, or the words?
#
# **What the paper says.** Nguyen and Nguyen-Tang ([2025](https://arxiv.org/abs/2505.15009)) train one layer of attention
# and a linear feed-forward layer. With the right parametrisation the loss falls at a linear rate to the smallest possible
# one, the Bayes risk, and the model then recalls words that it has never seen as answers. Models with more
# freedom need not generalise, although they fit the task.
#
# We train their thirteen models, for four levels of noise and two learning rates. This part covers the paper's experiments on
# new sentences, on finite samples (page 18) and on the work of the two layers (page 19); softmax with the theorem's own
# parametrisation, which scales the values, is left out.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import math
from dataclasses import replace
from itertools import product

import seaborn as sns
import torch
from lintf import fit
from lintf.experiments import recall
from lintf.experiments.recall import above_bayes
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import claim, expect, told
from lintf.tasks.recall import Recall

# %% [markdown]
# ## Parameters
#
# All trainings are stored. One of three seeds takes twenty seconds.

# %% tags=["parameters"]
shown = [
    "reparam-linear-FA",
    "reparam-softmax-FA",
    "reparamW-linear-FA",
    "origin-linear-FA",
    "origin-softmax-F",
]  # curves
alphas = [0.0, 0.2, 0.5, 0.8]  # levels of noise
lrs = [0.1, 0.5]  # learning rates, that is, lengths of each step
max_iters = 2000  # optimiser steps
B = 512  # sentences in a batch, new at each step
H = 256  # tokens in a sentence
seeds = [0, 1, 2]  # of the sentences; all models start from zero
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters()
plots.style()
tasks = {alpha: Recall(alpha=alpha, H=H) for alpha in alphas}
setting = {"max_iters": max_iters, "B": B, "H": H, "seeds": seeds, "device": device}
quiet, noisy = min(alphas), sorted(alphas)[len(alphas) // 2]  # the two in the figures

# %% [markdown]
# ## The task
#
# There are 60 tokens. A sentence consists of random ones, but somewhere a *trigger* $q$ stands before an *output* $y$, and
# $q$ is also the last token. The next token is $y$. There are five triggers and four outputs, and outputs also occur as
# ordinary tokens.
#
# With *noise* there is one trigger only, and it occurs a third time, before a noise token $\tau$. What comes next is $\tau$
# with probability $\alpha$ and $y$ otherwise. Here is a short sentence of each kind. Token 59 is $\tau$.

# %%
rows = []
for alpha in (0.0, 0.5):
    g = torch.Generator().manual_seed(1)
    few = Recall(alpha=alpha, H=10).sample(1, g)
    sentence = " ".join(str(token) for token in few.z[0].tolist())
    rows.append({"α": alpha, "sentence": sentence, "next": few.next.item()})
tables.table(rows, "A sentence without noise, and one with it.", digits=1)

# %% [markdown]
# From the sentence one cannot know whether the noise token or the output comes next. So the smallest expected loss is the
# entropy of a coin with probability $\alpha$, in nats,
#
# $$
# R^* = -\alpha \ln \alpha - (1 - \alpha) \ln (1 - \alpha) .
# $$ (eq-bayes-risk)

# %%
rows = [{"α": alpha, "risk": task.bayes_risk} for alpha, task in tasks.items()]
tables.table(rows, "The Bayes risk, in nats.", digits={"α": 1, "risk": 4})

# %% [markdown]
# ## The models
#
# The vector of a position says which token stands there and which before it, $x_h = E(z_h) + E'(z_{h-1})$. The vectors
# $E(z)$ and $E'(z)$ of all tokens are together an orthonormal basis. Only the last position is read:
#
# $$
# \begin{aligned}
# m &= \sum_h \sigma(x_H^\top W x_h)\, x_h, \\
# \text{logits} &= V m + F (x_H + \kappa m) ,
# \end{aligned}
# $$ (eq-recall-model)
#
# where $\sigma$ is linear, ReLU or softmax. The first part of the logits in {eq}`eq-recall-model` is the attention's, the
# second that of the feed-forward layer. The paper calls a model with $\kappa = 0$ "F" and one with $\kappa = 1$ "FA".
#
# - **origin** trains $W$, $V$ and $F$, all from zero.
# - **reparam** is given the answer up to scale: $V$ passes the current token on, and $W = \sum_q \lambda_q E(q) E'(q)^\top$ looks
#   for tokens that follow a $q$. Only the $\lambda_q$ are trained. With noise there is one $\lambda$, $W$ avoids $\tau$, and
#   a fixed $F$ raises the logit of $\tau$ by $\ln \frac{\alpha}{1 - \alpha}$.
# - **reparamW** trains all of $W$, with $V$ and $F$ of the second kind.
#
# Training is plain gradient descent, except that the gradient of each matrix is scaled to length one. So $\eta$ is the
# length of each step, and steps do not become shorter near the optimum.
#
# :::{figure-md} fig-recall-reads
# ![A sentence of eight tokens, a q y c q tau f q, and an empty place behind it. A blue arrow for the attention leads from the last q back to y, which stands after the first q. A dotted arrow to tau, which stands after the second q, is named avoided. An orange arrow for the feed-forward layer leads from the last q directly to the empty place.](../book/_static/recall-light.svg)
#
# What reads what in a sentence with noise, as **reparam** is made: attention looks for what came after the trigger $q$ and
# finds the output $y$; the feed-forward layer needs no other token than $q$ to expect the noise token $\tau$.
# :::
#
# Because the vectors belong to a basis, no products with them are needed. With $u = W^\top x_H$ the score of position $h$ is
# $u_{z_h} + u'_{z_{h-1}}$, two look-ups, and $m$ adds up the weights by token. The results are those of the matrix products,
# with far fewer operations.

# %%
runs = recall.trained(recall.NAMES, alphas, lrs, **setting)
steps = next(iter(runs.values())).steps

# %% [markdown]
# ## Population loss
#
# At every twentieth step we measure the loss on 512 fresh sentences, in expectation over the noise, so that no set of
# sentences can have a loss below the Bayes risk. We show five models; a table of all of them follows.


# %%
def with_and_without_noise(first, second):
    """Two panels, with a measure for each: the curves of the models in `shown`, for the smaller step."""
    panels = {}
    for alpha, measure in ((quiet, first), (noisy, second)):
        curves = panels[f"α = {alpha}"] = {}
        for name in shown:
            run = runs[name, alpha, min(lrs)]
            curves[recall.words(name)] = steps, run.metrics[measure]
    return panels


risks = [tasks[alpha].bayes_risk for alpha in (quiet, noisy)]
axes = {"xlabel": "training step", "ylabel": "loss in nats", "height": 3.0}

# %% mystnb={"figure": {"caption": "Population loss while training (five of the thirteen models; step length 0.1, batches of 512 sentences of 256 tokens), the first 400 of 2000 steps. Lines: mean over three seeds; band: smallest to largest. Dashed: the Bayes risk.", "name": "fig-recall-population"}, "image": {"alt": "Two panels with five curves over 400 steps, without noise and with noise of 0.5. Without noise reparam-linear-FA, reparamW-linear-FA and origin-linear-FA fall from 4 to 0 within 150 steps, the last with a rest at 1.4; origin-softmax-F stops at 1.4 and reparam-softmax-FA at 3.1. With noise reparam-linear-FA reaches the dashed line at 0.69, two others stop just above it, and the softmax models at 1.4 and 3.1."}}
both = with_and_without_noise("population_loss", "population_loss")
plots.curves(both, len(seeds), risks, "Bayes risk", xlim=(0, 400), **axes)

# %% [markdown]
# Without noise three of the five fall to zero, in different ways. The model that trains all weights, with linear attention, is
# the fastest at first, and then rests at $\ln 4$: it knows the four outputs, and does not attend to the sentence yet. With
# noise the reparametrised linear model reaches the dashed line and stays there. The model that trains all weights comes close,
# and then keeps jumping around the line, because its steps never get shorter. Both softmax models stay far above.
#
# ## Unseen outputs
#
# Now the same models on sentences whose output $y$ is none of the four of the training, but any other ordinary token. The
# rule still applies.

# %% mystnb={"figure": {"caption": "Loss on sentences whose outputs never were outputs in training, for the models of {numref}`fig-recall-population`. Lines: mean over three seeds; band: smallest to largest. Dashed: the Bayes risk. Curves that leave a panel at the bottom go on below 0.01.", "name": "fig-recall-unseen"}, "image": {"alt": "Two panels with five curves over 2000 steps on a logarithmic axis. Without noise reparam-linear-FA and reparamW-linear-FA fall out of the panel within 500 steps, while origin-linear-FA rises to 85 and origin-softmax-F to 10. With noise only reparam-linear-FA falls to the dashed line; the others stay between 2 and 6."}}
both = with_and_without_noise("unseen_loss", "unseen_loss")
log = {"yscale": "log", "ylim": (0.01, 300)}
plots.curves(both, len(seeds), risks, "Bayes risk", **axes, **log)

# %% [markdown]
# The curve of reparam-linear-FA is the one of {numref}`fig-recall-population`: nothing in this model tells an unseen output from
# one that it has seen. The model that trains all weights fails completely. Without noise its loss is twenty times that of guessing,
# and grows as long as it is trained: it becomes more and more certain of a wrong answer. Between the two, the model that trains
# only $W$ recalls unseen outputs without noise, but not with it.
#
# Which answers do the models give? Without noise we look at the probability of the output, with noise at that of $\tau$.

# %% mystnb={"figure": {"caption": "Sentences with unseen outputs: mean probability of the output without noise (left) and of the noise token with it (right), for the models of {numref}`fig-recall-population`. Lines: mean over three seeds; band: smallest to largest. Dashed: what a Bayes-optimal predictor says.", "name": "fig-recall-probability"}, "image": {"alt": "Two panels with five curves over 2000 steps. Left, reparam-linear-FA and reparamW-linear-FA reach probability 1, the others stay near 0. Right, reparam-linear-FA and origin-softmax-F are at the dashed line at one half, origin-linear-FA and reparamW-linear-FA at 0.93, and reparam-softmax-FA at 0.04."}}
both = with_and_without_noise("unseen_p_output", "unseen_p_noise")
axes["ylabel"] = "probability"
plots.curves(both, len(seeds), [1 - quiet, noisy], "Bayes-optimal", **axes)

# %% [markdown]
# With noise, the models that train $W$ or all weights, with linear attention, give $\tau$ a probability of more than 0.9. Two tokens have
# followed $q$ in the sentence, and these models expect almost only $\tau$. The model origin-softmax-F gives $\tau$ the
# probability with which it comes, one half, whatever the sentence is.

# %%
if set(shown) >= {"origin-linear-FA", "reparamW-linear-FA"}:
    for name in ("origin-linear-FA", "reparamW-linear-FA"):
        certain = runs[name, noisy, min(lrs)].metrics["unseen_p_noise"]
        told("of more than 0.9", 0.9, certain[:, -1].mean())

# %% [markdown]
#
# ## All thirteen
#
# What is left above the Bayes risk at the end, for all models and levels of noise.


# %%
def table_of(measure, lr):
    """Models x levels of noise: above the Bayes risk, means over the last ten records and the seeds."""
    rows = []
    for name in recall.NAMES:
        ends = [
            above_bayes(runs[name, alpha, lr], task, measure, 10)
            for alpha, task in tasks.items()
        ]
        rows.append([end.mean() for end in ends])
    return torch.tensor(rows).clamp_min(0)


def short(v):
    return "0" if v < 1e-3 else f"{v:.2g}" if v < 10 else f"{v:.0f}"


# %% mystnb={"figure": {"caption": "Loss above the Bayes risk in nats after 2000 steps of length 0.1, on fresh sentences (left) and on sentences with unseen outputs (right): means over three seeds and the last 200 steps (batches of 512 sentences of 256 tokens). Zeros are below 0.001.", "name": "fig-recall-all"}, "image": {"alt": "Two tables of thirteen models by four levels of noise, coloured by the loss above the Bayes risk. On fresh sentences the rows reparam-linear-FA and reparam-relu-FA are zero throughout, origin-linear-FA, origin-relu-F, origin-relu-FA and reparamW-linear-FA below 0.05, and the others between 0.3 and 3. On unseen outputs the first two are zero again, and all original models are above 1.6, up to 191 without noise."}}
_, panels = plots.panels(1, 2, width=2.5, height=4.2, sharey=True)
look = {"fmt": "", "cmap": "Blues", "vmin": -3, "vmax": 2, "cbar": False}
ticks = {"xticklabels": alphas, "yticklabels": recall.NAMES}
for ax, name in zip(panels[0], ("population", "unseen"), strict=True):
    left = table_of(f"{name}_loss", min(lrs))
    words = [[short(v) for v in row] for row in left.tolist()]
    shades = left.clamp(1e-3, 100).log10()
    sns.heatmap(shades, ax=ax, annot=words, annot_kws={"size": 7}, **look, **ticks)
    plots.keep(ax)
    _ = ax.set(title=name, xlabel="α")

# %% [markdown]
# Three things stand out. First, the reparametrised linear and ReLU models with $\kappa = 1$, and only they, are at zero
# everywhere. With $\kappa = 0$ the logit of $\tau$ cannot grow along with that of the output, so that with noise a loss above the
# Bayes risk remains. Second, the reparametrised softmax models stay far above the Bayes risk: softmax weights sum to one, and with
# $V$ fixed no logit of the attention exceeds one, so that without noise the loss is at least $\ln(1 + 59/e) = 3.12$. Third,
# three of the six original models fit fresh sentences to within 0.04 nats, a fourth, origin-softmax-FA, to within 0.06 nats with
# steps of 0.5, and none of the six recalls an unseen output.

# %%
furthest = {lr: table_of("population_loss", lr).amax(1) for lr in lrs}
original = [i for i, name in enumerate(recall.NAMES) if name.startswith("origin")]
told("to within 0.04 nats", 0.04, furthest[min(lrs)][original].sort().values[2])
place = recall.NAMES.index("origin-softmax-FA")
told("to within 0.06 nats", 0.06, furthest[max(lrs)][place])

# %% [markdown]
# The model origin-linear-F is the extreme case. Its attention starts from $W = V = 0$, where the gradient of each of the two
# matrices is zero because the other one is zero. With $\kappa = 0$ the feed-forward layer gets nothing from the attention
# either, and the attention's weights stay zero for ever. With a ReLU a score of $10^{-8}$ in the original code is enough to start.
#
# ## How fast?
#
# The theorem says that the loss converges at a *linear rate*: its distance to the Bayes risk shrinks by a constant factor in
# each step. For the reparametrised models with linear or ReLU attention we can say which. Their logits are $\lambda$ for
# the output, $\lambda + \ln \frac{\alpha}{1 - \alpha}$ for $\tau$ where there is noise, and 0 for all others, so that
#
# $$
# R - R^* = \ln\bigl(1 + (1 - \alpha)\, k e^{-\lambda}\bigr) ,
# $$ (eq-recall-rate)
#
# with $k = 59$ other tokens without noise and 58 with it. With noise there is one parameter, and a gradient of length one
# moves it by $\eta$ in each step. Without noise there are five, one for each trigger, and each gets about $\eta / \sqrt 5$.

# %%
speed = {}  # of lambda, in each step
for alpha, lr in product((quiet, noisy), lrs):
    speed[alpha, lr] = lr if alpha else lr / math.sqrt(5)

# %% mystnb={"figure": {"caption": "Population loss above the Bayes risk, for reparam-linear-FA with steps of length 0.1 and 0.5 (batches of 512 sentences of 256 tokens). Lines: mean over three seeds; band: smallest to largest. Dashed: in theory, {eq}`eq-recall-rate`. Where there is noise the loss is known to 1e-16 only, and the curves end there.", "name": "fig-recall-rate"}, "image": {"alt": "Four straight falling lines on a logarithmic axis, each under a dashed line of the theory: without noise from 4 to 1e-14 in 800 and in 160 steps, for steps of 0.1 and 0.5; with noise in 340 and in 60 steps."}}
_, ((ax,),) = plots.panels()
gaps = {}
for alpha, lr in speed:
    run = runs["reparam-linear-FA", alpha, lr]
    gap = run.metrics["population_loss"] - tasks[alpha].bayes_risk
    some = (gap > 1e-14).all(0) & (steps <= 800)
    t, gap = steps[some].double(), gap[:, some]
    way = plots.nth(len(gaps), ls="-", markevery=0.15)
    plots.band(ax, t, gap, f"α = {alpha}, step {lr}", **way)
    theory = recall.excess_in_theory(tasks[alpha], speed[alpha, lr] * t)
    ax.plot(t, theory, color=plots.INK, ls="--", lw=1)
    gaps[alpha, lr] = t, gap
ax.set(xlabel="training step", ylabel="loss above Bayes risk", yscale="log")
plots.legend(ax, len(seeds))

# %% [markdown]
# The lines are straight, and theory lies on them. Without noise they fall a little more slowly, because the five triggers are
# not equally frequent in a batch. We compare the slopes with theory where the loss is small, less than 0.01 above the Bayes risk.

# %%
slopes, rows = {}, []
for key, (t, gap) in gaps.items():
    late = (gap < 0.01).all(0)
    if late.sum() > 1:
        first, *_, last = gap[:, late].log().mean(0)
        duration = t[late][-1] - t[late][0]
        slopes[key] = (first - last) / duration / speed[key]
        alpha, lr = key
        rows.append({"α": f"{alpha:g}", "step": f"{lr:g}", "slope": slopes[key]})

# %%
if rows:
    told("at 0.9955 to 0.9998 times", 0.9955, min(slopes.values()))
    told("0.9998 times", 0.9998, max(slopes.values()))
rows = rows or [{"slope": "none of them gets so far"}]
tables.table(rows, "Slopes of the logarithm, over that in theory.", digits=4)

# %% [markdown]
# ## Claims
#
# The first two are about the reparametrised models with $\kappa = 1$, for all levels of noise, steps and seeds. All that they train
# is $\lambda$, so the loss must come down to the Bayes risk, to rounding.


# %%
def worst(measure):
    """The largest loss in nats above the Bayes risk at the end."""
    made = ("reparam-linear-FA", "reparam-relu-FA")
    found = []
    for name, (alpha, task), lr in product(made, tasks.items(), lrs):
        found.append(above_bayes(runs[name, alpha, lr], task, measure).max())
    return max(found)


source = "2505.15009, Fig. 1"
claim(
    "recall-population-bayes",
    "Reparametrised models with linear or ReLU attention reach the Bayes risk",
    source,
    published="they do",
    measured=f"at most {worst('population_loss'):.0e} nats above it",
    holds=tolerances.exact(worst("population_loss")),
)

# %% [markdown]
# They are as good on outputs that they have never seen.

# %%
claim(
    "recall-population-unseen",
    "The same models recall unseen outputs",
    source,
    published="they generalise",
    measured=f"at most {worst('unseen_loss'):.0e} nats above the Bayes risk",
    holds=tolerances.exact(worst("unseen_loss")),
)

# %% [markdown]
# The rate of convergence is the one that {eq}`eq-recall-rate` gives for normalised gradients. The theorem says that it is
# linear; which rate it is, is our own computation.

# %%
low = min(slopes.values(), default=0)
high = max(slopes.values(), default=0)
claim(
    "recall-population-rate",
    "The loss converges to the Bayes risk at a linear rate",
    "2505.15009, Theorem on the linear rate",
    against="the rate that theory gives",
    measured=f"slopes {low:.3f} to {high:.3f} of theory's",
    holds=tolerances.trained(r - 1 for r in slopes.values()),
)

# %% [markdown]
# For softmax attention the public code differs from the theorem. The theorem scales $V$. In the public code, and here, $V = I$,
# and then no training can pass the floor of $\ln(1 + 59/e)$ that we have computed. So neither the public code's model nor ours
# says anything about the theorem. That the model ends at the floor is a result of ours.

# %%
soft = [runs["reparam-softmax-FA", quiet, lr].metrics["population_loss"] for lr in lrs]
lowest = min(loss.min() for loss in soft).item()
claim(
    "recall-population-softmax",
    "The reparametrised model with softmax attention reaches the Bayes risk",
    "2505.15009, Theorem 4.2",
    published="reparametrised models reach it",
    measured=f"loss {lowest:.4f} without noise",
    missing="the theorem scales V; in the public code, and here, it is the identity",
)
floor = math.log1p(59 / math.e)
told("= 3.12$", 3.12, lowest)
claim(
    "recall-population-floor",
    "With V = I softmax attention stops at ln(1 + 59/e)",
    against=f"{floor:.4f} nats, exactly",
    measured=f"{lowest:.4f} nats",
    holds=tolerances.trained(lowest / floor - 1),
)

# %% [markdown]
# Last, the models with more freedom, here without noise.

# %%
free = ["origin-linear-FA", "origin-relu-F", "origin-relu-FA"]
chosen = [runs[name, quiet, lr].metrics for name, lr in product(free, lrs)]
fits = max(found["population_loss"][:, -1].max() for found in chosen)
fails = min(found["unseen_loss"][:, -1].min() for found in chosen)
guessing = math.log(60)  # of all words alike
told("twenty times that of guessing", 20, fails / guessing)

# %%
claim(
    "recall-population-free",
    "With all weights free a model may fit the task and not recall unseen outputs",
    source,
    published="larger models fail to generalise",
    measured=f"three models with a loss of at most {fits:.0e}, and of at least {fails:.0f} on unseen outputs",
    holds=tolerances.exact(fits) & tolerances.every(fails > guessing),
)

# %% [markdown]
# ## References
#
# - Q. Nguyen, T. Nguyen-Tang. *How transformers learn in-context recall tasks? Optimality, training dynamics and
#   generalization.* 2025. [arXiv:2505.15009](https://arxiv.org/abs/2505.15009)
#
# ## Exercises
#
# **Exercise 1.** Without recall, a model can still learn how often the noise comes and which four tokens are outputs. What is
# the best loss that this gives? Compare with origin-linear-F.

# %% tags=["hide-cell"]
rows = []
for alpha, task in tasks.items():
    guess = task.bayes_risk + (1 - alpha) * math.log(task.n_output)
    run = runs["origin-linear-F", alpha, min(lrs)]
    loss = run.metrics["population_loss"][:, -1].mean()
    rows.append({"α": alpha, "best guess": guess, "the model": loss})
    expect(abs(loss - guess) < 0.03)
tables.table(rows, "Loss in nats.", digits={"α": 1})

# %% [markdown]
# **Exercise 2.** The original model with noise jumps around the Bayes risk. Halve the step every 200 steps. Does it
# reach the Bayes risk now? Does it recall unseen outputs?

# %% tags=["hide-cell"]
name, task = "origin-linear-FA", Recall(alpha=0.5, H=H)
config = recall.config(0.1, min(1000, max_iters), B, min(100, max_iters))
config = replace(config, halve_every=200)
model = recall.named(name)
run = fit(model, task, config, seeds[:1], device=device, progress=False)
left = above_bayes(run, task, "population_loss").item()
lost = above_bayes(run, task, "unseen_loss").item()
print(f"above the Bayes risk: {left:.4f}, on unseen outputs {lost:.2f}")
expect(left < 0.02 < 1 < lost)

# %% [markdown]
# Shorter steps bring it closer to the Bayes risk, but it recalls unseen outputs no better than before.
