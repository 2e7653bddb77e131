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
# > where the report has 1.25 to 1.45. At equal work, one block in twelve loops, two in six and three in four have
# > errors within a factor of two: what counts is how many blocks a token goes through. After training with 12 loops, three
# > blocks can go on to 40 without harm, while the error of one block becomes 1.8 times as large.
# > *About 20 seconds; d = 5, width 64, a smaller scale.*
#
# **Question.** A looped transformer may hold one block or several. Are more blocks in a loop better, if the loop is run as
# often? If the work is the same? And what happens when a trained loop simply goes on?
#
# **What was published.** Yang et al. ([2024](https://arxiv.org/abs/2311.12424)) loop one block of GPT-2, and train the last
# loops only, so that further ones may improve the answer and should not spoil it. A report on their code tries one, two
# and three blocks: the squared error per dimension after 40 examples is 0.0029, 0.0031 and 0.0020 (its charts show it ten
# times larger, not divided by $d = 10$). It concludes that more blocks are better, although two are not.
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
from lintf import fit_many
from lintf.analysis import intervals
from lintf.experiments import looped
from lintf.pages import parameters, plots, tables, tolerances
from lintf.pages.claims import claim, expect, told

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
# and the prompt $e$ comes in anew before the first of them. A model with $b$ loops of $k$ blocks does the work of $b k$
# blocks. We train one, two and three blocks with equal $b$, and two further models with $k = 2$ and $3$ and $b$ divided by
# $k$, so that they do the same work as one block.


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
# best answer, 0, has error 1.

# %%
looks = {
    name: {"color": f"C{i}", "ls": "-", "marker": plots.MARKERS[i], "ms": 4}
    for i, name in zip((0, 1, 3), (one, two, three), strict=True)
}
looks |= {k: looks[j] | {"ls": "--"} for k, j in zip(halved, (two, three), strict=True)}
task = experiments[one].task
test = looped.common_prompts(task, test_prompts)
classical = looped.classical(test, [loops])
least_squares, descent = (e.mean(0) for e in classical.values())
errors = {}
for name, experiment in experiments.items():
    errors[name] = looped.kept_errors(experiment, each[name], test_prompts)

# %% [markdown]
# The error of the query's prediction, from all $N$ examples, stands beside loops and parameters. An interval is over the
# prompts, for one training.

# %%
sizes, rows = {}, []
for name, experiment in experiments.items():
    sizes[name] = sum(p[0].numel() for p in runs[name].final_params.values())
    row = {"model": name, "loops": experiment.model.loops}
    row["parameters"] = sizes[name]
    row["squared error / d"] = str(intervals.mean(errors[name][0, :, -1]))
    rows.append(row)
caption = "The models and their errors with all examples, with 95 percent intervals."
tables.table(rows, caption)

# %% mystnb={"figure": {"caption": "Squared error over d against the number of examples, for loops of one, two and three blocks at equal loops (solid), and of two and three at the work of one (dashed) (d = 5, N = 20, width 64; 10,000 steps of 64 prompts, a smaller scale than published; one training each, the first seed; 2000 test prompts). For comparison: least squares, and gradient descent (GD) with an exact line search.", "name": "fig-loop-depth"}, "image": {"alt": "Curves over 0 to 20 examples on a logarithmic axis. All follow least squares from 1 to 0.3 at four examples. With one, two and three blocks at twelve loops they level off at 0.013, 0.004 and 0.0013; the dashed ones of equal work stay above that of one block. Gradient descent crosses them from above between 9 and 16 examples."}}
_, ((ax,),) = plots.panels(height=3.6)
for name, look in looks.items():
    ax.plot(errors[name][0].mean(0), **look, markevery=4, label=name)
ax.plot(least_squares, label="least squares", **plots.look("least squares"))
ax.plot(descent, label=f"GD, {loops} steps", **plots.look("GD"))
ax.set(xlabel="examples before the prediction", ylabel="squared error / d")
ax.set(yscale="log", ylim=(1e-3, 2), xticks=range(0, N + 1, max(1, N // 4)))
plots.shared_legend(ax)

# %% [markdown]
# At equal loops every further block divides the error by about three. All models follow least squares for the first four
# examples, where no method could do better, and differ in how close they come to its zero from five examples on. Gradient
# descent with twelve steps is worse than all of them from four to eight examples, and better than all from 16 on:
# a network reaches a certain precision, and more examples do not improve it.
#
# But three blocks in twelve loops are 36 layers, three times the work of one block. The dashed curves have the same work as
# one block. Two blocks in six loops have 1.5 times its error, three blocks in four loops 0.8 times, and with one
# training each we would not say more than that they are close. What counts is the product: how many blocks a token has gone
# through. It matters much less whether these are the same ones again, although three blocks have nearly three times the
# parameters.
#
# In terms of algorithms this makes sense. If a block does a step of an iteration, three blocks in a row do three, and nothing
# is gained by a different one for each, as long as the steps are alike.

# %%
at_end = {name: float(e[0, :, -1].mean()) for name, e in errors.items()}
told("divides the error by about three", 3, at_end[one] / at_end[two])
told("divides the error by about three", 3, at_end[two] / at_end[three])
told("a factor of ten", 10, at_end[one] / at_end[three])
told("have 1.5 times its error", 1.5, at_end[halved[0]] / at_end[one])
told("in four loops 0.8 times", 0.8, at_end[halved[1]] / at_end[one])
told("nearly three times the parameters", 3, sizes[three] / sizes[one])

# %% [markdown]
# Where is gradient descent behind all models, and where ahead of all?

# %%
curves = torch.stack([e[0].mean(0) for e in errors.values()])
best, worst = curves.amin(0), curves.amax(0)
behind = (descent > worst).nonzero().flatten().tolist()
not_ahead = (descent >= best).nonzero().flatten().tolist()
told("from four to eight examples", 4, min(behind, default=0))
told("to eight examples", 8, max(behind, default=0))
told("better than all from 16 on", 16, max(not_ahead, default=0) + 1)

# %% [markdown]
# ## Loop by loop
#
# The last $T$ loops were all asked for the right answer. Here is the error of the query's prediction, from all $N$ examples,
# after 1, 2, and up to 40 loops.

# %%
answers = {}  # (loops, prompts)
for name, experiment in experiments.items():
    answers[name] = looped.answers(experiment, seeds[0], test_prompts, 300, most)
paths = {k: (a - test.y[:300]).square().mean(1) / d for k, a in answers.items()}

# %% mystnb={"figure": {"caption": "Squared error over d of the query's prediction, from N = 20 examples, after each loop of the models of {numref}`fig-loop-depth` (first seed, 300 test prompts). Shaded: the loops that were trained by the loss, for one to three blocks at equal loops. Markers: the trained number of loops.", "name": "fig-loop-depth-path"}, "image": {"alt": "Error over 1 to 40 loops on a logarithmic axis. All fall steeply from 1 within a dozen loops, to 0.011, 0.004 and 0.0012 for one, two and three blocks. Beyond the shaded loops the curve of three blocks is flat, that of two rises a little, that of one doubles. The dashed curves are lowest near their own last loop, rise a little and then stay level."}}
_, ((ax,),) = plots.panels(height=3.6)
for name, path in paths.items():
    b = experiments[name].model.loops
    ax.plot(range(1, most + 1), path, **looks[name], markevery=[b - 1], label=name)
ax.axvspan(loops - T + 0.5, loops + 0.5, color="0.85", zorder=0)
ax.set(xlabel="loops", ylabel="squared error / d", yscale="log")
plots.shared_legend(ax)

# %% [markdown]
# In the first loops the answers are useless, and for one block worse than the answer 0. Then the error falls like that of a
# convergent iteration, almost by a constant factor in each loop, until it levels off within the trained loops. The more
# blocks, the faster it falls.
#
# After that the models part. Three blocks have arrived: from the 14th loop to the 40th their error changes by a few percent.
# One block was at its best in the 13th loop, just after those that training looked at, and loses almost half of its precision
# when it goes on; it never diverges. The models with fewer loops were asked for the answer early. Two blocks in six loops go
# the way of one block, to 1.6 times their error, and three blocks in four loops stay close to where they were.

# %%
after = {}  # the error after all loops over that after the trained number
for name, path in paths.items():
    after[name] = float(path[-1] / path[experiments[name].model.loops - 1])
told("becomes 1.8 times as large", 1.8, after[one])
told("to 1.6 times their error", 1.6, after[halved[0]])
told("in the 13th loop", 13, int(paths[one].argmin()) + 1)

# %% [markdown]
# ## Does it stand still?
#
# A looped model that computed a fixed point would stand still there. How much do predictions still change from loop to loop?
# For the query, we take the root mean square of the change, over the standard deviation of the labels.

# %%
rows, moves = [], {}
for name, a in answers.items():
    change = a.diff(dim=0).square().mean(1).sqrt()
    moves[name] = change / test.y.std()
    b = experiments[name].model.loops
    row = {"model": name, "trained loops": b, "after these": moves[name][b - 1]}
    row[f"after {most - 1} loops"] = moves[name][-1]
    rows.append(row)
caption = (
    "Change of a prediction in the next loop, over the labels' standard deviation."
)
tables.table(rows, caption, 2)

# %% [markdown]
# None of them stands still, quite. Single predictions go on moving, by up to 3 percent of a label's spread, even where their
# mean error has come to rest. With three blocks they move least. The loss asks for small errors in six successive loops, and
# that is satisfied by a small orbit around the answer as well as by a point.

# %%
told("by up to 3 percent", 0.03, max(move[-1] for move in moves.values()))

# %% [markdown]
# ## Claims
#
# The report's conclusion is about equal loops. We compare one block with two and with three on the same prompts. In the
# report, the error with three blocks is 0.69 to 0.80 of that with one, and with two 0.94 to 1.06, depending on whether one
# takes the last point or the mean of the last six. Here these ratios are 0.10 and 0.30. So the order of three and one comes
# back, and the size of the effect does not: at our scale it is three to eight times stronger. First the order:


# %%
def ratio(better, worse):
    """Of the query's errors, with an interval over the prompts."""
    pair = torch.stack((errors[better][0, :, -1], errors[worse][0, :, -1]), 1)
    return intervals.bootstrap(pair, lambda e: e[0] / e[1])


versus = {k: ratio(k, one) for k in experiments if k != one}
told("these ratios are 0.10 and", 0.1, versus[three].value)
told("and 0.30", 0.3, versus[two].value)
told("three to eight times stronger", 3, 0.94 / versus[two].value)
told("eight times stronger", 8, 0.80 / versus[three].value)

# %% [markdown]
# The claim is that the interval of the ratio is below 1:

# %%
size = f"d = {d}, {N} examples, width {width}"
runs_of = f"{size}, {max_iters:,} steps, one training each"
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
    missing="the report's scale; at ours the effect is three to eight times stronger",
)

# %% [markdown]
# At equal work we ask whether more blocks gain less than at equal loops.

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
# after 40 loops over that after the trained number, for the models with equal loops. With one block the growth is
# harm. At the paper's scale it may be different. That three blocks come to rest is our own observation.

# %%
growth = ", ".join(f"{after[k]:.2f} times with {k}" for k in (one, two, three))
claim(
    "loop-depth-further",
    "What further loops do to the error",
    "2311.12424, section on the number of loops",
    published="they do not spoil the answer",
    measured=growth,
    missing="its scale, of which ours is a fraction; here one block loses by going on",
)
claim(
    "loop-depth-rest",
    f"Going on to {most} loops, three blocks stay where they are, one and two lose",
    against="the error after the trained number of loops",
    measured=growth,
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
rows = []
for name in (one, two, three):
    enough = (paths[name] <= 1.02 * goal).nonzero().flatten()
    first = int(enough[0]) + 1 if len(enough) else torch.nan
    work = first * experiments[name].model.n_layer
    rows.append({"model": name, "loops": first, "blocks passed": work})
    expect(not first > loops)
tables.table(rows, "When each is as good as one block after all of its loops.")

# %% [markdown]
# One block gets there with the least work. More blocks need fewer loops, but not so many fewer.
#
# **Exercise 2.** Training is random, too. Compare the two seeds of one block with each other, and with two blocks. Is the
# difference between the numbers of blocks larger than that between seeds?

# %% tags=["hide-cell"]
by_seed = errors[one][..., -1].mean(1)
rows = [{"model": "one block", "squared error / d": v} for v in by_seed]
rows.append({"model": "two blocks", "squared error / d": at_end[two]})
expect(min(by_seed) > at_end[two])
tables.table(rows, "The error of the query for each training.", 2)

# %% [markdown]
# Yes: the two trainings of one block differ by less than a tenth, and two blocks have less than a third of their error.
