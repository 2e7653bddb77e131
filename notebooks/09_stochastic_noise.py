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
# # The noise of the gradient
#
# > **In short.** At initialisation the length $\|g_B - g\|$ of the gradient's noise has a right tail that Gaussian noise
# > of the same covariance lacks: its tail index is 14 with twenty Gaussian examples, and 3.5 with gamma covariates, where the fourth
# > moment hardly exists. The tail grows with depth. But on the sphere, with hardly any tail, Adam's lead is the largest: heavy
# > noise is not what it is made of. *About 6 seconds; at the paper's scale.*
#
# **Question.** One explanation of Adam's success is that the noise of a transformer's gradient has heavy tails. Now and
# then a batch gives a gradient far off the mean, SGD takes it at face value, and Adam does not. Does a linear transformer
# have such noise, and where does it come from?
#
# **What the paper says.** Ahn et al. ([2024](https://arxiv.org/abs/2310.01082)) draw the histogram of
# $\|g_B - g\|$ at initialisation, for three linear layers. It has a long right tail, which they find
# heavier for covariates with heavier tails, and heavier with more layers.
#
# A histogram shows a tail but does not measure it. We measure it twice, give intervals, and ask what it has to be
# compared with. Adam's lead in the same four settings is on [page 8, loss](08_loss.ipynb).

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import torch
from lintf import LinearTransformer
from lintf.analysis import intervals, landscape
from lintf.experiments import adam_sgd
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import claim, expect, told
from lintf.training.measured import measured
from scipy import stats

# %% [markdown]
# ## Parameters
#
# The histogram is the paper's: three layers, 20 Gaussian examples, seed 1, 10,000 batches of 1000 prompts, and the mean
# gradient $g$ from 100,000 other prompts. These are ten million prompts for each histogram. The statistics of a prompt
# are drawn without its examples, and the whole takes seconds.

# %% tags=["parameters"]
settings = ["normal N=20", "normal N=5", "sphere N=20", "gamma N=20"]  # the paper's
d = 5  # dimension of the covariates
n_layer = 3  # layers
n_layers = [1, 2, 4, 6, 8]  # other depths, in the first setting
B = 1000  # prompts in a batch
batches = 10_000  # gradients for the histogram, and for each depth
other_batches = 4000  # gradients for each of the other settings
reference = 100_000  # prompts for the mean gradient
seed = 1  # of the initial parameters and of the prompts

# %%
parameters.check_parameters("B >= 4", "min(batches, other_batches) >= 100")
plots.style()
tasks = {name: s.task(d) for name, s in adam_sgd.chosen(settings).items()}
first = settings[0]
models = {
    L: LinearTransformer(d=d, n_layer=L, init_std=0.05)
    for L in sorted({n_layer, *n_layers})
}

# %% [markdown]
# ## The noise
#
# With $g_B$ the gradient of the loss on a batch of $B$ prompts and $g$ the mean gradient, the noise is the vector
# $g_B - g$ of as many entries as there are parameters, 150 for three layers. It is a mean over the prompts of the batch,
# so its size falls as $1 / \sqrt B$.


# %%
model, g = models[n_layer], torch.Generator().manual_seed(seed)
start = model.init(g)
vectors = landscape.gradient_noise(model, start, tasks[first], B, batches, g, reference)
length = vectors.norm(dim=1)
print(f"mean {length.mean():.2f}, median {length.median():.2f}, max {length.max():.2f}")

# %% [markdown]
# ## What to compare with
#
# The paper compares with a normal distribution, by eye, and so do we. But lengths are positive, and even the length of
# a *Gaussian* vector has a right tail when a few directions carry most of its variance. So we also draw Gaussian vectors
# with the covariance of the noise, as many, and take their lengths. A tail beyond theirs is one of the noise itself.

# %%
variance = torch.linalg.eigvalsh(vectors.T.double() @ vectors.double() / batches)
spread = variance.clamp(min=0).sqrt()  # along the principal axes
z = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))
gaussian = (z * spread).norm(dim=1)
share = variance[-5:].sum() / variance.sum()
print(f"five of {len(spread)} directions carry {share:.0%} of the variance")

# %% mystnb={"figure": {"caption": "The length of the gradient noise at initialisation (d = 5, 20 Gaussian examples, three layers, seed 1; 10,000 batches of 1000 prompts), with the normal distribution of the same mean and variance, and the lengths of Gaussian vectors with the same covariance.", "name": "fig-noise-histogram"}, "image": {"alt": "A histogram with its mode near 2.1 and a right tail that ends at 4.6, and two curves: a normal density, symmetric and higher on the left, and the density of Gaussian vectors' lengths, which follows the histogram more closely but falls faster on the right."}}
_, ((ax,),) = plots.panels()
grid = torch.linspace(float(length.min()), float(length.max()), 400).numpy()
smooth = stats.gaussian_kde(length)(grid)
normal = stats.norm.pdf(grid, length.mean(), length.std())
ax.hist(length, bins=100, density=True, color="0.75", label="gradient noise")
ax.plot(grid, normal, "C1", label="normal, fitted")
ax.plot(
    grid, stats.gaussian_kde(gaussian)(grid), "C4--", label="Gaussian, same covariance"
)
ax.set(xlabel=r"$\|g_B - g\|$", ylabel="density")
plots.legend(ax)

# %% [markdown]
# The normal curve misses the tail, and so do the Gaussian vectors, whose lengths are nearly normal: 150 directions are
# many enough for that, although five of them carry a third of the variance. The tail is the noise's own.
#
# ## Two measures of a tail
#
# The **excess kurtosis**, $\mathbb E (v - \bar v)^4 / \sigma^4 - 3$, is zero for a normal distribution. The **tail
# index** $\alpha$ is that of a power law $P(v > t) \sim t^{-\alpha}$, from Hill's estimator on the largest 2 percent;
# the smaller, the heavier, and moments from the $\alpha$-th on do not exist. A light tail has no index, so the Gaussian
# vectors again say what to compare with. Both come with 95 percent intervals, from a bootstrap and from theory.


# %%
def tails_of(samples):
    """Rows with both measures, for lengths by name."""
    for name, v in samples.items():
        measures = {"excess kurtosis": str(intervals.kurtosis(v))}
        yield (
            {"lengths": name} | measures | {"tail index": str(intervals.tail_index(v))}
        )


# %% [markdown]
# Both measures for the noise, and for the Gaussian vectors:

# %%
caption = "Two measures of the tail, with 95 percent intervals."
tables.table(tails_of({"noise": length, "Gaussian vectors": gaussian}), caption)

# %% [markdown]
# ## Heavier covariates
#
# The four laws order themselves by the tails of their covariates: the sphere has none, gamma has the heaviest. With five
# Gaussian examples, $S / N$ has a heavier tail than with twenty. What the gradient sees of a prompt is a polynomial in
# $S / N$, and a polynomial of degree $k$ in a variable with tail index $\alpha$ has the tail index $\alpha / k$. So we expect
# the order of the covariates again, only more so.


# %%
def noise(name, L, n, B=B):
    """The lengths (n,) for another setting or depth, which are kept in `runs/measured`."""
    what = {"model": models[L], "task": tasks[name], "B": B, "batches": n, "seed": seed}
    return measured(adam_sgd.lengths_of_noise, **what, reference=reference)["lengths"]


lengths = {first: length}
for name in settings[1:]:
    lengths[name] = noise(name, n_layer, other_batches)
titled = {adam_sgd.TITLES[name]: v for name, v in lengths.items()}
tables.table(tails_of(titled), "The tails in the four settings.")

# %% [markdown]
# The order is as expected, and the numbers are far apart:

# %%
index = {name: intervals.tail_index(v) for name, v in lengths.items()}
told("its tail index is 14", 14, index[first].value)
told("and 3.5 with gamma covariates", 3.5, index[settings[-1]].value)

# %% [markdown]
# On the sphere neither measure can tell the noise from the
# Gaussian vectors above. For gamma covariates the index is below 4, so the fourth moment hardly exists, and its sample value
# is not to be trusted: it would grow with the sample. A quantile plot shows the whole distribution: a normal one would lie
# on the diagonal.

# %% mystnb={"figure": {"caption": "Quantiles of the standardised noise against those of a normal distribution, in the four settings (d = 5, three layers, at initialisation, seed 1; batches of 1000 prompts, 10,000 of them in the first setting and 4000 in each of the others).", "name": "fig-noise-quantiles"}, "image": {"alt": "Four curves against normal quantiles from minus four to four. All follow the diagonal at first. The sphere stays near it, normal with 20 examples bends up to 6.5, with five examples up to 10, gamma to 11 and much earlier."}}
_, ((ax,),) = plots.panels(height=3.6)
for name, v in lengths.items():
    at = stats.norm.ppf((torch.arange(len(v)) + 0.5) / len(v))
    standard = ((v - v.mean()) / v.std()).sort().values
    ax.plot(at, standard, label=adam_sgd.TITLES[name])
ax.plot([-4, 4], [-4, 4], label="normal", lw=1, ls="-", color=plots.QUIET)
ax.set(xlabel="quantile of a normal distribution", ylabel="quantile of the noise")
plots.legend(ax)

# %% [markdown]
# The lower ends all bend up, since lengths are positive. The upper ends leave the diagonal one after the other: gamma first
# and furthest, then five examples, then twenty, and the sphere last. What matters for a method that takes every batch at
# face value is the last dots on the right. With gamma covariates one batch in a thousand is ten standard deviations off.
#
# ## More layers
#
# We repeat the measurement for other depths, in the first setting. A deeper network is a polynomial of higher degree in
# the prompt, so rare prompts count for more. The sizes of the initial matrices are the same for every depth.

# %%
by_depth = {n_layer: length}
for L in models:
    if L not in by_depth:
        by_depth[L] = noise(first, L, batches)
by_depth = dict(sorted(by_depth.items()))
tails = {
    "excess kurtosis": {L: intervals.kurtosis(v) for L, v in by_depth.items()},
    "tail index": {L: intervals.tail_index(v) for L, v in by_depth.items()},
}

# %% mystnb={"figure": {"caption": "Excess kurtosis and tail index of the noise against depth (d = 5, 20 Gaussian examples, at initialisation, seed 1; 10,000 batches of 1000 prompts each). Bars: 95 percent intervals.", "name": "fig-noise-depth"}, "image": {"alt": "Two panels against one to eight layers. The excess kurtosis is near 0.8 for one and two layers, and rises to between 2 and 3 for six and eight, with wide intervals. The tail index falls from 16 to 10."}}
_, (axes,) = plots.panels(1, 2, width=2.5, height=2.6)
for ax, (name, estimates) in zip(axes, tails.items(), strict=True):
    middle = [e.value for e in estimates.values()]
    bars = [[e.value - e.low, e.high - e.value] for e in estimates.values()]
    ax.errorbar(list(estimates), middle, list(zip(*bars, strict=True)), fmt="o-")
    ax.set(xlabel="layers", ylabel=name, xticks=list(estimates))
_ = ax.set_ylim(bottom=0)

# %% [markdown]
# The tail grows with depth, and both measures agree within their intervals.
#
# Why so slowly? The initial matrices are small, with entries of standard deviation 0.05, so that a layer changes the
# tokens by little, and the terms of high degree come with high powers of a small number. A deep network at its start is
# nearly a shallow one. The tails grow when the matrices do: page 8 found single prompts that carry the whole mean
# loss at the end of the training, and such a loss has no gradient noise that deserves a variance.
#
# ## Claims
#
# The published numbers are read off a histogram of a hundred bars, which reaches to 4.5; we allow a fiftieth of the
# axis. The mode of ours lies between its tallest bar and the maximum of the smooth curve.

# %%
bars, edges = torch.histogram(length, 100, density=True)
mode = (grid[smooth.argmax()], float(edges[bars.argmax()]))
peak, top, right = (smooth.max(), float(bars.max())), (2.1, 1.25), 4.5
source = "chengxiang/LinearTransformer, plot_stochastic_noise.ipynb"
claim(
    "noise-mode",
    "Mode of the noise's length at initialisation",
    source,
    published=f"mode: about {top[0]} [length]",
    measured=f"{mode[0]:.2f}; tallest bar {mode[1]:.2f}",
    holds=tolerances.read_off(mode, top[0], span=right),
)

# %% [markdown]
# The density there lies between two numbers, too: of a hundred bars the tallest is one that chance has made so. It does not
# agree with the published one to the width of a line. But a bar of some 400 batches is known to five percent only, and by so
# much two tallest bars may differ.

# %%
claim(
    "noise-density",
    "Density of the noise's length at its mode",
    source,
    published=f"density: about {top[1]} [1 / length]",
    measured=f"{peak[0]:.2f}; tallest bar {peak[1]:.2f}",
    holds=tolerances.read_off(peak, top[1], span=top[1]),
    why="The tallest of a hundred bars is chance's choice, and known to five percent.",
)
claim(
    "noise-tail",
    "Where the histogram of 10,000 batches ends",
    source,
    published=f"right end of the histogram: about {right} [length]",
    measured=f"{length.max():.2f}",
    holds=tolerances.read_off(length.max(), right, span=right),
)

# %% [markdown]
# Tails are compared by their tail index, at the same share of values. One is heavier than another if their intervals do
# not overlap. We ask this of each setting and the next: the sphere, normal covariates with many examples, with few, and
# gamma.

# %%
order = ["sphere N=20", "normal N=20", "normal N=5", "gamma N=20"]
order = [index[name] for name in order if name in index]
claim(
    "noise-covariates",
    "Heavier covariates, heavier noise: sphere, normal, fewer examples, gamma",
    "2310.01082, section 4.1",
    published="in this order, to the eye",
    measured="tail index " + ", ".join(f"{e.value:.1f}" for e in order),
    holds=tolerances.ordered(order),
)

# %% [markdown]
# For depth we compare the smallest network with the largest. The last claim is our own: the tail is beyond that of
# Gaussian noise.

# %%
shallow, deep = (tails["tail index"][L] for L in (min(by_depth), max(by_depth)))
ours, null = intervals.kurtosis(length), intervals.kurtosis(gaussian)
claim(
    "noise-depth",
    "More layers, heavier noise",
    "2310.01082, section 4.2",
    published="deep networks heavier than shallow ones, to the eye",
    measured=f"tail index {shallow} with {min(by_depth)}, {deep} with {max(by_depth)}",
    holds=tolerances.above(shallow, deep),
)
claim(
    "noise-gaussian",
    "The tail is beyond that of Gaussian noise with the same covariance",
    against=f"Gaussian vectors of that covariance: excess kurtosis {null}",
    measured=f"excess kurtosis {ours}",
    holds=tolerances.above(ours, null),
)

# %% [markdown]
# ## References
#
# - K. Ahn, X. Cheng, M. Song, C. Yun, A. Jadbabaie, S. Sra. *Linear attention is (maybe) all you need (to understand
#   transformer optimization).* ICLR 2024. [arXiv:2310.01082](https://arxiv.org/abs/2310.01082)
#
# ## Exercises
#
# **Exercise 1.** The noise is a mean over $B$ prompts. How does its size depend on $B$, and how does the tail? Compare
# batches of 250, 1000 and 4000 prompts. What does the central limit theorem say?

# %% tags=["hide-cell"]
for size in (B // 4, B, 4 * B):
    v = noise(first, n_layer, 1000, size)
    scaled = float(v.mean()) * size**0.5
    print(f"B = {size}: {scaled:.1f} / root B, kurtosis {intervals.kurtosis(v)}")
    expect(abs(scaled / (float(length.mean()) * B**0.5) - 1) < 0.1 or batches < 1000)

# %% [markdown]
# **Exercise 2.** Adam divides every coordinate by the size of its own gradients. Is the noise of a single *coordinate*
# heavy-tailed? Look at the kurtosis of all coordinates.

# %% tags=["hide-cell"]
moving = vectors[:, vectors.std(0) > 0].double()
single = stats.kurtosis(moving.numpy())
print(f"{len(single)} coordinates: median {sorted(single)[len(single) // 2]:.2f}")
print(f"largest {single.max():.2f}, above 1: {(single > 1).sum()}")
expect(single.max() > 0)
