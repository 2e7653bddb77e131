"""Where an interrupted training stood: one file in runs/.partial, replaced as a whole, gone when
the run is stored."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import torch
from torch import Tensor

from lintf.training import store, versions

# A training that goes on with other code, or another torch, would be neither the one's nor the
# other's.
# Of what is imported, whatever is edited later.
CODE = {"lintf": versions.sources(), "torch": torch.__version__}


class Checkpoint:
    """The checkpoint of one set of runs, given by their configurations. Other processes may train
    the same runs: they share it, and whoever is first takes it away. Other code has another file
    for the same runs, so that it can go on where it stood: `others`.

    `load` raises StoreError for a damaged file. Where it cannot be written, `save` says so once,
    and tries again the next time.
    """

    def __init__(self, configs: list[dict]) -> None:
        self.config = {"members": configs, "code": CODE}
        self.members = store.key({"members": configs})
        self.path = (
            store.folder() / ".partial" / f"{self.members}-{store.key(self.config)}{store.SUFFIX}"
        )
        self.warned = False

    def save(self, tensors: dict[str, Tensor], meta: dict) -> None:
        """Replaces the file as a whole, or says once that it cannot be written."""
        try:
            store.save(self.path, store.Record(self.config, tensors, meta))
        except OSError as error:
            self.warn(error, stacklevel=5)

    def warn(self, error: OSError, stacklevel: int = 3) -> None:
        """Says once, where `fit` was called, that a file is not kept."""
        if not self.warned:
            warnings.warn(
                f"{error}; fit goes on without this file, and returns its result",
                stacklevel=stacklevel,
            )
        self.warned = True

    def load(self) -> store.Record | None:
        """Returns what the file holds, or None if there is none."""
        return store.find(self.path)

    def exists(self) -> bool:
        """Says whether the file is there."""
        # False where the folder cannot be looked into; Path.exists raises.
        return os.path.exists(self.path)

    def others(self) -> list[Path]:
        """Returns the checkpoints of the same runs that other code wrote."""
        try:
            return sorted({*self.path.parent.glob(f"{self.members}*{store.SUFFIX}")} - {self.path})
        except OSError:  # the folder cannot be looked into
            return []

    def remove(self) -> None:
        """Removes the file, and those of other code, since the runs are stored now."""
        try:
            for path in (self.path, *self.others()):
                if os.path.exists(path):
                    store.patiently(lambda path=path: path.unlink(missing_ok=True))
        except OSError as error:
            self.warn(error, stacklevel=5)
        store.sweep(self.path.parent)
