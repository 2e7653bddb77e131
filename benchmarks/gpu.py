"""What a GPU gives: a check of it, a measurement, and the published scale of parts V and III, as
far as the time goes.

    python benchmarks/gpu.py --minutes 12 --out FOLDER      (from the root; all three)
    python benchmarks/gpu.py train --minutes 12 --out FOLDER   (goes on where the last one stopped)

check    loss and gradient of a model of each part, on the GPU and on the CPU, in float32, float64
         and as a CUDA graph, beside what rounding allows. What falls outside is named, and ends
         the program with exit code 1.
measure  milliseconds of a training step at full size, on the CPU and on the GPU, with and without
         a graph.
train    what pages 20 to 22 and 13 to 15 train with presets/paper, through `fit`; it stops before
         its time is over. FOLDER holds what is finished, FOLDER/.partial where the rest stands;
         copied to runs/, the pages find it.

Without a GPU it says so; `--device cpu` does the same on the processor, where nothing is captured.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from torch import Tensor

from lintf.checks import check_choice
from lintf.cli import notebook
from lintf.experiments import looped, newton, recall
from lintf.models.base import Params
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.models.mlp import MLPTransformer
from lintf.tasks.batches import Batch
from lintf.tasks.linear import LinearRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.tasks.recall import Recall
from lintf.training.checkpoint import Checkpoint
from lintf.training.config import TrainConfig
from lintf.training.data import Batches
from lintf.training.fit import check_device, fit
from lintf.training.graphed import AFTER, Graphed, Loss, capture, eager
from lintf.training.history import Diverged
from lintf.training.run import Run
from lintf.training.several import Experiment
from lintf.training.state import TrainState

PRESETS = Path(__file__).parents[1] / "presets"
PHASES = ("check", "measure", "train")
RESERVE = 15.0  # seconds for the start and for the last lines
PROMPTS = 16  # in a check
# a GPU adds in another order and has other exponentials: so many times the CPU's own rounding
SLACK = 20.0
EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}
TF32 = 2.0**-10  # the rounding of cuDNN's products in float32 by torch's default: the LSTM's
# In which a step is checked and measured.
WAYS: dict[str, tuple[torch.dtype, Callable[[], Loss]]] = {
    "float32": (torch.float32, lambda: eager),
    "float64": (torch.float64, lambda: eager),
    "graph": (torch.float32, lambda: Graphed(capture)),
}


class TimeUp(BaseException):
    """Like KeyboardInterrupt no Exception, so that nothing on the way takes it for a failure."""


@dataclass(frozen=True)
class Job:
    name: str
    experiment: Experiment
    seed: int

    @property
    def run(self) -> Run:
        return Run(*self.experiment, self.seed)


def parameters(page: str, presets: str) -> dict:
    """Of a page: its own, and what a preset changes."""
    path = notebook.find(page)
    preset = PRESETS / presets / f"{path.stem}.yaml"
    return notebook.defaults(path) | notebook.read_parameters(
        [], [str(preset)] if preset.exists() else []
    )


def scale_of(kind: type, p: dict) -> looped.Scale | newton.Scale:
    return kind(**{f.name: p[f.name] for f in fields(kind) if f.name in p})


def looped_experiments(presets: str) -> dict[str, tuple[Experiment, list[int]]]:
    """name -> a training of pages 20 to 22 and its seeds. The first is on all three."""
    p = parameters("21", presets)
    scale, loops, T, seeds = scale_of(looped.Scale, p), p["loops"], p["T"], p["seeds"]
    found = {"1 block": (scale.experiment(loops, T), [*seeds, *p["more_seeds"]])}
    for k in (2, 3):
        found[f"{k} blocks"] = scale.experiment(loops, T, n_layer=k), seeds
    p = parameters("22", presets)
    for k in p["layers"]:
        more = p["more_seeds"] if k == 1 else ()
        found[f"LSTM, {k}"] = scale.experiment(loops, T, cell="lstm", n_layer=k), [*seeds, *more]
    for k in p["bare"]:
        bare = scale.experiment(loops, T, cell="lstm", bare=True, n_layer=k)
        found[f"bare LSTM, {k}"] = bare, seeds
    found["LSTM, one pass"] = scale.experiment(1, 1, cell="lstm"), seeds
    p = parameters("20", presets)
    for share in p["shares"]:
        n, least = looped.tokens_of(share, scale.N), min({*p["shares"]} - {0})
        more = p["more_seeds"] if share == least else ()
        found[f"1 block, share {share:g}"] = (
            scale.experiment(loops, T, n_last_tokens=n),
            [*seeds, *more],
        )
    for share in p["few"]:
        n = looped.tokens_of(share, scale.N)
        found[f"2 blocks, share {share:g}"] = (
            scale.experiment(loops, T, n_last_tokens=n, n_layer=2),
            seeds,
        )
    for k in (2, 3):
        b = max(1, loops // k)
        found[f"{k} blocks, {b} loops"] = (
            scale.experiment(b, max(1, b * T // loops), n_layer=k),
            seeds,
        )
    return found


def newton_experiments(presets: str) -> dict[str, tuple[Experiment, list[int]]]:
    """name -> a training of pages 13 to 15 and its seeds."""
    p = parameters("13", presets)
    scale, found = scale_of(newton.Scale, p), {}
    plain, masked, normed = newton.VARIANTS
    experiments = scale.regressions([plain, normed], p["kappas"], p["depths"])
    q = parameters("14", presets)
    experiments |= scale.regressions([masked], p["kappas"][:1], q["depths"])
    for (variant, kappa, depth), experiment in experiments.items():
        more = p["more_seeds"] if variant != masked and kappa == 1 and depth <= 2 else ()
        found[f"{variant}, kappa {kappa:g}, {depth} layers"] = experiment, [*p["seeds"], *more]
    p = parameters("15", presets)
    scale = scale_of(newton.Scale, p)
    for target, kappa in (
        *(("newton", kappa) for kappa in p["kappas"]),
        ("truth", p["kappas"][-1]),
    ):
        for depth in p["depths"]:
            experiment = scale.logistic(target, kappa, depth, p["mu"])
            found[f"logistic, {target}, kappa {kappa:g}, {depth} layers"] = experiment, [p["seed"]]
    return found


def jobs(presets: str) -> list[Job]:
    """All trainings of parts V and III, each once, in this order, and more seeds of any only when
    all have one."""
    experiments, found = looped_experiments(presets) | newton_experiments(presets), {}
    most = max(len(seeds) for _, seeds in experiments.values())
    for k in range(most):
        for name, (experiment, seeds) in experiments.items():
            for seed in seeds[k : k + 1]:
                job = Job(f"{name}, seed {seed}", experiment, seed)
                found.setdefault(job.run.path, job)
    return list(found.values())


def parts(presets: str) -> dict[str, Experiment]:
    """A training of each part."""
    found, p = {}, parameters("01", presets)
    model, task = (
        LinearTransformer(d=p["d"], n_layer=p["n_layer"], init_std=1e-4),
        LinearRegression(p["N"], p["d"]),
    )
    found["I, linear"] = Experiment(
        model, task, TrainConfig(p["lr_adam"], p["max_iters"], p["B"], clip=1000.0)
    )
    p = parameters("12", presets)
    model = MLPTransformer(d=p["d"], n_layer=p["n_layer"], hidden=p["hidden"], init_std=0.1)
    task = NonlinearRegression(p["N"], p["d"], p["hidden_target"])
    found["II, behind a network"] = Experiment(
        model, task, TrainConfig(p["lr_adam"], p["max_iters"], p["B"], clip=1.0)
    )
    p = parameters("13", presets)
    found["III, LSA"] = scale_of(newton.Scale, p).regression("LSA", p["kappas"][0], p["depths"][-1])
    p = parameters("15", presets)
    found["III, softmax"] = scale_of(newton.Scale, p).logistic(
        "newton", p["kappas"][0], p["depths"][-1], p["mu"]
    )
    p = parameters("17", presets)
    config = recall.config(p["lrs"][0], p["max_iters"], p["B"], p["max_iters"])
    found["IV, recall"] = Experiment(recall.named("origin-linear-FA"), Recall(H=p["H"]), config)
    looped = looped_experiments(presets)
    return found | {"V, block": looped["1 block"][0], "V, LSTM": looped["LSTM, 1"][0]}


def drawn(experiment: Experiment) -> tuple[Params, Batch]:
    """Parameters a little off their start, where some gradients are 0, and prompts, float32 on the
    CPU."""
    model, task, training = experiment
    B = min(PROMPTS, training.B)
    run = Run(model, task, replace(training, B=B, dtype="float32", curriculum=()), 0)
    state = TrainState([run], torch.device("cpu"))
    g = torch.Generator().manual_seed(1)
    params = {
        name: p.detach() + 0.02 * torch.randn(p.shape, generator=g)
        for name, p in state.params.items()
    }
    return params, Batches([run], state.generators, torch.device("cpu")).at(0)


def loss_and_gradient(
    experiment: Experiment,
    given: tuple[Params, Batch],
    device: torch.device,
    dtype: torch.dtype,
    loss_of: Loss = eager,
) -> tuple[Tensor, Tensor]:
    """The loss, and all gradients as one vector, in float64 on the CPU."""
    params, batch = given
    params = {name: p.detach().to(device, dtype).requires_grad_() for name, p in params.items()}
    tensors = {f.name: getattr(batch, f.name) for f in fields(batch)}
    floats = {
        name: t.to(dtype)
        for name, t in tensors.items()
        if isinstance(t, Tensor) and t.is_floating_point()
    }
    batch = replace(batch, **floats).to(device)
    for _ in range(AFTER + 1 if isinstance(loss_of, Graphed) else 1):
        loss = loss_of(experiment.model, params, batch)
        loss.sum().backward()
        vector = torch.cat([p.grad.flatten() for p in params.values() if p.grad is not None])
        for p in params.values():
            p.grad = None
    return loss.detach().double().cpu(), vector.double().cpu()


def error(found: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> float:
    """The larger relative error of the two, in Euclidean norm."""
    return max(float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True))


def check(experiments: dict[str, Experiment], device: torch.device) -> list[str]:
    """What falls outside of rounding. The CPU's float32 is held against its float64, which says how
    much a model multiplies rounding: the GPU may be off by `SLACK` times that."""
    cpu, wrong = torch.device("cpu"), []
    ways = [way for way in WAYS if device.type == "cuda" or way != "graph"]
    print(
        f"\n{'check: relative errors':24}"
        + "".join(f"{head:>12}" for head in ("CPU float32", *ways)),
        flush=True,
    )
    for name, experiment in experiments.items():
        given = drawn(experiment)
        exact = loss_and_gradient(experiment, given, cpu, torch.float64)
        rounding = error(loss_and_gradient(experiment, given, cpu, torch.float32), exact)
        growth = max(rounding / EPS[torch.float32], 1.0)
        tf32 = (
            device.type == "cuda"
            and isinstance(experiment.model, Looped)
            and experiment.model.cell == "lstm"
        )
        line = f"{name:24}{rounding:12.1e}"
        for way in ways:
            dtype, loss_of = WAYS[way][0], WAYS[way][1]()
            allowed = SLACK * growth * (TF32 if tf32 and dtype == torch.float32 else EPS[dtype])
            try:
                found = error(loss_and_gradient(experiment, given, device, dtype, loss_of), exact)
            except RuntimeError as failed:
                wrong.append(f"{name}, {way}: {failed}")
                found = math.nan
            else:
                if not found <= allowed:
                    wrong.append(f"{name}, {way}: off by {found:.1e}, more than {allowed:.1e}")
            captured = not isinstance(loss_of, Graphed) or loss_of.graph is not None
            line += f"{found:12.1e}" if captured else f"{'none':>12}"
        print(line, flush=True)
    return wrong


def median_ms(work: Callable[[], object], seconds: float) -> float:
    """Median time of one call, after one that does not count. At full size a step on the CPU takes
    seconds."""
    work()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def drawing_ms(experiment: Experiment, seconds: float) -> float:
    batches = Batches(
        [Run(*experiment, 0)], [torch.Generator().manual_seed(0)], torch.device("cpu")
    )
    return median_ms(lambda: batches.at(experiment.training.max_iters), seconds)


def step_ms(experiment: Experiment, device: torch.device, loss_of: Loss, seconds: float) -> float:
    """Of a step as in `fit` at the end of its curriculum, but for drawing its prompts."""
    training, last = experiment.training, experiment.training.max_iters
    run = Run(*experiment, 0)
    state = TrainState([run], device)
    batch, model = (
        Batches([run], state.generators, device).at(last),
        training.model_at(experiment.model, last),
    )

    def step() -> None:
        loss = loss_of(model, state.params, batch)
        loss.tolist()
        state.update(last - 1, loss, batch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    for _ in range(AFTER if isinstance(loss_of, Graphed) else 0):
        step()
    return median_ms(step, seconds)


def measure(experiments: dict[str, Experiment], device: torch.device, seconds: float) -> None:
    ways = {"CPU": (torch.device("cpu"), "float32")}
    if device.type == "cuda":
        ways |= {"GPU": (device, "float32"), "with graph": (device, "graph")}
    heads = ("drawing", *ways, "times CPU")
    print(f"\n{'measure: ms a step':24}" + "".join(f"{head:>12}" for head in heads), flush=True)
    for name, experiment in experiments.items():
        found = {
            way: step_ms(experiment, where, WAYS[how][1](), seconds)
            for way, (where, how) in ways.items()
        }
        numbers = (
            drawing_ms(experiment, seconds),
            *found.values(),
            found["CPU"] / min(found.values()),
        )
        print(f"{name:24}" + "".join(f"{number:12.2f}" for number in numbers), flush=True)


def train(todo: Sequence[Job], device: str) -> None:
    for job in todo:
        if not job.run.path.exists():
            start = time.perf_counter()
            try:
                fit(*job.experiment, [job.seed], device=device, progress=False)
                print(f"{job.name}: done after {time.perf_counter() - start:.0f} s", flush=True)
            except Diverged as failed:
                print(f"{job.name}: {failed}", flush=True)


def report(todo: Sequence[Job]) -> None:
    """How much is stored, and what goes on the next time from where."""
    finished = [job for job in todo if job.run.path.exists()]
    print(f"finished: {len(finished)} of {len(todo)}")
    for job in todo:
        if job not in finished and (saved := Checkpoint([job.run.config]).load()):
            step, seconds = saved.meta["step"], saved.meta["seconds"]
            print(
                f"resumes: {job.name}, at step {step} of {job.experiment.training.max_iters}, "
                f"{seconds:.0f} s so far"
            )


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raises TimeUp in the block when so many seconds are over, and takes it at its end.
    Checkpoints are whole files, at most 20 seconds old."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeUp

    before = signal.signal(signal.SIGALRM, stop)
    # Again after a second: one raised in a destructor is lost.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    except TimeUp:
        print("the time is up", flush=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 1 where the check fails."""
    start = time.perf_counter()
    presets = sorted(path.name for path in PRESETS.iterdir())
    parser = Parser(
        description="Check a GPU, measure it, and train the published scale of parts V and III."
    )
    parser.add_argument(
        "phases", nargs="*", default=PHASES, help="check, measure, train; all three without it"
    )
    parser.add_argument("--device", default="cuda", help="cuda without it; cuda:1, or cpu")
    parser.add_argument("--minutes", type=float, required=True, help="after which it has ended")
    parser.add_argument(
        "--out", type=Path, required=True, help="the folder of the runs; those in it go on"
    )
    parser.add_argument(
        "--presets", choices=presets, default="paper", help="sizes: a folder of presets/"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of each measurement; 2 without it"
    )
    given = parser.parse_args(argv)
    if not given.minutes * 60 > RESERVE:
        parser.error(f"--minutes must be more than {RESERVE / 60:g}, got {given.minutes:g}")
    try:
        device, phases = (
            check_device(given.device),
            [check_choice("phase", name, PHASES) for name in given.phases],
        )
    except ValueError as error:
        parser.error(str(error))
    os.environ["LINTF_RUNS"] = str(given.out.absolute())
    wrong: list[str] = []
    todo = jobs(given.presets) if "train" in phases else []
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    threads = torch.get_num_threads()
    print(
        f"{name}, torch {torch.__version__}, {threads} threads, presets/{given.presets}", flush=True
    )
    # 0 would be no limit.
    with limit(max(60 * given.minutes - RESERVE - (time.perf_counter() - start), 1e-3)):
        if "check" in phases:
            wrong = check(parts(given.presets), device)
        if "measure" in phases and not wrong:
            measure(parts(given.presets), device, given.seconds)
        if "train" in phases and not wrong:
            print("\ntrain", flush=True)
            train(todo, given.device)
    for line in wrong:
        print(f"wrong: {line}")
    if todo:
        report(todo)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
