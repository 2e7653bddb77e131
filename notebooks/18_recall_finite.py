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
# # Recall from a finite sample
#
# > **In short.** From 2048 sentences, a model with one trained number learns recall up to 0.0006 nats above the Bayes risk.
# > This rest is the relative entropy of the true and the sampled share of noise. Models that train $W$, or all weights,
# > overfit the same sample: on fresh sentences they are 0.09 to 0.22 nats above the Bayes risk, and below it on their own
# > batches. On unseen outputs those that train all weights are worst, 1.7 to 7 nats above it. *About 15 seconds; at the
# > paper's scale.*
#
# **Question.** On page 17, [in-context recall](17_recall_population.ipynb), every step had new sentences. If there are only
# 2048, do the models still learn to recall, or do they learn the sample?
#
# **What the paper says.** The loss of the reparametrised models
# ([Nguyen and Nguyen-Tang, 2025](https://arxiv.org/abs/2505.15009)) converges to the Bayes risk on a finite
# sample too, when the feed-forward layer is built from the share of noise in that sample. Freer models have a smaller
# loss in training, and a larger one on fresh sentences, above all with unseen outputs.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
from itertools import product

import torch
from lintf.experiments import recall
from lintf.experiments.recall import above_bayes
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import claim, expect, told
from lintf.tasks.recall import Recall, cross_entropy

# %% [markdown]
# ## Parameters
#
# The stored trainings took a few seconds for each model and seed.

# %% tags=["parameters"]
attentions = ["relu", "linear"]  # the first one is in the figures
alphas = [0.2, 0.5, 0.8]  # levels of noise
lr = 0.1  # length of each step
n = 2048  # sentences in the sample, four batches
B = 512  # sentences in a batch
epochs = 100  # times that the sample is gone through
H = 256  # tokens in a sentence
seeds = [0, 1, 2]  # of the sample and the order of its sentences
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters()
plots.style()
variants = ["reparam", "reparamW", "origin"]
names = [f"{v}-{a}-FA" for a in attentions for v in variants]
tasks = {alpha: Recall(alpha=alpha, H=H) for alpha in alphas}
sizes = {"B": B, "H": H, "device": device}

# %% [markdown]
# ## The models
#
# They are those of page 17 in which the feed-forward layer gets the attention's sum ("FA"), with linear and with ReLU
# attention. They differ in how much is trained. The first trains one number, the length $\lambda$ of a given $W$. The
# second trains all $120 \times 120$ entries of $W$, with the values $V$ and the feed-forward matrix $F$ given. The third
# trains $W$, $V$ and $F$ from zero.
#
# Each seed has a sample of its own, of 2048 sentences. An epoch goes through it in a new order, in four batches, and the
# gradient of each matrix is scaled to length one, as before.

# %%
setting = {"n": n, "seeds": seeds, **sizes}
runs = recall.trained_on_samples(names, alphas, lr, epochs, **setting)

# %% [markdown]
# ## Population loss
#
# After each epoch we measure the loss on 512 fresh sentences, in expectation over the noise. No model can have an expected loss
# below the Bayes risk {eq}`eq-bayes-risk`, the entropy of the noise.


# %%
def by_noise(measure):
    """For a panel at each level of noise: the curves of the first three models."""
    panels = {}
    for alpha in alphas:
        curves = panels[f"α = {alpha}"] = {}
        for name in names[:3]:
            run = runs[name, alpha]
            curves[recall.words(name)] = run.steps * B / n, run.metrics[measure]
    return panels


risks = [task.bayes_risk for task in tasks.values()]
axes = {"xlabel": "epoch", "ylabel": "loss in nats", "limit": "Bayes risk"}

# %% mystnb={"figure": {"caption": "Population loss while training on 2048 sentences (three models with ReLU attention, FA; step length 0.1, batches of 512 sentences, 100 epochs). Lines: mean over three seeds; band: smallest to largest. Dashed: the Bayes risk.", "name": "fig-finite-population"}, "image": {"alt": "Three panels for noise of 0.2, 0.5 and 0.8. In each the curve of the reparametrised model falls from 4 to the dashed line within 20 epochs and stays there. The two others fall as fast and stop visibly above the line; the model with all weights free pauses once on the way and rises a little at the end."}}
plots.curves(by_noise("population_loss"), len(seeds), risks, **axes)

# %% [markdown]
# The model with a single trained number reaches the Bayes risk within twenty epochs. The two others stop about a tenth of a nat
# or more above it, and the loss of the one that trains all weights even rises at the end. On its way down it pauses near
# $R^* + (1 - \alpha) \ln 4$: the model then knows the noise and the four outputs, but not yet which of them the sentence asks for.
#
# The others stop because they overfit, as the loss on their own batches shows.

# %% mystnb={"figure": {"caption": "Loss on the training batches (dashed) and on fresh sentences (solid) with half of the sentences noisy, in the trainings of {numref}`fig-finite-population`. Lines: mean over three seeds; band: smallest to largest. Horizontal line: the Bayes risk.", "name": "fig-finite-gap"}, "image": {"alt": "Loss over 100 epochs. Solid and dashed curve of the reparametrised model lie on the thin line at 0.69. For the two other models the solid curves level off at 0.8 and 0.87, while the dashed ones cross it at epochs 50 to 60 and end at 0.6."}}
_, ((ax,),) = plots.panels()
middle = sorted(alphas)[len(alphas) // 2]
for i, name in enumerate(names[:3]):
    run = runs[name, middle]
    epoch = run.steps * B / n
    fresh = run.metrics["population_loss"]
    way = plots.nth(i, markevery=0.15)
    plots.band(ax, epoch, fresh, recall.words(name), ls="-", **way)
    plots.band(ax, epoch, run.loss, None, ls="--", **way)
risk = tasks[middle].bayes_risk
ax.axhline(risk, label="Bayes risk", **plots.look("bound", lw=1))
ax.set(xlabel="epoch", ylabel="loss in nats")
ax.set(ylim=(0.8 * risk, 1.4))
plots.shared_legend(ax, len(seeds))

# %% [markdown]
# Recall alone cannot bring the loss below the horizontal line. A model whose loss on its batches is lower has learned which of
# *these* sentences were noisy. It can do so from the 250 random tokens in each of them, which mean nothing, but tell the sentences
# apart. A matrix $W$ with 14,400 entries can store 2048 coin tosses. A single number cannot.
#
# ## What a wrong share of noise costs
#
# Among 2048 sentences the share $\hat\alpha$ with noise is not $\alpha$, but off by about
# $\sqrt{\alpha (1 - \alpha) / 2048} \approx 0.01$. The matrix $F$ of the reparametrised models is made with this $\hat\alpha$:
# the logit of $\tau$ is above that of the output by $\ln \frac{\hat\alpha}{1 - \hat\alpha}$. So once $\lambda$ is large they
# predict noise with probability $\hat\alpha$, and what is left above the Bayes risk is a relative entropy,
#
# $$
# \alpha \ln \frac{\alpha}{\hat\alpha} + (1 - \alpha) \ln \frac{1 - \alpha}{1 - \hat\alpha}
# \approx \frac{(\hat\alpha - \alpha)^2}{2 \alpha (1 - \alpha)} .
# $$ (eq-relative-entropy)
#
# In the mean over samples {eq}`eq-relative-entropy` is about $1 / (2n)$, or 0.00024. We compute it for each of the samples.


# %%
def relative_entropy(alpha, task):
    """What is left in theory, by seed."""
    shares = [recall.noise_share(task, n, seed) for seed in seeds]
    left = [cross_entropy(alpha, share) - task.bayes_risk for share in shares]
    return torch.tensor(left, dtype=torch.float64)


# %% [markdown]
# For each model with one trained number, each level of noise and each sample, measured and in theory:

# %%
pairs, rows = {}, []
for attention, alpha in product(attentions, alphas):
    task = tasks[alpha]
    left = above_bayes(runs[f"reparam-{attention}-FA", alpha], task)
    due = relative_entropy(alpha, task)
    pairs[attention, alpha] = left, due
    for i, seed in enumerate(seeds):
        row = {"attention": attention, "α": alpha, "seed": seed}
        rows.append(row | {"measured": left[i], "in theory": due[i]})
tables.table(rows, "Loss above the Bayes risk (nats).", digits={"α": 1})

# %% [markdown]
# Both agree in all digits shown, so nothing else is left. The numbers are the same for linear and for ReLU attention, since they
# depend on the sample only. What this model does not know is the level of noise, beyond the
# precision that 2048 tosses of a coin allow.
#
# ## Unseen outputs
#
# Again we ask for outputs that never were outputs in training.

# %% mystnb={"figure": {"caption": "Loss on sentences whose outputs never were outputs in training, in the trainings of {numref}`fig-finite-population`. Lines: mean over three seeds; band: smallest to largest. Dashed: the Bayes risk.", "name": "fig-finite-unseen"}, "image": {"alt": "Three panels for noise of 0.2, 0.5 and 0.8. The reparametrised model falls to the dashed line within 20 epochs. The one that trains W falls more slowly and ends a fifth of a nat above it. The model with all weights free rises within a few epochs, to 7, 5 and 2, and stays there."}}
plots.curves(by_noise("unseen_loss"), len(seeds), risks, **axes)

# %% [markdown]
# The model with a single number is as good on unseen outputs as on seen ones. The model that trains all weights fails on them
# from the first epochs on, the more so the rarer the noise is, and it does not recover. Between the two, the model that trains
# $W$ alone still improves after a hundred epochs.


# %%
def extremes(variant, measure="population_loss"):
    """Of one variant, per attention, level of noise and seed: the mean over ten epochs."""
    found = []
    for attention, alpha in product(attentions, alphas):
        run = runs[f"{variant}-{attention}-FA", alpha]
        found.append(above_bayes(run, tasks[alpha], measure, 10))
    return torch.stack(found)


# %% [markdown]
# On fresh sentences for the three degrees of freedom, and on sentences with unseen outputs:

# %%
fixed, free, full = map(extremes, variants)
unseen = {variant: extremes(variant, "unseen_loss") for variant in variants}

# %% [markdown]
# How near the model that trains $W$ comes to the Bayes risk on unseen outputs depends on its attention. With a ReLU it comes much
# nearer than with linear attention. For the two other models the attention matters little.

# %%
rows = []
for variant, fresh in zip(variants, (fixed, free, full), strict=True):
    by_attention = fresh.view(len(attentions), -1).mean(1)
    on_unseen = unseen[variant].view(len(attentions), -1).mean(1)
    for i, attention in enumerate(attentions):
        row = {"model": variant, "attention": attention}
        rows.append(row | {"fresh": by_attention[i], "unseen": on_unseen[i]})
caption = (
    "Loss above the Bayes risk (nats), mean over the levels of noise and the seeds."
)
tables.table(rows, caption)

# %% [markdown]
# ## Claims
#
# The first is the theorem's: there is a parametrisation which reaches the Bayes risk from a sample. What is left above it
# should be what the sample's wrong share of noise leaves in theory, up to the scatter of a training.

# %%
source = "2505.15009, Fig. 2"
furthest = max((left - due).abs().max() for left, due in pairs.values())
gap = float(furthest / fixed.max())
told("up to 0.0006 nats", 0.0006, fixed.max())
claim(
    "recall-finite-bayes",
    "Trained on 2048 sentences, the reparametrised models reach the Bayes risk",
    source,
    published="they converge to it",
    measured=f"at most {fixed.max():.1e} nats above it, all of it from the wrong share of noise",
    holds=tolerances.trained(gap),
)

# %% [markdown]
# The models that train more do not reach it, at any level of noise. The loss on their own batches is below the Bayes risk, which
# no model can be on fresh sentences.

# %%
above = torch.cat((free, full))
told("0.09 to 0.22 nats", 0.09, above.min())
told("0.09 to 0.22 nats", 0.22, above.max())
trained = []
for (name, alpha), run in runs.items():
    if "reparam-" not in name:
        end = run.loss[:, -10:].mean()
        trained.append(end - tasks[alpha].bayes_risk)

# %%
claim(
    "recall-finite-overfit",
    "With W, or W, V and F, to be trained, the same sample is overfitted",
    source,
    published="larger models have a larger population loss",
    measured=f"{above.min():.2f} to {above.max():.2f} nats above the Bayes risk, "
    f"{-max(trained):.2f} to {-min(trained):.2f} below it in training",
    holds=tolerances.every(above.min() > fixed.max(), max(trained) < 0),
)

# %% [markdown]
# On unseen outputs only the model with a single number is as good as on seen ones. The others are worse there in every case.

# %%
told("1.7 to 7 nats", 1.7, unseen["origin"].min())
told("1.7 to 7 nats", 7, unseen["origin"].max())
ranges = [f"{v} {u.min():.2g} to {u.max():.2g}" for v, u in unseen.items()]
claim(
    "recall-finite-unseen",
    "Only the reparametrised models recall unseen outputs as well as seen ones",
    source,
    published="reparametrised models generalise, larger ones need not",
    measured=", ".join(ranges) + " nats above the Bayes risk",
    holds=tolerances.trained((unseen["reparam"] - fixed) / fixed.max())
    & tolerances.every(unseen["reparamW"] > free, unseen["origin"] > full),
)

# %% [markdown]
# ## References
#
# - Q. Nguyen, T. Nguyen-Tang. *How transformers learn in-context recall tasks? Optimality, training dynamics and
#   generalization.* 2025. [arXiv:2505.15009](https://arxiv.org/abs/2505.15009)
#
# ## Exercises
#
# **Exercise 1.** The theorem says that the loss converges at a linear rate, that is, that its distance to the limit shrinks
# by a constant factor in each step. Fit a line to the logarithm of what the reparametrised model's loss has above
# its limit, and compare its slope with the length of the steps.

# %% tags=["hide-cell"]
run = runs[names[0], alphas[0]]
loss = run.metrics["population_loss"][0]
left = loss - loss[-1]
some = (left > 1e-9) & (run.steps * lr > 6)  # there exp(-lambda) is small
slope = left[some].log().diff() / run.steps[some].diff()
print(f"slope {slope.mean():.4f} for steps of length {lr}")
expect(((slope / lr + 1).abs() < 0.2).all())

# %% [markdown]
# The single parameter moves by 0.1 in each step and the loss goes with $e^{-\lambda}$, so the rate is $e^{-0.1}$ per step.
#
# **Exercise 2.** How much larger must the sample be? Train the model with all its weights free on four times as many
# sentences, for as many steps.

# %% tags=["hide-cell"]
more = {**setting, "n": 4 * n, "seeds": seeds[:1]}
some = recall.trained_on_samples(
    names[2:3], alphas[:1], lr, max(1, epochs // 4), **more
)
((key, run),) = some.items()
task = tasks[alphas[0]]
before, after = above_bayes(runs[key], task)[0], above_bayes(run, task)[0]
expect(after < before)
rows = [{"sentences": n, "above": before}, {"sentences": 4 * n, "above": after}]
tables.table(rows, "Loss above the Bayes risk (nats), for the first seed.")
