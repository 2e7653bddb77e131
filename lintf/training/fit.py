"""fit(): the one training loop of the project. All seeds are trained at once, along a leading
ensemble axis."""

from __future__ import annotations

import math
import platform
import time
import warnings
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

import lintf
from lintf import kernel
from lintf.models.base import Model
from lintf.models.linear import LinearTransformer
from lintf.tasks.base import Task, check_ensemble
from lintf.training import store
from lintf.training.checkpoint import Checkpoint
from lintf.training.config import TrainConfig
from lintf.training.data import Batches
from lintf.training.graphed import loss_on
from lintf.training.history import Diverged, History, history_of
from lintf.training.progress import Steps
from lintf.training.run import Run
from lintf.training.state import FINAL, TrainState

CHECKPOINT_SECONDS = 20.0


def fit(
    model: Model,
    task: Task | Callable[[int], Task],
    training: TrainConfig,
    seeds: Sequence[int] = (0,),
    *,
    device: str = "auto",
    stored: bool = True,
    progress: bool = True,
) -> History:
    """Trains one model per seed, or loads it from runs/ where that very configuration is stored,
    and returns the History of all. Seed s draws its parameters and then its prompts from its own
    generator, so it gives the same trajectory alone and among others. Interrupted runs resume from
    their last checkpoint. A run that diverged is stored too, as far as it got, and raises Diverged
    again when it is asked for.

    model: what is trained.
    task: the law of the prompts, or a function from the seed to it.
    training: how.
    seeds: different whole numbers from 0 to 2^32 - 1, at least one.
    device: "auto" is the GPU if there is one, "cpu", "cuda" or "cuda:0" are meant as such.
    stored: whether runs are looked up and saved.
    progress: whether a bar and remarks are shown.
    Raises ValueError for wrong input, Diverged for a non-finite loss, StoreError for a damaged file
    in runs/.
    """
    if isinstance(task, type):
        raise ValueError(
            "task must be a law of prompts or a function from the seed to one, got the class "
            f"{task!r}"
        )
    seeds, where, runs = check_seeds(seeds), check_device(device), {}
    for s in seeds:
        run = Run(model, task(s) if callable(task) else task, training, s)
        runs[run.seed] = run
    if not runs or len(runs) < len(seeds):
        raise ValueError(f"seeds must be distinct and at least one, got {list(seeds)}")
    seeds = tuple(runs)
    check_ensemble([m.task for m in runs.values()])
    found = {}
    if stored:
        found = {s: record for s, m in runs.items() if (record := store.find(m.path)) is not None}
    if found and progress:
        print(f"{len(found)} of {len(seeds)} runs loaded from {store.folder().name}/")
    for s, record in found.items():
        if "diverged" in record.meta:
            step = record.meta["diverged"]
            raise Diverged(step, s, training.rate(step), history_of([record], (s,), model))
    missing = [m for s, m in runs.items() if s not in found]
    together = Checkpoint([m.config for m in runs.values()])
    if missing:
        # Some runs, and a checkpoint of all: killed between the saves of the runs.
        trainees = list(runs.values()) if stored and together.exists() else missing
        checkpoint = Checkpoint([m.config for m in trainees]) if stored else None
        try:
            trained = _train(trainees, where, checkpoint, progress)
        except Diverged as error:
            if checkpoint:
                _keep(checkpoint, [(runs[error.seed], _diverged(runs[error.seed], error))])
            raise
        new = [
            (m, record) for m, record in zip(trainees, trained, strict=True) if m.seed not in found
        ]
        if checkpoint:
            _keep(checkpoint, new)
        found |= {m.seed: record for m, record in new}
    elif stored:
        # What is left of a second process that trained the same runs, and was killed.
        _keep(together, [])
    return history_of([found[s] for s in seeds], seeds, model)


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Returns the seeds as a tuple. Raises ValueError for what is no list."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ValueError(f"seeds must be a list of integers, got {seeds!r}")
    return tuple(seeds)


def _keep(checkpoint: Checkpoint, done: list[tuple[Run, store.Record]]) -> None:
    """Saves runs, each that can be; their checkpoint has done its work only when all are saved."""
    saved = True
    for run, record in done:
        try:
            store.save(run.path, record)
        except OSError as error:
            checkpoint.warn(error, stacklevel=4)
            saved = False
    if saved:
        checkpoint.remove()


def _train(
    runs: list[Run], device: torch.device, checkpoint: Checkpoint | None, progress: bool
) -> list[store.Record]:
    """Trains runs that differ in seed and task only, side by side."""
    model, training = runs[0].model, runs[0].training
    state = TrainState(runs, device)
    batches = Batches(runs, state.generators, device)
    loss_of = loss_on(device, training.alg)
    recorded = training.recorded_steps()
    how = _how(model, next(iter(state.params.values())))
    first, spent, parts = _resume(checkpoint, state, training, progress)
    start = last_save = time.perf_counter()

    def records() -> list[store.Record]:
        seconds = spent + time.perf_counter() - start
        return _records(runs, state, how | _made(runs, seconds, how, parts))

    title = f"{model.label}, {training.alg} ({how['path']})"
    with Steps(title, first, training.max_iters, shown=progress) as bar:
        for step in range(first, training.max_iters + 1):
            batch = batches.at(step)
            now = time.perf_counter()
            if checkpoint and step > first and now - last_save > CHECKPOINT_SECONDS:
                tensors = state.tensors() | {"generators": batches.before}
                so_far = [*parts, {"until": step, "how": how}]
                meta = {"step": step, "seconds": spent + now - start, "parts": so_far}
                checkpoint.save(tensors, meta)
                last_save = now
            with torch.set_grad_enabled(training.alg != "lbfgs"):  # which takes its own gradients
                loss = loss_of(training.model_at(model, step), state.params, batch)  # (E,)
            if step == recorded[state.filled]:
                state.record(loss)
            values = loss.tolist()
            for run, value in zip(runs, values, strict=True):
                if not math.isfinite(value):
                    history = history_of(records(), tuple(r.seed for r in runs), model)
                    raise Diverged(step, run.seed, training.rate(step), history)
            if step == training.max_iters:
                break
            state.update(step, loss, batch)
            bar.show(step + 1, sum(values) / len(values))
    return records()


def _resume(
    checkpoint: Checkpoint | None, state: TrainState, training: TrainConfig, progress: bool
) -> tuple[int, float, list[dict]]:
    """Puts the state to where an interrupted training stood: at which step, after how many seconds,
    and how the steps before were made."""
    if checkpoint and (saved := checkpoint.load()):
        state.restore(saved.tensors)
        if progress:
            step = saved.meta["step"]
            print(f"an interrupted training goes on at step {step} of {training.max_iters}")
        return saved.meta["step"], saved.meta["seconds"], saved.meta["parts"]
    if checkpoint and (others := checkpoint.others()):
        said = "another version of lintf or torch wrote this checkpoint. The training begins anew"
        last = "and the file stays until the runs are stored"
        warnings.warn(f"{others[0]}: {said}, {last}", stacklevel=4)
    return 0, 0.0, []


def _records(runs: list[Run], state: TrainState, meta: dict) -> list[store.Record]:
    """Returns what is stored of each run: at which steps, and what was recorded."""
    steps = state.training.recorded_steps()[: state.filled]
    stacked = state.recorded() | state.final_params()
    found = []
    for e, run in enumerate(runs):
        tensors = {"steps": torch.tensor(steps, dtype=torch.int64, device="cpu")}
        tensors |= {name: t[e] for name, t in stacked.items()}
        found.append(store.Record(run.config, tensors, meta))
    return found


def _made(runs: list[Run], seconds: float, how: dict, parts: list[dict]) -> dict:
    """Returns when they were made and for how long, the wall time of all runs together."""
    made = {
        "seconds": round(seconds, 3),
        "members": len(runs),
        "made": time.strftime("%Y-%m-%d", time.gmtime()),  # the day, in UTC
    }
    if any(part["how"] != how for part in parts):  # not bit for bit what this process would make
        made["before"] = parts
    return made


def _path(model: Model, p: Tensor) -> str:
    """Which code the training goes through, for parameters such as p."""
    if not isinstance(model, LinearTransformer):
        return "plain PyTorch"
    if model.representation != "gram":
        return "token space"
    slow = kernel.unavailable(model.d, p.dtype, p.device.type)
    return "plain PyTorch" if slow else "compiled kernel"


def _how(model: Model, p: Tensor) -> dict:
    """Returns what the last digits depend on, beside the configuration, for parameters such as
    p."""
    return {
        "device": str(p.device) if p.device.type == "cpu" else torch.cuda.get_device_name(p.device),
        "path": _path(model, p),
        "threads": torch.get_num_threads(),
        "versions": {
            "lintf": lintf.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _diverged(run: Run, error: Diverged) -> store.Record:
    e = error.history.seeds.index(run.seed)
    tensors = {"steps": error.history.steps, "loss": error.history.loss[e]}
    tensors |= {name: p[e] for name, p in error.history.recorded.items()}
    tensors |= {f"{FINAL}{name}": p[e] for name, p in error.history.saved_final.items()}
    return store.Record(run.config, tensors, error.history.meta[e] | {"diverged": error.step})


def check_device(name: str) -> torch.device:
    """Returns the device with this name. Raises ValueError for one that is not here."""
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "auto":
        return torch.device("cuda" if len(here) > 1 else "cpu")
    if name not in here and not (name == "cuda" and len(here) > 1):
        raise ValueError(
            f"device must be 'auto' or one that is here ({', '.join(here)}), got {name!r}"
        )
    return torch.device(name)
