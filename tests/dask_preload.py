"""What tests change in a Dask worker: `dask worker --preload` this file.

Every training step lasts at least STEP seconds, so that a cell lasts as long as its steps say,
whatever else the machine does, and is noted in the file $SWEEP_STEPS. Checkpoints are frequent. A
folder with ELSEWHERE in its path is on another machine: this process does not see it and may not
open anything there. One learning rate is deadly.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time

STEP, CHECKPOINTS = 0.005, 0.1  # seconds
ELSEWHERE = "elsewhere"
DEADLY = 0.0666  # learning rate
FILE_EVENTS = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.rename", "os.remove")


def prepare(log: str) -> None:
    from lintf.training import fit as loop
    from lintf.training import state

    if loop.CHECKPOINT_SECONDS == CHECKPOINTS:  # Dask loads a preload more than once
        return
    steps, update, exists = (
        os.open(log, os.O_WRONLY | os.O_APPEND),
        state.TrainState.update,
        pathlib.Path.exists,
    )

    def noted(self: state.TrainState, step: int, *others: object) -> None:
        if self.training.lr == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        line = (
            f"{os.getpid()} {self.training.max_iters} {self.generators[0].initial_seed()} {step}\n"
        )
        os.write(steps, line.encode())  # at once: lines of two processes do not mix
        time.sleep(STEP)
        update(self, step, *others)

    def refuse(event: str, arguments: tuple) -> None:
        if event in FILE_EVENTS and any(ELSEWHERE in str(a) for a in arguments):
            raise PermissionError(f"{event} of what is on another machine: {arguments}")

    state.TrainState.update, loop.CHECKPOINT_SECONDS = noted, CHECKPOINTS
    pathlib.Path.exists = lambda path: ELSEWHERE not in str(path) and exists(path)
    sys.addaudithook(refuse)


if "SWEEP_STEPS" in os.environ:  # not where a test imports this file for its numbers
    prepare(os.environ["SWEEP_STEPS"])
