"""verify for many runs at once: one process per core, with one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from lintf.training.verify import Outcome, verify

MOST = 8  # processes, unless more are asked for: each takes up to 0.6 GB
DIED = "a process that verifies has died, and all the others with it; --jobs 1 takes the least memory"


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def verify_all(paths: Sequence[Path], jobs: int) -> Generator[Outcome]:
    """What `verify` says of each run, in the order of the paths. A single job needs no other process. If a process
    dies, what was not yet verified has failed."""
    if min(jobs, len(paths)) <= 1:
        yield from map(verify, paths)
        return
    # Not fork: a forked process may hang in PyTorch's OpenMP. The import of torch that this costs takes a second or so.
    pool = ProcessPoolExecutor(min(jobs, len(paths)), multiprocessing.get_context("spawn"), _alone)
    try:
        for path, future in [(path, pool.submit(verify, path)) for path in paths]:
            try:
                yield future.result()
            except BrokenProcessPool:
                yield Outcome(path, False, DIED)
    finally:
        pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """Each process has one thread, and leaves Ctrl-C to the one that started it."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
