"""The trainings of part V: looped transformers and LSTMs, all alike but for what is compared (arXiv
2311.12424)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lintf.analysis.newton import SteepestDescent
from lintf.analysis.solvers import LeastSquares, squared_error
from lintf.checks import check_int, check_real
from lintf.models.looped import Looped
from lintf.tasks.batches import Prompts
from lintf.tasks.linear import LinearRegression
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.history import History
from lintf.training.measured import Measure, measured
from lintf.training.several import Experiment

TEST_SEED = 99  # of the prompts on which trainings are compared; none has it
CHUNK = 100  # prompts that go through a model at once: their states stay in the processor's cache


@dataclass(frozen=True)
class Scale:
    """What all trainings of a figure have in common. Learning rates are Adam's; warmup: so many
    first steps, a twentieth of all for None. clip: the bound on the gradient's length."""

    d: int
    N: int
    width: int
    n_head: int
    max_iters: int
    B: int
    lr: float
    lr_end: float
    warmup: int | None = None
    clip: float | None = 1.0

    def experiment(self, loops: int, supervised_loops: int, **fields: object) -> Experiment:
        """Returns the training of a `Looped` with these fields, with the paper's curriculum in
        proportion: of N a quarter at first, and all of it after three quarters of the steps;
        supervised_loops at first, and all of them after the first fifth or before. After the
        warm-up the rate goes along half a cosine from lr to lr_end."""
        N, steps = check_int("N", self.N, 1), check_int("max_iters", self.max_iters, 1)
        size = {"width": self.width, "n_head": self.n_head, "positions": 2 * N + 1}
        model = Looped(d=self.d, loops=loops, supervised_loops=supervised_loops, **size, **fields)
        curriculum = [("N", max(1, N // 4), max(1, N // 20), max(1, steps // 20))]
        if model.curriculum_fields:
            curriculum.append(("loops", supervised_loops, max(1, loops // 15), max(1, steps // 40)))
        warmup = steps // 20 if self.warmup is None else self.warmup
        schedule = {
            "warmup": warmup,
            "lr_end": self.lr_end,
            "decay_steps": max(warmup + 1, steps),
        }
        options = {"betas": (0.9, 0.999), "clip": self.clip, "record_every": max(1, steps // 50)}
        config = TrainConfig(
            self.lr, steps, self.B, curriculum=tuple(curriculum), **schedule, **options
        )
        return Experiment(model, LinearRegression(N, self.d), config)


def tokens_of(share: float, N: int) -> int:
    """Returns how many tokens this share of a prompt with N examples is, rounded; -1, which means
    all, for the share 1. Raises ValueError for other shares."""
    share = check_real("share", share, 0.0)
    if share > 1:
        raise ValueError(f"share must be from 0 to 1, got {share!r}")
    return -1 if share == 1 else int(share * (2 * N + 1) + 0.5)


def prediction_errors(
    model: Looped, run: History, prompts: Prompts, loops: int | None = None
) -> Tensor:
    """Returns the squared errors, divided by d, of the predictions from 0, 1, ..., N examples:
    (seeds, prompts, N+1).

    model, run: a model, and the trainings whose final parameters it takes.
    prompts: with d and N for the model, without leading axes.
    loops: after how many loops; None is the model's own number.
    """
    return path_errors(model, run, prompts, loops)[:, -1]


def path_errors(model: Looped, run: History, prompts: Prompts, loops: int | None = None) -> Tensor:
    """Returns the squared errors, divided by d, after each loop: (seeds, loops, prompts, N+1).

    model, run, prompts, loops: as for `prediction_errors`.
    """
    parts = []
    for chunk in chunks(prompts):
        with torch.no_grad():
            gaps = model.trajectory(run.final_params, chunk, loops) - chunk.labels
        parts.append(gaps.square() / model.d)
    return torch.cat(parts, 2)


def common_prompts(task: LinearRegression, prompts: int, first: int | None = None) -> Prompts:
    """Returns the prompts on which the trainings of a figure are compared: the first of so many, or
    all."""
    drawn = task.sample(prompts, torch.Generator().manual_seed(TEST_SEED), "tokens")
    return Prompts(drawn.Z[:first], drawn.y[:first])


def kept_errors(
    experiment: Experiment,
    seeds: Sequence[int],
    prompts: int,
    first: int | None = None,
    **fields: object,
) -> Tensor:
    """Returns prediction_errors of an experiment's models on `common_prompts`: (seeds, first, N+1).
    They are computed once.

    experiment, seeds: the trainings.
    prompts, first: as for `common_prompts`.
    fields: fields of the model that are changed after its training.
    """
    return _once(
        measure_errors, experiment, seeds=list(seeds), prompts=prompts, first=first, fields=fields
    )


def answers(experiment: Experiment, seed: int, prompts: int, first: int, loops: int) -> Tensor:
    """Returns the query's answer after each loop, of one model of an experiment: (loops, first).
    They are computed once.

    experiment, seed: the training.
    prompts, first: as for `common_prompts`.
    loops: how many.
    """
    return _once(measure_query, experiment, seed=seed, prompts=prompts, first=first, loops=loops)


def rises(experiment: Experiment, seed: int, prompts: int, first: int) -> Tensor:
    """Returns `influence` (first, N) of one model of an experiment. It is computed once.

    experiment, seed: the training. prompts, first: as for `common_prompts`.
    """
    return _once(measure_query, experiment, seed=seed, prompts=prompts, first=first, loops=None)


def _once(measure: Measure, experiment: Experiment, **arguments: object) -> Tensor:
    model, task, training = experiment
    (found,) = measured(measure, model=model, task=task, training=training, **arguments).values()
    return found


def measure_errors(
    model: Looped,
    task: LinearRegression,
    training: TrainConfig,
    seeds: Sequence[int],
    prompts: int,
    first: int | None,
    fields: dict[str, object],
) -> dict[str, Tensor]:
    """Measures errors, for `kept_errors`.

    model, task, training, seeds: as for `fit`. prompts, first: as for `common_prompts`.
    fields: name -> value, fields of the model that are changed after its training.
    """
    run = fit(model, task, training, seeds, progress=False)
    return {
        "errors": prediction_errors(
            replace(model, **fields), run, common_prompts(task, prompts, first)
        )
    }


def measure_query(
    model: Looped,
    task: LinearRegression,
    training: TrainConfig,
    seed: int,
    prompts: int,
    first: int,
    loops: int | None,
) -> dict[str, Tensor]:
    """Measures what `answers` returns, or `rises`.

    model, task, training, seed: as for `fit`. prompts, first: as for `common_prompts`.
    loops: how many, for answers; None measures rises.
    """
    run = fit(model, task, training, [seed], progress=False)
    tests = common_prompts(task, prompts, first)
    if loops is None:
        return {"rises": influence(model, run, tests)}
    weights = {name: p[0] for name, p in run.final_params.items()}
    with torch.no_grad():
        parts = [model.trajectory(weights, part, loops)[..., -1] for part in chunks(tests)]
    return {"answers": torch.cat(parts, 1)}


def chunks(prompts: Prompts) -> list[Prompts]:
    """Returns the prompts in pieces of CHUNK."""
    parts = zip(prompts.Z.split(CHUNK), prompts.y.split(CHUNK), strict=True)
    return [Prompts(Z, y) for Z, y in parts]


def wrong_labels(prompts: Prompts, generator: torch.Generator) -> Tensor:
    """Returns another label for each example, (B, N). They come from other weights, N(0, I), the
    same for all examples of a prompt."""
    w = torch.randn(
        len(prompts.y), prompts.d, 1, generator=generator, dtype=prompts.y.dtype, device="cpu"
    )
    return (prompts.Z[:, :-1, :-1] @ w)[..., 0]


def one_wrong_label(prompts: Prompts, generator: torch.Generator) -> Prompts:
    """Returns N B prompts: B with another label for the first example, B with another for the
    second, and so on."""
    N = prompts.N
    Z = prompts.Z.repeat(N, 1, 1, 1)
    Z[range(N), :, range(N), -1] = wrong_labels(prompts, generator).mT
    return Prompts(Z.flatten(0, 1), prompts.y.repeat(N))


def influence(model: Looped, run: History, prompts: Prompts) -> Tensor:
    """Returns what a wrong label of each example adds to the query's squared error divided by d,
    for the first seed: (prompts, N)."""
    params = {name: p[0] for name, p in run.final_params.items()}
    wrong, parts = wrong_labels(prompts, torch.Generator().manual_seed(97)), []
    for chunk, labels in zip(chunks(prompts), wrong.split(CHUNK), strict=True):
        with torch.no_grad():
            answers = model.changed(params, chunk, labels)
        errors = (answers - chunk.y.unsqueeze(1)).square() / model.d
        parts.append(errors[:, :-1] - errors[:, -1:])
    return torch.cat(parts)


def prefix(prompts: Prompts, n: int) -> Prompts:
    """Returns the first n examples of prompts as a prompt, with the next covariate as its query."""
    n = check_int("n", n, 1, prompts.N)
    Z = prompts.Z[..., : n + 1, :].clone()
    Z[..., -1, -1] = 0
    return Prompts(Z, prompts.labels[..., n])


def classical(prompts: Prompts, steps: Iterable[int]) -> dict[str, Tensor]:
    """Returns name -> (prompts, N+1): the squared error divided by d of least squares and, after so
    many steps, of gradient descent with an exact line search in each step, from 0, 1, ..., N
    examples."""
    steps = [check_int("each of steps", k, 1) for k in steps]
    names = {k: f"GD, {k} step{'s' * (k > 1)}" for k in steps}
    without = prompts.labels[..., 0].square()  # the error of 0, which is what all of them answer
    columns = {name: [without] for name in ("least squares", *names.values())}
    for n in range(1, prompts.N + 1):
        part = prefix(prompts, n)
        columns["least squares"].append(squared_error(LeastSquares(), part))
        answers = SteepestDescent(max(steps, default=0)).iterates(part)
        for k in steps:
            columns[names[k]].append((answers[k] - part.y).square())
    return {name: torch.stack(each, -1) / prompts.d for name, each in columns.items()}
