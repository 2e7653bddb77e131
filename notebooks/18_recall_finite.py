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
# > **In short.** From 2048 sentences, a model with one trained number ends above the Bayes risk by the relative
# > entropy of the true and the sampled noise, to the last digit. With more to train the same sentences are
# > overfitted, a tenth of a nat too high on fresh ones; with values and feed-forward weights to be trained too,
# > recall of unseen outputs is lost. *About 10 seconds; at the paper's scale.*
#
# **Question.** On [the last page](17_recall_population.ipynb) every step had new sentences. If there are only 2048, do the models still learn to recall,
# or do they learn the sample?
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
import torch
from lintf import claim, expect
from lintf.experiments import recall
from lintf.experiments.recall import above_bayes
from lintf.pages import parameters, plots, tolerances
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
# They are those of the last page, in three degrees of freedom, for linear and for ReLU attention, all of them with the
# attention's sum in the feed-forward layer ("FA"). The first trains one number, the length $\lambda$ of a given $W$. The
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
# After each epoch we measure the loss on 512 fresh sentences, in expectation over the noise. The Bayes risk {eq}`eq-bayes-risk` is the
# entropy of the noise, and nobody can be below it.


# %%
def by_noise(measure):
    """For a panel at each level of noise: the curves of the first three models."""
    some = {a: {recall.words(k): runs[k, a] for k in names[:3]} for a in alphas}
    return {
        f"α = {a}": {k: (r.steps * B / n, r.metrics[measure]) for k, r in of.items()}
        for a, of in some.items()
    }


risks = [task.bayes_risk for task in tasks.values()]
axes = {"xlabel": "epoch", "ylabel": "loss in nats", "limit": "Bayes risk"}

# %% mystnb={"figure": {"caption": "Population loss while training on 2048 sentences (three models with ReLU attention, FA; step length 0.1, batches of 512 sentences, 100 epochs). Lines: mean over three seeds; band: smallest to largest. Dashed: the Bayes risk.", "name": "fig-finite-population"}, "image": {"alt": "Three panels for noise of 0.2, 0.5 and 0.8. In each the curve of the reparametrised model falls from 4 to the dashed line within 20 epochs and stays there. The two others fall as fast and stop visibly above the line; the model with all weights free pauses once on the way and rises a little at the end."}}
plots.curves(by_noise("population_loss"), len(seeds), risks, **axes)

# %% [markdown]
# The model with a single trained number reaches the Bayes risk within twenty epochs. The two others stop a tenth of a nat
# or more above it, and the one that trains everything even turns up again. On the way it pauses near $R^* + (1 - \alpha) \ln 4$: it then knows
# the noise and the four outputs, but not yet which of them the sentence asks for.
#
# That the others stop is overfitting, as the loss on their own batches shows.

# %% mystnb={"figure": {"caption": "Loss on the training batches (dashed) and on fresh sentences (solid) with half of the sentences noisy, in the trainings of {numref}`fig-finite-population`. Lines: mean over three seeds; band: smallest to largest. Horizontal line: the Bayes risk.", "name": "fig-finite-gap"}, "image": {"alt": "Loss over 100 epochs. Solid and dashed curve of the reparametrised model lie on the thin line at 0.69. For the two other models the solid curves level off at 0.8 and 0.87, while the dashed ones cross it at epochs 50 to 60 and end at 0.6."}}
_, ((ax,),) = plots.panels()
middle = sorted(alphas)[len(alphas) // 2]
for i, name in enumerate(names[:3]):
    run = runs[name, middle]
    way = {"color": f"C{i}", "marker": plots.MARKERS[i], "markevery": 0.15, "ms": 4}
    fresh = run.metrics["population_loss"]
    plots.band(ax, run.steps * B / n, fresh, recall.words(name), ls="-", **way)
    plots.band(ax, run.steps * B / n, run.loss, None, ls="--", **way)
risk = tasks[middle].bayes_risk
ax.axhline(risk, label="Bayes risk", **plots.look("bound", lw=1))
ax.set(xlabel="epoch", ylabel="loss in nats", ylim=(0.8 * risk, 1.4))
plots.shared_legend(ax, len(seeds))

# %% [markdown]
# Below the horizontal line nobody can get by recalling: a model whose loss on its batches is lower has learned which of *these*
# sentences were noisy. It can do so from the 250 random tokens in each of them, which mean nothing, but tell the sentences
# apart. A matrix $W$ with fourteen thousand entries has room for 2048 coin tosses, and one number has not.
#
# ## What a wrong share of noise costs
#
# Among 2048 sentences the share $\hat\alpha$ with noise is not $\alpha$, but off by about
# $\sqrt{\alpha (1 - \alpha) / 2048} \approx 0.01$. The reparametrised models can count, and get this $\hat\alpha$ in their $F$:
# the logit of $\tau$ is above that of the output by $\ln \frac{\hat\alpha}{1 - \hat\alpha}$. So once $\lambda$ is large they
# predict noise with probability $\hat\alpha$, and what is left above the Bayes risk is a relative entropy,
#
# $$
# \alpha \ln \frac{\alpha}{\hat\alpha} + (1 - \alpha) \ln \frac{1 - \alpha}{1 - \hat\alpha}
# \approx \frac{(\hat\alpha - \alpha)^2}{2 \alpha (1 - \alpha)} .
# $$ (eq-relative-entropy)
#
# In the mean over samples {eq}`eq-relative-entropy` is about $1 / (2n)$, or 0.00024. Here it is for each of the samples, measured and in theory.


# %%
def relative_entropy(alpha, task):
    shares = [recall.noise_share(task, n, seed) for seed in seeds]
    left = [cross_entropy(alpha, s) - task.bayes_risk for s in shares]
    return torch.tensor(left, dtype=torch.float64)


# %% [markdown]
# Each row is a model and a level of noise; in brackets what theory says.

# %%
pairs = {
    key: (above_bayes(run, tasks[key[1]]), relative_entropy(key[1], tasks[key[1]]))
    for key, run in runs.items()
    if "reparam-" in key[0]
}
for key, columns in pairs.items():
    print(*key, *(f"{x:.2e} ({y:.2e})" for x, y in zip(*columns, strict=True)))

# %% [markdown]
# Nothing else is left. What this model has not learned is the noise level, to the precision that 2048 tosses of a coin
# allow.
#
# ## Unseen outputs
#
# Again we ask for outputs that never were outputs in training.

# %% mystnb={"figure": {"caption": "Loss on sentences whose outputs never were outputs in training, in the trainings of {numref}`fig-finite-population`. Lines: mean over three seeds; band: smallest to largest. Dashed: the Bayes risk.", "name": "fig-finite-unseen"}, "image": {"alt": "Three panels for noise of 0.2, 0.5 and 0.8. The reparametrised model falls to the dashed line within 20 epochs. The one that trains W falls more slowly and ends a fifth of a nat above it. The model with all weights free rises within a few epochs, to 7, 5 and 2, and stays there."}}
plots.curves(by_noise("unseen_loss"), len(seeds), risks, **axes)

# %% [markdown]
# The single number serves unseen outputs as well as seen ones. The model that trains everything is lost on them from the
# first epochs on, the more so the rarer the noise is, and it does not come back. Between the two, the model that trains
# $W$ alone still improves after a hundred epochs.


# %%
def extremes(variant, measure="population_loss"):
    """Of one variant, per attention, level of noise and seed: the mean over ten epochs."""
    chosen = [(f"{variant}-{a}-FA", alpha) for a in attentions for alpha in alphas]
    return torch.stack([above_bayes(runs[k], tasks[k[1]], measure, 10) for k in chosen])


# %% [markdown]
# How far it gets depends on the attention, as the means over the levels of noise and the seeds show for all six models: with a
# ReLU much farther than without.

# %%
for variant in variants:
    measures = ("population_loss", "unseen_loss")
    both = [extremes(variant, m).view(len(attentions), -1).mean(1) for m in measures]
    rows = zip(attentions, *both, strict=True)
    print(f"{variant:9}", *(f"{a}: {x:.4f}, unseen {y:.4f};" for a, x, y in rows))

# %% [markdown]
# ## Claims
#
# The first is the theorem's, that there is a parametrisation which reaches the Bayes risk from a sample; what is left above it
# should be what the sample's wrong share of noise leaves in theory, up to the scatter of a training.

# %%
source = "2505.15009, Fig. 2"
fixed, free, full = map(extremes, variants)
gap = max(float((x - y).abs().max()) for x, y in pairs.values()) / float(fixed.max())
claim(
    "recall-finite-bayes",
    "Trained on 2048 sentences, the reparametrised models reach the Bayes risk",
    source,
    published="they converge to it",
    measured=f"at most {fixed.max():.1e} nats above it, all of it from the wrong share of noise",
    holds=tolerances.trained(gap),
)

# %% [markdown]
# The freer ones do not, at any level of noise, and the loss on their own batches says that they do better than they can.

# %%
above = torch.cat((free, full))
trained = [
    runs[k].loss[:, -10:].mean() - tasks[k[1]].bayes_risk
    for k in runs
    if "reparam-" not in k[0]
]
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
# On unseen outputs only the model with a single number is as good as on seen ones; the others are worse there, every one.

# %%
unseen = {v: extremes(v, "unseen_loss") for v in variants}
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
before, after = (above_bayes(r[key], tasks[key[1]])[0] for r in (runs, some))
print(
    f"above the Bayes risk: {before:.3f} with {n} sentences, {after:.3f} with {4 * n}"
)
expect(after < before)
