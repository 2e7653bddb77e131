"""Cells on a Dask cluster: one on this machine, or any other. Workers need this package and nothing
else; what they find comes back over the network.

A worker that dies is not the end of its cells: the scheduler gives them to another one. Where
worker and caller share a disk, the cell goes on at its last checkpoint.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import platform
import time
import uuid
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from distributed import (
    CancelledError,
    Client,
    Future,
    KilledWorker,
    LocalCluster,
    Worker,
    as_completed,
    get_worker,
)
from distributed.core import rpc
from distributed.security import Security

from lintf.checks import UsageError, one_line
from lintf.cli.cells import Cell, Result
from lintf.training import store
from lintf.training.versions import differences, versions

PATIENCE = 4.0  # seconds to wait for a scheduler
# In a worker on this machine: Ctrl-C in a terminal goes to all processes, and is the caller's
# business. So is what fails: a worker that is busy when the scheduler leaves would print the
# traceback of its last heartbeat.
PRELOAD = """
import logging, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
for name in ("distributed", "distributed.client", "distributed.gc"):
    logging.getLogger(name).setLevel(logging.CRITICAL)
"""


@dataclass(frozen=True)
class Place:
    """The caller's runs/. A worker that sees the marker in its .partial shares the disk."""

    folder: str
    marker: str


@contextmanager
def mark() -> Iterator[Place]:
    """Puts a file into the caller's runs/ for as long as cells are run. Raises UsageError where
    there can be none."""
    folder = Path(os.path.realpath(store.folder()))
    marker = folder / ".partial" / f"sweep-{uuid.uuid4().hex}"
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise UsageError(f"no runs can be kept in {folder} ({one_line(error)})") from error
    try:
        yield Place(str(folder), marker.name)
    finally:
        with suppress(OSError):
            marker.unlink()


@contextmanager
def connect(scheduler: str | None, workers: int) -> Iterator[Client]:
    """Gives a client of the scheduler at this address, or of so many workers of one thread each on
    this machine. Raises UsageError for a scheduler that cannot be reached, and for workers with
    other versions or with several threads."""
    for name in ("distributed", "distributed.client", "distributed.gc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # each cell says what became of it
    if scheduler is not None:
        with _client(scheduler) as client:
            check_workers(client)
            yield client
        return
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    sizes = {
        "n_workers": workers,
        "threads_per_worker": 1,
        "processes": True,
        "memory_limit": 0,
        "preload": PRELOAD,
    }
    with ExitStack() as both:
        try:
            here = both.enter_context(
                LocalCluster(**sizes, host="127.0.0.1", dashboard_address="127.0.0.1:0", env=one)
            )
            client = both.enter_context(Client(here))
        except Exception as error:  # of the network, of processes, of Dask's own configuration
            first = error
            while first.__cause__:
                first = first.__cause__
            raise UsageError(
                f"no workers can be started on this machine ({one_line(first)})"
            ) from error
        yield client


def _client(scheduler: str) -> Client:
    with warnings.catch_warnings():
        # Versions: checked afterwards.
        warnings.filterwarnings("ignore", category=UserWarning, module="distributed")
        try:
            kind = asyncio.run(asyncio.wait_for(_kind(scheduler), PATIENCE))
            if kind != "Scheduler":
                raise ValueError(f"a Dask {kind.lower()} answers")
            return Client(scheduler, timeout=PATIENCE)
        except TimeoutError as error:
            raise UsageError(
                f"--scheduler {scheduler}: no Dask scheduler can be reached there "
                f"({PATIENCE:g} s without an answer)"
            ) from error
        except Exception as error:  # no address, or something else than Dask that answers
            raise UsageError(
                f"--scheduler {scheduler}: no Dask scheduler can be reached there "
                f"({one_line(error)})"
            ) from error


async def _kind(address: str) -> str:
    """Says what answers, and speaks as Dask does. A Client would wait for ever for an answer from
    what does not."""
    # As Client has it, from Dask's own configuration.
    secured = Security().get_connection_args("client")
    async with rpc(address, timeout=PATIENCE, connection_args=secured) as there:
        return (await there.identity(n_workers=0))["type"]


def check_workers(client: Client) -> None:
    """Refuses workers that could not do the same as this process. Those that join later refuse by
    themselves. Raises UsageError."""
    try:
        objections = client.run(objection, versions())
    except Exception as error:  # whatever a worker without this module answers
        raise UsageError(f"the workers cannot import this lintf ({one_line(error)})") from error
    for address, said in objections.items():
        if said:
            raise UsageError(f"worker {address}: {said}")


def objection(caller: dict[str, str], dask_worker: Worker) -> str:
    """Says why this worker cannot work for a caller with these versions; "" if it can. `Client.run`
    gives the worker by this name."""
    if differ := differences(caller, versions()):
        return f"its versions are not the caller's: {differ}"
    threads = dask_worker.state.nthreads
    return (
        f"it runs {threads} cells at a time; one is allowed: dask worker --nthreads 1"
        if threads != 1
        else ""
    )


def run(client: Client, place: Place, cells: Sequence[Cell]) -> Generator[tuple[int, Result]]:
    """Yields the places of the cells, and their results, as they come. A cell that fails has a
    Result that says why. When the generator is closed, cells that have not begun are not begun any
    more."""
    # A key of the cell's own: of sweeps into one runs/ that have a cell in common, one does it for
    # all.
    owner = hashlib.sha256(f"{platform.node()} {place.folder}".encode()).hexdigest()[:8]
    numbers: dict[str, list[int]] = {}
    for i, cell in enumerate(cells):
        numbers.setdefault(f"{cell.key}-{owner}", []).append(i)
    futures = [
        client.submit(_work, cells[i[0]], place, versions(), key=key, pure=False, priority=-i[0])
        for key, i in numbers.items()
    ]
    try:
        for future in as_completed(futures):
            result = _result(future)
            yield from ((i, result) for i in numbers[future.key])
            future.release()
    finally:
        client.cancel([future for future in futures if not future.done()])


def _result(future: Future) -> Result:
    try:
        return future.result()
    except KilledWorker:
        return Result(False, "its worker died, several times, which a lack of memory can do")
    except CancelledError:
        return Result(False, "the scheduler is gone, or has dropped it")
    except Exception as error:  # whatever the cell raised
        return Result(False, one_line(error))


def _work(cell: Cell, place: Place, caller: dict[str, str]) -> Result:
    """Does a cell, on a worker, in the caller's runs/ where that is the same disk, else in a folder
    of this worker's, from which what is new goes back with the result."""
    begun, clock = time.time(), time.perf_counter()
    worker = get_worker()
    if said := objection(caller, worker):
        return Result(False, f"worker {worker.address}: {said}")
    shared = (Path(place.folder) / ".partial" / place.marker).exists()
    folder = Path(place.folder) if shared else Path(worker.local_directory) / place.marker
    os.environ["LINTF_RUNS"] = str(folder)
    before = {path.name for path in store.runs()}
    result = cell.work()
    fresh = (
        {}
        if shared
        else {
            p.name: store.load(p)
            for p in store.runs()
            if p.name not in before or p.name == cell.own
        }
    )
    return replace(
        result, runs=fresh, begun=begun, seconds=time.perf_counter() - clock, worker=worker.address
    )
