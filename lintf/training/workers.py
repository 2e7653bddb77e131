"""Verifies many runs at once: one process per core, with one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from lintf.training.verify import Outcome, verify

MOST = 8  # processes, unless more are asked for: each takes up to 0.6 GB
DIED = "the process that verified it has died; --jobs 1 takes the least memory"


def cores() -> int:
    """Returns the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def verify_all(paths: Sequence[Path], jobs: int) -> Generator[Outcome]:
    """Yields what `verify` says of each run, in the order of the paths. A single job needs no other
    process. Where a process dies, the run that it had has failed, and another process goes on."""
    if min(jobs, len(paths)) <= 1:
        yield from map(verify, paths)
        return
    todo, found = list(range(len(paths)))[::-1], {}
    started: list[BaseProcess] = []
    busy: dict[Connection, int] = {}  # with which run the process at the other end is
    try:
        for turn in range(len(paths)):
            while turn not in found:
                while todo and len(busy) < jobs:
                    process, connection = _started()
                    started.append(process)
                    busy[connection] = _give(connection, paths, todo)
                for connection in wait(list(busy)):
                    i = busy.pop(connection)
                    try:
                        found[i] = connection.recv()
                    except (EOFError, OSError):
                        found[i] = Outcome(paths[i], False, DIED)
                        continue
                    if todo:
                        busy[connection] = _give(connection, paths, todo)
                    else:
                        connection.close()  # which tells the process to end
            yield found.pop(turn)
    finally:
        for process in started:
            process.terminate()
            process.join()


def _give(connection: Connection, paths: Sequence[Path], todo: list[int]) -> int:
    """Gives the process at the other end a run, and returns which."""
    i = todo.pop()
    with suppress(OSError):  # it has died: what comes from it has an end, too
        connection.send(paths[i])
    return i


def _started() -> tuple[BaseProcess, Connection]:
    """Returns a process that verifies, and the way to it. Each has a way of its own: a lock or a
    queue that all share stays locked for ever when the process that holds it is killed."""
    # Not fork: a forked process may hang in PyTorch's OpenMP. The import of torch that this costs
    # takes a second or so.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    # so that the process has the only other end, and its death is the end of what comes from it
    there.close()
    return process, here


def _serve(connection: Connection) -> None:
    """Verifies with one thread what comes; Ctrl-C is for the process that started this one."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError):
        while True:
            connection.send(verify(connection.recv()))
