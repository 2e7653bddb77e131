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
# # How linear are layers?
#
# > **In short.** From one layer of a trained encoder to the next, one linear map explains 67 to 93 percent of the variance,
# > and 53 to 92 percent on other text: the 0.99 published for decoders it is not. With random weights it is 99.8 percent,
# > so a score near 1 says little about what a layer has learned. Scores with and without the residual part are bound by
# > an identity: $1 - s' = (1 - s)\, \lVert Y \rVert^2 / \lVert Y - X \rVert^2$. *About 20 seconds; an encoder of 6 layers in
# > place of decoders of 12 and more.*
#
# **Question.** The transformers of this book are linear maps of their tokens, layer by layer and prompt by prompt. Real
# ones have softmax, normalisation and networks in between. How far from linear are *their* layers?
#
# **What the paper says.** Razzhigaev et al. ([2024](https://arxiv.org/abs/2405.12250)) fit one linear map between the
# hidden states of successive layers. In decoders such as GPT or OPT it explains 0.99 of the variance. Without the
# residual part the score falls, and it falls during pre-training.
#
# Of the paper, this part covers the score with its residual part, norms and angles, for a small encoder in place of
# decoders; pruning and the loss that rewards curvature are left out. We take the score apart: what chance gives, what the
# residual part does, what single tokens say. Then we measure the encoder, the same network before training, and our own
# linear transformers.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
from collections import Counter
from itertools import pairwise

import seaborn as sns
import torch
from lintf import LinearRegression, LinearTransformer, TrainConfig, fit
from lintf.analysis import linearity, states
from lintf.experiments import looped
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import claim, expect, told

# %% [markdown]
# ## Parameters
#
# The model comes with a Python package, so that the page needs no network. With one, any text model of the Hugging Face
# hub will do, `gpt2` or `facebook/opt-125m` for instance.

# %% tags=["parameters"]
model_name = "sentence-transformers/all-MiniLM-L6-v2"  # 6 layers of width 384
random_seed = 0  # of the same architecture with random weights
paragraphs = 60  # at most so many are read
folds = 5  # parts of the text, each explained by a map fitted to the rest
N = 20  # examples in a prompt, for our own models
d = 5  # dimension of their covariates
n_layer = 3  # their layers
B = 4000  # prompts in a batch of their training, new at every step
max_iters = 10_000  # optimiser steps of their training
loop_steps = 10_000  # optimiser steps of the looped transformer's
seeds = [0, 1, 2]  # one linear transformer each
shared = [1, 2, 3, 5, 10, 30, 100, 300]  # prompts that share one map
device = "auto"  # for their training: "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters(
    "2 <= folds <= paragraphs",
    "paragraphs * (folds - 1) / folds >= 6",
    "N >= (d + 2) // min(shared)",
)
plots.style()
texts = states.sample_text()[:paragraphs]
task = LinearRegression(N=N, d=d)
model = LinearTransformer(d=d, n_layer=n_layer, init_std=1e-4)
common = {"B": B, "clip": 1000.0, "record_every": max(1, max_iters // 40)}
config = TrainConfig(alg="adam", lr=1e-3, max_iters=max_iters, **common)

# %% [markdown]
# ## The score
#
# Let $X$ and $Y$ hold the states of the same $n$ tokens in two layers, one token in a row, each centred and divided by
# its Frobenius norm. Then
#
# $$
# s = 1 - \min_A \lVert X A - Y \rVert_F^2 = \lVert U^\top Y \rVert_F^2 ,
# $$ (eq-score)
#
# with the left singular vectors $U$ of $X$: the share of the variance of $Y$ that lies in the column space of $X$. It
# is 1 if $Y = XA$. It stays what it is if $X$ is multiplied by any invertible matrix, or $Y$ by a number or a rotation.
#
# The paper calls it a Procrustes similarity, although $A$ may be any matrix here and need not be a rotation. Dividing
# by the norms changes $A$ and not the score.
#
# It is also the $R^2$ of a regression on $d$ inputs, and so it is not 0 for things that have nothing to do with each
# other. Centring leaves $n - 1$ dimensions, of which $X$ spans $d$. Of a Gaussian $Y$ these contain
#
# $$
# \mathbb E\, s = \frac{d}{n - 1}
# $$ (eq-chance)
#
# and the exact law is a Beta distribution. For random pairs of the size of OPT-125m's states, 22,986 tokens of
# dimension 768, a score of 0.03338 has been published.

# %%
null = linearity.null_score(22_986, 768, 768)
print(f"chance, mean and central 95 percent: {null.value:.5f}", end=" ")
print(f"({null.low:.5f} to {null.high:.5f})")

# %% [markdown]
# ## Hidden states
#
# The model is MiniLM, an encoder like BERT that was trained to embed sentences. It reads an essay on the history of
# least squares, written for this book, paragraph by paragraph. We keep the states of its words and leave out the two
# marks that it puts around each paragraph. Layer 0 is the embedding. A second model has the same architecture and the
# random weights from which training would start.

# %%
S = states.hidden_states(model_name, texts)
R = states.hidden_states(model_name, texts, random_seed)
n_states, n, dim = S.layers.shape
g = torch.Generator().manual_seed(0)
noise = linearity.score(*torch.randn((2, n, dim), generator=g))
luck = linearity.null_score(n, dim, dim)
print(f"{n} tokens of dimension {dim}; noise scores {noise:.4f}, chance is {luck}")

# %% [markdown]
# We have fewer tokens than were taken of OPT, so our chance level {eq}`eq-chance` is twice as high.
#
# One detail matters for the computation. A layer of MiniLM ends with a normalisation, which subtracts the mean of the
# 384 entries and then scales each by a fixed factor. That leaves one linear relation between the entries, and a matrix
# $X$ of rank 383 at most. In single precision the missing direction is filled with rounding errors, and once divided by
# its tiny singular value it would count like any other. So directions at the level of rounding are left out.
#
# All pairs of layers:

# %%
trained, untrained = linearity.scores(S.layers), linearity.scores(R.layers)

# %% mystnb={"figure": {"caption": "Linearity scores {eq}`eq-score` of all pairs of layers, for MiniLM and for the same architecture with random weights of one seed (5665 tokens of dimension 384; chance is 0.07).", "name": "fig-layer-linearity-pairs"}, "image": {"alt": "Two tables of numbers as heatmaps, from layer 0 to 6 and to layer 0 to 6. In the trained model the score is 0.93 to 0.85 from one layer to the next, falls to 0.70 over five layers, and is 0.45 to 0.67 into the last layer. With random weights all scores are 0.99 or 1."}}
_, axes = plots.panels(2, 1, width=3.6, height=3.5)
titles = {"trained": trained, "random weights": untrained}
for ax, (title, table) in zip(axes.flat, titles.items(), strict=True):
    plots.heatmap(ax, table, title, reach=2.0)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(torch.arange(n_states) + 0.5, range(n_states))
    ax.set(xlabel="to layer", ylabel="from layer")

# %% [markdown]
# The surprise is the second panel. With random weights everything is almost linear, even six layers apart. Weights are
# small then, a layer adds little to what passes through it, and most of the little is linear, too. A score near 1 need
# not have been learned. Training makes the layers *less* linear: the score falls with the distance, and most of all
# into the last layer.
#
# ## From layer to layer
#
# For each step to the next layer we add two things. The first is what a map is worth on text that it was not fitted to:
# we deal the paragraphs into five parts and explain each by the map of the others. The second is an interval. Tokens of
# one paragraph are alike, so we resample whole paragraphs.

# %%
steps = list(pairwise(S.layers))
inside = [linearity.explained(x, y) for x, y in steps]
outside = [linearity.held_out(x, y, S.paragraph, folds) for x, y in steps]
e_in, e_out = ([e.interval(S.paragraph) for e in fits] for fits in (inside, outside))
rows = [
    {"step": f"{i} to {i + 1}", "fitted": str(a), "held out": str(b)}
    for i, (a, b) in enumerate(zip(e_in, e_out, strict=True))
]
tables.table(rows, "Scores from layer to layer, with 95 percent intervals.")

# %% [markdown]
# Held-out scores are lower by two to fourteen hundredths. Noise would be below zero there, so the maps are real. But
# they leave a tenth to a half of the variance unexplained, much more than the hundredth of the paper's decoders.

# %%
told("67 to 93 percent", 0.67, e_in[-1].value)
told("67 to 93 percent", 0.93, e_in[0].value)
told("53 to 92 percent", 0.53, e_out[-1].value)
told("53 to 92 percent", 0.92, e_out[0].value)
drops = [a.value - b.value for a, b in zip(e_in, e_out, strict=True)]
told("two to fourteen hundredths", 0.02, min(drops))
told("two to fourteen hundredths", 0.14, max(drops))

# %% [markdown]
# ## The residual part
#
# A layer adds something to its input. Is it the sum that is linear, or what is added? The paper scores $Y - X$ in place
# of $Y$. No new fit is needed for that: if $XA$ is the best guess of $Y$, then $X(A - I)$ is that of $Y - X$, with the
# same error. Only what it is divided by changes. For states that are centred, but not divided by their norms,
#
# $$
# 1 - s' = (1 - s)\, \frac{\lVert Y \rVert_F^2}{\lVert Y - X \rVert_F^2} .
# $$ (eq-without-residual)
#
# By {eq}`eq-without-residual` the score without the residual part is lower exactly if $Y - X$ is smaller than $Y$. The paper explains the lower
# score by the small norm of what a layer adds. With this definition of the score it is an identity.


# %%
def added(x, y, fit):
    """What the same map explains of y - x."""
    change = y.double() - x.double()
    size = (change - change.mean(0)).square().sum(1)
    return linearity.Explained(fit.error, size)


without = [added(*step, e) for step, e in zip(steps, inside, strict=True)]

# %% [markdown]
# For the random weights the scores are there already, and {eq}`eq-without-residual` gives the others.

# %%
start = linearity.scores_at_lag(untrained, 1)
lengths = R.layers.double().var(1).sum(1), R.layers.double().diff(dim=0).var(1).sum(1)
start_without = 1 - (1 - start) * lengths[0][1:] / lengths[1]

# %% mystnb={"figure": {"caption": "Scores of the steps from layer to layer, for the models and tokens of {numref}`fig-layer-linearity-pairs`: fitted and held out, and of Y - X in place of Y. Bars: 95 percent intervals, from resampled paragraphs, hardly larger than the dots. Dashed: random weights, with and without the residual part.", "name": "fig-layer-linearity-steps"}, "image": {"alt": "Scores over the six steps. Fitted ones start at 0.93, stay near 0.88 and end at 0.67; held-out ones lie just below and end at 0.53. Without the residual part the score is 0.66, falls to 0.48 and rises to 0.86, above the others at the last step. Random weights give 1.00 and 0.95 throughout, chance is 0.07."}}
_, ((ax,),) = plots.panels(height=3.6)
middles = torch.arange(n_states - 1) + 0.5
e_without = [r.interval(S.paragraph) for r in without]
fits = {"fitted": e_in, "held out": e_out, "without residual part": e_without}
for (name, e), marker in zip(fits.items(), plots.MARKERS, strict=False):
    spread = [[abs(v.value - v.low) for v in e], [abs(v.high - v.value) for v in e]]
    values = [v.value for v in e]
    ax.errorbar(middles, values, spread, fmt=f"{marker}-", ms=4, label=name)
for values, name in ((start, "fitted"), (start_without, "without")):
    ax.plot(middles, values, "--", marker="x", ms=4, label=f"random weights, {name}")
ax.axhline(luck.value, label="chance", **plots.look("guide"))
ax.set(xlabel="layer (steps are between two)", ylabel="score", ylim=(0, 1.05))
plots.shared_legend(ax)

# %% [markdown]
# In five of six steps the score falls without the residual part, in the middle of the network to a half. The last step
# is the other way round. There $Y$ is short and $Y - X$ is mostly $-X$, which is linear in $X$ and teaches nothing.
# Neither score says how linear the *work* of a layer is. One rewards it for doing little, the other for undoing what
# was there.
#
# (In MiniLM a layer normalises the sum, so that $Y - X$ is the difference of two normalised states. In OPT it is what
# the layer adds.)
#
# ## Centring
#
# The score is about deviations from the mean token. If the mean stays in, it counts as explained, too:

# %%
raw = [linearity.score(x, y, centre=False) for x, y in steps]
rows = [
    {"step": f"{i} to {i + 1}", "centred": e.value, "not centred": v}
    for i, (e, v) in enumerate(zip(e_in, raw, strict=True))
]
tables.table(rows, "Scores of the steps, with the mean taken off and left in.")

# %% [markdown]
# The gain is one to three hundredths here. In models in which a few coordinates are large for all tokens, it can be
# nearly everything.
#
# ## Tokens
#
# For a single token $i$ the natural score is
#
# $$
# s_i = 1 - \frac{\lVert x_i A - y_i \rVert^2}{\lVert y_i \rVert^2} .
# $$ (eq-token-score)
#
# The mean of all $s_i$ with weights $\lVert y_i \rVert^2$ is the score {eq}`eq-score`. (Without the denominator and with $Y$ of norm
# 1, every token would get a number near $1$, since the errors of $n$ tokens add up to at most 1.) We take the maps
# fitted to other paragraphs.

# %% mystnb={"figure": {"caption": "Held-out scores {eq}`eq-token-score` of single tokens of MiniLM, at the first step, in the middle and at the last step (5665 tokens; nothing is trained here, so there are no seeds).", "name": "fig-layer-linearity-tokens"}, "image": {"alt": "Three histograms. At the first step all tokens lie between 0.75 and 1, at the third between 0.6 and 0.95. At the last step they spread over the whole axis from -1 to 0.9, with two humps at 0.3 and 0.6 and a bar of nine percent at or below -1."}}
_, ((ax,),) = plots.panels()
look = {"element": "step", "stat": "percent", "alpha": 0.25, "binwidth": 0.04}
for c, i in enumerate(sorted({0, n_states // 2 - 1, n_states - 2})):
    tokens = outside[i].tokens.clamp(min=-1)
    look |= {"color": f"C{c}", "linestyle": plots.DASHES[c]}
    sns.histplot(x=tokens, ax=ax, label=f"{i} to {i + 1}", **look)
ax.set(xlabel="score of a token (less than -1: at -1)", ylabel="percent of tokens")
plots.legend(ax, title="step between layers")

# %% [markdown]
# The first steps treat all tokens much alike. At the last step a fifth of the tokens are guessed worse than by the mean
# token. Are they rare words, for which a map has few examples? Medians over the words that occur once or twice, and
# over the most frequent ones:

# %%
count = Counter(S.words)
often = torch.tensor([count[word] for word in S.words])
groups = {"rare": often <= 2, "frequent": often >= n // 60}
rows = []
for name, group in groups.items():
    medians = {
        f"{i} to {i + 1}": e.tokens[group].median() for i, e in enumerate(outside)
    }
    low = float((outside[-1].tokens[group] < -1).double().mean())
    rows.append({"words": name} | medians | {"below −1, last step": f"{low:.1%}"})
tables.table(rows, "Median held-out score of single tokens, step by step.", 2)

# %% [markdown]
# At the first step, yes: words like *the* or *of* are seen hundreds of times. After that it is the frequent words that
# are less linear. A plausible reason is that the more frequent a word, the more of its state comes from its
# surroundings, through attention, and no fixed map of its own state can copy that. The very bad scores of the last step
# belong to rare words all the same, although their median is no lower.
#
# ## A learned map
#
# The closed form can be checked by descent. For the first step we train a matrix with AdamW at learning rate $10^{-3}$,
# for 10 epochs of batches of 16 tokens, on seven tenths of the paragraphs, and compare both maps on the rest.


# %%
def by_descent(X, Y, epochs=10):
    """A matrix from X to Y, learned."""
    A = torch.zeros(X.shape[1], Y.shape[1], requires_grad=True)
    adam = torch.optim.AdamW([A], lr=1e-3, fused=True)
    g = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(len(X), generator=g).split(16):
            adam.zero_grad()
            (X[batch] @ A - Y[batch]).square().mean().backward()
            adam.step()
    return A.detach()


test = S.paragraph % 10 >= 7
X, Y = (z - z[~test].mean(0) for z in steps[0])
rest = X[~test], Y[~test]
maps = {"closed form": linearity.linear_map(*rest), "learned": by_descent(*rest)}
rows = []
for name, A in maps.items():
    error = (X @ A.float() - Y).square().sum(1)
    fitted, other = (1 - error[t].sum() / Y[t].square().sum() for t in (~test, test))
    rows.append({"map": name, "fitted": fitted, "on the rest": other})
tables.table(rows, "Scores of the first step, by the two maps.")

# %% [markdown]
# Descent comes within a hundredth after 10 epochs, from below in both columns: it has not arrived yet. Nothing is
# hidden in the singular value decomposition.
#
# ## Norms and angles
#
# Two simpler profiles, beside the numbers published for OPT-125m, a decoder with 12 layers of width 768: the mean norm
# of the states in each layer, and the mean cosine between a token in one layer and in the next.

# %% mystnb={"figure": {"caption": "Mean norm of the hidden states, and mean cosine between a token's states in successive layers, over the relative depth: MiniLM here (5665 tokens of dimension 384), and OPT-125m as published (width 768). Nothing is trained here, so there are no seeds.", "name": "fig-layer-linearity-profiles"}, "image": {"alt": "Two panels. Left: norms here rise from 10 to 13 at two thirds of the depth and fall to 4; OPT's rise from 1.7 to 11.5 and end at 9.9. Right: cosines here stay at 0.88, then fall to 0.53; OPT's start at 0.73, jump to 0.97 and fall slowly to 0.90."}}
opt_norms = [1.66, 2.95, 3.67, 5.05, 5.46, 6.00, 6.37]
opt_norms += [6.85, 7.44, 8.38, 9.76, 11.50, 9.86]
opt_cosines = [0.734, 0.943, 0.960, 0.971, 0.958, 0.950]
opt_cosines += [0.949, 0.948, 0.934, 0.923, 0.931, 0.904]
norms, cosines = linearity.norms_and_cosines(S.layers)
_, ((left, right),) = plots.panels(1, 2, width=2.5, height=2.4)
for ours, theirs, ax in ((norms, opt_norms, left), (cosines, opt_cosines, right)):
    depth = torch.linspace(0, 1, len(ours))
    ax.plot(depth, ours, label="here", **plots.look("trained", points=True))
    depth = torch.linspace(0, 1, len(theirs))
    ax.plot(depth, theirs, ".--", color=plots.QUIET, label="OPT-125m, published")
left.set(xlabel="depth", ylabel="norm", ylim=(0, None))
right.set(xlabel="depth", ylabel="cosine", ylim=(0.5, 1))
plots.shared_legend(left)

# %% [markdown]
# In OPT every layer adds to a stream that is normalised at the very end only, and the norm grows. MiniLM normalises
# after each sum, with learned factors, and is free to choose any norm. Both end with shorter states.
#
# ## Layers that are linear
#
# Now the models of this book: layers of linear attention, trained on random regressions on [the first page](01_simple_demo.ipynb). Within a
# prompt each layer *is* a linear map of its tokens, $Z \mapsto Z M$, but $M$ is made from the prompt. What is the score
# if several prompts have to share one map?

# %%
run = fit(model, task, config, seeds, device=device)
g = torch.Generator().manual_seed(0)
drawn = task.sample(max(shared), g, "tokens", torch.float64)
weights = {name: p.double().cpu() for name, p in run.final_params.items()}
Z = states.prompt_states(model, weights, drawn)  # (L+1, seeds, prompts, N+1, d+1)

# %% [markdown]
# For $k$ prompts with a common map we take the mean over up to ten groups of $k$ prompts.


# %%
def one_map(k, e):
    """Scores of the steps, in the mean over groups of k prompts, for one seed."""
    groups = [z.flatten(1, 2) for z in Z[:, e].split(k, 1)[: max(shared) // k][:10]]
    found = [linearity.scores_at_lag(linearity.scores(z), 1) for z in groups]
    return torch.stack(found).mean(0)


curves = [torch.stack([one_map(k, e) for k in shared]) for e in range(len(seeds))]
curves = torch.stack(curves)  # (seeds, shared, layers)

# %% mystnb={"figure": {"caption": "Linearity scores of three layers of linear attention, when so many prompts share one map (d = 5, N = 20; trained as on the first page for 10,000 steps of 4000 prompts; means over up to ten groups of prompts). Lines: mean over three seeds; band: smallest to largest.", "name": "fig-layer-linearity-prompts"}, "image": {"alt": "Three curves over 1 to 300 prompts on a logarithmic axis. All are 1 for one prompt. The first two layers fall to about 0.7 at thirty prompts and stay there, the third falls to 0.94. The bands of three seeds are narrower than the lines."}}
_, ((ax,),) = plots.panels()
for i in range(n_layer):
    plots.band(ax, shared, curves[..., i], f"layer {i} to {i + 1}", marker=".")
ax.set(
    xlabel="prompts that share one map", ylabel="score", xscale="log", ylim=(0, 1.05)
)
plots.legend(ax, len(seeds))

# %% [markdown]
# It is exactly 1 for a single prompt, and for thirty it has fallen to 0.7 in the first two layers. By this measure,
# layers that are linear prompt by prompt are less linear than most of MiniLM's. Where does it come from? We score the
# covariates and the label of the next layer apart, over all prompts.

# %%
whole = Z[:, 0].flatten(1, 2)
rows = []
for i in range(n_layer):
    x, y = (linearity.score(whole[i], z) for z in whole[i + 1].split([d, 1], 1))
    rows.append({"step": f"{i} to {i + 1}", "covariates": x, "label": y})
tables.table(rows, "Scores of the parts of a token of linear attention.")

# %% [markdown]
# The covariates are turned by $I + P S Q^\top / N$, and $S/N$ is near its mean in every prompt, so that one map nearly
# fits. The label is another matter. Each layer subtracts a prediction that depends on the prompt's own $w$, which no
# common map can know: in the first two layers next to nothing of the new label is explained. After a good step of
# gradient descent the remainder is as good as unrelated to the label before it. So what the network learns in context
# is just what the score counts as not linear. (In the last layer the old label is most of the new one.)
#
# ## A loop that comes to rest
#
# The looped transformer of [part V](20_loop_information_flow.ipynb) is a block of GPT-2 that is applied to its own output. Each of its loops is a step from
# one state of the tokens to the next, by the same weights. How linear are they? We score its states over 60 prompts, once
# from each to the next, and once from each to the *change*, as above without the residual part.

# %%
loop_scale = looped.Scale(d, N, 64, 4, loop_steps, 64, 2e-3, 1e-5)
looped, loop_task, training = loop_scale.experiment(12, 6)
run = fit(looped, loop_task, training, [0], device=device)
weights = {name: p[0].double().cpu() for name, p in run.final_params.items()}
g = torch.Generator().manual_seed(0)
drawn = loop_task.sample(60, g, "tokens", torch.float64)
with torch.no_grad():
    z = looped.states(weights, drawn, 24).flatten(1, 2)  # (loops, tokens, 64)
onward = [linearity.score(a, b) for a, b in pairwise(z)]
moved = [linearity.score(a, b - a) for a, b in pairwise(z)]

# %% mystnb={"figure": {"caption": "Linearity scores of the loops of a looped transformer (d = 5, N = 20, one block of width 64, trained with 12 loops for 10,000 steps of 64 prompts, one seed), from each state to the next and to the change (60 prompts, 2460 tokens; chance is 0.03).", "name": "fig-layer-linearity-loop"}, "image": {"alt": "Two curves over the loops 1 to 23. The score from state to state dips to 0.74 and rises to 0.99 by the tenth loop; the score of the change falls from 0.77 to 0.2."}}
_, ((ax,),) = plots.panels()
ax.plot(range(1, len(onward) + 1), onward, "o-", ms=4, label="to the next state")
ax.plot(range(1, len(moved) + 1), moved, "s--", ms=4, label="to the change")
ax.set(xlabel="loop", ylabel="score", ylim=(0, 1.05))
plots.legend(ax)

# %% [markdown]
# Loop by loop the score approaches 1, and the same block looks ever more linear. It is not: it has less and less to do. The
# state comes to rest, and from a state to itself the best linear map is the identity. What the block still changes can be
# predicted less and less by a linear map. The first loops, which look least linear, do the most linear work.
#
# ## Claims
#
# Where a number comes from a sample of text, it is decided by the intervals above, or must hold on both halves of the
# text.

# %%
paper = "2405.12250"
code = f"{paper}, notebook after it (at no public address), section on OPT-125m"
chance = 0.03338
scale = "MiniLM, 6 layers of width 384, instead of OPT-125m"
claim(
    "layer-linearity-chance",
    "Random states of OPT-125m's size score what chance gives, d / (n - 1)",
    code,
    published=f"score of random pairs: {chance} [share of variance]",
    measured=f"{null.value:.5f} ({null.low:.5f} to {null.high:.5f})",
    holds=tolerances.overlap(null, chance) & tolerances.overlap(luck, noise),
)

# %% [markdown]
# The headline does not carry over. Nor does the paper say that it should: it calls the linearity a property of
# decoders. MiniLM is an encoder, which normalises the sum after each layer, so that no stream carries the embedding through
# unchanged. The two numbers stand side by side, and neither contradicts the other.

# %%
claim(
    "layer-linearity-adjacent",
    "Successive layers are almost linear",
    paper + ", abstract",
    published="score of successive layers: 0.99 [share of variance]",
    measured=f"{min(e_in, key=lambda v: v.low)} to {max(e_in, key=lambda v: v.high)}",
    missing="a decoder: MiniLM is an encoder that normalises the sum after each layer",
)

# %% [markdown]
# What does carry over is how the score depends on the layers. Farther apart is less linear, in the mean over pairs at
# equal distance:

# %%
halves = [linearity.scores(S.layers[:, S.paragraph % 2 == half]) for half in (0, 1)]
far = [
    [float(linearity.scores_at_lag(table, k).mean()) for k in range(1, n_states)]
    for table in halves
]
last = torch.stack([linearity.scores_at_lag(t, n_states - 3) for t in halves])
rows = [
    {"layers apart": k, "first half": a, "second half": b}
    for k, (a, b) in enumerate(zip(*far, strict=True), 1)
]
tables.table(rows, "Mean score of pairs at equal distance, on the halves of the text.")

# %% [markdown]
# And what ends in the last layer is the least linear. The published scores are of layers *ten* apart, of which twelve layers have
# three pairs; we take the distance at which six layers have three. (Hugging Face gives OPT's last state after a
# final normalisation, which may be part of it there.)

# %%
claim(
    "layer-linearity-distance",
    "The farther apart two layers, the less linear",
    f"{paper}, abstract; {code}",
    published="score: 0.99 one layer apart; 0.972, 0.966, 0.474 ten apart [share of variance]",
    measured=f"{far[0][0]:.2f} falling to {far[0][-1]:.2f}, {far[1][0]:.2f} to {far[1][-1]:.2f}",
    holds=tolerances.every(*(a > b for values in far for a, b in pairwise(values))),
    scale=scale,
)
claim(
    "layer-linearity-last",
    "Of three pairs at equal distance the one that ends in the last layer is the least linear",
    code,
    published="score, ten layers apart: 0.972, 0.966, 0.474 [share of variance]",
    measured="; ".join(", ".join(f"{v:.2f}" for v in row) for row in last),
    holds=tolerances.every(last[:, -1:] < last[:, :-1]),
    scale=scale,
)

# %% [markdown]
# The residual part, in the mean over the steps, although not at each:

# %%
means = [sum(v.value for v in e) / len(e) for e in (e_in, e_without)]
lows, highs = sum(v.low for v in e_in), sum(v.high for v in e_without)
claim(
    "layer-linearity-residual",
    "Without the residual part the score is lower, in the mean over the steps",
    paper + ", abstract",
    published="lower",
    measured=f"{means[0]:.2f} with, {means[1]:.2f} without",
    holds=tolerances.every(lows > highs),
    scale=scale,
)
claim(
    "layer-linearity-training",
    "Pre-training makes layers less linear",
    paper + ", section on pre-training",
    published="falls in the course of it",
    measured=f"{start.mean():.3f} with random weights, {means[0]:.3f} trained",
    holds=tolerances.below(e_in, float(start.min())),
    scale=scale,
)
told("99.8 percent", 0.998, float(start.mean()))

# %% [markdown]
# Only the starting weights are drawn at random here, and other ones change no more than the third digit of their
# scores.
#
# The last two claims are about the profiles. OPT's embedding is shorter than what its first layer adds: with the
# published norms and cosine, 1.7 against 2.1. MiniLM's is normalised as its layers are, and it is the last two layers that
# turn the states.

# %%
top = int(norms.argmax())
claim(
    "layer-linearity-norms",
    "Norms grow with depth, and fall at the end",
    code,
    published="mean norm: 1.66 growing to 11.50, then 9.86 [length]",
    measured=f"{norms[0]:.1f} growing to {norms[top]:.1f}, then falling to {norms[-1]:.1f}",
    holds=tolerances.every(norms[: top + 1].diff() > 0, norms[top:].diff() < 0)
    & tolerances.every(0 < top < n_states - 1),
    scale=scale,
)
claim(
    "layer-linearity-cosines",
    "Successive states are nearly parallel, except at the first step",
    code,
    published="mean cosine: 0.73, then 0.90 to 0.97 [no unit]",
    measured=f"{cosines[0]:.2f}, then {cosines[1:].min():.2f} to {cosines[1:].max():.2f}",
    missing="a decoder: MiniLM's embedding is normalised as its layers are",
)

# %% [markdown]
# ## References
#
# - A. Razzhigaev, M. Mikhalchuk, E. Goncharova, N. Gerasimenko, I. Oseledets, D. Dimitrov, A. Kuznetsov. *Your
#   transformer is secretly linear.* ACL 2024. [arXiv:2405.12250](https://arxiv.org/abs/2405.12250)
# - W. Wang, F. Wei, L. Dong, H. Bao, N. Yang, M. Zhou. *MiniLM: deep self-attention distillation for task-agnostic
#   compression of pre-trained transformers.* NeurIPS 2020. [arXiv:2002.10957](https://arxiv.org/abs/2002.10957)
# - S. Zhang et al. *OPT: open pre-trained transformer language models.* 2022.
#   [arXiv:2205.01068](https://arxiv.org/abs/2205.01068)
#
# ## Exercises
#
# **Exercise 1.** How do the fitted and the held-out score of the first step change with the amount of text? Compare
# with what chance would add to the fitted one.

# %% tags=["hide-cell"]
for share in (0.25, 0.5):
    some = S.paragraph < share * len(texts)
    if int(some.sum()) * (1 - 2 / folds) <= dim + 1:
        continue  # too few tokens for a map
    x, y, paragraph = steps[0][0][some], steps[0][1][some], S.paragraph[some]
    low = linearity.held_out(x, y, paragraph, folds).score
    high, share = linearity.score(x, y), dim / (len(x) - 1)
    corrected = (high - share) / (1 - share)
    print(f"{len(x)} tokens: {high:.3f}, corrected {corrected:.3f}, held out {low:.3f}")
    expect(low < high)

# %% [markdown]
# The fitted score falls and the held-out score rises with the amount of text, up to the 0.934 and 0.916 of all of it,
# and both go to the same limit, from above and from below. With $s^*$ for what is truly explained, the fitted score is
# near $s^* + (1 - s^*)\, d/(n-1)$; solved for $s^*$, that lies in between.
#
# **Exercise 2.** Subtract $c X$ instead of $X$. For which $c$ is the score of a step the lowest, and what is it then?
# Look at the first step and at the last.

# %% tags=["hide-cell"]
for x, y in (steps[0], steps[-1]):
    X, Y = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    c = float((X * Y).sum() / X.square().sum())
    rho = float((X * Y).sum() / (X.norm() * Y.norm()))
    s, lowest = linearity.score(X, Y), linearity.score(X, Y - c * X)
    print(f"score {s:.3f}, with c = {c:.2f} subtracted {lowest:.3f}")
    expect(abs(lowest - (1 - (1 - s) / (1 - rho**2))) < 1e-6)

# %% [markdown]
# As in {eq}`eq-without-residual` the error stays, so we want $Y - cX$ to be as short as possible: $c$ is the slope of a
# regression with one number. With the correlation $\rho$ of all entries, $1 - s' = (1 - s)/(1 - \rho^2)$. Now the score
# falls at the last step, too.
