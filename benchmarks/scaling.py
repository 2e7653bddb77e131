"""How the cost of a training step grows with the prompts B, the examples N, the dimension d, the
layers L, and the members trained side by side; and what a sweep on Dask costs beside its work
(dask_costs.py).

    python benchmarks/scaling.py      (three to five minutes, on a machine with nothing else to do)

A step is fresh prompts, loss, gradient and Adam, as inside `fit`. From a base setting one size at a
time is changed; on one thread, on two, and on a GPU where there is one. The numbers go to
scaling.json, on which "What a sweep costs" in book/run.md rests.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn
from unittest import mock

import dask_costs
import numpy as np
import torch
from speed import median_ms, multiply_adds

from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.training.config import TrainConfig
from lintf.training.data import Batches
from lintf.training.fit import fit
from lintf.training.graphed import AFTER
from lintf.training.progress import tqdm
from lintf.training.workers import cores

OUT = Path(__file__).with_suffix(".json")
THREADS = (1, 2)
SECONDS = 0.25  # of one measurement
REPEATS = 5
WARM_UP = AFTER + 2  # steps of a fit that do not count: on a GPU they become a graph
STEPS = (8, 3000)  # at least and at most so many that do


@dataclass(frozen=True)
class Setting:
    L: int = 3
    N: int = 20
    d: int = 5
    B: int = 2000
    members: int = 1

    @property
    def mflop(self) -> float:
        """Of loss and gradient for all prompts: what the compiled kernel multiplies and adds,
        without the drawing."""
        return 2 * multiply_adds(self.L, 1, self.d) * self.B * self.members / 1e6


BASE = Setting()
AXES = {
    "B": (250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000),
    "N": (5, 20, 40, 320, 2560, 20480),
    "d": (2, 3, 5, 8, 10, 16, 24, 32),  # the compiled kernel ends at 32
    "L": (1, 2, 3, 4, 5, 6, 7, 8),
    "members": (1, 2, 4, 8, 16, 32),
}


@dataclass(frozen=True, order=True)
class Place:
    """Where a step is done. On a GPU the threads are those that draw the prompts."""

    device: str
    threads: int


def step_ms(setting: Setting, device: str, steps: int) -> float:
    """Median wall time of a step inside `fit`, in ms."""
    model = LinearTransformer(d=setting.d, n_layer=setting.L, init_std=0.01)
    task = LinearRegression(N=setting.N, d=setting.d)
    training = TrainConfig(lr=1e-4, max_iters=WARM_UP + steps, B=setting.B)
    ticks, at = [], Batches.at

    # `fit` waits for the loss of each step, so it is never a step ahead of the GPU.
    def clocked(
        *arguments,
    ):
        ticks.append(time.perf_counter())
        return at(*arguments)

    with mock.patch.object(Batches, "at", clocked):
        fit(
            model,
            task,
            training,
            range(setting.members),
            device=device,
            stored=False,
            progress=False,
        )
    return 1e3 * statistics.median(np.diff(ticks)[WARM_UP:])


def peak_gflops(device: str) -> float:
    """Of a float32 matrix product."""
    n = 3000 if device == "cpu" else 8000
    a = torch.randn(n, n, device=device)

    def product() -> None:
        a @ a
        if device != "cpu":
            torch.cuda.synchronize()

    return 2 * n**3 / median_ms(product, 1.0) / 1e6


@contextmanager
def process(threads: int) -> Iterator[ProcessPoolExecutor]:
    """A process of its own, with so many threads in every library."""
    with mock.patch.dict(os.environ, OMP_NUM_THREADS=str(threads)):
        pool = ProcessPoolExecutor(1, get_context("spawn"))
        found = pool.submit(torch.get_num_threads).result()  # it starts with the first task
    if found != threads:
        raise RuntimeError(f"a process with OMP_NUM_THREADS={threads} has {found} threads")
    with pool:
        yield pool


def settings() -> dict[tuple[str, int], Setting]:
    """(axis, value) -> setting; the base is on every axis."""
    return {
        (axis, value): replace(BASE, **{axis: value})
        for axis, values in AXES.items()
        for value in values
    }


def places() -> list[Place]:
    here = [Place("cpu", threads) for threads in THREADS if threads <= cores()]
    return here + [Place("cuda", max(p.threads for p in here))] * torch.cuda.is_available()


def measure(
    repeats: int, where: Sequence[Place]
) -> tuple[dict[tuple[Place, Setting], list[float]], dict]:
    """The times of every setting in every place, and the peaks. Round by round: a disturbance hits
    all alike."""
    todo = [(place, setting) for setting in dict.fromkeys(settings().values()) for place in where]
    times, steps = {key: [] for key in todo}, {}
    with (
        ExitStack() as stack,
        tqdm(total=(1 + repeats) * len(todo), desc="first round: compiles") as bar,
    ):
        pools = {place: stack.enter_context(process(place.threads)) for place in where}
        peaks = {
            place: pool.submit(peak_gflops, place.device).result() for place, pool in pools.items()
        }
        for place, setting in todo:  # this round only finds how many steps take SECONDS
            ms = pools[place].submit(step_ms, setting, place.device, STEPS[0]).result()
            steps[place, setting] = min(STEPS[1], max(STEPS[0], round(1e3 * SECONDS / ms)))
            bar.update()
        for k in range(repeats):
            bar.set_description(f"round {k + 1} of {repeats}")
            for place, setting in todo:
                work = pools[place].submit(step_ms, setting, place.device, steps[place, setting])
                times[place, setting].append(work.result())
                bar.update()
    return times, peaks


def overhead(B: Sequence[int], ms: Sequence[float]) -> tuple[float, float]:
    """a, b of ms = a + b B, least squares of the relative errors."""
    B, ms = np.array(B, dtype=float), np.array(ms)
    a, b = np.linalg.lstsq(np.stack((1 / ms, B / ms), 1), np.ones(len(ms)), rcond=None)[0]
    return a, b


def report(repeats: int) -> dict:
    where = places()
    times, peaks = measure(repeats, where)
    print("Dask", flush=True)
    rows, overheads = [], []
    for place in where:
        for (axis, value), setting in settings().items():
            found = times[place, setting]
            spread = [round(min(found), 4), round(max(found), 4)]
            row = {
                "axis": axis,
                "value": value,
                **asdict(place),
                "ms": round(statistics.median(found), 4),
            }
            rows.append(row | {"spread": spread, "mflop": round(setting.mflop, 4)})
        ms = [
            row["ms"]
            for row in rows
            if row["axis"] == "B" and Place(row["device"], row["threads"]) == place
        ]
        a, b = overhead(AXES["B"], ms)
        overheads.append(asdict(place) | {"ms": round(a, 4), "us_per_prompt": round(1e3 * b, 5)})
    peak = [asdict(place) | {"gflops": round(found, 1)} for place, found in peaks.items()]
    return {
        "machine": machine(),
        "base": asdict(BASE),
        "repeats": repeats,
        "rows": rows,
        "overhead": overheads,
        "peak": peak,
        "dask": dask_costs.measure(),
    }


def machine() -> dict:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        "unknown",
    )
    gpu = {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return {"processor": model, "cores": cores(), "torch": torch.__version__, "date": day} | gpu


def show(found: dict) -> None:
    """The table: ms a step in every place, and how often the floor, mflop / peak, is in it."""
    peaks = {Place(p["device"], p["threads"]): p["gflops"] for p in found["peak"]}
    print(
        f"\n{'ms a step':16}"
        + "".join(f"{f'{p.device}, {p.threads} threads':>18}{'/ floor':>9}" for p in peaks)
    )
    for axis, value in settings():
        line = f"{f'{axis} = {value}':16}"
        for place, peak in peaks.items():
            wanted = (axis, value, place.device, place.threads)
            row = next(
                r
                for r in found["rows"]
                if (r["axis"], r["value"], r["device"], r["threads"]) == wanted
            )
            line += f"{row['ms']:18.3f}{row['ms'] * peak / row['mflop']:9.1f}"
        print(line)
    for o in found["overhead"]:
        print(
            f"{o['device']}, {o['threads']} threads: {o['ms']:.3f} ms + "
            f"{o['us_per_prompt']:.4f} us a prompt"
        )
    dask = found["dask"]
    print(
        f"\n{'Dask, workers':16}{'first result, s':>18}{'ms an empty cell':>18}"
        f"{'of the caller':>15}{'with a run':>12}"
    )
    for start, carried in zip(dask["startup"], dask["cells_with_a_run"], strict=True):
        row = [r for r in dask["empty_cells"] if r["workers"] == start["workers"]][-1]
        numbers = (start["first_result_s"], row["ms"], row["cpu_ms"], carried["ms"])
        print(
            f"{start['workers']:<16}"
            + "".join(f"{x:{w}.2f}" for x, w in zip(numbers, (18, 18, 15, 12), strict=True))
        )
    print(f"a run is {dask['run']['bytes']} bytes; saving it takes {dask['run']['save_ms']:.1f} ms")


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(
        description="Measure how the cost of a training step grows, and write it down as JSON."
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=OUT,
        help="the file to write; scaling.json beside this one without",
    )
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help=f"of each measurement; {REPEATS} without it"
    )
    given = parser.parse_args(argv)
    if given.repeats < 1:
        parser.error(f"--repeats must be a whole number from 1, got {given.repeats}")
    if not given.out.parent.is_dir() or given.out.is_dir():
        parser.error(f"--out must be a file in a folder that is there, got {given.out}")
    found = report(given.repeats)
    show(found)
    given.out.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
