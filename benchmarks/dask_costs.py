"""What a sweep on Dask costs beside its work: start-up, cells that do nothing, and a run on its way
back.

scaling.py calls `measure`. Workers import this file by its name, so that a cell travels as small as
a real one.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from unittest import mock

from distributed import Client
from distributed.protocol import serialize

from lintf.cli import cluster
from lintf.cli.cells import Result
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.training import store
from lintf.training.config import TrainConfig
from lintf.training.fit import fit
from lintf.training.run import Run
from lintf.training.store import Record

WORKERS = (1, 2, 4, 8)
CELLS = (200, 800)  # does a cell cost more among many?
L, D, STEPS = 4, 10, 200  # a run of so many steps has 22 snapshots
NUMBERS = count()  # no two cells have one key


@dataclass(frozen=True)
class Carrying(Result):
    """A result with a run in it, as it comes back where workers and caller share no disk."""

    record: Record | None = None


@dataclass(frozen=True)
class Cell:
    """Does nothing, or brings a run."""

    key: str
    brings: bool
    own = ""

    def work(self) -> Result:
        return Carrying(True, "", record=run_of_a_sweep()) if self.brings else Result(True, "")


@cache
def run_of_a_sweep() -> Record:
    """Trained once on each worker, with one prompt in a batch: only its size matters."""
    model, task, training = (
        LinearTransformer(d=D, n_layer=L),
        LinearRegression(d=D),
        TrainConfig(1e-4, STEPS, B=1),
    )
    history = fit(model, task, training, stored=False, progress=False)
    tensors = {"steps": history.steps} | {
        n: t[0] for n, t in ({"loss": history.loss} | history.params).items()
    }
    return Record(Run(model, task, training, 0).config, tensors, history.meta[0])


def measure(
    workers: Sequence[int] = WORKERS, cells: Sequence[int] = CELLS, repeats: int = 2
) -> dict:
    """Times in s (names in _s) or ms a cell. Of repeated ones the median, and the lowest and
    highest as `spread`.

    first_result_s: from the call of `connect` until an empty cell is back, for which a worker has
    imported torch ms, cpu_ms: wall time of a cell, and processor time of the caller and the
    scheduler, which are one process worker_ms: wall time of the cell on its worker
    """
    startup, empty, carried = [], [], []
    # An empty folder instead of runs/.
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, LINTF_RUNS=folder):
        for there in workers:
            begin = time.perf_counter()
            with cluster.connect(None, there) as client:
                run_cells(client, 1)
                startup.append(
                    {"workers": there, "first_result_s": round(time.perf_counter() - begin, 3)}
                )
                client.run(run_of_a_sweep)
                done = {(n, False): [] for n in cells} | {(cells[0], True): []}
                # One after the other, so that a disturbance hits all alike.
                for _ in range(repeats):
                    for n, brings in done:
                        done[n, brings].append(run_cells(client, n, brings))
            empty += [{"workers": there, "cells": n} | summary(done[n, False]) for n in cells]
            carried.append({"workers": there, "cells": cells[0]} | summary(done[cells[0], True]))
        result = {
            "L": L,
            "d": D,
            "snapshots": len(run_of_a_sweep().tensors["steps"]),
        } | result_alone()
    return {
        "distributed": version("distributed"),
        "startup": startup,
        "empty_cells": empty,
        "cells_with_a_run": carried,
        "run": result,
    }


def run_cells(client: Client, n: int, brings: bool = False) -> dict[str, float]:
    cells = [Cell(f"cell-{next(NUMBERS)}", brings) for _ in range(n)]
    wall, cpu = time.perf_counter(), time.process_time()
    with cluster.mark() as place:
        results = [result for _, result in cluster.run(client, place, cells)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if failed := [result.detail for result in results if not result.ok]:
        raise RuntimeError(f"{len(failed)} of {n} cells failed: {failed[0]}")
    worker = statistics.median(result.seconds for result in results)
    return {"ms": 1e3 * wall / n, "cpu_ms": 1e3 * cpu / n, "worker_ms": 1e3 * worker}


def summary(runs: Sequence[dict[str, float]]) -> dict:
    walls = [run["ms"] for run in runs]
    medians = {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}
    return medians | {"spread": [round(min(walls), 3), round(max(walls), 3)]}


def result_alone(repeats: int = 20) -> dict[str, float]:
    """Bytes of a result with a run on the network, and how long the caller takes to save the
    run."""
    _, frames = serialize(Carrying(True, "", record=run_of_a_sweep()))
    times = []
    for i in range(repeats):
        begin = time.perf_counter()
        store.save(Path(os.environ["LINTF_RUNS"]) / f"{i}{store.SUFFIX}", run_of_a_sweep())
        times.append(time.perf_counter() - begin)
    return {"bytes": sum(map(len, frames)), "save_ms": round(1e3 * statistics.median(times), 3)}
