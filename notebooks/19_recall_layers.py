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
# # Who recalls, and who knows the noise?
#
# > **In short.** A model whose values are fixed divides the work as published: the output has the largest logit of the
# > attention, the noise token that of the feed-forward layer. With all weights free that is not so at every level of noise: their
# > logits go down to 79 percent of the largest. Without noise, such a model fails on unseen outputs, although its attention has
# > found the rule "look at what follows $q$": its values know four words only. Copying their value to all other words by hand
# > raises the probability of unseen outputs from 0 to 1. *About 20 seconds; at the paper's scale.*
#
# **Question.** The next token is the output $y$ or the noise token $\tau$. Which layer supplies which? And what is missing in the
# models with more freedom, so that they do not recall unseen outputs?
#
# **What the paper says.** The two layers divide the work ([Nguyen and Nguyen-Tang, 2025](https://arxiv.org/abs/2505.15009)):
# attention does the recall in context, so that its largest logit is that of the output, and the
# feed-forward layer learns the association of the trigger with the noise, so that its largest logit is that of $\tau$.
#
# We look at the logits of both layers, then inside a trained model, and repair it by hand.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
from dataclasses import replace

import torch
from lintf import fit
from lintf.experiments import recall
from lintf.pages import parameters, plots, tables, tolerances, widgets
from lintf.pages.claims import claim, expect, told
from lintf.tasks.recall import Recall

# %% [markdown]
# ## Parameters
#
# The trainings on samples are those of page 18, [finite samples](18_recall_finite.ipynb). One more runs live whenever the page
# does, since we need its weights.

# %% tags=["parameters"]
attentions = ["linear", "relu"]  # the first one is in the figures
alphas = [0.2, 0.5, 0.8]  # levels of noise
lr = 0.1  # length of each step
n = 2048  # sentences in the sample
B = 512  # sentences in a batch
epochs = 100  # times that the sample is gone through
H = 256  # tokens in a sentence
seeds = [0, 1, 2]  # of the sample and the order of its sentences
live_steps = 600  # of the training whose weights we look at
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters()
plots.style()
variants = ["reparam", "reparamW", "origin"]
middle = sorted(alphas)[len(alphas) // 2]  # the level of noise in the figures
names = [
    f"{variant}-{attention}-FA" for attention in attentions for variant in variants
]
setting = {"epochs": epochs, "n": n, "B": B, "H": H, "seeds": seeds, "device": device}

# %% [markdown]
# ## Two kinds of logits
#
# The prediction is the softmax of the logits {eq}`eq-recall-model`, which are a sum, $\xi = \xi_A + \xi_F$ with
#
# $$
# \begin{aligned}
# \xi_A &= V m, & m &= \sum_h \sigma(x_H^\top W x_h)\, x_h, \\
# \xi_F &= F (x_H + \kappa m) . &&
# \end{aligned}
# $$ (eq-two-logits)
#
# The attention's part is what it has copied out of the sentence. The feed-forward layer is given the last token, its
# predecessor and, with $\kappa = 1$, the attention's sum $m$. Either layer could do the whole work, since $V$ and $F$ are both
# matrices from tokens to logits.
#
# Two comparisons say who does what: the attention's logit of the output, $\xi_{A,y}$, with the attention's largest logit, and
# the feed-forward layer's logit of the noise token, $\xi_{F,\tau}$, with that layer's largest, both in the mean over 512
# fresh sentences.


# %%
runs = recall.trained_on_samples(names, alphas, lr, **setting)


def layer_logits(panels):
    """For each title a run: the logits of the output and of the noise token, and the largest of their layers (dotted)."""
    axes = plots.grid(list(panels), xlabel="epoch", ylabel="logit")
    labels = {"attention": "attention: output", "noise": "feed-forward: noise token"}
    largest = plots.look("best", lw=1.2)
    for title, ax in axes.items():
        run = runs[panels[title]]
        epoch = run.steps * B / n
        for key, label in labels.items():
            ys = run.metrics[f"population_{key}"]
            top = run.metrics[f"population_{key}_max"].mean(0)
            plots.band(ax, epoch, ys, label, lw=2)
            ax.plot(epoch, top, zorder=3, **largest)
    ax.plot([], [], label="largest of the layer (mean)", **largest)
    plots.shared_legend(ax, len(seeds))


# %% mystnb={"figure": {"caption": "Logits of both layers while training on 2048 sentences, half of them noisy (linear attention, FA; step length 0.1, batches of 512 sentences, 100 epochs; means over 512 fresh sentences). Lines: mean over three seeds; band: smallest to largest. Dotted: the largest logit of the layer, mean over the seeds.", "name": "fig-layers-logits"}, "image": {"alt": "Three panels, each with the attention's logit of the output and the feed-forward layer's logit of the noise token over 100 epochs, and dotted lines for the largest of each layer. In the first both grow together along a straight line to 37 and the dotted lines coincide with them. In the second they grow to 6, again under the dotted lines. In the third they end at 4 and 5, and the attention's stays a little below its dotted line."}}
layer_logits({recall.words(name): (name, middle) for name in names[:3]})

# %% [markdown]
# In the reparametrised models the dotted lines are hidden by the others: the attention's largest logit is that of the output, and
# the feed-forward layer's that of the noise token. The first of these models is made like this; the second has learned it. The
# model with all weights free does nearly the same here, where output and noise are equally frequent. Where they are not, it
# does not:

# %% mystnb={"figure": {"caption": "As {numref}`fig-layers-logits`, for the model with all weights free, at three levels of noise. Lines: mean over three seeds; band: smallest to largest.", "name": "fig-layers-free"}, "image": {"alt": "Three panels for noise of 0.2, 0.5 and 0.8. In the first the feed-forward layer's logit of the noise token ends one below that layer's largest. In the second both logits are near the largest of their layers. In the third the attention's logit of the output ends one below its largest."}}
layer_logits({f"α = {alpha}": (names[2], alpha) for alpha in alphas})

# %% [markdown]
# Where noise is rare, the feed-forward layer favours the output too, and where it is common, the attention favours noise too: both
# layers work for the more frequent answer. This is what one would expect of gradient descent from zero, in which every matrix that
# can lower the loss does so. $F$ gets the attention's sum and can learn to copy from it as well as $V$ can, and the
# attention's sum contains the token $\tau$ itself.
#
# We express both logits as shares of the largest one of their layer, in the mean over the last ten epochs.


# %%
def share_of_largest(run, layer):
    """Of a logit in the largest one of its layer."""
    logit = run.metrics[f"population_{layer}"][:, -10:]
    top = run.metrics[f"population_{layer}_max"][:, -10:]
    return float(logit.mean() / top.mean())


shares = {
    key: [share_of_largest(run, layer) for layer in ("attention", "noise")]
    for key, run in runs.items()
}

# %% [markdown]
# For all models and levels of noise:

# %%
rows = []
for (name, alpha), (attention, noise) in shares.items():
    row = {"model": name, "α": alpha, "attention: output": f"{attention:.0%}"}
    rows.append(row | {"feed-forward: noise": f"{noise:.0%}"})
tables.table(rows, "Two logits, as shares of the largest of their layer.", digits=1)

# %% [markdown]
# ## Try it
#
# The figures show linear attention only, and two of the models at one level of noise. In a running notebook the controls below
# go through all trainings of this page, with linear attention beside attention with a ReLU, $\sigma(s) = \max(s, 0)$. Set
# $\alpha$ to 0.2 and then to 0.8. For which models do the dotted lines separate from the others, and which of the two lines?

# %% mystnb={"figure": {"caption": "As {numref}`fig-layers-logits`, for the model with all weights free at a noise of 0.8, with linear attention and with a ReLU. Lines: mean over three seeds; band: smallest to largest. With a running kernel, controls set the noise and the model.", "name": "fig-layers-play"}, "image": {"alt": "Two panels over 100 epochs. With linear attention the feed-forward layer's logit of the noise token rises to 6 under its dotted line, and the attention's logit of the output to 4, one below its dotted line. With a ReLU they end at 4.9 and 4.4, with the dotted lines at 5."}}
widgets.Controls(
    lambda alpha, variant: layer_logits(
        {attention: (f"{variant}-{attention}-FA", alpha) for attention in attentions}
    ),
    alpha=widgets.slider("noise α", sorted(alphas), max(alphas)),
    variant=widgets.choice("model", variants, variants[-1]),
)

# %% [markdown]
# With a ReLU the picture is the same, except that the gap at $\alpha = 0.8$ is smaller. In the models whose values are fixed, both
# lines lie on their dotted ones at every setting, once the first epochs are over.
#
# ## Inside a trained model
#
# Why does the model with all weights free not recall unseen outputs? We train one without noise on fresh
# sentences and keep its weights. There are 28,800 of them, but two groups suffice. The first is a row of $W$, which says what
# the attention looks for, given the trigger $q = 0$: the entry $W_{E(q), E'(k)}$ is the score of a token that follows token $k$.
# The second is the diagonal of $V$, which says what the attention then passes on: $V_{k, E(k)}$ is how much attention on token
# $k$ raises the logit of $k$.


# %%
def live_weights(task):
    """Of the model with all weights free, trained on fresh sentences."""
    config = recall.config(lr, live_steps, B, live_steps)
    how = {"device": device, "stored": False, "progress": False}
    run = fit(model, task, config, seeds[:1], **how)
    return {name: p[0] for name, p in run.final_params.items()}


task = Recall(H=H)
model = replace(recall.named("origin-linear-FA"), save_final_params=True)
weights = live_weights(task)

# %% mystnb={"figure": {"caption": "Weights of a model with linear attention and all weights free, after 600 steps on 512 fresh sentences each, without noise (first of three seeds). Left: the score of a token by the token before it, when the sentence ends in token 0. Right: the diagonal of the value matrix. Tokens 0 to 4 are triggers, 5 to 8 outputs.", "name": "fig-layers-weights"}, "image": {"alt": "Two bar charts over the 60 tokens. Left a single bar of height 4 at token 0, the others near zero. Right four bars of height 8 at tokens 5 to 8, the others zero."}}
_, ((left, right),) = plots.panels(1, 2, width=2.5, height=2.4)
tokens = range(task.vocab)
left.bar(tokens, weights["W"][0, task.vocab :], color="C0")
right.bar(tokens, weights["V"].diagonal(), color="C0")
left.set(xlabel="token before", ylabel="score")
_ = right.set(xlabel="token", ylabel="value")

# %% [markdown]
# The attention has learned the *rule*: it looks for what follows $q$, just as the hand-made $W$ of the reparametrised model
# does, and all scores of the 59 other tokens are near zero. The values have learned the *words*: only the four
# outputs of the training are passed on. An unseen output gets the attention, but its own logit is not raised, while the
# outputs that stand elsewhere in the sentence by chance still get their small share.
#
# If nothing else is missing, we can repair the model by hand: we give all ordinary tokens the value that the four outputs have.


# %%
def repaired(M):
    """The diagonal entries of the unseen outputs become the mean of those of the known ones."""
    first, known = task.n_trigger, task.n_trigger + task.n_output
    M = M.clone()
    values = M.diagonal()
    values[known:-1] = values[first:known].mean()
    return M


# %% [markdown]
# We score both models. The repaired one has not been trained on any further sentence.

# %%
V = weights["V"]
rows = []
for title, values in {"as trained": V, "repaired": repaired(V)}.items():
    found = model.metrics(weights | {"V": values}, task)
    row = {"model": title, "loss": found["population_loss"]}
    row["loss, unseen outputs"] = found["unseen_loss"]
    rows.append(row | {"their probability": found["unseen_p_output"]})
tables.table(rows, "Before and after the repair (nats).", digits=1)

# %% [markdown]
# One number, written into fifty places of $V$, is enough: a model that fails on every unseen output now recalls all of them.
# The training did not ask for this, since without noise the loss on its sentences is zero either way. The
# gradient of $V$ has no entries for words that never were answers, other than those that lower their logits. So gradient descent
# does not give these words a value.
#
# This also explains the model in between, which trains $W$ alone: its values are right for all words from the start, and
# without noise nothing else is needed.

# %%
before, after = (row["their probability"] for row in rows)
told("raises the probability of unseen outputs from 0 to 1", 1, after - before)

# %% [markdown]
# ## Claims
#
# First the models whose values are fixed. At every level of noise each of the two logits must be the largest of its layer, up
# to the two percent that a training leaves.

# %%
source = "2505.15009, Figs. 10 to 12"
is_free = torch.tensor([name.startswith("origin") for name, _ in shares])
found = torch.tensor(list(shares.values()))  # (models and levels of noise, layers)
made, free = found[~is_free], found[is_free]
claim(
    "recall-layers-division",
    "Reparametrised models: the attention's largest logit is the output's, the feed-forward layer's the noise token's",
    source,
    published="attention recalls, the feed-forward layer learns the noise",
    measured=f"at least {made.min():.0%} of the largest, at all levels of noise, with W fixed up to scale and free",
    holds=tolerances.trained(made - 1),
)

# %% [markdown]
# With all weights free the work is not divided like this at every level of noise. We ask for the same as above. The public code,
# run again, gives the same picture as ours: at noise 0.2 its feed-forward layer's logit of the noise token is at 91 percent, at
# noise 0.8 its attention's logit of the output at 77.

# %%
told("79 percent of the largest", 0.79, free.min())
claim(
    "recall-layers-free",
    "All weights free: the same division of the work",
    source,
    published="attention recalls, the feed-forward layer learns the noise",
    measured=f"from {free.min():.0%} to {free.max():.0%} of the largest",
    holds=tolerances.trained(free - 1),
    why="the commoner of the two answers gets both layers: where noise is rare the feed-forward layer says the output, "
    "where it is common the attention says noise",
)

# %% [markdown]
# ## References
#
# - Q. Nguyen, T. Nguyen-Tang. *How transformers learn in-context recall tasks? Optimality, training dynamics and
#   generalization.* 2025. [arXiv:2505.15009](https://arxiv.org/abs/2505.15009)
#
# ## Exercises
#
# **Exercise 1.** How much does each layer know alone? Score the live model with one layer at a time, on 512 fresh
# sentences: how often is the output its largest logit?

# %% tags=["hide-cell"]
fresh = task.sample(512, torch.Generator().manual_seed(7))
attention, feedforward = model.logits(weights, fresh)
for name, logits in {"attention": attention, "feed-forward": feedforward}.items():
    right = logits.argmax(-1) == fresh.output
    share = right.double().mean()
    print(f"{name}: {share:.0%}")
    expect(share > 0.99)

# %% [markdown]
# Both layers have learned the task, each by itself: $F$ reads the attention's sum as well as $V$ does.
#
# **Exercise 2.** Repair a model trained with noise in the same way. Is it enough? What else has this model learned about the
# four outputs?

# %% tags=["hide-cell"]
task = Recall(alpha=0.5, H=H)
weights = live_weights(task)
half = weights | {"V": repaired(weights["V"])}
whole = half | {"F": repaired(weights["F"])}
models = {"as trained": weights, "V repaired": half, "V and F repaired": whole}
unseen = [model.metrics(found, task)["unseen_loss"] for found in models.values()]
expect(sorted(unseen, reverse=True) == unseen)
rows = [{"model": k, "loss": v} for k, v in zip(models, unseen, strict=True)]
tables.table(rows, "Loss on unseen outputs (nats).", digits=2)

# %% [markdown]
# It helps, but the loss is still far above the Bayes risk of 0.69. With noise the feed-forward layer also raises the logits of
# the four known outputs through its column for the trigger, whatever stands in the sentence. Unseen outputs do not get this.
