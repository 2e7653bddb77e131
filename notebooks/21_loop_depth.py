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
# # How deep should a loop be?
#
# > **In short.** At equal loops three blocks are better than one, as reported, and by far more: a factor of ten,
# > where the report has 1.3 to 1.4. At equal work, one block in twelve loops, two in six and three in four have
# > errors within a factor of two: what counts is the number of blocks passed. Whether a loop can go on after its
# > training depends; none diverges. *About 10 seconds; d = 5, width 64, a smaller scale.*
#
# **Question.** A looped transformer may hold one block or several. Are more blocks in a loop better, if the loop is run as
# often? If the work is the same? And what happens when a trained loop simply goes on?
#
# **What was published.** Yang et al. ([2024](https://arxiv.org/abs/2311.12424)) loop one block of GPT-2, and train the last
# loops only, so that further ones may improve the answer and should not spoil it. A report on their code tries one, two
# and three blocks: the squared error per dimension after 40 examples is 0.0029, 0.0031 and 0.0020 (its charts show it ten
# times larger, not divided by $d = 10$). Its conclusion: more blocks are better, although two are not.
#
# We repeat this on a smaller scale, add the comparison at equal work, and follow the error from loop to loop, far beyond the
# number that was trained.

# %% tags=["remove-cell"]
import os

if "COLAB_JUPYTER_IP" in os.environ:  # in Colab: clone, install, change directory
    assert os.system("test -d /content/lintf-book || git clone -q --depth 1 https://$(curl -s $COLAB_JUPYTER_IP:${KMP_TARGET_PORT:-9000}/api/sessions | grep -o 'github.com%2F[^%]*%2F[^%]*' | head -1 | sed s,%2F,/,g) /content/lintf-book") == 0, "where is this page from? Run  !git clone ADDRESS /content/lintf-book  with its project's address, then this cell again"  # fmt: skip
    exec(open("/content/lintf-book/book/colab.py").read(), {"__file__": "/content/lintf-book/book/colab.py"})  # fmt: skip

# %%
import torch
from lintf import claim, expect, fit_many
from lintf.analysis import intervals
from lintf.experiments import looped
from lintf.experiments.looped import step_seconds
from lintf.pages import parameters, plots, tolerances

# %% [markdown]
# ## Parameters
#
# The published values are in brackets, and in `presets/paper`. Other values train when you run the page; the models of
# this one took about two hours of one core.

# %% tags=["parameters"]
d = 5  # dimension of the covariates (10)
N = 20  # examples in a prompt (40)
width = 64  # of the states (256)
n_head = 4  # heads (8)
loops = 12  # passes through one block (30)
T = 6  # last loops that are trained (15)
max_iters = 10_000  # Adam's steps (20 001)
B = 64  # prompts in a batch, as published
lr = 2e-3  # learning rate after the warm-up (1e-4)
lr_end = 1e-5  # learning rate at the end (1e-4)
warmup = 500  # first steps, in which the rate rises to it (0)
clip = 1.0  # bound on the length of the gradient (None)
seeds = [0]  # one training each
more_seeds = [1]  # also these, for one block
most = 40  # loops in the test
test_prompts = 2000  # on which all are tested
device = "auto"  # "cpu", "cuda", or the GPU if there is one

# %%
parameters.check_parameters("3 <= loops < most")
plots.style()
scale = looped.Scale(d, N, width, n_head, max_iters, B, lr, lr_end, warmup, clip)

# %% [markdown]
# ## The models
#
# With $k$ blocks in the function $f$ of {eq}`eq-loop`, and nothing masked, a loop is $k$ layers deep,
#
# $$
# z_t = f(z_{t-1} + e), \qquad f = \text{block}_k \circ \dots \circ \text{block}_1 ,
# $$ (eq-loop-blocks)
#
# and the prompt $e$ comes in anew before the first of them. $b$ loops of $k$ blocks cost as much as $b k$ blocks. Two
# further models have $k = 2$ and $3$ with $b$ divided by $k$, so that they do the same work as one block.


# %%
def shared_work(k):
    """k blocks, and the work of one."""
    b = max(1, loops // k)
    return scale.experiment(b, max(1, b * T // loops), n_layer=k)


experiments = {
    "1 block": scale.experiment(loops, T),
    "2 blocks": scale.experiment(loops, T, n_layer=2),
    "3 blocks": scale.experiment(loops, T, n_layer=3),
    "2 blocks, half the loops": shared_work(2),
    "3 blocks, a third": shared_work(3),
}
one, two, three, *halved = experiments
each = {name: [*seeds, *(more_seeds if name == one else ())] for name in experiments}
runs = fit_many(experiments, each, device)

# %% [markdown]
# All are tested on the same prompts. Errors are divided by $d$, here also the published ones, so that without any example the
# best answer, 0, has error 1. Beside the error of the query's prediction, from all $N$ examples, stand the number of
# parameters, and the time of one training step at full length, here and now. An interval is over the prompts, for one
# training.

# %%
looks = {
    name: {"color": f"C{i}", "ls": "-", "marker": plots.MARKERS[i], "ms": 4}
    for i, name in zip((0, 1, 3), (one, two, three), strict=True)
}
looks |= {k: looks[j] | {"ls": "--"} for k, j in zip(halved, (two, three), strict=True)}
task = experiments[one].task
test = looped.common_prompts(task, test_prompts)
classical = looped.classical(test, [loops])
errors = {
    k: looped.kept_errors(p, each[k], test_prompts) for k, p in experiments.items()
}
for name, experiment in experiments.items():
    model, at_N = experiment.model, intervals.mean(errors[name][0, :, -1])
    size = sum(p[0].numel() for p in runs[name].final_params.values())
    print(f"{name:24} {model.loops:2} loops, {size:6} parameters,", end=" ")
    print(f"{1000 * step_seconds(experiment):4.0f} ms a step: {at_N}")

# %% mystnb={"figure": {"caption": "Squared error over d against the number of examples, for loops of one, two and three blocks at equal loops (solid), and of two and three at the work of one (dashed) (d = 5, N = 20, width 64; 10,000 steps of 64 prompts, a smaller scale than published; one training each, the first seed; 2000 test prompts). For comparison: least squares, and gradient descent (GD) with an exact line search.", "name": "fig-loop-depth"}, "image": {"alt": "Curves over 0 to 20 examples on a logarithmic axis. All follow least squares from 1 to 0.3 at four examples. With one, two and three blocks at twelve loops they level off at 0.013, 0.004 and 0.0013; the dashed ones of equal work stay above that of one block. Gradient descent crosses them from above between 10 and 16 examples."}}
_, ((ax,),) = plots.panels(height=3.6)
for name, look in looks.items():
    ax.plot(errors[name][0].mean(0), **look, markevery=4, label=name)
for (name, e), method in zip(classical.items(), ("least squares", "GD"), strict=True):
    ax.plot(e.mean(0), label=name, **plots.look(method))
ax.set(xlabel="examples before the prediction", ylabel="squared error / d")
ax.set(yscale="log", ylim=(1e-3, 2), xticks=range(0, N + 1, max(1, N // 4)))
plots.shared_legend(ax)

# %% [markdown]
# At equal loops every further block divides the error by about three. All models follow least squares for the first four
# examples, where no method could do better, and differ in how close they come to its zero from five examples on. Gradient
# descent with as many steps as there are loops is worse than all of them up to ten examples, and better than all in the end:
# a network reaches a certain precision, and more examples do not improve it.
#
# But three blocks in twelve loops are 36 layers, and that takes three times as long. The dashed curves have the same work as
# one block. Two blocks in six loops are a little worse than it, three blocks in four loops a little better, and with one
# training each we would not say more than that they are close. What counts is the product: how many blocks a token has gone
# through. It matters much less whether these are the same ones again, although three blocks have three times the parameters.
#
# In terms of algorithms this makes sense. If a block does a step of an iteration, three blocks in a row do three, and nothing
# is gained by a different one for each, as long as the steps are alike.
#
# ## Loop by loop
#
# The last $T$ loops were all asked for the right answer. Here is the error of the query's prediction, from all $N$ examples,
# after 1, 2, and up to 40 loops.

# %%
answers = {}  # (loops, prompts)
for name, experiment in experiments.items():
    answers[name] = looped.answers(experiment, seeds[0], test_prompts, 300, most)
paths = {k: (a - test.y[:300]).square().mean(1) / d for k, a in answers.items()}

# %% mystnb={"figure": {"caption": "Squared error over d of the query's prediction, from N = 20 examples, after each loop of the models of {numref}`fig-loop-depth` (first seed, 300 test prompts). Shaded: the loops that were trained by the loss, for one to three blocks at equal loops. Markers: the trained number of loops.", "name": "fig-loop-depth-path"}, "image": {"alt": "Error over 1 to 40 loops on a logarithmic axis. All fall steeply from 1 within a dozen loops, to 0.011, 0.004 and 0.0012 for one, two and three blocks. Beyond the shaded loops the curve of three blocks is flat, that of two rises a little, that of one doubles. Dashed curves turn upwards after their own last loop and then stay level."}}
_, ((ax,),) = plots.panels(height=3.6)
for name, path in paths.items():
    b = experiments[name].model.loops
    ax.plot(range(1, most + 1), path, **looks[name], markevery=[b - 1], label=name)
ax.axvspan(loops - T + 0.5, loops + 0.5, color="0.85", zorder=0)
ax.set(xlabel="loops", ylabel="squared error / d", yscale="log")
plots.shared_legend(ax)

# %% [markdown]
# In the first loops the answers are useless, and for one block worse than none. Then the error falls like that of a
# convergent iteration, almost by a constant factor in each loop, until the last of the trained loops. The more blocks, the
# faster it falls.
#
# After that they part. Three blocks have arrived: from the 14th loop to the 40th nothing changes. One block was at its best
# just where training looked, and loses half of its precision when it goes on; it never diverges. And the models with fewer
# loops, which were asked for the answer early, move on a little and then stay where they are.
#
# ## Does it stand still?
#
# A looped model that computed a fixed point would stand still there. How much do predictions still change from loop to loop?
# For the query, the root mean square of the change, over the standard deviation of the labels:

# %%
for name, a in answers.items():
    moves = a.diff(dim=0).square().mean(1).sqrt() / test.y.std()
    b = experiments[name].model.loops
    print(f"{name:24} after loop {b:2}: {moves[b - 1]:.3f},", end=" ")
    print(f"after loop {most - 1}: {moves[-1]:.4f}")

# %% [markdown]
# None of them does, quite. Single predictions go on moving, by up to a few percent of a label, even where their mean error
# has come to rest; with three blocks it is least. The loss asks for small errors in six successive loops, and that is
# satisfied by a small orbit around the answer as well as by a point.
#
# ## Claims
#
# The report's conclusion is about equal loops. We compare one block with two and with three on the same prompts. There, with
# three blocks the error is 0.69 to 0.80 of that with one, and with two 0.94 to 1.06, depending on whether one takes the last
# point or the mean of the last six. Here it is 0.10 and 0.30. So the order of three and one comes back, and the size of the
# effect does not: at our scale it is three to seven times stronger. First the order:


# %%
def ratio(better, worse):
    """Of the query's errors, with an interval over the prompts."""
    pair = torch.stack((errors[better][0, :, -1], errors[worse][0, :, -1]), 1)
    return intervals.bootstrap(pair, lambda e: e[0] / e[1])


versus = {k: ratio(k, one) for k in experiments if k != one}
runs_of = (
    f"d = {d}, {N} examples, width {width}, {max_iters:,} steps, one training each"
)
report = "ALeksandr13254/looped-transformer, wandb-summary.json"
claim(
    "loop-depth-blocks",
    "At equal loops, three blocks have a smaller error than one",
    report,
    published="error with 40 examples; 1, 2, 3 blocks: 0.0029, 0.0031, 0.0020 [squared error / d]",
    measured=f"three {versus[three]} times the error of one, two {versus[two]}",
    holds=tolerances.below(versus[three], 1),
    scale=runs_of,
)

# %% [markdown]
# The size, side by side: another scale, so nothing follows from the difference but a question.

# %%
claim(
    "loop-depth-size",
    "By how much, and where two blocks stand",
    report,
    published="error over that of one block; 2, 3 blocks: 0.94 to 1.06, 0.69 to 0.80 [ratio]",
    measured=f"{versus[two]}, {versus[three]}",
    missing="the report's scale; at ours the effect is three to seven times stronger",
)

# %% [markdown]
# At equal work we ask whether more blocks gain less than at equal loops, where three blocks differ from one by ten.

# %%
pairs = zip(halved, (two, three), strict=True)
claim(
    "loop-depth-work",
    "At equal work more blocks gain less than at equal loops",
    against="the ratios at equal loops",
    measured="; ".join(f"{k} {versus[k]} times that of one" for k in halved),
    holds=tolerances.all_of(tolerances.above(versus[k], versus[j]) for k, j in pairs),
    scale=runs_of,
)

# %% [markdown]
# Last, what becomes of a loop that goes on. The paper trains the last loops so that further ones do no harm. We take the error
# after 40 loops over that after the trained number, for the models with equal loops. With one block it grows 1.8 times, and
# that is harm. At the paper's scale it may be different; that three blocks come to rest is our own observation.

# %%
after = {k: float(paths[k][-1] / paths[k][loops - 1]) for k in (one, two, three)}
claim(
    "loop-depth-further",
    "What further loops do to the error",
    "2311.12424, section on the number of loops",
    published="they do not spoil the answer",
    measured=", ".join(f"{v:.2f} times with {k}" for k, v in after.items()),
    missing="its scale, of which ours is a fraction; here one block loses by going on",
)
claim(
    "loop-depth-rest",
    f"Going on to {most} loops, three blocks stay where they are, one and two lose",
    against="the error after the trained number of loops",
    measured=", ".join(f"{v:.2f} times with {k}" for k, v in after.items()),
    holds=tolerances.every(after[three] <= 1, after[two] > 1, after[one] > 1),
    scale=runs_of,
)

# %% [markdown]
# ## References
#
# - L. Yang, K. Lee, R. Nowak, D. Papailiopoulos. *Looped transformers are better at learning learning algorithms.* ICLR 2024.
#   [arXiv:2311.12424](https://arxiv.org/abs/2311.12424). The code is at
#   [Leiay/looped_transformer](https://github.com/Leiay/looped_transformer); the report on it is unpublished, in Russian.
#
# ## Exercises
#
# **Exercise 1.** After how many loops is each model as good as one block after all of its own? Multiply by the number of
# blocks: which model gets there with the least work?

# %% tags=["hide-cell"]
goal = float(paths[one][loops - 1])
for name in (one, two, three):
    enough = (paths[name] <= 1.02 * goal).nonzero()[:, 0]
    first = int(enough[0]) + 1 if len(enough) else None
    print(f"{name}: after {first} loops, {experiments[name][0].n_layer} blocks each")
    expect(first is None or first <= loops)

# %% [markdown]
# **Exercise 2.** Training is random, too. Compare the two seeds of one block with each other, and with two blocks. Is the
# difference between the numbers of blocks larger than that between seeds?

# %% tags=["hide-cell"]
by_seed = [float(v) for v in errors[one][..., -1].mean(1)]
print("one block:", ", ".join(f"{v:.4f}" for v in by_seed))
print(f"two blocks: {errors[two][0, :, -1].mean():.4f}")
expect(min(by_seed) > errors[two][0, :, -1].mean())
