"""Processes that train, for tests that kill them, let two of them meet, or take their disk away.

A nursery has imported torch once and forks its children, which is a hundred times faster than to
start Python for each. It reads jobs as lines of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
import torch._dynamo  # optimisers import it when they are first used, which takes seconds

from lintf import kernel
from lintf.training import fit as loop
from lintf.training import state, store
from lintf.training.history import History
from lintf.training.run import Run

NOBODY = 65534


def digest(history: History) -> str:
    """Of every bit of the result."""
    h = hashlib.sha256(repr((history.seeds, history.steps.tolist())).encode())
    tensors = {
        "loss": history.loss,
        **history.recorded,
        **{f"weights {n}": p for n, p in history.saved_final.items()},
    }
    for name, t in sorted(tensors.items()):
        h.update(f"{name} {t.dtype} {tuple(t.shape)}".encode() + t.contiguous().numpy().tobytes())
    return h.hexdigest()


class Nursery:
    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self, runs: Path, members: list[Run], result: Path, **options: object) -> int:
        """The process id of a child that trains. options: see `_train`."""
        job = {
            "runs": str(runs),
            "configs": [m.config for m in members],
            "result": str(result),
            **options,
        }
        return self._ask(job)

    def wait(self, pid: int) -> int:
        """Its exit status, or minus the signal that killed it."""
        return os.waitstatus_to_exitcode(self._ask({"wait": pid}))

    def train(self, runs: Path, members: list[Run], result: Path, **options: object) -> dict:
        """What a child that nobody disturbs reports."""
        pid = self.start(runs, members, result, **options)
        assert self.wait(pid) == 0
        return json.loads(result.read_text())

    def close(self) -> None:
        self.process.communicate()

    def _ask(self, line: dict) -> int:
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def _serve() -> None:
    torch.set_num_threads(1)
    # Loads the library, which children without rights could not.
    kernel.unavailable(3, torch.float32)
    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            answer = os.waitpid(job["wait"], 0)[1]
        elif not (answer := os.fork()):
            _train(**job)
            os._exit(0)
        print(answer, flush=True)
    os._exit(0)  # without torch's slow farewell


def _train(
    runs: str,
    configs: list[dict],
    result: str,
    step: float = 0.0,
    save: float = 0.0,
    every: float = 0.0,
    limit: int | None = None,
    powerless: bool = False,
) -> None:
    """step, save: seconds that a step and the writing of a file last at least, the file of a run
    ten times as long. every: seconds between checkpoints. limit: no file can grow beyond so many
    bytes. powerless: without root's rights.
    """
    os.chdir(Path(runs).parent)  # a powerless child may not see the folders above
    os.environ["LINTF_RUNS"] = Path(runs).name
    update, write, loop.CHECKPOINT_SECONDS = state.TrainState.update, store.write, every

    def slow_update(*args: object) -> None:
        time.sleep(step)
        update(*args)

    def slow_write(path: Path, data: bytes) -> None:
        with open(path, "xb") as file:
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                file.write(part)
                file.flush()
                time.sleep(save / 2 if ".partial" in str(path) else 5 * save)

    state.TrainState.update, store.write = slow_update, slow_write if save else write
    with open(result, "w") as file, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        if powerless and os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        members = [Run.of(config) for config in configs]
        tasks = {m.seed: m.task for m in members}
        one = members[0]
        history = loop.fit(
            one.model, tasks.__getitem__, one.training, tuple(tasks), progress=False, device="cpu"
        )
        if limit is not None:
            resource.setrlimit(
                resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
        json.dump({"digest": digest(history), "warnings": [str(w.message) for w in caught]}, file)


if __name__ == "__main__":
    _serve()
